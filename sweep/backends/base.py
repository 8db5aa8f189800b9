"""The contract of a backend: what the parent may ask of its class, and what a worker asks of its instance.

One file, one YAML in `conf/backend/`, one line in the table of `sweep.backends`, and the contract tests pass: that is a
new backend. The module must import without the framework; frameworks are imported inside methods, which only
workers call. Workers may run on Python 3.8 with nothing but numpy and the backend's framework.
"""

import abc
import contextlib
from pathlib import Path
from typing import (
    Any,
    Callable,
    ContextManager,
    Iterator,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
    Type,
)

import numpy as np

from sweep.backends.options import Options, list_compile_time
from sweep.spec import (
    BuildInfo,
    BuildSpec,
    FailureKind,
    Json,
    Origin,
    Placement,
    Trial,
    TrialError,
    from_json,
    installed,
)
from sweep.workloads.types import to_float32

Arrays = Tuple[np.ndarray, ...]
Shape = Tuple[Any, ...]  # None for an axis that may have any size
Shapes = Tuple[Shape, ...]  # one per input


class Source(NamedTuple):
    """What a build starts from. Arrays are in the order of the model's inputs and already have the bucket's shape."""

    load_model: Callable[[], Any]  # the original: an nn.Module in eval mode, or a path to a model file
    example: Arrays  # one real batch of exactly the shape to build for
    calibration: Callable[[], Iterator[Arrays]]  # batches of that shape, never taken from the scored samples
    input_names: Tuple[str, ...]
    dynamic: Mapping[str, Sequence[int]] = {}  # input -> axes of any size; the n-th of all inputs are equal


class Runner(abc.ABC):
    """One loaded replica. `run` is the timed call; everything else stays outside the timed region."""

    asynchronous = False  # True where `run` may return before the device has finished
    precision = ""  # what really runs, read back from the framework
    shapes: Optional[Shapes] = None  # that it was built for, read back; None: any will do

    def prepare(self, inputs: Arrays) -> Any:
        """Turn one batch of host arrays into what `run` takes, ahead of time. A copy to the device belongs in `run`."""
        return self.check_shapes(inputs)

    def check_shapes(self, inputs: Arrays) -> Arrays:
        """Return the same inputs.

        Raises:
            TrialError: they are not of the shapes that it was built for; some runtimes would read beyond them.
        """
        given = tuple(array.shape for array in inputs)
        if self.shapes is not None and not _fit(given, self.shapes):
            summary = "built for inputs of shape %s, called with %s" % (
                format_shapes(self.shapes),
                format_shapes(given),
            )
            raise TrialError(FailureKind.SHAPE_MISMATCH, summary)
        return inputs

    @abc.abstractmethod
    def run(self, request: Any) -> Any:
        """One request. Its result must stay valid after later calls."""

    def synchronize(self) -> None:  # noqa: B027  # a synchronous runner has nothing to wait for
        """Block until every request so far has finished."""

    def outputs(self, raw: Any) -> Arrays:
        """The host arrays (float32 or integer) of what `run` returned."""
        return tuple(to_float32(np.asarray(array)) for array in raw)

    def device_memory_mb(self) -> float:
        """Peak device memory, 0 where the device is the host."""
        return 0.0

    def count_threads(self) -> Optional[int]:
        """Threads that the runtime uses for one operator, read back from it; None if it does not say."""
        return None

    def count_parallel_operators(self) -> Optional[int]:
        """Operators that the runtime may run at once, read back from it; None if it does not say."""
        return None

    def close(self) -> None:  # noqa: B027  # most runners own nothing beyond their process
        """Free the device."""


def _fit(given: Shapes, built: Shapes) -> bool:
    """Whether inputs have the shapes of a build; where it takes any number of items, all inputs have as many."""
    items = {have[:1] for have, want in zip(given, built) if want[:1] == (None,)}
    return (
        len(given) == len(built)
        and len(items) <= 1
        and all(
            len(have) == len(want) and all(size in (None, own) for own, size in zip(have, want))
            for have, want in zip(given, built)
        )
    )


def format_shapes(shapes: Shapes) -> str:
    """`2x3, 2xany`."""
    return ", ".join("x".join("any" if size is None else str(size) for size in shape) for shape in shapes)


class Backend(abc.ABC):
    """A way to turn the original model into something that runs on a device.

    The class attributes and `supports` are pure data: the parent reads them without importing a framework.
    """

    name = ""
    packages: Tuple[str, ...] = ()  # distributions whose versions are the toolchain's identity
    optional_packages: Mapping[str, Tuple[str, ...]] = {}  # precision -> distributions needed for it alone
    preload_build: Tuple[str, ...] = ()  # modules that a fork server imports ahead for build workers
    preload_run: Tuple[str, ...] = ()  # likewise for measure workers
    precisions: Tuple[str, ...] = ("fp32",)  # first, without fp32: what the compiler makes of an fp32 model
    formats: Tuple[str, ...] = ("module",)  # of the original: see workloads.FORMATS; (): it loads none
    devices: Tuple[str, ...] = ("cpu",)
    build_packages: Tuple[str, ...] = ()  # those of `packages` that only a build needs: `plan=measure` goes without
    options_type: Type[Options] = Options  # what may be set under `backend.options`
    options: Options
    compiles_cores: bool = False  # True where the number of cores is fixed by the compiler
    dynamic_sizes = False  # True where one build can take any size along the bucket dimensions (`spec.bucket == ()`)
    origin = Origin.MEASURED  # REPLAYED: a table of results answers, nothing is compiled, loaded or timed
    obeys: Tuple[str, ...] = ("allocator", "gc")  # settings of `process` that change how it runs
    concurrent = False  # True where a loaded copy may be asked by several threads at once, and gains by it
    build_entry = "sweep.worker.entries:build"  # what answers a build and a repeat in their workers
    measure_entry = "sweep.worker.entries:measure"
    extra = ""  # the extra of this project that installs `packages`, for the message when they are missing

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = from_json(self.options_type, options)

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        """None, or why this build cannot work: one line that says what would. Called in the parent."""
        if spec.precision not in cls.precisions:
            return "%s has no %s: it has %s" % (cls.name, spec.precision, ", ".join(cls.precisions))
        if spec.device not in cls.devices:
            return "%s has no device %s: it has %s" % (cls.name, spec.device, ", ".join(cls.devices))
        given = spec.model.get("format", "module")
        if cls.formats and given not in cls.formats:
            return "%s takes no model of format %s: it takes %s" % (cls.name, given, ", ".join(cls.formats))
        return None

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        """None, or why this trial cannot run although its builds can be made. Called in the parent."""
        if trial.request_items != trial.batch:
            return "%s takes requests of the batch that it was built for: leave out request_batch, or use batch=%d" % (
                cls.name,
                trial.request_items,
            )
        return None

    @classmethod
    def unavailable(cls, trial: Trial) -> Optional[str]:
        """None, or what this trial needs that is not to be had. Called in the parent."""
        return None

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        """Compile-time options of a trial's builds, with what has to be looked up in its hardware. In the parent."""
        given, names = trial.backend.get("options") or {}, list_compile_time(cls.options_type)
        return {name: value for name, value in given.items() if name in names}

    @classmethod
    def missing(cls) -> Optional[str]:
        """None, or what this host lacks besides distributions (a compiler, a driver) and how to get it."""
        return None

    @classmethod
    def versions(cls, precision: str = "") -> Mapping[str, str]:
        """Versions of the toolchain's distributions that are installed here, without importing them."""
        known = installed.versions((*cls.packages, *cls.optional_packages.get(precision, ())))
        return {package: version for package, version in known.items() if version is not None}

    def probe(self) -> Json:
        """In a worker: `{"versions": {...}, "devices": [...]}`, the devices that this process really has."""
        return {"versions": dict(self.versions()), "devices": ["cpu"]}

    def watch(self, folder: Path) -> ContextManager[Callable[[], Json]]:
        """Around one repeat, from before the load to after the window: what the device's own tools say meanwhile.

        The value of the context is asked for its facts after it was left; an empty dict where there is no such tool.
        """
        return contextlib.nullcontext(dict)

    @abc.abstractmethod
    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        """Write the artifact into `folder`.

        Raises:
            TrialError: where the reason is known. Any other exception is classified from its text.
        """

    @abc.abstractmethod
    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> Runner:
        """Load what `build` wrote. `source` is for backends without an artifact (eager): others must not touch it."""

"""Requests from the parent to a worker; `request.json` in a task's folder holds one.

`entry` names the function that answers; it decodes the request first. Requests of earlier versions can be decoded too,
because the command of an old failure runs its request again. Python 3.8, standard library alone.
"""

from dataclasses import dataclass, field
from typing import Any, Mapping, Optional, Sequence, Tuple

from sweep.spec.codec import Json, to_json
from sweep.spec.process import Process
from sweep.spec.settings import Effort
from sweep.spec.trial import BuildSpec, Placement


@dataclass(frozen=True)
class Padding:
    """How the inputs of a model carry a size that varies, and how samples are padded to a bucket."""

    dims: Mapping[str, Sequence[int]] = field(default_factory=dict)  # input -> axes of the batched array
    value: Any = 0.0  # of all inputs, or {input: value}
    side: str = "right"

    @staticmethod
    def of(model: Mapping[str, Any]) -> "Padding":
        """From the config of a model."""
        dims, value, side = (model.get(name) for name in ("bucket_dims", "pad_value", "pad_side"))
        return Padding(dims or {}, value or 0.0, str(side or "right"))

    def value_of(self, name: str) -> float:
        """The value that fills up an input."""
        return float(self.value.get(name, 0.0) if isinstance(self.value, Mapping) else self.value)


def _nest_padding(request: Json) -> Json:
    """Collect the three parts of `padding`, which earlier versions wrote beside the other fields."""
    return request if "padding" in request else {**request, "padding": to_json(Padding.of(request))}


@dataclass(frozen=True)
class ProbeRequest:
    """Which versions and devices does a backend have in this interpreter?"""

    backend: str
    options: Mapping[str, Any] = field(default_factory=dict)
    entry: str = "sweep.worker.entries:probe"


@dataclass(frozen=True)
class VersionsRequest:
    """Which versions of these distributions does this interpreter have?"""

    packages: Tuple[str, ...]
    entry: str = "sweep.worker.entries:versions"


@dataclass(frozen=True)
class ReferenceRequest:
    """Write the data as arrays, and the answers of the original model."""

    model: Mapping[str, Any]  # configs
    data: Mapping[str, Any]
    data_root: str  # with folders named by digest: what is there is not written again
    reference_root: str  # likewise
    flops: bool  # count operations, for which importing torch's counter takes seconds
    entry: str = "sweep.worker.entries:reference"


@dataclass(frozen=True)
class BuildRequest:
    """Build an artifact."""

    spec: BuildSpec
    data_folder: str
    artifact: str  # an empty folder
    padding: Padding = field(default_factory=Padding)
    toolchain: Mapping[str, str] = field(default_factory=dict)  # versions
    entry: str = "sweep.worker.entries:build"

    from_earlier_version = staticmethod(_nest_padding)


@dataclass(frozen=True)
class Artifact:
    """A build to load."""

    spec: BuildSpec
    folder: str


@dataclass(frozen=True)
class MeasureRequest:
    """Measure one repeat of a trial."""

    builds: Tuple[Artifact, ...]  # one for each bucket
    data_folder: str
    batch: int  # items in a request
    placements: Tuple[Placement, ...]  # one for each replica
    effort: Effort
    repeat: int
    share: float  # of the data at which this repeat begins
    options: Mapping[str, Any] = field(default_factory=dict)  # of the backend
    load: Mapping[str, Any] = field(default_factory=dict)  # config
    padding: Padding = field(default_factory=Padding)
    toolchain: Mapping[str, str] = field(default_factory=dict)  # versions
    flops_by_size: Tuple[Tuple[Tuple[int, ...], float], ...] = ()  # see `workloads.count_flops_by_size`
    copy_inputs: bool = False  # each request works on a copy of its inputs, since the model writes into them
    label: str = ""  # of the trial, for messages
    process: Process = field(default_factory=Process)
    scored: Optional[Tuple[int, ...]] = None  # samples that come first, since their answers can be checked; None: all
    entry: str = "sweep.worker.entries:measure"

    from_earlier_version = staticmethod(_nest_padding)


@dataclass(frozen=True)
class TogetherRequest:
    """Measure one repeat of several trials side by side."""

    members: Tuple[MeasureRequest, ...]
    entry: str = "sweep.worker.entries:measure_together"


@dataclass(frozen=True)
class ScoreRequest:
    """Answer samples of the data once with the builds of a trial, on its first placement."""

    trial: MeasureRequest  # what is loaded, how requests are formed, and which samples are scored, ascending
    entry: str = "sweep.worker.entries:score"


@dataclass(frozen=True)
class MetricsRequest:
    """Score the answers of a scoring pass, and the original's to the same samples, by the metrics of the data."""

    data: Mapping[str, Any]  # config
    data_folder: str
    reference: str  # folder of the original's answers
    answers: str  # folder of the build's
    entry: str = "sweep.worker.entries:rate"


@dataclass(frozen=True)
class PaddedReferenceRequest:
    """Ask the original model for its answers to padded samples."""

    model: Mapping[str, Any]  # config
    data_folder: str
    items: Tuple[int, ...]  # numbers of the samples
    shapes: Optional[Tuple[Tuple[int, ...], ...]]  # what each is padded to, (N, D); None: as the arrays are stored
    padding: Padding = field(default_factory=Padding)
    data: Mapping[str, Any] = field(default_factory=dict)  # config
    entry: str = "sweep.worker.padded_reference:check"

    from_earlier_version = staticmethod(_nest_padding)

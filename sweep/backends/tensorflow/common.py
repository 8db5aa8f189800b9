"""What TensorFlow on Neuron shares: options, cores, what a build leaves, and how it is run.

Written against AWS's documentation and the published source of the TensorFlow plug-in; TensorFlow is imported inside
functions only. Two facts shape it. A compiler that fails is only warned about: the model is written all the same and
runs on the CPU, so the share of operators on the device decides. And the first call of a model loads it onto its
cores, so `load` makes that call. Worker side, Python 3.8.
"""

import json
import os
import re
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import (
    Any,
    Callable,
    ContextManager,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    Union,
)

import numpy as np

from sweep.backends import artifact, compiler_output
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.backends.neuron import sdk
from sweep.backends.neuron.monitor import Monitor
from sweep.backends.options import Options
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, Trial, TrialError, from_json, to_json
from sweep.spec.declared import setting
from sweep.workloads import tensorflow_models as models

MODEL, STATED = "model", "stated.json"
FLAGS = "NEURON_CC_FLAGS"
FOREIGN = (FLAGS, sdk.COUNT, sdk.GROUPS)  # would change a build or its place unasked
MODULES = ("tensorflow", "tensorflow_neuron", "tensorflow_neuronx")
REPLICATED_CORES_MAX = 4  # documented for automatic replication inside one process
VERBOSE = ("debug", "info", "warning", "error", "critical")
OPERATORS = {
    "in_session": re.compile(r"Number of operations in TensorFlow session: (\d+)"),
    "optimized": re.compile(r"Number of operations after tf\.neuron optimizations: (\d+)"),
    "on_neuron": re.compile(r"Number of operations placed on Neuron runtime: (\d+)"),
}


@dataclass(frozen=True)
class Stated:
    """What an artifact says about itself."""

    tf1: bool
    precision: str
    shapes: Tuple[Tuple[int, ...], ...]
    dtypes: Tuple[str, ...]
    dynamic_batch: bool
    inputs: Tuple[str, ...] = ()  # names of a SavedModel's signature in the order of the data's inputs

    @classmethod
    def read(cls, folder: Path) -> "Stated":
        with artifact.reading(folder / STATED) as path:
            return from_json(cls, json.loads(path.read_text()))


@dataclass(frozen=True)
class TensorFlowOptions(Options):
    dynamic_batch: bool = setting(False, "request_batch may be another than batch; the runtime splits and fills")
    auto_multicore: bool = setting(False, "`cores` are copies inside one process that take turns")
    verbose: str = setting("error", "what the compiler prints", choices=VERBOSE)
    extra_args: Sequence[Union[str, int]] = setting([], "more words for the compiler: [-O2]", wanted=sdk.WORDS)
    monitor: bool = setting(True, "sample neuron-monitor while measuring", compile_time=False)


class TensorFlowNeuron(Backend):
    """A backend without the flags of its compiler; subclasses add them, and the module that compiles."""

    compiler = ""
    targets: Tuple[str, ...] = ()  # generations of hardware that it is for
    elsewhere = ""  # what to use on others
    own_flags: Mapping[str, str] = {}  # flag of the compiler -> the option that sets it
    preload_build = ("numpy",)  # never TensorFlow: importing it loads the Neuron plug-in, which must see its cores
    preload_run = ("numpy",)
    formats = models.FORMATS
    devices = ("neuron",)
    options_type: Type[Options] = TensorFlowOptions
    options: TensorFlowOptions

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        options, cores = from_json(TensorFlowOptions, spec.options), spec.cores or 1
        if options.auto_multicore and cores > REPLICATED_CORES_MAX:
            most = REPLICATED_CORES_MAX
            text = "auto_multicore replicates over at most %d cores in one process: use cores=%d replicas=%d"
            return text % (most, most, -(-cores // most))
        return sdk.refuse_own_flags([*map(str, options.extra_args)], cls.own_flags) or super().supports(spec)

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        target = trial.hardware.get("target")
        if target and target not in cls.targets:
            return "%s is for %s, %s is %s: use %s" % (
                cls.name,
                " and ".join(cls.targets),
                trial.hardware.get("name"),
                target,
                cls.elsewhere,
            )
        options = from_json(TensorFlowOptions, trial.backend.get("options") or {})
        if trial.request_items == trial.batch or options.dynamic_batch:
            return None
        text = "%s takes %d items as built for batch=%d only with backend.options.dynamic_batch=true; or use batch=%d"
        return text % (cls.name, trial.request_items, trial.batch, trial.request_items)

    def probe(self) -> Json:
        nodes = sorted(path.name for path in Path("/dev").glob("neuron[0-9]*"))
        return {"versions": dict(self.versions()), "devices": ["cpu", *nodes]}

    def watch(self, folder: Path) -> ContextManager[Callable[[], Json]]:
        return Monitor(folder) if self.options.monitor else super().watch(folder)

    def flags(self, spec: BuildSpec, tf1: bool) -> List[str]:
        """The flags of the compiler, each `--name` or `--name=value`: all that matter, as defaults change."""
        raise NotImplementedError

    def precision(self, flags: Sequence[str], tf1: bool) -> str:
        """The precision that these flags lead to; the rightmost of equal flags counts."""
        raise NotImplementedError

    def plugin(self) -> Any:
        """The Neuron module of TensorFlow."""
        raise NotImplementedError

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        """Build, however much of it runs on the device: `placement` says how much, and `fallback` why not all."""
        ignored = forget_environment()
        path = find_compiler(self.compiler)
        tf1 = self.versions()["tensorflow"].startswith("1.")
        flags = self.flags(spec, tf1)
        with compiler_output.capture() as printed:
            share = (self.convert if tf1 else self.trace)(source, spec, folder / MODEL, flags)
        shapes = tuple(array.shape for array in source.example)
        dtypes = tuple(array.dtype.name for array in source.example)
        dynamic, inputs = self.options.dynamic_batch, _list_inputs(spec)
        stated = Stated(tf1, self.precision(flags, tf1), shapes, dtypes, dynamic, inputs)
        (folder / STATED).write_text(json.dumps(to_json(stated)))
        notes: Dict[str, Any] = {"on_neuron_ratio": share, "compiler": path, "flags": flags}
        if tf1:
            counts = {name: pattern.findall(printed.text) for name, pattern in OPERATORS.items()}
            notes["operators"] = {name: int(numbers[-1]) for name, numbers in counts.items() if numbers}
        if ignored:
            notes["ignored_environment"] = ignored
        why = compiler_output.find_reason(printed.text) if share < 1.0 else ""
        return BuildInfo(stated.precision, share, self.versions(), notes, fallback=why)

    def convert(self, source: Source, spec: BuildSpec, folder: Path, flags: List[str]) -> float:
        """TensorFlow 1: write the compiled SavedModel to the new folder; the share of operators on the device."""
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, "%s needs TensorFlow 2, here is TensorFlow 1" % self.name)

    def trace(self, source: Source, spec: BuildSpec, folder: Path, flags: List[str]) -> float:
        """TensorFlow 2: the same. It takes options from the environment alone, and has no deadline of its own."""
        os.environ[FLAGS] = " ".join(map(shlex.quote, flags))
        plugin = self.plugin()
        function, given = models.traceable(source.load_model(), source.example)
        example = given[0] if len(given) == 1 else given
        traced = plugin.trace(function, example)
        if not hasattr(traced, "on_neuron_ratio"):
            raise TrialError(FailureKind.PARTIAL_PLACEMENT, "trace returned the model as it was: nothing was compiled")
        share = float(traced.on_neuron_ratio)
        if self.options.auto_multicore and (spec.cores or 1) > 1 and share > 0:
            traced = self.multicore()(traced, example, num_cores=spec.cores)
        traced.save(str(folder))
        return share

    def multicore(self) -> Any:
        """The function that spreads a traced model over several cores."""
        return self.plugin().auto_multicore

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "NeuronRunner":
        sdk.claim(placement, MODULES)
        stated = Stated.read(folder)
        tf1 = models.is_tf1()
        if tf1 != stated.tf1:
            text = "built by TensorFlow %d, here is TensorFlow %d: build again" % (2 - stated.tf1, 2 - tf1)
            raise TrialError(FailureKind.ARTIFACT_INCOMPATIBLE, text)
        if not tf1:
            use_threads(placement)
        self.plugin()
        with artifact.reading(folder / MODEL / "saved_model.pb") as path:
            prepare, call = _load_model(str(path.parent), stated)
        return NeuronRunner(prepare, call, stated)


class NeuronRunner(Runner):
    """One compiled model. Its first call puts it onto its cores, and is made here."""

    def __init__(self, prepare: Callable[[Arrays], Any], call: Callable[[Any], Any], stated: Stated) -> None:
        self.precision = stated.precision
        self.shapes = tuple((None, *shape[1:]) if stated.dynamic_batch else shape for shape in stated.shapes)
        self._call = call
        self._prepare = prepare
        zeros = tuple(np.zeros(shape, dtype) for shape, dtype in zip(stated.shapes, stated.dtypes))
        models.arrays(call(prepare(zeros)))

    def run(self, request: Any) -> Any:
        return self._call(request)

    def prepare(self, inputs: Arrays) -> Any:
        return self._prepare(self.check_shapes(inputs))

    def outputs(self, raw: Any) -> Arrays:
        return models.arrays(raw)


def _list_inputs(spec: BuildSpec) -> Tuple[str, ...]:
    """What `model.inputs` lists of a SavedModel; a factory of Keras may have such an argument for something else."""
    return tuple(spec.model.get("inputs") or ()) if spec.model.get("format") == "saved_model" else ()


def _load_model(path: str, stated: Stated) -> Tuple[Callable[[Arrays], Any], Callable[[Any], Any]]:
    """A function that makes a request of arrays, and a function that answers it."""
    if stated.tf1:
        signature = models.Signature(path, stated.inputs)
        return signature.prepare, signature.run
    import tensorflow

    model = tensorflow.keras.models.load_model(path)
    if len(stated.shapes) == 1:
        return lambda arrays: models.tensor(arrays[0]), model
    order = [place for _, place in sorted(zip(stated.inputs or range(len(stated.shapes)), range(len(stated.shapes))))]
    return lambda arrays: [models.tensor(arrays[place]) for place in order], model


def forget_environment() -> Dict[str, str]:
    """Remove from this process what a shell may have set for other programs; return it."""
    return {name: os.environ.pop(name) for name in FOREIGN if name in os.environ}


def use_threads(placement: Placement) -> None:
    """Threads of the operators that stay on the CPU. They can be set only before the first operation.

    Raises:
        TrialError: another number is set, and something has run already.
    """
    import tensorflow

    threading, wanted = tensorflow.config.threading, max(1, placement.threads)
    if threading.get_intra_op_parallelism_threads() != wanted:
        try:
            threading.set_intra_op_parallelism_threads(wanted)
        except RuntimeError as error:
            text = "TensorFlow runs already with %d threads, the trial has %d: the model's code sets the number"
            have = threading.get_intra_op_parallelism_threads()
            raise TrialError(FailureKind.WRONG_RESOURCES, text % (have, wanted)) from error


def find_compiler(name: str) -> str:
    """The compiler as TensorFlow will find it: beside the interpreter, else on PATH.

    Raises:
        TrialError: there is none, which TensorFlow itself hardly says.
    """
    places = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    path = shutil.which(name, path=os.pathsep.join(places))
    if path is None:
        summary = "%s is not found: %s -m pip install %s" % (name, sys.executable, name)
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, summary)
    return path

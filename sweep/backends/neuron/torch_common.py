"""What the torch backends for Neuron devices share: what an artifact says of itself, the runner, the class.

Built on the documented interfaces of torch-neuronx and torch-neuron alone, and never run on a device by this project.
Worker side, Python 3.8; torch is imported inside functions.
"""

import abc
import json
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ContextManager, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type

import numpy as np

from sweep.backends import artifact
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.backends.neuron import output
from sweep.backends.neuron import sdk as neuron
from sweep.backends.neuron.monitor import Monitor
from sweep.backends.options import Options
from sweep.backends.pytorch import common
from sweep.spec import BuildSpec, FailureKind, Json, Placement, Trial, TrialError, from_json
from sweep.spec.declared import setting

MODEL = "model.pt"
STATED = "sweep.json"  # a file inside the archive
DRIVER = Path("/sys/module/neuron/version")


class Stated(NamedTuple):
    """What an artifact says of itself, from what its compiler was given."""

    precision: str
    shapes: Tuple[Tuple[int, ...], ...]
    dtypes: Tuple[str, ...]
    arguments: Tuple[str, ...]  # of the compiler
    options: Json  # how it was made
    versions: Mapping[str, str]

    def text(self) -> str:
        return json.dumps(self._asdict())


def read_stated(path: Path) -> Stated:
    """From the archive, without a framework."""
    with zipfile.ZipFile(str(path)) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/extra/" + STATED)), None)
        if name is None:
            raise ValueError("it says nothing about itself")
        found = json.loads(archive.read(name).decode("utf-8"))
    found["shapes"] = tuple(tuple(shape) for shape in found["shapes"])
    return Stated(**{**found, "dtypes": tuple(found["dtypes"]), "arguments": tuple(found["arguments"])})


def flat(model: Any) -> Any:
    """A module around `model` whose outputs are a flat tuple of tensors. It adds no operator."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *inputs: Any) -> Tuple[Any, ...]:
            return tuple(common.leaves(self.inner(*inputs)))

    module = Flat()
    module.training = False  # not eval(): an exported model refuses to be asked
    return module


def weights_precision(model: Any) -> str:
    """That of the model as it is, which a compiler keeps where it casts nothing."""
    return common.precision_of(tensor.dtype for tensor in [*model.parameters(), *model.buffers()]) or "fp32"


def on_device(module: Any) -> bool:
    """True if a traced module has anything that runs on a device: the SDK's operator, or its class."""
    return re.search(r"\bneuron(?:::|\.)", str(module.inlined_graph)) is not None


def share_on_device(traced: Any, original: Any, example: Tuple[Any, ...]) -> float:
    """Share of the original's operators that are in the device's programs: all but those left in the graph."""
    import torch

    if not on_device(traced):
        return 0.0
    trace: Any = torch.jit.trace  # has no types of its own
    with common.quiet(), torch.no_grad():
        whole = trace(original, example, strict=False, check_trace=False)
    total = operators(whole.inlined_graph)
    return 1.0 - min(1.0, operators(traced.inlined_graph) / total) if total else 1.0


def operators(graph: Any) -> int:
    """Operators of torch in a TorchScript graph, those of its branches included."""
    count = 0
    for node in graph.nodes():
        count += node.kind().startswith("aten::")
        count += sum(operators(block) for block in node.blocks())
    return count


class NeuronRunner(Runner):
    """A loaded artifact: takes and returns tensors of the host, so a call includes every copy and its wait."""

    def __init__(self, call: Any, stated: Stated, placement: Placement, parallel: int, dynamic: bool) -> None:
        """
        Args:
            parallel: cores that one request is split over.
            dynamic: the first dimension of a request is free.
        """
        import torch

        self.call = call
        self.precision = stated.precision
        self.dynamic = dynamic
        self.shapes = tuple((shape[0] * parallel, *shape[1:]) for shape in stated.shapes)
        self._cores = placement.cores
        self._physical = int(stated.options.get("lnc") or 1)
        self._without_gradients = torch.no_grad

    def prepare(self, inputs: Arrays) -> Any:
        return common.tensors(self.fitting(inputs))

    def fitting(self, inputs: Arrays) -> Arrays:
        if not self.dynamic or self.shapes is None:
            return super().fitting(inputs)
        given, built = [array.shape for array in inputs], self.shapes
        same = len(given) == len(built) and all(g[1:] == b[1:] for g, b in zip(given, built))
        if not same or len({shape[0] for shape in given}) != 1:
            summary = "built for inputs of shape %s, called with %s: only the first number may be another one" % (
                ", ".join("x".join(["any", *map(str, shape[1:])]) for shape in built),
                ", ".join("x".join(map(str, shape)) for shape in given),
            )
            raise TrialError(FailureKind.SHAPE_MISMATCH, summary)
        return inputs

    def run(self, request: Any) -> Any:
        with self._without_gradients():
            try:
                return self.call(*request)
            except ValueError as error:  # documented for requests that dynamic batching cannot split
                raise TrialError(FailureKind.SHAPE_MISMATCH, "the device refuses the request: %s" % error) from error
            except RuntimeError as error:  # TorchScript's own words come first, and say only that something failed
                raise (output.reason(error) or error) from error

    def outputs(self, raw: Any) -> Arrays:
        return common.arrays(raw)

    def device_memory_mb(self) -> float:
        return neuron.device_memory_mb(self._cores, self._physical)

    def close(self) -> None:
        self.call = None


def empty_request(runner: NeuronRunner, dtypes: Sequence[str]) -> Any:
    """A request of zeros."""
    shapes = runner.shapes or ()
    return common.tensors(tuple(np.zeros(shape, dtype) for shape, dtype in zip(shapes, dtypes)))


@dataclass(frozen=True)
class NeuronOptions(Options):
    dynamic_batch: bool = setting(False, "requests of any number of items, cut into batches")
    extra_args: Sequence[str] = setting(
        [], "more words for the compiler, such as [--enable-saturate-infinity]", wanted=neuron.WORDS
    )


class NeuronBackend(Backend):
    """What the backends for Neuron devices say alike."""

    sdk = ""  # the module that makes TorchScript know the device's operators
    preload_build = ("torch",)
    preload_run = ("torch",)  # never the SDK: cores are chosen before it is imported
    formats: Tuple[str, ...] = ("module", "torchscript")
    devices = ("neuron",)
    options_type: Type[Options] = NeuronOptions
    options: NeuronOptions
    concurrent = True  # what fills a pipeline of cores; never run on a device by this project

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        options = from_json(NeuronOptions, trial.backend.get("options") or {})
        return None if options.dynamic_batch else super().runs(trial)

    @classmethod
    def missing(cls) -> Optional[str]:
        neuron.own_programs()
        compiler = cls.build_packages[0]  # its program has the name of its distribution
        if compiler in cls.versions() and shutil.which(compiler) is None:
            return "%s is installed but not on PATH: activate its environment, or use backend.python" % compiler
        return None

    @classmethod
    def versions(cls, precision: str = "") -> Dict[str, str]:
        found = dict(super().versions(precision))
        driver = DRIVER.read_text().strip() if DRIVER.is_file() else ""
        return {**found, "neuron-driver": driver} if driver else found

    def probe(self) -> Json:
        return {"versions": self.versions(), "devices": ["neuron"] if neuron.has_device() else []}

    def watch(self, folder: Path) -> ContextManager[Any]:
        return Monitor(folder)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> NeuronRunner:
        """Claim the cores, then import the SDK and read the artifact, each failure told by what the SDK printed."""
        with artifact.reading(folder / MODEL) as path:
            stated = read_stated(path)
            neuron.claim(placement, (self.sdk,))
            if stated.options.get("lnc"):
                os.environ[neuron.LNC] = str(stated.options["lnc"])
            try:
                with output.explained():
                    return self.loaded(path, stated, placement)
            except TrialError as error:
                raise self.another_version(error, stated) from error

    @abc.abstractmethod
    def loaded(self, path: Path, stated: Stated, placement: Placement) -> NeuronRunner:
        """The runner of the artifact `path`, the cores being claimed."""

    def another_version(self, error: TrialError, stated: Stated) -> TrialError:
        """The error of a load, with whose artifact it is where that is the reason."""
        if error.kind is not FailureKind.ARTIFACT_INCOMPATIBLE:
            return error
        built, here = _listed(stated.versions, self.packages), _listed(self.versions(), self.packages)
        target = stated.options.get("target") or "inf1"
        return TrialError(error.kind, "%s; built for %s with %s, here are %s" % (error, target, built, here))


def _listed(versions: Mapping[str, str], names: Sequence[str]) -> str:
    known: List[str] = ["%s %s" % (name, versions[name]) for name in names if name in versions]
    return ", ".join(known) or "unknown versions"

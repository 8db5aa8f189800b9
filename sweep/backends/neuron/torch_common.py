"""What the torch backends for Neuron devices share: what an artifact says about itself, the runner, the class.

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
from typing import Any, ContextManager, Dict, List, Mapping, Optional, Sequence, Tuple, Type

import numpy as np

from sweep.backends import artifact
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.backends.neuron import output
from sweep.backends.neuron import sdk as neuron
from sweep.backends.neuron.monitor import Monitor
from sweep.backends.options import Options
from sweep.backends.pytorch import common
from sweep.spec import BuildSpec, FailureKind, Json, Placement, Trial, TrialError, from_json, to_json
from sweep.spec.declared import setting
from sweep.workloads import torch_models

MODEL = "model.pt"
STATED = "sweep.json"  # a file inside the archive
DRIVER = Path("/sys/module/neuron/version")


@dataclass(frozen=True)
class Stated:
    """What an artifact says about itself, from what its compiler was given."""

    precision: str
    shapes: Tuple[Tuple[int, ...], ...]
    dtypes: Tuple[str, ...]
    arguments: Tuple[str, ...]  # of the compiler
    options: Json  # how it was built
    versions: Mapping[str, str]

    @classmethod
    def describe(
        cls, source: Source, precision: str, arguments: Sequence[str], options: Json, versions: Mapping[str, str]
    ) -> "Stated":
        """What a build from `source` states."""
        shapes = tuple(array.shape for array in source.example)
        dtypes = tuple(str(array.dtype) for array in source.example)
        return cls(precision, shapes, dtypes, tuple(arguments), options, versions)

    def save(self, module: Any, path: Path) -> None:
        """Write a traced module with this inside."""
        import torch

        with common.quiet():
            torch.jit.save(module, str(path), _extra_files={STATED: json.dumps(to_json(self))})


def read_stated(path: Path) -> Stated:
    """Read what an artifact says about itself, without a framework."""
    with zipfile.ZipFile(str(path)) as archive:
        name = next((name for name in archive.namelist() if name.endswith("/extra/" + STATED)), None)
        if name is None:
            raise ValueError("it says nothing about itself")
        return from_json(Stated, json.loads(archive.read(name).decode("utf-8")))


def read_module(path: Path) -> Any:
    """Read the artifact; the SDK must have been imported, so that TorchScript knows the device's operator.

    Raises:
        TrialError: it has nothing for the device.
    """
    import torch

    read: Any = torch.jit.load  # has no types of its own
    with common.quiet():
        module = read(str(path))
    if not on_device(module):
        raise TrialError(FailureKind.PARTIAL_PLACEMENT, "the artifact has nothing that runs on the device")
    return module


def flat(model: Any) -> Any:
    """A module around `model` whose outputs are a flat tuple of tensors. It adds no operator."""
    import torch

    class Flat(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *inputs: Any) -> Tuple[Any, ...]:
            return tuple(torch_models.list_tensors(self.inner(*inputs)))

    module = Flat()
    module.training = False  # not eval(): an exported model refuses to be asked
    return module


def weights_precision(model: Any) -> str:
    """The precision of the original's weights, which a compiler keeps where it casts nothing."""
    return common.precision_of(tensor.dtype for tensor in [*model.parameters(), *model.buffers()]) or "fp32"


def on_device(module: Any) -> bool:
    """Whether a traced module has anything that runs on a device: the SDK's operator, or its class."""
    return re.search(r"\bneuron::|\btorch\.classes\.neuron\.", str(module.inlined_graph)) is not None


def share_on_device(traced: Any, original: Any, example: Tuple[Any, ...]) -> float:
    """The share of the original's operators that the device runs: all but those that are left in the graph."""
    import torch

    if not on_device(traced):
        return 0.0
    trace: Any = torch.jit.trace  # has no types of its own
    with common.quiet(), torch.no_grad():
        whole = trace(original, example, strict=False, check_trace=False)
    total = count_operators(whole.inlined_graph)
    return 1.0 - min(1.0, count_operators(traced.inlined_graph) / total) if total else 1.0


def count_operators(graph: Any) -> int:
    """Count the operators of torch in a TorchScript graph, those of its branches included."""
    count = 0
    for node in graph.nodes():
        count += node.kind().startswith("aten::")
        count += sum(count_operators(block) for block in node.blocks())
    return count


class NeuronRunner(Runner):
    """A loaded artifact: takes and returns tensors of the host, so a call includes every copy and its wait."""

    def __init__(self, call: Any, stated: Stated, placement: Placement, parallel: int = 1) -> None:
        """
        Args:
            parallel: cores that a request is split over.
        """
        import torch

        self.call = call
        self.precision = stated.precision
        self._whole = tuple((shape[0] * parallel, *shape[1:]) for shape in stated.shapes)
        self._dtypes = stated.dtypes
        free = bool(stated.options.get("dynamic_batch"))
        self.shapes = tuple((None, *shape[1:]) if free else shape for shape in self._whole)
        self._cores = placement.cores
        self._physical = int(stated.options.get("lnc") or 1)
        self._without_gradients = torch.no_grad

    def run_once(self) -> None:
        """Run a request of zeros."""
        zeros = tuple(np.zeros(shape, dtype) for shape, dtype in zip(self._whole, self._dtypes))
        self.run(torch_models.to_tensors(zeros))

    def prepare(self, inputs: Arrays) -> Any:
        return torch_models.to_tensors(self.check_shapes(inputs))

    def run(self, request: Any) -> Any:
        with self._without_gradients():
            try:
                return self.call(*request)
            except ValueError as error:  # documented for requests that dynamic batching cannot split
                raise TrialError(FailureKind.SHAPE_MISMATCH, "the device refuses the request: %s" % error) from error
            except RuntimeError as error:  # TorchScript's own words come first, and say only that something failed
                raise (output.find_reason(error) or error) from error

    def outputs(self, raw: Any) -> Arrays:
        return torch_models.to_arrays(raw)

    def device_memory_mb(self) -> float:
        return neuron.device_memory_mb(self._cores, self._physical)

    def close(self) -> None:
        self.call = None


@dataclass(frozen=True)
class NeuronOptions(Options):
    dynamic_batch: bool = setting(False, "requests of any number of items, cut into batches")
    extra_args: Sequence[str] = setting(
        [], "more words for the compiler, such as [--enable-saturate-infinity]", wanted=neuron.WORDS
    )


class NeuronBackend(Backend):
    """What the backends for Neuron devices have in common."""

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
        neuron.put_own_programs_first()
        compiler = cls.build_packages[0]  # its program has the name of its distribution
        if compiler in cls.versions() and shutil.which(compiler) is None:
            return "%s is installed but not on PATH: activate its environment, or use backend.python" % compiler
        return None

    @classmethod
    def versions(cls, precision: str = "") -> Dict[str, str]:
        versions = dict(super().versions(precision))
        driver = DRIVER.read_text().strip() if DRIVER.is_file() else ""
        return {**versions, "neuron-driver": driver} if driver else versions

    def probe(self) -> Json:
        return {"versions": self.versions(), "devices": ["neuron"] if neuron.has_device() else []}

    def watch(self, folder: Path) -> ContextManager[Any]:
        return Monitor(folder)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> NeuronRunner:
        """Claim the cores, then import the SDK and read the artifact; what the SDK prints explains a failure."""
        with artifact.reading(folder / MODEL) as path:
            stated = read_stated(path)
            neuron.claim(placement, (self.sdk,))
            common.use_threads(placement)
            common.use_one_operator()
            if stated.options.get("lnc"):
                os.environ[neuron.LNC] = str(stated.options["lnc"])
            try:
                with output.explain():
                    return self.make_runner(path, stated, placement)
            except TrialError as error:
                raise self._add_versions(error, stated) from error

    @abc.abstractmethod
    def make_runner(self, path: Path, stated: Stated, placement: Placement) -> NeuronRunner:
        """Load the artifact `path` onto the cores, which are claimed."""

    def _add_versions(self, error: TrialError, stated: Stated) -> TrialError:
        """The error of a load; if the artifact is the reason, with the versions that built it and those here."""
        if error.kind is not FailureKind.ARTIFACT_INCOMPATIBLE:
            return error
        built, here = _format_versions(stated.versions, self.packages), _format_versions(self.versions(), self.packages)
        target = stated.options.get("target") or "inf1"
        return TrialError(error.kind, "%s; built for %s with %s, here are %s" % (error, target, built, here))


def _format_versions(versions: Mapping[str, str], names: Sequence[str]) -> str:
    known: List[str] = ["%s %s" % (name, versions[name]) for name in names if name in versions]
    return ", ".join(known) or "unknown versions"

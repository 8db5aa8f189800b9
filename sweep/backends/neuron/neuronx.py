"""AWS Inferentia2 and Trainium: the model compiled ahead of time by `torch_neuronx.trace`.

Verified against the documented API of Neuron SDK 2.32; never run on a device by this project. Every flag of the
compiler that decides what is computed is passed, because defaults changed between releases, and the artifact carries
them. Sources: AWS Neuron documentation, torch-neuronx API reference and neuronx-cc command line reference.
"""

import contextlib
import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from sweep.backends.base import Source
from sweep.backends.neuron import output
from sweep.backends.neuron import sdk as neuron
from sweep.backends.neuron import torch_common as shared
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, Trial, TrialError

CORES_OF = {"inf2": "v2", "trn1": "v2", "trn1n": "v2", "trn2": "v3"}  # target -> generation of its NeuronCores
CHOICES: Mapping[str, Tuple[Any, ...]] = {
    "auto_cast": ("matmult", "all"),
    "optlevel": (1, 2, 3),
    "model_type": ("generic", "transformer", "unet-inference"),
    "lnc": (None, 1, 2),
    "mixed_precision_accumulation": (True, False),
    "inline_weights": (True, False),
    "dynamic_batch": (True, False),
    "lazy_load": (True, False),
    "cpu_backend": ("auto", True, False),
}
OWN_FLAGS = {
    "--target": "backend.options.target",
    "--auto-cast": "backend.options.auto_cast",
    "--auto-cast-type": "backend.options.auto_cast",
    "--optlevel": "backend.options.optlevel",
    "-O": "backend.options.optlevel",
    "-O1": "backend.options.optlevel",
    "-O2": "backend.options.optlevel",
    "-O3": "backend.options.optlevel",
    "--model-type": "backend.options.model_type",
    "--logical-nc-config": "backend.options.lnc",
    "-lnc": "backend.options.lnc",
    "--enable-mixed-precision-accumulation": "backend.options.mixed_precision_accumulation",
    "--disable-mixed-precision-accumulation": "backend.options.mixed_precision_accumulation",
}
PARTITION = (
    "model_support_percentage_threshold",
    "min_subgraph_size",
    "max_subgraph_count",
    "ops_to_partition",
    "analyze_parameters",
)


class NeuronX(shared.NeuronBackend):
    name = "neuronx"
    sdk = "torch_neuronx"
    packages = ("torch-neuronx", "neuronx-cc", "torch")
    build_packages = ("neuronx-cc",)
    precisions = ("fp32", "bf16", "fp16")
    formats = ("module", "torchscript", "exported")
    compile_options = ("target", *CHOICES, "partition", "extra_args")

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        options = super().build_options(trial)
        if options.get("target", "auto") == "auto":
            options["target"] = target_of(trial.hardware) or "auto"
        return options

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        options, target = spec.options, spec.options.get("target", "auto")
        refused = super().supports(spec) or cls.wrong_option(options, CHOICES)
        if refused:
            return refused
        if target == "auto":
            choices = ", ".join(CORES_OF)
            return "the hardware does not say what to compile for: set backend.options.target to one of %s" % choices
        if target == "inf1":
            return "neuronx does not compile for Inf1: use backend=neuron, or hardware with Inferentia2 or Trainium"
        if target not in CORES_OF:
            return "backend.options.target=%s is not known: choose one of auto, %s" % (target, ", ".join(CORES_OF))
        if options.get("lnc") is not None and target != "trn2":
            return "backend.options.lnc is for target=trn2 alone: leave it at null for %s" % target
        return neuron.taken_flag(options.get("extra_args") or (), OWN_FLAGS) or _partition_rule(options)

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        options, target = trial.backend.get("options") or {}, cls.build_options(trial).get("target")
        here = target_of(trial.hardware)
        if here and target in CORES_OF and CORES_OF.get(here) != CORES_OF[target]:
            return "%s cannot run what is built for %s: leave backend.options.target=auto" % (here, target)
        spread = options.get("spread", "data_parallel")
        if spread not in ("data_parallel", "replicate"):
            return "backend.options.spread=%s is not known: choose data_parallel or replicate" % spread
        if trial.cores > 1 and not options.get("inline_weights", True):
            return "separated weights are moved to one core: use cores=1 with replicas, or inline_weights=true"
        whole = trial.batch * trial.cores
        if trial.cores == 1 or spread == "replicate" or options.get("dynamic_batch"):
            return super().runs(trial)
        if trial.request_items != whole:
            return "a request is split over %d cores: use request_batch=%d (batch x cores), or dynamic_batch=true" % (
                trial.cores,
                whole,
            )
        return None

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        workdir = folder / "compiler"
        neuron.own_programs()
        versions = self.versions()
        _hermetic(workdir, self.options)
        with _without_device(self.options.get("cpu_backend", "auto")) as without_device:
            with output.explained(workdir):
                made = self._trace(source, spec, workdir, without_device, versions)
            output.keep_log(workdir, folder)
            made.save(folder / shared.MODEL, self.options)
        notes = {**made.stated.options, "compiler_args": list(made.stated.arguments), "cpu_backend": without_device}
        return BuildInfo(made.stated.precision, made.share, versions, notes)

    def _trace(
        self, source: Source, spec: BuildSpec, workdir: Path, without_device: bool, versions: Dict[str, str]
    ) -> "_Made":
        import torch
        import torch_neuronx

        trace = neuron.documented(torch_neuronx, "trace", versions)
        model, example = source.load_model(), common.tensors(source.example)
        arguments = compiler_args(self.options, spec.precision)
        more: Dict[str, Any] = {"cpu_backend": True} if without_device else {}
        partition = self.options.get("partition")
        if partition is not None:
            more["partitioner_config"] = _partitioner(torch_neuronx, partition, versions)
        inline = bool(self.options.get("inline_weights", True))
        original = shared.flat(model)
        with torch.no_grad(), neuron.known_keywords("torch_neuronx.trace", versions):
            traced = trace(
                original,
                example,
                compiler_workdir=str(workdir),
                compiler_args=arguments,
                inline_weights_to_neff=inline,
                **more,
            )
        share = shared.share_on_device(traced, original, example) if partition is not None else 1.0
        if not shared.on_device(traced):
            summary = "torch_neuronx.trace returned a module that has nothing for the device"
            raise TrialError(FailureKind.PARTIAL_PLACEMENT, summary)
        kept = ("target", "inline_weights", "dynamic_batch", "lazy_load", "partition")
        how = {name: self.options[name] for name in kept if name in self.options}
        how.update({"lnc": logical_cores(self.options), "weights": shared.weights_precision(model)})
        stated = shared.Stated(
            precision=precision_of(arguments, how["weights"]),
            shapes=tuple(array.shape for array in source.example),
            dtypes=tuple(str(array.dtype) for array in source.example),
            arguments=tuple(arguments),
            options=how,
            versions=versions,
        )
        return _Made(torch_neuronx, traced, stated, share)

    def loaded(self, path: Path, stated: shared.Stated, placement: Placement) -> shared.NeuronRunner:
        import torch
        import torch_neuronx  # TorchScript knows the device's operator from here on

        common.use_threads(placement)
        read: Any = torch.jit.load  # has no types of its own
        cores, versions = max(1, len(placement.cores)), self.versions()
        dynamic = bool(stated.options.get("dynamic_batch"))
        split = cores > 1 and self.options.get("spread", "data_parallel") == "data_parallel"
        with contextlib.nullcontext() if split else _on_cores(torch_neuronx, cores, versions), common.quiet():
            module = read(str(path))
            if not shared.on_device(module):
                raise TrialError(FailureKind.PARTIAL_PLACEMENT, "the artifact has nothing that runs on the device")
            if not stated.options.get("inline_weights", True):
                neuron.documented(torch_neuronx, "move_trace_to_device", versions)(module, 0)
            call = module
            if split:
                together = neuron.documented(torch_neuronx, "DataParallel", versions)
                call = together(module, device_ids=list(range(cores)), dim=0, set_dynamic_batching=dynamic)
            runner = shared.NeuronRunner(call, stated, placement, cores if split else 1, dynamic)
            runner.precision = precision_of(stated.arguments, stated.options["weights"])
            if stated.options.get("lazy_load"):  # the device gets the model at the first call, which is part of loading
                runner.run(shared.empty_request(runner, stated.dtypes))
        return runner


class _Made(NamedTuple):
    sdk: Any
    traced: Any
    stated: shared.Stated
    share: float  # of the operators, on the device

    def save(self, path: Path, options: Mapping[str, Any]) -> None:
        """Flags that stay in the artifact have to be set between the trace and this."""
        import torch

        if options.get("dynamic_batch"):
            neuron.documented(self.sdk, "dynamic_batch", self.stated.versions)(self.traced)
        if options.get("lazy_load"):
            neuron.documented(self.sdk, "lazy_load", self.stated.versions)(self.traced)
        with common.quiet():
            torch.jit.save(self.traced, str(path), _extra_files={shared.STATED: self.stated.text()})


def target_of(hardware: Mapping[str, Any]) -> Optional[str]:
    """What a compiler calls a hardware: its `target`, or its instance type's family (trn2 of `trn2u.48xlarge`)."""
    named = hardware.get("target")
    if named:
        return str(named)
    family = str(hardware.get("instance_type") or "").partition(".")[0]
    if family in CORES_OF:
        return family
    found = re.match(r"(?:inf|trn)\d+", family)
    return found.group() if found else None


def compiler_args(options: Mapping[str, Any], precision: str) -> List[str]:
    """Every flag of neuronx-cc that decides what is computed and how, whatever the release's defaults are."""
    target = str(options["target"])
    cast = "none" if precision == "fp32" else str(options.get("auto_cast", "all"))
    words = ["--target", target, "--model-type", str(options.get("model_type", "generic"))]
    words += ["--optlevel", str(options.get("optlevel", 2)), "--auto-cast", cast]
    words += ["--auto-cast-type", precision] if cast != "none" else []
    narrow = "enable" if options.get("mixed_precision_accumulation", True) else "disable"
    words.append("--%s-mixed-precision-accumulation" % narrow)
    cores = logical_cores(options)
    words += ["--logical-nc-config", str(cores)] if cores else []
    return [*words, *(options.get("extra_args") or ())]


def logical_cores(options: Mapping[str, Any]) -> Optional[int]:
    """Physical cores in a logical one, where there is such a thing."""
    return int(options.get("lnc") or 2) if options.get("target") == "trn2" else None


def precision_of(arguments: Sequence[str], weights: str) -> str:
    """What is computed, by the flags that the compiler was given; without a cast it is what the weights are."""
    cast = neuron.value_of(arguments, "--auto-cast")
    return weights if cast == "none" else neuron.value_of(arguments, "--auto-cast-type") or "unknown"


def _partition_rule(options: Mapping[str, Any]) -> Optional[str]:
    asked = options.get("partition")
    if asked is None:
        return None
    unknown = [str(name) for name in asked if name not in PARTITION] if isinstance(asked, Mapping) else [str(asked)]
    if unknown:
        return "backend.options.partition=%s is not known: it is null, or has %s" % (unknown[0], ", ".join(PARTITION))
    return None


def _partitioner(sdk: Any, asked: Mapping[str, Any], versions: Mapping[str, str]) -> Any:
    given = dict(asked)
    if given.get("ops_to_partition") is not None:
        given["ops_to_partition"] = set(given["ops_to_partition"])
    with neuron.known_keywords("PartitionerConfig", versions):
        return neuron.documented(sdk, "PartitionerConfig", versions)(**given)


def _on_cores(sdk: Any, count: int, versions: Mapping[str, str]) -> ContextManager[Any]:
    """Where what is loaded inside goes: from this process's first core on, a copy on each of `count`."""
    for home in (sdk, getattr(sdk, "experimental", None)):  # its name until SDK 2.24 was experimental
        placing = getattr(home, "neuron_cores_context", None)
        if placing is not None:
            made: ContextManager[Any] = placing(start_nc=0, nc_count=count)
            return made
    if count > 1:
        neuron.documented(sdk, "neuron_cores_context", versions)
    return contextlib.nullcontext()  # the process sees one core


def _hermetic(workdir: Path, options: Mapping[str, Any]) -> None:
    """What a shell or an earlier build left must not change this one."""
    workdir.mkdir(exist_ok=True)
    flags = os.environ.pop("NEURON_CC_FLAGS", None)
    if flags:
        print("NEURON_CC_FLAGS=%s is left out: use backend.options.extra_args" % flags, flush=True)
    os.environ["NEURON_COMPILE_CACHE_URL"] = str(workdir / "cache")  # failures are cached too
    cores = logical_cores(options)
    if cores:
        os.environ[neuron.LNC] = str(cores)


@contextlib.contextmanager
def _without_device(asked: Any) -> Iterator[bool]:
    """True where the trace has to do without a device: there is none, or another build of ours has it just now."""
    if asked != "auto":
        if asked is False:
            neuron.one_core_for_building()
        yield bool(asked)
        return
    if not neuron.has_device():
        yield True
        return
    path = Path(tempfile.gettempdir()) / ("sweep-neuron-build-%d.lock" % os.getuid())
    with open(str(path), "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield True
            return
        neuron.one_core_for_building()
        yield False

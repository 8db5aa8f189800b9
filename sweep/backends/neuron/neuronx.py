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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from sweep.backends.base import Source
from sweep.backends.neuron import output
from sweep.backends.neuron import sdk as neuron
from sweep.backends.neuron import torch_common as shared
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Json, Placement, Trial, TrialError, from_json, to_json
from sweep.spec.declared import setting
from sweep.workloads import torch_models

CORES_OF = {"inf2": "v2", "trn1": "v2", "trn1n": "v2", "trn2": "v3"}  # target -> generation of its NeuronCores
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


@dataclass(frozen=True)
class NeuronXOptions(neuron.NeuronxCompilerOptions, shared.NeuronOptions):
    target: str = setting("auto", "auto: what the hardware is", choices=("auto", *CORES_OF))
    mixed_precision_accumulation: bool = setting(True, "sums of narrow products in fp32")
    lnc: Optional[int] = setting(None, "physical cores in a core of trn2; null: 2", choices=(1, 2))
    inline_weights: bool = setting(True, "false: weights apart from the program, put on the core when loaded")
    lazy_load: bool = setting(False, "the core gets the model at the first call, which still counts as loading")
    cpu_backend: Union[bool, str] = setting(
        "auto", "trace without a device; auto: where there is none", choices=("auto",)
    )
    partition: Optional[Mapping[str, Any]] = setting(
        None,
        "null: all on the device, or the build fails; {ops_to_partition: [aten::sort]}: those on the CPU",
        choices=PARTITION,
    )
    spread: str = setting(
        "data_parallel",
        "several cores: requests are split over them, or go to a copy on each core in turn",
        choices=("data_parallel", "replicate"),
        compile_time=False,
    )


class NeuronX(shared.NeuronBackend):
    name = "neuronx"
    options_type = NeuronXOptions
    options: NeuronXOptions
    sdk = "torch_neuronx"
    packages = ("torch-neuronx", "neuronx-cc", "torch")
    build_packages = ("neuronx-cc",)
    precisions = ("fp32", "bf16", "fp16")
    formats = ("module", "torchscript", "exported")

    @classmethod
    def build_options(cls, trial: Trial) -> Json:
        options = super().build_options(trial)
        if options.get("target", "auto") == "auto":
            options["target"] = target_of(trial.hardware) or "auto"
        return options

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        options = from_json(NeuronXOptions, spec.options)
        refused, target = super().supports(spec), options.target
        if refused:
            return refused
        if target == "auto":
            choices = ", ".join(CORES_OF)
            return "the hardware does not say what to compile for: set backend.options.target to one of %s" % choices
        if target == "inf1":
            return "neuronx does not compile for Inf1: use backend=neuron, or hardware with Inferentia2 or Trainium"
        if target not in CORES_OF:
            return "neuronx does not compile for %s: it compiles for %s" % (target, ", ".join(CORES_OF))
        if options.lnc is not None and target != "trn2":
            return "backend.options.lnc is for target=trn2 alone: leave it at null for %s" % target
        return neuron.refuse_own_flags(options.extra_args, OWN_FLAGS)

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        options = from_json(NeuronXOptions, trial.backend.get("options") or {})
        here, target = target_of(trial.hardware), cls.build_options(trial).get("target")
        if here and target in CORES_OF and CORES_OF.get(here) != CORES_OF[target]:
            return "%s cannot run what is built for %s: leave backend.options.target=auto" % (here, target)
        if trial.cores > 1 and not options.inline_weights:
            return "separated weights are moved to one core: use cores=1 with replicas, or inline_weights=true"
        whole = trial.batch * trial.cores
        if trial.cores == 1 or options.spread == "replicate" or options.dynamic_batch:
            return super().runs(trial)
        if trial.request_items != whole:
            return "a request is split over %d cores: use request_batch=%d (batch x cores), or dynamic_batch=true" % (
                trial.cores,
                whole,
            )
        return None

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        workdir = folder / "compiler"
        neuron.put_own_programs_first()
        versions = self.versions()
        _isolate(workdir, self.options)
        with _without_device(self.options.cpu_backend) as without_device:
            with output.explain(workdir):
                traced, share, stated = self._trace(source, spec, workdir, without_device, versions)
            output.keep_log(workdir, folder)
            self._set_flags(traced, versions)
            stated.save(traced, folder / shared.MODEL)
        notes = {**stated.options, "compiler_args": list(stated.arguments), "cpu_backend": without_device}
        return BuildInfo(stated.precision, share, versions, notes)

    def _trace(
        self, source: Source, spec: BuildSpec, workdir: Path, without_device: bool, versions: Dict[str, str]
    ) -> Tuple[Any, float, shared.Stated]:
        """The compiled module, the share of its operators on the device, and what it states."""
        import torch
        import torch_neuronx

        trace = neuron.find_function(torch_neuronx, "trace", versions)
        model, example = source.load_model(), torch_models.to_tensors(source.example)
        arguments = compiler_args(self.options, spec.precision)
        more: Dict[str, Any] = {"cpu_backend": True} if without_device else {}
        partition = self.options.partition
        if partition is not None:
            more["partitioner_config"] = _partitioner(torch_neuronx, partition, versions)
        original = shared.flat(model)
        with torch.no_grad(), neuron.check_keywords("torch_neuronx.trace", versions):
            traced = trace(
                original,
                example,
                compiler_workdir=str(workdir),
                compiler_args=arguments,
                inline_weights_to_neff=self.options.inline_weights,
                **more,
            )
        share = shared.share_on_device(traced, original, example) if partition is not None else 1.0
        if not shared.on_device(traced):
            summary = "torch_neuronx.trace returned a module that has nothing for the device"
            raise TrialError(FailureKind.PARTIAL_PLACEMENT, summary)
        kept = ("target", "inline_weights", "dynamic_batch", "lazy_load", "partition")
        options = {name: to_json(getattr(self.options, name)) for name in kept}
        options.update({"lnc": count_physical_cores(self.options), "weights": shared.weights_precision(model)})
        precision = precision_of(arguments, options["weights"])
        return traced, share, shared.Stated.describe(source, precision, arguments, options, versions)

    def _set_flags(self, traced: Any, versions: Mapping[str, str]) -> None:
        """Set what stays in the artifact; it has to be set between the trace and the save."""
        import torch_neuronx

        for name in ("dynamic_batch", "lazy_load"):
            if getattr(self.options, name):
                neuron.find_function(torch_neuronx, name, versions)(traced)

    def make_runner(self, path: Path, stated: shared.Stated, placement: Placement) -> shared.NeuronRunner:
        import torch_neuronx  # TorchScript knows the device's operator from here on

        cores, versions = max(1, len(placement.cores)), self.versions()
        split = cores > 1 and self.options.spread == "data_parallel"
        with contextlib.nullcontext() if split else _on_cores(torch_neuronx, cores, versions):
            call = shared.read_module(path)
            if not stated.options.get("inline_weights", True):
                neuron.find_function(torch_neuronx, "move_trace_to_device", versions)(call, 0)
            if split:
                parallel = neuron.find_function(torch_neuronx, "DataParallel", versions)
                dynamic = bool(stated.options.get("dynamic_batch"))
                call = parallel(call, device_ids=list(range(cores)), dim=0, set_dynamic_batching=dynamic)
            runner = shared.NeuronRunner(call, stated, placement, cores if split else 1)
            if stated.options.get("lazy_load"):  # the device gets the model at the first call, which is part of loading
                runner.run_once()
        return runner


def target_of(hardware: Mapping[str, Any]) -> Optional[str]:
    """The compiler's name of a hardware: its `target`, or its instance type's family (trn2 of `trn2u.48xlarge`)."""
    target = hardware.get("target")
    if target:
        return str(target)
    family = str(hardware.get("instance_type") or "").partition(".")[0]
    if family in CORES_OF:
        return family
    match = re.match(r"(?:inf|trn)\d+", family)
    return match.group() if match else None


def compiler_args(options: NeuronXOptions, precision: str) -> List[str]:
    """Every flag of neuronx-cc that decides what is computed and how, whatever the release's defaults are."""
    cast = "none" if precision == "fp32" else options.auto_cast
    words = ["--target", options.target, "--model-type", options.model_type]
    words += ["--optlevel", str(options.optlevel), "--auto-cast", cast]
    words += ["--auto-cast-type", precision] if cast != "none" else []
    narrow = "enable" if options.mixed_precision_accumulation else "disable"
    words.append("--%s-mixed-precision-accumulation" % narrow)
    cores = count_physical_cores(options)
    words += ["--logical-nc-config", str(cores)] if cores else []
    return [*words, *options.extra_args]


def count_physical_cores(options: NeuronXOptions) -> Optional[int]:
    """How many physical cores a logical one has; None for hardware without logical cores."""
    return (options.lnc or 2) if options.target == "trn2" else None


def precision_of(arguments: Sequence[str], weights: str) -> str:
    """The precision that these flags of the compiler lead to; without a cast that of the weights."""
    cast = neuron.find_value(arguments, "--auto-cast")
    return weights if cast == "none" else neuron.find_value(arguments, "--auto-cast-type") or "unknown"


def _partitioner(sdk: Any, wanted: Mapping[str, Any], versions: Mapping[str, str]) -> Any:
    given = dict(wanted)
    if given.get("ops_to_partition") is not None:
        given["ops_to_partition"] = set(given["ops_to_partition"])
    with neuron.check_keywords("PartitionerConfig", versions):
        return neuron.find_function(sdk, "PartitionerConfig", versions)(**given)


def _on_cores(sdk: Any, count: int, versions: Mapping[str, str]) -> ContextManager[Any]:
    """Load what is loaded inside onto the first `count` cores of this process, a copy on each."""
    for home in (sdk, getattr(sdk, "experimental", None)):  # its name until SDK 2.24 was experimental
        placing = getattr(home, "neuron_cores_context", None)
        if placing is not None:
            context: ContextManager[Any] = placing(start_nc=0, nc_count=count)
            return context
    if count > 1:
        neuron.find_function(sdk, "neuron_cores_context", versions)
    return contextlib.nullcontext()  # the process sees one core


def _isolate(workdir: Path, options: NeuronXOptions) -> None:
    """Keep what a shell or an earlier build left from changing this build."""
    workdir.mkdir(exist_ok=True)
    flags = os.environ.pop("NEURON_CC_FLAGS", None)
    if flags:
        print("NEURON_CC_FLAGS=%s is left out: use backend.options.extra_args" % flags, flush=True)
    os.environ["NEURON_COMPILE_CACHE_URL"] = str(workdir / "cache")  # failures are cached too
    cores = count_physical_cores(options)
    if cores:
        os.environ[neuron.LNC] = str(cores)


@contextlib.contextmanager
def _without_device(wish: Union[bool, str]) -> Iterator[bool]:
    """True if the trace has no device: there is none, or another build of ours is using it."""
    if wish != "auto":
        if wish is False:
            neuron.limit_to_single_core()
        yield bool(wish)
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
        neuron.limit_to_single_core()
        yield False

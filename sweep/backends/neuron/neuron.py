"""AWS Inferentia of the first generation (Inf1): the model compiled ahead of time by `torch_neuron.trace`.

Verified against the archived documentation of the Neuron SDK (torch-neuron 1.13, releases up to 2.26.1); never run on a
device by this project. `trace` returns even where nothing was compiled, and the model then runs on the CPU: what counts
is the share of operators that its log reports, and the module itself. Worker side, Python 3.8.
"""

import contextlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from sweep.backends import compiler_output
from sweep.backends.base import Source
from sweep.backends.neuron import output
from sweep.backends.neuron import sdk as neuron
from sweep.backends.neuron import torch_common as shared
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Placement, Trial, TrialError, from_json, to_json
from sweep.spec.declared import setting

TARGET = "inf1"
PIPELINE_MAX = 64
FUSED = re.compile(r"before = (\d+), fused = (\d+), percent fused = ([\d.]+) ?%", re.IGNORECASE)
CAST = re.compile(r"fp32-cast-(?:all|matmult)(?:-(bf16|fp16))?$")
NOTHING = "No operations were successfully partitioned"
GENERAL = re.compile(r"percent fused|falling back to native|\b%s" % NOTHING, re.IGNORECASE)
OWN_FLAGS = {
    "--neuroncore-pipeline-cores": "cores",
    "--num-neuroncores": "cores",
    "--fast-math": "backend.options.cast",
    "--fp32-cast": "backend.options.cast",
    "--static-weights": "backend.options.static_weights",
}


@dataclass(frozen=True)
class InferentiaOptions(shared.NeuronOptions):
    cast: str = setting(
        "all", "what is computed in `precision` (bf16, fp16); an Inf1 has no fp32", choices=("all", "matmult")
    )
    fast_relayout: bool = setting(True, "layouts changed by matrix products, which round too")
    separate_weights: bool = setting(False, "for models with more than about 1.9 GB of weights")
    static_weights: bool = setting(
        False, "weights stay in the cores of a pipeline; needed by some models on 8 and more"
    )


class Neuron(shared.NeuronBackend):
    name = "neuron"
    options_type = InferentiaOptions
    options: InferentiaOptions
    sdk = "torch_neuron"
    packages = ("torch-neuron", "neuron-cc", "torch")
    build_packages = ("neuron-cc",)
    precisions = ("bf16", "fp16")
    compiles_cores = True

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        if spec.precision == "fp32":
            return "neuron has no fp32: Inf1 casts every model, so use precision=bf16 or fp16"
        if (spec.cores or 1) > PIPELINE_MAX:
            return "a pipeline of neuron has at most %d cores: use fewer cores and more replicas" % PIPELINE_MAX
        extra = from_json(InferentiaOptions, spec.options).extra_args
        return super().supports(spec) or neuron.taken_flag(extra, OWN_FLAGS)

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        target = trial.hardware.get("target")
        if target and target != TARGET:
            return "neuron is for Inf1, and %s is %s: use backend=neuronx" % (trial.hardware.get("name"), target)
        return super().runs(trial)

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        import torch

        workdir = folder / "compiler"
        workdir.mkdir(exist_ok=True)
        neuron.own_programs()
        versions, arguments = self.versions(), compiler_args(self.options, spec)
        said = compiler_output.Output()
        notes: List[str] = []
        try:
            with output.explained(workdir, notes) as said:
                traced, weights = self._trace(source, arguments, workdir, versions, notes)
        except TrialError as error:
            raise _nothing_compiled(error, "\n".join([*notes, said.text])) from error
        text = "\n".join([*notes, said.text])
        share, counted = fused(text)
        if not shared.on_device(traced):
            share = 0.0
        if share == 0.0:
            raise _nothing_compiled(TrialError(FailureKind.PARTIAL_PLACEMENT, "the module has no operator"), text)
        output.keep_log(workdir, folder)
        how = {name: value for name, value in to_json(self.options).items() if name != "extra_args"}
        stated = shared.Stated(
            precision=precision_of(arguments),
            shapes=tuple(array.shape for array in source.example),
            dtypes=tuple(str(array.dtype) for array in source.example),
            arguments=tuple(arguments),
            options={**how, "target": TARGET, "cores": spec.cores or 1, "weights": weights},
            versions=versions,
        )
        with common.quiet():
            torch.jit.save(traced, str(folder / shared.MODEL), _extra_files={shared.STATED: stated.text()})
        why = compiler_output.reason(said.text) if share < 1.0 else ""
        facts = {**stated.options, "compiler_args": arguments, "operators": counted}
        return BuildInfo(stated.precision, share, versions, facts, fallback=why)

    def _trace(
        self, source: Source, arguments: List[str], workdir: Path, versions: Dict[str, str], notes: List[str]
    ) -> Tuple[Any, str]:
        import torch
        import torch_neuron

        trace = neuron.documented(torch_neuron, "trace", versions)
        model, example = source.load_model(), common.tensors(source.example)
        switches = {
            "dynamic_batch_size": self.options.dynamic_batch,
            "separate_weights": self.options.separate_weights,
        }
        more = {keyword: True for keyword, is_on in switches.items() if is_on}
        known = neuron.known_keywords("torch_neuron.trace", versions)
        with common.quiet(), torch.no_grad(), known, _noting(notes):
            traced = trace(shared.flat(model), example, compiler_args=arguments, compiler_workdir=str(workdir), **more)
        return traced, shared.weights_precision(model)

    def loaded(self, path: Path, stated: shared.Stated, placement: Placement) -> shared.NeuronRunner:
        import torch
        import torch_neuron  # noqa: F401  # TorchScript knows the device's operator from here on

        common.use_threads(placement)
        read: Any = torch.jit.load  # has no types of its own
        with common.quiet():
            module = read(str(path))
        if not shared.on_device(module):
            raise TrialError(FailureKind.PARTIAL_PLACEMENT, "the artifact has nothing that runs on the device")
        dynamic = bool(stated.options.get("dynamic_batch"))
        runner = shared.NeuronRunner(module, stated, placement, 1, dynamic)
        runner.precision = precision_of(stated.arguments)
        return runner


def compiler_args(options: InferentiaOptions, spec: BuildSpec) -> List[str]:
    """Every flag of neuron-cc that decides what is computed and how, whatever the release's defaults are."""
    cast = "fp32-cast-%s" % options.cast
    if not (cast == "fp32-cast-all" and spec.precision == "bf16"):  # which has no longer name
        cast += "-" + spec.precision
    layout = "fast-relayout" if options.fast_relayout else "no-fast-relayout"
    words = ["--neuroncore-pipeline-cores", str(spec.cores or 1), "--fast-math", cast, layout]
    words += ["--static-weights"] if options.static_weights else []
    return [*words, *options.extra_args]


def precision_of(arguments: Sequence[str]) -> str:
    """What is computed, by the flags that the compiler was given: without a cast that names its type, bf16."""
    casts = [found for found in map(CAST.match, arguments) if found]
    return (casts[-1].group(1) or "bf16") if casts else "unknown"


def fused(text: str) -> Tuple[float, Dict[str, int]]:
    """Share of the arithmetic operators on the device by the last report of the trace, and its counts.

    Nothing is on the device where there is no report: it is printed by every trace that ends.
    """
    reports = FUSED.findall(text)
    if not reports:
        return 0.0, {}
    before, inside, percent = reports[-1]
    return float(percent) / 100.0, {"arithmetic": int(before), "fused": int(inside)}


@contextlib.contextmanager
def _noting(lines: List[str]) -> Iterator[None]:
    """What the SDK logs goes to `lines` too: its logger may have no handler, or one that shows warnings only."""

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("Neuron"), Keep(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def _nothing_compiled(error: TrialError, text: str) -> TrialError:
    """Where the compiler gave up, the trace only says that it has nothing for the device: why stands in the output.

    A kind that asks for something else (memory, a toolchain, an operator) is kept.
    """
    if error.kind not in (FailureKind.PARTIAL_PLACEMENT, FailureKind.COMPILER_CRASH):
        return error
    if error.__cause__ is not None and NOTHING not in str(error.__cause__):
        return error
    lines = "\n".join(line for line in text.splitlines() if not GENERAL.search(line))
    why = compiler_output.reason(lines) or str(error)
    return TrialError(FailureKind.PARTIAL_PLACEMENT, "0% of the operators run on the device: " + why)

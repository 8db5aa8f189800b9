"""AWS Inferentia of the first generation (Inf1): the model compiled ahead of time by `torch_neuron.trace`.

Verified against the archived documentation of the Neuron SDK (torch-neuron 1.13, releases up to 2.26.1); never run on a
device by this project. `trace` returns even if nothing was compiled, and the model then runs on the CPU. What counts is
the share of operators in its log, and the module itself. Worker side, Python 3.8.
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
from sweep.workloads import torch_models

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
        return super().supports(spec) or neuron.refuse_own_flags(extra, OWN_FLAGS)

    @classmethod
    def runs(cls, trial: Trial) -> Optional[str]:
        target = trial.hardware.get("target")
        if target and target != TARGET:
            return "neuron is for Inf1, and %s is %s: use backend=neuronx" % (trial.hardware.get("name"), target)
        return super().runs(trial)

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        workdir = folder / "compiler"
        workdir.mkdir(exist_ok=True)
        neuron.put_own_programs_first()
        versions, arguments = self.versions(), compiler_args(self.options, spec)
        printed = compiler_output.Output()
        logged: List[str] = []
        try:
            with output.explain(workdir, logged) as printed:
                traced, weights = self._trace(source, arguments, workdir, versions, logged)
        except TrialError as error:
            raise _explain_empty_build(error, "\n".join([*logged, printed.text])) from error
        text = "\n".join([*logged, printed.text])
        share, counts = read_share(text)
        if not shared.on_device(traced):
            share = 0.0
        if share == 0.0:
            raise _explain_empty_build(TrialError(FailureKind.PARTIAL_PLACEMENT, "the module has no operator"), text)
        output.keep_log(workdir, folder)
        options = {name: value for name, value in to_json(self.options).items() if name != "extra_args"}
        options.update({"target": TARGET, "cores": spec.cores or 1, "weights": weights})
        stated = shared.Stated.describe(source, precision_of(arguments), arguments, options, versions)
        stated.save(traced, folder / shared.MODEL)
        why = compiler_output.find_reason(printed.text) if share < 1.0 else ""
        notes = {**options, "compiler_args": arguments, "operators": counts}
        return BuildInfo(stated.precision, share, versions, notes, fallback=why)

    def _trace(
        self, source: Source, arguments: List[str], workdir: Path, versions: Dict[str, str], logged: List[str]
    ) -> Tuple[Any, str]:
        import torch
        import torch_neuron

        trace = neuron.find_function(torch_neuron, "trace", versions)
        model, example = source.load_model(), torch_models.to_tensors(source.example)
        switches = {
            "dynamic_batch_size": self.options.dynamic_batch,
            "separate_weights": self.options.separate_weights,
        }
        more = {keyword: True for keyword, is_on in switches.items() if is_on}
        known = neuron.check_keywords("torch_neuron.trace", versions)
        with common.quiet(), torch.no_grad(), known, _collect_log(logged):
            traced = trace(shared.flat(model), example, compiler_args=arguments, compiler_workdir=str(workdir), **more)
        return traced, shared.weights_precision(model)

    def make_runner(self, path: Path, stated: shared.Stated, placement: Placement) -> shared.NeuronRunner:
        import torch_neuron  # noqa: F401  # TorchScript knows the device's operator from here on

        return shared.NeuronRunner(shared.read_module(path), stated, placement)


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
    """The precision that these flags of the compiler lead to: bf16 for a cast that names no type."""
    casts = [match for match in map(CAST.match, arguments) if match]
    return (casts[-1].group(1) or "bf16") if casts else "unknown"


def read_share(text: str) -> Tuple[float, Dict[str, int]]:
    """The share of the arithmetic operators on the device, and their counts, by the last report of a trace.

    Without a report nothing is on the device: each trace that ends prints one.
    """
    reports = FUSED.findall(text)
    if not reports:
        return 0.0, {}
    arithmetic, fused, percent = reports[-1]
    return float(percent) / 100.0, {"arithmetic": int(arithmetic), "fused": int(fused)}


@contextlib.contextmanager
def _collect_log(lines: List[str]) -> Iterator[None]:
    """Add what the SDK logs to `lines`: its logger may have no handler, or one that shows warnings only."""

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


def _explain_empty_build(error: TrialError, text: str) -> TrialError:
    """The error of a build without anything for the device, with the compiler's reason, which only its output has.

    An error that names another cause (memory, a toolchain, an operator) is kept.
    """
    if error.kind not in (FailureKind.PARTIAL_PLACEMENT, FailureKind.COMPILER_CRASH):
        return error
    if error.__cause__ is not None and NOTHING not in str(error.__cause__):
        return error
    lines = "\n".join(line for line in text.splitlines() if not GENERAL.search(line))
    why = compiler_output.find_reason(lines) or str(error)
    return TrialError(FailureKind.PARTIAL_PLACEMENT, "0% of the operators run on the device: " + why)

"""TorchScript: the model traced at one shape, frozen, and optimised for inference when it is loaded.

The trace is of one path through the model: where its control flow depends on values, the agreement with the original
shows it; where it depends on sizes, a build for any size fails. The optimisation repacks weights for this processor,
which cannot be saved; it is part of loading.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, List

from sweep.backends import artifact, dynamic
from sweep.backends.base import Source
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, Placement
from sweep.spec.declared import setting
from sweep.workloads import torch_models

MODEL = "model.pt"
STATED = "sweep.json"  # a file inside the archive


@dataclass(frozen=True)
class TorchScriptOptions(common.TorchOptions):
    optimize: bool = setting(True, "repack weights for this processor when loading", compile_time=False)


class TorchScript(common.TorchBackend):
    name = "torchscript"
    options_type = TorchScriptOptions
    options: TorchScriptOptions
    dynamic_sizes = True

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        import torch

        trace: Any = torch.jit.trace  # has no types of its own
        channels_last = self.options.wants_channels_last(spec.precision)
        model = common.convert(source.load_model(), spec.precision, spec.device, channels_last)
        example = tuple(tensor.to(spec.device) for tensor in torch_models.to_tensors(source.example))
        with common.quiet(), torch.no_grad():
            plain = common.cast_inside(model, spec.precision, channels_last)
            traced = trace(plain, example, check_trace=False)
            frozen = torch.jit.freeze(traced.eval())
            frozen(*example)
            dynamic.check(
                source, torch_models.take_arrays(frozen, spec.device), torch_models.take_arrays(plain, spec.device)
            )
            precision = _precision(frozen)
            stated = {STATED: common.format_stated(precision, dynamic.find_shapes(source))}
            torch.jit.save(frozen, str(folder / MODEL), _extra_files=stated)
        notes = {"channels_last": channels_last, "optimised": "when loaded"}
        return BuildInfo(precision=precision, versions=self.versions(), notes=notes)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> common.TorchRunner:
        import torch

        read: Any = torch.jit.load  # has no types of its own
        common.use_threads(placement)
        common.use_one_operator()
        with common.quiet(), artifact.reading(folder / MODEL) as path, torch.no_grad():
            stated = {STATED: ""}
            frozen = read(str(path), map_location=placement.device, _extra_files=stated)
            precision = _precision(frozen)
            if self.options.optimize:
                frozen = torch.jit.optimize_for_inference(frozen)
        runner = common.TorchRunner(frozen, placement.device, precision)
        _, runner.shapes = common.read_stated(stated[STATED])
        return runner


def _precision(module: Any) -> str:
    """The precision of the weights that a frozen graph holds: what computes is of their type."""
    dtypes: List[Any] = []
    graph = module.inlined_graph  # its nodes live only as long as it does
    for node in graph.findAllNodes("prim::Constant", True):
        if node.hasAttribute("value") and node.kindOf("value") == "t":
            tensor = node.t("value")
            if tensor.dim() > 0:  # scalars are constants of the arithmetic around it
                dtypes.append(tensor.dtype)
    dtypes.extend(parameter.dtype for parameter in module.parameters())
    return common.precision_of(dtypes) or "fp32"

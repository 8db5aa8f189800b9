"""PyTorch without a compiler: the baseline that everything else is compared with.

Nothing is written by a build: it only tries the model once, so that a combination that cannot work fails as a build.
"""

from pathlib import Path
from typing import Any

from sweep.backends.base import Source
from sweep.backends.pytorch import common
from sweep.spec import BuildInfo, BuildSpec, Placement


class TorchEager(common.TorchBackend):
    name = "torch"
    dynamic_sizes = True

    def build(self, source: Source, spec: BuildSpec, folder: Path) -> BuildInfo:
        runner = self.load(folder, spec, Placement(device=spec.device, threads=1), source)
        runner.run(runner.prepare(source.example))
        runner.synchronize()
        notes = {"artifact": "none: eager torch builds nothing", "channels_last": self._channels_last(spec)}
        return BuildInfo(precision=runner.precision, versions=self.versions(), notes=notes)

    def load(self, folder: Path, spec: BuildSpec, placement: Placement, source: Source) -> "EagerRunner":
        common.use_threads(placement)
        channels_last = self._channels_last(spec)
        model = common.convert(source.load_model(), spec.precision, placement.device, channels_last)
        common.use_threads(placement)  # again: the model's own code may have set another number
        common.use_one_operator()
        return EagerRunner(model, spec.precision, placement.device, channels_last)

    def _channels_last(self, spec: BuildSpec) -> bool:
        return self.options.wants_channels_last(spec.precision)


class EagerRunner(common.TorchRunner):
    """The model called as it is; inputs are cast and laid out inside the timed call, as a server would have to."""

    def __init__(self, model: Any, precision: str, device: str, channels_last: bool) -> None:
        tensors = [*model.parameters(), *model.buffers()]
        super().__init__(model, device, common.precision_of(t.dtype for t in tensors) or precision)
        self._dtype = None if precision == "fp32" else common.dtype_of(precision)
        self._layout = self._torch.channels_last if channels_last else self._torch.preserve_format

    def run(self, request: Any) -> Any:
        with self._without_gradients():
            if self._dtype is None and self._layout is self._torch.preserve_format:
                return self.call(*self.move(request))
            return self.call(*(self._ready(tensor) for tensor in self.move(request)))

    def _ready(self, tensor: Any) -> Any:
        dtype = self._dtype if tensor.is_floating_point() and self._dtype is not None else tensor.dtype
        layout = self._layout if tensor.dim() == 4 else self._torch.preserve_format
        return tensor.to(dtype=dtype, memory_format=layout)

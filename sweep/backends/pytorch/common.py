"""What the torch family shares: devices, precisions, threads. Imports torch inside functions only."""

import contextlib
import json
import logging
import warnings
from dataclasses import dataclass
from typing import Any, Iterator, List, Optional, Tuple, Type, Union

from sweep.backends import dynamic
from sweep.backends.base import Arrays, Backend, Runner, Shapes, Source
from sweep.backends.options import Options
from sweep.spec import BuildSpec, FailureKind, Json, Placement, TrialError
from sweep.spec.declared import setting
from sweep.workloads import torch_models

NAMES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


def refuse_precision(spec: BuildSpec, name: str) -> Optional[str]:
    """None, or why no backend of the family has this precision on this device."""
    if spec.precision == "fp16" and spec.device == "cpu":
        return "%s fp16 is for device=cuda: on a CPU use precision=bf16" % name
    return None


def list_devices() -> List[str]:
    import torch

    return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


def dtype_of(precision: str) -> Any:
    import torch

    return getattr(torch, NAMES[precision])


def precision_of(dtypes: Any) -> str:
    """The precision of the floats among some dtypes; several are joined by a plus."""
    known = {"torch." + long: short for short, long in NAMES.items()}
    return "+".join(sorted({known[str(dtype)] for dtype in dtypes if str(dtype) in known}))


@dataclass(frozen=True)
class TorchOptions(Options):
    channels_last: Union[bool, str] = setting(
        "auto", "images with channels innermost; auto: where narrow floats run", choices=("auto",)
    )

    def wants_channels_last(self, precision: str) -> bool:
        """By default where narrow floats run, whose kernels are written for it."""
        return precision != "fp32" if self.channels_last == "auto" else bool(self.channels_last)


def convert(model: Any, precision: str, device: str, channels_last: bool) -> Any:
    """Move the model in place to a device, a precision and a memory layout."""
    import torch

    if device != "cpu":
        check_cuda(device)
    if precision != "fp32":
        model = model.to(dtype=dtype_of(precision))
    if channels_last and not hasattr(model, "inlined_graph"):
        model = model.to(memory_format=torch.channels_last)
    return model.to(device) if device != "cpu" else model


def check_cuda(device: str) -> None:
    """Check that a device such as `cuda` or `cuda:1` is here.

    Raises:
        TrialError: it is not.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if read_device_number(device) >= count:
        raise TrialError(FailureKind.CORE_UNAVAILABLE, "there is no device %s: torch sees %d of them" % (device, count))


def read_device_number(device: str) -> int:
    """1 of `cuda:1`, 0 of `cuda`."""
    return int(device.partition(":")[2] or 0)


def cast_inside(model: Any, precision: str, channels_last: bool) -> Any:
    """A module around `model` that takes and returns float32, so that a compiler sees the casts and can fuse them.

    Its outputs are a flat tuple of tensors.
    """
    import torch

    dtype, layout = dtype_of(precision), torch.channels_last

    class Cast(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, *inputs: Any) -> Tuple[Any, ...]:
            ready = []
            for tensor in inputs:
                if tensor.is_floating_point():
                    tensor = tensor.to(dtype)
                if channels_last and tensor.dim() == 4:
                    tensor = tensor.contiguous(memory_format=layout)
                ready.append(tensor)
            return tuple(
                t.float() if t.is_floating_point() else t for t in torch_models.list_tensors(self.inner(*ready))
            )

    module = Cast()
    module.training = False  # not eval(): the model is in that mode, and an exported one refuses to be asked
    return module


def export(module: Any, source: Source, device: str = "cpu") -> Any:
    """Export a module of `cast_inside` with torch.export; the free axes of the source stay free.

    torch itself derives limits and equal axes from the model: positions may end at 512, and a picture's side may have
    to be a multiple of 32.

    Raises:
        TrialError: of the kind dynamic_shape, if the model fixes a size.
    """
    import torch

    example = tuple(tensor.to(device) for tensor in torch_models.to_tensors(source.example))
    if not source.dynamic:
        return torch.export.export(module, example)
    axes = tuple(dict.fromkeys(source.dynamic.get(name, ()), torch.export.Dim.DYNAMIC) for name in source.input_names)
    try:
        program = torch.export.export(module, example, dynamic_shapes=(axes,))
    except Exception as error:
        raise dynamic.explain(error) from error
    dynamic.check(source, torch_models.take_arrays(program.module(), device), torch_models.take_arrays(module, device))
    return program


def format_stated(precision: str, shapes: Shapes) -> str:
    """What an artifact says about itself, for a file inside it: precision and shapes, null for any size."""
    return json.dumps({"precision": precision, "shapes": [list(shape) for shape in shapes]})


def read_stated(text: str) -> Tuple[str, Shapes]:
    """Precision and shapes that `format_stated` wrote."""
    stated = json.loads(text)
    return str(stated["precision"]), tuple(tuple(shape) for shape in stated["shapes"])


def use_threads(placement: Placement) -> None:
    """Threads of this process for one operator. Called before a model is made, and again after: its code may set them.

    Threads between operators can be set once, by whoever comes first: `use_one_operator`.
    """
    import torch

    torch.set_num_threads(max(1, placement.threads))


def use_one_operator() -> None:
    """One operator at a time: a replica is a sequence of operators. Called after the model is made, whose code wins."""
    import torch

    try:
        torch.set_num_interop_threads(1)
    except RuntimeError:
        pass  # set already: what holds is read back


class TorchBackend(Backend):
    """What eager torch and TorchScript have in common."""

    packages = ("torch",)
    preload_build = ("torch",)
    preload_run = ("torch",)
    precisions = ("fp32", "bf16", "fp16")
    formats = ("module", "torchscript", "exported")
    devices = ("cpu", "cuda")
    options_type: Type[Options] = TorchOptions
    options: TorchOptions
    obeys = ("allocator", "omp_wait_policy", "denormals", "gc", "copies")
    concurrent = True

    @classmethod
    def supports(cls, spec: BuildSpec) -> Optional[str]:
        return super().supports(spec) or refuse_precision(spec, cls.name)

    def probe(self) -> Json:
        return {"versions": dict(self.versions()), "devices": list_devices()}


class TorchRunner(Runner):
    """Timing and memory of a CPU or CUDA device; subclasses say what `run` calls.

    On CUDA a request begins with host arrays in page-locked memory: the copy to the device belongs to `run`.
    That path has not been run on a GPU yet.
    """

    def __init__(self, call: Any, device: str, precision: str) -> None:
        import torch

        self.call = call
        self.device = device
        self.precision = precision
        self.asynchronous = device != "cpu"
        self._torch = torch
        self._without_gradients = torch.inference_mode
        if self.asynchronous:
            check_cuda(device)
            torch.cuda.set_device(device)
            torch.cuda.reset_peak_memory_stats()

    def prepare(self, inputs: Arrays) -> Any:
        ready = torch_models.to_tensors(self.check_shapes(inputs))
        return tuple(tensor.pin_memory() for tensor in ready) if self.asynchronous else ready

    def move(self, request: Any) -> Any:
        """Copy the request's tensors to the device."""
        if not self.asynchronous:
            return request
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in request)

    def run(self, request: Any) -> Any:
        with self._without_gradients():
            return self.call(*self.move(request))

    def synchronize(self) -> None:
        if self.asynchronous:
            self._torch.cuda.synchronize()

    def outputs(self, raw: Any) -> Arrays:
        return torch_models.to_arrays(raw)

    def count_threads(self) -> Optional[int]:
        return None if self.asynchronous else int(self._torch.get_num_threads())

    def count_parallel_operators(self) -> Optional[int]:
        return None if self.asynchronous else int(self._torch.get_num_interop_threads())

    def device_memory_mb(self) -> float:
        return float(self._torch.cuda.max_memory_allocated()) / 2**20 if self.asynchronous else 0.0

    def close(self) -> None:
        self.call = None
        if self.asynchronous:
            self._torch.cuda.empty_cache()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Around an export: silence torch's notes to its own developers. Errors still raise."""
    names = ("torch.onnx", "torch.export", "torch._inductor", "torch._dynamo")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)

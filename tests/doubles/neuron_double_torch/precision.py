"""The original, computed on the CPU with numbers rounded as the device would: close to float32, honestly not equal."""

import threading
from typing import Any, Dict, Tuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

MATMULTS = ("mm", "addmm", "bmm", "baddbmm", "matmul", "linear", "convolution", "_convolution", "conv2d", "conv1d")
FP8_MAX = 240.0  # of the device's e4m3


def rounded(tensor: torch.Tensor, kind: str) -> torch.Tensor:
    """The float32 tensor whose every number is one of the type `kind`."""
    if kind == "tf32":
        bits = tensor.contiguous().view(torch.int32)
        return ((bits + 0x1000) & ~0x1FFF).view(torch.float32)
    if kind == "fp8_e4m3":
        return tensor.clamp(-FP8_MAX, FP8_MAX).to(torch.float8_e4m3fn).to(torch.float32)
    return tensor.to({"bf16": torch.bfloat16, "fp16": torch.float16}[kind]).to(torch.float32)


class Rounding(TorchDispatchMode):
    """Rounds what matrix products take (`matmult`), or what every operation takes and gives (`all`).

    Weights are rounded once; `program` owns them.
    """

    def __init__(self, program: Any, cast: str, kind: str) -> None:
        super().__init__()
        self._cast, self._kind = cast, kind
        self._weights = {tensor.data_ptr() for tensor in (*program.parameters(), *program.buffers())}
        self._known: Dict[Tuple[Any, ...], torch.Tensor] = {}
        self._done: set = set()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled, and later versions of torch would import a compiler to make sure of it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        mutates, views = func._schema.is_mutable, getattr(func, "is_view", False)
        name = func._schema.name.partition("::")[2]
        if views or (self._cast == "matmult" and name not in MATMULTS):
            return func(*args, **kwargs)  # of a rounded copy, a view would let writes into it be lost
        if not mutates:
            args = self._each(args, self._fit)
            kwargs = {key: self._each(value, self._fit) for key, value in kwargs.items()}
        result = func(*args, **kwargs)
        if self._cast == "matmult":
            return result
        return self._each(result, self._fit_in_place if mutates else self._fit)

    def _each(self, value: Any, fit: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return fit(value) if value.dtype == torch.float32 and value.numel() else value
        if isinstance(value, (list, tuple)):
            return type(value)(self._each(item, fit) for item in value)
        return value

    def _fit(self, tensor: torch.Tensor) -> torch.Tensor:
        pointer = tensor.data_ptr()
        if pointer in self._done:
            return tensor
        if pointer not in self._weights:
            return rounded(tensor, self._kind)
        key = (pointer, tensor.shape, tensor.stride())
        if key not in self._known:
            self._known[key] = rounded(tensor, self._kind)
            self._done.add(self._known[key].data_ptr())
        return self._known[key]

    def _fit_in_place(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.copy_(rounded(tensor, self._kind))


class Computer:
    """A program that is ready to compute, in the precision that its compiler was asked for."""

    def __init__(self, program: Any, cast: str, kind: str) -> None:
        self.program = program
        self._rounding = None if cast == "none" else Rounding(program, cast, kind)
        self._lock = threading.Lock()  # one rounding mode serves one thread

    def __call__(self, inputs: Tuple[torch.Tensor, ...]) -> Any:
        with torch.no_grad(), torch.jit.optimized_execution(False):
            if self._rounding is None:
                return self.program(*inputs)
            with self._lock, self._rounding:
                return self.program(*inputs)

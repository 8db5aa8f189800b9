"""Models that say the same thing in ways of their own: results, arguments, axes of the batch."""

import dataclasses
from typing import Any, NamedTuple

import torch


@dataclasses.dataclass
class Answer:
    logits: torch.Tensor
    cache: torch.Tensor | None = None
    note: str = "of no interest"


class Pair(NamedTuple):
    logits: torch.Tensor
    hidden: Any


RESULTS: dict[str, Any] = {
    "tensor": lambda y: y,
    "tuple": lambda y: (y, y + 1),
    "nested": lambda y: (y, [y + 1, None]),
    "dict": lambda y: {"logits": y, "hidden": y + 1},
    "dataclass": Answer,
    "named": lambda y: Pair(y, (None, y + 1)),
    "numpy": lambda y: y.numpy(),
    "truth": lambda y: (y, y > 0),
    "double": lambda y: y.double(),
    "whole": lambda y: y.mean(),
    "kept": lambda y: (y, y[y[:, 0] > 2]),
    "empty": lambda y: (y, y[:, :0]),
    "scalar": lambda y: {"logits": y, "loss": y.square().mean()},
    "text": lambda y: "nothing",
}


class Net(torch.nn.Module):
    """Twice its input of shape (N, 2), as `result` packs it."""

    def __init__(self, result: str) -> None:
        super().__init__()
        self.result = result

    def forward(self, x: torch.Tensor) -> Any:
        return RESULTS[self.result](x * 2)


class Switch(torch.nn.Module):
    """Arguments that are no tensor."""

    def forward(self, x: torch.Tensor, scale: Any = None, return_dict: bool = True) -> Any:
        return {"logits": x * scale} if return_dict else (x * scale,)


class Recurrent(torch.nn.Module):
    """A sequence (N, T, 2) and a state of (layers, N, hidden); the answer and the next state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cells = torch.nn.GRU(2, 3, num_layers=2, batch_first=True)

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> Any:
        y, following = self.cells(x, state)
        return y[:, -1], following


class Blocks(torch.nn.Module):
    """A size of the batch that stands in the code."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(self.size, 2) * 2


class Listed(torch.nn.Module):
    """A list of tensors."""

    def forward(self, xs: "list[torch.Tensor]") -> torch.Tensor:
        return torch.cat(xs)


def half(kind: str = "bfloat16") -> Any:
    torch.manual_seed(0)
    return torch.nn.Linear(2, 3).to(getattr(torch, kind))


def make(kind: str, **options: Any) -> Any:
    return globals()[kind](**options)


def wide(outputs: int = 4) -> Any:
    """A factory with an argument of its own that is called like a key of sweep."""
    return torch.nn.Linear(2, outputs)


class CastsItself(torch.nn.Module):
    """Its weights are bf16, and so are the inputs that it hands on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Linear(2, 3).bfloat16()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.bfloat16())

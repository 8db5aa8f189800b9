"""Models that padding disturbs, each in its own way, for tests."""

import os
import sys
import time
import traceback
from typing import Any

import numpy as np

from sweep.workloads import Dataset, NumpyModel
from tests.support.text_workloads import WORDS, Bag, Unmasked


def _is_asked_for_padding() -> bool:
    """Whether the caller asks the original what padding does to it."""
    return any(frame.filename.endswith("padded_reference.py") for frame in traceback.extract_stack())


class Last(Bag):
    """The scores of the word at the last place, so that padding must be on the left."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        return self.table[inputs[0][:, -1]]


class Infinite(Bag):
    """The mean over places that the mask does not have: not a number without padding is a number with it."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        padding = inputs[1][:, -1:] == 0
        return np.where(padding, np.float32("nan"), super().__call__(*inputs))


class Crashing(Unmasked):
    """Ends its process where the original is asked with padding; as a build it only answers wrongly."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        if not inputs[1].all() and _is_asked_for_padding():
            os.abort()
        return super().__call__(*inputs)


class Stuck(Unmasked):
    """Waits there instead, as long as the environment says so."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        if not inputs[1].all() and _is_asked_for_padding() and "STUCK" in os.environ:
            print("stuck", flush=True)
            time.sleep(600)
        return super().__call__(*inputs)


KINDS = {"bag": Bag, "unmasked": Unmasked, "last": Last, "infinite": Infinite, "crashing": Crashing, "stuck": Stuck}


def model(kind: str = "bag") -> NumpyModel:
    print("loaded by", sys.prefix)
    return KINDS[kind](np.random.default_rng(0).normal(size=(WORDS, 8)).astype(np.float32))


def module(masked: bool) -> Any:
    """`Bag` or `Unmasked` for torch."""
    import torch

    class Module(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(WORDS, 8)
            with torch.no_grad():
                self.table.weight.copy_(torch.from_numpy(np.random.default_rng(0).normal(size=(WORDS, 8))))

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            counted = (attention_mask if masked else torch.ones_like(attention_mask)).unsqueeze(-1).float()
            return (self.table(input_ids) * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)

    return Module().eval()


def whole(count: int = 40) -> Dataset:
    """Texts of 12 words each."""
    ids = np.random.default_rng(0).integers(1, WORDS, (count, 12))
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    labels = np.asarray(model()(*inputs.values())).argmax(axis=1)
    return Dataset(inputs, labels, {}, "classification", 8, np.full(count, 12))

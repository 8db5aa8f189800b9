"""Models and data of samples that differ in size, for tests: with a mask, with one that is ignored, and not pooled."""

from typing import Any

import numpy as np

from sweep.workloads import Dataset, NumpyModel

WORDS, LONGEST = 50, 12
DIMS = {"input_ids": [1], "attention_mask": [1]}


class Bag(NumpyModel):
    """Word numbers and masks (N, length) to scores (N, classes): the mean score of the words that the mask has."""

    def __init__(self, table: np.ndarray) -> None:
        self.table = table

    def __call__(self, *inputs: np.ndarray) -> Any:
        ids, mask = inputs
        counted = mask[:, :, None].astype(np.float32)
        return (self.table[ids] * counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


class Unmasked(Bag):
    """The mean over all places, padding too: a model whose mask is not connected."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        return super().__call__(inputs[0], np.ones_like(inputs[1]))


class Unpooled(Bag):
    """Scores of every word (N, length, classes), so that the shape of an answer depends on its sample's size."""

    def __call__(self, *inputs: np.ndarray) -> Any:
        return self.table[inputs[0]]


KINDS = {"bag": Bag, "unmasked": Unmasked, "unpooled": Unpooled}


def model(kind: str = "bag", seed: int = 0) -> NumpyModel:
    return KINDS[kind](np.random.default_rng(seed).normal(size=(WORDS, 3)).astype(np.float32))


def texts(count: int = 40, longest: int = LONGEST, seed: int = 0) -> Dataset:
    """Texts of 1 to `longest` words, one of them of `longest`, labelled by `model()` itself."""
    random = np.random.default_rng(seed)
    sizes = random.integers(1, longest + 1, count)
    sizes[count // 2] = longest
    mask = (np.arange(longest) < sizes[:, None]).astype(np.int64)
    inputs = {"input_ids": random.integers(1, WORDS, (count, longest)) * mask, "attention_mask": mask}
    labels = np.asarray(model()(*inputs.values())).argmax(axis=1)
    return Dataset(inputs, labels, {name: array[:8] for name, array in inputs.items()}, "classification", 3, sizes)


def minilm_unmasked() -> Any:
    """MiniLM that takes every place for text, whatever the mask says."""
    import torch

    from sweep.workloads.minilm import minilm

    class Deaf(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = minilm()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            return self.model(input_ids, torch.ones_like(attention_mask))

    return Deaf()


def torch_bag() -> Any:
    """`model()` as a module of torch."""
    import torch

    class TorchBag(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.from_numpy(vars(model())["table"]))

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            counted = attention_mask.unsqueeze(-1).to(self.table.dtype)
            return (self.table[input_ids] * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)

    return TorchBag()

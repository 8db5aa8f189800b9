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


def bert_like() -> Any:
    """A torch module whose inputs have the names of BERT's in the order of its `forward`, not of its tokenizer."""
    import torch

    class BertLike(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.words, self.kinds = torch.nn.Embedding(WORDS, 16), torch.nn.Embedding(WORDS, 16)
            self.scores = torch.nn.Linear(16, 5)

        def forward(
            self, input_ids: Any, attention_mask: Any = None, position_ids: Any = None, token_type_ids: Any = None
        ) -> Any:
            counted = attention_mask.unsqueeze(-1).to(self.scores.weight.dtype)
            states = (self.words(input_ids) + self.kinds(token_type_ids)) * counted
            return self.scores(states.sum(dim=1) / counted.sum(dim=1).clamp(min=1))

    return BertLike().eval()


def tokens(count: int = 96) -> Dataset:
    """What a tokenizer writes, in its order, labelled by `bert_like` called by name."""
    import torch

    random = np.random.default_rng(0)
    mask = (np.arange(LONGEST) < random.integers(2, LONGEST, count)[:, None]).astype(np.int64)
    arrays = {
        "input_ids": random.integers(1, WORDS, mask.shape) * mask,
        "token_type_ids": random.integers(0, 2, mask.shape),
        "attention_mask": mask,
    }
    with torch.no_grad():
        scores = bert_like()(**{name: torch.from_numpy(array) for name, array in arrays.items()})
    return Dataset(arrays, scores.numpy().argmax(1), {n: a[:8] for n, a in arrays.items()}, "classification", 5)

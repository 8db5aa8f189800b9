"""Models and data sets with something wrong with them, and a model with buckets; plain numpy."""

import os
import signal
from typing import Any, NoReturn

import numpy as np

from sweep.workloads import Dataset, NumpyModel
from sweep.workloads.tiny import Linear, linear, samples
from tests.support import text_workloads

SIDE = 8  # of the pictures


def raises(**_: Any) -> NoReturn:
    raise RuntimeError("the checkpoint is not where it should be\nand this is a second line")


def dies(**_: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("unreachable")


def needs_what_is_not_here(**_: Any) -> Any:
    import no_such_package_at_all

    return no_such_package_at_all


def text(**_: Any) -> str:
    return "this is no model"


def data_with_nan(**settings: Any) -> Dataset:
    data = samples(**settings)
    data.inputs["features"][3, 1] = np.nan
    return data


def labels_out_of_range(**settings: Any) -> Dataset:
    data = samples(**settings)
    assert data.labels is not None
    data.labels[5] = 4
    return data


def fewer_labels(**settings: Any) -> Dataset:
    data = samples(**settings)
    assert data.labels is not None
    return data._replace(labels=data.labels[:-1])


class Heavy(Linear):
    """`Linear` with a weight that does nothing but take room on the disk."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, ballast: np.ndarray) -> None:
        super().__init__(weight, bias)
        self.ballast = ballast


def heavy(features: int = 16, classes: int = 4, seed: int = 0) -> Heavy:
    model = linear(features, classes, seed)
    return Heavy(model.weight, model.bias, np.random.RandomState(0).bytes(8 << 20) and np.ones(1 << 20))


class Pooled(NumpyModel):
    """Pictures (N, SIDE, SIDE) of any size to scores (N, 3): padding with zeros changes nothing."""

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        rows = inputs[0].sum(axis=2)
        found: np.ndarray = np.stack([inputs[0].sum(axis=(1, 2)), rows.max(axis=1), rows.min(axis=1)], axis=1)
        return found @ self.weight


def pooled(**_: Any) -> Pooled:
    return Pooled(np.random.RandomState(0).standard_normal((3, 3)).astype(np.float32))


def pictures(**_: Any) -> Dataset:
    values = np.random.RandomState(1).standard_normal((32, SIDE, SIDE)).astype(np.float32)
    return Dataset({"picture": values}, None, {})


def no_texts(**_: Any) -> Dataset:
    return Dataset({"input_ids": np.zeros((0, 8), np.int64), "attention_mask": np.zeros((0, 8), np.int64)}, None, {})


def texts_of_one_length(longest: int = 128, count: int = 8, **_: Any) -> Dataset:
    ids = np.random.RandomState(0).randint(1, text_workloads.WORDS, (count, longest))
    return Dataset({"input_ids": ids, "attention_mask": np.ones_like(ids)}, None, {}, sizes=np.full(count, longest))


class HeavyBag(text_workloads.Bag):
    """A model of texts with 64 MB that each of its builds takes when it is loaded."""

    def __init__(self, table: np.ndarray, ballast: np.ndarray) -> None:
        super().__init__(table)
        self.ballast = ballast


def heavy_bag(**_: Any) -> HeavyBag:
    return HeavyBag(vars(text_workloads.model())["table"], np.ones(8 << 20))

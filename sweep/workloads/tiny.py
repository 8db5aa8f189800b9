"""A linear classifier in plain numpy, small enough that a test of everything around it runs in milliseconds."""

import numpy as np

from sweep.workloads.base import Dataset, NumpyModel


class Linear(NumpyModel):
    """Features (N, features) to scores (N, classes)."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        self.weight = weight
        self.bias = bias

    def __call__(self, *inputs: np.ndarray) -> np.ndarray:
        scores: np.ndarray = inputs[0] @ self.weight + self.bias
        return scores


def linear(features: int = 16, classes: int = 4, seed: int = 0) -> Linear:
    """A classifier with fixed random weights."""
    random = np.random.RandomState(seed)
    weight = random.standard_normal((features, classes)).astype(np.float32)
    return Linear(weight, random.standard_normal(classes).astype(np.float32))


def samples(count: int = 64, features: int = 16, classes: int = 4, seed: int = 0) -> Dataset:
    """Random features, labelled by `linear(features, classes, seed)` itself but for every eighth, which is wrong."""
    values = np.random.RandomState(seed + 1).standard_normal((count + 16, features)).astype(np.float32)
    labels = linear(features, classes, seed)(values[:count]).argmax(axis=1)
    labels[::8] = (labels[::8] + 1) % classes
    return Dataset({"features": values[:count]}, labels, {"features": values[count:]}, "classification", classes)

"""What an original model itself does: asked once, so that no build is blamed for it.

The same few samples are answered twice with the same seed, with another seed, and in batches of another size; the
inputs are compared before and after. Worker side, Python 3.8.
"""

import random
import sys
from pathlib import Path
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from sweep import workloads
from sweep.backends.base import Arrays
from sweep.spec.facts import NatureFacts
from sweep.worker import arrays

FACTS = "nature.json"  # in the folder of a reference
SAMPLES = 8
TOLERANCE = 1e-3  # of the spread of an output over the samples
ROUNDING = 1e-5  # of the largest size of an output
SPREAD_ROWS = 1000  # of the answers that tolerances come from


def choose_samples(dataset: "workloads.Dataset", dims: Optional["workloads.Dims"]) -> Arrays:
    """At most `SAMPLES` samples of the most frequent size, spread over the data, as arrays without padding."""
    count = len(next(iter(dataset.inputs.values())))
    items, size = max(workloads.group_by_size(dataset.sizes, count), key=lambda group: len(group[0]))
    few = items[np.unique(np.linspace(0, len(items) - 1, SAMPLES).round().astype(int))]
    return workloads.take_samples(dataset.inputs, few, size, dims)


def ask(model: Any, samples: Arrays, seed: int = 0) -> Arrays:
    """Answers to one batch, with every source of chance that this process has begun anew."""
    random.seed(seed)
    np.random.seed(seed)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed)
    tensorflow: Any = sys.modules.get("tensorflow")
    if hasattr(getattr(tensorflow, "random", None), "set_seed"):
        tensorflow.random.set_seed(seed)
    return workloads.run_reference(model, samples)


def inspect(model: Any, samples: Arrays, names: Sequence[str], folder: Path) -> NatureFacts:
    """The nature of a model.

    Args:
        samples: from `choose_samples`.
        names: of the inputs.
        folder: with its answers to all samples.
    """
    stored = arrays.read_reference(folder)
    limits = [find_tolerance(output) for output in stored]
    first, again, other = ask(model, samples), ask(model, samples), ask(model, samples, seed=1)
    same_seed, repeated = (
        compare(first, again, limits),
        max(compare(first, other, limits), compare(first, again, limits)),
    )
    apart = 0.0 if repeated else _compare_batches(model, samples, first, limits)
    changed = workloads.find_changed_inputs(model, samples)
    nan, infinite = _count_unusual(stored)
    return NatureFacts(
        repeat_difference=_finite(repeated),
        by_chance=bool(repeated and not same_seed),
        batch_difference=_finite(apart),
        batch=len(samples[0]),
        changed_inputs=tuple(names[number] for number in changed),
        nan_share=nan,
        infinite_share=infinite,
    )


def compare(answers: Sequence[np.ndarray], others: Sequence[np.ndarray], limits: Sequence[float]) -> float:
    """The largest difference between answers where it exceeds the limit of their output, else 0.

    Infinite where shapes differ, or one answer is finite and the other is not.
    """
    if len(answers) != len(others):
        return float("inf")
    largest = 0.0
    for mine, other, limit in zip(answers, others, limits):
        if mine.shape != other.shape:
            return float("inf")
        a, b = mine.astype(np.float64), other.astype(np.float64)
        known = np.isfinite(a) & np.isfinite(b)
        if not np.array_equal(a[~known], b[~known], equal_nan=True):
            return float("inf")
        difference = float(np.abs(a[known] - b[known]).max()) if known.any() else 0.0
        largest = max(largest, difference if difference > limit else 0.0)
    return largest


def find_tolerance(output: np.ndarray) -> float:
    """The difference that two answers of one model may have by rounding; 0 for whole numbers and truth values."""
    if output.dtype.kind != "f":
        return 0.0
    rows = np.asarray(output[:SPREAD_ROWS], np.float64)
    known = rows[np.isfinite(rows)]
    return float(TOLERANCE * known.std() + ROUNDING * np.abs(known).max()) if known.size else 0.0


def _compare_batches(model: Any, samples: Arrays, together: Arrays, limits: Sequence[float]) -> float:
    """How far the answers to single samples are from those of one batch."""
    try:
        parts = [ask(model, tuple(array[at : at + 1] for array in samples)) for at in range(len(samples[0]))]
    except Exception:  # whatever the user's model raises: that is its nature too
        return float("inf")
    return compare(together, [np.concatenate(rows) for rows in zip(*parts)], limits)


def _count_unusual(outputs: Sequence[np.ndarray]) -> Tuple[float, float]:
    """Shares of the samples with a NaN and with an infinite number among their answers."""
    count = max(map(len, outputs), default=0)
    unusual = np.zeros((2, count), bool)
    for output in outputs:
        if output.dtype.kind != "f" or len(output) != count:
            continue
        for at in range(0, count, SPREAD_ROWS):
            rows = np.asarray(output[at : at + SPREAD_ROWS]).reshape(len(output[at : at + SPREAD_ROWS]), -1)
            unusual[0, at : at + SPREAD_ROWS] |= np.isnan(rows).any(axis=1)
            unusual[1, at : at + SPREAD_ROWS] |= np.isinf(rows).any(axis=1)
    shares: List[float] = unusual.mean(axis=1).tolist() if count else [0.0, 0.0]
    return shares[0], shares[1]


def _finite(difference: float) -> Optional[float]:
    return difference if np.isfinite(difference) else None

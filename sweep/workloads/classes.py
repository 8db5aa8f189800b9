"""Which class a model's answer names: for a sample, for every step of a sequence, or for every pixel of a picture.

Python 3.8 and numpy, because workers score with it too.
"""

from typing import Any, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.spec import UserError

NOTHING = -1  # the class of an answer without any number
BROKEN = -2  # of a build's answer with NaN where the original has a number: it agrees with nothing
IGNORED = -100  # the label of a step that does not count, as torch and transformers write it
BLOCK = 1 << 22  # numbers of which a copy is held at once


class Pair(NamedTuple):
    """Classes of the original and of a build, (samples,) or (samples, *steps)."""

    original: np.ndarray
    build: np.ndarray


class Steps(NamedTuple):
    """How many steps, and how many whole samples, are as they should be."""

    steps: float  # share of all steps that count
    whole: float  # share of the samples whose steps all are
    samples: int  # with a step that counts


def find_class_axis(
    shape: Sequence[int], kind: str, declared: Optional[int] = None, labels: Optional[Sequence[int]] = None
) -> Optional[int]:
    """The axis of the answers along which the classes lie; None if there is none: ids, or one number a sample.

    `data.class_axis` decides; else the labels, if their shape is that of the answers without one axis; else it is the
    last of (samples, steps, classes), and axis 1 of (samples, classes, height, width) and more dimensions.

    Args:
        shape: of the answers, with the samples.
        kind: of their type, as numpy's `dtype.kind`.
        declared: `data.class_axis`, counted from the samples' axis 0, or from the end.
        labels: shape of the labels.

    Raises:
        UserError: if there is no such axis.
    """
    if declared is not None:
        axis = declared + len(shape) if declared < 0 else declared
        if not 0 < axis < len(shape):
            text = "data.class_axis=%d: the answers have the shape (samples, %s), so an axis is 1 to %d"
            raise UserError(text % (declared, ", ".join(map(str, shape[1:])), len(shape) - 1))
        return axis
    if kind in "iub" or len(shape) < 2:
        return None
    usual = 1 if len(shape) == 2 or len(shape) > 3 else 2
    if labels is not None and len(labels) == len(shape) - 1:
        candidates = [axis for axis in range(1, len(shape)) if _without(shape, axis) == tuple(labels)]
        usual = usual if usual in candidates or not candidates else candidates[0]
    return usual if shape[usual] > 1 else None


def names_classes(shape: Sequence[int], kind: str, axis: Optional[int]) -> bool:
    """Whether answers name classes at all: along an axis, or as ids."""
    return axis is not None or (kind in "iub" and len(shape) > 0)


def find_classes(answers: np.ndarray, axis: Optional[int]) -> np.ndarray:
    """The top class of every step, (samples, *steps), over the numbers that are there; `NOTHING` where none is.

    Args:
        axis: from `find_class_axis`; None: the answers are ids.
    """
    return pair_classes(answers, answers, axis).original


def pair_classes(original: np.ndarray, build: np.ndarray, axis: Optional[int]) -> Pair:
    """The top classes of both, over the places in which the original has a number.

    The build's is `BROKEN` where it has NaN in such a place.
    """
    if axis is None:
        return Pair(original.astype(np.int64), build.astype(np.int64))
    step = max(1, BLOCK // max(1, original[:1].size))
    parts = [_pair_rows(original[at : at + step], build[at : at + step], axis) for at in range(0, len(original), step)]
    return Pair(np.concatenate([a for a, _ in parts]), np.concatenate([b for _, b in parts]))


def _pair_rows(original: np.ndarray, build: np.ndarray, axis: int) -> Tuple[np.ndarray, np.ndarray]:
    blank, missing = np.isnan(original), np.isnan(build)
    if not blank.any() and not missing.any():
        return original.argmax(axis), build.argmax(axis)
    nothing = blank.all(axis)
    a, b = (_top(array, blank, axis) for array in (original, build))
    broken = (missing & ~blank).any(axis)
    return np.where(nothing, NOTHING, a), np.where(nothing, NOTHING, np.where(broken, BROKEN, b))


def _top(array: np.ndarray, blank: np.ndarray, axis: int) -> Any:
    return np.where(blank | np.isnan(array), -np.inf, array).argmax(axis)


def find_counted_steps(inputs: Mapping[str, np.ndarray], sizes: Optional[np.ndarray]) -> Optional[np.ndarray]:
    """(samples, steps): False for the steps of a sequence that only fill it up; None if nothing says which these are.

    Args:
        inputs: of a data set; an attention mask, (samples, steps), says it.
        sizes: (samples, 1), lengths of their own, if there is no mask.
    """
    for name, array in inputs.items():
        if name.endswith("attention_mask") and array.ndim == 2:
            return np.asarray(array != 0)
    if sizes is None or sizes.shape[1] != 1:
        return None
    return np.asarray(np.arange(int(sizes.max())) < sizes)


def find_counted(
    shape: Sequence[int], counted: Optional[np.ndarray], labels: Optional[np.ndarray], ignored: Optional[int] = None
) -> np.ndarray:
    """Which steps count, as an array of `shape` (samples, *steps): no padding, and no label that says to ignore it.

    Args:
        counted: (samples, steps) of sequences.
        labels: of this shape, too.
        ignored: a label that says so, beside `IGNORED`.
    """
    result = np.ones(tuple(shape), bool)
    if counted is not None and counted.shape == result.shape:
        result &= counted
    if labels is not None:
        result &= ~np.isin(labels, [IGNORED] if ignored is None else [IGNORED, ignored])
    return result


def count_steps(good: np.ndarray, counted: np.ndarray) -> Steps:
    """Both (samples, *steps)."""
    flat, counts = (array.reshape(len(array), -1) for array in (good & counted, counted))
    per_sample = counts.sum(axis=1)
    valid = per_sample > 0
    hits, total = flat.sum(axis=1), int(per_sample.sum())
    if not total:
        return Steps(0.0, 0.0, 0)
    return Steps(float(hits.sum()) / total, float((hits == per_sample)[valid].mean()), int(valid.sum()))


def _without(shape: Sequence[int], axis: int) -> Tuple[int, ...]:
    return (*shape[:axis], *shape[axis + 1 :])

"""Samples of different sizes: checks of the sizes, and samples without their padding."""

from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sweep.spec import UserError

Arrays = Mapping[str, np.ndarray]
Dims = Mapping[str, Sequence[int]]  # input -> its axes that a bucket sets, as in `model.bucket_dims`


def check_sizes(given: np.ndarray, inputs: Arrays, name: str, row: int = 0) -> np.ndarray:
    """Sizes (N, D) int64 of the samples; (N,) counts as one dimension. `row` is the number of the first.

    Raises:
        UserError: if they cannot be sizes of these samples, whatever the model.
    """
    sizes = np.asarray(given)
    sizes = sizes[:, None] if sizes.ndim == 1 else sizes
    count = len(next(iter(inputs.values())))
    if sizes.ndim != 2 or sizes.dtype.kind not in "iu" or not sizes.shape[1]:
        raise UserError(
            "data %s: sizes must be whole numbers (samples, dimensions), not %s %s" % (name, sizes.dtype, sizes.shape)
        )
    if len(sizes) != count:
        raise UserError("data %s has %d sizes for %d samples" % (name, len(sizes), count))
    if (sizes < 1).any():
        at = int(np.argmax((sizes < 1).any(axis=1)))
        raise UserError("data %s: sample %d has the size %s: sizes begin at 1" % (name, row + at, sizes[at].tolist()))
    return np.ascontiguousarray(sizes, dtype=np.int64)


def check_fit(sizes: Optional[np.ndarray], inputs: Arrays, dims: Optional[Dims], name: str) -> None:
    """Check that the data, and their sizes if samples differ, fit the dimensions in the model's config.

    Raises:
        UserError: if they do not, or if values beyond a sample's size are not padding: one and the same value.
    """
    if sizes is not None and not dims:
        text = "data %s has samples of different sizes: say with model.bucket_dims which axes they are, as in {%s: [1]}"
        raise UserError(text % (name, next(iter(inputs))))
    for key, axes in (dims or {}).items() if inputs else ():
        if key not in inputs:
            raise UserError("model.bucket_dims names %s: data %s has the inputs %s" % (key, name, ", ".join(inputs)))
        array = inputs[key]
        if sizes is not None and len(axes) != sizes.shape[1]:
            text = "model.bucket_dims has %d axes of %s, the sizes of data %s have %d dimensions"
            raise UserError(text % (len(axes), key, name, sizes.shape[1]))
        if any(not 0 < axis < array.ndim for axis in axes):
            here = "the axes 1 to %d, axis 0 is the batch" % (array.ndim - 1) if array.ndim > 1 else "no axis but 0"
            raise UserError("model.bucket_dims: %s has %s: %s was given" % (key, here, list(axes)))
        if sizes is None:
            continue
        limits = [array.shape[axis] for axis in axes]
        if (sizes > limits).any():
            at = int(np.argmax((sizes > limits).any(axis=1)))
            text = "data %s: sample %d has the size %s, its array %s ends at %s"
            raise UserError(text % (name, at, sizes[at].tolist(), key, limits))
        _check_padding(sizes, array, axes, "data %s: input %s" % (name, key))


def _check_padding(sizes: np.ndarray, array: np.ndarray, axes: Sequence[int], what: str) -> None:
    padding = None
    for at, size in enumerate(sizes):
        beyond = np.zeros(array.shape[1:], bool)
        for axis, limit in zip(axes, size):
            beyond[(slice(None),) * (axis - 1) + (slice(limit, None),)] = True
        values = array[at][beyond]
        if not len(values):
            continue
        padding = values[0] if padding is None else padding
        if (values != padding).any():
            raise UserError(
                "%s: sample %d has values beyond its size %s, not padding alone" % (what, at, size.tolist())
            )


def group_by_size(sizes: Optional[np.ndarray], count: int) -> List[Tuple[np.ndarray, Optional[List[int]]]]:
    """(numbers of the samples, their size) of each distinct size (N, D); one group without a size if there is none."""
    if sizes is None:
        return [(np.arange(count), None)]
    distinct, which = np.unique(sizes, axis=0, return_inverse=True)
    return [(np.flatnonzero(which.ravel() == number), size) for number, size in enumerate(distinct.tolist())]


def take_samples(
    inputs: Arrays, items: np.ndarray, size: Optional[Sequence[int]], dims: Optional[Dims]
) -> Tuple[np.ndarray, ...]:
    """Copies of some samples of one size, without their padding."""
    rows = {name: np.array(array[items]) for name, array in inputs.items()}
    return tuple(rows.values()) if size is None or not dims else remove_padding(rows, size, dims)


def remove_padding(arrays: Arrays, size: Sequence[int], dims: Dims) -> Tuple[np.ndarray, ...]:
    """Arrays of samples of one size, without what lies beyond it."""
    cut: List[np.ndarray] = []
    for name, array in arrays.items():
        for axis, limit in zip(dims.get(name, ()), size):
            array = array[(slice(None),) * axis + (slice(limit),)]
        cut.append(np.ascontiguousarray(array))
    return tuple(cut)


def pick_sizes(sizes: np.ndarray, count: int) -> Dict[Tuple[int, ...], int]:
    """At most `count` distinct sizes, from the smallest area to the largest, each with the number of a sample of it."""
    distinct, first = np.unique(sizes, axis=0, return_index=True)
    order = np.argsort(distinct.prod(axis=1), kind="stable")
    picked = order[np.unique(np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int))]
    return {tuple(distinct[i].tolist()): int(first[i]) for i in picked}

"""From samples to requests: which bucket takes a sample, which samples share a request, how they are padded.

Padding and routing stand here once, above all backends. A sample goes to the smallest bucket that holds it; a sample
that fits none is never cut. Worker side, Python 3.8.
"""

from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sweep.spec.requests import Padding

PASSES = 4  # through the data before the rest of the queues leaves as short batches
Bucket = Tuple[int, ...]


def find_own_sizes(
    inputs: Mapping[str, np.ndarray], sizes: Optional[np.ndarray], padding: Padding
) -> Optional[np.ndarray]:
    """(N, D): each sample's size along the D bucket dimensions, or None if the model has none."""
    if sizes is not None:
        return np.asarray(sizes)
    if not padding.dims:
        return None
    return np.tile(find_stored_size(inputs, padding), (len(next(iter(inputs.values()))), 1))


def find_stored_size(inputs: Mapping[str, np.ndarray], padding: Padding) -> List[int]:
    """The size along the bucket dimensions that the arrays are stored with: that of the largest sample."""
    name, axes = next(iter(padding.dims.items()))
    return [inputs[name].shape[axis] for axis in axes]


def describe_misfits(sizes: np.ndarray, buckets: Sequence[Bucket]) -> str:
    """What is wrong with buckets that do not hold all samples, and which bucket to add."""
    lost = sizes[route(sizes, buckets) < 0]
    largest = lost.max(axis=0)
    wide = [list(widen(bucket, len(largest))) for bucket in buckets]
    needed = largest.tolist()[0] if len(largest) == 1 else largest.tolist()
    return "%d of %d inputs fit no bucket of %s: the largest is %s; add a bucket of %s" % (
        *(len(lost), len(sizes), wide, "x".join(map(str, largest))),
        needed,
    )


def widen(bucket: Bucket, dimensions: int) -> Bucket:
    """A bucket's size along each of its dimensions: `(224,)` means 224 along all of them."""
    return tuple(bucket) * dimensions if len(bucket) == 1 else tuple(bucket)


def route(sizes: np.ndarray, buckets: Sequence[Bucket]) -> np.ndarray:
    """For every sample the number of the smallest bucket that holds it, or -1.

    Args:
        sizes: (N, D), each sample's size along the bucket dimensions.
        buckets: per bucket, its size along each dimension; one size stands for all dimensions.
    """
    sizes = np.asarray(sizes)
    wide = [widen(bucket, sizes.shape[1]) for bucket in buckets]
    chosen = np.full(len(sizes), -1)
    for number in sorted(range(len(buckets)), key=lambda b: (int(np.prod(wide[b])), wide[b]), reverse=True):
        chosen[(sizes <= np.array(wide[number])).all(axis=1)] = number  # smaller buckets come later and win
    return chosen


def make_batches(items: np.ndarray, batch: int, offset: int) -> List[np.ndarray]:
    """Full batches over all `items`, beginning at `offset` and wrapping round, so that the last one is full too."""
    turned = np.roll(items, -(offset % len(items)))
    count = -(-len(turned) // batch)
    return list(np.resize(turned, count * batch).reshape(count, batch))


def split(items: np.ndarray, batch: int) -> List[np.ndarray]:
    """Batches that hold each of `items` once; the last may be short."""
    return [items[at : at + batch] for at in range(0, len(items), batch)]


def queue_batches(chosen: np.ndarray, batch: int, offset: int) -> List[Tuple[int, np.ndarray]]:
    """(bucket, samples) of every request that forms when samples arrive in order, from `offset` on.

    Each bucket has a queue; a request leaves when `batch` samples wait. The data is passed `PASSES` times, and what
    waits at the end leaves as short requests.
    """
    order = np.roll(np.arange(len(chosen)), -(offset % len(chosen)))
    formed: List[Tuple[int, np.ndarray]] = []
    queues: Dict[int, List[int]] = {}
    for item in np.tile(order, PASSES if batch > 1 else 1):
        queue = queues.setdefault(int(chosen[item]), [])
        queue.append(int(item))
        if len(queue) == batch:
            formed.append((int(chosen[item]), np.array(queue)))
            queue.clear()
    return formed + [(bucket, np.array(queue)) for bucket, queue in sorted(queues.items()) if queue]


def choose_shape(bucket: Optional[Bucket], sizes: Optional[np.ndarray], items: np.ndarray) -> Optional[Bucket]:
    """The shape that a request is padded to: its bucket, or with dynamic sizes, `()`, that of its largest sample."""
    if bucket != () or sizes is None:
        return bucket
    return tuple(int(size) for size in sizes[items].max(axis=0))


def fit_samples(
    inputs: Mapping[str, np.ndarray], items: np.ndarray, bucket: Optional[Bucket], padding: Padding, sizes: Any = None
) -> Tuple[np.ndarray, ...]:
    """The samples `items` as contiguous arrays of the bucket's shape; None: as large as they are stored.

    Values beyond the bucket are cut off: call it only with samples that fit, or with examples to build from.
    """
    arrays = []
    for name, array in inputs.items():
        chosen = np.ascontiguousarray(array[items])
        if name in padding.dims:
            axes = padding.dims[name]
            if bucket is not None:
                chosen = resize(chosen, axes, widen(bucket, len(axes)), padding.value_of(name))
            if padding.side == "left" and sizes is not None:
                chosen = _move_right(chosen, axes, sizes[items])
        arrays.append(np.ascontiguousarray(chosen))
    return tuple(arrays)


def resize(array: np.ndarray, axes: Sequence[int], sizes: Sequence[int], value: float) -> np.ndarray:
    """`array` with `axes` padded or cut at their end to exactly `sizes`."""
    index: List[Any] = [slice(None)] * array.ndim
    widths = [(0, 0)] * array.ndim
    for axis, size in zip(axes, sizes):
        index[axis] = slice(0, size)
        widths[axis] = (0, max(0, size - array.shape[axis]))
    array = array[tuple(index)]
    return np.pad(array, widths, constant_values=value) if any(after for _, after in widths) else array


def _move_right(array: np.ndarray, axes: Sequence[int], sizes: np.ndarray) -> np.ndarray:
    """Samples moved to the end of the bucket, so that padding comes first."""
    moved = np.empty_like(array)
    for row, size in enumerate(sizes):
        shifts = [array.shape[axis] - int(own) for axis, own in zip(axes, size)]
        moved[row] = np.roll(array[row], shifts, [axis - 1 for axis in axes])
    return moved


def choose_examples(sizes: Optional[np.ndarray], bucket: Optional[Bucket], count: int, total: int) -> np.ndarray:
    """`count` samples to build or calibrate with: those that fit the bucket, if any does."""
    if sizes is None or bucket is None:
        return np.arange(count) % total
    fitting = np.flatnonzero((sizes <= np.array(widen(bucket, sizes.shape[1]))).all(axis=1))
    return np.resize(fitting if len(fitting) else np.arange(total), count)

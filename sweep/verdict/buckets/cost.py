"""What a list of buckets costs on given traffic: the curve that a build's cost follows, routing, padding, baselines.

Every item is served by the smallest bucket that fits it. A request of a bucket takes `seconds` for `batch` items, so
the expected cost of an item is  sum over sizes of weight x seconds(its bucket) / batch / sum of weights,  and the
expected latency of its request is `batch` times that: the list that is best for one is best for the other. Batches are
taken as full.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep.spec import UserError
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]
SHARE = 0.99 - 1e-12  # of a p99; the tolerance is for shares whose rounded sum just misses it


@dataclass(frozen=True)
class Point:
    """What a build of one shape costs. None: not known."""

    size: Shape
    seconds: float  # of one request of the curve's batch
    memory_mb: float | None = None  # while it is loaded
    build_seconds: float | None = None


class Curve:
    """What a build costs by its size, from a few that were measured.

    The size counts elements: the length of a sequence, height x width of an image. Between measured sizes a
    shape-preserving cubic is used (Fritsch and Carlson 1980, SIAM J. Numer. Anal. 17:238-246):
    through all points, rising wherever they rise, without overshoot, so that a curve falls nowhere but between two
    points that fall. Above the largest it goes on straight, with the slope between the last two or level where they
    fall; below the smallest straight too, but neither above the smallest nor below its share by size. One point alone
    is in proportion to the size. Equal sizes are averaged.
    """

    def __init__(self, points: Iterable[Point], batch: int = 1) -> None:
        """`points`: at least one, in any order. `batch`: items of a request.

        Raises:
            UserError: no points, or a number that cannot be.
        """
        self.points = tuple(sorted(points, key=lambda point: (math.prod(point.size), point.size)))
        self.batch = batch
        if not self.points or batch < 1:
            raise UserError("a cost curve needs at least one measured shape and a batch of at least 1")
        for point in self.points:
            numbers = [point.seconds, point.memory_mb or 0.0, point.build_seconds or 0.0]
            if min(point.size, default=0) < 1 or point.seconds <= 0 or not all(0 <= x < math.inf for x in numbers):
                raise UserError(f"cost of shape {list(point.size)}: sizes and seconds must be above 0, not {numbers}")

    def knows(self, quantity: str) -> bool:
        """Whether `memory_mb` or `build_seconds` was measured anywhere."""
        return any(getattr(point, quantity) is not None for point in self.points)

    def values(self, quantity: str, elements: "np.ndarray") -> "np.ndarray":
        """`seconds`, `memory_mb` or `build_seconds` at sizes in elements, (n,) -> (n,)."""
        import numpy as np

        known = [(math.prod(point.size), getattr(point, quantity)) for point in self.points]
        at, number = np.unique([size for size, value in known if value is not None], return_inverse=True)
        values = np.bincount(number, [value for _, value in known if value is not None]) / np.bincount(number)
        return _interpolate(at.astype(np.float64), values, np.asarray(elements, dtype=np.float64))

    def at(self, size: int | Shape) -> Point:
        """What a build of this shape is expected to take."""
        import numpy as np

        shape = (size,) if isinstance(size, int) else tuple(size)
        elements = np.array([float(math.prod(shape))])
        costs = {
            name: float(self.values(name, elements)[0])
            for name in ("seconds", "memory_mb", "build_seconds")
            if self.knows(name)
        }
        return Point(shape, **costs)


@dataclass(frozen=True)
class Choice:
    """A list of buckets and what it is expected to cost."""

    buckets: tuple[Shape, ...]  # from the smallest
    k: int
    expected_seconds: float  # per item
    p99_seconds: float  # the request of at least 99 of 100 items takes no longer
    waste: float  # share of the elements that is padding, along the bucket dimensions
    build_seconds: float | None  # of all buckets together; None: not known
    memory_mb: float | None  # of all buckets together, loaded
    shares: tuple[float, ...] = ()  # of the items, by bucket
    exact: bool = True  # no list of so many buckets is better; False: this is not proven


def evaluate(traffic: Traffic, cost: Curve, buckets: "np.ndarray | Sequence[int | Shape]") -> Choice:
    """What any list is expected to cost on this traffic.

    Raises:
        UserError: no bucket fits some size.
    """
    import numpy as np

    shapes = as_shapes(buckets, traffic.dimensions)
    seconds = cost.values("seconds", units(shapes))
    shares = share_out(traffic, shapes)
    order = np.argsort(seconds, kind="stable")
    slowest = order[np.searchsorted(np.cumsum(shares[order]), SHARE)]
    build_seconds, memory_mb = (
        float(cost.values(name, units(shapes)).sum()) if cost.knows(name) else None
        for name in ("build_seconds", "memory_mb")
    )
    return Choice(
        tuple(tuple(int(size) for size in shape) for shape in shapes),
        len(shapes),
        float(shares @ seconds) / cost.batch,
        float(seconds[slowest]),
        waste(traffic, shapes),
        build_seconds,
        memory_mb,
        tuple(float(share) for share in shares),
    )


def serve(traffic: Traffic, buckets: "np.ndarray | Sequence[int | Shape]") -> "np.ndarray":
    """The number of the smallest bucket that fits each of the traffic's sizes: (n,) ints, counted in order of size.

    Raises:
        UserError: no bucket fits some size.
    """
    from sweep.worker.batching import route

    shapes = as_shapes(buckets, traffic.dimensions)
    served = route(traffic.sizes, shapes.tolist())
    if (served < 0).any():
        lost = traffic.sizes[served < 0][-1].tolist()
        raise UserError(f"no bucket of {shapes.tolist()} fits size {lost}: add {list(traffic.largest)}")
    return served


def share_out(traffic: Traffic, buckets: "np.ndarray | Sequence[int | Shape]") -> "np.ndarray":
    """(n,): the share of the items that each bucket serves, in order of size.

    Raises:
        UserError: no bucket fits some size.
    """
    import numpy as np

    shapes = as_shapes(buckets, traffic.dimensions)
    hits = np.bincount(serve(traffic, shapes), traffic.weights, len(shapes))
    shares: np.ndarray = hits / hits.sum()
    return shares


def waste(traffic: Traffic, buckets: "np.ndarray | Sequence[int | Shape]") -> float:
    """Share of the elements that is padding: 1 - elements of the items / elements of the buckets that serve them."""
    held = units(as_shapes(buckets, traffic.dimensions))[serve(traffic, buckets)]
    return float(traffic.weights @ (held - units(traffic.sizes)) / (traffic.weights @ held))


def powers_of_two(largest: Shape) -> tuple[Shape, ...]:
    """Powers of two from 1 up to the first that covers `largest`; along several dimensions all are halved together."""
    powers = [1 << (size - 1).bit_length() for size in largest]
    shapes = {tuple(max(1, power >> step) for power in powers) for step in range(max(powers).bit_length())}
    return tuple(sorted(shapes, key=lambda shape: (math.prod(shape), shape)))


def describe_excess(choice: Choice, limits: Mapping[str, float]) -> str:
    """Which limit a list exceeds, in words; empty if none. A cost that is not known exceeds none."""
    named = {"memory_mb": "MB of memory", "build_seconds": "seconds of build"}
    for name, limit in limits.items():
        needed = getattr(choice, name)
        if needed is not None and needed > limit * (1 + 1e-12):
            return f"needs {needed:.6g} {named[name]}, the limit is {limit:.6g}"
    return ""


def rank(choice: Choice, objective: str) -> tuple[float, ...]:
    """Smaller is better."""
    return (choice.p99_seconds,) * (objective == "p99") + (choice.expected_seconds,)


def better(choice: Choice, than: Choice, objective: str) -> bool:
    """By more than rounding."""
    for ours, theirs in zip(rank(choice, objective), rank(than, objective), strict=True):
        if not math.isclose(ours, theirs, rel_tol=1e-11):
            return ours < theirs
    return False


def as_shapes(shapes: "np.ndarray | Iterable[int | Shape]", dimensions: int) -> "np.ndarray":
    """Distinct shapes in order of size, (n, D): one number stands for all dimensions, as it does in `buckets`.

    An array is taken to hold whole shapes already.

    Raises:
        UserError: none, one of another number of dimensions, or sizes below 1.
    """
    import numpy as np

    if not isinstance(shapes, np.ndarray):
        listed = [(shape,) if isinstance(shape, int) else tuple(shape) for shape in shapes]
        listed = [shape * dimensions if len(shape) == 1 else shape for shape in listed]
        if not listed or any(len(shape) != dimensions or min(shape) < 1 for shape in listed):
            raise UserError(f"buckets must be at least one, each of {dimensions} numbers of at least 1, not {listed}")
        shapes = np.array(listed, dtype=np.int64)
    distinct = np.unique(shapes, axis=0)
    return distinct[np.argsort(units(distinct), kind="stable")]


def _interpolate(known: "np.ndarray", values: "np.ndarray", at: "np.ndarray") -> "np.ndarray":
    """See `Curve`. known: (m,) rising sizes, values: (m,)."""
    import numpy as np

    if len(known) == 1:
        return np.asarray(values[0] * at / known[0])
    from scipy.interpolate import PchipInterpolator

    inside = PchipInterpolator(known, values)(np.clip(at, known[0], known[-1]))
    slopes = np.maximum(np.diff(values) / np.diff(known), 0.0)
    above = values[-1] + slopes[-1] * (at - known[-1])
    below = np.maximum(values[0] - slopes[0] * (known[0] - at), values[0] * at / known[0])
    values_at: np.ndarray = np.where(at > known[-1], above, np.where(at < known[0], below, inside))
    return values_at

"""One group of `buckets.json` as its pictures need it: the list that is drawn, which size goes where, colours, bins."""

from __future__ import annotations

from functools import cached_property
from math import prod
from typing import TYPE_CHECKING, Any

from sweep.report.plots.drawing import COLOURS
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.verdict.buckets.results import ANY_SIZE, ListGroup, ListRow
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    Array = np.ndarray[Any, Any]
Shape = tuple[int, ...]

LOOKS = {  # colour and marker by a row's name, the same in all panels
    "best": (COLOURS[0], "o"),
    "pad to max": (COLOURS[1], "v"),
    "powers of two": (COLOURS[2], "s"),
    "dynamic": (COLOURS[3], "P"),
    "asked": (COLOURS[4], "D"),
    "best before": (COLOURS[5], "d"),
}
BINS = 90  # across the axis; half as many where sizes have several dimensions or the axis is logarithmic
SKEWED = 12  # times the median that the largest size must be for a logarithmic axis


class View:
    """A group and what follows from it."""

    def __init__(self, group: ListGroup) -> None:
        self.group = group
        self.curve = [point for point in group.curve if point.seconds]
        self.traffic = Traffic.of(group.traffic.sizes, group.traffic.weights) if group.traffic else None

    @cached_property
    def dimensions(self) -> int:
        if self.traffic is not None:
            return self.traffic.dimensions
        return max((len(bucket) for row in self.static for bucket in row.shapes), default=1)

    @cached_property
    def static(self) -> list[ListRow]:
        """Rows with a list of buckets, fewer buckets first."""
        return sorted((row for row in self.group.rows if row.shapes), key=lambda row: len(row.shapes))

    @cached_property
    def dynamic(self) -> ListRow | None:
        """The row of sizes that vary, if it was measured."""
        rows = [row for row in self.group.rows if row.buckets == ANY_SIZE]
        return next((row for row in rows if self.group.measured_ms(row) is not None or list_sizes(row)), None)

    def named(self, name: str) -> ListRow | None:
        return next((row for row in self.static if row.name == name), None)

    @cached_property
    def drawn(self) -> ListRow | None:
        """The list whose buckets are drawn: the fastest that was measured, or else that is expected to be."""
        rows = [row for row in self.static if not row.over]  # no limit excludes it
        for value in (self.group.measured_ms, self.group.expected_ms):
            known = [(latency, number) for number, row in enumerate(rows) if (latency := value(row)) is not None]
            if known:
                return rows[min(known)[1]]
        return next(iter(rows or self.static), None)

    @cached_property
    def shapes(self) -> list[Shape]:
        """The buckets of the list that is drawn, from the smallest."""
        from sweep.verdict.buckets.cost import as_shapes

        if self.drawn is None:
            return []
        return [tuple(shape) for shape in as_shapes(self.drawn.shapes, self.dimensions).tolist()]

    @property
    def sizes(self) -> Array:
        """The sizes that occur, (n, D); none where the traffic is not known."""
        import numpy as np

        return np.empty((0, self.dimensions), dtype=np.int64) if self.traffic is None else self.traffic.sizes

    @cached_property
    def elements(self) -> Array:
        """Elements of each size."""
        return units(self.sizes)

    @cached_property
    def weights(self) -> Array:
        """Share of the items of each size."""
        import numpy as np

        if self.traffic is None:
            return np.empty(0)
        shares: Array = self.traffic.weights / self.traffic.weights.sum()
        return shares

    @cached_property
    def served(self) -> Array:
        """Number of each size's bucket, -1 if none holds it."""
        from sweep.worker.batching import route

        return route(self.sizes, self.shapes)

    @cached_property
    def shares(self) -> list[float]:
        """Share of the items that each bucket serves."""
        return [float(self.weights[self.served == number].sum()) for number in range(len(self.shapes))]

    @cached_property
    def needed_and_padding(self) -> tuple[Array, Array]:
        """Shares of all computed elements, for each size: what its items need, and their padding."""
        import numpy as np

        held = np.append(units(np.array(self.shapes)), 0.0)[self.served]  # nothing is computed for what fits nowhere
        needed = np.where(self.served >= 0, self.elements, 0.0)
        total = float(self.weights @ held) or 1.0
        return self.weights * needed / total, self.weights * (held - needed) / total

    def latencies(self, row: ListRow | None) -> dict[Shape, BucketFacts]:
        """The measured buckets of a row by shape, those that had requests."""
        from sweep.worker.batching import widen

        buckets = row.measured.buckets if row is not None and row.measured is not None else ()
        return {widen(bucket.bucket, self.dimensions): bucket for bucket in buckets if bucket.latency_ms_mean}

    @cached_property
    def colours(self) -> list[Any]:
        """A colour for each bucket that is drawn: dark for small ones, light for large ones."""
        import matplotlib

        shades = matplotlib.colormaps["viridis"]
        steps = max(1, len(self.shapes) - 1)
        return [shades(0.1 + 0.68 * number / steps) for number in range(len(self.shapes))]

    @cached_property
    def median(self) -> float:
        """Elements of the item in the middle."""
        import numpy as np

        return float(self.elements[np.searchsorted(np.cumsum(self.weights), 0.5 - 1e-9)])

    @cached_property
    def is_log(self) -> bool:
        """Most sizes would lie at the left edge of a linear axis."""
        return self.traffic is not None and float(self.elements[-1]) > SKEWED * self.median

    @cached_property
    def bins(self) -> Array:
        """Edges in elements, between whole sizes."""
        import numpy as np

        low, high = float(self.elements[0]), float(self.elements[-1])
        most = BINS if self.dimensions == 1 and not self.is_log else BINS // 2
        if self.is_log:
            edges = np.floor(np.geomspace(low, high + 1, most)) - 0.5
            bins: Array = np.unique(np.append(edges, high + 0.5))
            return bins
        width = float(np.ceil(high / most))
        return np.arange(low - 0.5, high + 0.5 + width, width)

    def place(self, axes: Axes) -> None:
        """The axis of sizes, the same in all panels that have it: as far as items and drawn buckets reach."""
        ends = [float(self.elements[-1])] if self.traffic else []
        ends += [float(prod(shape)) for shape in self.shapes]
        ends += [float(prod(point.size)) for point in self.curve if not ends]
        ends += [float(prod(group.size)) for group in list_sizes(self.dynamic) if not ends]
        high = max(ends, default=1.0)
        if self.is_log:
            axes.set_xscale("log")
            axes.set_xlim(max(0.5, float(self.elements[0]) / 1.15), high * 1.15)
        else:
            axes.set_xlim(0, high * 1.03 + 0.5)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        names = {1: "length of an item", 2: "elements of an item, height x width"}
        axes.set_xlabel(names.get(self.dimensions, "elements of an item, along all bucket dimensions"))


def list_sizes(row: ListRow | None) -> list[SizeFacts]:
    """The measured sizes of a build for any size."""
    if row is None or row.measured is None:
        return []
    return [group for group in row.measured.sizes if group.latency_ms_mean]

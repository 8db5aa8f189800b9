"""What the pictures share: colours, the sheet, the heading, and which trials are points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.report.tables import metrics_of
from sweep.spec import Record, Status

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#555555", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK, FAINT = "#333333", "#BBBBBB"
STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": INK,
    "ytick.color": INK,
}
HEADING_INCHES = 0.62


def sheet(width: float, height: float, title: str, words: Sequence[str]) -> Figure:
    """A white figure of that many inches, with a title and a grey line of `words` under it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)  # no window system, no global state
    # The stubs know neither that there is an engine now, nor the options of this one.
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - HEADING_INCHES / height))  # type: ignore[union-attr, call-arg]
    figure.text(0.012, 1 - 0.1 / height, title, va="top", fontsize=12, fontweight="bold")
    line = " · ".join(word for word in words if word)
    figure.text(0.012, 1 - 0.36 / height, line, va="top", fontsize=8.5, color="#777777")
    return figure


@dataclass(frozen=True)
class Point:
    """A trial that was measured."""

    record: Record
    latency: float  # ms
    throughput: float  # items/s
    tail: float | None  # p99, ms
    low: float
    high: float


def points_of(records: Sequence[Record]) -> list[Point]:
    """Those that are `ok` and have both numbers."""
    found = []
    for record in records:
        metrics = metrics_of(record)
        latency, value = metrics.get("latency_ms_p50"), metrics.get("throughput_items_per_s")
        if record.status is Status.OK and latency and value:
            low, high = (metrics.get("throughput_items_per_s" + end, value) for end in ("_low", "_high"))
            found.append(
                Point(record, latency, value, metrics.get("latency_ms_p99"), min(low, value), max(high, value))
            )
    return found

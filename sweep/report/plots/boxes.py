"""Latency of a request as a box for each trial, from the stored samples.

All requests of all repeats of a trial make one box: the quartiles, whiskers to the last request within 1.5 times the
length of the box (Tukey 1977, Exploratory Data Analysis), and the points beyond. If there are very many points, only
those are drawn that can be told apart, with the smallest and the largest. A trial without samples gets markers at its
percentiles, because a box would claim requests that nobody has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.report.names import describe_statuses
from sweep.report.plots import naming
from sweep.report.plots.drawing import HEADING_INCHES, INK, sheet, stretch
from sweep.spec import Status, UserError
from sweep.text import count, number

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.store.query import Stored

    Array = np.ndarray[Any, Any]

MOST = 16  # boxes on one page
WIDTH_INCHES, ROW_INCHES = 9.25, 0.62
BINS = 400  # points that lie closer than a 400th of the range cover each other
RAISED = 0.12  # how far a box lies above the middle of its line: there are words under it
PERCENTILES = {"p50": "o", "p90": "s", "p99": "D"}


@dataclass(frozen=True)
class Box:
    """Five numbers of a trial's latencies, in ms, and the points beyond the whiskers."""

    low: float  # the whiskers' ends
    q1: float
    median: float
    q3: float
    high: float
    beyond: Array  # ascending, thinned
    outliers: int  # before thinning
    requests: int
    repeats: int


@dataclass(frozen=True)
class Marks:
    """Percentiles of a trial without samples, in ms."""

    values: dict[str, float]
    why: str


def draw(trials: Sequence[Stored]) -> Figure:
    """A figure with one line for each trial, the fastest median on top.

    Raises:
        UserError: none of the trials has latencies.
    """
    drawn = [(trial, shape) for trial in trials if trial.record.status is Status.OK and (shape := make_shape(trial))]
    if not drawn:
        raise UserError(f"no latencies to draw: {_without(trials)}")
    drawn.sort(key=lambda pair: find_middle(pair[1]))
    shown, rest = drawn[:MOST], drawn[MOST:]
    boxed = [trial for trial, _ in shown]
    shapes = [shape for _, shape in shown]
    lost = [trial.record for trial in trials if not any(trial is kept for kept, _ in drawn)]
    words = [*naming.describe_trials(boxed), _medians(shapes)]
    words += [f"not shown: {describe_statuses(lost)}"] if lost else []
    words += [f"the fastest {MOST} of {len(drawn)}"] if rest else []
    height = HEADING_INCHES + 0.85 + ROW_INCHES * max(len(shown), 2)
    figure = sheet(WIDTH_INCHES, height, naming.make_title(boxed, "latency of a request"), words)
    axes = figure.add_subplot()
    _, palette, groups = naming.assign_colours(boxed)
    paint(axes, shapes, [palette[group] for group in groups], naming.name_trials(boxed), RAISED)
    figure.draw_without_rendering()  # the width that is left beside the names decides where words fit
    for place, shape in enumerate(shapes):
        _under(axes, place, shape)
    axes.set_xlabel("latency of a request, ms")
    _legend(figure, palette, shapes)
    return figure


def paint(
    axes: Axes, shapes: Sequence[Box | Marks], colours: Sequence[str], names: Sequence[str], raised: float = 0.0
) -> None:
    """Draw a line with its name for each shape, the first on top.

    Args:
        raised: how far a shape lies above the middle of its line, so that words fit below it.
    """
    stretch(axes, "x", *find_reach(shapes))
    for place, (shape, colour) in enumerate(zip(shapes, colours, strict=True)):
        if isinstance(shape, Box):
            _paint_box(axes, place - raised, shape, colour)
        else:
            _paint_marks(axes, place - raised, shape, colour)
    axes.set_yticks([place - raised for place in range(len(shapes))], names)
    axes.set_ylim(len(shapes) - 0.4, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(True, axis="x")


def make_shape(trial: Stored) -> Box | Marks | None:
    """A box from the samples of a trial, else marks at its percentiles, else None."""
    import numpy as np

    latencies = trial.latencies_ms()
    if latencies:
        return make_box(np.concatenate(list(latencies.values())), len(latencies))
    metrics = trial.record.numbers
    values = {name: metrics[f"latency_ms_{name}"] for name in PERCENTILES if f"latency_ms_{name}" in metrics}
    if not values:
        return None
    return Marks(values, "percentiles on record, the samples are gone" if trial.is_measured else "reported percentiles")


def make_box(latencies_ms: Array, repeats: int) -> Box:
    """The box of at least one latency."""
    import numpy as np

    q1, median, q3 = (float(value) for value in np.percentile(latencies_ms, (25, 50, 75)))
    reach = 1.5 * (q3 - q1)
    inside = latencies_ms[(latencies_ms >= q1 - reach) & (latencies_ms <= q3 + reach)]
    low, high = float(min(inside.min(), q1)), float(max(inside.max(), q3))
    beyond = latencies_ms[(latencies_ms < low) | (latencies_ms > high)]
    return Box(low, q1, median, q3, high, thin(beyond), len(beyond), len(latencies_ms), repeats)


def thin(values: Array, bins: int = BINS) -> Array:
    """The values in ascending order, thinned: the first and the last in each of `bins` equal steps of the logarithm.

    The smallest and the largest are always kept.
    """
    import numpy as np

    ordered = np.sort(values)
    if len(ordered) <= bins:
        return ordered
    logs = np.log(np.maximum(ordered, 1e-9))
    step = np.floor((logs - logs[0]) / max(logs[-1] - logs[0], 1e-12) * bins)
    new = np.flatnonzero(np.diff(step)) + 1
    kept: Array = ordered[np.unique(np.concatenate([[0], new - 1, new, [len(ordered) - 1]]))]
    return kept


def find_middle(shape: Box | Marks) -> float:
    """The median, or the smallest percentile that is known."""
    return shape.median if isinstance(shape, Box) else min(shape.values.values())


def _medians(shapes: Sequence[Box | Marks]) -> str:
    """How far the medians of two trials are apart; empty for any other number of trials."""
    if len(shapes) != 2 or any(isinstance(shape, Marks) and "p50" not in shape.values for shape in shapes):
        return ""
    first, second = (find_middle(shape) for shape in shapes)
    if first <= 0:
        return ""
    return f"medians {number(first)} and {number(second)} ms, {number(max(second / first, first / second))}-fold"


def _without(trials: Sequence[Stored]) -> str:
    """Say why none of the trials can be drawn."""
    good = [trial for trial in trials if trial.record.status is Status.OK]
    if good:
        return f"the samples of {count(len(good), 'trial')} are gone, and no percentile is on record"
    kinds = dict.fromkeys(naming.describe_ending(trial.record) for trial in trials)
    return f"{count(len(trials), 'trial')}, none of them ok ({', '.join(kinds)}); python -m sweep why says more"


def find_reach(shapes: Sequence[Box | Marks]) -> tuple[float, float]:
    """The smallest and the largest latency of all shapes."""
    values: list[float] = []
    for shape in shapes:
        if isinstance(shape, Box):
            values += [shape.low, shape.high, *shape.beyond[:1], *shape.beyond[-1:]]
        else:
            values += shape.values.values()
    return float(min(values)), float(max(values))


def _paint_box(axes: Axes, y: float, shape: Box, colour: str) -> None:
    for begin, end in ((shape.low, shape.q1), (shape.q3, shape.high)):
        axes.plot([begin, end], [y, y], color=colour, lw=1.3, zorder=2)
    for end in (shape.low, shape.high):
        axes.plot([end, end], [y - 0.12, y + 0.12], color=colour, lw=1.3, zorder=2)
    axes.barh(y, shape.q3 - shape.q1, 0.42, left=shape.q1, color=colour, edgecolor=colour, alpha=0.45, zorder=2)
    axes.plot([shape.median] * 2, [y - 0.21, y + 0.21], color="black", lw=2, solid_capstyle="butt", zorder=4)
    axes.plot(shape.beyond, [y] * len(shape.beyond), ".", ms=4.5, color=colour, mew=0, alpha=0.7, zorder=3)


def _paint_marks(axes: Axes, y: float, shape: Marks, colour: str) -> None:
    values = list(shape.values.values())
    axes.plot([min(values), max(values)], [y, y], color=colour, lw=0.8, ls=":", zorder=2)
    for name, value in shape.values.items():
        axes.plot(value, y, PERCENTILES[name], ms=6.5, mfc="white", mec=colour, mew=1.6, zorder=3)


def _under(axes: Axes, place: int, shape: Box | Marks) -> None:
    """Write words below a box: from its left end, or up to its right end, or where there is room."""
    if isinstance(shape, Box):
        text = f"median {number(shape.median)} ms, n = {count(shape.requests, 'request')}"
        text += f", {shape.outliers:,} beyond the whiskers" if shape.outliers else ""
        text += f", {count(shape.repeats, 'repeat')}"
        ends = shape.q1, shape.q3
    else:
        text = f"{shape.why}: {', '.join(f'{name} {number(value)}' for name, value in shape.values.items())} ms"
        ends = min(shape.values.values()), max(shape.values.values())
    left, right = (float(axes.transAxes.inverted().transform(axes.transData.transform((x, 0)))[0]) for x in ends)
    width = len(text) * 4.2 * axes.figure.dpi / 72 / axes.get_window_extent().width
    if left + width > 1:
        left = max(0.0, right - width if right > width else 1 - width)
    across = axes.get_yaxis_transform()
    back = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none"}
    axes.text(left, place + 0.28, text, transform=across, va="center", fontsize=8, color="#666666", bbox=back)


def _legend(figure: Figure, palette: dict[str, str], shapes: Sequence[Box | Marks]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Patch | Line2D] = []
    if len(palette) > 1:
        handles += [Patch(facecolor=colour, alpha=0.6, label=name) for name, colour in palette.items()]
    if any(isinstance(shape, Box) for shape in shapes):
        handles.append(Line2D([], [], color="black", lw=2, label="median; box: quartiles; whiskers: 1.5 box lengths"))
    named = {name for shape in shapes if isinstance(shape, Marks) for name in shape.values}
    for name in (name for name in PERCENTILES if name in named):
        handles.append(Line2D([], [], marker=PERCENTILES[name], ls="", mfc="white", mec=INK, mew=1.4, label=name))
    naming.draw_legend(figure, handles)

"""Panels of what bucket lists cost: latency by size, as a staircase, and by the number of buckets."""

from __future__ import annotations

import textwrap
from collections import Counter
from math import prod
from typing import TYPE_CHECKING, Any

from sweep.report.plots.buckets.sizes import LEGEND
from sweep.report.plots.buckets.view import LOOKS, Shape, View, list_sizes
from sweep.report.plots.drawing import FAINT, INK, stretch
from sweep.spec.facts import BucketFacts
from sweep.text import axis_text, number, status_text
from sweep.verdict.buckets.results import ListRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

CUT = 1.7  # times the highest mean: percentiles beyond are cut off, with their number
GREY, WRONG = "#808080", "#A33A00"
WIDE = 50  # times the lowest that the highest latency must be for a logarithmic axis
STEP = 0.1  # between lists of as many buckets
NUMBERED = 10  # with more lists no numbers stand beside them
LINE_LETTERS = 108  # that fit under the axis side by side


def draw_by_size(axes: Axes, view: View) -> None:
    """Latency of a request by the size of its items: a step for each bucket, beside pad to max and dynamic sizes."""
    measured = view.latencies(view.drawn)
    tails = {shape: bucket.latency_ms["p99"] for shape, bucket in measured.items() if _has_spread(bucket)}
    handles, means = _references(axes, view)
    means += [bucket.latency_ms_mean or 0.0 for bucket in measured.values()]
    means = means or [1.0]
    _scale(axes, min(means), max(max(means), min(max(tails.values(), default=0.0), CUT * max(means))))
    axes.set_ylabel("latency of a request, ms")
    axes.set_title("What a request takes, by the size of its items", loc="left")
    before: tuple[float, float] | None = None  # end and height of the last step
    for shape, colour in zip(view.shapes, view.colours, strict=True):
        low, high = _span(view, shape)
        if shape not in measured or high <= low:
            before = None
            continue
        mean = measured[shape].latency_ms_mean or 0.0
        if shape in tails:
            style: Any = {"color": colour, "alpha": 0.22, "lw": 0, "zorder": 1}
            axes.fill_between([low, high], measured[shape].latency_ms["p50"], tails[shape], **style)
            _cut_off(axes, (low + high) / 2, tails[shape])
        axes.plot([low, high], [mean, mean], color=colour, lw=2.6, solid_capstyle="butt", zorder=4)
        if before is not None and view.dimensions == 1:
            axes.plot([low, low], [before[1], mean], color=FAINT, lw=0.8, zorder=1)
        before = high, mean
    axes.legend(handles=[*_steps_in_legend(view, measured, bool(tails)), *handles], **LEGEND)


def _scale(axes: Axes, low: float, high: float) -> None:
    """An axis of latencies from zero, or a logarithmic one if they differ too much."""
    if high > WIDE * low:
        stretch(axes, "y", low, high)
    else:
        axes.set_ylim(0, 1.12 * high)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")


def _has_spread(bucket: BucketFacts) -> bool:
    return {"p50", "p99"} <= set(bucket.latency_ms)


def _span(view: View, shape: Shape) -> tuple[float, float]:
    """Begin and end of a bucket's step in elements: the sizes that it serves."""
    place, high = view.shapes.index(shape), float(prod(shape))
    if view.dimensions == 1:
        low = float(view.shapes[place - 1][0]) if place else float(min(view.elements, default=1.0)) - 1
        return low + 0.5, high + 0.5
    mine = view.elements[view.served == place]
    return (float(mine.min()), high) if len(mine) else (high, high)


def _steps_in_legend(view: View, measured: dict[Shape, BucketFacts], spread: bool) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if not measured:
        return []
    colour = view.colours[len(view.colours) // 2]
    steps = Line2D([], [], color=colour, lw=2.6, label="the buckets above, mean")
    return [steps, Patch(facecolor=colour, alpha=0.22, label="p50 to p99")] if spread else [steps]


def _references(axes: Axes, view: View) -> tuple[list[Line2D], list[float]]:
    """Draw cost curve, pad to max and dynamic sizes; handles for the legend, and latencies in ms that must fit."""
    from matplotlib.lines import Line2D

    handles: list[Line2D] = []
    seen: list[float] = []
    if view.curve:
        seen += _curve(axes, view)
        handles.append(
            Line2D([], [], marker="o", color=GREY, mfc="white", mec=INK, lw=1.0, label="cost curve, its points")
        )
    maximum = view.named("pad to max")
    measured = list(view.latencies(maximum).values()) if maximum is not view.drawn else []
    if measured:
        style: Any = {"color": LOOKS["pad to max"][0], "lw": 1.4, "ls": (0, (5, 2))}
        seen.append(measured[-1].latency_ms_mean or 0.0)
        axes.axhline(seen[-1], zorder=2, **style)
        handles.append(Line2D([], [], label="pad to max, mean", **style))
    points = sorted((float(prod(group.size)), group.latency_ms_mean) for group in list_sizes(view.dynamic))
    if points:
        style = {"color": LOOKS["dynamic"][0], "lw": 1.3, "marker": ".", "ms": 4}
        axes.plot([size for size, _ in points], [value for _, value in points], zorder=3, **style)
        seen += [value for _, value in points]
        label = "dynamic, mean" if view.group.batch == 1 else "dynamic, mean by the\nlargest of a request"
        handles.append(Line2D([], [], label=label, **style))
    return handles, seen


def _curve(axes: Axes, view: View) -> list[float]:
    """Draw the cost curve with its measured points; the latencies of those within the axis, in ms."""
    import numpy as np

    from sweep.verdict.buckets.cost import Curve

    curve = Curve(view.curve, view.group.batch)
    at = np.array([float(prod(point.size)) for point in curve.points])
    fine = np.unique(np.append(np.linspace(at[0], at[-1], 300), at))
    axes.plot(fine, 1000 * curve.values("seconds", fine), color=GREY, lw=1.0, zorder=2.5)
    points = 1000 * np.array([point.seconds for point in curve.points])
    axes.plot(at, points, "o", ms=5, mfc="white", mec=INK, mew=1.1, zorder=5)
    inside: list[float] = points[at <= axes.get_xlim()[1]].tolist()
    return inside


def list_rows(view: View) -> list[ListRow]:
    """The lists in `draw_by_k`: the best of every k, and all that were measured or failed."""
    known = [row for row in view.static if view.group.measured_ms(row) or view.group.expected_ms(row)]
    return [row for row in known if row.best_for_k or view.group.measured_ms(row) or row.has_failed]


def draw_by_k(axes: Axes, view: View) -> None:
    """Predicted and measured latency of the best list of every k, and of all other measured lists."""
    from matplotlib.lines import Line2D

    best = [row for row in view.static if row.best_for_k and view.group.expected_ms(row)]
    line = [len(row.shapes) for row in best], [view.group.expected_ms(row) or 0.0 for row in best]
    handles: list[Any] = []
    if best:
        style: Any = {"color": GREY, "marker": "o", "mfc": "white", "mec": GREY, "ms": 5, "lw": 1.2}
        axes.plot(*line, zorder=2, **style)
        handles.append(Line2D([], [], label="best list, predicted\n(numbers in brackets)", **style))
    shown = [row for row in list_rows(view) if view.group.measured_ms(row)]
    reference = view.group.measured_ms(view.dynamic) if view.dynamic else None
    values = [value for row in list_rows(view) if (value := view.group.measured_ms(row) or view.group.expected_ms(row))]
    values += [reference] if reference else []
    tails = [row.measured.latency_ms_p99 for row in shown if row.measured and row.measured.latency_ms_p99]
    _scale(axes, min(values), max(max(values), min(max(tails, default=0.0), CUT * max(values))))
    _rows(axes, view)
    for name in dict.fromkeys(row.name for row in shown):
        colour, marker = LOOKS[name]
        label = {
            "best": "best list, measured",
            "asked": "asked for, measured",
            "best before": "found before, measured",
        }.get(name, name)
        handles.append(Line2D([], [], marker=marker, ms=7, mec="white", color=colour, ls="", label=label))
    if tails:
        handles.append(Line2D([], [], color=GREY, lw=1.2, alpha=0.6, label="p50 to p99 of requests"))
    if reference:
        style = {"color": LOOKS["dynamic"][0], "lw": 1.5, "ls": ":"}
        axes.axhline(reference, zorder=1, **style)
        handles.append(Line2D([], [], label=f"dynamic: {number(reference)} ms", **style))
    axes.set_ylabel("latency, ms")
    what = "p99 of a request" if view.group.is_p99 else "latency of the request that an item is in, mean over items"
    title = "What each further bucket gains" if best else "What the lists take"
    axes.set_title(f"{title}: {what}", loc="left")
    _numbers(axes, view)
    _ticks(axes, view)
    axes.legend(handles=handles, **LEGEND)


def _rows(axes: Axes, view: View) -> None:
    """A marker for every list that was measured, on a line from p50 to p99, and a cross for those that failed."""
    taken: list[float] = []
    for row in list_rows(view):
        value, expected = view.group.measured_ms(row), view.group.expected_ms(row)
        place = float(len(row.shapes))
        if row.has_failed and row.status and expected:
            axes.plot(place, expected, "x", color=WRONG, ms=8, mew=2, zorder=5)
            _below(axes, (place, expected), status_text(row.status), WRONG)
        if value is None or row.measured is None:
            continue
        while place in taken:  # several lists of as many buckets
            place = round(place + STEP, 3)
        taken.append(place)
        colour, marker = LOOKS[row.name]
        low, high = row.measured.latency_ms_p50, row.measured.latency_ms_p99
        if low and high:
            axes.plot([place, place], [low, high], color=colour, lw=1.2, alpha=0.6, zorder=1.5)
            _cut_off(axes, place, high)
        axes.plot(place, value, marker, color=colour, ms=7.5, mec="white", mew=0.8, zorder=4)
        if row.over:
            _below(axes, (place, value), "over a limit", GREY)


def _cut_off(axes: Axes, place: float, tail: float) -> None:
    """Write the number of a p99 that is above the axis."""
    top = axes.get_ylim()[1]
    if tail > top:
        style: Any = {"textcoords": "offset points", "va": "top", "fontsize": 7.5, "color": INK, "zorder": 6}
        axes.annotate(f"p99 {number(tail)}", (place, top), (4, 0), **style)


def _below(axes: Axes, place: tuple[float, float], words: str, colour: str) -> None:
    style: Any = {"textcoords": "offset points", "ha": "center", "va": "top", "fontsize": 7.5, "color": colour}
    axes.annotate(words, place, (0, -6), zorder=5, **style)


def _numbers(axes: Axes, view: View) -> None:
    """Write the latency beside the best list of each k, measured or else predicted, and the expected gain.

    Predictions stand in brackets. Without a search there are no gains, and the fastest list of each k has the number.
    """
    shown = list_rows(view)
    rows = {len(row.shapes): row for row in shown if row.best_for_k}
    is_searched = bool(rows)
    measured = [row for row in shown if view.group.measured_ms(row)]
    for row in sorted(measured, key=lambda row: view.group.measured_ms(row) or 0.0):
        if not is_searched:
            rows.setdefault(len(row.shapes), row)
    if len(rows) > NUMBERED:
        return
    crowd = Counter(len(row.shapes) for row in measured)
    before: float | None = None
    for k, row in sorted(rows.items()):
        expected, seen = view.group.expected_ms(row), view.group.measured_ms(row)
        gain = 100 * (1 - expected / before) if is_searched and before and expected else 0.0
        less = f"\N{MINUS SIGN}{gain:.{0 if gain >= 1 else 1}f} %" if gain >= 0.05 else ""
        words = f"{number(seen)} ms" + (f"\n({less})" if less else "")
        if not seen:
            words = f"({number(expected)} ms" + (f"\n{less})" if less else ")")
        before = expected
        if is_searched and seen and expected:
            axes.plot([k, k], [expected, seen], color=GREY, lw=1.0, ls=":", zorder=2)
        is_below = bool(is_searched and seen and expected and seen < 0.97 * expected)  # away from the predicted line
        place = k + STEP * max(0, crowd[k] - 1), seen or expected or 0.0
        back = {"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.8}
        style: Any = {"fontsize": 7.5, "color": INK, "zorder": 3, "bbox": back, "va": "top" if is_below else "bottom"}
        axes.annotate(words, place, (9, -3 if is_below else 4), textcoords="offset points", **style)


def _ticks(axes: Axes, view: View) -> None:
    """Write the best list of so many buckets under each k, or else any list."""
    rows: dict[int, ListRow] = {}
    for row in sorted(list_rows(view), key=lambda row: (not row.best_for_k, view.group.measured_ms(row) or 0.0)):
        rows.setdefault(len(row.shapes), row)
    low, high = min(rows), max(rows)
    room = LINE_LETTERS // (high - low + 2)
    texts = {}
    for k, row in sorted(rows.items()):
        words = textwrap.wrap(axis_text(row.buckets), max(room, 1))
        texts[k] = f"{k}" if room < 8 or len(words) > 4 else "\n".join([f"{k}", *words])
    axes.set_xticks(list(texts), list(texts.values()))
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlim(low - 0.5, high + 0.75)
    axes.set_xlabel("number of buckets")

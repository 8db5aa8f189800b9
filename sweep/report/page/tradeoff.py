"""Throughput against latency: every trial that has both, its interval, and the front of those that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section, esc
from sweep.report.page.svg import Drawn, Hit
from sweep.report.plots import scatter
from sweep.report.plots.drawing import COLOURS, FAINT, INK, MARKERS, Point, points_of
from sweep.spec import Status
from sweep.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLEAR = 60  # points; more of them would disappear behind the lines to their p99
NAMED_WIDE, NAMED_NARROW = 12, 5


def section(told: Facts) -> Section | None:
    """None where nothing was measured."""
    points = points_of(told.records)
    if not points:
        return None
    lost = len(told.records) - len(points)
    words = [
        "Up and to the left is better. Bars: interval of the throughput over repeats.",
        "The dashed line joins the trials that no other beats in both (Pareto front).",
        f"{count(lost, 'trial')} without numbers: not drawn." if lost else "",
        "Point at a trial for its numbers; a click leads to its row.",
    ]
    html = svg.chart("throughput-latency", lambda wide: _draw(told, points, wide), esc(" ".join(filter(None, words))))
    return Section("tradeoff", "Throughput against latency", html)


def _draw(told: Facts, points: Sequence[Point], wide: bool) -> Drawn:
    figure = svg.canvas(wide, 4.6 if wide else 3.5)
    axes = figure.add_subplot()
    tails = len(points) <= CLEAR
    backends = list(dict.fromkeys(str(point.record.settings.get("backend", "")) for point in points))
    precisions = list(dict.fromkeys(str(point.record.settings.get("precision", "")) for point in points))
    look = {
        point.record.key: (
            COLOURS[backends.index(str(point.record.settings.get("backend", ""))) % len(COLOURS)],
            MARKERS[precisions.index(str(point.record.settings.get("precision", ""))) % len(MARKERS)],
        )
        for point in points
    }
    for colour, marker in dict.fromkeys(look.values()):
        alike = [point for point in points if look[point.record.key] == (colour, marker)]
        _series(axes, alike, colour, marker, tails)
    front = sorted((p for p in points if p.record.key in told.verdict.front), key=lambda p: p.latency)
    if len(front) > 1:
        line = [point.latency for point in front], [point.throughput for point in front]
        axes.plot(*line, color=FAINT, lw=1.2, ls="--", drawstyle="steps-post", zorder=0)
    chosen = [point for point in points if told.over and point.record.key == told.verdict.winner]
    for point in chosen:
        axes.plot(point.latency, point.throughput, "o", ms=14, mfc="none", mec=INK, mew=1.3, zorder=4)
    scatter.scales(axes, points, tails)
    if not wide:
        axes.set_xlabel("latency, ms (p50" + ("; thin line to p99)" if tails else ")"))
    _legend(figure, backends, precisions, bool(chosen), len(front) > 1, wide)
    axes.minorticks_off()
    figure.draw_without_rendering()  # labels are placed in its units
    figure.set_layout_engine("none")  # and it stays as it is
    named = [*chosen, *(point for point in front if point not in chosen)]
    if len(points) <= scatter.LABELS and wide:
        named = list(points)
    scatter.place_labels(axes, points, named[: NAMED_WIDE if wide else NAMED_NARROW], told.axes)
    hits = [Hit(axes, p.latency, p.throughput, look[p.record.key][0], told.place[p.record.key]) for p in points]
    return figure, hits


def _series(axes: Axes, points: Sequence[Point], colour: str, marker: str, tails: bool) -> None:
    """Trials of one colour and marker; what was stopped because enough was known of it is pale."""
    for settled in (True, False):
        some = [point for point in points if (point.record.status is Status.OK) == settled]
        if not some:
            continue
        x, y = [point.latency for point in some], [point.throughput for point in some]
        ends = [[p.throughput - p.low for p in some], [p.high - p.throughput for p in some]]
        strength = 1.0 if settled else 0.4
        small = 6.0 if len(points) <= CLEAR else 4.0
        raster = len(points) > svg.RASTER
        if tails:
            long = [p for p in some if p.tail and p.tail > p.latency]
            axes.hlines(
                [p.throughput for p in long],
                [p.latency for p in long],
                [float(p.tail or 0) for p in long],
                color=colour,
                lw=0.7,
                alpha=0.4 * strength,
                zorder=1,
            )
        axes.errorbar(
            x, y, ends, fmt="none", ecolor=colour, elinewidth=1.2, capsize=2.5 if tails else 0, alpha=strength
        )
        axes.plot(
            x, y, marker, ms=small, mec="white", mew=0.6, zorder=3, color=colour, alpha=strength, rasterized=raster
        )


def _legend(
    figure: Figure, backends: Sequence[str], precisions: Sequence[str], chosen: bool, front: bool, wide: bool
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], marker="o", ls="", color=COLOURS[n % 8], label=svg.clipped(name, 20))
        for n, name in enumerate(backends)
    ]
    if len(precisions) > 1:
        handles += [
            Line2D([], [], marker=MARKERS[n % 8], ls="", color="#888888", label=svg.clipped(p, 20))
            for n, p in enumerate(precisions)
        ]
    if chosen:
        handles.append(Line2D([], [], marker="o", ls="", ms=10, mfc="none", mec=INK, label="chosen"))
    if front:
        handles.append(Line2D([], [], color=FAINT, ls="--", label="Pareto front"))
    across = 7 if wide else 3
    figure.legend(
        handles=handles, frameon=False, loc="outside lower center", ncols=min(across, len(handles)), fontsize=8.5
    )

"""Throughput against latency: a point for each trial that has both, with its interval and the Pareto front.

The picture is drawn once: on a sheet with a heading for `throughput_latency.png`, on bare canvases for the page.
Colours are those of Okabe and Ito (2008) and matplotlib's viridis, which colour-blind people can tell apart; a marker,
a hatch or a word always says the same as the colour. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.report.names import describe_common, describe_statuses, find_varying, short_name
from sweep.report.plots import heatmap
from sweep.report.plots.drawing import (
    COLOURS,
    FAINT,
    INK,
    MARKERS,
    RASTER,
    Hit,
    Point,
    clipped,
    draw_legend,
    find_points,
    save,
    sheet,
    stretch,
)
from sweep.spec import Record, Status
from sweep.text import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.verdict.select import Verdict

LABELS, NARROW_LABELS = 14, 5  # at most; with more points only the winner and the front are named
LETTERS = 40  # of a label
WIDE = 2.5  # an interval widens the axis up to this factor of its value
WIDE_INCHES = 6.0  # a figure from this width on has room for every label
CLEAR = 60  # points; more of them would disappear behind the lines to their p99


def write(records: Sequence[Record], verdict: Verdict, folder: Path) -> list[Path]:
    """Write `throughput_latency.png`, and `batch_cores.png` if batch or cores vary; returns their paths."""
    pictures = {"throughput_latency.png": draw_sheet, "batch_cores.png": heatmap.draw_sheet}
    return [folder / name for name, draw in pictures.items() if save(partial(draw, records, verdict), folder / name)]


def draw_sheet(records: Sequence[Record], verdict: Verdict) -> Figure:
    """The picture with a heading that says what all trials share and which are not shown."""
    drawn = {point.record.key for point in find_points(records)}
    lost = describe_statuses([record for record in records if record.key not in drawn])
    words = [describe_common([record.settings for record in records]), f"not shown: {lost}" if lost else ""]
    figure = sheet(9.4, 5, "Throughput against latency", words)
    draw(figure, records, verdict.front, verdict.winner)
    return figure


def draw(figure: Figure, records: Sequence[Record], front: Collection[str], winner: str | None) -> list[Hit]:
    """Draw every trial that has both numbers; returns a hit for each, with its place among the records.

    Args:
        front: keys of the trials that no other beats in both numbers; a dashed line joins them.
        winner: key of the chosen trial; None while there is none.
    """
    axes, points = figure.add_subplot(), find_points(records)
    if not points:
        axes.axis("off")
        axes.text(0.5, 0.5, f"none of {count(len(records), 'trial')} could be measured", ha="center", va="center")
        return []
    wide, tails, looks = figure.get_figwidth() >= WIDE_INCHES, len(points) <= CLEAR, _Looks(points)
    for look in dict.fromkeys(map(looks.of, points)):
        _paint([point for point in points if looks.of(point) == look], axes, *look, tails)
    best = sorted((point for point in points if point.record.key in front), key=lambda point: point.latency)
    if len(best) > 1:
        line = [point.latency for point in best], [point.throughput for point in best]
        axes.plot(*line, color=FAINT, lw=1.2, ls="--", drawstyle="steps-post", zorder=0)
    chosen = [point for point in points if point.record.key == winner]
    for point in chosen:
        axes.plot(point.latency, point.throughput, "o", ms=14, mfc="none", mec=INK, mew=1.3, zorder=4)
    _scales(axes, points, tails, wide)
    _legend(figure, looks, bool(chosen), len(best) > 1, wide)
    figure.draw_without_rendering()  # labels are placed in its units
    figure.set_layout_engine("none")  # and it stays as it is
    named = points if wide and len(points) <= LABELS else [*chosen, *(point for point in best if point not in chosen)]
    _place_labels(
        axes, points, named[: LABELS if wide else NARROW_LABELS], find_varying([record.settings for record in records])
    )
    place = {record.key: number for number, record in enumerate(records)}
    return [Hit(axes, p.latency, p.throughput, looks.of(p)[0], place[p.record.key]) for p in points]


class _Looks:
    """A colour for each backend and a marker for each precision, in the order in which they appear."""

    def __init__(self, points: Sequence[Point]) -> None:
        self.backends = list(dict.fromkeys(self._value(point, "backend") for point in points))
        self.precisions = list(dict.fromkeys(self._value(point, "precision") for point in points))

    def of(self, point: Point) -> tuple[str, str]:
        """Colour and marker of a point."""
        backend = self.backends.index(self._value(point, "backend"))
        precision = self.precisions.index(self._value(point, "precision"))
        return COLOURS[backend % len(COLOURS)], MARKERS[precision % len(MARKERS)]

    @staticmethod
    def _value(point: Point, axis: str) -> str:
        return str(point.record.settings.get(axis, ""))


def _paint(points: Sequence[Point], axes: Axes, colour: str, marker: str, tails: bool) -> None:
    """Paint the trials of one colour and marker; those that were stopped early are pale."""
    small, raster = 6.0 if len(points) <= CLEAR else 4.0, len(points) > RASTER
    for settled, strength in ((True, 1.0), (False, 0.4)):
        some = [point for point in points if (point.record.status is Status.OK) == settled]
        x, y = [point.latency for point in some], [point.throughput for point in some]
        if tails:
            long = [(p.throughput, p.latency, p.tail) for p in some if p.tail and p.tail > p.latency]
            if long:
                axes.hlines(*zip(*long, strict=True), color=colour, lw=0.7, alpha=0.4 * strength, zorder=1)
        ends = [[p.throughput - p.low for p in some], [p.high - p.throughput for p in some]]
        cap = 2.5 if tails else 0
        axes.errorbar(x, y, ends, fmt="none", ecolor=colour, elinewidth=1.2, capsize=cap, alpha=strength)
        style: Any = {"ms": small, "mec": "white", "mew": 0.6, "alpha": strength, "rasterized": raster}
        axes.plot(x, y, marker, color=colour, zorder=3, **style)


def _scales(axes: Axes, points: Sequence[Point], tails: bool, wide: bool) -> None:
    """Label both axes and set how far they reach; `tails`: the p99 is drawn."""
    latency, line = ("latency of a request", "the thin line reaches") if wide else ("latency", "thin line")
    axes.set_xlabel(f"{latency}, ms (p50" + (f"; {line} to p99)" if tails else ")"))
    axes.set_ylabel("throughput, items/s")
    spans = {
        "x": (min(p.latency for p in points), max(max(p.latency, p.tail or 0) if tails else p.latency for p in points)),
        # An interval of two repeats may reach down to nothing, or far up: it goes beyond the edge, the points do not.
        "y": (
            min(max(p.low, p.throughput / WIDE) for p in points),
            max(min(p.high, p.throughput * WIDE) for p in points),
        ),
    }
    for name, (low, high) in spans.items():
        stretch(axes, name, low, high)
    axes.grid(True)
    axes.minorticks_off()


def _legend(figure: Figure, looks: _Looks, chosen: bool, front: bool, wide: bool) -> None:
    """Below the picture: backends, precisions where there are several, the chosen trial and the front."""
    from matplotlib.lines import Line2D

    def mark(marker: str, colour: str, name: str, **style: Any) -> Line2D:
        return Line2D([], [], marker=marker, ls="", color=colour, label=clipped(name, 20), **style)

    handles = [mark("o", COLOURS[n % len(COLOURS)], name) for n, name in enumerate(looks.backends)]
    if len(looks.precisions) > 1:
        handles += [mark(MARKERS[n % len(MARKERS)], "#888888", name) for n, name in enumerate(looks.precisions)]
    if chosen:
        handles.append(mark("o", INK, "chosen", ms=10, mfc="none", mew=1.3))
    if front:
        handles.append(Line2D([], [], color=FAINT, ls="--", label="Pareto front"))
    draw_legend(figure, handles, min(7 if wide else 3, len(handles)))


def _place_labels(axes: Axes, points: Sequence[Point], named: Sequence[Point], names: Sequence[str]) -> None:
    """Write each name where it covers least: beside, above or below its point, judged in pixels."""
    shown = [name for name in names if name not in ("backend", "precision")]
    spots = [axes.transData.transform((p.latency, p.throughput)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    frame = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    for point in named:
        text = clipped(short_name(point.record.settings, shown), LETTERS)
        if not text:
            continue
        width, height = len(text) * 4.6 * scale, 10 * scale
        x, y = axes.transData.transform((point.latency, point.throughput))
        far = width + 40 * scale
        near = [other for other in taken if abs(other[0] - x) < 2 * far and abs(other[1] - y) < far]
        best: tuple[float, float, float, tuple[float, float, float, float]] | None = None
        for rank, (dx, dy) in enumerate(_around(width, height)):
            box = (x + dx, y + dy, x + dx + width, y + dy + height)
            cost = rank * 2.0 + sum(_overlap(box, other) for other in near)
            cost += 1e3 * (box[2] > frame.x1 or box[0] < frame.x0 or box[3] > frame.y1 or box[1] < frame.y0)
            if best is None or cost < best[0]:
                best = (cost, dx, dy, box)
        assert best is not None
        taken.append(best[3])
        offset = (best[1] / scale, best[2] / scale)
        at = (point.latency, point.throughput)
        label = axes.annotate(text, at, offset, textcoords="offset points", fontsize=8, zorder=5)
        label.set_in_layout(False)  # a long one would take the room of the drawing


def _around(width: float, height: float) -> list[tuple[float, float]]:
    """Offsets of a label's lower left corner from its point, in pixels, best first."""
    near = [(9.0, height * 0.5), (9.0, -height * 1.4), (-width - 9, height * 0.5), (-width - 9, -height * 1.4)]
    middle = [(-width / 2, 12.0), (-width / 2, -height - 12)]
    far = [(12.0, height * 1.5), (12.0, -height * 2.6), (-width - 12, height * 1.5), (-width - 12, -height * 2.6)]
    return near + middle + far + [(-width / 2, 12 + height * 1.3), (-width / 2, -height * 2.5 - 12)]


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))

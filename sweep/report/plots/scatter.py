"""Two pictures of a sweep: throughput against latency, and batch x cores as a heat map.

Colours are those of Okabe and Ito (2008) and matplotlib's viridis, which colour-blind people can tell apart; what a
colour says is also said by a marker, a hatch or a word. matplotlib is imported when something is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.report.names import common, short_name, varying
from sweep.report.plots import heatmap
from sweep.report.plots.drawing import COLOURS, DPI, FAINT, INK, MARKERS, STYLE, Point, points_of, sheet, stretch
from sweep.spec import Record, Status
from sweep.text import count, status_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.verdict.select import Verdict

LABELS = 14  # with more points only the front and the winner are named
LETTERS = 40  # of a label
WIDE = 2.5  # times a value: what of its interval lies further away does not widen the axis


def write(records: Sequence[Record], verdict: Verdict | None, folder: Path) -> list[Path]:
    """`throughput_latency.png`, and `batch_cores.png` where batch or cores vary; the paths of what was written."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with matplotlib.rc_context(STYLE):
        for name, draw in (("throughput_latency.png", _scatter), ("batch_cores.png", heatmap.draw)):
            figure = draw(records, verdict)
            if figure is not None:
                figure.savefig(folder / name, dpi=DPI)
                written.append(folder / name)
    return written


def _scatter(records: Sequence[Record], verdict: Verdict | None) -> Figure | None:
    """One point a trial; bars are the interval of the throughput, the thin line goes on to the p99 latency."""
    points = points_of(records)
    drawn = {point.record.key for point in points}
    counts = Counter(record.status for record in records if record.key not in drawn)
    lost = ", ".join(f"{counts[status]} {status_text(status)}" for status in Status if counts[status])
    words = [common([record.settings for record in records]), f"not shown: {lost}" if lost else ""]
    figure = sheet(8, 5, "Throughput against latency", words)
    axes = figure.add_subplot()
    if not points:
        axes.axis("off")
        axes.text(0.5, 0.5, f"none of {count(len(records), 'trial')} could be measured", ha="center", va="center")
        return figure
    backends = list(dict.fromkeys(str(p.record.settings.get("backend", "")) for p in points))
    precisions = list(dict.fromkeys(str(p.record.settings.get("precision", "")) for p in points))
    winner = verdict.winner if verdict else None
    for point in points:
        settings = point.record.settings
        colour = COLOURS[backends.index(str(settings.get("backend", ""))) % len(COLOURS)]
        marker = MARKERS[precisions.index(str(settings.get("precision", ""))) % len(MARKERS)]
        if point.tail and point.tail > point.latency:
            axes.plot([point.latency, point.tail], [point.throughput] * 2, color=colour, lw=0.7, alpha=0.45, zorder=1)
        bar = [[point.throughput - point.low], [point.high - point.throughput]]
        axes.errorbar(point.latency, point.throughput, bar, color=colour, lw=1.4, capsize=3.5, zorder=2)
        axes.plot(point.latency, point.throughput, marker, color=colour, ms=7, mec="white", mew=0.8, zorder=3)
        if point.record.key == winner:
            axes.plot(point.latency, point.throughput, "o", ms=15, mfc="none", mec=INK, mew=1.2, zorder=4)
    front = _front(points)
    if len(front) > 1:
        line = [point.latency for point in front], [point.throughput for point in front]
        axes.plot(*line, color=FAINT, lw=1.2, ls="--", drawstyle="steps-post", zorder=0)
    scales(axes, points)
    _legend(axes, backends, precisions, winner is not None, len(front) > 1)
    figure.draw_without_rendering()  # labels are placed in pixels
    named = points if len(points) <= LABELS else [p for p in points if p in front or p.record.key == winner]
    place_labels(axes, points, named[: 2 * LABELS], varying([record.settings for record in records]))
    return figure


def _front(points: Sequence[Point]) -> list[Point]:
    """Points that no other beats in both latency and throughput, by latency."""
    front: list[Point] = []
    for point in sorted(points, key=lambda p: (p.latency, -p.throughput)):
        if not front or point.throughput > front[-1].throughput:
            front.append(point)
    return front


def scales(axes: Axes, points: Sequence[Point], tails: bool = True) -> None:
    """What the axes say and how far they reach; `tails`: the p99 is drawn."""
    axes.set_xlabel("latency of a request, ms (p50" + ("; the thin line reaches to p99)" if tails else ")"))
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
    axes.grid(True, color="#EEEEEE", lw=0.8)
    axes.set_axisbelow(True)


def _legend(axes: Axes, backends: Sequence[str], precisions: Sequence[str], winner: bool, front: bool) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], marker="o", ls="", color=COLOURS[n % 8], label=name) for n, name in enumerate(backends)]
    if len(precisions) > 1:
        handles += [
            Line2D([], [], marker=MARKERS[n % 8], ls="", color="#888888", label=p) for n, p in enumerate(precisions)
        ]
    if winner:
        handles.append(Line2D([], [], marker="o", ls="", ms=11, mfc="none", mec=INK, label="chosen"))
    if front:
        handles.append(Line2D([], [], color=FAINT, ls="--", label="Pareto front"))
    axes.legend(handles=handles, frameon=False, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0)


def place_labels(axes: Axes, points: Sequence[Point], named: Sequence[Point], names: Sequence[str]) -> None:
    """Write each name where it covers least: beside, above or below its point, judged in pixels."""
    shown = [name for name in names if name not in ("backend", "precision")]
    spots = [axes.transData.transform((p.latency, p.throughput)) for p in points]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y in spots]
    frame = axes.get_window_extent()
    scale = axes.figure.dpi / 72
    for point in named:
        text = short_name(point.record.settings, shown)
        text = text if len(text) <= LETTERS else text[: LETTERS - 1] + "…"
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

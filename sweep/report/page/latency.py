"""Latencies of the best trials side by side: boxes, cumulative shares, percentiles with their sample counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, esc, paragraph, swatch, table
from sweep.report.page.svg import Drawn
from sweep.report.plots import boxes
from sweep.report.plots.boxes import Box, Marks
from sweep.report.plots.drawing import Hit, clipped, stretch
from sweep.spec import Record, metrics
from sweep.spec.metrics import LATENCIES, SAMPLES
from sweep.text import cell, count, number, share
from sweep.verdict.stats.intervals import samples_needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

POINTS = 60  # drawn beyond the whiskers of one box
CAPTIONS = {
    "item": "Latency of an item, from the moment when it was due to arrive.",
    "request": "Latency of a request. Each is sent when the one before is answered, so it never waits in a queue.",
}
LEVELS = (0.5, 0.9, 0.99)


def section(facts: Facts) -> Section | None:
    """None if no latency is known."""
    shapes = {record.key: shape for record in facts.best if (shape := boxes.make_shape(facts.stored(record)))}
    records = [record for record in facts.best if record.key in shapes]
    if not records:
        return None
    curves = {record.key: curve for record in records if (curve := _curve(facts, record)) is not None}
    what = "item" if _is_open(records) else "request"
    words = [CAPTIONS[what]]
    words.append(f"The best {len(records)} of {len(facts.good)}." if len(facts.good) > len(records) else "")
    words.append(f"Box: quartiles and median; whiskers: the last {what} within 1.5 box lengths; points: beyond.")
    words.append(f"Right, or below: the share of {what}s that were answered within a latency." if curves else "")
    caption = esc(" ".join(filter(None, words)))
    html = svg.chart(f"latency-of-{what}s", lambda wide: _draw(facts, records, shapes, curves, wide, what), caption)
    return Section("latency", "Latency", html + _percentiles(facts, records, what) + _open_loads(facts, records))


def _is_open(records: Sequence[Record]) -> bool:
    return any(m.load is not None and m.load.rate for r in records for m in r.repeats)


def _curve(facts: Facts, record: Record) -> tuple[list[float], list[float]] | None:
    """Latencies in ms and the shares of requests that took at most as long, with more points in the tail."""
    import numpy as np

    latencies = facts.stored(record).latencies_ms()
    if not latencies:
        return None
    ordered = np.sort(np.concatenate(list(latencies.values())))
    shares = np.unique(np.concatenate([np.linspace(0, 1, 81), 1 - np.geomspace(0.05, 1e-4, 25)]))
    places = np.unique(np.clip(np.ceil(shares * len(ordered)).astype(int) - 1, 0, len(ordered) - 1))
    return ordered[places].tolist(), ((places + 1) / len(ordered)).tolist()


def _draw(
    facts: Facts,
    records: Sequence[Record],
    shapes: Mapping[str, Box | Marks],
    curves: Mapping[str, tuple[list[float], list[float]]],
    wide: bool,
    what: str,
) -> Drawn:
    row = (0.34 if wide else 0.28) * len(records) + 0.6
    both = bool(curves)
    height = max(row, 2.9 if both else 1.3) if wide else row + (2.3 if both else 0.0)
    figure = svg.canvas(wide, height)
    if wide and both:
        left, right = figure.subplots(1, 2, width_ratios=(1.15, 1))
    elif both:
        left, right = figure.subplots(2, 1, height_ratios=(row, 2.3))
    else:
        left, right = figure.subplots(), None
    drawn = [_thinned(shapes[record.key]) for record in records]
    colours = [facts.colour(record) for record in records]
    boxes.paint(left, drawn, colours, [clipped(facts.name(record), 34 if wide else 18) for record in records])
    left.minorticks_off()
    left.set_xlabel("ms")
    if right is not None:
        _curves(facts, right, records, curves, boxes.find_reach(drawn))
        right.set_title(f"share of {what}s answered within", loc="left", fontsize=8.5)
    return figure, [
        Hit(left, boxes.find_middle(shape), place, colour, facts.place[record.key])
        for place, (shape, colour, record) in enumerate(zip(drawn, colours, records, strict=True))
    ]


def _thinned(shape: Box | Marks) -> Box | Marks:
    return replace(shape, beyond=boxes.thin(shape.beyond, POINTS)) if isinstance(shape, Box) else shape


def _curves(
    facts: Facts,
    axes: Axes,
    records: Sequence[Record],
    curves: Mapping[str, tuple[list[float], list[float]]],
    span: tuple[float, float],
) -> None:
    stretch(axes, "x", *span)
    axes.minorticks_off()
    for level in LEVELS:
        axes.axhline(level, color="#CCCCCC", lw=0.7, ls=":")
    for record in reversed(records):
        if record.key in curves:
            axes.plot(*curves[record.key], color=facts.colour(record), lw=1.5, drawstyle="steps-post")
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, *LEVELS], ["0", *(f"{100 * level:.0f} %" for level in LEVELS)])
    axes.grid(True, axis="x")
    axes.set_xlabel("ms")


def _percentiles(facts: Facts, records: Sequence[Record], what: str) -> str:
    """The percentiles with their sample counts, without those that need more samples."""
    needs = {metric.name: samples_needed(metric.quantile) for metric in LATENCIES if metric.quantile}
    hints = {name: f"from {needed:,} {what}s on" for name, needed in needs.items()}
    columns = [
        Column("trial"),
        *(Column(metric.column, hints.get(metric.name, ""), True) for metric in LATENCIES),
        Column(f"{what}s", "of all repeats", True),
        Column("repeats", "", True),
    ]
    rows = []
    for record in records:
        n = record.number(SAMPLES)
        cells = [swatch(facts.name(record), facts.colour(record))]
        cells += [Cell(cell(metric, record.numbers), record.number(metric.name)) for metric in LATENCIES]
        cells.append(Cell("–" if n is None else f"{int(n):,}", n))
        cells.append(Cell(f"{len(record.repeats):,}", len(record.repeats)))
        rows.append(Row(cells))
    lacking = [name for name in needs if any(record.number(name) is None for record in records)]
    words = ", ".join(f"a {metrics.find(name).label} needs {needs[name]:,}" for name in lacking)
    html = table(columns, rows, name="percentiles")
    return html + paragraph(f"Not printed where there are too few {what}s: {words}." if words else "", "soft")


def _open_loads(facts: Facts, records: Sequence[Record]) -> str:
    """What arrived, what was answered, and whether the generator kept its times."""
    rows = []
    for record in records:
        loads = [m.load for m in record.repeats if m.load is not None]
        if not any(load.arrived for load in loads):
            continue
        sums = [sum(getattr(load, name) for load in loads) for name in ("arrived", "finished", "left")]
        lag, own = max(load.lag_ms_p99 for load in loads), max(load.own_share for load in loads)
        overloaded = sum(load.overloaded for load in loads)
        state = f"queue grows in {overloaded} of {count(len(loads), 'repeat')}" if overloaded else "keeps up"
        rate = loads[0].rate
        rows.append(
            Row(
                [
                    Cell(esc(facts.name(record)), facts.name(record)),
                    Cell(esc(loads[0].scenario)),
                    Cell("" if rate is None else number(rate), rate),
                    *(Cell(f"{value:,}", value) for value in sums),
                    Cell(number(lag), lag),
                    Cell(share(own), own),
                    Cell(esc(state), overloaded),
                ]
            )
        )
    if not rows:
        return ""
    columns = [
        Column("trial"),
        Column("load"),
        Column("items/s asked", "", True),
        *(Column(name, hint, True) for name, hint in (("arrived", ""), ("answered", ""), ("left", "in the queue"))),
        Column("lag p99 ms", "of the load generator, in its worst repeat", True),
        Column("own time", "share of the time that the generator itself took, in its worst repeat", True),
        Column("queue"),
    ]
    return "<h3>The load</h3>" + table(columns, rows, name="loads")

"""The highest rates that meet the service level: every probe, and the fit over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, esc, swatch, table
from sweep.report.page.svg import Drawn
from sweep.report.plots.drawing import Hit, clipped, draw_legend, stretch
from sweep.spec import Record, metrics
from sweep.spec.facts import CapacityFacts, ProbeFacts
from sweep.spec.metrics import CAPACITY
from sweep.text import number, plus_minus, share

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Result = tuple[Record, list[CapacityFacts]]
LATE = 0.01  # share of the items that may be late
LEAST = 3e-4  # smaller shares are drawn here: the axis is logarithmic, and most probes have no late item


def section(facts: Facts) -> Section | None:
    """None if no trial searched for its capacity."""
    results = [(record, searches) for record in facts.records if (searches := _searches(record))]
    if not results:
        return None
    drawn = [(record, searches) for record, searches in results if any(search.curve for search in searches)]
    drawn = drawn[: len(facts.best) or 8]
    level = results[0][1][0].slo_p99_ms
    words = (
        f"Items arrived at random, at one rate after another. Late items took longer than {number(level)} ms. Each "
        "point is one probe, hollow if the queue grew. The line is a fit that never falls as the rate rises; "
        f"capacity is the rate at which it reaches {share(LATE)}."
    )
    chart = svg.chart("late-items-by-rate", lambda wide: _draw(facts, drawn, wide), esc(words)) if drawn else ""
    return Section("capacity", "Capacity", chart + _table(facts, results))


def _searches(record: Record) -> list[CapacityFacts]:
    return [repeat.capacity for repeat in record.repeats if repeat.capacity is not None]


def _draw(facts: Facts, results: Sequence[Result], wide: bool) -> Drawn:
    figure = svg.canvas(wide, 3.6 if wide else 3.2)
    axes = figure.add_subplot()
    hits: list[Hit] = []
    for record, searches in results:
        for search in searches:
            hits += _curve(facts, axes, record, search.curve)
    axes.axhline(LATE, color="#333333", lw=1, ls=":")
    axes.set_yscale("log")
    axes.set_ylim(LEAST / 1.4, 1.4)
    axes.set_yticks([LEAST, 1e-3, LATE, 0.1, 1.0], ["none", "0.1 %", "1 %", "10 %", "100 %"])
    rates = [probe.rate for _, searches in results for search in searches for probe in search.curve]
    stretch(axes, "x", min(rates), max(rates))
    axes.minorticks_off()
    axes.set_xlabel("rate of arrivals, items/s")
    axes.set_ylabel("late items")
    axes.grid(True)
    draw_legend(figure, [_in_legend(facts, record, wide) for record, _ in results], 4 if wide else 2)
    return figure, hits


def _curve(facts: Facts, axes: Axes, record: Record, curve: Sequence[ProbeFacts]) -> list[Hit]:
    colour, hits = facts.colour(record), []
    fitted = sorted({(probe.rate, probe.fitted) for probe in curve if probe.fitted is not None})
    axes.plot([x for x, _ in fitted], [max(LEAST, y) for _, y in fitted], color=colour, lw=1.3, alpha=0.8)
    for probe in curve:
        late = max(LEAST, probe.late_share)
        face = "none" if probe.overloaded else colour
        strength = 1.0 if probe.counted else 0.35
        axes.plot(probe.rate, late, "o", ms=4.5, mec=colour, mfc=face, alpha=strength)
        p99 = probe.latency_ms.get("p99")
        tip = f"{facts.name(record)}\n{number(probe.rate)} items/s: {share(probe.late_share)} late"
        tip += f", p99 {number(p99)} ms" if p99 is not None else ""
        tip += "\nthe queue grew" if probe.overloaded else ""
        hits.append(Hit(axes, probe.rate, late, colour, facts.place.get(record.key), tip))
    return hits


def _in_legend(facts: Facts, record: Record, wide: bool) -> Any:
    from matplotlib.lines import Line2D

    name = clipped(facts.name(record), 28 if wide else 20)
    return Line2D([], [], marker="o", color=facts.colour(record), ms=4.5, label=name)


def _table(facts: Facts, results: Sequence[Result]) -> str:
    columns = [
        Column("trial"),
        Column("service level", "p99 of the latency of an item", True),
        Column("capacity items/s", "mean over repeats ± half of its interval", True, True),
        Column("probes", "of all repeats", True),
        Column("note"),
    ]
    rows = []
    for record, searches in results:
        value = record.number(CAPACITY)
        if value is None:
            value = sum(search.items_per_s for search in searches) / len(searches)
        ends = [record.number(end) for end in (metrics.find(CAPACITY).low, metrics.find(CAPACITY).high)]
        text = "; ".join(dict.fromkeys(search.note for search in searches if search.note))
        rows.append(
            Row(
                [
                    swatch(facts.name(record), facts.colour(record)),
                    Cell(esc(f"{number(searches[0].slo_p99_ms)} ms"), searches[0].slo_p99_ms),
                    Cell(esc(plus_minus(value, *ends)), value),
                    Cell(f"{sum(len(search.curve) for search in searches):,}"),
                    Cell(esc(text), text or None, "wrap"),
                ]
            )
        )
    return table(columns, rows, name="capacities")

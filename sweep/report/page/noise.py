"""How steady the machine was: every repeat relative to its trial's usual rate, the control, drift, telemetry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, esc, paragraph, table
from sweep.report.page.svg import Drawn
from sweep.report.plots.drawing import RASTER, Hit
from sweep.spec import Json, from_json
from sweep.text import count, number, share
from sweep.verdict.noise.series import Reading

TESTS = (("level shift", "shift_p"), ("trend", "trend_p"))
BLUE, GREY, ORANGE = "#0072B2", "#737d86", "#D55E00"
HOST = {  # name in the telemetry: its meaning, and the function that formats it
    "steal_share": ("CPU time taken by the hypervisor", share),
    "foreign_cpu_share": ("CPU time of other processes", share),
    "load_1min": ("load average before", number),
    "mhz": ("CPU clock, MHz", number),
    "celsius": ("hottest zone, °C", number),
    "gpu_mhz": ("GPU clock, MHz", number),
    "gpu_celsius": ("GPU, °C", number),
}


def section(facts: Facts) -> Section | None:
    """None if no trial was measured twice."""
    points = _points(facts)
    if len({point.trial for point in points}) == len(points):
        return None
    control = facts.drift.get("control")
    label = facts.name(facts.by_key[control]) if control in facts.by_key else ""
    words = ["Each point is one repeat, in the order of time: its rate relative to the usual rate of its trial."]
    words += [f"Blue, joined: the control, {label}, measured again and again to watch the machine."] if label else []
    if _has_levels(points):
        words.append("Orange: the level of the machine's speed, as estimated; comparisons are corrected for it.")
    html = svg.chart("repeats-over-time", lambda wide: _draw(facts, points, wide), esc(" ".join(words)))
    return Section("noise", "Noise", _findings(facts) + html + _host(facts))


def _points(facts: Facts) -> list[Reading]:
    """All finished repeats in order, and the extra measurements of the control; `time` in minutes since the first."""
    readings = from_json(tuple[Reading, ...], facts.drift.get("points") or [])
    first = min((reading.time for reading in readings), default=0.0)
    return [replace(reading, time=(reading.time - first) / 60) for reading in readings]


def _has_levels(points: Sequence[Reading]) -> bool:
    return any(point.level != 1.0 for point in points)


def _draw(facts: Facts, points: Sequence[Reading], wide: bool) -> Drawn:
    figure = svg.canvas(wide, 2.7 if wide else 2.5)
    axes = figure.add_subplot()
    axes.axhline(1.0, color="#CCCCCC", lw=0.8, zorder=0)
    for edge in _blocks(points):
        axes.axvline(edge, color="#E3E6EA", lw=0.8, zorder=0)
    others = [point for point in points if point.trial != facts.drift.get("control")]
    control = [point for point in points if point.trial == facts.drift.get("control")]
    raster = len(points) > RASTER
    style: dict[str, Any] = {"ls": "", "mew": 0, "rasterized": raster}
    axes.plot([p.time for p in others], [p.relative for p in others], "o", ms=4.2, color=GREY, alpha=0.8, **style)
    if control:
        times, values = [p.time for p in control], [p.relative for p in control]
        axes.plot(times, values, "-o", ms=4.6, lw=1.2, color=BLUE, mec="white", mew=0.6, zorder=3)
    if _has_levels(points):
        times, values = [p.time for p in points], [p.level for p in points]
        axes.plot(times, values, color=ORANGE, lw=1.6, drawstyle="steps-mid", zorder=2)
    low, high = min(p.relative for p in points), max(p.relative for p in points)
    axes.set_ylim(min(low, 0.95) - 0.02, max(high, 1.05) + 0.02)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
    axes.set_xlabel("minutes since the first repeat" + ("; lines: blocks" if len(_blocks(points)) else ""))
    axes.set_ylabel("relative to its trial's usual rate")
    axes.grid(True, axis="y")
    hits = []
    if not raster:
        for point in points:
            name = facts.name(facts.by_key[point.trial]) if point.trial in facts.by_key else point.trial
            which = "control" if point.repeat is None else f"repeat {point.repeat + 1}"
            tip = f"{name}\n{which}: {100 * point.relative:.1f} % of its usual rate"
            hits.append(Hit(axes, point.time, point.relative, GREY, facts.place.get(point.trial), tip))
    return figure, hits


def _blocks(points: Sequence[Reading]) -> list[float]:
    """The times between two blocks, in minutes; none if repeats are not interleaved, as in a search."""
    edges, last = [], None
    for point in points:
        if last is not None and point.block < last.block:
            return []
        if last is not None and point.block > last.block:
            edges.append((last.time + point.time) / 2)
        last = point
    return edges


def _findings(facts: Facts) -> str:
    """The results of the tests for drift, and what else was noticed."""
    lines = [str(line) for line in facts.drift.get("sentences") or []]
    if facts.drift.get("findings"):
        return "".join(paragraph(line) for line in lines)
    tested: Json = facts.drift.get("tested") or {}
    tests = [f"{name} p = {tested[key]:.2g}" for name, key in TESTS if tested.get(key) is not None]
    none = (
        f"No level shift and no trend was found ({', '.join(tests)})."
        if tests
        else "Too few repeats to test for drift."
    )
    return "".join(paragraph(line) for line in [none, *lines])


def _host(facts: Facts) -> str:
    """A table of the telemetry around the repeats; empty if there is none."""
    looks = [m.host.known() for r in facts.records for m in r.repeats]
    rows = []
    for name, (text, written) in HOST.items():
        values = [look[name] for look in looks if name in look]
        if values:
            texts = [written(value) for value in (min(values), median(values), max(values))]
            rows.append(Row([Cell(esc(text)), *(Cell(esc(number)) for number in texts), Cell(f"{len(values):,}")]))
    if not rows:
        return ""
    columns = [
        Column("around the repeats"),
        *(Column(name, "", True) for name in ("least", "median", "most", "repeats")),
    ]
    unsteady = sum(not m.warmup.get("stable", True) for r in facts.records for m in r.repeats)
    note = f"The warm-up did not settle in {count(unsteady, 'repeat')}." if unsteady else ""
    return "<h3>The host meanwhile</h3>" + table(columns, rows, sortable=False) + paragraph(note, "soft")

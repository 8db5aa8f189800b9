"""Throughput against latency; a click on a point leads to its row."""

from __future__ import annotations

from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section, esc
from sweep.report.page.svg import Drawn
from sweep.report.plots import scatter
from sweep.report.plots.drawing import find_points
from sweep.text import count


def section(facts: Facts) -> Section | None:
    """None if nothing was measured."""
    points = find_points(facts.records)
    if not points:
        return None
    lost = len(facts.records) - len(points)
    words = [
        "Up and to the left is better. Bars: interval of the throughput over repeats.",
        "The dashed line joins the trials that no other beats in both (Pareto front).",
        f"{count(lost, 'trial')} without numbers: not drawn." if lost else "",
        "Point at a trial for its numbers; a click leads to its row.",
    ]
    html = svg.chart("throughput-latency", lambda wide: _draw(facts, wide), esc(" ".join(filter(None, words))))
    return Section("tradeoff", "Throughput against latency", html)


def _draw(facts: Facts, wide: bool) -> Drawn:
    figure = svg.canvas(wide, 4.6 if wide else 3.5)
    return figure, scatter.draw(figure, facts.records, facts.verdict.front, facts.chosen)

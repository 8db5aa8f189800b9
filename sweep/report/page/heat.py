"""The heat map of batch and cores; footnotes say why a cell has no number."""

from __future__ import annotations

from sweep.report.names import describe_failure
from sweep.report.page import svg
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section, esc
from sweep.report.page.svg import Drawn
from sweep.report.plots import heatmap
from sweep.report.plots.drawing import find_points
from sweep.report.plots.heatmap import Grid

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def section(facts: Facts) -> Section | None:
    """None if there are fewer than two cells in both directions."""
    grid = heatmap.make_grid(facts.records)
    if grid is None:
        return None
    reasons = _reasons(grid)
    letters = {reason: _letter(place) for place, reason in enumerate(dict.fromkeys(reasons.values()))}
    by_trial = {key: letters[reason] for key, reason in reasons.items()}
    chart = svg.chart("throughput-by-batch-and-cores", lambda wide: _draw(facts, grid, by_trial, wide))
    keys = "".join(f"<li><b>{letter}</b> {esc(reason)}</li>" for reason, letter in letters.items())
    rest = f"The best {len(grid.panels)} of {grid.all} panels." if grid.all > len(grid.panels) else ""
    html = (
        '<p class="lead">Throughput, items/s. Hatched: it failed. Dashed: it cannot run here, or was not finished.'
        f" Empty: not asked for. {rest}</p>{chart}" + (f'<ul class="keys">{keys}</ul>' if keys else "")
    )
    return Section("heat", "Batch × cores", html)


def _draw(facts: Facts, grid: Grid, letters: dict[str, str], wide: bool) -> Drawn:
    across = grid.across(svg.WIDE_INCHES if wide else svg.NARROW_INCHES)
    figure = svg.canvas(wide, grid.height(across))
    return figure, heatmap.draw(figure, grid, across, facts.records, facts.chosen, letters)


def _reasons(grid: Grid) -> dict[str, str]:
    """Why cells have no number, by the key of the trial in the cell, in the order of the drawing."""
    panels = [panel.cell(batch, cores) for panel in grid.panels for batch in grid.batches for cores in grid.cores]
    return {cell[0].key: describe_failure(cell[0]) for cell in panels if cell and not find_points(cell)}


def _letter(place: int) -> str:
    """a, b, ..., z, aa, bb, ..."""
    return ALPHABET[place % len(ALPHABET)] * (1 + place // len(ALPHABET))

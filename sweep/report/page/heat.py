"""batch x cores as tables of colours: what could not be measured stands out, and footnotes say why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.report.names import why
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Section, attributes, esc
from sweep.report.plots import heatmap
from sweep.report.plots.drawing import points_of
from sweep.spec import Record, Status
from sweep.text import count, number

if TYPE_CHECKING:
    from sweep.report.plots.heatmap import Grid, Panel

SPEAKING = ("model", "data", "hardware", "backend", "precision")  # axes whose values need no name
LETTERS = "abcdefghijklmnopqrstuvwxyz"
# Points of matplotlib's viridis (Smith and van der Walt 2015), which is even in lightness for every kind of eye.
VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")
ROOMY = 12  # rows; more of them are set closer
LIGHT = 0.55  # level from which the ink is dark


def section(told: Facts) -> Section | None:
    """None where there are fewer than two cells in both directions."""
    grid = heatmap.grid(told.records)
    if grid is None:
        return None
    notes: dict[str, str] = {}
    panels = "".join(_panel(told, grid, panel, notes) for panel in grid.panels)
    keys = "".join(f"<li><b>{esc(letter)}</b> {esc(text)}</li>" for text, letter in notes.items())
    scale = (
        f'<div class="scale"><span>0</span><i style="background:linear-gradient(90deg,{",".join(VIRIDIS)})"></i>'
        f"<span>{number(grid.highest)} items/s</span></div>"
        if grid.highest
        else ""
    )
    left = (
        f'<p class="soft">The best {len(grid.panels)} of {grid.all} panels.</p>' if grid.all > len(grid.panels) else ""
    )
    html = (
        '<p class="lead">Throughput, items/s. Hatched: it failed. Dashed: it cannot run here, or was not finished.'
        " Empty: not asked for.</p>"
        f'{scale}<div class="heats">{panels}</div>' + (f'<ul class="keys">{keys}</ul>' if keys else "") + left
    )
    return Section("heat", "Batch × cores", html)


def _panel(told: Facts, grid: Grid, panel: Panel, notes: dict[str, str]) -> str:
    head = "".join(f'<th scope="col">{cores}</th>' for cores in grid.cores)
    rows = ""
    for batch in grid.batches:
        cells = "".join(_cell(told, grid, panel.cell(batch, cores), notes) for cores in grid.cores)
        rows += f'<tr><th scope="row">{batch}</th>{cells}</tr>'
    values = zip(grid.axes, panel.names, strict=True)
    name = " · ".join(value if axis in SPEAKING else f"{axis} {value}" for axis, value in values)
    dense = " dense" if len(grid.batches) > ROOMY else ""
    return (
        f'<div class="heat scroll{dense}"><table><caption>{esc(name)}</caption>'
        f"<thead><tr><th>batch \\ cores</th>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(told: Facts, grid: Grid, records: Sequence[Record], notes: dict[str, str]) -> str:
    points = points_of(records)
    if not records:
        return '<td class="none"></td>'
    if points:
        top = max(points, key=lambda point: point.throughput)
        level = top.throughput / grid.highest if grid.highest else 0.0
        replicas = top.record.settings.get("replicas", 1)
        more = f"<br><small>{esc(count(int(replicas), 'replica'))}</small>" if replicas != 1 else ""
        css = "chosen" if told.over and told.verdict.winner in [record.key for record in records] else ""
        style = f"background:{shade(level)};color:{'#111' if level > LIGHT else '#fff'}"
        tip = f"{told.name(top.record)}\n{number(top.throughput)} items/s, p50 {number(top.latency)} ms"
        values = {"style": style, "class": css, "data-tip": tip, "data-t": told.place[top.record.key]}
        return f"<td{attributes(values)}>{number(top.throughput)}{more}</td>"
    record = records[0]
    reason = why(record)
    letter = notes.setdefault(reason, LETTERS[len(notes) % 26] * (1 + len(notes) // 26))
    tried = record.status in (Status.BUILD_FAILED, Status.RUN_FAILED, Status.REJECTED)
    values = {"class": "failed" if tried else "refused", "data-tip": f"{told.name(record)}\n{reason}"}
    return f"<td{attributes(values)}>{esc(heatmap.word(record))}<sup>{letter}</sup></td>"


def shade(level: float) -> str:
    """The colour of a level between 0 and 1."""
    place = min(1.0, max(0.0, level)) * (len(VIRIDIS) - 1)
    first = min(int(place), len(VIRIDIS) - 2)
    part = place - first
    low, high = (tuple(int(VIRIDIS[n][i : i + 2], 16) for i in (1, 3, 5)) for n in (first, first + 1))
    return "#" + "".join(f"{round(a + (b - a) * part):02x}" for a, b in zip(low, high, strict=True))

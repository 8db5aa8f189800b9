"""Pictures of bucket lists, from `buckets.json`: a figure for each group, that is trials equal but for their buckets.

From top to bottom: how long the items are and which bucket serves them; how much of what is computed is padding; what
a request takes by the size of its items; what each further bucket gains. Panels that nothing is known for are left out.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.report.plots.buckets import latency as bucket_latency
from sweep.report.plots.buckets import sizes as bucket_sizes
from sweep.report.plots.buckets.view import View, list_sizes
from sweep.report.plots.drawing import HEADING_INCHES, clipped, save, sheet
from sweep.spec import from_json
from sweep.store.layout import SweepFolder
from sweep.text import axis_text, count
from sweep.verdict.buckets.results import ListGroup

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOVED = 0.01  # of the machine between the cost curve and the best lists, from which on it is worth a word
TITLE = 80  # letters of a label
WIDTH_INCHES, BETWEEN_INCHES = 10.0, 0.32
Panel = Callable[["Axes", View], None]


def write(folder: Path) -> list[Path]:
    """`buckets-<label>.png` of every group of a sweep's `buckets.json`, if there is one; the paths written."""
    pictures = {folder / f"{name}.png": group for name, group in load_groups(folder)}
    return [path for path, group in pictures.items() if save(partial(draw, group), path)]


def load_groups(folder: Path, keys: Collection[str] | None = None) -> list[tuple[str, ListGroup]]:
    """The groups of a sweep, each with the name of its picture.

    Names are unique and can be file names. `keys`: only groups that contain one of these trials.
    """
    path = SweepFolder(folder).buckets
    groups = from_json(tuple[ListGroup, ...], json.loads(path.read_text()) if path.exists() else [])
    names = ["buckets-" + re.sub(r"[^\w.,=-]+", "_", group.label or "all")[:100] for group in groups]
    alike = {name for name, times in Counter(names).items() if times > 1}
    pairs = [
        (f"{name}-{place}" if name in alike else name, group)
        for place, (name, group) in enumerate(zip(names, groups, strict=True), 1)
    ]
    return [(name, group) for name, group in pairs if keys is None or any(row.key in keys for row in group.rows)]


def draw(group: ListGroup) -> Figure | None:
    """The panels of one group; None where it has neither a list nor sizes that vary."""
    view = View(group)
    panels = _panels(view)
    if not panels or (not view.static and view.dynamic is None):
        return None
    height = HEADING_INCHES + sum(inches + BETWEEN_INCHES for _, inches, _ in panels)
    title = f"Bucket lists: {clipped(group.label, TITLE)}"
    figure = sheet(WIDTH_INCHES, height, title, _words(view))
    column = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[inches for _, inches, _ in panels])[:, 0]
    sized = [axes for axes, (_, _, by_size) in zip(column, panels, strict=True) if by_size]
    for axes, (panel, _, by_size) in zip(column, panels, strict=True):
        if by_size:
            view.place(axes)
            if axes is not sized[-1]:
                axes.tick_params(axis="x", labelbottom=False)
                axes.set_xlabel("")
        panel(axes, view)
        axes.grid(True, axis="y")
    return figure


def _panels(view: View) -> list[tuple[Panel, float, bool]]:
    """The panels that have data, their heights in inches, and whether they have the axis of sizes."""
    panels: list[tuple[Panel, float, bool]] = []
    if view.traffic is not None:
        flat = view.dimensions == 2
        panels.append((bucket_sizes.draw_rectangles, 3.1, False) if flat else (bucket_sizes.draw_histogram, 1.8, True))
        if view.shapes and (view.served >= 0).any():
            panels.append((bucket_sizes.draw_padding, 1.8, True))
    if view.curve or view.latencies(view.drawn) or list_sizes(view.dynamic):
        panels.append((bucket_latency.draw_by_size, 2.5, True))
    known = bucket_latency.list_rows(view)
    if known and len(known) + (view.dynamic is not None) > 1:
        panels.append((bucket_latency.draw_by_k, 2.7, False))
    return panels


def _words(view: View) -> list[str]:
    """Whose sizes these are, which list is drawn, and how good predictions were."""
    words = []
    if view.traffic is not None and view.group.traffic is not None:
        low, high = (int(view.elements[place]) for place in (0, -1))
        what = "length" if view.dimensions == 1 else "elements"
        span = f"{what}: {low:,}" if low == high else f"{what}: {low:,} to {high:,}, median {view.median:,.0f}"
        items = float(view.traffic.weights.sum())
        number = count(round(items), "item") if items.is_integer() and items >= len(view.sizes) else ""
        words += [" of ".join(filter(None, (number, Path(view.group.traffic.source).name))), span]
    words.append(f"batch {view.group.batch}")
    if view.drawn is not None:
        drawn = textwrap.shorten(axis_text(view.drawn.buckets), 60, placeholder=" …")
        how = "the fastest measured" if view.group.measured_ms(view.drawn) else "not measured"
        words.append(f"buckets drawn: {drawn} ({how})")
    known = [point.size for point in view.curve]  # a list of nothing but these is no prediction
    predicted = [row for row in view.static if row.best_for_k and any(size not in known for size in row.shapes)]
    pairs = [(view.group.measured_ms(row), view.group.expected_ms(row)) for row in predicted]
    far = sorted(100 * (seen / expected - 1) for seen, expected in pairs if seen and expected)
    if far:
        ends = [f"{value:+.1f} %" for value in (far if len(far) == 1 else (far[0], far[-1]))]
        words.append(f"best lists measured against predicted: {' to '.join(ends)}")
    moved = view.group.control.moved if view.group.control else 0.0
    if abs(moved) >= MOVED:
        words.append(f"the machine itself moved by {100 * moved:+.1f} % meanwhile")
    return words

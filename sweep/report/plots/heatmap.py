"""batch x cores as a heat map, a panel for each combination of the other axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from sweep.report.names import common, varying
from sweep.report.plots.drawing import HEADING_INCHES, points_of, sheet
from sweep.spec import Record
from sweep.text import axis_text, count, number, status_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.verdict.select import Verdict

PANELS = 12
_ABBREVIATED = {
    "unsupported_operator": "operator",
    "unsupported_dtype": "dtype",
    "implausible_timing": "timing",
    "toolchain_missing": "toolchain",
    "artifact_incompatible": "artifact",
    "partial_placement": "placement",
    "core_unavailable": "no core",
    "compiler_crash": "compiler",
    "hardware_error": "hardware",
    "numerical_error": "numbers",
    "shape_mismatch": "shape",
    "dynamic_shape": "shape",
    "model_too_large": "too large",
    "graph_too_large": "too large",
    "wrong_output": "wrong",
}


@dataclass(frozen=True)
class Panel:
    """What has one combination of the other axes."""

    names: tuple[str, ...]  # values of those axes
    records: Sequence[Record]

    def cell(self, batch: int, cores: int) -> list[Record]:
        """More than one where the number of replicas varies; none where it was not asked for."""
        return [r for r in self.records if (r.settings.get("batch"), r.settings.get("cores")) == (batch, cores)]

    @property
    def best(self) -> float:
        return max((p.throughput for p in points_of(self.records)), default=0.0)


@dataclass(frozen=True)
class Grid:
    axes: Sequence[str]  # whose values name a panel
    batches: Sequence[int]
    cores: Sequence[int]
    panels: Sequence[Panel]  # the fastest first, at most `PANELS`
    all: int  # panels that there are

    @cached_property
    def highest(self) -> float:
        """Throughput, items/s."""
        return max((panel.best for panel in self.panels), default=0.0)


def grid(records: Sequence[Record]) -> Grid | None:
    """A panel for each combination of the other axes; None where there are fewer than two cells in both directions."""
    rows = [record.settings for record in records]
    batches = sorted({int(row["batch"]) for row in rows if "batch" in row})
    cores = sorted({int(row["cores"]) for row in rows if "cores" in row})
    if max(len(batches), len(cores)) < 2:
        return None
    split = [name for name in varying(rows) if name not in ("batch", "cores", "replicas")]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(axis_text(record.settings.get(name, "")) for name in split), []).append(record)
    panels = sorted((Panel(names, group) for names, group in groups.items()), key=lambda panel: -panel.best)
    return Grid(split, batches, cores, panels[:PANELS], len(panels))


def draw(records: Sequence[Record], verdict: Verdict | None) -> Figure | None:
    """The panels of `grid`; None where there is none."""
    found = grid(records)
    if found is None:
        return None
    shown, batches, cores = found.panels, found.batches, found.cores
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    cell_width, cell_height = max(0.95, 2.6 / len(cores)), max(0.42, 1.2 / len(batches))
    width = max(5.0, across * (cell_width * len(cores) + 0.7) + 1.2)
    height = down * (cell_height * len(batches) + 0.9) + HEADING_INCHES
    words = [common([record.settings for record in records]), "grey was not tried, hatched failed"]
    words += [f"the best {len(shown)} of {found.all} panels"] if found.all > len(shown) else []
    figure = sheet(min(width, 22), min(height, 22), "Throughput by batch and cores, items/s", words)
    places = figure.subplots(down, across, squeeze=False)
    for place in range(down * across):
        axes = places[place // across][place % across]
        if place >= len(shown):
            axes.axis("off")
            continue
        _draw_panel(axes, found, shown[place], verdict.winner if verdict else None)
        axes.set_title(" · ".join(shown[place].names), loc="left")
    return figure


def word(record: Record) -> str:
    """In a cell: what became of a trial that has no number."""
    kind = record.failure.kind.value if record.failure else status_text(record.status)
    return _ABBREVIATED.get(kind, kind.replace("_", " "))


def _draw_panel(axes: Axes, found: Grid, panel: Panel, winner: str | None) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    colours, batches, cores = matplotlib.colormaps["viridis"], found.batches, found.cores
    highest = found.highest
    for row, batch in enumerate(batches):
        for column, core in enumerate(cores):
            cell = panel.cell(batch, core)
            corner, middle = (column - 0.5, row - 0.5), (column, row)
            points = points_of(cell)
            if points:
                top = max(points, key=lambda p: p.throughput)
                level = top.throughput / highest if highest else 0.0
                axes.add_patch(Rectangle(corner, 1, 1, facecolor=colours(level), edgecolor="white", lw=1.5))
                ink = "black" if level > 0.55 else "white"
                replicas = top.record.settings.get("replicas", 1)
                text = number(top.throughput) + (f"\n{count(int(replicas), 'replica')}" if replicas != 1 else "")
                axes.text(*middle, text, ha="center", va="center", color=ink, fontsize=9)
                if winner in [r.key for r in cell]:
                    axes.add_patch(
                        Rectangle((column - 0.44, row - 0.42), 0.88, 0.84, fill=False, edgecolor=ink, lw=1.6)
                    )
            elif cell:
                _unmeasured(axes, cell[0], corner, middle)
    axes.set(xlim=(-0.5, len(cores) - 0.5), ylim=(len(batches) - 0.5, -0.5), xlabel="cores", ylabel="batch")
    axes.set_xticks(range(len(cores)), [str(c) for c in cores])
    axes.set_yticks(range(len(batches)), [str(b) for b in batches])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _unmeasured(axes: Axes, record: Record, corner: tuple[float, float], middle: tuple[float, float]) -> None:
    """Grey for what was never tried, hatched for what was tried and failed; the word says which."""
    from matplotlib.patches import Rectangle

    failed = record.failure is not None
    hatch = "////" if failed else ""
    axes.add_patch(Rectangle(corner, 1, 1, facecolor="#F2F2F2", edgecolor="#CCCCCC", hatch=hatch, lw=0))
    axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="white", lw=1.5))
    back = {"boxstyle": "round,pad=0.15", "fc": "#F2F2F2", "ec": "none"} if failed else None
    ink = "#A33A00" if failed else "#888888"
    axes.text(*middle, word(record), ha="center", va="center", fontsize=8, color=ink, bbox=back)

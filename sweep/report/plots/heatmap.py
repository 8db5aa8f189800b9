"""batch x cores as a heat map, a panel for each combination of the other axes.

The picture is drawn once: on a sheet with a heading for `batch_cores.png`, on bare canvases for the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any

from sweep.report.names import describe_common, find_varying
from sweep.report.plots.drawing import HEADING_INCHES, Hit, find_points, sheet
from sweep.spec import Record, Status
from sweep.spec.metrics import THROUGHPUT
from sweep.text import axis_text, count, number, status_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.verdict.select import Verdict

PANELS = 12
ACROSS = 5  # panels beside each other, at most
WIDTH_INCHES, CELL_INCHES, MARGIN_INCHES = 9.4, 0.62, 0.8  # of the picture, of a cell, of what stands beside the cells
ROOMY, ROW_INCHES, CLOSE_INCHES = 12, 0.38, 0.22  # with more rows than that they are set closer
LIGHT = 0.55  # level from which the ink is dark
SMALLEST, LARGEST = 4.0, 8.0  # font of the words in a cell, points
LETTER = 0.6  # width of one letter, where the font's size is 1
SIDE = 0.94  # of a cell, where 1 would leave no gap
SPEAKING = ("model", "data", "hardware", "backend", "precision")  # axes whose values need no name
FAILED = (Status.BUILD_FAILED, Status.RUN_FAILED, Status.REJECTED)
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
    """The trials with one combination of the other axes."""

    names: tuple[str, ...]  # values of those axes
    records: Sequence[Record]

    def cell(self, batch: int, cores: int) -> list[Record]:
        """The trials of a cell: several if the number of replicas varies, none if the cell was not declared."""
        return [r for r in self.records if (r.settings.get("batch"), r.settings.get("cores")) == (batch, cores)]

    @property
    def best(self) -> float:
        return max((p.throughput for p in find_points(self.records)), default=0.0)


@dataclass(frozen=True)
class Grid:
    axes: Sequence[str]  # whose values name a panel
    batches: Sequence[int]
    cores: Sequence[int]
    panels: Sequence[Panel]  # the fastest first, at most `PANELS`
    all: int  # number of panels without that limit

    def across(self, width: float) -> int:
        """How many panels fit beside each other in a figure of this width in inches."""
        return max(1, min(ACROSS, int(width / (CELL_INCHES * len(self.cores) + MARGIN_INCHES))))

    def height(self, across: int) -> float:
        """The height of the figure in inches."""
        return -(-len(self.panels) // across) * (self.row * len(self.batches) + MARGIN_INCHES)

    @property
    def row(self) -> float:
        """Height of a row, inches."""
        return CLOSE_INCHES if len(self.batches) > ROOMY else ROW_INCHES

    def title(self, panel: Panel) -> str:
        """The name of a panel: `torch · int8 · request_batch 5`."""
        values = zip(self.axes, panel.names, strict=True)
        return " · ".join(value if axis in SPEAKING else f"{axis} {value}" for axis, value in values)

    @cached_property
    def highest(self) -> float:
        """Throughput, items/s."""
        return max((panel.best for panel in self.panels), default=0.0)


def make_grid(records: Sequence[Record]) -> Grid | None:
    """A panel for each combination of the other axes; None if there are fewer than two cells in both directions."""
    rows = [record.settings for record in records]
    batches = sorted({int(row["batch"]) for row in rows if "batch" in row})
    cores = sorted({int(row["cores"]) for row in rows if "cores" in row})
    if max(len(batches), len(cores)) < 2:
        return None
    split = [name for name in find_varying(rows) if name not in ("batch", "cores", "replicas")]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        groups.setdefault(tuple(axis_text(record.settings.get(name, "")) for name in split), []).append(record)
    panels = sorted((Panel(names, group) for names, group in groups.items()), key=lambda panel: -panel.best)
    return Grid(split, batches, cores, panels[:PANELS], len(panels))


def draw_sheet(records: Sequence[Record], verdict: Verdict) -> Figure | None:
    """The picture with a heading that says what all trials share; None if there is no grid."""
    panels = make_grid(records)
    if panels is None:
        return None
    words = [
        describe_common([record.settings for record in records]),
        "hatched failed, dashed cannot run or was not finished",
    ]
    words += [f"the best {len(panels.panels)} of {panels.all} panels"] if panels.all > len(panels.panels) else []
    across = min(panels.across(WIDTH_INCHES), len(panels.panels))
    width = max(5.0, across * (CELL_INCHES * len(panels.cores) + MARGIN_INCHES))
    height = HEADING_INCHES + panels.height(across)
    figure = sheet(width, height, "Throughput by batch and cores, items/s", words)
    draw(figure, panels, across, records, verdict.winner)
    return figure


def draw(
    figure: Figure,
    grid: Grid,
    across: int,
    records: Sequence[Record],
    winner: str | None,
    letters: Mapping[str, str] | None = None,
) -> list[Hit]:
    """Draw the panels of a grid; returns a hit for each declared cell, with its trial's place among the records.

    Args:
        across: panels beside each other.
        winner: key of the chosen trial; None while there is none.
        letters: of footnotes, by the key of a trial that has no number.
    """
    place = {record.key: position for position, record in enumerate(records)}
    room = 72 * (figure.get_figwidth() / across - MARGIN_INCHES) / len(grid.cores)  # width of a cell, points
    frames = figure.subplots(-(-len(grid.panels) // across), across, squeeze=False).flatten()
    for axes in frames[len(grid.panels) :]:
        axes.axis("off")
    hits = []
    for axes, panel in zip(frames, grid.panels, strict=False):
        _frame(axes, grid, grid.title(panel))
        for row, column in product(range(len(grid.batches)), range(len(grid.cores))):
            cell = panel.cell(grid.batches[row], grid.cores[column])
            if not cell:
                continue
            points = find_points(cell)
            shown = max(points, key=lambda point: point.throughput).record if points else cell[0]
            if points:
                is_chosen = winner in [record.key for record in cell]
                _paint_number(axes, (column, row), shown, room, grid.highest, is_chosen)
            else:
                _paint_word(axes, (column, row), shown, room, (letters or {}).get(shown.key, ""))
            hits.append(Hit(axes, column, row, trial=place[shown.key], side=SIDE))
    return hits


def describe_cell(record: Record) -> str:
    """A word or two for a cell: what became of a trial without a number."""
    kind = record.failure.kind.value if record.failure else status_text(record.status)
    return _ABBREVIATED.get(kind, kind.replace("_", " "))


def _frame(axes: Axes, grid: Grid, title: str) -> None:
    axes.set(xlim=(-0.5, len(grid.cores) - 0.5), ylim=(len(grid.batches) - 0.5, -0.5), xlabel="cores", ylabel="batch")
    axes.set_xticks(range(len(grid.cores)), [str(cores) for cores in grid.cores])
    axes.set_yticks(range(len(grid.batches)), [str(batch) for batch in grid.batches])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(title, loc="left", fontsize=8.5)


def _paint_number(
    axes: Axes, at: tuple[int, int], record: Record, room: float, highest: float, is_chosen: bool
) -> None:
    """Paint the throughput of a trial, with a colour for its share of the highest throughput."""
    import matplotlib

    rate = record.numbers[THROUGHPUT]
    level = rate / highest
    ink = "black" if level > LIGHT else "white"
    _fill(axes, at, facecolor=matplotlib.colormaps["viridis"](level))
    if is_chosen:
        _fill(axes, at, 0.82, fill=False, edgecolor=ink, lw=1.6)
    replicas = int(record.settings.get("replicas", 1))
    more = f"\n{count(replicas, 'replica')}" if replicas != 1 else ""
    _write(axes, at, (number(rate) + more, number(rate)), room, color=ink, fontweight="bold" if is_chosen else "normal")


def _paint_word(axes: Axes, at: tuple[int, int], record: Record, room: float, letter: str) -> None:
    """Paint why there is no number: hatched if the trial failed, dashed if it was not tried or not finished."""
    if record.status in FAILED:
        ink = "#A33A00"
        _fill(axes, at, facecolor="white", edgecolor="#F3C7A9", hatch="////", lw=0)
        _fill(axes, at, fill=False, edgecolor="#D55E00", lw=0.8)
    else:
        ink = "#666666"
        _fill(axes, at, facecolor="#F5F7F9", edgecolor="#B9C0C7", lw=0.8, ls="--")
    back = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.8}
    _write(axes, at, (f"{describe_cell(record)} {letter}".rstrip(), letter), room, color=ink, bbox=back)


def _write(axes: Axes, at: tuple[int, int], texts: Sequence[str], room: float, **style: Any) -> None:
    """Write the first text that fits into a cell, or the last one."""
    sizes = [min(LARGEST, room / (LETTER * max(1, *map(len, text.split("\n"))))) for text in texts]
    place = next((place for place, size in enumerate(sizes) if size >= SMALLEST), len(texts) - 1)
    axes.text(*at, texts[place], ha="center", va="center", fontsize=max(SMALLEST, sizes[place]), **style)


def _fill(axes: Axes, at: tuple[int, int], side: float = SIDE, **style: Any) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((at[0] - side / 2, at[1] - side / 2), side, side, **style))

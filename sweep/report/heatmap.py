"""batch x cores as a heat map, a panel for each combination of the other axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.report import axis_text, common, count, number, status_text, varying
from sweep.report.drawing import HEADING_INCHES, points_of, sheet
from sweep.spec import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sweep.select import Verdict

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


def draw(records: Sequence[Record], verdict: Verdict | None) -> Figure | None:
    """A panel for each combination of the other axes; None where there are fewer than two cells in both directions."""
    rows = [record.settings for record in records]
    batches = sorted({int(row["batch"]) for row in rows if "batch" in row})
    cores = sorted({int(row["cores"]) for row in rows if "cores" in row})
    if max(len(batches), len(cores)) < 2:
        return None
    split = [name for name in varying(rows) if name not in ("batch", "cores", "replicas")]
    panels: dict[tuple[str, ...], list[Record]] = {}
    for record in records:
        panels.setdefault(tuple(axis_text(record.settings.get(name, "")) for name in split), []).append(record)
    shown = dict(sorted(panels.items(), key=lambda item: -_best(item[1]))[:PANELS])
    across = min(len(shown), 3)
    down = -(-len(shown) // across)
    cell_width, cell_height = max(0.95, 2.6 / len(cores)), max(0.42, 1.2 / len(batches))
    width = max(5.0, across * (cell_width * len(cores) + 0.7) + 1.2)
    height = down * (cell_height * len(batches) + 0.9) + HEADING_INCHES
    words = [common(rows), "grey was not tried, hatched failed"]
    words += [f"the best {PANELS} of {len(panels)} panels"] if len(panels) > PANELS else []
    figure = sheet(min(width, 22), min(height, 22), "Throughput by batch and cores, items/s", words)
    highest = max(map(_best, shown.values()), default=0.0)
    grid = figure.subplots(down, across, squeeze=False)
    for place in range(down * across):
        axes = grid[place // across][place % across]
        if place >= len(shown):
            axes.axis("off")
            continue
        names, group = list(shown.items())[place]
        _panel(axes, group, batches, cores, highest, verdict.winner if verdict else None)
        axes.set_title(" · ".join(names), loc="left")
    return figure


def _best(records: Sequence[Record]) -> float:
    return max((p.throughput for p in points_of(records)), default=0.0)


def _panel(
    axes: Axes,
    group: Sequence[Record],
    batches: Sequence[int],
    cores: Sequence[int],
    highest: float,
    winner: str | None,
) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    colours = matplotlib.colormaps["viridis"]
    for row, batch in enumerate(batches):
        for column, core in enumerate(cores):
            cell = [r for r in group if (r.settings.get("batch"), r.settings.get("cores")) == (batch, core)]
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
    kind = record.failure.kind.value if record.failure else status_text(record.status)
    text = _ABBREVIATED.get(kind, kind.replace("_", " "))
    back = {"boxstyle": "round,pad=0.15", "fc": "#F2F2F2", "ec": "none"} if failed else None
    axes.text(*middle, text, ha="center", va="center", fontsize=8, color="#A33A00" if failed else "#888888", bbox=back)

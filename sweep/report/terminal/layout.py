"""The parts of a plan on the terminal, and the tables of all parts.

A part is something that rich can print, with a style. Many trials are summarised, because nobody reads a table of a
thousand rows; `trials` has them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.report.names import describe_common, find_varying
from sweep.spec import REQUESTS, BuildSpec, Status
from sweep.text import axis_text, count, duration, status_text, to_single_line

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from sweep.spec.plan import Entry, Plan
    from sweep.spec.settings import Settings

Part = tuple["RenderableType", str]
ROWS = 20  # longer tables are summarised
GROUPS = 8  # reasons shown
STYLES = {
    Status.OK: "green",
    Status.INVALID: "dim",
    Status.UNAVAILABLE: "dim",
    Status.BUILD_FAILED: "red",
    Status.RUN_FAILED: "red",
    Status.REJECTED: "yellow",
    Status.STOPPED: "dim",
}


@dataclass
class Column:
    """A column; if the width does not suffice, those with the largest `spare` are left out first, 0 never."""

    name: str
    cells: list[str]
    right: bool = False
    spare: int = 0

    @property
    def width(self) -> int:
        return max(map(len, [self.name, *self.cells])) + 2  # and the space between columns

    @property
    def empty(self) -> bool:
        return not any(self.cells)


def make_plan_parts(plan: Plan, settings: Settings) -> list[Part]:
    """Headline, table or summary of the trials, builds, forecast."""
    rows = [entry.trial.settings for entry in plan.entries]
    words = [count(len(plan.entries), "trial")]
    refused = {s: sum(e.status is s for e in plan.entries) for s in (Status.INVALID, Status.UNAVAILABLE)}
    if any(refused.values()):
        words += [f"{len(plan.valid):,} can run", *(f"{n:,} {s.value}" for s, n in refused.items() if n)]
    if plan.duplicates:
        words.append(f"{plan.duplicates:,} asked for twice")
    parts: list[Part] = [("", ""), (f"sweep {settings.name}: {', '.join(words)}", "bold")]
    if shared := describe_common(rows):
        parts.append((shared, "dim"))
    parts.append(("", ""))
    parts += _plan_table(plan) if len(plan.entries) <= ROWS else _plan_summary(plan)
    return [*parts, ("", ""), *_build_lines(plan), *_forecast(plan), ("", "")]


def _plan_table(plan: Plan) -> list[Part]:
    if not plan.entries:
        return []
    settings = [entry.trial.settings for entry in plan.entries]
    columns = make_axis_columns(settings, [entry.trial.label for entry in plan.entries])
    states = [status_text(entry.status) if entry.status else "to run" for entry in plan.entries]
    columns.append(Column("plan", states))
    reasons = Column("why", [to_single_line(entry.reason) for entry in plan.entries])
    if not reasons.empty:
        columns.append(reasons)
    return [(as_table(columns, [STYLES[e.status] if e.status else "" for e in plan.entries], folding="why"), "")]


def _plan_summary(plan: Plan) -> list[Part]:
    settings = [entry.trial.settings for entry in plan.entries]
    axes = find_varying(settings)
    values = [", ".join(dict.fromkeys(axis_text(row.get(axis, "")) for row in settings)) for axis in axes]
    parts: list[Part] = [(as_table([Column("axis", list(axes)), Column("values", values)], [""] * len(axes)), "")]
    groups: dict[tuple[Status, str], list[Entry]] = {}
    for entry in plan.entries:
        if entry.status is not None:
            groups.setdefault((entry.status, to_single_line(entry.reason)), []).append(entry)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    for (status, reason), entries in ordered[:GROUPS]:
        parts.append((paragraph(f"{len(entries):,} {status_text(status)}: {reason}", 2), "dim"))
    if len(ordered) > GROUPS:
        rest = sum(len(entries) for _, entries in ordered[GROUPS:])
        parts.append((f"  {rest:,} more for {count(len(ordered) - GROUPS, 'other reason')}", "dim"))
    return parts


def _build_lines(plan: Plan) -> list[Part]:
    """`2 distinct builds for 4 trials: onnxruntime fp32 b1 b5`."""
    builds = plan.builds
    if not builds:
        return []
    names: dict[str, list[str]] = {}
    for spec in builds.values():
        names.setdefault(f"{spec.backend} {spec.precision}", []).append(_build_name(spec))
    short = len(builds) <= ROWS
    texts = [
        f"{name} {' '.join(builds_of_kind)}" if short else f"{len(builds_of_kind):,} of {name}"
        for name, builds_of_kind in names.items()
    ]
    line = f"{count(len(builds), 'distinct build')} for {count(len(plan.valid), 'trial')}: "
    return [(paragraph(line + ", ".join(texts)), "")]


def _build_name(spec: BuildSpec) -> str:
    cores = "" if spec.cores is None else f"c{spec.cores}"
    return f"b{spec.batch}{cores}" + ("k" + "x".join(map(str, spec.bucket)) if spec.bucket else "")


def paragraph(text: str, indent: int = 0) -> RenderableType:
    """Text that is wrapped at the width; plain strings are not wrapped, so that commands can be copied."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text), (0, 0, 0, indent))


def _forecast(plan: Plan) -> list[Part]:
    if plan.forecast_seconds is None:
        return [(f"forecast: {plan.forecast_note}", "")] if plan.forecast_note else []
    note = f" ({plan.forecast_note})" if plan.forecast_note else ""
    return [(f"forecast: about {duration(plan.forecast_seconds)}{note}", "")]


def make_axis_columns(
    rows: Sequence[Mapping[str, Any]], labels: list[str], shown: Sequence[Mapping[str, Any]] | None = None
) -> list[Column]:
    """Columns of the axes that vary over `rows`, filled for the rows that are shown; if none varies, the labels."""
    axes = find_varying(rows)
    if not axes:
        return [Column("trial", labels)]
    shown = rows if shown is None else shown
    numeric = ("batch", REQUESTS, "cores", "replicas")
    names = {REQUESTS: "request"}
    cells = {axis: [axis_text(row.get(axis, "")) for row in shown] for axis in axes}
    return [Column(names.get(axis, axis), cells[axis], right=axis in numeric) for axis in axes]


def fit_columns(columns: list[Column], width: int) -> list[Column]:
    """The columns that fit the width; the least needed are left out first."""
    kept = list(columns)
    while sum(column.width for column in kept) > width and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    return kept


def as_table(columns: Sequence[Column], styles: Sequence[str], folding: str = "values") -> Table:
    """A table with one thin line under its head."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.header_style = table.border_style = "dim"
    for column in columns:
        folds = column.name == folding
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=not folds,
            overflow="fold" if folds else "ellipsis",
        )
    for row, style in zip(zip(*(column.cells for column in columns), strict=True), styles, strict=True):
        table.add_row(*row, style=style or None)
    return table

"""The parts that the terminal shows: what stands in the plan's table and in the ranked table, and what is left out.

Each part is something that rich can print, with a style. Many trials are summarised: a table of a thousand rows is
read by nobody, and `trials` has them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sweep.report import (
    REQUESTS,
    axis_text,
    common,
    count,
    duration,
    failure_groups,
    number,
    one_line,
    plus_minus,
    ranked,
    relative,
    share,
    status_text,
    varying,
)
from sweep.report.tables import metrics_of
from sweep.select import deciding
from sweep.spec import BuildSpec, Record, Status

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from sweep.plan import Entry, Plan
    from sweep.select import Verdict
    from sweep.settings import Objective, Settings

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
VERDICT_STYLES = {"winner": "bold green", "tie": "bold cyan", "undecided": "bold yellow", "none": "bold red"}


@dataclass
class Column:
    """One column; those with a larger `spare` are left out first where the width does not suffice."""

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


def plan_parts(plan: Plan, settings: Settings) -> list[Part]:
    """Headline, table or summary of the trials, builds, forecast."""
    rows = [entry.trial.settings for entry in plan.entries]
    words = [count(len(plan.entries), "trial")]
    refused = {s: sum(e.status is s for e in plan.entries) for s in (Status.INVALID, Status.UNAVAILABLE)}
    if any(refused.values()):
        words += [f"{len(plan.valid):,} can run", *(f"{n:,} {s.value}" for s, n in refused.items() if n)]
    if plan.duplicates:
        words.append(f"{plan.duplicates:,} asked for twice")
    parts: list[Part] = [("", ""), (f"sweep {settings.name}: {', '.join(words)}", "bold")]
    if shared := common(rows):
        parts.append((shared, "dim"))
    parts.append(("", ""))
    parts += _plan_table(plan) if len(plan.entries) <= ROWS else _plan_summary(plan)
    return [*parts, ("", ""), *_build_lines(plan), *_forecast(plan), ("", "")]


def _plan_table(plan: Plan) -> list[Part]:
    if not plan.entries:
        return []
    settings = [entry.trial.settings for entry in plan.entries]
    columns = _axis_columns(settings, [entry.trial.label for entry in plan.entries])
    states = [status_text(entry.status) if entry.status else "to run" for entry in plan.entries]
    columns.append(Column("plan", states))
    reasons = Column("why", [one_line(entry.reason) for entry in plan.entries])
    if not reasons.empty:
        columns.append(reasons)
    return [(as_table(columns, [STYLES[e.status] if e.status else "" for e in plan.entries], folding="why"), "")]


def _plan_summary(plan: Plan) -> list[Part]:
    settings = [entry.trial.settings for entry in plan.entries]
    axes = varying(settings)
    values = [", ".join(dict.fromkeys(axis_text(row.get(axis, "")) for row in settings)) for axis in axes]
    parts: list[Part] = [(as_table([Column("axis", list(axes)), Column("values", values)], [""] * len(axes)), "")]
    groups: dict[tuple[Status, str], list[Entry]] = {}
    for entry in plan.entries:
        if entry.status is not None:
            groups.setdefault((entry.status, one_line(entry.reason)), []).append(entry)
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
    texts = [f"{name} {' '.join(each)}" if short else f"{len(each):,} of {name}" for name, each in names.items()]
    line = f"{count(len(builds), 'distinct build')} for {count(len(plan.valid), 'trial')}: "
    return [(paragraph(line + ", ".join(texts)), "")]


def _build_name(spec: BuildSpec) -> str:
    cores = "" if spec.cores is None else f"c{spec.cores}"
    return f"b{spec.batch}{cores}" + ("k" + "x".join(map(str, spec.bucket)) if spec.bucket else "")


def paragraph(text: str, indent: int = 0) -> RenderableType:
    """Text that is wrapped at the width; plain strings are not, so that commands and paths can be copied."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(text), (0, 0, 0, indent))


def _forecast(plan: Plan) -> list[Part]:
    if plan.forecast_seconds is None:
        return [(f"forecast: {plan.forecast_note}", "")] if plan.forecast_note else []
    note = f" ({plan.forecast_note})" if plan.forecast_note else ""
    return [(f"forecast: about {duration(plan.forecast_seconds)}{note}", "")]


def result_parts(
    records: Sequence[Record], verdict: Verdict | None, settings: Settings, lines: Sequence[str], width: int
) -> list[Part]:
    """The ranked table, what did not work, the verdict, the lines to go on with."""
    parts: list[Part] = [("", "")]
    ordered = ranked(records, verdict.ranking if verdict else ())
    shown = ordered if len(ordered) <= ROWS else [r for r in ordered if r.status is Status.OK][:ROWS]
    if shared := common([record.settings for record in records]):
        parts += [(shared, "dim"), ("", "")]
    if shown:
        parts.append(_result_table(records, shown, verdict, settings.objective, width))
    if len(shown) < len(ordered):
        parts.append((f"  … and {len(ordered) - len(shown):,} more: python -m sweep trials", "dim"))
    failures = _failure_lines(records)
    parts += [("", ""), *failures] if failures else []
    if verdict is not None:
        parts += [("", ""), _verdict(verdict)]
    return [*parts, ("", ""), *((line, "") for line in lines)]


def _verdict(verdict: Verdict) -> Part:
    return paragraph(f"→ {verdict.sentence}"), VERDICT_STYLES.get(verdict.kind, "bold")


def _result_table(
    records: Sequence[Record], shown: Sequence[Record], verdict: Verdict | None, objective: Objective, width: int
) -> Part:
    """The columns that fit; those that the objective looks at stay in any case."""
    needed = deciding(objective)

    def spare(place: int, metric: str) -> int:
        return 0 if metric in needed else place

    metrics = [metrics_of(record) if record.status is Status.OK else {} for record in shown]
    places = [str(n) if record.status is Status.OK else "" for n, record in enumerate(shown, 1)]
    ends = [[m.get("throughput_items_per_s" + end) for end in ("", "_low", "_high")] for m in metrics]
    throughput = [plus_minus(*each) for each in ends]
    cost = [f"{m['usd_per_million_items']:.3g}" if "usd_per_million_items" in m else "" for m in metrics]
    known = {name: [_blank(number(m.get(name))) for m in metrics] for name in ("latency_ms_p50", "latency_ms_p99")}
    accuracy = [_blank(share(m.get("accuracy"))) for m in metrics]
    padding = [_blank(share(m.get("padding"))) for m in metrics]
    seconds = [_blank(number(metrics_of(record).get("build_seconds"))) for record in shown]
    columns = [
        Column("", places, right=True),
        *_axis_columns([r.settings for r in records], [r.label for r in shown], [r.settings for r in shown]),
        Column("items/s", [_blank(text) for text in throughput], right=True),
        Column("p50 ms", known["latency_ms_p50"], right=True, spare=spare(1, "latency_ms_p50")),
        Column("p99 ms", known["latency_ms_p99"], right=True, spare=spare(2, "latency_ms_p99")),
        Column("$/M items", cost, right=True, spare=spare(3, "usd_per_million_items")),
        Column("agree", [_blank(share(m.get("agreement"))) for m in metrics], right=True, spare=spare(4, "agreement")),
        Column("padding", padding, right=True, spare=spare(5, "padding")),
        Column("accuracy", accuracy, right=True, spare=spare(6, "accuracy_drop")),
        Column("build s", seconds, right=True, spare=spare(7, "build_seconds")),
        Column("status", [_state(record, verdict) for record in shown], spare=0),
    ]
    styles = [_row_style(record, verdict) for record in shown]
    return as_table(fitting([c for c in columns if not c.empty], width), styles), ""


def _blank(text: str) -> str:
    return "" if text == "–" else text


def _state(record: Record, verdict: Verdict | None) -> str:
    if verdict is not None and record.status is Status.OK:
        if record.key == verdict.winner:
            return "best"
        if record.key in verdict.tied:
            return "tie" if verdict.kind == "tie" else "undecided"
        if record.key in verdict.outside:
            return "excluded"  # over a limit, or nobody knows whether it is
    text = status_text(record.status)
    if record.status is Status.OK:
        return text if record.origin == "measured" else record.origin
    return f"{record.origin}, {text}" if record.origin == "reported" else text


def _row_style(record: Record, verdict: Verdict | None) -> str:
    if verdict is not None and record.key == verdict.winner:
        return "bold green"
    return "" if record.status is Status.OK else STYLES[record.status]


def _failure_lines(records: Sequence[Record]) -> list[Part]:
    groups = failure_groups(records)
    parts: list[Part] = []
    for text, group in groups[:GROUPS]:
        first = group[0]
        names = first.label if len(group) == 1 else f"{first.label} and {len(group) - 1:,} more"
        parts.append((f"  {status_text(first.status)}  {names}", STYLES[first.status]))
        parts.append((paragraph(text, 6), ""))
        if first.failure is not None and first.failure.log:
            parts.append((f"      log: {relative(first.failure.log)}", "dim"))
    if len(groups) > GROUPS:
        rest = sum(len(group) for _, group in groups[GROUPS:])
        reasons = count(len(groups) - GROUPS, "other reason")
        parts.append((f"  {rest:,} more for {reasons}: python -m sweep trials", "dim"))
    return parts


def _axis_columns(
    rows: Sequence[Mapping[str, Any]], labels: list[str], shown: Sequence[Mapping[str, Any]] | None = None
) -> list[Column]:
    """The axes that vary over `rows`, for the rows that are shown; where none varies, the label."""
    axes = varying(rows)
    if not axes:
        return [Column("trial", labels)]
    shown = rows if shown is None else shown
    numeric = ("batch", REQUESTS, "cores", "replicas")
    names = {REQUESTS: "request"}
    cells = {axis: [axis_text(row.get(axis, "")) for row in shown] for axis in axes}
    return [Column(names.get(axis, axis), cells[axis], right=axis in numeric) for axis in axes]


def fitting(columns: list[Column], width: int) -> list[Column]:
    """The columns that fit; what is least needed goes first."""
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

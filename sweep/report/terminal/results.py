"""The parts that the terminal shows at the end of a sweep: the ranked table, the failures, the verdict and its story.

If the width does not suffice, the columns that the objective needs least are left out; the page has them all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweep.report import story
from sweep.report.names import (
    describe_common,
    describe_score_seconds,
    describe_scored,
    group_failures,
    list_columns,
)
from sweep.report.terminal.layout import (
    GROUPS,
    ROWS,
    STYLES,
    Column,
    Part,
    as_table,
    fit_columns,
    make_axis_columns,
    paragraph,
)
from sweep.spec import Record, Status
from sweep.spec.metrics import CAPACITY, COLUMNS, SAMPLES, THROUGHPUT, Metric
from sweep.text import cell, count, list_some, relative, status_text, stop_text
from sweep.verdict.stats.intervals import samples_needed

if TYPE_CHECKING:
    from rich.console import RenderableType

    from sweep.spec.settings import Objective, Settings
    from sweep.verdict.select import Verdict

VERDICT_STYLES = {
    "winner": "bold green",
    "tie": "bold cyan",
    "undecided": "bold yellow",
    "none": "bold red",
}


def make_result_parts(
    records: Sequence[Record], verdict: Verdict | None, settings: Settings, lines: Sequence[str], width: int
) -> list[Part]:
    """The ranked table, the failures, the verdict with its story, and `lines`: the commands for what comes next."""
    parts: list[Part] = [("", "")]
    ordered = story.sort_results(records, verdict.ranking if verdict else (), settings.objective)
    shown = ordered if len(ordered) <= ROWS else [r for r in ordered if story.has_numbers(r)][:ROWS]
    heading = [describe_common([record.settings for record in records]), describe_scored(records)]
    if any(heading):
        parts += [(" · ".join(filter(None, heading)), "dim"), ("", "")]
    if shown:
        parts.append(_table(records, shown, verdict, settings.objective, width))
    if len(shown) < len(ordered):
        parts.append((f"  … and {len(ordered) - len(shown):,} more: python -m sweep trials", "dim"))
    seconds = describe_score_seconds(records)
    for line in filter(None, (_counted(shown), seconds and f"answers: {seconds}")):
        parts.append((paragraph(line, 2), "dim"))
    failures = _failure_lines([r for r in records if not (r.status is Status.STOPPED and story.has_numbers(r))])
    early = _early([r for r in records if verdict is None or r.key not in verdict.ranking])
    parts += [("", ""), *failures, *early] if failures or early else []
    if verdict is not None:
        parts += [("", ""), *_verdict(records, verdict, settings)]
    return [*parts, ("", ""), *((line, "") for line in lines)]


def _verdict(records: Sequence[Record], verdict: Verdict, settings: Settings) -> list[Part]:
    """The sentence of the verdict, and the lines of its story."""
    parts: list[Part] = [(paragraph(f"→ {verdict.sentence}"), VERDICT_STYLES.get(verdict.kind, "bold"))]
    if verdict.parts:
        parts = [
            (paragraph(f"→ {part.question}: {part.sentence}"), VERDICT_STYLES.get(part.kind, "bold"))
            for part in verdict.parts
        ]
    for line in story.describe(records, verdict, settings):
        parts.append((_hanging(line.name, line.text), "yellow" if line.warns else ""))
    return parts


def _hanging(name: str, text: str) -> RenderableType:
    """`  next      text`, wrapped beside its name."""
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=story.WIDTH + 2, no_wrap=True)
    grid.add_column()
    grid.add_row(Text(f"  {name}"), Text(text))
    return grid


def _table(
    records: Sequence[Record], shown: Sequence[Record], verdict: Verdict | None, objective: Objective, width: int
) -> Part:
    """The ranked table with the columns that fit; those that the objective looks at always stay."""
    numbers = [story.comparable_numbers(record) for record in shown]
    inside = [r.status is Status.OK if verdict is None else _in_race(r, verdict) for r in shown]
    places = [str(n) if ranks else "" for n, ranks in enumerate(inside, 1)]
    known = [metric for metric in list_columns(records) if any(metric.name in row for row in numbers)]
    columns = [
        Column("", places, right=True),
        *make_axis_columns([r.settings for r in records], [r.label for r in shown], [r.settings for r in shown]),
        *(
            Column(
                metric.column,
                [_blank(cell(metric, row)) for row in numbers],
                right=True,
                spare=_spare(metric, known, objective),
            )
            for metric in known
        ),
        Column("status", [story.describe_state(record, verdict) for record in shown], spare=0),
    ]
    styles = [_row_style(record, verdict) for record in shown]
    return as_table(fit_columns([c for c in columns if not c.empty], width), styles), ""


def _spare(metric: Metric, known: Sequence[Metric], objective: Objective) -> int:
    """The `spare` of a column: 0 if the objective looks at it, and the most for a throughput beside a capacity."""
    if metric.name == THROUGHPUT:
        return len(COLUMNS) if known[0].name == CAPACITY else 0
    own = metric not in COLUMNS  # somebody asked for it
    return 0 if own or metric.name in objective.deciding else COLUMNS.index(metric)


def _counted(shown: Sequence[Record]) -> str:
    """How many latencies the percentiles rest on, and which percentiles need more."""
    counts = sorted(int(r.numbers[SAMPLES]) for r in shown if story.has_numbers(r) and SAMPLES in r.numbers)
    if not counts:
        return ""
    span = f"{counts[0]:,}" if counts[0] == counts[-1] else f"{counts[0]:,} to {counts[-1]:,}"
    text = f"percentiles: of {span} latencies a trial"
    for metric in COLUMNS:
        needed = samples_needed(metric.quantile) if metric.quantile else 0
        if counts[0] < needed:
            text += f"; {metric.label} is not shown below {needed:,}"
    return text


def _blank(text: str) -> str:
    return "" if text == "–" else text


def _in_race(record: Record, verdict: Verdict) -> bool:
    """Whether a trial ran to its end, or was stopped for another objective and counts under this one."""
    return record.status is Status.OK or record.key in verdict.ranking


def _row_style(record: Record, verdict: Verdict | None) -> str:
    if verdict is not None and record.key in verdict.chosen:
        return "bold green"
    inside = record.status is Status.OK or (verdict is not None and _in_race(record, verdict))
    return "" if inside else STYLES[record.status]


def _early(records: Sequence[Record]) -> list[Part]:
    """A line about the trials that were stopped because enough was known of them."""
    stopped = [record for record in records if record.status is Status.STOPPED and story.has_numbers(record)]
    if not stopped:
        return []
    words: Mapping[str, int] = Counter(stop_text(record) for record in stopped)
    reasons = ", ".join(f"{n:,} {word}" for word, n in words.items())
    text = f"{count(len(stopped), 'trial')} stopped early: {reasons} (python -m sweep why says by what)"
    return [(paragraph(text, 2), "dim")]


def _failure_lines(records: Sequence[Record]) -> list[Part]:
    groups = group_failures(records)
    parts: list[Part] = []
    for text, group in groups[:GROUPS]:
        first = group[0]
        names = list_some([record.label for record in group], 1)
        parts.append((f"  {status_text(first.status)}  {names}", STYLES[first.status]))
        parts.append((paragraph(text, 6), ""))
        if first.failure is not None and first.failure.log:
            parts.append((f"      log: {relative(first.failure.log)}", "dim"))
    if len(groups) > GROUPS:
        rest = sum(len(group) for _, group in groups[GROUPS:])
        reasons = count(len(groups) - GROUPS, "other reason")
        parts.append((f"  {rest:,} more for {reasons}: python -m sweep trials", "dim"))
    return parts

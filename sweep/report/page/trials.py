"""Every declared trial in one table: ranked, sortable, filterable, failed ones too, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.report import story
from sweep.report.names import NUMBERS, count_statuses, describe_failure, list_columns
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, badge, bar, commands, details, esc, fact_list, table
from sweep.spec import REQUESTS, Record, Status
from sweep.spec.metrics import SAMPLES, THROUGHPUT, Better, Metric, Pooled, find
from sweep.text import (
    axis_text,
    cell,
    describe_numbers,
    percent,
    relative,
    status_text,
    to_single_line,
)
from sweep.verdict.stats.intervals import samples_needed

ON_PAPER = 60  # rows; the rest stands in results.csv
SHORT = 54  # letters of a reason that are shown before it is unfolded


def section(facts: Facts) -> Section:
    columns = _columns(facts)
    names = [name for name, _ in columns]
    fastest = max((record.number(THROUGHPUT) or 0.0 for record in facts.records), default=0.0)
    rows = [_row(facts, record, place, names, fastest) for place, record in enumerate(facts.records)]
    html = _tools(facts) + table([column for _, column in columns], rows, name="all-trials")
    html += '<button type="button" class="more hidden" id="more">show all</button>'
    if len(rows) > ON_PAPER:
        html += f'<p class="soft onpaper">The first {ON_PAPER} of {len(rows):,} trials; results.csv has them all.</p>'
    return Section("trials", "All trials", html)


def _tools(facts: Facts) -> str:
    chips = "".join(
        f'<button type="button" class="chip" aria-pressed="true" data-status="{status.value}">'
        f"{esc(status_text(status))} {n:,}</button>"
        for status, n in count_statuses(facts.records)
    )
    example = " ".join(f"{name}={axis_text(facts.records[0].settings.get(name))}" for name in facts.axes[:2])
    hint = esc(f"filter, like {example}" if example else "filter")
    box = f'<input type="search" id="filter" placeholder="{hint}" aria-label="filter the trials" autocomplete="off">'
    return f'<div class="tools">{box}{chips}<span class="soft" id="matched"></span></div>' if facts.records else ""


def _columns(facts: Facts) -> list[tuple[str, Column]]:
    """The columns that any trial fills, by the name of their axis or metric."""
    known = {name for record in facts.records for name in record.numbers}
    columns = [("place", Column("", "rank by the objective"))]
    if facts.axes:
        columns.append(("name", Column("trial", css="short")))  # in the place of the axes where the screen is narrow
        columns += [
            (name, Column({REQUESTS: "request"}.get(name, name), right=name in NUMBERS, css="axis"))
            for name in facts.axes
        ]
    else:
        columns.append(("label", Column("trial")))
    for metric in list_columns(facts.records):
        if metric.name in known or (metric.quantile and "latency_ms_p50" in known):
            hint = _hint(metric, facts.settings.objective.confidence)
            columns.append((metric.name, Column(metric.column, hint, True, metric.better is Better.HIGHER)))
    return [*columns, ("status", Column("status")), ("why", Column("why not"))]


def _hint(metric: Metric, confidence: float) -> str:
    if metric.pooled is Pooled.MEAN:
        return f"mean over repeats ± half of its {percent(confidence, 3)} interval"
    needed = f"; shown from {samples_needed(metric.quantile):,} requests" if metric.quantile else ""
    return metric.hint + needed


def _row(facts: Facts, record: Record, place: int, names: Sequence[str], fastest: float) -> Row:
    cells = [_cell(facts, record, name, place, fastest) for name in names]
    css = [
        "chosen" if record.key in facts.verdict.chosen and facts.over else "",
        "" if record.status is Status.OK and record.key not in facts.verdict.outside else "out",
        "far" if place >= ON_PAPER else "",
    ]
    return Row(
        cells,
        {
            "data-t": place,
            "data-status": record.status.value,
            "data-s": _searched(facts, record),
            "data-tip": _tip(facts, record),
            "class": " ".join(filter(None, css)),
        },
    )


def _searched(facts: Facts, record: Record) -> str:
    """The text that the filter searches: `|batch=5|` matches a whole setting, words match anywhere."""
    settings = [f"{name}={axis_text(value)}" for name, value in record.settings.items() if name in facts.axes]
    ending = f"status={record.status.value}", f"origin={record.origin.value}"
    kind = record.failure.kind.value if record.failure else ""
    words = (facts.name(record), record.label, status_text(record.status), kind)
    return f"|{'|'.join([*settings, *ending])}| {' '.join(words)}".lower()


def _tip(facts: Facts, record: Record) -> str:
    """The text that appears when one points at the trial in a drawing."""
    texts = describe_numbers({name: value for name, value in record.numbers.items() if name != SAMPLES})
    lines = [facts.name(record), *(texts[label] for label in ("throughput", "latency") if label in texts)]
    if record.status is not Status.OK:
        lines.append(f"{status_text(record.status)}: {describe_failure(record)}"[:200])
    return "\n".join(lines)


def _cell(facts: Facts, record: Record, name: str, place: int, fastest: float) -> Cell:
    metric, value = find(name), record.number(name)
    if name == "place":
        rank = facts.ranks.get(record.key)
        return Cell("" if rank is None else str(rank), place)
    if name == "name":
        return Cell(esc(facts.name(record)), facts.name(record))
    if name == "label":
        return Cell(esc(record.label), record.label)
    if name == "status":
        return _status(facts, record)
    if name == "why":
        return _why(facts, record)
    if name in facts.axes:
        text = axis_text(record.settings.get(name, ""))
        known = record.settings.get(name)
        return Cell(esc(text), known if isinstance(known, (int, float)) else text)
    if value is None:
        samples = int(record.number(SAMPLES) or 0)
        if not metric.quantile or not samples:
            return Cell("")
        needs = f"a {metric.label} needs {samples_needed(metric.quantile):,} requests"
        return Cell(f'<small title="{needs}">n = {samples:,}</small>')
    drawn = bar(value / fastest) if value and fastest and name == THROUGHPUT else ""
    return Cell(drawn + esc(cell(metric, record.numbers)), value, "rate" if drawn else "")


def _status(facts: Facts, record: Record) -> Cell:
    if record.key not in facts.book.records:
        text = f"{len(record.repeats)} of {facts.settings.effort.repeats} repeats" if record.repeats else "open"
        return Cell(badge(record.status, text), list(Status).index(record.status))
    state = story.describe_state(record, facts.verdict if facts.over else None)
    if facts.over and record.key in facts.verdict.chosen:
        return Cell(f'<span class="tag best">{esc(state)}</span>', -1.0)
    order = {"tie": -0.5, "undecided": -0.5, "excluded": 0.5}.get(state)
    colour = Status.STOPPED if state == "excluded" else record.status
    return Cell(badge(colour, state), list(Status).index(record.status) if order is None else order)


def _why(facts: Facts, record: Record) -> Cell:
    """The reason; unfolded also the label, the key, the log and the command that runs it again."""
    reason = to_single_line(
        facts.verdict.reasons.get(record.key, "") if record.status is Status.OK else describe_failure(record)
    )
    if record.key in facts.verdict.chosen and facts.over:
        reason = ""
    known: list[tuple[str, str]] = [("trial", esc(record.label)), ("key", f"<code>{esc(record.key)}</code>")]
    run = facts.book.runs.get(record.key)
    if run:
        known.append(("MLflow run", f"<code>{esc(run)}</code>"))
    failure = record.failure
    if failure is not None:
        how = failure.signal or (f"exit code {failure.exit_code}" if failure.exit_code is not None else "")
        known += [("ended", esc(how)), ("log", esc(relative(failure.log)))]
    short = facts.shorten(reason)
    short = short if len(short) <= SHORT else short[: SHORT - 2].rstrip() + " …"
    body = fact_list([("why", esc(reason) if reason != short else ""), *known])
    if failure is not None and failure.command:
        body += commands([failure.command])
    return Cell(details(esc(short) if short else '<span class="soft">details</span>', body), reason or None, "why")

"""Every declared trial in one table: ranked, sortable, filterable, failed ones too, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.report.names import NUMBERS, why
from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, badge, bar, commands, details, esc, facts, table
from sweep.report.terminal.results import STOPS
from sweep.spec import REQUESTS, Record, Status
from sweep.text import axis_text, number, one_line, plus_minus, relative, share, status_text
from sweep.verdict.stats.intervals import QUANTILES, samples_needed

ON_PAPER = 60  # rows; the rest stands in results.csv
SHORT = 54  # letters of a reason that are seen before it is unfolded
RATES = {"throughput_items_per_s": "items/s", "capacity_items_per_s": "capacity items/s"}


def section(told: Facts) -> Section:
    columns = _columns(told)
    names = [name for name, _ in columns]
    fastest = max((m.get("throughput_items_per_s", 0.0) for m in told.metrics.values()), default=0.0)
    rows = [_row(told, record, place, names, fastest) for place, record in enumerate(told.records)]
    html = _tools(told) + table([column for _, column in columns], rows, name="all-trials")
    html += '<button type="button" class="more hidden" id="more">show all</button>'
    if len(rows) > ON_PAPER:
        html += f'<p class="soft onpaper">The first {ON_PAPER} of {len(rows):,} trials; results.csv has them all.</p>'
    return Section("trials", "All trials", html)


def _tools(told: Facts) -> str:
    counts = {status: sum(record.status is status for record in told.records) for status in Status}
    chips = "".join(
        f'<button type="button" class="chip" aria-pressed="true" data-status="{status.value}">'
        f"{esc(status_text(status))} {n:,}</button>"
        for status, n in counts.items()
        if n
    )
    example = " ".join(f"{name}={axis_text(told.records[0].settings.get(name))}" for name in told.axes[:2])
    hint = esc(f"filter, like {example}" if example else "filter")
    box = f'<input type="search" id="filter" placeholder="{hint}" aria-label="filter the trials" autocomplete="off">'
    return f'<div class="tools">{box}{chips}<span class="soft" id="matched"></span></div>' if told.records else ""


def _columns(told: Facts) -> list[tuple[str, Column]]:
    """What is known of any trial, by the metric's or the axis' name."""
    known = {name for metrics in told.metrics.values() for name in metrics}
    found = [("place", Column("", "rank by the objective"))]
    if told.axes:
        found.append(("name", Column("trial", css="short")))  # in the place of the axes where the screen is narrow
        found += [
            (name, Column({REQUESTS: "request"}.get(name, name), right=name in NUMBERS, css="axis"))
            for name in told.axes
        ]
    else:
        found.append(("label", Column("trial")))
    interval = f"mean over repeats ± half of its {100 * told.settings.objective.confidence:.3g} % interval"
    found += [(name, Column(text, interval, True, True)) for name, text in RATES.items() if name in known]
    for name in ("p50", "p99"):
        hint = f"of all requests of all repeats; shown from {samples_needed(QUANTILES[name]):,} requests"
        if f"latency_ms_{name}" in known or (name == "p99" and "latency_ms_p50" in known):
            found.append((f"latency_ms_{name}", Column(f"{name} ms", hint, True)))
    for name, text, hint, falling in (
        ("agreement", "agree", "share of the answers that are the original model's", True),
        ("accuracy", "accuracy", "share of the labels that were hit", True),
        ("usd_per_million_items", "$/M items", "dollars for a million items", False),
        ("padding", "padding", "share of the computed elements that only fill up", False),
        ("build_seconds", "build s", "all builds of the trial together", False),
    ):
        if name in known:
            found.append((name, Column(text, hint, True, falling)))
    return [*found, ("status", Column("status")), ("why", Column("why not"))]


def _row(told: Facts, record: Record, place: int, names: Sequence[str], fastest: float) -> Row:
    cells = [_cell(told, record, name, place, fastest) for name in names]
    css = [
        "chosen" if record.key == told.verdict.winner and told.over else "",
        "" if record.status is Status.OK and record.key not in told.verdict.outside else "out",
        "far" if place >= ON_PAPER else "",
    ]
    return Row(
        cells,
        {
            "data-t": place,
            "data-status": record.status.value,
            "data-s": _searched(told, record),
            "data-tip": _tip(told, record),
            "class": " ".join(filter(None, css)),
        },
    )


def _searched(told: Facts, record: Record) -> str:
    """What the filter looks into: `|batch=5|` holds as a whole, words anywhere."""
    settings = [f"{name}={axis_text(value)}" for name, value in record.settings.items() if name in told.axes]
    ending = f"status={record.status.value}", f"origin={record.origin}"
    kind = record.failure.kind.value if record.failure else ""
    words = (told.name(record), record.label, status_text(record.status), kind)
    return f"|{'|'.join([*settings, *ending])}| {' '.join(words)}".lower()


def _tip(told: Facts, record: Record) -> str:
    """What stands beside a point that is pointed at."""
    metrics = told.metrics[record.key]
    lines = [told.name(record)]
    rate = [metrics.get("throughput_items_per_s" + end) for end in ("", "_low", "_high")]
    if rate[0] is not None:
        lines.append(f"{plus_minus(*rate)} items/s")
    latency = [f"{q} {number(metrics[f'latency_ms_{q}'])}" for q in QUANTILES if f"latency_ms_{q}" in metrics]
    if latency:
        lines.append(" · ".join(latency) + " ms")
    if record.status is not Status.OK:
        lines.append(f"{status_text(record.status)}: {why(record)}"[:200])
    return "\n".join(lines)


def _cell(told: Facts, record: Record, name: str, place: int, fastest: float) -> Cell:
    metrics = told.metrics[record.key]
    value = metrics.get(name)
    if name == "place":
        rank = told.ranks.get(record.key)
        return Cell("" if rank is None else str(rank), place)
    if name == "name":
        return Cell(esc(told.name(record)), told.name(record))
    if name == "label":
        return Cell(esc(record.label), record.label)
    if name == "status":
        return _status(told, record)
    if name == "why":
        return _why(told, record)
    if name in RATES:
        ends = [metrics.get(name + end) for end in ("_low", "_high")]
        text = "" if value is None else esc(plus_minus(value, *ends))
        drawn = bar(value / fastest) if value and fastest and name == "throughput_items_per_s" else ""
        return Cell(drawn + text, value, "rate" if drawn else "")
    if name == "latency_ms_p99" and value is None and metrics.get("sample_count"):
        n, needed = int(metrics["sample_count"]), samples_needed(QUANTILES["p99"])
        return Cell(f'<small title="a p99 needs {needed:,} requests">n = {n:,}</small>')
    if name in ("agreement", "accuracy", "padding"):
        return Cell("" if value is None else esc(share(value)), value)
    if name == "usd_per_million_items":
        return Cell("" if value is None else f"{value:.3g}", value)
    if name in told.axes:
        text = axis_text(record.settings.get(name, ""))
        known = record.settings.get(name)
        return Cell(esc(text), known if isinstance(known, (int, float)) else text)
    return Cell("" if value is None else number(value), value)


def _status(told: Facts, record: Record) -> Cell:
    verdict, order = told.verdict, list(Status).index(record.status)
    if record.status is Status.OK and told.over:
        if record.key == verdict.winner:
            return Cell('<span class="tag best">best</span>', -1)
        if record.key in verdict.outside:
            return Cell(badge(Status.STOPPED, "excluded"), 0.5)
        if record.key in verdict.tied:
            return Cell(badge(Status.OK, "tie" if verdict.kind == "tie" else "undecided"), -0.5)
    told_as = "" if record.origin == "measured" or record.status is not Status.OK else record.origin
    if record.status is Status.STOPPED and record.metrics:
        told_as = next((word for word in STOPS if record.reason.startswith(word)), "")
    if record.key not in told.book.records:
        told_as = f"{len(record.repeats)} of {told.settings.effort.repeats} repeats" if record.repeats else "open"
    return Cell(badge(record.status, told_as), order)


def _why(told: Facts, record: Record) -> Cell:
    """The reason; what it was called, how it is run again and where its log lies when it is unfolded."""
    reason = one_line(told.verdict.reasons.get(record.key, "") if record.status is Status.OK else why(record))
    if record.key == told.verdict.winner and told.over:
        reason = ""
    known: list[tuple[str, str]] = [("trial", esc(record.label)), ("key", f"<code>{esc(record.key)}</code>")]
    run = told.book.runs.get(record.key)
    if run:
        known.append(("MLflow run", f"<code>{esc(run)}</code>"))
    failure = record.failure
    if failure is not None:
        how = failure.signal or (f"exit code {failure.exit_code}" if failure.exit_code is not None else "")
        known += [("ended", esc(how)), ("log", esc(relative(failure.log)))]
    short = told.shortened(reason)
    short = short if len(short) <= SHORT else short[: SHORT - 2].rstrip() + " …"
    body = facts([("why", esc(reason) if reason != short else ""), *known])
    if failure is not None and failure.command:
        body += commands([failure.command])
    return Cell(details(esc(short) if short else '<span class="soft">details</span>', body), reason or None, "why")

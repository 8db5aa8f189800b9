"""Two sweeps compared, in words and as a table for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sweep.report.names import describe_common, describe_failure, find_varying, short_name
from sweep.report.terminal.layout import Column, Part, as_table, fit_columns, paragraph
from sweep.spec import Record, metrics
from sweep.text import UNKNOWN, count, percent, plus_minus, quantity, signed_percent, status_text

if TYPE_CHECKING:
    from sweep.verdict.regression import Change, Comparison
    from sweep.verdict.stats.intervals import Interval

ROWS = 30  # of the table
LISTED = 12  # lines of what differs
WORST = ("broke", "slower", "unclear", "too few repeats", "not run", "still fails", "fixed", "faster", "as before")
STYLES = {"slower": "red", "broke": "red", "faster": "green", "fixed": "green"}
VERDICTS = {"regression": "bold red", "no regression": "bold green", "nothing": "bold yellow"}


def summarize(comparison: Comparison) -> str:
    """The result of the comparison in one sentence."""
    bad = _bad(comparison)
    if bad:
        return f"Regression: {'; '.join(bad)}."
    compared = [change for change in comparison.changes if change.ratio]
    if not compared:
        return f"Nothing to compare: no trial has two repeats or more in both {comparison.a} and {comparison.b}."
    kinds = ("as before", "faster", "unclear")
    counts = [f"{sum(change.kind == kind for change in compared)} {kind}" for kind in kinds]
    words = ", ".join(text for text in counts if not text.startswith("0 "))
    return f"No regression shown: of {count(len(compared), 'trial')} compared, {words}."


def _bad(comparison: Comparison) -> list[str]:
    texts = []
    if broke := comparison.of("broke"):
        texts.append(f"{_some(broke)} no longer {'works' if len(broke) == 1 else 'work'}")
    if slower := sorted(comparison.of("slower"), key=lambda change: -_size(change)):
        most = f", {slower[0].label} most" if len(slower) > 1 else ""
        be = "is" if len(slower) == 1 else "are"
        texts.append(f"{_some(slower)} {be} slower{most}: {format_change(slower[0].ratio)}")
    if wrong := comparison.wrong:
        texts.append(f"{_some(wrong)} {'agrees' if len(wrong) == 1 else 'agree'} less with the original model")
    if comparison.common is not None and comparison.common.kind == "slower":
        texts.append(f"all {comparison.common.trials} together are slower: {format_change(comparison.common.ratio)}")
    return texts


def make_parts(comparison: Comparison, width: int) -> list[Part]:
    """Everything that a terminal shows of the comparison."""
    shown: list[Part] = [("", ""), (f"A  {comparison.a}  (before)", ""), (f"B  {comparison.b}  (after)", ""), ("", "")]
    if comparison.changes:
        shared = describe_common([change.after.settings for change in comparison.changes])
        shown += [(shared, "dim"), ("", "")] if shared else []
        shown += _table(comparison, width)
    for change in find_troubled(comparison):
        shown.append((paragraph(f"{change.label}: {describe_trouble(change)}", 2), "red"))
    shown += [(paragraph(line, 2), "") for line in _around(comparison)]
    return [*shown, ("", ""), (paragraph(f"→ {summarize(comparison)}"), VERDICTS[comparison.status]), ("", "")]


def format_change(ratio: Interval | None) -> str:
    """`-12.0 % (-14.0 % to -10.0 %)`."""
    if ratio is None:
        return UNKNOWN
    ends = _ends(ratio)
    return signed_percent(ratio.estimate - 1) + (f" ({ends})" if ends else "")


def format_p(p: float | None) -> str:
    if p is None:
        return ""
    return f"{p:.2g}" if p >= 0.001 else "<0.001"


def sort_changes(comparison: Comparison) -> list[Change]:
    """The worst first."""
    return sorted(comparison.changes, key=lambda change: (WORST.index(change.kind), -_size(change), change.label))


def find_troubled(comparison: Comparison) -> list[Change]:
    """Trials that need a line of their own."""
    return [*comparison.of("broke"), *comparison.wrong]


def describe_trouble(change: Change) -> str:
    """Say what broke, or how often the answers are the original's."""
    if change.kind == "broke":
        return f"{status_text(change.after.status)}: {describe_failure(change.after)}"
    shares = [record.numbers["agreement"] for record in (change.before, change.after)]
    return f"{shares[0]:.2%} of the answers were the original's, now {shares[1]:.2%}".replace("%", " %")


def describe_ending(record: Record) -> str:
    """How a trial ended that only one of the sweeps has."""
    rate = record.number(metrics.THROUGHPUT)
    text = status_text(record.status)
    return text if rate is None else f"{text}, {quantity(metrics.THROUGHPUT, rate)}"


def make_namer(comparison: Comparison) -> Callable[[Record], str]:
    """A function that names the trials of both sweeps by what tells them apart."""
    axes = find_varying([change.after.settings for change in comparison.changes])
    return lambda record: short_name(record.settings, axes) or record.label


def list_heads(comparison: Comparison) -> list[str]:
    """The heads of the columns that `format_cells` fills."""
    head, level = metrics.find(comparison.metric).column, f"{percent(comparison.objective.confidence, 3)} interval"
    return ["trial", f"{head} before", f"{head} after", "change", level, "p", "outcome"]


def format_cells(comparison: Comparison, change: Change) -> tuple[str, str, str, str, str, str]:
    """(before, after, change, interval, p, outcome); unknown ones are empty."""
    values = [
        "" if value is None else _with_ends(record, comparison.metric, value)
        for value, record in zip(change.values, (change.before, change.after), strict=True)
    ]
    ratio = change.ratio
    estimate = signed_percent(ratio.estimate - 1) if ratio else ""
    outcome = change.kind + (", other answers" if change.worse_answers(comparison.objective.confidence) else "")
    return values[0], values[1], estimate, _ends(ratio) if ratio else "", format_p(change.p), outcome


def describe_headline(comparison: Comparison) -> list[str]:
    """The change of all trials together, and the verdict of each sweep."""
    texts = []
    if (together := comparison.common) is not None:
        texts.append(f"All {together.trials} trials together: {format_change(together.ratio)}, {together.kind}.")
    return [*texts, f"Before: {comparison.verdicts[0]}", f"After: {comparison.verdicts[1]}"]


def _around(comparison: Comparison) -> list[str]:
    """The lines below the table."""
    texts = describe_headline(comparison)
    texts += [f"Differs: {line}" for line in comparison.differences[:LISTED]]
    if len(comparison.differences) > LISTED:
        texts.append(f"Differs: {len(comparison.differences) - LISTED} more")
    for name, records in (("before", comparison.vanished), ("after", comparison.new)):
        if records:
            some = ", ".join(record.label for record in records[:3]) + (", …" if len(records) > 3 else "")
            texts.append(f"Only {name}: {count(len(records), 'trial')} ({some})")
    return texts + [f"Note: {note}" for note in comparison.notes]


def _table(comparison: Comparison, width: int) -> list[Part]:
    trials, name = sort_changes(comparison), make_namer(comparison)
    shown = trials[:ROWS]
    rows = [(name(change.after), *format_cells(comparison, change)) for change in shown]
    spares = (0, 2, 1, 0, 3, 4, 0)
    columns = [
        Column(head, list(texts), right=0 < place < 6, spare=spare)
        for place, (head, texts, spare) in enumerate(
            zip(list_heads(comparison), zip(*rows, strict=True), spares, strict=True)
        )
    ]
    kept = fit_columns([column for column in columns if not column.empty], width)
    parts: list[Part] = [(as_table(kept, [STYLES.get(change.kind, "") for change in shown]), "")]
    if len(trials) > len(shown):
        parts.append((f"  … and {len(trials) - len(shown):,} more", "dim"))
    return [*parts, ("", "")]


def _with_ends(record: Record, metric: str, value: float) -> str:
    known = metrics.find(metric)
    text = plus_minus(value, record.number(known.low), record.number(known.high))
    return "" if text == UNKNOWN else text


def _ends(ratio: Interval) -> str:
    """`-14.0 % to -10.0 %`."""
    if ratio.low is None or ratio.high is None:
        return ""
    return f"{signed_percent(ratio.low - 1)} to {signed_percent(ratio.high - 1)}"


def _size(change: Change) -> float:
    """The change as a factor of at least 1, whatever its direction."""
    ratio = change.ratio.estimate if change.ratio else 1.0
    return max(ratio, 1 / ratio) if ratio > 0 else float("inf")


def _some(changes: Sequence[Change]) -> str:
    return changes[0].label if len(changes) == 1 else f"{len(changes):,} trials"

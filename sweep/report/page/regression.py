"""Two sweeps compared, as one HTML file that opens from a disk and needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import files
from sweep.report.page.document import document
from sweep.report.page.markup import Cell, Column, Row, Section, attributes, esc, paragraph, table
from sweep.report.terminal import regression
from sweep.spec import Record, UserError
from sweep.text import percent

if TYPE_CHECKING:
    from sweep.verdict.regression import Change, Comparison
    from sweep.verdict.stats.intervals import Interval

COLOURS = {"slower": "#D55E00", "faster": "#0072B2", "as before": "#009E73"}
KINDS = {"regression": "none", "no regression": "winner", "nothing": "undecided"}  # the verdict with the same colour
LEAST_SPAN, MOST_SPAN = 0.05, 1.0  # how far the scale of the drawings reaches from "no change"


def write(comparison: Comparison, path: Path) -> None:
    """Write the page.

    Raises:
        UserError: the file cannot be written.
    """
    text = document(f"{comparison.a} and {comparison.b}", list_sections(comparison), _header(comparison))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_whole(path, text)
    except OSError as error:
        raise UserError(files.describe_write_error(error, path)) from None


def list_sections(comparison: Comparison) -> list[Section]:
    """The sections: every trial, what broke, what differs around them, how this was judged."""
    parts = []
    if comparison.changes:
        parts.append(Section("trials", "Trials", _trials(comparison)))
    if troubles := [f"{c.label}: {regression.describe_trouble(c)}" for c in regression.find_troubled(comparison)]:
        parts.append(Section("broke", "What broke", _list(troubles)))
    lines = [*comparison.differences, *comparison.notes] or ["Nothing that was recorded differs."]
    parts.append(Section("differs", "What differs around them", _list(lines)))
    for name, heading, records in (
        ("vanished", "Only before", comparison.vanished),
        ("new", "Only after", comparison.new),
    ):
        if records:
            endings = [f"{record.label} ({regression.describe_ending(record)})" for record in records]
            parts.append(Section(name, heading, _list(endings)))
    return [*parts, Section("method", "How this was judged", paragraph(_method(comparison)))]


def _header(comparison: Comparison) -> str:
    paragraphs = "".join(f"<p>{esc(line)}</p>" for line in regression.describe_headline(comparison))
    return (
        f'<p class="over">before: sweep {esc(comparison.a)} · after: sweep {esc(comparison.b)}</p>'
        f'<div class="verdict {KINDS[comparison.status]}"><p class="kind">{esc(comparison.status)}</p>'
        f"<h1>{esc(regression.summarize(comparison))}</h1></div>{paragraphs}"
    )


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{esc(line)}</li>' for line in lines)}</ul>"


def _trials(comparison: Comparison) -> str:
    heads = regression.list_heads(comparison)
    right = [False, True, True, True, True, True, False]
    columns = [Column(head, right=flag) for head, flag in zip(heads, right, strict=True)]
    columns.insert(5, Column("", "the change and its interval; grey: changes within the margin do not matter"))
    details = ("p99 ms before", "p99 ms after", "agreement before", "agreement after")
    columns += [*(Column(name, right=True) for name in details), Column("reason")]
    name, span = regression.make_namer(comparison), _span(comparison)
    rows = [_row(comparison, change, name(change.after), span) for change in regression.sort_changes(comparison)]
    if comparison.common is not None:
        rows.append(_all(comparison, len(columns), span))
    return table(columns, rows, name="changes")


def _row(comparison: Comparison, change: Change, name: str, span: float) -> Row:
    before, after, estimate, interval, p, outcome = regression.format_cells(comparison, change)
    ratio = change.ratio.estimate if change.ratio else None
    reason = "" if change.ratio else change.after.reason
    return Row(
        [
            Cell(esc(name), name),
            Cell(esc(before), change.values[0]),
            Cell(esc(after), change.values[1]),
            Cell(esc(estimate), ratio),
            Cell(esc(interval), ratio),
            Cell(_drawn(comparison, change.ratio, change.kind, span), ratio),
            Cell(esc(p), change.p),
            Cell(esc(outcome), regression.WORST.index(change.kind)),
            *(_number(record, "latency_ms_p99", "{:.3g}") for record in (change.before, change.after)),
            *(_number(record, "agreement", "{:.2%}") for record in (change.before, change.after)),
            Cell(esc(reason), reason, "wrap" if reason else ""),
        ],
        {"title": change.label},
    )


def _all(comparison: Comparison, width: int, span: float) -> Row:
    """The last line: all trials together."""
    common = comparison.common
    assert common is not None
    text = regression.format_change(common.ratio).partition(" (")
    cells = [
        Cell(esc(f"all {common.trials} together"), "~"),
        *[Cell("")] * 2,
        Cell(esc(text[0]), common.ratio.estimate),
        Cell(esc(text[2].rstrip(")"))),
        Cell(_drawn(comparison, common.ratio, common.kind, span)),
        Cell(esc(regression.format_p(common.p)), common.p),
        Cell(esc(common.kind)),
    ]
    return Row([*cells, *[Cell("")] * (width - len(cells))], {"class": "chosen"})


def _number(record: Record, metric: str, style: str) -> Cell:
    value = record.number(metric)
    return Cell("" if value is None else esc(style.format(value)), value)


def _span(comparison: Comparison) -> float:
    """How far the scale of the drawings reaches from "no change"."""
    ratios = [change.ratio for change in comparison.changes if change.ratio]
    largest = max((abs(ratio.estimate - 1) for ratio in ratios), default=0.0)
    return min(MOST_SPAN, max(LEAST_SPAN, 1.4 * largest, 3 * comparison.objective.margin))


def _drawn(comparison: Comparison, ratio: Interval | None, kind: str, span: float) -> str:
    """A change and its interval, drawn over the margin; what is off the scale ends at its edge."""
    if ratio is None:
        return ""

    def place(value: float) -> float:
        return round(70 + 66 * min(1.0, max(-1.0, (value - 1) / span)), 1)

    margin, colour = comparison.objective.margin, COLOURS.get(kind, "#666666")
    left, right = place(1 / (1 + margin)), place(1 + margin)
    line = ""
    if ratio.low is not None and ratio.high is not None:
        line = f'<path d="M{place(ratio.low)} 7H{place(ratio.high)}" stroke="{colour}" stroke-width="2"/>'
    values = {"viewBox": "0 0 140 14", "width": "140", "height": "14", "role": "img"}
    return (
        f"<svg{attributes({**values, 'aria-label': regression.format_change(ratio)})}>"
        f'<rect x="{left}" y="0" width="{round(right - left, 1)}" height="14" fill="#E8EAEC"/>'
        f'<path d="M70 0V14" stroke="#888" stroke-width="1"/>{line}'
        f'<circle cx="{place(ratio.estimate)}" cy="7" r="3.2" fill="{colour}"/></svg>'
    )


def _method(comparison: Comparison) -> str:
    margin, confidence = percent(comparison.objective.margin, 3), comparison.objective.confidence
    return (
        "Trials with the same settings are compared by the ratio of their repeats (Welch's t on the logarithms of "
        f"{comparison.metric}). Slower or faster: surely by more than {margin}. As before: surely within {margin}. "
        "Holm's procedure corrects for the number of tests, those of the trials, of their common change and of their "
        f"answers: if nothing changed, a regression is named at most {percent(1 - confidence, 3)} of the time. "
        "Whatever else changed on the machine between the two sweeps is in these numbers too."
    )

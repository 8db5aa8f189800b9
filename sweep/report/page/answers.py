"""Whether the builds still answer like the original model: agreement, accuracy, who is right where they differ."""

from __future__ import annotations

from collections.abc import Sequence

from sweep.report.page.gather import Facts
from sweep.report.page.markup import Cell, Column, Row, Section, badge, esc, paragraph, table, whisker
from sweep.report.terminal import comparison
from sweep.spec import Json, Record, Status, canonical
from sweep.spec.metrics import METRICS, Of
from sweep.text import cell, count, list_some, number, share

MOST, NAMED = 25, 3
RIGHT = ("both", "only_reference", "only_candidate", "neither")
DIFFER = RIGHT[1:3]


def section(facts: Facts) -> Section | None:
    """None if no answers were compared. Trials with the same answers, as of the same build, share a line."""
    groups: dict[str, list[Record]] = {}
    for record in facts.records:
        if (record.agreement or {}).get("samples") or (record.agreement or {}).get("agreement") is not None:
            same = {name: value for name, value in (record.agreement or {}).items() if name != "samples"}
            groups.setdefault(canonical([same, record.status.value]), []).append(record)
    if not groups:
        return None
    shown = list(groups.values())[:MOST]
    html = _classes(facts, [group for group in shown if _of(group).get("agreement") is not None])
    html += _distances(facts, [group for group in shown if _of(group).get("agreement") is None])
    html += _outputs(facts, shown)
    if len(groups) > MOST:
        html += paragraph(f"The first {MOST} of {len(groups):,} different sets of answers.", "soft")
    return Section("answers", "Accuracy and agreement", html)


def _of(group: Sequence[Record]) -> Json:
    return dict(group[0].agreement or {})


def _named(facts: Facts, group: Sequence[Record]) -> Cell:
    names = list_some([facts.name(record) for record in group], NAMED)
    state = "" if group[0].status is Status.OK else " " + badge(group[0].status)
    return Cell(esc(names) + state, names, "wrap")


def _classes(facts: Facts, groups: Sequence[Sequence[Record]]) -> str:
    if not groups:
        return ""
    agreements = [_of(group) for group in groups]
    labelled = any(agreement.get("accuracy") is not None for agreement in agreements)
    shares = [(agreement, name) for agreement in agreements for name in ("agreement", "accuracy")]
    lows = [float(a.get(f"{name}_low") or a[name]) for a, name in shares if a.get(name) is not None]
    span = (max(0.0, min(lows) - 0.02), 1.0)
    columns = [Column("trials"), Column("items", "scored: answered once, with nothing else running", True)]
    columns.append(Column("agreement", "share with the original's top class; 95 % interval by Wilson", False, True))
    if labelled:
        columns += [
            Column("accuracy", "share of the items with the right label; 95 % interval by Wilson", False, True),
            Column("original", "accuracy of the original model on the same items", True, True),
            Column("both right", "", True),
            Column("only original", "", True),
            Column("only this", "", True),
            Column("neither", "", True),
            Column("McNemar p", "exact, two-sided; small: one of the two is right more often", True),
            Column("who was right"),
        ]
    rows = [
        Row(_cells(facts, group, agreement, labelled, span))
        for group, agreement in zip(groups, agreements, strict=True)
    ]
    scale = f"The drawn intervals reach from {share(span[0])} to 100 %."
    return table(columns, rows, name="answers-table", css="tight") + paragraph(scale, "soft")


def _outputs(facts: Facts, groups: Sequence[Sequence[Record]]) -> str:
    """The table of every output by itself; empty if no record has them, as those of earlier versions."""
    columns = [
        Column("trials"),
        Column("output"),
        Column("of one item", "shape and type"),
        Column(
            "error", "99 % of the items are off by at most this share of how much the original's answers vary", True
        ),
        Column("largest difference", "", True),
        Column("cosine, mean", "", True),
        Column("equal", "share with the same ids", True, True),
    ]
    rows = []
    for group in groups:
        for output in _of(group).get("outputs") or ():
            shape = f"{'×'.join(map(str, output['shape'])) or '1'} {output['dtype']}"
            name = f"{output['output']} {output.get('name') or ''}".strip()
            numbers = [
                Cell(number(output[key]), output[key]) for key in ("relative_error", "max_abs_error", "cosine_mean")
            ]
            equal = Cell(share(output["equal"]), output["equal"])
            rows.append(Row([_named(facts, group), Cell(esc(name), name), Cell(esc(shape), shape), *numbers, equal]))
    if not rows:
        return ""
    return paragraph("Every output by itself.", "soft") + table(columns, rows, name="outputs-table", css="tight")


def _cells(
    facts: Facts, group: Sequence[Record], agreement: Json, labelled: bool, span: tuple[float, float]
) -> list[Cell]:
    items = agreement.get("samples")
    cells = [_named(facts, group), Cell("–" if items is None else f"{int(items):,}", items)]
    cells.append(_share(agreement, "agreement", span))
    if not labelled:
        return cells
    cells.append(_share(agreement, "accuracy", span))
    cells.append(Cell(share(agreement.get("reference_accuracy")), agreement.get("reference_accuracy")))
    right = agreement.get("who_was_right") or {}
    cells += [Cell("–" if right.get(name) is None else f"{right[name]:,}", right.get(name)) for name in RIGHT]
    p = agreement.get("mcnemar_p")
    cells.append(Cell("–" if p is None else f"{p:.2g}", p))
    words = ""
    if right:
        names = ("the original", "this build")
        words = (
            comparison.describe_discordant(int(right["only_reference"]), int(right["only_candidate"]), names=names)
            if any(right[name] for name in DIFFER)
            else "right on the same items"
        )
    cells.append(Cell(esc(words), words or None, "wrap"))
    return cells


def _share(agreement: Json, name: str, span: tuple[float, float]) -> Cell:
    value, low, high = (agreement.get(name + end) for end in ("", "_low", "_high"))
    if value is None:
        return Cell("–")
    ends = f"<br><small>{esc(share(low))} to {esc(share(high))}</small>" if low is not None and high is not None else ""
    return Cell(f"{esc(share(value))}{whisker(value, low, high, span)}{ends}", value)


def _distances(facts: Facts, groups: Sequence[Sequence[Record]]) -> str:
    """The table for answers that are not classes: how far they are from the original's."""
    if not groups:
        return ""
    distances = [metric for metric in METRICS if metric.of is Of.OUTPUTS]
    known = [metric for metric in distances if any(_of(group).get(metric.name) is not None for group in groups)]
    columns = [Column("trials"), Column("items", "", True), *(Column(metric.label, "", True) for metric in known)]
    rows = []
    for group in groups:
        agreement = _of(group)
        cells = [_named(facts, group), Cell(f"{int(agreement.get('samples') or 0):,}", agreement.get("samples"))]
        cells += [Cell(esc(cell(metric, agreement)), agreement.get(metric.name)) for metric in known]
        rows.append(Row(cells))
    alone = paragraph(
        f"{count(sum(map(len, groups)), 'trial')} without classes: how far the answers are from the original's.",
        "lead",
    )
    return alone + table(columns, rows, name="distances-table")

"""Lists of buckets beside each other, as text: `python -m sweep buckets`, and in short at the end of a sweep.

Latency is that of the request that an item is in, the mean over the items.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sweep.report.terminal.layout import STYLES, Column, as_table, fit_columns, paragraph
from sweep.spec import Status
from sweep.text import axis_text, count, number, share, status_text, to_single_line
from sweep.verdict.buckets.results import ListGroup, ListResult, ListRow, Prediction

if TYPE_CHECKING:
    from sweep.report.terminal.layout import Part

ALIKE = 0.02  # relative difference that says nothing
SHORT = 3  # groups whose tables are shown at the end of a sweep; of more only a sentence each
BRIEF = ("", "k", "buckets", "predicted", "measured", "differs", "padding", "items/s")  # at the end of a sweep
MOVED = 0.01  # of the machine between two measurements, from which on it is worth a line


def format_groups(groups: Sequence[ListGroup], width: int) -> list[Part]:
    """Every group: its lists, what follows from them, and the buckets of the best."""
    parts: list[Part] = []
    for group in groups:
        parts += [
            ("", ""),
            *_headline(group),
            ("", ""),
            _lists(group, width),
            *_reasons(group),
            ("", ""),
            *_conclusions(group),
        ]
        if (row := find_best(group, lists=True)) is not None and row.measured is not None:
            parts += [("", ""), (f"each bucket of {_name(row)}", "bold"), ("", ""), _buckets(row.measured, width)]
    return [*parts, ("", "")]


def format_short(groups: Sequence[ListGroup], width: int) -> list[Part]:
    """For the end of a sweep: tables with few columns, or only sentences if there are many groups."""
    if len(groups) > SHORT:
        parts: list[Part] = [("", "")]
        for group in groups:
            parts += [(paragraph(f"{group.label}: {describe_gain(group)}"), "")]
    else:
        parts = []
        for group in groups:
            parts += [
                ("", ""),
                *_headline(group),
                ("", ""),
                _lists(group, width, brief=True),
                ("", ""),
                *_conclusions(group, brief=True),
            ]
    return [*parts, ("  more: python -m sweep buckets", "dim")]


def find_best(group: ListGroup, lists: bool = False) -> ListRow | None:
    """The row within the limits with the smallest measured latency; of equals the one with fewer buckets.

    Args:
        lists: only among those with buckets.
    """
    rows = [row for row in group.rows if not row.over and (row.shapes or not lists)]
    known = [(latency, row.k or 0, row) for row in rows if (latency := group.measured_ms(row)) is not None]
    return min(known, key=lambda entry: entry[:2])[2] if known else None


def describe_gain(group: ListGroup) -> str:
    """Whether static buckets pay on this backend, compared with pad to maximum and any size."""
    rows = [(row, _rate(group, result)) for row in group.rows if (result := group.believe(row))]
    lists = [(row, rate) for row, rate in rows if row.shapes and row.k and row.k > 1 and not row.over]
    rivals = [(row.name, rate) for name in ("pad to max", "dynamic") for row, rate in rows if row.name == name]
    sizes = group.traffic.sizes if group.traffic else ()
    if len(sizes) == 1:
        return f"All inputs have the size {axis_text(sizes)}: more than one bucket is of no use."
    if not lists or not rivals:
        over = any(row.over for row, _ in rows)
        why = "none is within the limits" if over else "it takes one, and pad to maximum or any size, measured"
        return f"No list of several buckets can be compared: {why}."
    top, rate = max(lists, key=lambda pair: pair[1])
    ratios = {name: rate / theirs for name, theirs in rivals}
    against = " and ".join(f"{ratios[name]:.2f}x {_rival(name)} ({number(theirs)})" for name, theirs in rivals)
    behind = [_rival(name) for name, ratio in ratios.items() if ratio < 1 - ALIKE]
    alike = [_rival(name) for name, ratio in ratios.items() if abs(ratio - 1) <= ALIKE]
    if behind:
        verdict = f"Static buckets do not pay here, {' and '.join(behind)} {_do(behind)} more"
    elif alike:
        verdict = f"Static buckets gain nothing over {' and '.join(alike)} here"
    else:
        verdict = "Static buckets pay here"
    return f"{verdict}: {_name(top)} does {number(rate)} items/s, {against}."


def _do(names: Sequence[str]) -> str:
    return "does" if list(names) == [_rival("pad to max")] else "do"


def _rate(group: ListGroup, result: ListResult) -> float:
    return (result.throughput_items_per_s if group.is_own_traffic else result.traffic_items_per_s) or 0.0


def _rival(name: str) -> str:
    return {"pad to max": "pad to maximum", "dynamic": "dynamic sizes"}[name]


def _name(row: ListRow) -> str:
    return axis_text(row.shapes) if row.shapes else "any size"


def _headline(group: ListGroup) -> list[Part]:
    heading = (f"buckets of {group.label}", "bold")
    if group.traffic is None:
        return [heading]
    sizes, weights = group.traffic.sizes, group.traffic.weights
    ends = [axis_text([size]) for size in (sizes[0], sizes[-1])]
    between = ends[0] if len(sizes) == 1 else f"{ends[0]} to {ends[1]}"
    of = f"{count(round(sum(weights)), 'item')} of {group.traffic.source}, {count(len(sizes), 'size')}, {between}"
    return [
        heading,
        (paragraph(f"latency in ms of the request that an item is in; {of}"), "dim"),
    ]


def _lists(group: ListGroup, width: int, brief: bool = False) -> Part:
    """One line for each list; columns that are not empty, as many as fit."""
    rows, top, own = group.rows, find_best(group), group.is_own_traffic
    failed = any(row.status not in (None, Status.OK) for row in rows)
    builds = [str(row.k or 1) if row.measured else "" for row in rows]
    expected = [row.predicted.item_latency_ms if row.predicted else None for row in rows]
    # A list that was not measured shows its prediction.
    hopes = [row.predicted or Prediction(math.inf) for row in rows]
    padding = [_either(_result(row).padding, hope.padding) for row, hope in zip(rows, hopes, strict=True)]
    seconds = [_either(_result(row).build_seconds, hope.build_seconds) for row, hope in zip(rows, hopes, strict=True)]
    columns = [
        Column("", ["→" if row is top else "" for row in rows]),
        Column("k", [str(row.k or "") for row in rows], right=True),
        Column("buckets", [_name(row) for row in rows]),
        Column("", [_kind(row) for row in rows], spare=0 if failed else 1),
        Column("predicted", _numbers(expected), right=True),
        Column("measured", _numbers(_result(row).item_latency_ms_mean for row in rows), right=True),
        Column("differs", [_differs(row, row.predicted) for row in rows], right=True),
        Column("beside", [_differs(row, row.beside) for row in rows], right=True, spare=5),
        Column("p50", _numbers(_result(row).latency_ms_p50 for row in rows if own), right=True, spare=6),
        Column("p99", _numbers(_result(row).latency_ms_p99 for row in rows if own), right=True, spare=3),
        Column("padding", [_blank(share(value)) for value in padding], right=True, spare=2),
        Column("of FLOPs", [_blank(share(_result(row).padding_flops)) for row in rows], right=True, spare=9),
        Column("builds", builds, right=True, spare=12),
        Column("build s", _numbers(seconds), right=True, spare=4),
        Column("MB", _numbers(_result(row).artifact_mb for row in rows), right=True, spare=7),
        Column("loaded MB", _numbers(_result(row).loaded_mb for row in rows), right=True, spare=8),
        Column("items/s", _numbers(_rate(group, _result(row)) for row in rows), right=True),
    ]
    if brief:
        columns = [column for column in columns if column.name in BRIEF]
    styles = ["bold green" if row is top else "" if row.measured else _faint(row) for row in rows]
    return as_table(fit_columns([c for c in columns if not c.empty], width), styles, folding="buckets"), ""


def _result(row: ListRow) -> ListResult:
    """The result of a list; one without numbers if it was not measured."""
    return row.measured or ListResult()


def _numbers(values: Iterable[float | None]) -> list[str]:
    return [_blank(number(value)) for value in values]


def _either(a: float | None, b: float | None) -> float | None:
    """The first of the two that is known."""
    return b if a is None else a


def _kind(row: ListRow) -> str:
    """What a list is (a guess, chosen, written by a person), or why it was not measured."""
    kind = {"best": f"best of {row.k}", "best before": "found before"}.get(row.name, row.name)
    if row.best_for_k and row.name != "best" and (row.k or 0) > 1:
        kind = f"best of {row.k}: {kind}"
    if row.over:
        kind += ", over the limit"
    return kind if row.status in (None, Status.OK) else f"{kind}: {status_text(row.status)}"


def _faint(row: ListRow) -> str:
    return STYLES[row.status] if row.status else "dim"


def _differs(row: ListRow, expected: Prediction | None) -> str:
    """The measured latency relative to the expected one."""
    if row.measured is None or row.measured.item_latency_ms_mean is None or expected is None:
        return ""
    return f"{100 * (row.measured.item_latency_ms_mean / expected.item_latency_ms - 1):+.1f} %"


def _blank(text: str) -> str:
    """Empty for an unknown value and for 0: a backend may leave no artifact."""
    return "" if text in ("–", "0") else text


def _reasons(group: ListGroup) -> list[Part]:
    """Why lists have no numbers."""
    return [
        (paragraph(f"{_name(row)}: {status_text(row.status)}: {to_single_line(row.reason)}", 2), "red")
        for row in group.rows
        if row.status not in (None, Status.OK)
    ]


def _hope(row: ListRow) -> float:
    return row.predicted.item_latency_ms if row.predicted else math.inf


def _conclusions(group: ListGroup, brief: bool = False) -> list[Part]:
    """What follows from the table, what the limits leave out, and what to know before believing it."""
    measure = "p99 of requests" if group.is_p99 else "latency of an item"
    parts: list[Part] = [
        (paragraph(f"→ the smallest measured {measure}; the choice by the objective is the sweep's verdict"), "dim"),
        (paragraph(f"by items/s: {describe_gain(group)}"), ""),
    ]
    over = sorted((row for row in group.rows if row.over), key=_hope)
    for row in over[:1] if brief else over:
        better = f", {number(_hope(row))} ms" if row.predicted else ""
        parts.append((paragraph(f"beyond the limit: {_name(row)}{better}: {row.over}"), "yellow"))
    if group.problem:
        parts.append((paragraph(group.problem), "yellow"))
    control = group.control
    if control and abs(control.moved) >= MOVED:
        again = axis_text(control.buckets)
        moved = f"{100 * control.moved:+.1f} %"
        text = f"the machine moved by {moved} meanwhile: {again} took {number(control.before_ms)} ms when the curve"
        text += f" was measured, and {number(control.after_ms)} ms beside the best lists"
        parts.append((paragraph(text), "dim"))
    parts += [(paragraph(text), "dim") for text in _beside(group)]
    if group.traffic is not None and not group.traffic.own:
        text = f"measured on the data's sizes and weighted with the shares of {group.traffic.source}"
        lost = [_name(row) for row in group.rows if row.measured and not row.measured.is_of_traffic]
        text += f", but for {', '.join(lost)}: the data's own mix" if lost else ""
        parts.append((paragraph(text), "dim"))
    if any(row.predicted and not row.predicted.exact and row.best_for_k for row in group.rows):
        parts.append(("not every combination was looked at: a list of as many buckets may be better", "dim"))
    return parts


def _beside(group: ListGroup) -> list[str]:
    """How good the predictions of the best lists are on a machine that does not move."""
    known = [(row, row.beside.item_latency_ms) for row in group.rows if row.measured and row.beside]
    if not known:
        return []
    quickest = min(known, key=lambda pair: _either(_result(pair[0]).item_latency_ms_mean, math.inf) or 0.0)[0]
    rows = [quickest, min(known, key=lambda pair: pair[1])[0]]
    named = {_name(row): f"{_name(row)} by {_differs(row, row.beside)}" for row in rows}
    return [f"from what the guesses took in the same minutes (beside): {' and '.join(named.values())}"]


def _buckets(result: ListResult, width: int) -> Part:
    """What each bucket of one list did."""
    rows = result.buckets
    items = sum(row.items for row in rows) or 1
    columns = [
        Column("bucket", [axis_text([row.bucket]) for row in rows], right=True),
        Column("items", [f"{row.items:,}" for row in rows], right=True),
        Column("share", [share(row.items / items) for row in rows], right=True),
        Column("requests", [f"{row.requests:,}" for row in rows], right=True, spare=4),
        Column("mean", _numbers(row.latency_ms_mean for row in rows), right=True),
        Column("p50", _numbers(row.latency_ms.get("p50") for row in rows), right=True, spare=1),
        Column("p90", _numbers(row.latency_ms.get("p90") for row in rows), right=True, spare=6),
        Column("p99", _numbers(row.latency_ms.get("p99") for row in rows), right=True, spare=1),
        Column("build s", _numbers(row.build_seconds for row in rows), right=True, spare=3),
        Column("MB", _numbers(row.artifact_mb for row in rows), right=True, spare=2),
        Column("loaded MB", _numbers(row.memory_mb for row in rows), right=True, spare=5),
    ]
    return as_table(fit_columns([c for c in columns if not c.empty], width), [""] * len(rows)), ""

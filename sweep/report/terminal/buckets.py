"""Lists of buckets beside each other, as text: `python -m sweep buckets`, and in short at the end of a sweep.

Latency is that of the request that an item is in, the mean over the items.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sweep.report.terminal.layout import STYLES, Column, as_table, fitting, paragraph
from sweep.spec import Json, Status
from sweep.text import axis_text, count, number, one_line, share, status_text

if TYPE_CHECKING:
    from sweep.report.terminal.layout import Part

ALIKE = 0.02  # relative difference that says nothing
SHORT = 3  # groups whose tables are shown at the end of a sweep; of more only a sentence each
MOVED = 0.01  # of the machine between two measurements, from which on it is worth a line


def whole(found: Sequence[Json], width: int) -> list[Part]:
    """Every group: its lists, what is to be known of them, and the buckets of the best."""
    parts: list[Part] = []
    for group in found:
        parts += [
            ("", ""),
            *_headline(group),
            ("", ""),
            _lists(group, width),
            *_reasons(group),
            ("", ""),
            *_said(group),
        ]
        if (row := best(group, lists=True)) is not None:
            parts += [("", ""), (f"each bucket of {_name(row)}", "bold"), ("", ""), _buckets(row, width)]
    return [*parts, ("", "")]


def short(found: Sequence[Json], width: int) -> list[Part]:
    """At the end of a sweep: tables with few columns, or sentences alone where there are many groups."""
    if len(found) > SHORT:
        parts: list[Part] = [("", "")]
        for group in found:
            parts += [(paragraph(f"{group['label']}: {sentence(group)}"), "")]
    else:
        parts = []
        for group in found:
            parts += [
                ("", ""),
                *_headline(group),
                ("", ""),
                _lists(group, width, brief=True),
                ("", ""),
                *_said(group, brief=True),
            ]
    return [*parts, ("  more: python -m sweep buckets", "dim")]


def best(group: Json, lists: bool = False) -> Json | None:
    """The row with the smallest measured latency that is within the limits; fewer buckets among equals.

    Args:
        lists: only among those with buckets.
    """
    rows = [row for row in group["rows"] if row["measured"] and not row["over"]]
    rows = [row for row in rows if row["measured"]["buckets"] or not lists]
    name = "latency_ms_p99" if group["minimise"] == "p99" else "item_latency_ms_mean"
    known = [row for row in rows if _comparable(group, row) and row["measured"][name] is not None]
    return min(known, key=lambda row: (row["measured"][name], row["k"] or 0), default=None)


def sentence(group: Json) -> str:
    """Whether static buckets pay on this backend, against pad to maximum and any size."""
    rows = [row for row in group["rows"] if row["measured"] and _comparable(group, row)]
    lists = [row for row in rows if row["name"] != "dynamic" and row["k"] and row["k"] > 1 and not row["over"]]
    rivals = [row for name in ("pad to max", "dynamic") if (row := _of(rows, name)) is not None]
    top = max(lists, key=lambda row: _rate(group, row), default=None)
    sizes = group["traffic"]["sizes"]
    if len(sizes) == 1:
        return f"All inputs have the size {axis_text(sizes)}: more than one bucket is of no use."
    if top is None or not rivals:
        over = any(row["over"] for row in rows)
        why = "none is within the limits" if over else "it takes one, and pad to maximum or any size, measured"
        return f"No list of several buckets can be compared: {why}."
    rate = _rate(group, top)
    ratios = {row["name"]: rate / _rate(group, row) for row in rivals}
    against = " and ".join(
        f"{ratios[row['name']]:.2f}x {_rival(row['name'])} ({number(_rate(group, row))})" for row in rivals
    )
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


def _comparable(group: Json, row: Json) -> bool:
    """Whether its latency and throughput are those of the traffic, or come near them."""
    return bool(group["traffic"]["own"] or row["measured"]["weights"] == "traffic")


def _rate(group: Json, row: Json) -> float:
    return float(row["measured"]["throughput_items_per_s" if group["traffic"]["own"] else "traffic_items_per_s"])


def _of(rows: Sequence[Json], name: str) -> Json | None:
    return next((row for row in rows if row["name"] == name), None)


def _rival(name: str) -> str:
    return {"pad to max": "pad to maximum", "dynamic": "dynamic sizes"}[name]


def _name(row: Json) -> str:
    return "any size" if row["buckets"] == "dynamic" else axis_text(row["buckets"])


def _headline(group: Json) -> list[Part]:
    sizes, weights = group["traffic"]["sizes"], group["traffic"]["weights"]
    ends = [axis_text([size]) for size in (sizes[0], sizes[-1])]
    between = ends[0] if len(sizes) == 1 else f"{ends[0]} to {ends[1]}"
    of = f"{count(round(sum(weights)), 'item')} of {group['traffic']['source']}, {count(len(sizes), 'size')}, {between}"
    return [
        (f"buckets of {group['label']}", "bold"),
        (paragraph(f"latency in ms of the request that an item is in; {of}"), "dim"),
    ]


def _lists(group: Json, width: int, brief: bool = False) -> Part:
    """One line for each list; columns where anything is known, as many as fit."""
    rows, top, own = group["rows"], best(group), group["traffic"]["own"]
    seen = [row["measured"] or {} for row in rows]
    expected = [row["predicted"] or {} for row in rows]

    def told(name: str, text: str = "") -> list[str]:
        """Measured where it was, else predicted."""
        of = [
            each.get(name) if each.get(name) is not None else hope.get(text)
            for each, hope in zip(seen, expected, strict=True)
        ]
        return [_blank(number(value)) for value in of]

    def shares(name: str, text: str = "") -> list[str]:
        of = [
            each.get(name) if each.get(name) is not None else hope.get(text)
            for each, hope in zip(seen, expected, strict=True)
        ]
        return [_blank(share(value)) for value in of]

    failed = any(row["status"] not in (None, "ok") for row in rows)
    builds = [str(row["k"] or 1) if row["measured"] else "" for row in rows]
    rate = "throughput_items_per_s" if own else "traffic_items_per_s"
    columns = [
        Column("", ["→" if row is top else "" for row in rows]),
        Column("k", [str(row["k"] or "") for row in rows], right=True),
        Column("buckets", [_name(row) for row in rows]),
        Column("", [_kind(row) for row in rows], spare=0 if failed else 1),
        Column("predicted", [_blank(number(each.get("item_latency_ms"))) for each in expected], right=True),
        Column("measured", [_blank(number(each.get("item_latency_ms_mean"))) for each in seen], right=True),
        Column("differs", [_differs(row) for row in rows], right=True),
        Column("beside", [_differs(row, "beside") for row in rows], right=True, spare=5),
        Column("p50", told("latency_ms_p50") if own else [], right=True, spare=6),
        Column("p99", told("latency_ms_p99") if own else [], right=True, spare=3),
        Column("padding", shares("padding", "padding"), right=True, spare=2),
        Column("of FLOPs", shares("padding_flops"), right=True, spare=9),
        Column("builds", builds, right=True, spare=12),
        Column("build s", told("build_seconds", "build_seconds"), right=True, spare=4),
        Column("MB", told("artifact_mb"), right=True, spare=7),
        Column("loaded MB", told("loaded_mb"), right=True, spare=8),
        Column("items/s", [_blank(number(each.get(rate))) for each in seen], right=True),
    ]
    if brief:
        columns = [
            c
            for c in columns
            if c.name in ("", "k", "buckets", "predicted", "measured", "differs", "padding", "items/s")
        ]
    styles = ["bold green" if row is top else "" if row["measured"] else _faint(row) for row in rows]
    return as_table(fitting([c for c in columns if not c.empty], width), styles, folding="buckets"), ""


def _kind(row: Json) -> str:
    """What a list is: a guess, found, asked for; or why it is not measured."""
    named = str(row["name"])
    kind = {"best": f"best of {row['k']}", "best before": "found before"}.get(named, named)
    if row["best_for_k"] and row["name"] != "best" and row["k"] > 1:
        kind = f"best of {row['k']}: {kind}"
    if row["over"]:
        kind += ", over the limit"
    return f"{kind}: {status_text(Status(row['status']))}" if row["status"] not in (None, "ok") else kind


def _faint(row: Json) -> str:
    return STYLES[Status(row["status"])] if row["status"] else "dim"


def _differs(row: Json, expected: str = "predicted") -> str:
    """Measured against predicted, or against what the guesses in the same blocks let expect (`beside`)."""
    if not row["measured"] or not row.get(expected):
        return ""
    ratio = row["measured"]["item_latency_ms_mean"] / row[expected]["item_latency_ms"]
    return f"{100 * (ratio - 1):+.1f} %"


def _blank(text: str) -> str:
    """Nothing for what is not known, and for nothing: a backend that leaves no artifact."""
    return "" if text in ("–", "0") else text


def _reasons(group: Json) -> list[Part]:
    """Why lists have no numbers."""
    return [
        (paragraph(f"{_name(row)}: {status_text(Status(row['status']))}: {one_line(row['reason'])}", 2), "red")
        for row in group["rows"]
        if row["status"] not in (None, "ok")
    ]


def _hope(row: Json) -> float:
    return float(row["predicted"]["item_latency_ms"]) if row["predicted"] else math.inf


def _said(group: Json, brief: bool = False) -> list[Part]:
    """What follows from the table, what limits leave out, and what is to be known before believing it."""
    parts: list[Part] = [(paragraph(f"→ {sentence(group)}"), "bold")]
    over = sorted((row for row in group["rows"] if row["over"]), key=_hope)
    for row in over[:1] if brief else over:
        better = f", {number(_hope(row))} ms" if row["predicted"] else ""
        parts.append((paragraph(f"beyond the limit: {_name(row)}{better}: {row['over']}"), "yellow"))
    if group["problem"]:
        parts.append((paragraph(group["problem"]), "yellow"))
    control = group["control"]
    if control and abs(control["moved"]) >= MOVED:
        again = axis_text(control["buckets"])
        moved = f"{100 * control['moved']:+.1f} %"
        text = f"the machine moved by {moved} meanwhile: {again} took {number(control['before_ms'])} ms when the curve"
        text += f" was measured, and {number(control['after_ms'])} ms beside the best lists"
        parts.append((paragraph(text), "dim"))
    parts += [(paragraph(text), "dim") for text in _beside(group)]
    if not group["traffic"]["own"]:
        text = f"measured on the data's sizes and weighted with the shares of {group['traffic']['source']}"
        lost = [_name(row) for row in group["rows"] if row["measured"] and not _comparable(group, row)]
        text += f", but for {', '.join(lost)}: the data's own mix" if lost else ""
        parts.append((paragraph(text), "dim"))
    if any(row["predicted"] and not row["predicted"]["exact"] and row["best_for_k"] for row in group["rows"]):
        parts.append(("not every combination was looked at: a list of as many buckets may be better", "dim"))
    return parts


def _beside(group: Json) -> list[str]:
    """How good the prediction of the best lists is without what the machine moved."""
    found = [row for row in group["rows"] if row["measured"] and row.get("beside")]
    rows = [
        min(found, key=lambda row: row["measured"]["item_latency_ms_mean"], default=None),
        min(found, key=lambda row: row["beside"]["item_latency_ms"], default=None),
    ]
    named = {_name(row): f"{_name(row)} by {_differs(row, 'beside')}" for row in rows if row is not None}
    if not named:
        return []
    return [f"from what the guesses took in the same minutes (beside): {' and '.join(named.values())}"]


def _buckets(row: Json, width: int) -> Part:
    """What each bucket of one list did."""
    told = row["measured"]["buckets"]
    items = sum(each["items"] for each in told) or 1

    def known(name: str) -> list[str]:
        return [_blank(number(each.get(name))) for each in told]

    def latency(name: str) -> list[str]:
        return [_blank(number((each.get("latency_ms") or {}).get(name))) for each in told]

    columns = [
        Column("bucket", [axis_text([each["bucket"]]) for each in told], right=True),
        Column("items", [f"{each['items']:,}" for each in told], right=True),
        Column("share", [share(each["items"] / items) for each in told], right=True),
        Column("requests", [f"{each['requests']:,}" for each in told], right=True, spare=4),
        Column("mean", known("latency_ms_mean"), right=True),
        Column("p50", latency("p50"), right=True, spare=1),
        Column("p90", latency("p90"), right=True, spare=6),
        Column("p99", latency("p99"), right=True, spare=1),
        Column("build s", known("build_seconds"), right=True, spare=3),
        Column("MB", known("artifact_mb"), right=True, spare=2),
        Column("loaded MB", known("memory_mb"), right=True, spare=5),
    ]
    return as_table(fitting([c for c in columns if not c.empty], width), [""] * len(told)), ""

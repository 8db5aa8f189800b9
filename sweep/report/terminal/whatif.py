"""What `best` shows beneath the verdict: prices, the hosts for a load, and what would change the choice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from sweep.report.names import find_varying, short_name
from sweep.report.terminal.layout import Column, as_table, fit_columns, paragraph
from sweep.spec import Json, Record, to_json
from sweep.text import count, list_some, number, share
from sweep.verdict.costs import prices

if TYPE_CHECKING:
    from sweep.report.terminal.layout import Part
    from sweep.spec.settings import Fleet
    from sweep.verdict.whatif.answers import Answer, Host, TrialFleet
    from sweep.verdict.whatif.flips import Steps

FLEETS = 5  # rows
FLEET_HEADS = ("items/s a host", "hosts", "load", "USD/h", "USD/month", "$/M items", "")


def make_parts(answer: Answer, flips: Sequence[Steps], fleet: Fleet, kind: str | None, width: int) -> list[Part]:
    """Everything beneath the verdict; empty if there is nothing to say."""
    labels = _names(answer.records)
    shown = [*_left_out(answer), *_prices(answer.hosts, kind), *_fleets(answer, fleet, labels, width)]
    shown += _flips(flips, labels)
    return [*shown, ("", "")] if shown else []


def _left_out(answer: Answer) -> list[Part]:
    return [
        (paragraph(f"left out   {list_some(labels, 1)}: {reason}"), "dim") for reason, labels in answer.left_out.items()
    ]


def _prices(hosts: Sequence[Host], kind: str | None) -> list[Part]:
    """One line for each hardware with a price, and one for those without; nothing if no price is known or asked."""
    known = [host for host in hosts if host.price is not None]
    parts: list[Part] = [("", "")] if known or kind else []
    for host in known:
        assert host.price is not None
        text = f"{host.price.usd_per_hour:.6g} USD/h as asked" if host.is_asked else prices.format_price(host.price)
        parts.append((paragraph(f"price      {host.name}: {text}"), "dim"))
    lacking = [host.name for host in hosts if host.price is None]
    if parts and lacking:
        what = f"no {kind} price" if kind else "no price"
        fix = f"price.{lacking[0]}=... sets one"
        parts.append((paragraph(f"price      {', '.join(lacking)}: {what} is known; {fix}"), "dim"))
    return parts


def _fleets(answer: Answer, fleet: Fleet, labels: Mapping[str, str], width: int) -> list[Part]:
    if fleet.items_per_s is None:
        return []
    title = describe_load(fleet)
    if not answer.fleets:
        return [("", ""), (f"{title}: no trial that meets the constraints has a rate", "")]
    chosen = answer.verdict.winner
    shown = list(answer.fleets[:FLEETS])
    shown += [option for option in answer.fleets[FLEETS:] if option.record.key == chosen]
    rows = [
        ("→" if option.record.key == chosen else "", labels[option.record.key], *format_fleet(option))
        for option in shown
    ]
    names = ("", "trial", *FLEET_HEADS)
    spares = (0, 0, 1, 0, 3, 2, 0, 4, 5)
    cells = list(zip(*rows, strict=True))
    columns = [
        Column(name, list(cell), right=place not in (0, 1, 8), spare=spares[place])
        for place, (name, cell) in enumerate(zip(names, cells, strict=True))
    ]
    kept = fit_columns([column for column in columns if not column.empty], width)
    parts: list[Part] = [("", ""), (paragraph(title), "bold"), (as_table(kept, [""] * len(rows)), "")]
    cheapest = answer.fleets[0]
    if chosen and cheapest.record.key != chosen and cheapest.hosts.usd_per_month is not None:
        text = f"the cheapest fleet is {labels[cheapest.record.key]}, because whole hosts are counted, spare ones too"
        parts.append((paragraph(text), ""))
    return parts


def describe_load(fleet: Fleet) -> str:
    """`hosts for 1,000 items/s, 20 % of each kept free, 1 host may be lost`; for a declared load."""
    spare = f"{count(fleet.spare_hosts, 'host')} may be lost"
    return f"hosts for {number(fleet.items_per_s)} items/s, {share(fleet.headroom)} of each kept free, {spare}"


def format_fleet(option: TrialFleet) -> tuple[str, ...]:
    """The cells of a fleet, in the order of `FLEET_HEADS`."""
    hosts = option.hosts
    hourly, monthly, million = hosts.usd_per_hour, hosts.usd_per_month, hosts.usd_per_million_items
    return (
        number(option.rate),
        f"{hosts.hosts:,}",
        share(hosts.load, 0),
        "" if hourly is None else f"{hourly:,.4g}",
        "unknown" if monthly is None else f"{monthly:,.0f}",
        "" if million is None else f"{million:.3g}",
        option.idle,
    )


def _names(records: Sequence[Record]) -> dict[str, str]:
    """Names by key, short ones as in the ranked table; labels if short names do not tell all trials apart."""
    axes = find_varying([record.settings for record in records])
    short = {record.key: short_name(record.settings, axes) for record in records}
    if len(records) > 1 and len(set(short.values())) == len(short):
        return short
    return {record.key: record.label for record in records}


def _flips(flips: Sequence[Steps], labels: Mapping[str, str]) -> list[Part]:
    if not any(steps.at for steps in flips):
        return []
    rows = [row for steps in flips for row in list_flips(steps, labels)]
    names = ("what would change the choice", "where", "then leads")
    columns = [Column(name, [str(row[place]) for row in rows]) for place, name in enumerate(names)]
    table = as_table(columns, ["dim" if row[3] else "" for row in rows], folding="then leads")
    parts: list[Part] = [("", ""), (table, "")]
    lost = sum(steps.unconfirmed for steps in flips)
    if lost:
        are = "is" if lost == 1 else "are"
        note = f"  {count(lost, 'further change')} could not be confirmed 1 % away and {are} not listed"
        parts.append((note, "dim"))
    return parts


def list_flips(steps: Steps, labels: Mapping[str, str]) -> list[tuple[str, str, str, bool]]:
    """(what changes, where, who leads there, whether that is now) for every interval between two flips."""
    named = f"{steps.what} limit" if steps.unit == "ms" else steps.what
    if steps.now is not None:
        named += f", now {number(steps.now)} {steps.unit}"
    elif steps.unit == "ms":
        named += ", now none"
    else:
        named += ", not known"
    edges = (0.0, *steps.at, math.inf)
    now = math.inf if steps.now is None and steps.unit == "ms" else steps.now
    here = -1 if now is None else sum(now >= edge for edge in steps.at)
    rows = []
    for place, key in enumerate(steps.keys):
        low, high = edges[place], edges[place + 1]
        if low == 0:
            where = f"below {number(high)} {steps.unit}"
        elif high == math.inf:
            where = f"from {number(low)} {steps.unit}"
        else:
            where = f"{number(low)} to {number(high)} {steps.unit}"
        if place and steps.ends and (ends := steps.ends[place - 1]):
            where += f" ({number(ends[0])} to {number(ends[1])})"
        who = labels.get(key, key) if key else "no trial"
        rows.append(("" if place else named, where, who + (" (now)" if place == here else ""), place == here))
    return rows


def to_plain(answer: Answer, flips: Sequence[Steps]) -> Json:
    """The same as JSON, for programs."""
    return {
        "verdict": to_json(answer.verdict),
        "prices": {host.name: None if host.price is None else to_json(host.price) for host in answer.hosts},
        "fleets": [
            {
                "key": option.record.key,
                "label": option.record.label,
                "items_per_s": option.rate,
                **to_json(option.hosts),
            }
            for option in answer.fleets
        ],
        "flips": [to_json(steps) for steps in flips],
        "left_out": {reason: list(labels) for reason, labels in answer.left_out.items()},
    }

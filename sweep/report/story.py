"""The short story beneath a verdict: the runner-up, the confidence, the noise of the machine, the load, the cost.

One line each, the same in the terminal and on the sweep's MLflow page. The verdict's own sentence is not repeated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from sweep.report.names import sort_ranked
from sweep.spec import Measurement, Origin, Record, Status, StopReason, metrics
from sweep.spec.metrics import COST
from sweep.text import count, count_range, number, percent, share, status_text, stop_text
from sweep.verdict.costs import money
from sweep.verdict.race import ranking_value

if TYPE_CHECKING:
    from sweep.spec.settings import Objective, Settings
    from sweep.verdict.select import Verdict

REUSED = Origin.REUSED.value
WIDTH = 8  # of the names
FOREIGN = 0.05  # share of the machine's CPU time that others may take before a line says so


@dataclass(frozen=True)
class Line:
    """One line; `warns` if it reports that something was not as it should be."""

    name: str
    text: str
    warns: bool = False


def describe(records: Sequence[Record], verdict: Verdict, settings: Settings) -> list[Line]:
    """The lines about a verdict, in the order in which a person asks; if nothing was measured only on what is known."""
    if verdict.parts:
        return _describe_parts(records, verdict, settings)
    leader, mistakes = find_leader(records, verdict), Line("mistakes", _mistakes(records), warns=True)
    if leader is None:
        return [mistakes] if mistakes.text else []
    story = [
        Line("next", _next(records, verdict, leader)),
        Line("sure", _sure(records, verdict, settings)),
        Line("rests on", verdict.rests),
        Line("noise", "; ".join(describe_noise(records).values()), warns=True),
        Line("load", _load(leader), warns=any(repeat.load.overloaded for repeat in leader.repeats if repeat.load)),
        Line("cost", _cost(leader, settings)),
        mistakes,
    ]
    return [line for line in story if line.text]


def _describe_parts(records: Sequence[Record], verdict: Verdict, settings: Settings) -> list[Line]:
    """The lines about each question, which they begin with, and those about the sweep."""
    lines: dict[Line, None] = {}
    for part, own in zip(verdict.parts, verdict.split(), strict=True):
        mine = [record for record in records if record.key in part.keys]
        for line in describe(mine, own, settings):
            lines[line if line.name == "noise" else Line(line.name, f"{part.question}: {line.text}", line.warns)] = None
    return list(lines)


def has_numbers(record: Record) -> bool:
    """Whether a trial was measured and its numbers count, even if it was stopped because enough was known of it."""
    return record.status is Status.OK or (record.status is Status.STOPPED and bool(record.metrics))


def sort_results(records: Sequence[Record], ranking: Sequence[str], objective: Objective) -> list[Record]:
    """The records as ranked; then those with numbers and no rank, by the objective; then the rest."""

    def place(record: Record) -> tuple[int, float]:
        if record.key in ranking:
            return 0, 0.0
        return (1, ranking_value(record, objective)) if has_numbers(record) else (2, 0.0)

    return sorted(sort_ranked(records, ranking), key=place)


def describe_state(record: Record, verdict: Verdict | None) -> str:
    """How a trial ended, in a word or two; of one that counts what the verdict makes of it.

    Args:
        verdict: None while there is none.
    """
    counts = record.status is Status.OK or (verdict is not None and record.key in verdict.ranking)
    if verdict is not None and counts:
        if record.key in verdict.chosen:
            return f"best, {REUSED}" if record.origin is Origin.REUSED else "best"
        if kind := next((own.kind for own in verdict.split() if record.key in own.tied), None):
            return "tie" if kind == "tie" else "undecided"
        if record.key in verdict.outside:
            return "excluded"  # over a limit, or it is not known whether it is
    if record.status is Status.STOPPED:
        return "ok" if counts else stop_text(record)
    text = status_text(record.status)
    if record.status is Status.OK:
        return text if record.origin is Origin.MEASURED else record.origin.value
    return f"{record.origin.value}, {text}" if record.origin is Origin.REPORTED else text


def comparable_numbers(record: Record) -> Mapping[str, float]:
    """The numbers of a trial that can be shown beside others; of a failed one only those of its builds."""
    if has_numbers(record):
        return record.numbers
    return {name: value for name, value in record.numbers.items() if metrics.find(name).of is metrics.Of.BUILD}


def find_leader(records: Sequence[Record], verdict: Verdict) -> Record | None:
    """The winner, or the leader while nothing is decided; of several questions the first. None if nobody qualifies."""
    if verdict.kind == "none":
        return None
    parts = [part for part in verdict.split() if part.kind != "none"]
    keys = [part.winner or next(iter((*part.tied, *part.ranking)), None) for part in parts]
    return next((record for key in keys for record in records if record.key == key), None)


def find_runner_up(records: Sequence[Record], verdict: Verdict) -> Record | None:
    """The best other trial that meets the constraints and was measured here; in a tie one that ties."""
    first = find_leader(records, verdict)
    by_key = {record.key: record for record in records}
    wanted = [*verdict.tied, *verdict.ranking, *(r.key for r in records if r.status is Status.STOPPED)]
    for key in dict.fromkeys(wanted):
        record = by_key.get(key)
        if (
            record is None
            or record is first
            or key in verdict.chosen
            or not has_numbers(record)
            or not _qualifies(record, verdict)
        ):
            continue
        if record.origin.is_evidence:
            return record
    return None


def _qualifies(record: Record, verdict: Verdict) -> bool:
    """Whether a trial meets the constraints, as far as is known."""
    missed = record.stop is StopReason.INFEASIBLE and record.key not in verdict.ranking
    return record.key not in verdict.outside and not missed


def _next(records: Sequence[Record], verdict: Verdict, leader: Record) -> str:
    """The runner-up and how far it is behind; empty while undecided, when the verdict itself says so."""
    second = find_runner_up(records, verdict)
    if second is None or verdict.kind == "undecided":
        return ""
    reason = verdict.reasons.get(second.key) or second.reason
    return f"{second.label}: {reason}" if reason else second.label


def _sure(records: Sequence[Record], verdict: Verdict, settings: Settings) -> str:
    """The confidence, and what it is about."""
    objective = settings.objective
    confidence = verdict.confidence or objective.confidence  # a race with many looks must be stricter
    rivals = [r for r in records if has_numbers(r) and r.repeats and _qualifies(r, verdict)]
    measured = count_range((len(record.repeats) for record in rivals), "repeat")
    if not measured:
        return ""
    measured += " each"
    text = f"{percent(confidence, 4)}, over all {len(rivals):,} trials that qualify"
    text = text if len(rivals) > 1 else "one trial that qualifies"
    if verdict.kind == "undecided":
        going = "" if settings.effort.repeats_max else "; effort=until_decided measures them until it is decided"
        return f"not yet: {measured}{going}"
    return f"{text}; {measured}, a difference of {percent(objective.margin, 3)} does not count"


def describe_noise(records: Sequence[Record]) -> dict[str, str]:
    """Sentences about a noisy machine, by `level`, the names of shares of CPU time, and `warmup`; empty if quiet."""
    repeats = [repeat for record in records if record.status is not Status.REJECTED for repeat in record.repeats]
    texts = {"level": _levels(repeats), **_others(repeats)}
    unsteady = sum(not repeat.warmup.get("stable", True) for repeat in repeats)
    if unsteady:
        texts["warmup"] = f"the warm-up did not settle in {unsteady:,} of {count(len(repeats), 'repeat')}"
    return {name: text for name, text in texts.items() if text}


def _levels(repeats: Sequence[Measurement]) -> str:
    """Speeds of the machine other than its usual one; the ranking is corrected for them."""
    levels = [repeat.level for repeat in repeats if repeat.level != 1.0]
    if not levels:
        return ""
    low, high = min(levels), max(levels)
    span = f"{low:.2f}x" if math.isclose(low, high, rel_tol=0.01) else f"{low:.2f}x to {high:.2f}x"
    return f"the machine ran at {span} of its usual speed in {len(levels):,} of {len(repeats):,} repeats: corrected for"


def _others(repeats: Sequence[Measurement]) -> dict[str, str]:
    """CPU time that other programs and the hypervisor took."""
    hosts = [repeat.host.known() for repeat in repeats]
    names = {"foreign_cpu_share": "other programs took", "steal_share": "the hypervisor took"}
    texts = {}
    for name, text in names.items():
        shares = [host[name] for host in hosts if name in host]
        if shares and max(shares) > FOREIGN:
            most = f"at most {share(max(shares))} in one repeat"
            texts[name] = f"{text} {share(median(shares))} of the CPU time ({most})"
    return texts


def _load(record: Record) -> str:
    """What arrived under an open load, and whether it could be served."""
    loads = [repeat.load for repeat in record.repeats if repeat.load is not None]
    rates = [load.rate for load in loads if load.rate is not None]
    if not rates:
        return ""
    text = f"{loads[0].scenario} at {number(median(rates))} items/s"
    left = sum(load.left for load in loads)
    if any(load.overloaded for load in loads):
        return f"{text} are more than it can serve: the queue grows, so latency depends on how long one measures"
    return f"{text}; {left:,} still waited when the windows ended" if left else text


def _mistakes(records: Sequence[Record]) -> str:
    """The known mistakes of the published rows among the records."""
    published = [record for record in records if record.source is not None and not record.origin.is_evidence]
    rows = Counter(name for record in published if record.source for name in record.source.mistakes)
    if not rows:
        return ""
    words = ", ".join(f"{name} ({number} of {len(published)})" for name, number in rows.items())
    return f"known of the sources of the published rows: {words}"


def _cost(record: Record, settings: Settings) -> str:
    """The cost of the chosen setup, and the hosts that the declared load takes."""
    rate, cost = money.find_rate(record.numbers), record.number(COST)
    hourly = money.break_even(rate, cost) if rate and cost is not None else None
    texts = []
    if cost is not None and hourly is not None:
        kind = f" ({settings.objective.price.replace('_', ' ')})" if settings.objective.price else ""
        texts.append(f"${number(cost)} per million items at ${number(hourly)} an hour{kind}")
    fleet = settings.fleet
    if fleet.items_per_s and rate:
        hosts = money.size_fleet(fleet.items_per_s, rate, hourly, fleet.headroom, fleet.spare_hosts)
        kept = f"{share(fleet.headroom)} kept free, {fleet.spare_hosts} may be lost"
        price = "" if hosts.usd_per_month is None else f", ${number(hosts.usd_per_month)} a month"
        texts.append(f"{number(fleet.items_per_s)} items/s take {count(hosts.hosts, 'host')} ({kept}){price}")
    return "; ".join(texts)

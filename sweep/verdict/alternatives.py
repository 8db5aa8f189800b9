"""What a verdict compares: alternatives that a person could choose between. Every verb and report goes by this module.

Question: trials are alternatives if they answer the same data under the same demand. The demand is what comes from
    outside and nobody can choose: how requests arrive, the rate that is offered, the service level. Model, backend,
    hardware, batch, cores, clients and waiting time can be chosen. Several questions get a verdict each.
    A published number of one model says nothing about another, so without measurements each model is a question.
Deployment: members that are measured together are one alternative, the deployment as a whole, which stands in a verdict
    under the key of its first member. Its rate is the sum of the members' rates, its latency that of the slowest
    member, and each member has to keep to the limits.
Enough: a trial needs `Record.min_requests` requests before it can be chosen. `offline` and `trace` play what there is
    once and whole: there a repeat is a pass, and the number of requests is what the data or the trace makes it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from sweep.spec import Measurement, Record, Status, StopReason, metrics
from sweep.spec.metrics import Better
from sweep.verdict.stats import intervals

CHOSEN = ("name", "concurrency", "max_wait_ms", "probes", "seed", "seconds")  # of a load: no part of the demand
RENAMED = {"closed": "saturate"}  # loads that had another name
PASSES = ("offline", "trace")  # loads that play all there is, once
SUMMED = (metrics.THROUGHPUT, metrics.CAPACITY, "build_seconds", "peak_memory_mb", "load_seconds", "artifact_mb")


@dataclass(frozen=True)
class Deployment(Record):
    """The members of a deployment as one record, which has their numbers together."""

    whole: tuple[Record, ...] = ()


def list_members(record: Record) -> tuple[Record, ...]:
    """The trials of an alternative: the members of a deployment, or the trial itself."""
    return record.whole if isinstance(record, Deployment) else (record,)


# --- questions --------------------------------------------------------------------------------------------------------


def group_questions(records: Sequence[Record]) -> dict[str, list[Record]]:
    """Records by the question that they answer, like `load.rate=50`; the name is empty where there is one question.

    A question that no trial answers with numbers that count is none: its trials are added to the first.
    """
    asked = [(_describe_question(record), record) for record in records]
    groups: dict[tuple[tuple[str, str], ...], list[Record]] = {}
    for question, record in asked:
        groups.setdefault(tuple(question.items()), []).append(record)
    answered = {name: group for name, group in groups.items() if _has_answer(group)}
    _add_published(answered)
    if len(answered) < 2:
        return {"": list(records)}
    rest = [record for group in groups.values() if not _has_answer(group) for record in group]
    next(iter(answered.values())).extend(rest)
    return _name_questions(answered)


def _has_answer(records: Sequence[Record]) -> bool:
    """Whether any of the trials has numbers that count."""
    return any(record.metrics and not record.status.is_failure for record in records)


def _describe_question(record: Record) -> dict[str, str]:
    """The data and the demand by the names of their settings."""
    members = [describe_demand(r.settings, r.overrides, r.load) for r in list_members(record)]
    names = dict.fromkeys(name for demand in members for name in demand)
    question = {name: " + ".join(dict.fromkeys(demand.get(name, "none") for demand in members)) for name in names}
    return question if record.origin.is_evidence else {**question, "model": str(record.settings.get("model") or "")}


def describe_demand(settings: Mapping[str, Any], overrides: Sequence[str], load: Mapping[str, Any]) -> dict[str, str]:
    """What nobody can choose of a trial, by the names of its settings."""
    own = [line.lstrip("+") for line in overrides if line.lstrip("+").startswith("data.")]
    name = str(load.get("name") or "saturate")
    demand = {"data": " ".join([str(settings.get("data") or ""), *sorted(own)]), "load": RENAMED.get(name, name)}
    own_load = {name: value for name, value in sorted(load.items()) if name not in CHOSEN}
    return demand | {
        f"load.{name}": f"{value:g}" if isinstance(value, float) else str(value) for name, value in own_load.items()
    }


def describe_load(record: Record) -> str:
    """The load of a trial as far as nobody can choose it: `load=poisson load.rate=50`."""
    demand = describe_demand({}, (), record.load)
    return " ".join(f"{name}={value}" for name, value in demand.items() if name != "data")


def _add_published(groups: dict[tuple[tuple[str, str], ...], list[Record]]) -> None:
    """Move published numbers beside the first measurements of the same model, where there are some."""
    for name in list(groups):
        model = dict(name).get("model")
        if model is None:
            continue
        ours = (own for own, of in groups.items() if "model" not in dict(own) and model in _list_models(of))
        if (own := next(ours, None)) is not None:
            groups[own].extend(groups.pop(name))


def _list_models(records: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(str(record.settings.get("model") or "") for record in records))


def _name_questions(groups: Mapping[tuple[tuple[str, str], ...], list[Record]]) -> dict[str, list[Record]]:
    """The groups under the settings in which their questions differ."""
    questions = [dict(name) for name in groups]
    names = dict.fromkeys(key for question in questions for key in question)
    differing = [key for key in names if len({question.get(key) for question in questions}) > 1]
    return {
        " ".join(f"{key}={dict(name)[key]}" for key in differing if key in dict(name)): group
        for name, group in sorted(groups.items(), key=lambda item: _order_question(dict(item[0])))
    }


def _order_question(question: Mapping[str, str]) -> tuple[bool, list[tuple[float, str]]]:
    """What was measured comes first."""
    return "model" in question, [_order(value) for value in question.values()]


def _order(value: str) -> tuple[float, str]:
    """Numbers by their size, before words."""
    try:
        return float(value), ""
    except ValueError:
        return math.inf, value


# --- deployments ------------------------------------------------------------------------------------------------------


def unite_deployments(records: Sequence[Record]) -> list[Record]:
    """The records with one for each deployment in the place of its members.

    A deployment of which a member has no numbers is no alternative: its other members count as stopped.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.deployment.group if record.deployment else record.key, []).append(record)
    united: list[Record] = []
    for group in groups.values():
        place = group[0].deployment
        if place is None or len(place.members) < 2 or isinstance(group[0], Deployment):
            united += group
        else:
            united += _unite(
                sorted(group, key=lambda r: r.deployment.member if r.deployment else 0), len(place.members)
            )
    return united


def _unite(members: Sequence[Record], count: int) -> list[Record]:
    usable = [record for record in members if record.metrics and (record.status is Status.OK or record.stop)]
    if len(usable) == count and len({record.status for record in members}) == 1:
        return [_make_deployment(members)]
    missing = [record for record in members if record not in usable]
    why = "; ".join(f"{r.label} {r.status.value.replace('_', ' ')}" for r in missing) or "its members ended differently"
    reason = f"its deployment is not whole: {why}"
    return [
        replace(r, status=Status.STOPPED, stop=StopReason.INCOMPLETE, reason=reason) if r.status is Status.OK else r
        for r in members
    ]


def _make_deployment(members: Sequence[Record]) -> Deployment:
    first = members[0]
    repeats = _unite_repeats(members)
    values = {field: getattr(first, field) for field in Record.__dataclass_fields__}
    values |= {
        "label": " + ".join(record.label for record in members),
        "metrics": _unite_metrics(members, repeats),
        "repeats": repeats,
    }
    return Deployment(**values, whole=tuple(members))


def _unite_repeats(members: Sequence[Record]) -> tuple[Measurement, ...]:
    """The repeats that every member has, each as one: rates add up, the slowest latency counts."""
    by_index = [{repeat.index: repeat for repeat in record.repeats} for record in members]
    common = sorted(set.intersection(*(set(repeats) for repeats in by_index)))
    return tuple(_unite_repeat([repeats[index] for repeats in by_index]) for index in common)


def _unite_repeat(together: Sequence[Measurement]) -> Measurement:
    names = set.intersection(*(set(repeat.latency_ms) for repeat in together))
    return replace(
        together[0],
        throughput_items_per_s=sum(repeat.throughput_items_per_s for repeat in together),
        requests=min(repeat.requests for repeat in together),
        items=sum(repeat.items for repeat in together),
        latency_ms_mean=max(repeat.latency_ms_mean for repeat in together),
        latency_ms={name: max(repeat.latency_ms[name] for repeat in together) for name in names},
        peak_memory_mb=sum(repeat.peak_memory_mb for repeat in together),
        samples="",  # there are several files
        outputs="",
    )


def _unite_metrics(members: Sequence[Record], repeats: Sequence[Measurement]) -> dict[str, float]:
    """The numbers that all members have: sums of rates and of what is spent, of the rest the worst."""
    shared = set.intersection(*(set(record.numbers) for record in members))
    known = {name: _unite_values(name, [record.numbers[name] for record in members]) for name in shared}
    rates = [repeat.throughput_items_per_s for repeat in repeats]
    if metrics.THROUGHPUT in known and len(rates) > 1:
        known[metrics.THROUGHPUT] = fmean(rates)
        intervals.add_ends(known, metrics.THROUGHPUT, intervals.mean_interval(rates))
    return known


def _unite_values(name: str, values: Sequence[float]) -> float:
    if name in SUMMED:
        return sum(values)
    if name.startswith(metrics.COST):  # one price for all: the costs go with the inverse of rates, which add up
        return 1 / sum(1 / value for value in values) if all(value > 0 for value in values) else 0.0
    base = name.removesuffix("_low").removesuffix("_high")
    return max(values) if metrics.find(base).better is Better.LOWER else min(values)


# --- enough requests --------------------------------------------------------------------------------------------------


def count_lacking_requests(record: Record) -> int:
    """Requests that a measured trial lacks before it can be chosen; 0 if it has enough."""
    if not record.origin.is_evidence or not record.repeats or record.load.get("name") in PASSES:
        return 0
    return max(0, record.min_requests - count_requests(record))


def count_requests(record: Record) -> int:
    """Requests in all repeats; of a deployment those of the member with the fewest."""
    return sum(repeat.requests for repeat in record.repeats)

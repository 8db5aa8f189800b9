"""Lists of buckets beside each other on the same traffic: predicted, measured, and which limit leaves one out.

Pure functions from records, traffic and searches to the groups of `buckets.json`. What is predicted holds for the
traffic's shares; a window holds what samples it happened to hold, and short batches hold fewer. So measured latencies
are weighted with the traffic's shares too: `weights` of a result says whether that was possible ("traffic") or the
window's own mix stands ("window").

Machines drift. The guesses are measured once more beside the lists that were found, in the same interleaved blocks, and
these are the numbers that are compared; what the first measurement says is in the curve and in what is predicted.
`control` has the powers of two before and after: how far the machine moved meanwhile. `beside` of a row says what the
guesses of the same blocks let expect of it: how good the prediction is on a machine that does not move.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

from sweep import backends
from sweep.spec import DYNAMIC, Buckets, Record, Status, Trial, UserError
from sweep.spec.facts import BucketFacts
from sweep.spec.settings import Bucketing
from sweep.verdict.buckets import bucketing
from sweep.verdict.buckets.bucketing import Choice, Curve, Point, Traffic
from sweep.verdict.buckets.cost import over
from sweep.verdict.buckets.measured import measured
from sweep.verdict.buckets.results import ANY_SIZE, ListGroup, ListResult, ListRow, Movement, Prediction, TrafficFacts

GRID = 8  # shapes on the cost curve, at most
POWERS, MAXIMUM, ANY, BEST, ASKED = "powers of two", "pad to max", ANY_SIZE, "best", "asked"
EARLIER = "best before"  # found with an earlier curve, and measured


@dataclass(frozen=True)
class Search:
    """What was found for traffic and a curve."""

    traffic: Traffic
    curve: Curve
    choices: tuple[Choice, ...]
    beyond: tuple[Choice, ...] = ()  # better ones that a limit excludes
    earlier: tuple[Choice, ...] = ()  # found with an earlier curve and measured, as they were predicted then
    problem: str = ""  # why there are no choices


@dataclass(frozen=True)
class Group:
    """Trials that are equal but for `buckets`."""

    trials: tuple[Trial, ...]
    traffic: Traffic
    source: str  # of the traffic: the data's name, or a file
    own: bool  # the traffic is the data's own: a window's mix comes near it
    settings: Bucketing
    search: Search | None = None  # of `buckets=auto`
    before: Mapping[str, Record] = field(default_factory=dict)  # of guesses, from the time of the curve


def guesses(trial: Trial, traffic: Traffic) -> dict[Buckets, str]:
    """What people guess, by name: powers of two that serve anything, pad to maximum, and any size where that can be.

    The first two are the cost curve too, and all are what the lists that are found have to be better than.
    """
    powers = bucketing.powers_of_two(traffic.largest)
    used = sorted({int(number) for number in bucketing.serve(traffic, powers)})
    named: dict[Buckets, str] = {bucketing.pad_to_max(traffic.largest): MAXIMUM}
    found = {tuple(powers[number] for number in used[-GRID:]): POWERS, **named}
    if backends.get(str(trial.backend["name"])).dynamic_sizes:
        found[DYNAMIC] = ANY
    return found


def find(traffic: Traffic, curve: Curve, settings: Bucketing) -> Search:
    """The best list for every number of buckets, and what the limits leave out."""
    known = limits_of(settings)
    free = bucketing.solve(traffic, curve, settings.max, objective=settings.minimise)
    if not known:
        return Search(traffic, curve, free)
    excluded = tuple(choice for choice in free if beyond(choice, known))
    try:
        memory, seconds = settings.memory_mb, settings.build_seconds
        choices = bucketing.solve(
            traffic, curve, settings.max, memory_mb=memory, build_seconds=seconds, objective=settings.minimise
        )
    except UserError as error:
        return Search(traffic, curve, (), excluded, problem=str(error))
    return Search(traffic, curve, choices, excluded)


def limits_of(settings: Bucketing) -> dict[str, float]:
    """The limits that are set."""
    limits = {"memory_mb": settings.memory_mb, "build_seconds": settings.build_seconds}
    return {name: limit for name, limit in limits.items() if limit is not None}


def curve_of(records: Sequence[Record], batch: int) -> Curve | None:
    """What a build costs by its shape, from every list that was measured; None where nothing was.

    Memory is what loading added where that is known of every build, else the size of the artifacts. With the first
    build that a process loads comes the runtime's own, so it is taken from later ones where two shapes or more have it.
    """
    rows = [row for record in records if record.status is Status.OK for row in enumerate(record.buckets)]
    rows = [(place, row) for place, row in rows if row.latency_ms_mean]
    loaded = all(row.memory_mb for _, row in rows)
    later = len({row.bucket for place, row in rows if place}) > 1
    by_size: dict[tuple[int, ...], list[tuple[bool, BucketFacts]]] = {}
    for place, row in rows:
        by_size.setdefault(row.bucket, []).append((bool(place) or not later, row))
    points = []
    for size, same in by_size.items():
        requests = sum(row.requests for _, row in same)
        seconds = sum(row.requests * (row.latency_ms_mean or 0.0) for _, row in same) / requests / 1000
        memory = [row.memory_mb if loaded else row.artifact_mb for alone, row in same if alone or not loaded]
        points.append(Point(size, seconds, _mean(memory), _mean([row.build_seconds for _, row in same])))
    return Curve(points, batch) if points else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def compare(group: Group, records: Mapping[str, Record]) -> ListGroup:
    """The lists of a group beside each other."""
    first = group.trials[0]
    own = [records[trial.key] for trial in group.trials if trial.key in records]
    curve = group.search.curve if group.search else _curve_of_lists(own, first.request_items)
    plain = replace(first, buckets=(), overrides=tuple(o for o in first.overrides if not o.startswith("buckets=")))
    beside = _curve_beside(group, records)
    rows = [_row(group, trial, records.get(trial.key), curve, beside) for trial in _listed(group)]
    sizes, weights = group.traffic.sizes.tolist(), group.traffic.weights.tolist()
    return ListGroup(
        label=plain.label,
        batch=first.request_items,
        auto=group.search is not None,
        minimise=group.settings.minimise,
        limits=limits_of(group.settings) if group.search else {},
        problem=group.search.problem if group.search else "",
        traffic=TrafficFacts(tuple(map(tuple, sizes)), tuple(weights), group.source, group.own),
        curve=tuple(curve.points) if curve else (),
        control=_control(group, records),
        rows=tuple(sorted(rows, key=lambda row: (row.k is None, row.k or 0, not row.best_for_k))),
    )


def _curve_of_lists(records: Sequence[Record], batch: int) -> Curve | None:
    """From the lists that a person asked for, where they have at least two shapes."""
    curve = curve_of(records, batch)
    return curve if curve and len({point.size for point in curve.points}) > 1 else None


def _curve_beside(group: Group, records: Mapping[str, Record]) -> Curve | None:
    """From what the guesses took when they were measured again; None where they were not, or not all."""
    first = group.trials[0]
    fixed = set(guesses(first, group.traffic)) - {DYNAMIC}
    shapes = [trial for trial in group.trials if trial.buckets in fixed]
    again = [records[trial.key] for trial in shapes if trial.key in group.before]
    return curve_of(again, first.request_items) if again and len(again) == len(shapes) else None


def _listed(group: Group) -> list[Trial]:
    """The trials of a group, and one for every list that was found and not measured."""
    found = {choice.buckets: None for choice in _all(group)}
    tried = {trial.buckets for trial in group.trials}
    more = [replace(group.trials[0], buckets=buckets) for buckets in found if buckets and buckets not in tried]
    return [*group.trials, *more]


def _all(group: Group) -> tuple[Choice, ...]:
    """What was found; of what was found twice, what was predicted before it was measured."""
    search = group.search
    return (*search.earlier, *search.choices, *search.beyond) if search else ()


def _row(group: Group, trial: Trial, record: Record | None, curve: Curve | None, beside: Curve | None) -> ListRow:
    buckets = trial.buckets or bucketing.pad_to_max(group.traffic.largest)
    chosen, earlier = (
        {choice.buckets for choice in choices}
        for choices in ((group.search.choices, group.search.earlier) if group.search else ((), ()))
    )
    names = guesses(trial, group.traffic)
    choice = next((c for c in _all(group) if c.buckets == buckets), None) or evaluated(group.traffic, curve, buckets)
    named = names.get(buckets) or (BEST if buckets in chosen else EARLIER if buckets in earlier else ASKED)
    seen = measured(record, trial, group.traffic, group.own) if record else None
    known = limits_of(group.settings) if group.search else {}
    then = evaluated(group.traffic, beside, buckets) if seen and buckets not in names else None
    return ListRow(
        buckets=ANY_SIZE if buckets == DYNAMIC else buckets,
        name=named if record or named != ASKED else BEST,
        k=None if buckets == DYNAMIC else len(buckets),
        best_for_k=buckets in chosen,
        over=beyond(choice, known) if choice else _dynamic_beyond(seen, known),
        predicted=predict(choice, trial.request_items) if choice else None,
        beside=Prediction(_item_latency_ms(then, trial.request_items)) if then else None,
        measured=seen,
        status=record.status if record else None,
        reason=record.reason if record else "",
        key=record.key if record else None,
    )


def evaluated(traffic: Traffic, curve: Curve | None, buckets: Buckets) -> Choice | None:
    """What a list is expected to cost; None for any size, without a curve, or where it does not hold the traffic."""
    if curve is None or buckets == DYNAMIC:
        return None
    try:
        return bucketing.evaluate(traffic, curve, buckets)
    except UserError:  # a file's traffic may hold larger sizes than a list that somebody asked for
        return None


def predict(choice: Choice, batch: int) -> Prediction:
    """What a row says of a list that was not measured yet; `batch`: items of a request."""
    return Prediction(
        item_latency_ms=_item_latency_ms(choice, batch),
        item_latency_ms_p99=choice.p99_seconds * 1000,
        padding=choice.waste,
        build_seconds=choice.build_seconds,
        memory_mb=choice.memory_mb,
        shares=choice.shares,
        exact=choice.exact,
    )


def _item_latency_ms(choice: Choice, batch: int) -> float:
    """The expected latency of the request that an item is in."""
    return choice.expected_seconds * batch * 1000


def beyond(choice: Choice, limits: Mapping[str, float]) -> str:
    """Which limit a list exceeds, in words; costs that are not known exceed none."""
    return over(choice, {name: limit for name, limit in limits.items() if getattr(choice, name) is not None})


def _dynamic_beyond(seen: ListResult | None, limits: Mapping[str, float]) -> str:
    """The same of one build for any size, for which nothing is predicted."""
    if seen is None:
        return ""
    memory = seen.loaded_mb or seen.artifact_mb
    cost = Choice((), 1, 0.0, 0.0, 0.0, seen.build_seconds, memory)
    return beyond(cost, limits)


def _control(group: Group, records: Mapping[str, Record]) -> Movement | None:
    """What was measured twice: how far the machine itself moved between the curve and the lists found from it."""
    twice = sorted((trial for trial in group.trials if trial.key in group.before), key=lambda t: -len(t.buckets))
    for trial in twice:  # powers of two before the others
        both = (
            measured(each, trial, group.traffic, group.own) for each in (group.before[trial.key], records[trial.key])
        )
        before, after = (seen.item_latency_ms_mean if seen else None for seen in both)
        if before and after:
            return Movement(trial.buckets, before, after, after / before - 1)
    return None

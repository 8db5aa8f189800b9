"""Lists of buckets beside each other on the same traffic: predicted, measured, and which limit leaves one out.

Pure functions from records, traffic and searches to the groups of `buckets.json`. Predictions hold for the traffic's
shares; a window holds the samples that it happened to hold, and short batches hold fewer. So measured latencies
are weighted with the traffic's shares too: `weights` of a result says whether that was possible ("traffic") or the
window's own mix stands ("window").

Machines drift. So the guesses are measured once more beside the lists that the search chose, in the same interleaved
blocks, and these numbers are compared; the first measurement is in the curve and in the predictions. `control` has the
powers of two before and after: how far the machine moved meanwhile. `beside` of a row is its prediction from the
guesses of the same blocks: how good the prediction is on a machine that does not move.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweep import backends
from sweep.spec import DYNAMIC, Buckets, Record, Status, Trial, UserError
from sweep.spec.facts import BucketFacts
from sweep.spec.settings import Bucketing
from sweep.verdict.buckets import bucketing
from sweep.verdict.buckets.cost import Choice, Curve, Point, describe_excess, evaluate, powers_of_two, serve
from sweep.verdict.buckets.measured import summarize_list
from sweep.verdict.buckets.results import ANY_SIZE, ListGroup, ListResult, ListRow, Movement, Prediction, TrafficFacts
from sweep.verdict.buckets.traffic import Traffic
from sweep.verdict.repeats import mean_known

GRID = 8  # shapes on the cost curve, at most
POWERS, MAXIMUM, ANY, BEST, REQUESTED = "powers of two", "pad to max", ANY_SIZE, "best", "asked"
EARLIER = "best before"  # chosen by an earlier curve, and measured


@dataclass(frozen=True)
class Search:
    """The lists that were chosen for traffic by a curve."""

    traffic: Traffic
    curve: Curve
    choices: tuple[Choice, ...]
    beyond: tuple[Choice, ...] = ()  # better ones that a limit excludes
    earlier: tuple[Choice, ...] = ()  # chosen by an earlier curve and measured, as they were predicted then
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

    @property
    def limits(self) -> dict[str, float]:
        """The limits that the search kept to; empty without one."""
        return collect_limits(self.settings) if self.search else {}


def list_guesses(trial: Trial, traffic: Traffic) -> dict[Buckets, str]:
    """What people guess, with its name: powers of two that serve any item, pad to maximum, any size if possible.

    The first two also give the cost curve. A list that is chosen has to be better than all of them.
    """
    powers = powers_of_two(traffic.largest)
    used = sorted({int(number) for number in serve(traffic, powers)})
    named: dict[Buckets, str] = {(traffic.largest,): MAXIMUM}
    guesses = {tuple(powers[number] for number in used[-GRID:]): POWERS, **named}
    if backends.get(str(trial.backend["name"])).dynamic_sizes:
        guesses[DYNAMIC] = ANY
    return guesses


def find(traffic: Traffic, curve: Curve, settings: Bucketing) -> Search:
    """The best list for every number of buckets, and what the limits leave out."""
    known = collect_limits(settings)
    free = bucketing.solve(traffic, curve, settings.max, objective=settings.minimise)
    if not known:
        return Search(traffic, curve, free)
    excluded = tuple(choice for choice in free if describe_excess(choice, known))
    try:
        memory, seconds = settings.memory_mb, settings.build_seconds
        choices = bucketing.solve(
            traffic, curve, settings.max, memory_mb=memory, build_seconds=seconds, objective=settings.minimise
        )
    except UserError as error:
        return Search(traffic, curve, (), excluded, problem=str(error))
    return Search(traffic, curve, choices, excluded)


def collect_limits(settings: Bucketing) -> dict[str, float]:
    """The limits that are set."""
    limits = {"memory_mb": settings.memory_mb, "build_seconds": settings.build_seconds}
    return {name: limit for name, limit in limits.items() if limit is not None}


def build_curve(records: Sequence[Record], batch: int) -> Curve | None:
    """What a build costs by its shape, from every list that was measured; None if none was.

    Memory is what loading added if that is known of every build, else the size of the artifacts. The first build that
    a process loads brings the runtime's own memory, so later ones are taken if they have two shapes or more.
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
        points.append(Point(size, seconds, mean_known(memory), mean_known([row.build_seconds for _, row in same])))
    return Curve(points, batch) if points else None


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
        limits=group.limits,
        problem=group.search.problem if group.search else "",
        traffic=TrafficFacts(tuple(map(tuple, sizes)), tuple(weights), group.source, group.own),
        curve=tuple(curve.points) if curve else (),
        control=_control(group, records),
        rows=tuple(sorted(rows, key=lambda row: (row.k is None, row.k or 0, not row.best_for_k))),
    )


def _curve_of_lists(records: Sequence[Record], batch: int) -> Curve | None:
    """From the lists that a person wrote, if they have at least two shapes."""
    curve = build_curve(records, batch)
    return curve if curve and len({point.size for point in curve.points}) > 1 else None


def _curve_beside(group: Group, records: Mapping[str, Record]) -> Curve | None:
    """From the second measurement of the guesses; None unless all have one."""
    first = group.trials[0]
    fixed = set(list_guesses(first, group.traffic)) - {DYNAMIC}
    shapes = [trial for trial in group.trials if trial.buckets in fixed]
    again = [records[trial.key] for trial in shapes if trial.key in group.before]
    return build_curve(again, first.request_items) if again and len(again) == len(shapes) else None


def _listed(group: Group) -> list[Trial]:
    """The trials of a group, and one for every list that was chosen and not measured."""
    chosen = {choice.buckets: None for choice in _list_choices(group)}
    tried = {trial.buckets for trial in group.trials}
    more = [replace(group.trials[0], buckets=buckets) for buckets in chosen if buckets and buckets not in tried]
    return [*group.trials, *more]


def _list_choices(group: Group) -> tuple[Choice, ...]:
    """All choices; of a list that was chosen twice, first the prediction from before it was measured."""
    search = group.search
    return (*search.earlier, *search.choices, *search.beyond) if search else ()


def _row(group: Group, trial: Trial, record: Record | None, curve: Curve | None, beside: Curve | None) -> ListRow:
    buckets = trial.buckets or (group.traffic.largest,)
    chosen = {choice.buckets for choice in group.search.choices} if group.search else set()
    earlier = {choice.buckets for choice in group.search.earlier} if group.search else set()
    names = list_guesses(trial, group.traffic)
    choice = next((c for c in _list_choices(group) if c.buckets == buckets), None) or evaluate_list(
        group.traffic, curve, buckets
    )
    named = names.get(buckets) or (BEST if buckets in chosen else EARLIER if buckets in earlier else REQUESTED)
    seen = summarize_list(record, trial, group.traffic, group.own) if record else None
    then = evaluate_list(group.traffic, beside, buckets) if seen and buckets not in names else None
    return ListRow(
        buckets=ANY_SIZE if buckets == DYNAMIC else buckets,
        name=named if record or named != REQUESTED else BEST,
        k=None if buckets == DYNAMIC else len(buckets),
        best_for_k=buckets in chosen,
        over=describe_excess(choice, group.limits) if choice else _describe_dynamic_excess(seen, group.limits),
        predicted=predict(choice, trial.request_items) if choice else None,
        beside=Prediction(_item_latency_ms(then, trial.request_items)) if then else None,
        measured=seen,
        status=record.status if record else None,
        reason=record.reason if record else "",
        key=record.key if record else None,
    )


def evaluate_list(traffic: Traffic, curve: Curve | None, buckets: Buckets) -> Choice | None:
    """What a list is expected to cost; None for any size, without a curve, or if it does not hold the traffic."""
    if curve is None or buckets == DYNAMIC:
        return None
    try:
        return evaluate(traffic, curve, buckets)
    except UserError:  # a file's traffic may have larger sizes than a list that somebody wrote
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


def _describe_dynamic_excess(seen: ListResult | None, limits: Mapping[str, float]) -> str:
    """The same for one build of any size, which has no prediction."""
    if seen is None:
        return ""
    memory = seen.loaded_mb or seen.artifact_mb
    cost = Choice((), 1, 0.0, 0.0, 0.0, seen.build_seconds, memory)
    return describe_excess(cost, limits)


def _control(group: Group, records: Mapping[str, Record]) -> Movement | None:
    """How far the machine moved between the curve and the lists chosen by it: from what was measured twice."""
    twice = sorted((trial for trial in group.trials if trial.key in group.before), key=lambda t: -len(t.buckets))
    for trial in twice:  # powers of two before the others
        both = (
            summarize_list(record, trial, group.traffic, group.own)
            for record in (group.before[trial.key], records[trial.key])
        )
        before, after = (seen.item_latency_ms_mean if seen else None for seen in both)
        if before and after:
            return Movement(trial.buckets, before, after, after / before - 1)
    return None

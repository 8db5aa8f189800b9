"""What a verdict says to a person: plain sentences with the numbers in them, one function for each thing to say."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.spec import Origin, Record, Status, metrics
from sweep.spec.metrics import Limit, Side, Unit
from sweep.spec.settings import Objective
from sweep.text import count, duration, percent, percent_range, plain, quantity
from sweep.verdict.buckets import metrics as bucket_metrics
from sweep.verdict.costs import money
from sweep.verdict.stats import intervals

# How much more the worse of two has of a metric that should be small, and how the worse and the better compare, by unit
AS_MUCH = {Unit.MS: ("takes", "long"), Unit.SECONDS: ("takes", "long"), Unit.USD: ("costs", "much")}
COMPARED = {
    **dict.fromkeys((Unit.ITEMS_PER_S, Unit.MS, Unit.SECONDS), ("slower", "faster")),
    Unit.USD: ("dearer", "cheaper"),
}
INTERVALS = 0.95  # confidence of the `_low` and `_high` of a metric: see statistics.summarize
MANY = 100  # more repeats than this are not worth counting


def not_ok(record: Record) -> str:
    """Why a trial has no result."""
    words = record.status.value.replace("_", " ")
    if record.status is Status.OK:
        return "no metrics were recorded"
    if record.failure is None:
        return f"{words}: {record.reason}" if record.reason else words
    return f"{words}: {record.failure.kind.value}: {record.failure.summary}"


def violates(limit: Limit, value: float) -> str:
    """How far a value is on the wrong side of its limit."""
    metric, side = limit.metric.name, "over" if limit.side is Side.MAX else "under"
    if limit.metric.unit is Unit.SHARE:
        by = f"{100 * abs(limit.excess(value)):.2g} points"
    else:
        by = percent(abs(limit.relative(value))) if limit.bound else quantity(metric, abs(value))
    return f"{metric} {quantity(metric, value)} is {by} {side} the limit of {quantity(metric, limit.bound)}"


def fragile(limit: Limit, end: float) -> str:
    metric = limit.metric.name
    return (
        f"Mind that {metric} keeps to its limit of {quantity(metric, limit.bound)} by its estimate only: "
        f"the interval reaches {quantity(metric, end)}."
    )


def wins(record: Record, second: Record | None, ratio: intervals.Ratio | None, objective: Objective) -> str:
    start = f"{record.label} wins: {_with_interval(record, objective)}"
    if second is None:
        return start + "; no other trial qualifies."
    factor = f"{_factor(record, second, ratio, objective):.3g}x"
    if objective.maximize:
        return f"{start}, {factor} the next ({second.label})."
    verb, amount = AS_MUCH.get(metrics.find(objective.metric).unit, ("has", "much"))
    return f"{start}; the next ({second.label}) {verb} {factor} as {amount}."


def ties(choice: Record, tied: Sequence[Record], safe: Sequence[Record], objective: Objective) -> str:
    rivals = [r for r in tied if r is not choice]
    margin = percent(objective.margin, 3)
    start = f"{choice.label}, {_with_interval(choice, objective)}, is chosen"
    if len(safe) == 1:
        return f"Tie: {start}: it is ahead of {_names(rivals)}, and nothing can be better by more than {margin}."
    metric = objective.tie_break
    mine = choice.number(metric)
    others = [value for r in safe if r is not choice and (value := r.number(metric)) is not None]
    if mine is None or not others or min(others) <= mine:
        why = f"being ahead ({metric} does not tell them apart)"
    else:
        why = f"for its smaller {metric}: {quantity(metric, mine)} against {quantity(metric, min(others))}"
    return f"Tie within {margin}: {start} over {_names(rivals)}, {why}."


def undecided(
    leader: Record,
    rivals: Sequence[Record],
    ratio: intervals.Ratio | None,
    objective: Objective,
    more: int,
    seconds: float | None = None,
) -> str:
    """`seconds`: that so many more repeats of them take in all."""
    names = _names([leader, *rivals])
    first = rivals[0]
    others = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
    start = (
        f"Not enough data: {leader.label} leads with {_with_interval(leader, objective)}, but {first.label} "
        f"({_distance(leader, first, ratio, objective)}){others} may be as good or better"
    )
    if more > MANY:
        return f"{start}; more than {MANY} more repeats would be needed, a larger objective.margin settles it sooner."
    about = "about" if ratio is not None else "at least"
    time = "" if seconds is None else f" (about {duration(seconds)})"
    return f"{start}; {about} {_repeats(more)} of {names}{time} would tell."


def left_out(count: int, trials: int) -> str:
    """After the verdict of a race: trials that were not measured to its end."""
    return f" {count} of {trials} trials were stopped early." if count else ""


def dominated(best: Record, ratio: intervals.Ratio, objective: Objective, confidence: float, repeats: int) -> str:
    """Why a race leaves a trial out; `ratio`: how many times better the best is."""
    its = ratio.inverse() if objective.maximize else ratio
    value, low, high = its.interval(confidence)
    share = f"{value:.3g}x [{low:.3g}, {high:.3g}] its {objective.metric}"
    return f"dominated by {best.label}: {share} after {count(repeats, 'repeat')}"


def nobody(records: Sequence[Record], nearest: tuple[Record, str] | None) -> str:
    """Nothing to choose: nothing ran, or nothing meets the constraints."""
    if nearest is not None:
        return f"No trial meets the constraints; {_nearest(nearest)}"
    if not records:
        return "Nothing to choose from: there are no trials."
    return f"Nothing to choose from: {_counts(records)}."


def _nearest(nearest: tuple[Record, str]) -> str:
    return f"the nearest is {nearest[0].label}: {nearest[1]}."


def _counts(records: Sequence[Record]) -> str:
    counts = Counter(r.status for r in records)
    return ", ".join(f"{counts[status]} {status.value.replace('_', ' ')}" for status in Status if counts[status])


def leads(record: Record, objective: Objective, more: int) -> str:
    return f"leads with {_with_interval(record, objective)}, but not surely: {_needs(more)}"


def behind(chosen: Record, record: Record, ratio: intervals.Ratio | None, objective: Objective) -> str:
    gap, interval = _gap(chosen, record, ratio, objective)
    return f"{gap} than {chosen.label} ({interval})"


def tied_with(
    chosen: Record, record: Record, ratio: intervals.Ratio | None, objective: Objective, qualifies: bool
) -> str:
    """`qualifies`: the tie-break could have chosen it."""
    metric = objective.tie_break
    mine, its = chosen.number(metric), record.number(metric)
    text = f"tied with {chosen.label} ({_distance(chosen, record, ratio, objective)})"
    if not qualifies:
        return f"{text}, but not surely within {percent(objective.margin, 3)} of the best"
    if mine is not None and its is not None and its > mine:
        return f"{text}, but its {metric} is {quantity(metric, its)} against {quantity(metric, mine)}"
    return f"{text}, and {metric} is no reason to prefer it"


def open_with(leader: Record, record: Record, ratio: intervals.Ratio | None, objective: Objective, more: int) -> str:
    needs = _needs(more)
    return f"not told apart from {leader.label} ({_distance(leader, record, ratio, objective)}): {needs}"


UNPROVEN = {
    Origin.REPORTED: "reported, no spread known",
    Origin.REPLAYED: "replayed: what was reported, no evidence",
}


def published(record: Record, chosen: Record | None, objective: Objective) -> str:
    """Of a number that somebody else reported; `chosen` is what ran here and is compared with."""
    value = quantity(objective.metric, record.number(objective.metric) or 0.0)
    text = f"{UNPROVEN[record.origin]}: {value}"
    if chosen is None:
        return text
    gap, _ = _gap(chosen, record, None, objective)
    return f"{text}, {gap} than {chosen.label} by that number alone"


def published_better(record: Record, objective: Objective) -> str:
    """After the verdict: a published number ranks above what was chosen."""
    value = quantity(objective.metric, record.number(objective.metric) or 0.0)
    return f"Reported as better, but not run here: {record.label}, {value} ({UNPROVEN[record.origin]})."


def only_published(records: Sequence[Record], objective: Objective) -> str:
    """The verdict where nothing was run: best by its published number, and no choice."""
    best, next_one = records[0], records[1] if len(records) > 1 else None
    value = quantity(objective.metric, best.number(objective.metric) or 0.0)
    if best.origin is Origin.REPLAYED and next_one is not None:
        value += f", {_factor(best, next_one, None, objective):.3g}x the next ({next_one.label})"
    return f"Nothing was run: the best {best.origin.value} number is {best.label}, {value} ({UNPROVEN[best.origin]})."


def no_published(records: Sequence[Record], nearest: tuple[Record, str] | None) -> str:
    """The verdict where nothing was run and no published number will do."""
    if nearest is not None:
        return f"Nothing was run, and no {nearest[0].origin.value} result meets the constraints; {_nearest(nearest)}"
    return f"Nothing was run: {_counts(records)}."


def _with_interval(record: Record, objective: Objective) -> str:
    metric = objective.metric
    value = record.number(metric) or 0.0
    low, high = record.number(metric + "_low"), record.number(metric + "_high")
    if low is None or high is None:
        low, high = _cost_ends(record, value) if metric == metrics.COST else (None, None)
    if low is None or high is None:
        return quantity(metric, value)
    return f"{quantity(metric, value)} ({percent(INTERVALS, 3)} interval {plain(low)} to {plain(high)})"


def _cost_ends(record: Record, cost: float) -> tuple[float | None, float | None]:
    """The interval of a cost, which goes with the inverse of the rate."""
    known = metrics.find(money.rate_metric(record.numbers))
    rate, low, high = (record.number(name) for name in known.names)
    return (cost * rate / high, cost * rate / low) if rate and low and high else (None, None)


def _factor(best: Record, other: Record, ratio: intervals.Ratio | None, objective: Objective) -> float:
    """How many times better the best is: by repeats, or by the metrics where repeats are too few."""
    if ratio is not None:
        return ratio.estimate
    mine, its = best.number(objective.metric) or 0.0, other.number(objective.metric) or 0.0
    mine, its = (mine, its) if objective.maximize else (its, mine)
    return mine / its if its else math.inf


def _gap(chosen: Record, record: Record, ratio: intervals.Ratio | None, objective: Objective) -> tuple[str, str]:
    """Like ("24 % slower", "95 % interval 22 to 26 %")."""
    worse, better = COMPARED.get(metrics.find(objective.metric).unit, ("worse", "better"))
    behind = _behind(_factor(chosen, record, ratio, objective), objective)
    word = worse if behind >= 0 else better
    if ratio is None:
        return f"{percent(abs(behind))} {word}", "too few repeats for an interval"
    ends = [_behind(end, objective) for end in ratio.interval(objective.confidence)[1:] if end is not None]
    low, high = sorted(ends if behind >= 0 else [-end for end in ends])
    interval = percent_range(low, high)
    if low < 0:  # "-6 to 55 % slower" is hard to read
        interval = f"{percent(-low)} {better if behind >= 0 else worse} to {percent(high)} {word}"
    return f"{percent(abs(behind))} {word}", f"{_sure(objective.confidence)} interval {interval}"


def _sure(confidence: float) -> str:
    """A confidence with two digits of what it leaves to err: 95 %, 99.55 %."""
    decimals = 1 - math.floor(math.log10(100 * (1 - confidence)))
    return f"{round(100 * confidence, decimals):.10g} %"


def _distance(chosen: Record, record: Record, ratio: intervals.Ratio | None, objective: Objective) -> str:
    return ", ".join(_gap(chosen, record, ratio, objective))


def _behind(factor: float, objective: Objective) -> float:
    """Share by which a trial is worse than one that is `factor` times better: slower by half, dearer by double."""
    return (1 - 1 / factor) if objective.maximize else factor - 1


def _names(records: Sequence[Record]) -> str:
    """At most two by name."""
    if len(records) <= 2:
        return " and ".join(r.label for r in records)
    return f"{records[0].label}, {records[1].label} and {len(records) - 2} more"


def _repeats(count: int) -> str:
    return "1 more repeat" if count == 1 else f"{count} more repeats"


def _needs(more: int) -> str:
    return f"more than {MANY} more repeats needed" if more > MANY else f"about {_repeats(more)} needed"


def happened(record: Record) -> list[str]:
    """What happened on the way to a result: attempts, other options, neighbours, a warm-up that did not settle."""
    lines = []
    for build in record.builds:
        tried = build.get("attempts") or ()
        differ = _differing([build, *tried]) if tried else ()
        lines += [f"build    {_options(one, differ)}: {one['failure']['summary']}" for one in tried]
        if tried and record.status is not Status.BUILD_FAILED:
            lines.append(f"build    {_options(build, differ)}: used")
    for attempt in record.attempts:
        lines.append(f"attempt  {attempt.kind.value} after {attempt.seconds:.1f} s: {attempt.summary}")
    lines += bucket_metrics.describe_buckets(record)
    if (place := record.deployment) is not None:
        others = [member["label"] for number, member in enumerate(place.members) if number != place.member]
        lines.append(f"beside   {', '.join(others)}; its first core is {place.first_core}")
    if record.unsteady_warmups:
        lines.append(f"warm-up  not steady in {record.unsteady_warmups} of {len(record.repeats)} repeats")
    return lines


def _differing(builds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options in which builds differ."""
    names = dict.fromkeys(name for build in builds for name in build["options"])
    return [name for name in names if len({repr(build["options"].get(name)) for build in builds}) > 1]


def _options(build: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(f"{name}={build['options'].get(name)}" for name in names)

"""What a verdict says to a person: plain sentences with the numbers in them, one function for each thing to say.

`ratio` is always how many times better the first of two trials is; None where repeats are too few to say.
"""

import math
from collections import Counter
from collections.abc import Sequence

from sweep.spec import Origin, Record, Status, metrics
from sweep.spec.metrics import Better, Limit, Side, Unit
from sweep.spec.settings import Objective
from sweep.text import count, duration, percent, percent_range, plain, quantity
from sweep.verdict.costs import money
from sweep.verdict.stats.intervals import Ratio

# How much more the worse of two has of a metric that should be small, and how the worse and the better compare, by unit
AS_MUCH = {Unit.MS: ("takes", "long"), Unit.SECONDS: ("takes", "long"), Unit.USD: ("costs", "much")}
COMPARED = {
    **dict.fromkeys((Unit.ITEMS_PER_S, Unit.MS, Unit.SECONDS), ("slower", "faster")),
    Unit.USD: ("dearer", "cheaper"),
}
UNPROVEN = {
    Origin.REPORTED: "reported, no spread known",
    Origin.REPLAYED: "replayed: what was reported, no evidence",
}
INTERVALS = 0.95  # confidence of the `_low` and `_high` of a metric: see `repeats.summarize`
QUESTIONS = 4  # whose verdicts a sentence has
MANY = 100  # more repeats than this are not worth counting


def tie_break_cost(record: Record, objective: Objective) -> float | None:
    """The number that a tie is broken by: smaller is better, so it is negative where more of the metric is better."""
    value = record.number(objective.tie_break)
    higher = metrics.find(objective.tie_break).better is Better.HIGHER
    return -value if value is not None and higher else value


# --- the verdict ------------------------------------------------------------------------------------------------------


def describe_winner(record: Record, second: Record | None, ratio: Ratio | None, objective: Objective) -> str:
    start = f"{record.label} wins: {_format_interval(record, objective)}"
    if second is None:
        return start + "; no other trial qualifies."
    factor, ends = f"{_factor(record, second, ratio, objective):.3g}x", _format_ratio_interval(ratio, objective)
    if objective.maximize:
        return f"{start}, {factor} the next ({second.label}{ends})."
    verb, amount = AS_MUCH.get(metrics.find(objective.metric).unit, ("has", "much"))
    return f"{start}; the next ({second.label}) {verb} {factor} as {amount}{ends}."


def describe_tie(choice: Record, tied: Sequence[Record], safe: Sequence[Record], objective: Objective) -> str:
    """`safe`: the trials that the tie-break chose from."""
    rivals = [r for r in tied if r is not choice]
    margin = percent(objective.margin, 3)
    start = f"{choice.label}, {_format_interval(choice, objective)}, is chosen"
    if len(safe) == 1:
        return f"Tie: {start}: it is ahead of {_names(rivals)}, and nothing can be better by more than {margin}."
    metric = objective.tie_break
    mine = tie_break_cost(choice, objective)
    others = [value for r in safe if r is not choice and (value := tie_break_cost(r, objective)) is not None]
    if mine is None or not others or min(others) <= mine:
        why = f"being ahead ({metric} does not tell them apart)"
    else:
        word = "smaller" if metrics.find(metric).better is Better.LOWER else "larger"
        values = f"{quantity(metric, abs(mine))} against {quantity(metric, abs(min(others)))}"
        why = f"for its {word} {metric}: {values}"
    return f"Tie within {margin}: {start} over {_names(rivals)}, {why}."


def describe_undecided(
    leader: Record,
    rivals: Sequence[Record],
    ratio: Ratio | None,
    objective: Objective,
    more: int,
    seconds: float | None = None,
) -> str:
    """`more`: repeats of each trial that should decide; `seconds`: what they take in all."""
    first = rivals[0]
    others = f" and {len(rivals) - 1} more" if len(rivals) > 1 else ""
    start = (
        f"Not enough data: {leader.label} leads with {_format_interval(leader, objective)}, but {first.label} "
        f"({_distance(leader, first, ratio, objective)}){others} may be as good or better"
    )
    if more > MANY:
        return f"{start}; more than {MANY} more repeats would be needed, a larger objective.margin settles it sooner."
    about = "about" if ratio is not None else "at least"
    time = "" if seconds is None else f" (about {duration(seconds)})"
    return f"{start}; {about} {count(more, 'more repeat')} of {_names([leader, *rivals])}{time} would tell."


def describe_left_out(stopped: int, trials: int) -> str:
    """After the verdict of a race: trials that were not measured to its end."""
    return f" {stopped} of {trials} trials were stopped early." if stopped else ""


def describe_published_better(record: Record, objective: Objective) -> str:
    """After the verdict: a published number ranks above the choice."""
    value = _format_value(record, objective)
    return f"Reported as better, but not run here: {record.label}, {value} ({_describe_unproven(record)})."


def describe_fragile(limit: Limit, end: float) -> str:
    """After the verdict: the choice meets a limit, but the worse `end` of its interval does not."""
    metric = limit.metric.name
    return (
        f"Mind that {metric} keeps to its limit of {quantity(metric, limit.bound)} by its estimate only: "
        f"the interval reaches {quantity(metric, end)}."
    )


def describe_several(parts: Sequence[tuple[str, str]]) -> str:
    """The verdict on several questions.

    Args:
        parts: by question its sentence.
    """
    shown = " ".join(f"{question}: {sentence}" for question, sentence in parts[:QUESTIONS])
    more = f" And {count(len(parts) - QUESTIONS, 'more question')}." if len(parts) > QUESTIONS else ""
    return f"{len(parts):,} questions, whose trials are no alternatives to each other. {shown}{more}"


def describe_few_requests(record: Record) -> str:
    """Why a measured trial cannot be chosen, and what to change."""
    sent = sum(repeat.requests for repeat in record.repeats)
    seconds = math.fsum(repeat.window_seconds for repeat in record.repeats)
    each = seconds / sent / len(record.repeats) if sent else 0.0
    fix = f"effort.window_seconds={_round_up(each * record.min_requests):g} or " if each else ""
    return (
        f"{count(sent, 'request')} in {count(len(record.repeats), 'repeat')}, and effort.min_requests="
        f"{record.min_requests} are needed to be chosen: {fix}a smaller batch gives them"
    )


def describe_shortage(record: Record, objective: Objective) -> str:
    """The verdict where all that meet the constraints have too few requests."""
    value = _format_interval(record, objective)
    return f"Not enough data: {record.label} leads with {value}, but has {describe_few_requests(record)}."


def describe_short_better(record: Record, objective: Objective) -> str:
    """After the verdict: a trial with too few requests ranks above the choice."""
    value = _format_value(record, objective)
    return f"Not counted: {record.label}, {value}, has {describe_few_requests(record)}."


def describe_overload(record: Record) -> str:
    """Why a trial does not serve the load that it was offered."""
    rate = record.number("arrival_rate_items_per_s")
    offered = f"the {quantity('arrival_rate_items_per_s', rate)} that arrive" if rate else "what arrives"
    return f"it cannot serve {offered}: the queue grows"


def describe_unconfirmed(record: Record, level_ms: float, p99_ms: float) -> str:
    """Why a capacity is not believed."""
    rate = quantity(metrics.CAPACITY, record.number(metrics.CAPACITY) or 0.0)
    return (
        f"its windows at {rate} have a p99 of {quantity('latency_ms_p99', p99_ms)}, load.slo_p99_ms is {level_ms:g}: "
        "the rate was not sustained, more load.probes or a larger effort.window_seconds find a lower one"
    )


def describe_nobody(records: Sequence[Record], nearest: tuple[Record, str] | None) -> str:
    """The verdict where nothing ran, or nothing meets the constraints.

    Args:
        nearest: the trial that misses them least, and what it misses.
    """
    if nearest is not None:
        return f"No trial meets the constraints; {_describe_nearest(nearest)}"
    if not records:
        return "Nothing to choose from: there are no trials."
    return f"Nothing to choose from: {_count_by_status(records)}."


def describe_only_published(records: Sequence[Record], objective: Objective) -> str:
    """The verdict where nothing was run: the best published number, and no choice."""
    best, second = records[0], records[1] if len(records) > 1 else None
    value = _format_value(best, objective)
    if best.origin is Origin.REPLAYED and second is not None:
        value += f", {_factor(best, second, None, objective):.3g}x the next ({second.label})"
    return (
        f"Nothing was run: the best {best.origin.value} number is {best.label}, {value} ({_describe_unproven(best)})."
    )


def describe_no_published(records: Sequence[Record], nearest: tuple[Record, str] | None) -> str:
    """The verdict where nothing was run and no published number meets the constraints."""
    if nearest is not None:
        origin = nearest[0].origin.value
        return f"Nothing was run, and no {origin} result meets the constraints; {_describe_nearest(nearest)}"
    return f"Nothing was run: {_count_by_status(records)}."


# --- why not this one -------------------------------------------------------------------------------------------------


def describe_no_result(record: Record) -> str:
    words = record.status.value.replace("_", " ")
    if record.status is Status.OK:
        return "no metrics were recorded"
    if record.failure is None:
        return f"{words}: {record.reason}" if record.reason else words
    return f"{words}: {record.failure.kind.value}: {record.failure.summary}"


def describe_violation(limit: Limit, value: float) -> str:
    """How far a value is on the wrong side of its limit."""
    metric, side = limit.metric.name, "over" if limit.side is Side.MAX else "under"
    if limit.metric.unit is Unit.SHARE:
        by = f"{100 * abs(limit.excess(value)):.2g} points"
    else:
        by = percent(abs(limit.relative(value))) if limit.bound else quantity(metric, abs(value))
    return f"{metric} {quantity(metric, value)} is {by} {side} the limit of {quantity(metric, limit.bound)}"


def describe_dominated(best: Record, ratio: Ratio, objective: Objective, confidence: float, repeats: int) -> str:
    """Why a race leaves a trial out."""
    inverse = ratio.inverse() if objective.maximize else ratio
    value, low, high = inverse.interval(confidence)
    share = f"{value:.3g}x [{low:.3g}, {high:.3g}] its {objective.metric}"
    return f"dominated by {best.label}: {share} after {count(repeats, 'repeat')}"


def describe_leader(record: Record, objective: Objective, more: int) -> str:
    """Why the trial that leads is not chosen."""
    return f"leads with {_format_interval(record, objective)}, but not surely: {_describe_needs(more)}"


def describe_behind(chosen: Record, record: Record, ratio: Ratio | None, objective: Objective) -> str:
    gap, interval = _gap(chosen, record, ratio, objective)
    return f"{gap} than {chosen.label} ({interval})"


def describe_tied(chosen: Record, record: Record, ratio: Ratio | None, objective: Objective, qualifies: bool) -> str:
    """`qualifies`: the tie-break could have chosen it."""
    metric = objective.tie_break
    best, other = tie_break_cost(chosen, objective), tie_break_cost(record, objective)
    text = f"tied with {chosen.label} ({_distance(chosen, record, ratio, objective)})"
    if not qualifies:
        return f"{text}, but not surely within {percent(objective.margin, 3)} of the best"
    if best is not None and other is not None and other > best:
        return f"{text}, but its {metric} is {quantity(metric, abs(other))} against {quantity(metric, abs(best))}"
    return f"{text}, and {metric} is no reason to prefer it"


def describe_open(leader: Record, record: Record, ratio: Ratio | None, objective: Objective, more: int) -> str:
    distance = _distance(leader, record, ratio, objective)
    return f"not told apart from {leader.label} ({distance}): {_describe_needs(more)}"


def describe_published(record: Record, chosen: Record | None, objective: Objective) -> str:
    """A number that somebody else reported, beside the `chosen` trial that ran here."""
    text = f"{_describe_unproven(record)}: {_format_value(record, objective)}"
    if chosen is None:
        return text
    gap, _ = _gap(chosen, record, None, objective)
    return f"{text}, {gap} than {chosen.label} by that number alone"


def _describe_unproven(record: Record) -> str:
    """What is to be known about a published number, with the known mistakes of its source."""
    mistakes = record.source.mistakes if record.source else ()
    return UNPROVEN[record.origin] + (f"; known mistakes: {', '.join(mistakes)}" if mistakes else "")


# --- parts of sentences -----------------------------------------------------------------------------------------------


def _describe_nearest(nearest: tuple[Record, str]) -> str:
    return f"the nearest is {nearest[0].label}: {nearest[1]}."


def _count_by_status(records: Sequence[Record]) -> str:
    counts = Counter(r.status for r in records)
    return ", ".join(f"{counts[status]} {status.value.replace('_', ' ')}" for status in Status if counts[status])


def _format_value(record: Record, objective: Objective) -> str:
    return quantity(objective.metric, record.number(objective.metric) or 0.0)


def _format_interval(record: Record, objective: Objective) -> str:
    """The value with its interval, where that is known."""
    metric = objective.metric
    low, high = record.number(metric + "_low"), record.number(metric + "_high")
    if (low is None or high is None) and metric == metrics.COST:
        low, high = _cost_interval(record, record.number(metric) or 0.0)
    value = _format_value(record, objective)
    if low is None or high is None:
        return value
    if low <= 0:  # cut: the repeats scatter so much that the interval of their mean reaches below 0
        return f"{value} ({percent(INTERVALS, 3)} interval up to {plain(high)}: the repeats scatter)"
    return f"{value} ({percent(INTERVALS, 3)} interval {plain(low)} to {plain(high)})"


def _cost_interval(record: Record, cost: float) -> tuple[float | None, float | None]:
    """A cost goes with the inverse of the rate, and so does its interval."""
    known = metrics.find(money.find_rate_metric(record.numbers))
    rate, low, high = (record.number(name) for name in known.names)
    return (cost * rate / high, cost * rate / low) if rate and low and high else (None, None)


def _format_ratio_interval(ratio: Ratio | None, objective: Objective) -> str:
    """The interval of the ratio that decides, at the confidence of the verdict; empty where it is not known."""
    if ratio is None:
        return ""
    _, low, high = ratio.interval(objective.confidence)
    if low is None or high is None:
        return ""
    return f"; {_format_confidence(objective.confidence)} interval {_format_factors(low, high)}"


def _format_factors(low: float, high: float) -> str:
    """`1.27x to 1.33x`, with as many digits as tell the ends apart."""
    digits = next((n for n in range(3, 9) if f"{low:.{n}g}" != f"{high:.{n}g}"), 3)
    return f"{low:.{digits}g}x to {high:.{digits}g}x"


def _round_up(value: float) -> float:
    """Two significant digits, never less than the value."""
    step = 10.0 ** (math.floor(math.log10(value)) - 1)
    return round(math.ceil(round(value / step, 6)) * step, 9)


def _factor(best: Record, other: Record, ratio: Ratio | None, objective: Objective) -> float:
    """How many times better the best is: by repeats, or by the metrics where repeats are too few."""
    if ratio is not None:
        return ratio.estimate
    numbers = best.number(objective.metric) or 0.0, other.number(objective.metric) or 0.0
    larger, smaller = numbers if objective.maximize else numbers[::-1]
    return larger / smaller if smaller else math.inf


def _gap(chosen: Record, record: Record, ratio: Ratio | None, objective: Objective) -> tuple[str, str]:
    """Like ("24 % slower", "95 % interval 22 to 26 %")."""
    worse, better = COMPARED.get(metrics.find(objective.metric).unit, ("worse", "better"))
    behind = _share_behind(_factor(chosen, record, ratio, objective), objective)
    word = worse if behind >= 0 else better
    if ratio is None:
        return f"{percent(abs(behind))} {word}", "too few repeats for an interval"
    ends = [_share_behind(end, objective) for end in ratio.interval(objective.confidence)[1:] if end is not None]
    low, high = sorted(ends if behind >= 0 else [-end for end in ends])
    interval = percent_range(low, high)
    if low < 0:  # "-6 to 55 % slower" is hard to read
        interval = f"{percent(-low)} {better if behind >= 0 else worse} to {percent(high)} {word}"
    return f"{percent(abs(behind))} {word}", f"{_format_confidence(objective.confidence)} interval {interval}"


def _format_confidence(confidence: float) -> str:
    """With two digits of what it leaves to err: 95 %, 99.55 %."""
    decimals = 1 - math.floor(math.log10(100 * (1 - confidence)))
    return f"{round(100 * confidence, decimals):.10g} %"


def _distance(chosen: Record, record: Record, ratio: Ratio | None, objective: Objective) -> str:
    return ", ".join(_gap(chosen, record, ratio, objective))


def _share_behind(factor: float, objective: Objective) -> float:
    """Share by which a trial is worse than one that is `factor` times better: slower by half, dearer by double."""
    return (1 - 1 / factor) if objective.maximize else factor - 1


def _names(records: Sequence[Record]) -> str:
    """At most two by name."""
    if len(records) <= 2:
        return " and ".join(r.label for r in records)
    return f"{records[0].label}, {records[1].label} and {len(records) - 2} more"


def _describe_needs(more: int) -> str:
    return f"more than {MANY} more repeats needed" if more > MANY else f"about {count(more, 'more repeat')} needed"

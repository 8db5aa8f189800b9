"""How the trials that meet the constraints compare with the one that leads, and what that decides.

Two trials are compared by the ratio of their repeats (`statistics.ratio`), paired by block where both were measured in
the same ones.

A race (`effort=until_decided`) has several looks, and each look could name a false winner. Look j may spend the share
1 / (j (j + 1)) of the error alpha; all shares add up to at most 1 (error spending: Lan and DeMets 1983, Biometrika
70:659-663; a union bound, so looks may depend on each other in any way). Half of the error is for leaving trials out,
half for the verdict: see `elimination`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from sweep.spec import Measurement, Origin, Record, metrics
from sweep.spec.settings import Effort, Objective
from sweep.verdict import spread, wording
from sweep.verdict.costs import money
from sweep.verdict.stats import intervals


def plan_looks(effort: Effort) -> list[int]:
    """Repeats of every trial at each look of a race: half as many more from one to the next, like 3, 5, 8, 12."""
    most = max(effort.repeats, effort.repeats_max or 0)
    looks = [effort.repeats]
    while looks[-1] < most:
        looks.append(min(most, max(looks[-1] + 1, math.ceil(1.5 * looks[-1]))))
    return looks


def confidence_at(confidence: float, look: int, claims: int = 1) -> float:
    """Confidence of each of `claims` simultaneous claims at look 1, 2, ... of a race.

    Claims of one kind (who is left out; the verdict) have half of 1 - confidence in all looks together.
    """
    return 1 - (1 - confidence) / 2 / (look * (look + 1)) / claims


def verdict_confidence(records: Sequence[Record], objective: Objective) -> float:
    """The confidence of a verdict: the objective's, or after a race that of its last look."""
    look = max((r.look for r in records), default=0)
    return confidence_at(objective.confidence, look) if look else objective.confidence


class Race:
    """The trials that meet the constraints, leader first, and how they compare."""

    def __init__(self, records: Sequence[Record], objective: Objective) -> None:
        self.leader, *self.others = records
        self.objective = objective
        self.rank = {r.key: number for number, r in enumerate(records)}
        self._values = {r.key: repeat_values(r, objective.metric) for r in records}
        self._ratios: dict[str, intervals.Ratio | None] = {}
        self._ratios = {r.key: self.compare(self.leader, r) for r in self.others}

    def compare(self, a: Record, b: Record) -> intervals.Ratio | None:
        """How many times better a is than b; None: too few repeats to say."""
        if a is self.leader and b.key in self._ratios:
            return self._ratios[b.key]
        return compare(a, b, self.objective, self._values)

    def beaten(self, record: Record, confidence: float | None = None) -> bool:
        """The leader is surely better than this one."""
        return lower_end(self._ratios[record.key], confidence or self.objective.confidence) > 0

    def negligible(self, record: Record) -> bool:
        """The difference from the leader, whatever its sign, is surely within the margin."""
        return is_negligible(self._ratios[record.key], self.objective)

    def more_repeats(self, rivals: Sequence[Record]) -> dict[str, int]:
        """About how many more repeats of the leader and each of its rivals would decide."""
        wanted: dict[str, int] = {}
        for rival in rivals:
            have = min(len(self.leader.repeats), len(rival.repeats))
            ratio, goal = self._ratios[rival.key], self.objective
            total = 3  # the least that says anything about a spread, where there is none to go by
            if ratio is not None:
                total = intervals.repeats_to_decide(ratio, goal.margin, goal.confidence, len(rivals))
            wanted[rival.key] = max(1, total - have)
        return {self.leader.key: max(wanted.values()), **wanted}


@dataclass(frozen=True)
class Decision:
    kind: str  # winner | tie | undecided
    choice: Record | None
    tied: Sequence[Record]
    sentence: str
    more: Mapping[str, int] = field(default_factory=dict)
    more_seconds: float | None = None
    safe: Sequence[Record] = ()  # with a tie: those that the tie-break chose from


def decide(race: Race, stopped: Record | None = None) -> Decision:
    """What the comparisons show at the confidence of the objective.

    Args:
        stopped: the best trial that left the race, named as the next if nobody else is in it.
    """
    open_ones = [r for r in race.others if not race.beaten(r)]
    close = [r for r in race.others if not race.beaten(r) or race.negligible(r)]
    safe = _find_safe(race, close) if close else []
    if not open_ones and len(safe) < 2:
        next_one = race.others[0] if race.others else stopped
        ratio = compare(race.leader, next_one, race.objective) if next_one else None
        return Decision(
            "winner", race.leader, (), wording.describe_winner(race.leader, next_one, ratio, race.objective)
        )
    if safe:
        choice = min(safe, key=lambda r: (_tie_break_value(r, race.objective), race.rank[r.key]))
        tied = [race.leader, *close]
        return Decision("tie", choice, tied, wording.describe_tie(choice, tied, safe, race.objective), safe=safe)
    more = race.more_repeats(open_ones)
    seconds = _estimate_seconds(more, [race.leader, *open_ones])
    ratio = race.compare(race.leader, open_ones[0])
    sentence = wording.describe_undecided(race.leader, open_ones, ratio, race.objective, max(more.values()), seconds)
    return Decision("undecided", None, [race.leader, *open_ones], sentence, more, seconds)


def _find_safe(race: Race, close: Sequence[Record]) -> list[Record]:
    """The leader and its close rivals that nobody can beat by more than the margin; empty if the leader is not one.

    Half of the error goes into leaving trials out of the race, half into the claims about those that are in it.
    """
    alpha, floor = 1 - race.objective.confidence, -math.log1p(race.objective.margin)
    near = {r.key for r in close}
    rivals = [r for r in race.others if r.key in near or not race.beaten(r, 1 - alpha / len(race.others))]
    confidence = 1 - alpha / len(rivals)

    def safe(candidate: Record) -> bool:
        against = [r for r in (race.leader, *rivals) if r is not candidate]
        return all(lower_end(race.compare(candidate, r), confidence) > floor for r in against)

    return [race.leader, *filter(safe, close)] if safe(race.leader) else []


def compare(
    a: Record, b: Record, objective: Objective, known: Mapping[str, intervals.Values] | None = None
) -> intervals.Ratio | None:
    """How many times better a is than b, by their repeats; None: too few to say.

    Args:
        known: `repeat_values` by key, where the caller has them.
    """
    values = known or {}
    first = values[a.key] if a.key in values else repeat_values(a, objective.metric)
    second = values[b.key] if b.key in values else repeat_values(b, objective.metric)
    if _block_identity(a) != _block_identity(b) or a.origin is not Origin.MEASURED:
        # Equal indexes mean the same block only among what was interleaved; elsewhere they are a coincidence.
        first, second = intervals.drop_indexes(first), intervals.drop_indexes(second)
    else:
        first, second = _keep_common(first, second)
    ratio = intervals.ratio(first, second)
    return ratio if ratio is None or objective.maximize else ratio.inverse()


def compare_moderated(
    best: Record, others: Sequence[Record], objective: Objective, values: Mapping[str, intervals.Values]
) -> dict[str, intervals.Ratio]:
    """How many times better `best` is than each other trial, with spreads estimated from all of them; see `spread`.

    Empty if they were not measured in the same blocks, or are too few.

    Args:
        values: `repeat_values` by key, of all.
    """
    together = [r for r in others if best.origin is Origin.MEASURED and _block_identity(r) == _block_identity(best)]
    ratios = spread.moderate(best.key, {r.key: values[r.key] for r in (best, *together)})
    return ratios if objective.maximize else {key: ratio.inverse() for key, ratio in ratios.items()}


def lower_end(ratio: intervals.Ratio | None, confidence: float) -> float:
    """Lower end of the logarithm of a ratio; minus infinity where nothing is known."""
    return -math.inf if ratio is None else ratio.log_interval(confidence)[0]


def is_negligible(ratio: intervals.Ratio | None, objective: Objective) -> bool:
    """Whether two trials surely differ by no more than the margin."""
    return ratio is not None and ratio.is_within(objective.margin, (1 + objective.confidence) / 2)


def repeat_values(record: Record, metric: str) -> intervals.Values:
    """The metric in each repeat, by repeat index; empty where repeats do not have it.

    A list without indexes if two repeats share one, as after merging the results of two sweeps. What a repeat lost or
    won by a change of the machine's speed (its `level`) is taken out.
    """
    known = [(m.index, value) for m in record.repeats if (value := _value_at_level(record, m, metric)) is not None]
    by_index = dict(known)
    return by_index if len(by_index) == len(known) else [value for _, value in known]


def ranking_value(record: Record, objective: Objective) -> float:
    """The number that trials are ranked by, smaller is better; infinite if it is not known."""
    value = record.number(objective.metric)
    if value is None:
        return math.inf
    value *= _correction(record, objective.metric)
    return -value if objective.maximize else value


def _correction(record: Record, metric: str) -> float:
    """The factor on a metric that corrects its repeats for the machine's speed; 1 if that never changed."""
    if all(m.level == 1.0 for m in record.repeats):
        return 1.0
    raw = [value for m in record.repeats if (value := _repeat_value(record, m, metric)) is not None]
    right = [value for m in record.repeats if (value := _value_at_level(record, m, metric)) is not None]
    return math.fsum(right) / math.fsum(raw) if raw and math.fsum(raw) > 0 else 1.0


def _value_at_level(record: Record, repeat: Measurement, metric: str) -> float | None:
    value = _repeat_value(record, repeat, metric)
    if value is None:
        return None
    known = metrics.find(metric)
    if not known.paced:
        return value
    return value / repeat.level if known.better is metrics.Better.HIGHER else value * repeat.level


def _repeat_value(record: Record, repeat: Measurement, metric: str) -> float | None:
    if metric != metrics.COST:
        return repeat.number(metric)
    # The price of an hour is the same for all repeats: cost goes with the inverse of the rate.
    basis = money.find_rate_metric(record.numbers)
    cost, rate, own = record.number(metric), record.number(basis), repeat.number(basis)
    return None if cost is None or not rate or not own else cost * rate / own


def _block_identity(record: Record) -> tuple[str, str, object]:
    """Equal for records that were measured in the same blocks."""
    return record.sweep, record.origin, record.measured_together


def _keep_common(first: intervals.Values, second: intervals.Values) -> tuple[intervals.Values, intervals.Values]:
    """Repeats of the same blocks, if that drops at most a third: pairs tell more than single repeats."""
    if not (isinstance(first, Mapping) and isinstance(second, Mapping)):
        return first, second
    both = sorted(set(first) & set(second))
    if len(both) < 2 or 3 * len(both) < 2 * max(len(first), len(second)):
        return first, second
    return {index: first[index] for index in both}, {index: second[index] for index in both}


def _tie_break_value(record: Record, objective: Objective) -> float:
    """The number that ties are broken by, smaller is better; infinite if it is not known."""
    value = wording.tie_break_cost(record, objective)
    return math.inf if value is None else value


def _estimate_seconds(more: Mapping[str, int], records: Sequence[Record]) -> float | None:
    """How long `more` repeats take, by what the repeats so far took; None if that was not recorded."""
    total = 0.0
    for record in records:
        known = [m.wall_seconds for m in record.repeats if m.wall_seconds]
        if not known:
            return None
        total += more[record.key] * fmean(known)
    return total

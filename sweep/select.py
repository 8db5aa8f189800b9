"""From finished trials to a verdict: which setup to choose, how sure that is, and why not each of the others.

Trials that meet the constraints are ranked by the objective, and the leader is compared with each of the others by the
ratio of their repeats (`statistics.ratio`).

winner: the leader beats every other trial at the objective's confidence. No correction for their number is needed: the
    claim is about the trial that leads, so it must beat all the others at once, and the error is largest when only two
    are in the race (Gutmann and Maymin 1987, Annals of Statistics 15:456-461; Hung and Fithian 2019, Annals of
    Statistics 47:758-782). Among equal trials a winner is named at most 1 - confidence of the time.
tie: no other trial can be better than the choice by more than the margin that nobody cares about. Here several trials
    may qualify and the tie-break picks one, so these claims are Bonferroni-corrected for the trials still in the race:
    those that the leader does not beat at a level corrected for all trials (Gupta 1965, Technometrics 7:225-245).
undecided: neither can be shown yet; how many repeats should do it is estimated from the observed spread.
none: nothing meets the constraints, or nothing ran.

What others reported (`Record.origin`: reported, or replayed from a table) is ranked among the rest by its number, but
never wins, ties or is beaten: one published number has no spread, and draws from it have only the spread that was put
in. The verdict is about what ran.

A limit is compared with the estimate. A limit on what is not known (a percentile from too few samples, a price that
nobody gave) is not met: what cannot be shown does not pass silently, and the reason says what is missing.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweep import statistics, wording
from sweep.settings import Objective
from sweep.spec import Measurement, Record, Status
from sweep.wording import number

PUBLISHED = ("reported", "replayed")  # origins of what a table says, imported or in the place of a device


@dataclass(frozen=True)
class Verdict:
    """What to choose. Trials are named by the keys of their records."""

    kind: str  # winner | tie | undecided | none
    winner: str | None  # the trial to choose; None where undecided or none
    tied: tuple[str, ...]  # best first; tie: the choice and those it ties with; undecided: the leader and its rivals
    sentence: str  # one line for a person
    ranking: tuple[str, ...]  # every ok trial, best first; those that meet the constraints come before the others
    reasons: Mapping[str, str]  # for every trial that was not chosen
    front: tuple[str, ...]  # ok trials that no other beats in throughput and latency_ms_p50 at once; fastest first
    more_repeats: Mapping[str, int] = field(default_factory=dict)  # undecided: about this many more of each
    outside: tuple[str, ...] = ()  # ok trials that miss a constraint


def verdict(records: Sequence[Record], objective: Objective) -> Verdict:
    """Choose among the records of a sweep; the same for any order of the records."""
    everyone = _told_apart(sorted(records, key=lambda r: (r.key, r.started)))
    reasons = {r.key: wording.not_ok(r) for r in everyone if r.status is not Status.OK or not r.metrics}
    ok = [r for r in everyone if r.key not in reasons]
    misses = {r.key: _misses(r, objective) for r in ok}
    reasons.update({key: "; ".join(miss.text for miss in missed) for key, missed in misses.items() if missed})
    ranked = sorted(ok, key=lambda r: (bool(misses[r.key]), _cost(r, objective), r.key))
    feasible = tuple(r for r in ranked if not misses[r.key] and r.origin not in PUBLISHED)
    published = tuple(r for r in ranked if not misses[r.key] and r.origin in PUBLISHED)
    outside = _keys([r for r in ranked if misses[r.key]])
    front = _front([r for r in ok if r.origin not in PUBLISHED] or ok)
    if not feasible:
        reasons.update({r.key: wording.published(r, None, objective) for r in published})
        ran = [r for r in everyone if r.origin not in PUBLISHED]
        alone = bool(everyone) and not ran
        nearest = _nearest([r for r in ranked if misses[r.key] and (alone or r.origin not in PUBLISHED)], misses)
        if published and alone:
            sentence = wording.only_published(published, objective)
        elif alone:
            sentence = wording.no_published(everyone, nearest)
        else:
            sentence = wording.nobody(ran, nearest)
        return Verdict("none", None, (), sentence, _keys(ranked), reasons, _keys(front), outside=outside)
    race = _Race(feasible, objective)
    decision = _decide(race)
    for record in feasible:
        if record is not decision.choice:
            reasons[record.key] = _why_not(record, race, decision, front)
    chosen = decision.choice or race.leader
    reasons.update({r.key: wording.published(r, chosen, objective) for r in published})
    key = decision.choice.key if decision.choice else None
    sentence = decision.sentence + _fragile(decision.choice, objective)
    if published and ranked.index(published[0]) < ranked.index(chosen):
        sentence += " " + wording.published_better(published[0], objective)
    return Verdict(
        decision.kind,
        key,
        _keys(decision.tied),
        sentence,
        _keys(ranked),
        reasons,
        _keys(front),
        decision.more,
        outside,
    )


class _Race:
    """The trials that meet the constraints, leader first, and how they compare."""

    def __init__(self, records: Sequence[Record], objective: Objective) -> None:
        self.leader, *self.others = records
        self.objective = objective
        self.rank = {r.key: number for number, r in enumerate(records)}
        self._values = {r.key: repeat_values(r, objective.metric) for r in records}
        self._ratios = {r.key: self.compare(self.leader, r) for r in self.others}

    def compare(self, a: Record, b: Record) -> statistics.Ratio | None:
        """Above 1: a is better. None: too few repeats to say."""
        first, second = self._values[a.key], self._values[b.key]
        together = [(r.sweep, r.origin, r.notes.get("measured_together")) for r in (a, b)]
        if together[0] != together[1] or a.origin != "measured":
            # Equal indexes mean the same block only among what was interleaved; elsewhere they are a coincidence.
            first, second = _unpaired(first), _unpaired(second)
        ratio = statistics.ratio(first, second)
        return ratio if ratio is None or self.objective.maximize else ratio.inverse()

    def beaten(self, record: Record, confidence: float | None = None) -> bool:
        """The leader is surely better than this one."""
        return _low(self._ratios[record.key], confidence or self.objective.confidence) > 0

    def negligible(self, record: Record) -> bool:
        """The difference from the leader, whatever its sign, is surely within the margin."""
        ratio = self._ratios[record.key]
        if ratio is None:
            return False
        low, high = ratio.log_interval(self.objective.confidence)
        return max(-low, high) <= math.log1p(self.objective.margin)

    def more_repeats(self, rivals: Sequence[Record]) -> dict[str, int]:
        """About how many more repeats of the leader and each of its rivals would decide."""
        wanted: dict[str, int] = {}
        for rival in rivals:
            have = min(len(self.leader.repeats), len(rival.repeats))
            ratio, goal = self._ratios[rival.key], self.objective
            total = 3  # the least that says anything about a spread, where there is none to go by
            if ratio is not None:
                total = statistics.repeats_to_decide(ratio, goal.margin, goal.confidence, len(rivals))
            wanted[rival.key] = max(1, total - have)
        return {self.leader.key: max(wanted.values()), **wanted}


@dataclass(frozen=True)
class _Decision:
    kind: str
    choice: Record | None
    tied: Sequence[Record]
    sentence: str
    more: Mapping[str, int] = field(default_factory=dict)
    safe: Sequence[Record] = ()  # with a tie: those that the tie-break chose from


def _decide(race: _Race) -> _Decision:
    open_ones = [r for r in race.others if not race.beaten(r)]
    close = [r for r in race.others if not race.beaten(r) or race.negligible(r)]
    safe = _safe(race, close) if close else []
    if not open_ones and len(safe) < 2:
        next_one = race.others[0] if race.others else None
        ratio = race.compare(race.leader, next_one) if next_one else None
        return _Decision("winner", race.leader, (), wording.wins(race.leader, next_one, ratio, race.objective))
    if safe:
        tie_break = race.objective.tie_break
        choice = min(safe, key=lambda r: (_at_least(r, tie_break), race.rank[r.key]))
        tied = [race.leader, *close]
        return _Decision("tie", choice, tied, wording.ties(choice, tied, safe, race.objective), safe=safe)
    more = race.more_repeats(open_ones)
    ratio = race.compare(race.leader, open_ones[0])
    sentence = wording.undecided(race.leader, open_ones, ratio, race.objective, max(more.values()))
    return _Decision("undecided", None, [race.leader, *open_ones], sentence, more)


def _safe(race: _Race, close: Sequence[Record]) -> list[Record]:
    """The leader and its close rivals, as far as nobody still in the race can be better by more than the margin.

    Half of the error goes into leaving trials out of the race, half into the claims about those that are in it.
    """
    alpha, floor = 1 - race.objective.confidence, -math.log1p(race.objective.margin)
    near = set(_keys(close))
    rivals = [r for r in race.others if r.key in near or not race.beaten(r, 1 - alpha / len(race.others))]
    confidence = 1 - alpha / len(rivals)

    def safe(candidate: Record) -> bool:
        against = [r for r in (race.leader, *rivals) if r is not candidate]
        return all(_low(race.compare(candidate, r), confidence) > floor for r in against)

    return [race.leader, *filter(safe, close)] if safe(race.leader) else []


def _low(ratio: statistics.Ratio | None, confidence: float) -> float:
    return -math.inf if ratio is None else ratio.log_interval(confidence)[0]


def _why_not(record: Record, race: _Race, decision: _Decision, front: Sequence[Record]) -> str:
    chosen = decision.choice or race.leader
    if record is chosen:
        return wording.leads(record, race.objective, decision.more[record.key])
    ratio = race.compare(chosen, record)
    if record.key not in _keys(decision.tied):
        return wording.behind(chosen, record, ratio, race.objective) + _dominated(record, front)
    if decision.kind == "tie":
        qualifies = record.key in _keys(decision.safe)
        return wording.tied_with(chosen, record, ratio, race.objective, qualifies)
    return wording.open_with(chosen, record, ratio, race.objective, decision.more[record.key])


def repeat_values(record: Record, metric: str) -> statistics.Values:
    """The metric in each repeat, by repeat index; empty where repeats do not have it.

    A list without indexes where two repeats share one, as after results of two sweeps were put together.
    """
    known = [(m.index, value) for m in record.repeats if (value := _of_repeat(record, m, metric)) is not None]
    by_index = dict(known)
    return by_index if len(by_index) == len(known) else [value for _, value in known]


def _of_repeat(record: Record, repeat: Measurement, metric: str) -> float | None:
    if metric == "latency_ms_mean":
        return repeat.latency_ms_mean
    if metric.startswith("latency_ms_"):
        return repeat.latency_ms.get(metric[len("latency_ms_") :])
    if metric == "usd_per_million_items":
        # The price of an hour is the same for all repeats: cost goes with the inverse of the throughput.
        cost, rate = number(record, metric), number(record, "throughput_items_per_s")
        if cost is None or not rate or not repeat.throughput_items_per_s:
            return None
        return cost * rate / repeat.throughput_items_per_s
    value = getattr(repeat, metric, None)
    return float(value) if isinstance(value, (int, float)) else None


def _unpaired(values: statistics.Values) -> list[float]:
    return list(values.values()) if isinstance(values, Mapping) else list(values)


@dataclass(frozen=True)
class _Miss:
    """A constraint that a trial does not meet."""

    text: str
    size: float  # relative to the limit; infinite where the value is not known


def deciding(objective: Objective) -> set[str]:
    """The metrics that an objective and its constraints look at."""
    return {objective.metric, *(name[:-4] for name, _ in _constraints(objective))}


def _constraints(objective: Objective) -> list[tuple[str, float]]:
    """(metric, limit) pairs that were asked for, by the setting's name: `<metric>_max` or `<metric>_min`."""
    names = (
        "latency_ms_p50_max",
        "latency_ms_p99_max",
        "throughput_items_per_s_min",
        "agreement_min",
        "accuracy_drop_max",
        "peak_memory_mb_max",
        "usd_per_million_items_max",
    )
    return [(name, limit) for name in names if (limit := getattr(objective, name)) is not None]


def _misses(record: Record, objective: Objective) -> list[_Miss]:
    misses = []
    if number(record, objective.metric) is None:
        misses.append(_Miss(_unknown(record, objective.metric), math.inf))
    for name, limit in _constraints(objective):
        metric, upper = name[:-4], name.endswith("_max")
        value = number(record, metric)
        if value is None:
            if metric != objective.metric:
                misses.append(_Miss(_unknown(record, metric), math.inf))
        elif (over := value - limit if upper else limit - value) > 1e-9 * max(1.0, abs(limit)):
            misses.append(_Miss(wording.violates(metric, value, limit, upper), over / (abs(limit) or 1.0)))
    return misses


def _unknown(record: Record, metric: str) -> str:
    if record.origin in PUBLISHED and metric not in ("usd_per_million_items", "accuracy_drop"):
        return f"{metric} was not reported"
    q = statistics.QUANTILES.get(metric.removeprefix("latency_ms_"))
    if q is not None:
        needed = statistics.samples_needed(q) - int(number(record, "sample_count", 0.0) or 0)
        if needed > 0:
            return f"not enough samples for {metric.removeprefix('latency_ms_')}: {needed:,} more requests"
    return wording.UNKNOWN.get(metric, f"{metric} is not known")


def _nearest(ranked: Sequence[Record], misses: Mapping[str, Sequence[_Miss]]) -> tuple[Record, str] | None:
    """The ok trial whose worst miss is smallest, and what it misses; among equals the better ranked."""
    if not ranked:
        return None
    nearest = min(ranked, key=lambda r: max(miss.size for miss in misses[r.key]))
    return nearest, "; ".join(miss.text for miss in misses[nearest.key])


def _fragile(record: Record | None, objective: Objective) -> str:
    """A limit that the estimate meets and the far end of its interval does not."""
    for name, limit in _constraints(objective) if record else ():
        metric, upper = name[:-4], name.endswith("_max")
        end = number(record, metric + ("_high" if upper else "_low")) if record else None
        if end is not None and (end > limit if upper else end < limit):
            return " " + wording.fragile(metric, end, limit)
    return ""


def _at_least(record: Record, metric: str) -> float:
    value = number(record, metric)
    return math.inf if value is None else value


def _cost(record: Record, objective: Objective) -> float:
    value = number(record, objective.metric)
    if value is None:
        return math.inf
    return -value if objective.maximize else value


def _front(records: Sequence[Record]) -> list[Record]:
    """Pareto front of throughput (up) and median latency (down), fastest first; equal trials both stay."""
    points = [
        (-rate, latency, r)
        for r in records
        if (rate := number(r, "throughput_items_per_s")) is not None
        and (latency := number(r, "latency_ms_p50")) is not None
    ]
    front: list[tuple[float, float, Record]] = []
    for point in sorted(points, key=lambda p: (p[0], p[1], p[2].key)):
        if not front or point[1] < front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [record for _, _, record in front]


def _dominated(record: Record, front: Sequence[Record]) -> str:
    """The fastest trial that is better both ways, if there is one."""
    rate, latency = number(record, "throughput_items_per_s"), number(record, "latency_ms_p50")
    if rate is None or latency is None or any(r.key == record.key for r in front):
        return ""
    for other in front:
        if (number(other, "throughput_items_per_s") or 0) > rate and (number(other, "latency_ms_p50") or 0) < latency:
            return f"; dominated by {other.label} (throughput and latency)"
    return ""


def _told_apart(records: Sequence[Record]) -> list[Record]:
    """Labels name the axes, not every setting: where two trials share one, part of the key follows it."""
    shared = {label for label, count in Counter(r.label for r in records).items() if count > 1}
    return [replace(r, label=f"{r.label} [{r.key[:6]}]") if r.label in shared else r for r in records]


def _keys(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(record.key for record in records)

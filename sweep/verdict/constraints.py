"""The limits of an objective: who misses which, by how much, and how surely.

A limit is compared with the estimate. If the value is not known (a percentile of too few samples, a price that nobody
gave) the limit is missed: what cannot be shown does not pass silently, and the reason says what is missing. A limit on
a latency percentile is also a claim (`claims`): proved, refuted or unproved. A refuted one is missed in any case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from sweep.spec import Record, metrics
from sweep.spec.metrics import Limit, Metric
from sweep.spec.settings import Objective
from sweep.verdict import alternatives, claims, wording
from sweep.verdict.claims import Claim
from sweep.verdict.race import repeat_values
from sweep.verdict.stats import intervals

OF_WHOLE = (metrics.COST,)  # limits on a deployment as a whole: its host is paid for once
# A capacity is the rate at which 1 % come late by all probes, so in the windows that confirm it chance alone moves the
# p99 to both sides of the service level. Beyond this multiple the rate was not sustained.
CONFIRMED = 1.5


@dataclass(frozen=True)
class Miss:
    """A constraint that a trial does not meet."""

    text: str
    size: float  # relative to the limit; infinite where the value is not known
    is_shortage: bool = False  # too few requests to be chosen, and no limit


class Standing(Enum):
    """Whether more repeats can still change that a limit is met or missed."""

    MET = "met"  # surely, or as far as repeats can tell
    MISSED = "missed"  # surely, or for a reason that repeats do not change
    OPEN = "open"


ORDER = (Standing.MISSED, Standing.OPEN, Standing.MET)  # of members, the first of these is that of their deployment


def find_misses(record: Record, objective: Objective) -> list[Miss]:
    """The constraints that an alternative misses by its estimates; in a deployment every member has to meet them."""
    members = alternatives.list_members(record)
    known = _is_known(record, objective.metric)
    misses = [] if known else [Miss(describe_unknown(record, objective.metric), math.inf)]
    if len(members) == 1:
        return misses + _find_own_misses(record, objective, objective.limits)
    whole = [limit for limit in objective.limits if limit.metric.name in OF_WHOLE]
    misses += _find_missed(record, objective, whole)
    for member in members:
        missed = _find_own_misses(member, objective, [limit for limit in objective.limits if limit not in whole])
        misses += [replace(miss, text=f"{member.label}: {miss.text}") for miss in missed]
    return misses


def _find_own_misses(record: Record, objective: Objective, limits: Sequence[Limit]) -> list[Miss]:
    return [*_find_demand_misses(record), *_find_missed(record, objective, limits), *_find_shortage(record)]


def _find_shortage(record: Record) -> list[Miss]:
    lacking = alternatives.count_lacking_requests(record)
    return [Miss(wording.describe_few_requests(record), lacking / record.min_requests, True)] if lacking else []


def _find_demand_misses(record: Record) -> list[Miss]:
    """What the load demands and was not served: the rate that was offered, the service level of a capacity."""
    load, overloaded = record.load, record.number("overloaded_share")
    if not record.origin.is_evidence:
        return []
    if load.get("name") in ("poisson", "trace") and overloaded is not None and overloaded > 0.5:
        return [Miss(wording.describe_overload(record), overloaded)]
    level, p99 = load.get("slo_p99_ms"), record.number("latency_ms_p99")
    if load.get("name") == "capacity" and level and p99 is not None and p99 > CONFIRMED * level:
        return [Miss(wording.describe_unconfirmed(record, float(level), p99), p99 / level - 1)]
    return []


def _find_missed(record: Record, objective: Objective, limits: Sequence[Limit]) -> list[Miss]:
    misses = []
    for limit in limits:
        value = record.number(limit.metric.name)
        if value is None:
            if limit.metric.name != objective.metric and (text := _describe_unshown(record, objective, limit)):
                misses.append(Miss(text, math.inf))
        elif limit.is_missed(value):
            misses.append(Miss(wording.describe_violation(limit, value), limit.relative(value)))
    return misses


def find_standing(record: Record, objective: Objective, confidence: float) -> tuple[Standing, str]:
    """Whether more repeats can still change that a trial meets the constraints or misses one; and what it misses.

    Args:
        confidence: at which a trial must miss a limit to be left out. Claims that a limit is met have the objective's.
    """
    members = alternatives.list_members(record)
    if len(members) > 1:
        standings = [find_standing(member, objective, confidence) for member in members]
        return min(standings, key=lambda standing: ORDER.index(standing[0]))
    if _find_shortage(record):
        return Standing.OPEN, ""
    if demands := _find_demand_misses(record):
        always = record.number("overloaded_share") == 1.0
        return (Standing.MISSED if always else Standing.OPEN), demands[0].text
    proofs = claims.judge_record(record, objective)
    stricter = max(confidence, objective.claim_confidence)
    doubts = claims.judge_record(record, replace(objective, claim_confidence=stricter)) if proofs else {}
    goal = _metric_standing(record, objective.metric)
    if goal is Standing.MISSED:
        return goal, describe_unknown(record, objective.metric)
    states: list[Standing] = [goal]
    for limit in objective.limits:
        if limit.name in proofs:
            states.append(_claim_standing(proofs[limit.name], doubts.get(limit.name, proofs[limit.name])))
        else:
            states.append(_interval_standing(record, limit, confidence))
        if states[-1] is Standing.MISSED:
            value = record.number(limit.metric.name)
            if value is None:
                return Standing.MISSED, describe_unknown(record, limit.metric.name)
            return Standing.MISSED, wording.describe_violation(limit, value)
    return (Standing.OPEN if Standing.OPEN in states else Standing.MET), ""


def _metric_standing(record: Record, metric: str) -> Standing:
    """The standing of a metric that must be known: a percentile may become so with more requests, a price does not."""
    if _is_known(record, metric):
        return Standing.MET
    return Standing.OPEN if _count_missing_samples(record, metrics.find(metric)) else Standing.MISSED


def _claim_standing(proof: Claim, doubt: Claim) -> Standing:
    if doubt.verdict == "refuted":
        return Standing.MISSED
    return Standing.MET if proof.verdict == "proved" else Standing.OPEN


def _interval_standing(record: Record, limit: Limit, confidence: float) -> Standing:
    metric, bound = limit.metric, limit.bound
    value = record.number(metric.name)
    if value is None:
        return _metric_standing(record, metric.name)
    within = not limit.is_missed(value)
    if not metric.paced:  # answers are scored once, and of the memory it is the largest
        return Standing.MET if within else Standing.MISSED
    values = repeat_values(record, metric.name)
    logs = [math.log(value) for value in intervals.drop_indexes(values) if value > 0]
    if len(logs) < 2 or bound <= 0:
        return Standing.OPEN
    ends = intervals.mean_interval(logs, confidence)
    assert ends.low is not None
    assert ends.high is not None
    if ends.low <= math.log(bound) <= ends.high:
        return Standing.OPEN
    return Standing.MET if within else Standing.MISSED


def _is_known(record: Record, metric: str) -> bool:
    """Whether there is a value to compare or to rank by."""
    return record.number(metric) is not None and not _has_no_rate(record, metric)


def _has_no_rate(record: Record, metric: str) -> bool:
    """The search for a rate that meets the service level found none."""
    return metric == metrics.CAPACITY and record.number(metric) == 0


def _count_missing_samples(record: Record, metric: Metric) -> int:
    """Requests that a percentile still needs; 0 if more would not help."""
    if metric.quantile is None or not record.origin.is_evidence:
        return 0
    return max(0, intervals.samples_needed(metric.quantile) - int(record.number(metrics.SAMPLES) or 0))


def _describe_unshown(record: Record, objective: Objective, limit: Limit) -> str:
    """Why a limit on an unknown value is missed; empty if the requests prove that it is met."""
    claim = claims.judge_record(record, objective).get(limit.name)
    if claim is None or claim.verdict == "unproved":
        return describe_unknown(record, limit.metric.name)
    return claims.describe(claim) if claim.verdict == "refuted" else ""


def describe_unknown(record: Record, metric: str) -> str:
    """Why a metric is not known, and what helps."""
    if _has_no_rate(record, metric):
        return "no rate meets the service level"
    if not record.origin.is_evidence and metric not in (
        metrics.COST,
        metrics.ACCURACY_DROP,
    ):  # these follow from others
        return f"{metric} was not reported"
    known = metrics.find(metric)
    if needed := _count_missing_samples(record, known):
        return f"not enough samples for {known.label}: {needed:,} more requests"
    return known.absent or f"{metric} is not known"


def find_nearest(ranked: Sequence[Record], missed: Mapping[str, Sequence[Miss]]) -> tuple[Record, str] | None:
    """The trial whose worst miss is smallest, and what it misses; among equals the better ranked."""
    if not ranked:
        return None
    record = min(ranked, key=lambda r: max(miss.size for miss in missed[r.key]))
    return record, "; ".join(miss.text for miss in missed[record.key])


def describe_claims(record: Record, objective: Objective) -> str:
    """The claims about a record's limits, and the first other limit that the estimate meets and its interval misses."""
    members = alternatives.list_members(record)
    if len(members) > 1:
        return "".join(describe_claims(member, objective) for member in members)
    known = claims.judge_record(record, objective)
    sentences = [f"{claims.describe(known[limit.name])}." for limit in objective.limits if limit.name in known]
    for limit in objective.limits:
        end = record.number(limit.worst)
        if limit.name not in known and end is not None and limit.excess(end) > 0:
            sentences.append(wording.describe_fragile(limit, end))
            break
    return "".join(f" {sentence}" for sentence in sentences)

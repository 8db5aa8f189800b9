"""The limits of an objective: who misses which, by how much, and how surely.

A limit is compared with the estimate. A limit on what is not known (a percentile from too few samples, a price that
nobody gave) is not met: what cannot be shown does not pass silently, and the reason says what is missing. Limits on
latency percentiles are claims as well (`claims`): proved, refuted or unproved; what is refuted is missed in any case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from sweep.spec import Record, number
from sweep.spec.settings import Objective
from sweep.verdict import claims, wording
from sweep.verdict.claims import Claim
from sweep.verdict.race import PUBLISHED, repeat_values
from sweep.verdict.stats import intervals

NAMES = (
    "latency_ms_p50_max",
    "latency_ms_p99_max",
    "throughput_items_per_s_min",
    "agreement_min",
    "accuracy_drop_max",
    "peak_memory_mb_max",
    "usd_per_million_items_max",
)
SPREAD = ("latency", "throughput", "capacity", "usd")  # what differs from repeat to repeat


@dataclass(frozen=True)
class Miss:
    """A constraint that a trial does not meet."""

    text: str
    size: float  # relative to the limit; infinite where the value is not known


class Standing(Enum):
    """What more repeats can still change."""

    MET = "met"  # surely, or as far as repeats can tell
    MISSED = "missed"  # surely, or for a reason that repeats do not change
    OPEN = "open"


def asked(objective: Objective) -> list[tuple[str, float]]:
    """(name, limit) pairs by the setting's name: `<metric>_max` or `<metric>_min`."""
    return [(name, limit) for name in NAMES if (limit := getattr(objective, name)) is not None]


def deciding(objective: Objective) -> set[str]:
    """The metrics that an objective and its constraints look at."""
    return {objective.metric, *(name[:-4] for name, _ in asked(objective))}


def misses(record: Record, objective: Objective) -> list[Miss]:
    """By the estimates."""
    found = []
    value = number(record, objective.metric)
    if value is None or _no_rate(record, objective.metric):
        found.append(Miss(unknown(record, objective.metric), math.inf))
    for name, limit in asked(objective):
        metric = name[:-4]
        value = number(record, metric)
        if value is None:
            if metric != objective.metric and (text := _unshown(record, objective, name)):
                found.append(Miss(text, math.inf))
        elif (over := _over(name, value, limit)) > 1e-9 * max(1.0, abs(limit)):
            text = wording.violates(metric, value, limit, name.endswith("_max"))
            found.append(Miss(text, over / (abs(limit) or 1.0)))
    return found


def claimed(record: Record, objective: Objective) -> Mapping[str, Claim]:
    """What the samples prove of the limits on latency, by the setting's name; empty where none is asked for."""
    if objective.latency_ms_p50_max is None and objective.latency_ms_p99_max is None:
        return {}
    return claims.of(record, objective) if record.origin not in PUBLISHED else {}


def standing(record: Record, objective: Objective, confidence: float) -> tuple[Standing, str]:
    """Whether more repeats can still change that a trial meets the constraints, or misses one; with the miss.

    Args:
        confidence: from which a trial surely misses a limit: it is left out for that. Claims that a limit is kept have
            that of the objective.
    """
    proofs = claimed(record, objective)
    stricter = max(confidence, objective.claim_confidence)
    doubts = claimed(record, replace(objective, claim_confidence=stricter)) if proofs else {}
    found = [(objective.metric, _known(record, objective.metric))]
    for name, limit in asked(objective):
        if name in proofs:
            state = _of_claim(proofs[name], doubts.get(name, proofs[name]))
        else:
            state = _of_interval(record, name, limit, confidence)
        found.append((name[:-4], state))
    missed = next((metric for metric, state in found if state is Standing.MISSED), None)
    if missed is not None:
        return Standing.MISSED, _text_of(record, objective, missed)
    return (Standing.OPEN if any(state is Standing.OPEN for _, state in found) else Standing.MET), ""


def _known(record: Record, metric: str) -> Standing:
    """A percentile may become known with more requests, a price does not."""
    if number(record, metric) is not None and not _no_rate(record, metric):
        return Standing.MET
    return Standing.OPEN if _needs_samples(record, metric) else Standing.MISSED


def _of_claim(proof: Claim, doubt: Claim) -> Standing:
    if doubt.verdict == "refuted":
        return Standing.MISSED
    return Standing.MET if proof.verdict == "proved" else Standing.OPEN


def _of_interval(record: Record, name: str, limit: float, confidence: float) -> Standing:
    metric = name[:-4]
    value = number(record, metric)
    if value is None:
        return _known(record, metric)
    within = _over(name, value, limit) <= 1e-9 * max(1.0, abs(limit))
    if metric == "agreement":
        best = number(record, "agreement_high", value)
        return Standing.MET if within else Standing.OPEN if best is not None and best >= limit else Standing.MISSED
    if not metric.startswith(SPREAD):  # one number for all repeats, or the largest of them
        return Standing.MET if within else Standing.MISSED
    values = repeat_values(record, metric)
    logs = [math.log(each) for each in (values.values() if isinstance(values, Mapping) else values) if each > 0]
    if len(logs) < 2 or limit <= 0:
        return Standing.OPEN
    ends = intervals.mean_interval(logs, confidence)
    assert ends.low is not None
    assert ends.high is not None
    if ends.low <= math.log(limit) <= ends.high:
        return Standing.OPEN
    return Standing.MET if within else Standing.MISSED


def _text_of(record: Record, objective: Objective, metric: str) -> str:
    """The miss of one metric, in words."""
    value = number(record, metric)
    if value is None or _no_rate(record, metric):
        return unknown(record, metric)
    name, limit = next((name, limit) for name, limit in asked(objective) if name[:-4] == metric)
    return wording.violates(metric, value, limit, name.endswith("_max"))


def _over(name: str, value: float, limit: float) -> float:
    """How far a value is on the wrong side of its limit; negative on the right one."""
    return value - limit if name.endswith("_max") else limit - value


def _no_rate(record: Record, metric: str) -> bool:
    """The search for a rate that meets the service level found none."""
    return metric == "capacity_items_per_s" and number(record, metric) == 0


def _needs_samples(record: Record, metric: str) -> int:
    """Requests that lack for a percentile; 0 where more would not help."""
    q = intervals.QUANTILES.get(metric.removeprefix("latency_ms_"))
    if q is None or record.origin in PUBLISHED:
        return 0
    return max(0, intervals.samples_needed(q) - int(number(record, "sample_count", 0.0) or 0))


def _unshown(record: Record, objective: Objective, name: str) -> str:
    """Why a limit on what is not known is not met; empty where the requests prove it all the same."""
    claim = claimed(record, objective).get(name)
    if claim is None or claim.verdict == "unproved":
        return unknown(record, name[:-4])
    return claims.sentence(claim) if claim.verdict == "refuted" else ""


def unknown(record: Record, metric: str) -> str:
    """Why a metric is not known, and what helps."""
    if _no_rate(record, metric):
        return "no rate meets the service level"
    if record.origin in PUBLISHED and metric not in ("usd_per_million_items", "accuracy_drop"):
        return f"{metric} was not reported"
    if needed := _needs_samples(record, metric):
        return f"not enough samples for {metric.removeprefix('latency_ms_')}: {needed:,} more requests"
    return wording.UNKNOWN.get(metric, f"{metric} is not known")


def nearest(ranked: Sequence[Record], missed: Mapping[str, Sequence[Miss]]) -> tuple[Record, str] | None:
    """The trial whose worst miss is smallest, and what it misses; among equals the better ranked."""
    if not ranked:
        return None
    found = min(ranked, key=lambda r: max(miss.size for miss in missed[r.key]))
    return found, "; ".join(miss.text for miss in missed[found.key])


def fragile(record: Record, objective: Objective) -> str:
    """What the claims say of a record's limits; else a limit that the estimate meets and its interval does not."""
    known = claimed(record, objective)
    said = [f"{claims.sentence(known[name])}." for name, _ in asked(objective) if name in known]
    for name, limit in asked(objective):
        metric, upper = name[:-4], name.endswith("_max")
        end = number(record, metric + ("_high" if upper else "_low"))
        if name not in known and end is not None and (end > limit if upper else end < limit):
            said.append(wording.fragile(metric, end, limit))
            break
    return "".join(f" {sentence}" for sentence in said)

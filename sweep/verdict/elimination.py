"""Who is left out of a race (`effort=until_decided`), and when it is over.

All trials are measured a few times, then only those that may still be chosen. At every look (`race.plan_looks`) the
verdict is computed; the race ends when the verdict is decided. Screening before selection follows Nelson, Swann,
Goldsman and Song (2001, Operations Research 49:950-963), elimination from growing samples follows Kim and Nelson (2001,
ACM Transactions on Modeling and Computer Simulation 11:251-273). Variances are unknown and unequal: many trials share
what is known of theirs (`spread`), few are compared by a paired t each.

Errors: over all looks (`race.confidence_at`) and all trials (Bonferroni) the level of leaving out is alpha / 2, so the
best is left out at most alpha / 2 of the time. The verdict has the other half.

A trial is left out if it is

dominated: surely worse than a trial that surely meets the constraints, unless the difference is surely within the
    margin: then the tie-break may choose it. A few repeats can agree by luck (memory layout makes a process fast or
    slow) and would then seem to prove anything. So without shared variances no comparison counts as more exact than
    the median of them.
infeasible: it surely misses a constraint.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from sweep.spec import Record, Status, StopReason
from sweep.spec.settings import Objective
from sweep.verdict import alternatives, constraints, race, select, wording
from sweep.verdict.constraints import Standing
from sweep.verdict.stats.intervals import Ratio

HOPELESS = 3  # times what is left; forecasts are off by a factor of two now and then
ENOUGH = 8  # repeats, before which a forecast says little


@dataclass(frozen=True)
class Out:
    """Why no more of a trial is measured."""

    why: StopReason
    reason: str  # one line
    by: str | None = None  # key of the trial that dominates it


@dataclass(frozen=True)
class Look:
    """The result of one look at a race."""

    verdict: select.Verdict  # as things stand, at the confidence of this look
    decided: bool  # more repeats are not needed
    out: Mapping[str, Out] = field(default_factory=dict)  # newly left out, by key


def look(records: Sequence[Record], objective: Objective, number: int, trials: int) -> Look:
    """Judge the trials that are in a race.

    Args:
        records: of the trials that are still in it, with all their repeats.
        number: of the look, from 1.
        trials: how many were in the race when it began.
    """
    questions = alternatives.group_questions(alternatives.unite_deployments(records))
    looks = [_look(group, objective, number, trials) for group in questions.values()]
    if len(looks) == 1:
        return looks[0]
    verdict = select.choose([replace(record, look=number) for record in records], objective)
    out = {key: left for result in looks for key, left in result.out.items()}
    return Look(verdict, all(result.decided for result in looks), out)


def _look(records: Sequence[Record], objective: Objective, number: int, trials: int) -> Look:
    """Judge the alternatives of one question."""
    running = [replace(r, look=number) for r in records if r.status is Status.OK and r.metrics]
    confidence = race.confidence_at(objective.confidence, number, max(1, trials * (1 + len(objective.limits))))
    standings = {r.key: constraints.find_standing(r, objective, confidence) for r in running}
    whole = select.choose(running, objective)
    if _is_over(whole, [r for r in running if standings[r.key][0] is not Standing.MISSED], objective, confidence):
        return Look(whole, True)
    out = {
        key: Out(StopReason.INFEASIBLE, f"infeasible: {text}")
        for key, (standing, text) in standings.items()
        if standing is Standing.MISSED
    }
    left = [r for r in running if r.key not in out]
    proved = [r for r in left if standings[r.key][0] is Standing.MET]
    best = min(proved, key=lambda r: (race.ranking_value(r, objective), r.key), default=None)
    if best is not None:
        out |= _find_dominated(best, [r for r in left if r is not best], objective, confidence)
    left = [r for r in left if r.key not in out]
    verdict = select.choose(left, objective)
    members = {r.key: alternatives.list_members(r) for r in running}
    out = {member.key: why for key, why in out.items() for member in members[key]}
    return Look(verdict, _is_over(verdict, left, objective, confidence), out)


def is_hopeless(result: Look, repeats: int, most: int) -> bool:
    """Whether even `most` repeats would be too few by far, because trials differ by less than they scatter."""
    more = max(result.verdict.more_repeats.values(), default=0)
    return not result.decided and repeats >= ENOUGH and more > HOPELESS * (most - repeats)


def _is_over(verdict: select.Verdict, left: Sequence[Record], objective: Objective, confidence: float) -> bool:
    """Whether the verdict is decided, and no trial that may be better could still turn out to meet its limits.

    A race goes on after a tie if the leader seems to be ahead by more than the margin: more repeats may show it to win.
    """
    if verdict.kind == "undecided":
        return False
    by_key = {r.key: r for r in left}
    tied = [by_key[key] for key in verdict.tied if key in by_key]
    gaps = [race.compare(tied[0], r, objective) for r in tied[1:]]
    if any(gap is not None and gap.log > math.log1p(objective.margin) for gap in gaps):
        return False
    hopeful = [r for r in left if r.key in verdict.outside]
    chosen = by_key.get(verdict.winner or "")
    if chosen is None:
        return not hopeful
    return all(race.lower_end(race.compare(chosen, r, objective), confidence) > 0 for r in hopeful)


def _find_dominated(best: Record, others: Sequence[Record], objective: Objective, confidence: float) -> dict[str, Out]:
    values = {r.key: race.repeat_values(r, objective.metric) for r in (best, *others)}
    ratios = {r.key: ratio for r in others if (ratio := race.compare(best, r, objective, values)) is not None}
    if not ratios:
        return {}
    least = median(ratio.standard_error for ratio in ratios.values())
    together = race.compare_moderated(best, others, objective, values)
    out = {}
    for record in others:
        ratio = ratios.get(record.key)
        if ratio is None or race.is_negligible(ratio, objective):
            continue
        ratio = together.get(record.key) or _limit_precision(ratio, least)
        if race.lower_end(ratio, confidence) > 0:
            reason = wording.describe_dominated(best, ratio, objective, confidence, len(record.repeats))
            out[record.key] = Out(StopReason.DOMINATED, reason, best.key)
    return out


def _limit_precision(ratio: Ratio, standard_error: float) -> Ratio:
    return replace(ratio, standard_error=max(ratio.standard_error, standard_error))

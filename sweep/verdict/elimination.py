"""Who is left out of a race (`effort=until_decided`), and when it is over.

All trials are measured a few times, then only those that may still be chosen; the verdict is asked for at every look
(`race.looks`) and ends the race. Screening before selection is the procedure of Nelson, Swann, Goldsman and Song (2001,
Operations Research 49:950-963), looks at growing samples that eliminate are those of Kim and Nelson (2001, ACM
Transactions on Modeling and Computer Simulation 11:251-273); variances are unknown and unequal: many trials tell each
other's (`spread`), else every comparison is a paired t on its own. Errors: a trial is left out at a level of alpha / 2
over all looks (`race.at_look`) and all trials (Bonferroni), so the best is left out at most alpha / 2 of the time; the
verdict has the other half.

A trial is left out where it is

dominated: surely worse than one that meets the constraints for sure, unless the two are surely within the margin: then
    the tie-break may want it. A few repeats can agree by luck, as where a process is fast or slow by its memory layout,
    and would then seem to prove anything: where spreads are not drawn together, no comparison counts as more exact than
    half of them are.
infeasible: it surely misses a constraint.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from sweep.spec import Record, Status, StopReason
from sweep.spec.settings import Objective
from sweep.verdict import constraints, race, select, wording
from sweep.verdict.constraints import Standing
from sweep.verdict.stats.intervals import Ratio

HOPELESS = 3  # times what is left; forecasts are off by a factor of two now and then
ENOUGH = 8  # repeats, before which a forecast says little


@dataclass(frozen=True)
class Out:
    """Why a trial is left out."""

    why: StopReason
    reason: str  # one line
    by: str | None = None  # key of the trial that dominates it


@dataclass(frozen=True)
class Look:
    """What one look at a race finds."""

    verdict: select.Verdict  # as things stand, at the confidence of this look
    decided: bool  # more repeats are not needed
    out: Mapping[str, Out] = field(default_factory=dict)  # newly left out, by key


def look(records: Sequence[Record], objective: Objective, number: int, trials: int) -> Look:
    """Judge the trials that are in a race.

    Args:
        records: of those that are still in it, with what they have measured.
        number: of the look, from 1.
        trials: in the race when it began.
    """
    running = [replace(r, look=number) for r in records if r.status is Status.OK and r.metrics]
    each = race.at_look(objective.confidence, number, max(1, trials * (1 + len(objective.limits))))
    standings = {r.key: constraints.standing(r, objective, each) for r in running}
    whole = select.verdict(running, objective)
    if _is_over(whole, [r for r in running if standings[r.key][0] is not Standing.MISSED], objective, each):
        return Look(whole, True)
    out = {
        key: Out(StopReason.INFEASIBLE, f"infeasible: {text}")
        for key, (standing, text) in standings.items()
        if standing is Standing.MISSED
    }
    left = [r for r in running if r.key not in out]
    proved = [r for r in left if standings[r.key][0] is Standing.MET]
    best = min(proved, key=lambda r: (race.cost(r, objective), r.key), default=None)
    if best is not None:
        out |= _dominated(best, [r for r in left if r is not best], objective, each)
    left = [r for r in left if r.key not in out]
    verdict = select.verdict(left, objective)
    return Look(verdict, _is_over(verdict, left, objective, each), out)


def hopeless(found: Look, repeats: int, most: int) -> bool:
    """Even `most` repeats would be too few by far: what differs less than it scatters stays undecided."""
    more = max(found.verdict.more_repeats.values(), default=0)
    return not found.decided and repeats >= ENOUGH and more > HOPELESS * (most - repeats)


def _is_over(verdict: select.Verdict, left: Sequence[Record], objective: Objective, confidence: float) -> bool:
    """Nothing is open: neither the verdict nor whether somebody who may be better keeps to a limit.

    A tie is not the end where the leader seems to be ahead by more than the margin: then it may be shown to win.
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
    return all(race.low(race.compare(chosen, r, objective), confidence) > 0 for r in hopeful)


def _dominated(best: Record, others: Sequence[Record], objective: Objective, confidence: float) -> dict[str, Out]:
    values = {r.key: race.repeat_values(r, objective.metric) for r in (best, *others)}
    ratios = {r.key: ratio for r in others if (ratio := race.compare(best, r, objective, values)) is not None}
    if not ratios:
        return {}
    least = median(ratio.standard_error for ratio in ratios.values())
    together = race.moderated(best, others, objective, values)
    found = {}
    for record in others:
        ratio = ratios.get(record.key)
        if ratio is None or race.negligible(ratio, objective):
            continue
        ratio = together.get(record.key) or _no_finer(ratio, least)
        if race.low(ratio, confidence) > 0:
            reason = wording.dominated(best, ratio, objective, confidence, len(record.repeats))
            found[record.key] = Out(StopReason.DOMINATED, reason, best.key)
    return found


def _no_finer(ratio: Ratio, standard_error: float) -> Ratio:
    return replace(ratio, standard_error=max(ratio.standard_error, standard_error))

"""`python -m sweep report A B`: did anything get worse between two sweeps, as before and after a toolchain upgrade?

Two trials are the same if their settings and loads are; versions and the interpreter may differ. Each pair is compared
by the ratio of its repeats of the objective's metric (Welch's t on logarithms, `intervals.ratio`), because repeats of
two sweeps share no block. The change of all trials together comes from the means of blocks, because the trials of a
block share its luck.

slower, faster: the change is surely larger than the margin that nobody cares about. The p-values, those of the common
    change and of the answers' agreement too, are corrected together by Holm's step-down procedure (Holm 1979,
    Scandinavian Journal of Statistics 6:65-70, with weights), which holds however the tests depend on each other: where
    nothing changed, anything is called a regression at most 1 - confidence of the time.
as before: surely within the margin (two one-sided tests, Schuirmann 1987; a statement on one trial, not corrected).
unclear: neither can be shown. broke, fixed: it worked in one of the two sweeps only.

What else differs between two sessions on a machine, such as neighbours and clocks, is in the numbers, and no statistics
of two sweeps can remove it. Known differences are listed.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.spec import Record, UserError
from sweep.spec.metrics import COST, THROUGHPUT
from sweep.spec.settings import Objective
from sweep.store import query
from sweep.store.ledger import History
from sweep.verdict import pairing, race, select
from sweep.verdict.stats import intervals, student

WEIGHTS = {"common": 0.4, "trials": 0.4, "answers": 0.2}  # shares of the error that each kind of test may spend


@dataclass(frozen=True)
class Change:
    """One trial in both sweeps."""

    before: Record
    after: Record
    kind: str  # slower | faster | as before | unclear | too few repeats | broke | fixed | still fails | not run
    values: tuple[float | None, float | None]  # of the metric
    ratio: intervals.Interval | None = None  # metric after / before
    p: float | None = None  # corrected, of a change larger than the margin
    answers_p: float | None = None  # corrected, of an agreement with the original that is smaller

    @property
    def label(self) -> str:
        return self.after.label

    def worse_answers(self, confidence: float) -> bool:
        """Whether surely fewer answers are the original's than before."""
        return self.answers_p is not None and self.answers_p <= 1 - confidence


@dataclass(frozen=True)
class Common:
    """How all trials changed together."""

    ratio: intervals.Interval
    p: float
    kind: str  # slower | faster | as before | unclear
    trials: int


@dataclass(frozen=True)
class Comparison:
    """The result of `report A B`; A is before, B is after."""

    a: str
    b: str
    objective: Objective
    metric: str
    maximize: bool
    changes: tuple[Change, ...]
    common: Common | None
    vanished: tuple[Record, ...]  # in A only
    new: tuple[Record, ...]  # in B only
    differences: tuple[str, ...]  # versions, machine, effort, model
    notes: tuple[str, ...]
    verdicts: tuple[str, str]  # what to choose, by A and by B

    def of(self, *kinds: str) -> list[Change]:
        return [change for change in self.changes if change.kind in kinds]

    @property
    def wrong(self) -> list[Change]:
        """Trials whose answers agree less with the original's."""
        return [change for change in self.changes if change.worse_answers(self.objective.confidence)]

    @property
    def status(self) -> str:
        """A key of `EXIT`."""
        together = self.common is not None and self.common.kind == "slower"
        if self.of("slower", "broke") or self.wrong or together:
            return "regression"
        return "no regression" if any(change.ratio for change in self.changes) else "nothing"


def compare(history_a: History, history_b: History) -> Comparison:
    """Compare two stored sweeps by the objective of the second.

    Raises:
        UserError: both are the same sweep.
    """
    if history_a.folder.resolve() == history_b.folder.resolve():
        raise UserError(f"A and B are both {history_a.folder.name}: name two sweeps")
    histories = (history_a, history_b)
    objective = query.settings(history_b).objective
    metric, maximize = _metric(objective)
    pairs, vanished, new = pairing.match_trials(history_a, history_b)
    changes, common = judge(pairs, metric, maximize, objective)
    verdicts = [select.choose(query.records(history), objective).sentence for history in histories]
    return Comparison(
        a=history_a.folder.name,
        b=history_b.folder.name,
        objective=objective,
        metric=metric,
        maximize=maximize,
        changes=tuple(changes),
        common=common,
        vanished=tuple(vanished),
        new=tuple(new),
        differences=tuple(pairing.list_differences(history_a, history_b, pairs)),
        notes=tuple(pairing.list_notes(histories)),
        verdicts=(verdicts[0], verdicts[1]),
    )


def judge(
    pairs: Sequence[tuple[Record, Record]], metric: str, maximize: bool, objective: Objective
) -> tuple[list[Change], Common | None]:
    """The change of every pair, and of all trials together."""
    values = [(_values(a, metric), _values(b, metric)) for a, b in pairs]
    ratios = [
        intervals.ratio(intervals.drop_indexes(after), intervals.drop_indexes(before)) for before, after in values
    ]
    known = [place for place, ratio in enumerate(ratios) if ratio is not None]
    # The change of the geometric mean over trials; its error comes from the spread between blocks.
    old, new = (_block_means([values[place][side] for place in known]) if known else [] for side in (0, 1))
    together = intervals.ratio(new, old) if len(known) > 1 else None
    tests: list[tuple[str, int, float]] = [("trials", n, _p_beyond(ratios[n], objective.margin)) for n in known]
    tests += [("answers", n, p) for n, pair in enumerate(pairs) if (p := _p_worse_answers(*pair)) is not None]
    tests += [("common", 0, _p_beyond(together, objective.margin))] if together else []
    counts = {kind: sum(test[0] == kind for test in tests) for kind in WEIGHTS}
    corrected = holm([p for _, _, p in tests], [WEIGHTS[kind] / counts[kind] for kind, _, _ in tests])
    p_of = {(kind, n): p for (kind, n, _), p in zip(tests, corrected, strict=True)}

    changes = []
    for n, ((before, after), ratio) in enumerate(zip(pairs, ratios, strict=True)):
        p = p_of.get(("trials", n))
        kind = (
            _classify(ratio, p, maximize, objective)
            if ratio is not None and p is not None
            else _classify_unmeasured(before, after)
        )
        ends = None if ratio is None else ratio.interval(objective.confidence)
        shown = (_value(before, metric), _value(after, metric))
        changes.append(Change(before, after, kind, shown, ends, p, p_of.get(("answers", n))))
    if together is None:
        return changes, None
    p = p_of["common", 0]
    ends = together.interval(objective.confidence)
    return changes, Common(ends, p, _classify(together, p, maximize, objective), len(known))


def holm(p_values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """Correct p-values for all of them at once; each may spend its weight's share of the error (Holm 1979).

    Args:
        weights: positive; equal ones give the usual procedure.
    """
    corrected, left, highest = [1.0] * len(p_values), math.fsum(weights), 0.0
    for place in sorted(range(len(p_values)), key=lambda n: p_values[n] / weights[n]):
        highest = max(highest, min(1.0, p_values[place] * left / weights[place]))
        corrected[place] = highest
        left = max(left - weights[place], 0.0)
    return corrected


def _metric(objective: Objective) -> tuple[str, bool]:
    """The metric to compare, and whether more is better: for costs the throughput, since a new price is no change."""
    if objective.metric == COST:
        return THROUGHPUT, True
    return objective.metric, objective.maximize


def _is_measured(record: Record) -> bool:
    """Whether its numbers stand; those of a trial that a race stopped do."""
    return not record.status.is_failure and bool(record.metrics)


def _values(record: Record, metric: str) -> intervals.Values:
    """The metric in each repeat."""
    return race.repeat_values(record, metric) if _is_measured(record) else {}


def _value(record: Record, metric: str) -> float | None:
    return record.number(metric) if _is_measured(record) else None


def _block_means(trials: Sequence[intervals.Values]) -> list[float]:
    """The geometric mean over trials of every block in which at least half of them were measured.

    Means are taken of deviations from the trials' own levels, so that a trial with fewer repeats does not shift the
    blocks that it is missing from.
    """
    logs = [
        {index: math.log(value) for index, value in (trial.items() if isinstance(trial, Mapping) else enumerate(trial))}
        for trial in trials
    ]
    own = [math.fsum(by_index.values()) / len(by_index) for by_index in logs]
    level = math.fsum(own) / len(own)
    deviations: dict[int, list[float]] = {}
    for mean, by_index in zip(own, logs, strict=True):
        for index, value in by_index.items():
            deviations.setdefault(index, []).append(value - mean)
    kept = [block for block in deviations.values() if 2 * len(block) >= len(trials)]
    return [math.exp(level + math.fsum(block) / len(block)) for block in kept]


def _p_beyond(ratio: intervals.Ratio | None, margin: float) -> float:
    """Two-sided p that the change is no larger than the margin."""
    if ratio is None:
        return 1.0
    beyond = abs(ratio.log) - math.log1p(margin)
    if ratio.standard_error == 0:
        return 0.0 if beyond > 0 else 1.0
    return min(1.0, 2 * student.cdf(-beyond / ratio.standard_error, ratio.degrees))


def _p_worse_answers(before: Record, after: Record) -> float | None:
    """p that no fewer answers agree with the original's than before (Fisher's exact test, one-sided).

    The samples are mostly the same in both sweeps: then the test errs on the safe side.
    """
    counts = []
    for record in (before, after):
        agreement = record.agreement or {}
        if not agreement.get("samples") or agreement.get("agreement") is None or not _is_measured(record):
            return None
        counts.append((round(agreement["agreement"] * agreement["samples"]), int(agreement["samples"])))
    (agree_a, n_a), (agree_b, n_b) = counts
    agree, total = agree_a + agree_b, n_a + n_b

    def chosen(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    whole = chosen(total, agree)
    ways = range(max(0, agree - n_a), agree_b + 1)
    return min(1.0, math.fsum(math.exp(chosen(n_b, k) + chosen(n_a, agree - k) - whole) for k in ways))


def _classify(ratio: intervals.Ratio, p: float, maximize: bool, objective: Objective) -> str:
    if p <= 1 - objective.confidence:
        return "faster" if (ratio.log > 0) == maximize else "slower"
    return "as before" if ratio.is_within(objective.margin, objective.confidence) else "unclear"


def _classify_unmeasured(before: Record, after: Record) -> str:
    """The kind of a pair without repeats to compare."""
    good = _is_measured(before), _is_measured(after)
    if good == (True, True):
        return "too few repeats"
    if good[0] and after.status.is_failure:
        return "broke"
    if good[1] and before.status.is_failure:
        return "fixed"
    return "still fails" if before.status.is_failure and after.status.is_failure else "not run"

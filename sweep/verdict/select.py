"""From finished trials to a verdict: which setup to choose, how sure that is, and why not each of the others.

What is compared are alternatives (`alternatives`): trials that answer one question, and deployments as a whole. Trials
of several questions, like two offered rates, get a verdict each (`Part`).

Trials that meet the constraints (`constraints`) are ranked by the objective, and the leader is compared with each of
the others by the ratio of their repeats (`race`).

winner: the leader beats every other trial at the objective's confidence. No correction for their number is needed: the
    claim is about the trial that leads, so it must beat all the others at once, and the error is largest when only two
    are in the race (Gutmann and Maymin 1987, Annals of Statistics 15:456-461; Hung and Fithian 2019, Annals of
    Statistics 47:758-782). Among equal trials a winner is named at most 1 - confidence of the time.
tie: no other trial can be better than the choice by more than the margin that nobody cares about. Here several trials
    may qualify and the tie-break picks one, so these claims are Bonferroni-corrected for the trials still in the race:
    those that the leader does not beat at a level corrected for all trials (Gupta 1965, Technometrics 7:225-245).
undecided: neither can be shown yet; how many repeats should do it is estimated from the observed spread, how many
    minutes from what repeats took. Likewise where every trial has too few requests to be chosen.
none: nothing meets the constraints, or nothing ran.
several: the trials answer several questions; `parts` has the verdicts.

What others reported (`Record.origin`: reported, or replayed from a table) is ranked among the rest by its number, but
never wins, ties or is beaten: a published number has no spread.
The verdict is about what ran.

After a race (`effort=until_decided`) the verdict has the confidence that its last look leaves. Trials that it stopped
are not ranked, as long as the reason holds: for another objective or at other prices they count like any other.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain

from sweep.spec import Record, Status, StopReason
from sweep.spec.settings import Objective
from sweep.verdict import alternatives, basis, claims, constraints, race, wording
from sweep.verdict.claims import Claim
from sweep.verdict.constraints import Miss
from sweep.verdict.race import Decision, Race

SHOWN = 20  # trials whose limits are judged as claims, which reads their samples


@dataclass(frozen=True)
class Part:
    """The verdict on the trials of one question. The fields are those of `Verdict`."""

    question: str  # the settings that its trials have in common, and others not: `load.rate=50`
    keys: tuple[str, ...]  # of its trials
    kind: str
    winner: str | None
    tied: tuple[str, ...]
    sentence: str
    ranking: tuple[str, ...]
    rests: str = ""
    more_repeats: Mapping[str, int] = field(default_factory=dict)
    more_seconds: float | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What to choose. Trials are named by the keys of their records, deployments by that of their first member."""

    kind: str  # winner | tie | undecided | none | several
    winner: str | None  # the trial to choose; None where undecided, none or several
    tied: tuple[str, ...]  # best first; tie: the choice and those it ties with; undecided: the leader and its rivals
    sentence: str  # one line for a person
    ranking: tuple[str, ...]  # every ok trial, best first; those that meet the constraints come before the others
    reasons: Mapping[str, str]  # for every trial that was not chosen
    front: tuple[str, ...]  # ok trials that no other beats in throughput and latency_ms_p50 at once; fastest first
    more_repeats: Mapping[str, int] = field(default_factory=dict)  # undecided: about how many more of each decide
    outside: tuple[str, ...] = ()  # ok trials that miss a constraint, or have too few requests to be chosen
    more_seconds: float | None = None  # that those repeats take in all; None: not known
    confidence: float | None = None  # of the verdict: above the objective's after a race of many looks
    # By trial and constraint what its samples prove, for those at the head of the ranking
    claims: Mapping[str, Mapping[str, Claim]] = field(default_factory=dict)
    rests: str = ""  # what it rests on: requests, repeats, items, when and where they were measured
    parts: tuple[Part, ...] = ()  # of `several`
    deployments: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # by their key, the keys of all members

    @property
    def chosen(self) -> tuple[str, ...]:
        """The trials to choose: the winner, or one for each question; of a deployment all members."""
        winners = [part.winner for part in self.parts] if self.parts else [self.winner]
        return tuple(key for winner in winners if winner for key in self.deployments.get(winner, (winner,)))

    @property
    def is_missed_by_all(self) -> bool:
        """Whether trials have numbers and none of them meets the constraints."""
        kinds = {part.kind for part in self.parts} or {self.kind}
        return kinds == {"none"} and set(self.ranking) <= set(self.outside)

    def split(self) -> list["Verdict"]:
        """A verdict for each question; itself where there is one."""
        if not self.parts:
            return [self]
        names = {part_field.name for part_field in fields(Part)} - {"question", "keys"}
        return [replace(self, parts=(), **{name: getattr(part, name) for name in names}) for part in self.parts]


def choose(records: Sequence[Record], objective: Objective) -> Verdict:
    """Choose among the records of a sweep, whatever their order."""
    ordered = _distinguish_labels(sorted(records, key=lambda r: (r.key, r.started)))
    questions = alternatives.group_questions(alternatives.unite_deployments(ordered))
    verdicts = {name: _choose_one(group, objective) for name, group in questions.items()}
    if len(verdicts) == 1:
        return next(iter(verdicts.values()))
    parts = [_make_part(name, questions[name], verdict) for name, verdict in verdicts.items()]
    return _combine(parts, list(verdicts.values()))


def _make_part(question: str, records: Sequence[Record], verdict: Verdict) -> Part:
    shared = {name: getattr(verdict, name) for name in Part.__dataclass_fields__ if name not in ("question", "keys")}
    members = [member for record in records for member in alternatives.list_members(record)]
    return Part(question=question, keys=_keys(members), **shared)


def _combine(parts: Sequence[Part], verdicts: Sequence[Verdict]) -> Verdict:
    """Several questions: their verdicts beside each other, and no winner of all."""

    def join(name: str) -> tuple[str, ...]:
        return tuple(chain.from_iterable(getattr(verdict, name) for verdict in verdicts))

    def merge(name: str) -> dict[str, object]:
        return {key: value for verdict in verdicts for key, value in getattr(verdict, name).items()}

    mappings: dict[str, dict[str, object]] = {name: merge(name) for name in ("reasons", "claims", "deployments")}
    ranking, outside = join("ranking"), set(join("outside"))
    ranked = tuple(key for missed in (False, True) for key in ranking if (key in outside) is missed)
    return Verdict(
        kind="several",
        winner=None,
        tied=(),
        sentence=wording.describe_several([(part.question, part.sentence) for part in parts]),
        ranking=ranked,
        front=join("front"),
        outside=join("outside"),
        confidence=max((verdict.confidence for verdict in verdicts if verdict.confidence), default=None),
        parts=tuple(parts),
        **mappings,  # type: ignore[arg-type]  # merged by name
    )


def _choose_one(records: Sequence[Record], objective: Objective) -> Verdict:
    """The verdict on the alternatives of one question."""
    members = {r.key: _keys(alternatives.list_members(r)) for r in records}
    return _expand(_judge(records, objective), {key: keys for key, keys in members.items() if len(keys) > 1})


def _expand(verdict: Verdict, deployments: Mapping[str, tuple[str, ...]]) -> Verdict:
    """The verdict where every member of a deployment stands beside the first."""
    if not deployments:
        return verdict

    def spread(keys: Sequence[str]) -> tuple[str, ...]:
        return tuple(member for key in keys for member in deployments.get(key, (key,)))

    def copy(values: Mapping[str, str]) -> dict[str, str]:
        return {member: value for key, value in values.items() for member in deployments.get(key, (key,))}

    return replace(
        verdict,
        tied=spread(verdict.tied),
        ranking=spread(verdict.ranking),
        front=spread(verdict.front),
        outside=spread(verdict.outside),
        reasons=copy(verdict.reasons),
        deployments=deployments,
    )


def _judge(records: Sequence[Record], objective: Objective) -> Verdict:
    """The verdict on alternatives."""
    everyone = _reopen(records, objective)
    objective = replace(objective, confidence=race.verdict_confidence(everyone, objective))
    reasons = {r.key: wording.describe_no_result(r) for r in everyone if r.status is not Status.OK or not r.metrics}
    ok = [r for r in everyone if r.key not in reasons]
    misses = {r.key: constraints.find_misses(r, objective) for r in ok}
    reasons.update({key: "; ".join(miss.text for miss in missed) for key, missed in misses.items() if missed})
    ranked = sorted(ok, key=lambda r: (bool(misses[r.key]), race.ranking_value(r, objective), r.key))
    feasible = [r for r in ranked if not misses[r.key] and r.origin.is_evidence]
    published = [r for r in ranked if not misses[r.key] and not r.origin.is_evidence]
    front = _find_front([r for r in ok if r.origin.is_evidence] or ok)
    result = Verdict("none", None, (), "", _keys(ranked), reasons, _keys(front), confidence=objective.confidence)
    result = replace(
        result, outside=_keys([r for r in ranked if misses[r.key]]), claims=_list_claims(ranked, misses, objective)
    )
    short = [r for r in ranked if misses[r.key] and all(miss.is_shortage for miss in misses[r.key])]
    if not feasible:
        reasons.update({r.key: wording.describe_published(r, None, objective) for r in published})
        if short:
            rests = basis.describe(short[0])
            return replace(
                result,
                kind="undecided",
                tied=_keys(short),
                sentence=wording.describe_shortage(short[0], objective),
                rests=rests,
            )
        return replace(result, sentence=_describe_nobody(everyone, ranked, misses, published, objective))
    contest = Race(feasible, objective)
    stopped = [r for r in everyone if is_stopped_early(r)]
    decision = race.decide(contest, _find_best_stopped(stopped, objective))
    for record in feasible:
        if record is not decision.choice:
            reasons[record.key] = _explain(record, contest, decision, front)
    chosen = decision.choice or contest.leader
    reasons.update({r.key: wording.describe_published(r, chosen, objective) for r in published})
    sentence = decision.sentence + wording.describe_left_out(len(stopped), len(ok) + len(stopped))
    sentence += constraints.describe_claims(chosen, objective)
    sentence += basis.describe_doubts(chosen, feasible, objective)
    ahead = [r for r in short if race.ranking_value(r, objective) < race.ranking_value(chosen, objective)]
    if ahead:
        sentence += " " + wording.describe_short_better(
            min(ahead, key=lambda r: race.ranking_value(r, objective)), objective
        )
    if published and ranked.index(published[0]) < ranked.index(chosen):
        sentence += " " + wording.describe_published_better(published[0], objective)
    return replace(
        result,
        kind=decision.kind,
        winner=decision.choice.key if decision.choice else None,
        tied=_keys(decision.tied),
        sentence=sentence,
        more_repeats=decision.more,
        more_seconds=decision.more_seconds,
        rests=basis.describe(chosen),
    )


def is_stopped_early(record: Record) -> bool:
    """A race left this trial out: what it measured until then stands."""
    return record.stop is not None and record.stop.is_elimination and bool(record.metrics)


def _reopen(records: Sequence[Record], objective: Objective) -> list[Record]:
    """The records, where those that a race stopped count as ok if the reason no longer holds.

    It may not hold for another objective, limit or price.
    """
    by_key = {r.key: r for r in records if is_stopped_early(r) or r.status is Status.OK}

    def holds(record: Record) -> bool:
        if record.stop is StopReason.INFEASIBLE:
            return bool(constraints.find_misses(record, objective))
        rival = by_key.get(record.dominated_by or "")
        if rival is None or constraints.find_misses(rival, objective):
            return False
        return race.ranking_value(rival, objective) < race.ranking_value(record, objective)

    still = {r.key for r in records if is_stopped_early(r) and holds(r)}
    return [
        replace(r, status=Status.OK, reason="", stop=None) if is_stopped_early(r) and r.key not in still else r
        for r in records
    ]


def _find_best_stopped(stopped: Sequence[Record], objective: Objective) -> Record | None:
    """The best of the stopped trials that met the constraints; its label says that it was stopped."""
    there = [r for r in stopped if not constraints.find_misses(r, objective)]
    best = min(there, key=lambda r: (race.ranking_value(r, objective), r.key), default=None)
    return None if best is None else replace(best, label=f"{best.label}, stopped early")


def _describe_nobody(
    everyone: Sequence[Record],
    ranked: Sequence[Record],
    misses: Mapping[str, Sequence[Miss]],
    published: Sequence[Record],
    objective: Objective,
) -> str:
    """The sentence if nothing that ran meets the constraints."""
    ran = [r for r in everyone if r.origin.is_evidence]
    alone = bool(everyone) and not ran
    stopped = {r.key: constraints.find_misses(r, objective) for r in everyone if is_stopped_early(r)}
    outside = [r for r in ranked if misses[r.key] and (alone or r.origin.is_evidence)]
    outside += [r for r in everyone if stopped.get(r.key)]
    nearest = constraints.find_nearest(outside, {**misses, **stopped})
    if published and alone:
        return wording.describe_only_published(published, objective)
    return wording.describe_no_published(everyone, nearest) if alone else wording.describe_nobody(ran, nearest)


def _list_claims(
    ranked: Sequence[Record], misses: Mapping[str, Sequence[Miss]], objective: Objective
) -> dict[str, Mapping[str, Claim]]:
    """What samples prove of the limits on latency, for the best trials inside and the best outside the constraints."""
    shown = [r for r in ranked if not misses[r.key]][:SHOWN] + [r for r in ranked if misses[r.key]][:SHOWN]
    judged = {
        member.key: claims.judge_record(member, objective) for r in shown for member in alternatives.list_members(r)
    }
    return {key: known for key, known in judged.items() if known}


def _explain(record: Record, contest: Race, decision: Decision, front: Sequence[Record]) -> str:
    chosen = decision.choice or contest.leader
    if record is chosen:
        return wording.describe_leader(record, contest.objective, decision.more[record.key])
    ratio = contest.compare(chosen, record)
    if record.key not in _keys(decision.tied):
        return wording.describe_behind(chosen, record, ratio, contest.objective) + _describe_dominated(record, front)
    if decision.kind == "tie":
        qualifies = record.key in _keys(decision.safe)
        return wording.describe_tied(chosen, record, ratio, contest.objective, qualifies)
    return wording.describe_open(chosen, record, ratio, contest.objective, decision.more[record.key])


def _find_front(records: Sequence[Record]) -> list[Record]:
    """Pareto front of throughput (up) and median latency (down), fastest first; equal trials both stay."""
    points = [
        (-rate, latency, r)
        for r in records
        if (rate := r.number("throughput_items_per_s")) is not None
        and (latency := r.number("latency_ms_p50")) is not None
    ]
    front: list[tuple[float, float, Record]] = []
    for point in sorted(points, key=lambda p: (p[0], p[1], p[2].key)):
        if not front or point[1] < front[-1][1] or point[:2] == front[-1][:2]:
            front.append(point)
    return [record for _, _, record in front]


def _describe_dominated(record: Record, front: Sequence[Record]) -> str:
    """The fastest trial that is better both ways, if there is one."""
    rate, latency = record.number("throughput_items_per_s"), record.number("latency_ms_p50")
    if rate is None or latency is None or any(r.key == record.key for r in front):
        return ""
    for other in front:
        if (other.number("throughput_items_per_s") or 0) > rate and (other.number("latency_ms_p50") or 0) < latency:
            return f"; dominated by {other.label} (throughput and latency)"
    return ""


def _distinguish_labels(records: Sequence[Record]) -> list[Record]:
    """Append a part of the key to labels that several trials share: labels name the axes, not every setting."""
    shared = {label for label, count in Counter(r.label for r in records).items() if count > 1}
    return [replace(r, label=f"{r.label} [{r.key[:6]}]") if r.label in shared else r for r in records]


def _keys(records: Sequence[Record]) -> tuple[str, ...]:
    return tuple(record.key for record in records)

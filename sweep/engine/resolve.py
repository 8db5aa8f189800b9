"""Turn the entries of a plan into records: load references, build, repeat, judge."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweep.engine import (
    builds,
    deciding,
    earlier,
    foresight,
    judging,
    ladder,
    providers,
    references,
    repeats,
    score_items,
    scoring,
)
from sweep.engine.context import Context
from sweep.engine.plan import list_build_specs
from sweep.engine.references import Reference, Unusable
from sweep.engine.stages import Stages
from sweep.engine.tasks import BuildTask, Built, Candidate
from sweep.spec import FailureKind, Outcome, Record, Status, StopReason, Trial, deployment
from sweep.spec.plan import Entry
from sweep.store import ledger

BUILT = "built: run the same line with plan=measure where the hardware is"


class Resolver:
    """Turns the trials of a sweep into records. References and builds are kept for trials that come later."""

    def __init__(
        self, context: Context, stages: Stages, history: ledger.History | None, settle: Callable[[Record], None]
    ) -> None:
        """
        Args:
            history: of a sweep that another process began; its whole repeats are kept.
            settle: called with every record as soon as it is final.
        """
        self._context = context
        self._stages = stages
        self._history = history
        self._settle = settle
        self._references: dict[providers.Measured, dict[str, Reference | Unusable]] = {}
        self._builds: dict[tuple[str, str], Built] = {}
        self._comparisons: judging.Comparisons = {}
        self._examined: set[str] = set()  # pairs of model and data whose original was held to the limits

    def reference(self, trial: Trial, context: Context) -> Reference | Unusable:
        """The data and the original's answers of one trial, which need not be declared."""
        return self._load([trial], context)[0]

    def _load(self, trials: Sequence[Trial], context: Context) -> list[Reference | Unusable]:
        """Load the references of trials through their providers, if they were not loaded before."""
        for provider in dict.fromkeys(map(providers.find_provider, trials)):
            known = self._references.setdefault(provider, {})
            new = [t for t in trials if providers.find_provider(t) is provider and t.pair_key not in known]
            if new:
                known |= provider.references(context, new)
                _tell_scored(context, new, known)
        return [self._references[providers.find_provider(trial)][trial.pair_key] for trial in trials]

    def refuse(self, entries: Sequence[Entry]) -> None:
        """Settle the entries that a rule refuses."""
        for entry in entries:
            if entry.status is not None:
                self._settle(judging.make_unmeasured_record(self._context, entry.trial, entry.status, entry.reason))

    def warm(self, entries: Sequence[Entry]) -> None:
        """Start the fork servers that will be needed, so that their imports overlap."""
        for trial in {str(entry.trial.backend["name"]): entry.trial for entry in entries}.values():
            providers.find_provider(trial).warm(self._context, trial)

    def prepare(self, entries: Sequence[Entry]) -> list[Candidate]:
        """Load references and build. Returns the trials to measure; all others are settled."""
        tasks = self._whole(self._build(self._usable(entries)))
        if self._context.settings.plan != "build":
            return tasks
        for task in tasks:
            record = judging.make_stopped_record(self._context, task.trial, StopReason.BUILT, BUILT)
            self._settle(replace(record, builds=tuple(built.to_json() for built in task.builds)))
        return []

    def measure(self, tasks: Sequence[Candidate]) -> None:
        """Score the builds, run the repeats and judge them."""
        scoring.score_all(
            self._context, [t for t in tasks if providers.find_provider(t.trial).can_score(t)], scoring.run
        )
        begun = time.time()
        racing = self._context.settings.effort.repeats_max is not None and not self._stages.several
        decider = deciding.Decider(self._context, self._judge) if racing else None
        able = [task for task in tasks if providers.find_provider(task.trial).can_repeat(task)]
        repeats.measure_all(self._context, able, _repeat, decider)
        for task in tasks:
            record = self._judge(task)
            merged = self._stages.merge(record, begun)
            if merged is None:
                self._context.display.note(f"{record.label}, measured once more: {record.reason}")
            else:
                self._settle(merged)

    def _judge(self, task: Candidate) -> Record:
        record = judging.make_record(self._context, task)
        if record.status is not Status.OK:
            return record
        return providers.find_provider(task.trial).judge(self._context, task, record, self._comparisons)

    def _usable(self, entries: Sequence[Entry]) -> list[tuple[Entry, Reference]]:
        """The entries with a model and data that load and fit each other; the others are settled."""
        context = self._context
        loaded = self._load([entry.trial for entry in entries], context)
        usable = []
        for entry, reference in zip(entries, loaded, strict=True):
            if isinstance(reference, Unusable):
                status, failure = reference.status, reference.failure
                self._settle(judging.make_unmeasured_record(context, entry.trial, status, failure.summary, failure))
            elif problem := self._refuse(entry.trial, reference):
                self._settle(judging.make_unmeasured_record(context, entry.trial, Status.INVALID, problem))
            else:
                usable.append((entry, reference))
        return usable

    def _refuse(self, trial: Trial, reference: Reference) -> str | None:
        """Why data and original show that a trial cannot work, or cannot keep to a limit; None if they do not."""
        objective = self._context.settings.objective
        problem = references.explain_misfit(trial, reference)
        problem = problem or foresight.refuse_unlabelled(trial, reference, objective)
        if problem is None and trial.pair_key not in self._examined:
            self._examined.add(trial.pair_key)
            if line := foresight.describe_high_accuracy(trial, reference, objective):
                self._context.display.note(line)
        return problem

    def _build(self, usable: Sequence[tuple[Entry, Reference]]) -> list[Candidate]:
        """Build. Returns the trials to measure; those with a failed build are settled."""
        context = self._context
        variants = [
            [BuildTask(variant, reference, builds.name_build(entry.trial, variant)) for variant in attempts]
            for entry, reference in usable
            for attempts in (ladder.list_variants(entry.trial, spec) for spec in entry.builds)
        ]
        histories = earlier.read_histories(context) if context.settings.reuse else []
        elsewhere = context.settings.plan == "measure"
        results = iter(
            ladder.climb(variants, self._builds, lambda some: builds.build_all(context, some, _build), elsewhere)
        )
        tasks = []
        for entry, reference in usable:
            outcomes = tuple(next(results) for _ in entry.builds)
            if any(built.failure is not None for built in outcomes):
                self._settle(self._build_failed(entry.trial, outcomes, reference))
                continue
            identity = judging.compute_identity(context, entry.trial, outcomes, reference)
            name = self._stages.identity(entry.trial.key, identity)
            if not entry.trial.deployment and name == identity and self._reuse(histories, entry.trial, name):
                continue
            done = self._history.repeats.get(name, {}) if self._history else {}
            tasks.append(Candidate(entry.trial, name, outcomes, reference, dict(done)))
        return tasks

    def _whole(self, tasks: Sequence[Candidate]) -> list[Candidate]:
        """The tasks without those of incomplete deployments, which are settled: it is all or nothing."""
        groups = deployment.group_trials(task.trial for task in tasks)
        left = []
        for task in tasks:
            there = len(groups[deployment.group_key(task.trial)])
            lacking = len(task.trial.deployment.get("members") or [0]) - there
            if not lacking:
                left.append(task)
                continue
            reason = f"its deployment is not whole: {lacking} of {lacking + there} members could not be built or"
            reason += " cannot run here"
            self._settle(judging.make_stopped_record(self._context, task.trial, StopReason.INCOMPLETE, reason))
        return left

    def _build_failed(self, trial: Trial, outcomes: Sequence[Built], reference: Reference) -> Record:
        failed, failure = next((built, built.failure) for built in outcomes if built.failure is not None)
        status = Status.STOPPED if failure.kind is FailureKind.PREEMPTED else Status.BUILD_FAILED
        if any(built.user_error for built in outcomes):
            status = Status.INVALID
        if self._context.settings.plan == "measure" and failure.kind is FailureKind.TOOLCHAIN_MISSING:
            status = Status.UNAVAILABLE
        lost = ["x".join(map(str, b.spec.bucket)) for b in outcomes if b.failure is not None and b.spec.bucket]
        if len(outcomes) > 1 and lost:
            which = "bucket" if len(lost) == 1 else "buckets"
            failure = replace(failure, summary=f"{which} {', '.join(lost)}: {failure.summary}")
        if status is Status.BUILD_FAILED:
            failure = replace(failure, summary=failure.summary + judging.explain_nature(reference))
        record = judging.make_unmeasured_record(self._context, trial, status, failure.summary, failure)
        if status is Status.STOPPED:
            record = replace(record, stop=failed.stop or StopReason.PREEMPTED)
        source = providers.find_provider(trial).source(outcomes[0].spec)
        return replace(record, builds=tuple(built.to_json() for built in outcomes), source=source)

    def _reuse(self, histories: Sequence[ledger.History], trial: Trial, identity: str) -> bool:
        """Settle a trial with the finished result of an earlier sweep, if there is one."""
        record = earlier.find_result(self._context, histories, trial, identity)
        if record is not None:
            self._settle(record)
        return record is not None


def _build(context: Context, wanted: BuildTask, folder: Path, tools: Mapping[str, str]) -> Outcome:
    return providers.find_backend_provider(wanted.spec.backend).build(context, wanted, folder, tools)


def _repeat(context: Context, together: Sequence[Candidate], repeat: int) -> Outcome:
    return providers.find_provider(together[0].trial).repeat(context, together, repeat)


def _tell_scored(context: Context, trials: Sequence[Trial], loaded: Mapping[str, Reference | Unusable]) -> None:
    """Say of which data sets not all samples will be scored."""
    for trial in {trial.pair_key: trial for trial in trials}.values():
        reference = loaded[trial.pair_key]
        text = score_items.describe(trial.data, reference) if isinstance(reference, Reference) else ""
        if text:
            context.display.note(text)


def make_entries(trials: Sequence[Trial]) -> list[Entry]:
    """Entries for trials that the rules have passed before."""
    return [Entry(trial, list_build_specs(trial)) for trial in trials]

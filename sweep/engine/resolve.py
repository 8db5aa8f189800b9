"""From the entries of a plan to records: references, builds, repeats, judgement."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from sweep import backends
from sweep.engine import builds, deciding, earlier, judging, ladder, references, repeats, replays, tasks
from sweep.engine.context import Context
from sweep.engine.plan import build_specs
from sweep.engine.references import Reference, Unusable
from sweep.engine.stages import Stages
from sweep.engine.tasks import Task
from sweep.spec import Failure, FailureKind, Record, Status, Trial, deployment
from sweep.spec.plan import Entry
from sweep.store import ledger

BUILT = "built: run the same line with plan=measure where the hardware is"


class Resolver:
    """Brings the trials of a sweep to records; what it loaded and built for some serves those that come later."""

    def __init__(
        self, context: Context, stages: Stages, history: ledger.History | None, settle: Callable[[Record], None]
    ) -> None:
        """
        Args:
            history: of a sweep that another process began: its whole repeats stand.
            settle: takes every record as soon as it is known.
        """
        self._context = context
        self._stages = stages
        self._history = history
        self._settle = settle
        self._references: dict[str, Reference | Unusable] = {}
        self._builds: dict[tuple[str, str], tasks.Built] = {}
        self._comparisons: judging.Comparisons = {}

    def reference(self, trial: Trial, context: Context) -> Reference | Unusable:
        """The data and the original's answers of one trial, which need not be declared."""
        self._load([trial], context)
        return self._references[references.pair_key(trial)]

    def _load(self, trials: Sequence[Trial], context: Context) -> None:
        """References of trials that have none yet; a replay has no answers to compare."""
        new = [trial for trial in trials if references.pair_key(trial) not in self._references]
        self._references |= {references.pair_key(t): replays.reference(t) for t in new if replays.replays(t)}
        real = [trial for trial in new if not replays.replays(trial)]
        self._references |= references.obtain(context, real) if real else {}

    def refuse(self, entries: Sequence["Entry"]) -> None:
        """Settle what no rule lets run."""
        for entry in entries:
            if entry.status is not None:
                self._settle(judging.without_run(self._context, entry.trial, entry.status, entry.reason))

    def warm(self, entries: Sequence["Entry"]) -> None:
        """Start the fork servers that will be needed, so that their imports overlap."""
        for trial in {str(entry.trial.backend["name"]): entry.trial for entry in entries}.values():
            if not replays.replays(trial):
                self._context.warm(references.preload(trial))
            if not trial.backend.get("python"):
                backend = backends.get(str(trial.backend["name"]))
                self._context.warm(backend.preload_build)
                self._context.warm(backend.preload_run)

    def prepare(self, entries: Sequence["Entry"]) -> list[Task]:
        """Load references and build; what is left to measure. Everything else is settled."""
        tasks = self._whole(self._build(self._usable(entries)))
        if self._context.settings.plan != "build":
            return tasks
        for task in tasks:
            record = judging.without_run(self._context, task.trial, Status.STOPPED, BUILT)
            self._settle(replace(record, builds=tuple(built.to_json() for built in task.builds)))
        return []

    def measure(self, tasks: Sequence[Task]) -> None:
        """Run the repeats and judge them."""
        begun = time.time()
        racing = self._context.settings.effort.repeats_max is not None and not self._stages.several
        decider = deciding.Decider(self._context, self._judge) if racing else None
        repeats.measure_all(self._context, [task for task in tasks if replays.to_draw(task)], decider)
        for task in tasks:
            record = self._judge(task)
            merged = self._stages.merged(record, begun)
            if merged is None:
                self._context.display.note(f"{record.label}, measured once more: {record.reason}")
            else:
                self._settle(merged)

    def _judge(self, task: Task) -> Record:
        return judging.judge(self._context, task, self._comparisons)

    def _usable(self, entries: Sequence["Entry"]) -> list[tuple["Entry", Reference]]:
        """The entries whose model and data could be loaded and fit each other; the others are settled."""
        context = self._context
        self._load([entry.trial for entry in entries], context)
        usable = []
        for entry in entries:
            reference = self._references[references.pair_key(entry.trial)]
            if isinstance(reference, Unusable):
                status, failure = reference.status, reference.failure
                self._settle(judging.without_run(context, entry.trial, status, failure.summary, failure))
            elif problem := references.misfit(entry.trial, reference):
                self._settle(judging.without_run(context, entry.trial, Status.INVALID, problem))
            else:
                usable.append((entry, reference))
        return usable

    def _build(self, usable: Sequence[tuple["Entry", Reference]]) -> list[Task]:
        """Tasks to measure; trials with a failed build are settled."""
        context = self._context
        asked = [
            [builds.Task(each, reference, builds.build_name(entry.trial, each)) for each in variants]
            for entry, reference in usable
            for variants in (ladder.variants(entry.trial, spec) for spec in entry.builds)
        ]
        hopeless = () if context.settings.plan == "measure" else ladder.HOPELESS
        found = iter(ladder.climb(asked, self._builds, lambda some: builds.build_all(context, some), hopeless))
        tasks = []
        for entry, reference in usable:
            made = tuple(next(found) for _ in entry.builds)
            failed = next((built for built in made if built.failure is not None), None)
            if failed is not None and failed.failure is not None:
                self._settle(self._build_failed(entry.trial, made, failed.failure))
                continue
            identity = judging.identity(context, entry.trial, made, reference)
            name = self._stages.identity(entry.trial.key, identity)
            if not entry.trial.deployment and name == identity and self._reuse(entry.trial, name):
                continue
            done = self._history.repeats.get(name, {}) if self._history else {}
            tasks.append(Task(entry.trial, name, made, reference, dict(done)))
        return tasks

    def _whole(self, tasks: Sequence[Task]) -> list[Task]:
        """The tasks without those of deployments that are not whole, which are settled: it is all or nothing."""
        groups = deployment.grouped(task.trial for task in tasks)
        left = []
        for task in tasks:
            there = len(groups[deployment.group(task.trial)])
            lacking = len(task.trial.deployment.get("members") or [0]) - there
            if not lacking:
                left.append(task)
                continue
            reason = f"its deployment is not whole: {lacking} of {lacking + there} members could not be built or"
            reason += " cannot run here"
            self._settle(judging.without_run(self._context, task.trial, Status.STOPPED, reason))
        return left

    def _build_failed(self, trial: Trial, made: Sequence[tasks.Built], failure: Failure) -> Record:
        status = Status.STOPPED if failure.kind is FailureKind.PREEMPTED else Status.BUILD_FAILED
        if any(built.user_error for built in made):
            status = Status.INVALID
        if self._context.settings.plan == "measure" and failure.kind is FailureKind.TOOLCHAIN_MISSING:
            status = Status.UNAVAILABLE
        lost = ["x".join(map(str, b.spec.bucket)) for b in made if b.failure is not None and b.spec.bucket]
        if len(made) > 1 and lost:
            which = "bucket" if len(lost) == 1 else "buckets"
            failure = replace(failure, summary=f"{which} {', '.join(lost)}: {failure.summary}")
        record = judging.without_run(self._context, trial, status, failure.summary, failure)
        source = replays.source_of(made[0].spec) if replays.replays(trial) else None
        return replace(record, builds=tuple(built.to_json() for built in made), source=source)

    def _reuse(self, trial: Trial, identity: str) -> bool:
        """Take the finished result of an identical trial of an earlier sweep, if that is asked for."""
        context = self._context
        found = earlier.result(context, trial, identity) if context.settings.reuse else None
        if found is not None:
            self._settle(found)
        return found is not None


def entries_of(trials: Sequence[Trial]) -> list["Entry"]:
    """Entries of trials that were judged before."""
    return [Entry(trial, build_specs(trial)) for trial in trials]

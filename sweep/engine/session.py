"""One sweep from the declared trials to the verdict."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweep import __version__, backends, deployments, hardware, ledger, plan, select
from sweep.engine import builds, earlier, ladder, records, references, repeats, replays
from sweep.engine.context import Context, writable, write_json
from sweep.engine.references import Reference, Unusable
from sweep.interrupts import terminate_as_interrupt
from sweep.isolate import Workers
from sweep.report.terminal import Display
from sweep.settings import Settings
from sweep.spec import AUTO, Failure, FailureKind, Record, Status, Trial, to_json
from sweep.store import Store
from sweep.tracking import environment, store_uri

if TYPE_CHECKING:
    from sweep.buckets.lists import Search
    from sweep.config import Job
    from sweep.plan import Entry, Plan
    from sweep.tracking import Tracker

AGAIN = "-again"  # and how often: ends the identity of what is measured once more; its repeats are its own
BUILT = "built: run the same line with plan=measure where the hardware is"
INTERRUPTED = "interrupted: continue with `python -m sweep resume last`"


class Sweep:
    """One id, one folder under `outputs/sweeps/`, one MLflow parent run.

    `run` may be called more than once: a search asks for a few trials at a time. `finish` writes the verdict.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        command: str = "",
        search: bool = False,
        history: ledger.History | None = None,
        suffix: str = "",
    ) -> None:
        """
        Args:
            command: the line that asks for this sweep, for the record.
            search: `run` is called more than once; the plans are shown by whoever searches.
            history: an earlier sweep to finish: its folder, its records and its whole repeats stand.
            suffix: of the sweep's id.
        """
        self.settings = settings
        self.command = command
        self.search = search
        self.display = Display()
        self.host = hardware.detect()
        self.trials: dict[str, Trial] = {}  # that were declared, by key
        self.records: dict[str, Record] = dict(_settled(history)) if history else {}
        self.interrupted = False
        self.searches: dict[str, Search] = {}  # what `buckets=auto` found, by the key of the trial that asked
        self.staged = search  # `run` is called more than once: what one measures is not interleaved with the next
        # The record of a trial that is measured once more beside those of a later `run`, by key: the newer one counts
        self.controls: dict[str, Record] = {}
        self._history = history
        self._suffix = suffix
        self._stack = ExitStack()
        self._context: Context | None = None
        self._tracker: Tracker | None = None
        self._plans: list[Plan] = []
        self._references: dict[str, Reference | Unusable] = {}
        self._builds: dict[tuple[str, str], builds.Built] = {}
        self._comparisons: records.Comparisons = {}

    def run(self, jobs: Sequence["Job"]) -> list[Record]:
        """Resolve every trial; the records in the order of `jobs`. Nothing is run where `plan=only`.

        After a Ctrl-C or SIGTERM everything that runs is ended, what is open is stopped, and `interrupted` is set.

        Raises:
            UserError: the outputs folder cannot be used, or cannot be written any longer.
        """
        with writable(self.settings.outputs_path, self._stack):
            if any(job.trial.buckets == AUTO for job in jobs):
                from sweep.engine import auto_buckets

                return auto_buckets.run(self, jobs)
            return self._run([replace(job.trial, overrides=tuple(job.overrides)) for job in jobs])

    def _run(self, trials: Sequence[Trial]) -> list[Record]:
        context = self._open(trials)
        made = self._plan(context, trials)
        if self.settings.plan == "only":
            self._stack.close()
            return []
        with context.ledger.together():
            for trial in trials:
                if trial.key not in self.trials:
                    self.trials[trial.key] = trial
                    context.ledger.append("trial", trial=trial)
        lacking = {deployments.group(trial) for trial in trials if trial.key not in self.records}
        still_open = tuple(entry for entry in made.entries if deployments.group(entry.trial) in lacking)
        try:
            with terminate_as_interrupt():
                self._resolve(context, replace(made, entries=still_open))
        except KeyboardInterrupt:
            self.interrupted = True
            context.workers.cancel()
            context.store.interrupt()
            for entry in still_open:
                if entry.trial.key not in self.records:
                    self._settle(context, records.without_run(context, entry.trial, Status.STOPPED, INTERRUPTED))
        return [self.records[trial.key] for trial in trials]

    def ask(self, trials: Sequence[Trial]) -> None:
        """Put down trials that become others (`buckets=auto`), for `resume`."""
        for trial in trials:
            if self._history is None or trial.key not in self._history.asked:
                self._open(trials).ledger.append("asked", trial=trial)

    def survey(self, jobs: Sequence["Job"]) -> "Plan":
        """Judge trials by the rules without declaring them: a search looks at its whole space before it asks."""
        trials = [replace(job.trial, overrides=tuple(job.overrides)) for job in jobs]
        return plan.make(trials, self.host, self._open(trials).installed, self.settings.plan)

    @property
    def folder(self) -> Path:
        """Where everything of this sweep is; there from the first `run` or `survey`."""
        assert self._context is not None, "nothing was run yet"
        return self._context.folder

    def finish(self) -> int:
        """Verdict, tables, plots, MLflow; the exit status: 0, 2 if nothing could be measured, 130 if interrupted."""
        context = self._context
        if context is None or self.settings.plan == "only":
            self._stack.close()
            return 0
        with writable(self.settings.outputs_path, self._stack):
            return self._finish(context)

    def _finish(self, context: Context) -> int:
        from sweep.engine import auto_buckets, summary

        auto_buckets.write(self, context, list(self.trials.values()))
        found = list(self.records.values())
        verdict = select.verdict(found, self.settings.objective)
        files = summary.write(context.folder, self.settings, self._plans, found, verdict)
        context.ledger.append("finish", verdict=verdict, interrupted=self.interrupted)
        runs = self._send(context, found, verdict, files)
        self.display.results(found, verdict, self.settings, summary.lines(context.folder, verdict, found, runs))
        self._stack.close()
        if self.interrupted:
            return 130
        done = any(record.status is Status.OK or record.reason == BUILT for record in found)
        return 0 if done else 2

    def complete(self, jobs: Sequence["Job"]) -> int:
        """`run` and `finish`."""
        self.run(jobs)
        return self.finish()

    def reference(self, trial: Trial) -> Reference | Unusable:
        """The data and the original's answers of one trial, which need not be declared."""
        key = references.pair_key(trial)
        if key not in self._references:
            context = self._open([trial])
            if self.settings.plan == "only":  # leaves nothing behind
                context = replace(context, store=Store(context.folder / "store"))
            self._references |= references.obtain(context, [trial])
        return self._references[key]

    def _send(
        self, context: Context, found: Sequence[Record], verdict: select.Verdict, files: Sequence[Path]
    ) -> Mapping[str, str]:
        """Everything to MLflow; run ids by trial key, as far as the store answers."""
        self._track(context)
        if self._tracker is None:
            return {}
        from sweep.report import markdown

        text = markdown.describe(self.settings, self._plans[0] if self._plans else None, found, verdict, [self.command])
        logged = self._tracker.finish(found, verdict, files, text, interrupted=self.interrupted)
        if logged.problem:
            self.display.note(logged.problem)
        if logged.runs:
            context.ledger.append("runs", runs={**logged.runs, "": logged.parent})
        return logged.runs

    def _open(self, trials: Sequence[Trial]) -> Context:
        """The sweep's folder, store, ledger and workers, made at the first call."""
        if self._context is not None:
            return self._context
        outputs = self.settings.outputs_path
        store_uri(self.settings)  # a wrong address is told before anything is done
        if self.settings.plan == "only":  # leaves nothing behind
            folder = Path(self._stack.enter_context(TemporaryDirectory()))
        else:
            folder = self._history.folder if self._history else ledger.new_folder(outputs, self._suffix)
        store = Store(outputs / "store")
        book = ledger.Ledger(folder)
        self._stack.callback(book.close)
        workers = self._stack.enter_context(Workers())
        self._context = Context(self.settings, folder, self.host, self.display, store, workers, book)
        write_json(
            folder / "environment.json", environment.capture(to_json(vars(self.host) | {"gpus": len(self.host.gpus)}))
        )
        if self._history is None:
            book.append(
                "sweep", id=folder.name, settings=self.settings.to_json(), command=self.command, version=__version__
            )
        return self._context

    def _plan(self, context: Context, trials: Sequence[Trial]) -> "Plan":
        made = plan.make(trials, self.host, context.installed, self.settings.plan)
        parallel = builds.parallel_builds(context)
        seconds, note = plan.forecast(made, self.settings.effort, earlier.typical_seconds(context), parallel)
        made = replace(made, forecast_seconds=seconds, forecast_note=note)
        self._plans.append(made)
        if not self.search:  # which has shown its whole space
            self.display.plan(made, self.settings)
        return made

    def _resolve(self, context: Context, made: "Plan") -> None:
        """Every entry of the plan to a record."""
        with context.ledger.together():
            for entry in made.entries:
                if entry.status is not None:
                    self._settle(context, records.without_run(context, entry.trial, entry.status, entry.reason))
        if not made.valid:
            return
        for backend in {str(entry.trial.backend["name"]): entry for entry in made.valid}.values():
            _warm(context, backend)
        self._track(context)
        beside = [self.trials[key] for key, first in self.controls.items() if self.records[key] is first]
        entries = [*made.valid, *(plan.Entry(trial, plan.build_specs(trial)) for trial in beside)]
        tasks = self._whole(context, self._build(context, self._usable(context, entries)))
        if self.settings.plan == "build":
            for task in tasks:
                record = records.without_run(context, task.trial, Status.STOPPED, BUILT)
                self._settle(context, replace(record, builds=tuple(built.to_json() for built in task.builds)))
            return
        self._await_tracker()
        begun = time.time()
        repeats.measure_all(context, [task for task in tasks if replays.to_draw(task)])
        for task in tasks:
            record = records.judge(context, task, self._comparisons)
            first = self.controls.get(task.trial.key)
            if first is not None:
                if record.status is not Status.OK:  # what it could do before stands
                    self.display.note(f"{record.label}, measured once more: {record.reason}")
                    continue
                notes = {**record.notes, "measured_before": _times(first)}
                record = replace(record, identity=first.identity, notes=notes)
            if self.staged:
                record = replace(record, notes={**record.notes, "measured_together": begun})
            self._settle(context, record)

    def _usable(self, context: Context, entries: Sequence["Entry"]) -> list[tuple["Entry", Reference]]:
        """The entries whose model and data could be loaded and fit each other; the others are settled."""
        new = [e.trial for e in entries if references.pair_key(e.trial) not in self._references]
        if new:
            self._references |= {references.pair_key(t): replays.reference(t) for t in new if replays.replays(t)}
            real = [t for t in new if not replays.replays(t)]
            self._references |= references.obtain(context, real) if real else {}
        usable = []
        for entry in entries:
            reference = self._references[references.pair_key(entry.trial)]
            if isinstance(reference, Unusable):
                status, failure = reference.status, reference.failure
                self._settle(context, records.without_run(context, entry.trial, status, failure.summary, failure))
            elif problem := references.misfit(entry.trial, reference):
                self._settle(context, records.without_run(context, entry.trial, Status.INVALID, problem))
            else:
                usable.append((entry, reference))
        return usable

    def _build(self, context: Context, usable: Sequence[tuple["Entry", Reference]]) -> list[repeats.Task]:
        """Tasks to measure; trials with a failed build are settled."""
        asked = [
            [builds.Task(each, reference, builds.build_name(entry.trial, each)) for each in variants]
            for entry, reference in usable
            for variants in (ladder.variants(entry.trial, spec) for spec in entry.builds)
        ]
        hopeless = () if self.settings.plan == "measure" else ladder.HOPELESS
        found = iter(ladder.climb(asked, self._builds, lambda some: builds.build_all(context, some), hopeless))
        tasks = []
        for entry, reference in usable:
            made = tuple(next(found) for _ in entry.builds)
            failed = next((built for built in made if built.failure is not None), None)
            if failed is not None and failed.failure is not None:
                self._settle(context, self._build_failed(context, entry.trial, made, failed.failure))
                continue
            first = self.controls.get(entry.trial.key)
            again = first is not None
            name = records.identity(context, entry.trial, made, reference)
            name += f"{AGAIN}{_times(first)}" if first is not None else ""
            if not entry.trial.deployment and not again and self._reuse(context, entry.trial, name):
                continue
            done = self._history.repeats.get(name, {}) if self._history else {}
            tasks.append(repeats.Task(entry.trial, name, made, reference, dict(done)))
        return tasks

    def _whole(self, context: Context, tasks: Sequence[repeats.Task]) -> list[repeats.Task]:
        """The tasks without those of deployments that are not whole, which are settled: it is all or nothing."""
        groups = deployments.grouped(task.trial for task in tasks)
        left = []
        for task in tasks:
            lacking = len(task.trial.deployment.get("members") or [0]) - len(groups[deployments.group(task.trial)])
            if not lacking:
                left.append(task)
                continue
            reason = f"its deployment is not whole: {lacking} of {lacking + len(groups[deployments.group(task.trial)])}"
            reason += " members could not be built or cannot run here"
            self._settle(context, records.without_run(context, task.trial, Status.STOPPED, reason))
        return left

    def _build_failed(self, context: Context, trial: Trial, made: Sequence[builds.Built], failure: Failure) -> Record:
        status = Status.STOPPED if failure.kind is FailureKind.PREEMPTED else Status.BUILD_FAILED
        if any(built.user_error for built in made):
            status = Status.INVALID
        if self.settings.plan == "measure" and failure.kind is FailureKind.TOOLCHAIN_MISSING:
            status = Status.UNAVAILABLE
        lost = ["x".join(map(str, b.spec.bucket)) for b in made if b.failure is not None and b.spec.bucket]
        if len(made) > 1 and lost:
            which = "bucket" if len(lost) == 1 else "buckets"
            failure = replace(failure, summary=f"{which} {', '.join(lost)}: {failure.summary}")
        record = records.without_run(context, trial, status, failure.summary, failure)
        notes = replays.notes_of(made[0].spec) if replays.replays(trial) else {}
        return replace(record, builds=tuple(built.to_json() for built in made), notes=notes)

    def _reuse(self, context: Context, trial: Trial, identity: str) -> bool:
        """Take the finished result of an identical trial of an earlier sweep, if that is asked for."""
        found = earlier.result(context, trial, identity) if self.settings.reuse else None
        if found is not None:
            self._settle(context, found)
        return found is not None

    def _settle(self, context: Context, record: Record) -> None:
        self.records[record.key] = record
        self._leave(context, record)
        context.ledger.append("record", record=record)
        if self._tracker is not None:
            self._tracker.log(record)

    def _leave(self, context: Context, record: Record) -> None:
        """What a person or MLflow finds of a trial that was tried: `trials/<key>/`."""
        if record.status in (Status.INVALID, Status.UNAVAILABLE):
            return
        folder = context.folder / "trials" / record.key
        folder.mkdir(parents=True, exist_ok=True)
        trial = self.trials[record.key]
        write_json(folder / "config.json", {"trial": to_json(trial), "settings": self.settings.to_json()})
        write_json(folder / "record.json", to_json(record))
        if record.agreement is not None:
            write_json(folder / "agreement.json", to_json(record.agreement))

    def _track(self, context: Context) -> None:
        if self._tracker is None and self.settings.tracking.get("name") != "none":
            from sweep.tracking import Tracker

            self._tracker = Tracker(self.settings, context.folder.name, context.folder)
            self._tracker.start()

    def _await_tracker(self) -> None:
        """Importing MLflow would disturb what is measured: wait for it, but not for a server that is away."""
        if self._tracker is not None:
            self._tracker.ready(20.0)


def _times(first: Record) -> int:
    """How often a trial was measured in this sweep by now."""
    return 1 + int(first.notes.get("measured_before", 0))


def _settled(history: ledger.History) -> Mapping[str, Record]:
    return {key: record for key, record in history.records.items() if record.status is not Status.STOPPED}


def _warm(context: Context, entry: "Entry") -> None:
    """Start the fork servers that will be needed, so that their imports overlap."""
    trial = entry.trial
    if not replays.replays(trial):
        context.warm(references.preload(trial))
    if not trial.backend.get("python"):
        backend = backends.get(str(trial.backend["name"]))
        context.warm(backend.preload_build)
        context.warm(backend.preload_run)

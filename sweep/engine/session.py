"""One sweep from the declared trials to the verdict."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sweep import __version__, files
from sweep.engine import bucket_tables, builds, earlier, forecast, foresight, judging, rules
from sweep.engine.context import Context, writable
from sweep.engine.references import Reference, Unusable
from sweep.engine.resolve import Resolver, make_entries
from sweep.engine.stages import Stages, select_settled
from sweep.files import read_json, write_json
from sweep.hardware import environment
from sweep.hardware.host import detect
from sweep.isolate.interrupts import terminate_as_interrupt
from sweep.isolate.pool import Workers
from sweep.report.mlflow import tracker
from sweep.report.mlflow.address import store_uri
from sweep.report.terminal.display import Display
from sweep.spec import Json, Record, StopReason, Trial, UserError, deployment, exits, to_json
from sweep.spec.settings import Settings
from sweep.store import ledger
from sweep.store.builds import Store
from sweep.store.layout import OutputsFolder, SweepFolder
from sweep.text import list_some
from sweep.verdict import select
from sweep.verdict.costs import prices

if TYPE_CHECKING:
    from sweep.spec.plan import Plan

INTERRUPTED = "interrupted: continue with `python -m sweep resume last`"


class Sweep:
    """One id, one folder under `outputs/sweeps/`, one MLflow parent run.

    `run` may be called more than once: a search runs a few trials at a time. `finish` writes the verdict.
    `buckets=auto` is such a search, so trials that may have it go through `engine.search.buckets.run`.
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
            command: the command line of this sweep, for the record.
            search: `run` is called more than once, and the caller shows the plans.
            history: an earlier sweep to finish; its folder, its records and its whole repeats are kept.
            suffix: of the sweep's id.
        """
        self.settings = settings
        self.command = command
        self.search = search
        self.display = Display()
        self.host = detect()
        self.trials: dict[str, Trial] = {}  # that were declared, by key
        self.records: dict[str, Record] = select_settled(history.records.values()) if history else {}
        self.interrupted = False
        self.stages = Stages(several=search)
        self._history = history
        self._suffix = suffix
        self._stack = ExitStack()
        self._context: Context | None = None
        self._plans: list[Plan] = []
        self._resolver: Resolver | None = None

    def run(self, trials: Sequence[Trial]) -> list[Record]:
        """Resolve every trial. Returns their records in the same order; none with `plan=only`, which runs nothing.

        After Ctrl-C or SIGTERM all workers are ended, open trials are recorded as stopped, and `interrupted` is set.

        Raises:
            UserError: the outputs folder cannot be used, or can no longer be written.
        """
        with self.writable():
            return self._run(trials)

    def _run(self, trials: Sequence[Trial]) -> list[Record]:
        context = self._open()
        plan = self._plan(context, trials)
        if self.settings.plan == "only":
            self._stack.close()
            return []
        with context.ledger.together():
            for trial in trials:
                if trial.key not in self.trials:
                    self.trials[trial.key] = trial
                    context.ledger.append("trial", trial=trial)
        lacking = {deployment.group_key(trial) for trial in trials if trial.key not in self.records}
        still_open = tuple(entry for entry in plan.entries if deployment.group_key(entry.trial) in lacking)
        try:
            with terminate_as_interrupt():
                self._resolve(context, replace(plan, entries=still_open))
        except KeyboardInterrupt:
            self.interrupted = True
            context.workers.cancel()
            context.store.interrupt()
            for entry in still_open:
                if entry.trial.key not in self.records:
                    self._settle(judging.make_stopped_record(context, entry.trial, StopReason.INTERRUPTED, INTERRUPTED))
        return [self.records[trial.key] for trial in trials]

    def ask(self, trials: Sequence[Trial]) -> None:
        """Record trials that are replaced by others (`buckets=auto`), for `resume`."""
        for trial in trials:
            if self._history is None or trial.key not in self._history.asked:
                self._open().ledger.append("asked", trial=trial)

    def survey(self, trials: Sequence[Trial]) -> "Plan":
        """Judge trials by the rules without declaring them: a search surveys its whole space first."""
        return rules.make_plan(trials, self.host, self._open().installed, self.settings.plan)

    def foresee(self, plan: "Plan", goals: Sequence[str]) -> None:
        """Say what no trial of a search can reach; `goals`: the metrics that it aims at.

        Raises:
            UserError: no valid trial can be chosen.
        """
        with self.writable():
            self._foresee(self._open(), plan, goals)

    def writable(self) -> AbstractContextManager[None]:
        """End the sweep with one line that says why, if its records cannot be written inside."""
        return writable(self.settings.outputs_path, self._stack)

    @property
    def folder(self) -> Path:
        """The folder of this sweep; it exists from the first `run` or `survey`."""
        assert self._context is not None, "nothing was run yet"
        return self._context.folder

    def finish(self) -> int:
        """Write the verdict, tables and plots, and send them to MLflow.

        Returns:
            The exit status: see `spec.exits`.
        """
        context = self._context
        if context is None or self.settings.plan == "only":
            self._stack.close()
            return 0
        with self.writable():
            return self._finish(context)

    def _finish(self, context: Context) -> int:
        from sweep.engine import summary

        if store_uri(self.settings) is not None:  # MLflow is imported meanwhile
            context.warm(tracker.PRELOAD)
        bucket_tables.write(context, list(self.trials.values()), self.records, self.stages)
        records = list(self.records.values())
        verdict = select.choose(records, self.settings.objective)
        written = summary.write(context.folder, self.settings, self._plans, records, verdict)
        context.ledger.append("finish", verdict=verdict, interrupted=self.interrupted)
        runs = self._send(context, records, verdict, written)
        self.display.results(
            records, verdict, self.settings, summary.list_next_steps(context.folder, verdict, records, runs)
        )
        self._stack.close()
        return exits.INTERRUPTED if self.interrupted else summary.find_exit_status(records, verdict)

    def reference(self, trial: Trial) -> Reference | Unusable:
        """The data and the original's answers of one trial, which need not be declared."""
        context = self._open()
        if self.settings.plan == "only":  # leaves nothing behind
            context = replace(context, store=Store(OutputsFolder(context.folder).store))
        return self._resolving(context).reference(trial, context)

    def _send(
        self, context: Context, records: Sequence[Record], verdict: select.Verdict, written: Sequence[Path]
    ) -> Mapping[str, str]:
        """Send everything to MLflow in a worker. Returns run ids by trial key, as far as MLflow answers."""
        if store_uri(self.settings) is None:
            return {}
        from sweep.report.mlflow import markdown

        text = markdown.describe(
            self.settings, self._plans[0] if self._plans else None, records, verdict, [self.command]
        )
        paths = tuple(str(path) for path in written)
        request = tracker.SendRequest(str(context.folder), self.settings, paths, text, self.interrupted)
        try:
            with terminate_as_interrupt():
                outcome = context.run(
                    request,
                    "mlflow",
                    "send",
                    seconds=request.seconds(len(records)),
                    memory_mb=tracker.MEMORY_MB,
                    preload=tracker.PRELOAD,
                )
            sent = tracker.read_outcome(outcome, request)
        except KeyboardInterrupt:  # the sweep is over: its results are shown all the same
            self.interrupted = True
            sent = tracker.Sent(problem=tracker.describe_retry(self.settings, context.folder.name, "interrupted"))
        if sent.problem:
            self.display.note(sent.problem)
        if sent.runs:
            context.ledger.append("runs", runs=sent.by_key)
        return sent.runs

    def _open(self) -> Context:
        """Create the sweep's folder, store, ledger and workers at the first call."""
        if self._context is not None:
            return self._context
        outputs = self.settings.outputs_path
        store_uri(self.settings)  # a wrong address or
        table = prices.read(outputs)  # a bad table of prices ends the sweep before it begins
        if self.settings.plan == "only":  # leaves nothing behind
            folder = Path(self._stack.enter_context(TemporaryDirectory()))
        else:
            folder = self._history.folder if self._history else ledger.new_folder(outputs, self._suffix)
        store = Store(OutputsFolder(outputs).store)
        book = ledger.Ledger(folder)
        self._stack.callback(book.close)
        workers = self._stack.enter_context(Workers())
        self._context = Context(self.settings, folder, self.host, self.display, store, workers, book, price_table=table)
        now = environment.capture(to_json(vars(self.host) | {"gpus": len(self.host.gpus)}))
        if self._history is not None:
            self._note_changes(read_json(SweepFolder(folder).environment), now)
        write_json(SweepFolder(folder).environment, now)
        variables = [f"{name}={value}" for name, value in environment.find_of_speed().items()]
        if variables:
            self.display.note(
                f"this shell sets {', '.join(variables)}: workers have it, as a script of this shell would"
            )
        if self._history is None:
            book.append("sweep", id=folder.name, settings=self.settings, command=self.command, version=__version__)
        return self._context

    def _note_changes(self, before: Json, now: Json) -> None:
        """Say what is not as it was when this sweep began: its repeats are compared with those of now."""
        if before and (changes := environment.list_differences(before, now)):
            self.display.note(
                f"since this sweep began: {list_some(changes, 4)}; what is measured now is compared with it"
            )

    def _plan(self, context: Context, trials: Sequence[Trial]) -> "Plan":
        plan = rules.make_plan(trials, self.host, context.installed, self.settings.plan)
        parallel = builds.count_parallel_builds(context)
        starts, price = earlier.learn_start_seconds(context), self.settings.objective.price
        typical = earlier.learn_build_seconds(context)
        seconds, note = forecast.forecast(plan, self.settings.effort, typical, parallel, starts, price)
        plan = replace(plan, forecast_seconds=seconds, forecast_note=note)
        self._plans.append(plan)
        if not self.search:  # which has shown its whole space
            self.display.plan(plan, self.settings)
            self._foresee(context, plan)
        return plan

    def _foresee(self, context: Context, plan: "Plan", goals: Sequence[str] = ()) -> None:
        """Say what no trial can reach, before anything is built.

        Raises:
            UserError: no valid trial can be chosen, or a search is to choose what nobody chooses.
        """
        if self.settings.plan == "build" or self._history is not None or len(self._plans) > 1:
            return
        trials = [entry.trial for entry in plan.valid]
        objective, effort = self.settings.objective, self.settings.effort
        try:
            if goals:
                foresight.refuse_several_questions(trials)
            lines = foresight.examine(trials, objective, effort, context.price_table, goals)
        except UserError:  # nothing was done yet
            self._stack.close()
            files.remove(context.folder)
            raise
        for line in lines:
            self.display.note(line)

    def _resolve(self, context: Context, plan: "Plan") -> None:
        """Bring every entry of the plan to a record."""
        resolver = self._resolving(context)
        with context.ledger.together():
            resolver.refuse(plan.entries)
        if not plan.valid:
            return
        resolver.warm(plan.valid)
        tasks = resolver.prepare([*plan.valid, *make_entries(self.stages.list_again(self.trials, self.records))])
        if tasks:
            resolver.measure(tasks)

    def _resolving(self, context: Context) -> Resolver:
        if self._resolver is None:
            self._resolver = Resolver(context, self.stages, self._history, self._settle)
        return self._resolver

    def _settle(self, record: Record) -> None:
        assert self._context is not None
        context = self._context
        self.records[record.key] = record
        self._leave(context, record)
        context.ledger.append("record", record=record)

    def _leave(self, context: Context, record: Record) -> None:
        """Write `trials/<key>/` of a trial that was tried, for people and MLflow."""
        if not record.status.was_tried:
            return
        folder = SweepFolder(context.folder).trial(record.key)
        folder.path.mkdir(parents=True, exist_ok=True)
        write_json(folder.config, to_json({"trial": self.trials[record.key], "settings": self.settings}))
        write_json(folder.record, to_json(record))
        if record.agreement is not None:
            write_json(folder.agreement, to_json(record.agreement))

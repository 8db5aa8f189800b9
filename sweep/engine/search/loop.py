"""A search: run a few trials at a time, chosen by the results so far, until the budget is spent.

    python -m sweep hydra/sweeper=optuna 'search.budget=20 trials' backend=torch,onnxruntime batch=1,2,4,8 cores=1,2

Settings, under `search`:

budget       "20 trials", "10 minutes", "2 hours", "90 s". A batch that was begun is finished.
batch        trials at a time: they are built in parallel and their repeats are interleaved.
sampler      tpe | random | nsga2; seeded by `seed`.
objectives   [] = the metric of `objective`; several metrics give a Pareto front. The limits of `objective` hold
             either way.
warm_start   start from results of the same trials (same model, data, hardware, backend and settings) in earlier
             sweeps, from the outputs folder or the same storage. They guide the sampler and are no results: with
             `reuse=true` the engine takes them, else it measures such a trial again.
storage      where the study is copied for people and other tools: any URL that Optuna knows; null:
             `<outputs>/search.db`.
resume       last, or the id of a sweep that was a search.

`resume` goes on with the sweep, not with the study. The sampler gets all results from the ledger again, unfinished
trials come first (their finished repeats are kept), and the rest of the budget is spent; a larger budget may be given.
`python -m sweep resume SWEEP` does this with the command of that sweep. Without `resume` a search starts anew, whatever
the storage holds. The study's name has a hash of the space and of the objectives, so another space is another study.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from sweep.config import axes, overrides
from sweep.engine.search import space as search_space
from sweep.engine.search.options import Options
from sweep.files import write_json
from sweep.spec import Json, Origin, Record, Status, UserError, digest, metrics, to_json
from sweep.store import ledger
from sweep.text import count, duration, quantity, relative

if TYPE_CHECKING:
    from sweep.config.compose import Composer
    from sweep.engine.search.space import Point, SearchSpace
    from sweep.engine.search.study import Direction, Guide, Mirror
    from sweep.engine.session import Sweep
    from sweep.spec.plan import Plan

NOTES = "search.json"  # in the sweep's folder: what `resume` needs


class Launcher(Protocol):
    """The launcher that a search needs; more than Hydra's `launch`."""

    search: bool
    history: ledger.History | None
    sweep: "Sweep | None"

    def survey(self, job_overrides: Sequence[Sequence[str]]) -> "Plan": ...
    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[Any]: ...
    def finish(self) -> int: ...


def run(arguments: Sequence[str], composer: "Composer", launcher: Launcher) -> int:
    """Search the space that the command line declares. Returns the exit status of the sweep.

    Raises:
        UserError: for bad input, a storage that cannot be used, or a sweep that cannot be resumed.
    """
    spaces = axes.spaces(arguments, composer)
    if any(space.members for space in spaces):
        raise UserError("a deployment is measured as a whole: leave out hydra/sweeper=optuna, or deployment.members")
    sections = [composer.config(search_space.list_first(space), ("search", "outputs")) for space in spaces]
    if any(section != sections[0] for section in sections):
        raise UserError("search and outputs are set once a sweep, and these experiments ask for two")
    options, outputs = Options.read(sections[0]["search"]), Path(sections[0]["outputs"])
    if options.storage is not None:  # before the sweep has a folder
        from sweep.engine.search.study import check_storage

        check_storage(options.storage)
    launcher.search = True
    before = EarlierSearch.find(outputs, options.resume) if options.resume else None
    launcher.history = before.history if before else None
    space = search_space.make_space(spaces, composer, launcher.survey)
    assert launcher.sweep is not None, "a survey opens the sweep"
    search = _Search(options, space, launcher, launcher.sweep, _strip_resume(arguments, composer), before)
    search.show()
    if launcher.sweep.settings.plan != "only":
        search.go()
    return launcher.finish()


@dataclass(frozen=True)
class EarlierSearch:
    """A search that is resumed."""

    history: ledger.History
    notes: Json

    @staticmethod
    def find(outputs: Path, name: str) -> "EarlierSearch":
        """Raises UserError: there is no such sweep, or it was no search."""
        folder = ledger.find(outputs, name)
        if name == "last":
            folder = next(
                (candidate for candidate in reversed(ledger.sweeps(outputs)) if (candidate / NOTES).exists()), folder
            )
        notes = read_notes(folder)
        if notes is None:
            raise UserError(f"sweep {folder.name} was no search: finish it with `python -m sweep resume {folder.name}`")
        return EarlierSearch(ledger.History(folder), notes)


def read_notes(folder: Path) -> Json | None:
    """Read what a search left in its sweep's folder for `resume`; None if that sweep was no search."""
    try:
        notes = json.loads((folder / NOTES).read_text())
    except (OSError, ValueError):
        return None
    return notes if isinstance(notes, dict) else None


def make_resume_command(folder: Path) -> list[str]:
    """The command line that goes on with the search in this sweep's folder."""
    notes = read_notes(folder)
    assert notes is not None, "ask `read_notes` first"
    outputs = folder.parent.parent
    return [
        *notes["arguments"],
        f"outputs={overrides.format_value(str(outputs))}",
        f"search.resume={overrides.format_value(folder.name)}",
    ]


@dataclass
class _Search:
    options: Options
    space: "SearchSpace"
    launcher: Launcher
    sweep: "Sweep"
    arguments: list[str]
    before: EarlierSearch | None
    seconds: float = 0.0  # spent before this process took over
    trials_spent: int = 0  # of the budget: those that an earlier sweep answered cost nothing
    warm: int = 0
    points: dict[str, "Point"] = field(default_factory=dict)
    first: list["Point"] = field(default_factory=list)  # left unfinished by an earlier process
    complained: bool = False  # about the storage

    def __post_init__(self) -> None:
        objective = self.sweep.settings.objective
        names = self.options.objectives or (objective.metric,)
        self.objectives = {
            name: objective.maximize if name == objective.metric else metrics.find(name).better is metrics.Better.HIGHER
            for name in names
        }
        self.study = f"{self.sweep.settings.name}-{digest([self.space.identity, self.space.axes, self.objectives])[:8]}"
        self.storage = self.options.storage or f"sqlite:///{self.sweep.settings.outputs_path / 'search.db'}"
        if self.before is not None:
            self._check(self.before)
            self.seconds = float(self.before.notes.get("seconds", 0.0))
        self._started = time.monotonic()

    def show(self) -> None:
        """Show the space, what the rules refuse in it, and the budget."""
        from sweep.engine.search.space import Planned

        display, settings, options = self.sweep.display, self.sweep.settings, self.options
        if isinstance(self.space, Planned):
            display.plan(self.space.plan, settings)
            self.sweep.foresee(self.space.plan, tuple(self.objectives))
            size = f"{len(self.space.valid):,} points"
        else:
            names = ", ".join(f"{name} ({len(values)})" for name, values in self.space.axes.items())
            display.note(f"space: {names}; too large to be judged as a whole, each point is judged when it is its turn")
            size = f"{self.space.declared:,} points"
        goals = ", ".join(f"{'max' if up else 'min'}imize {name}" for name, up in self.objectives.items())
        batch = f"{options.batch} at a time" if options.batch > 1 else "one at a time"
        display.note(
            f"search: {goals}; {options.budget} of {size}, {batch}, {options.sampler} with seed {settings.seed}"
        )

    def go(self) -> None:
        """Run batches until the budget is spent, no point is left, or a person stops it."""
        self._write()
        try:
            guide, mirror = self._study()
            if not getattr(self.space, "valid", True):
                self._settle_refused()
                return
            while not self.sweep.interrupted and self._batch(guide, mirror):
                self._write()
                self.sweep.display.note(self._progress(guide))
            if not self.sweep.interrupted:
                self.sweep.display.note(self._ended(guide))
        except KeyboardInterrupt:
            self.sweep.interrupted = True
        self._write()

    def _batch(self, guide: "Guide", mirror: "Mirror") -> bool:
        """Run one batch; False if there is none left."""
        room = self.options.budget.room(self.options.batch, self.trials_spent, self._spent())
        first, self.first = self.first[:room], self.first[room:]
        batch = guide.ask(room, first) if room else []
        if not batch:
            return False
        self.points.update({point.key: point for _, point in batch})
        returns = self.launcher.launch([point.overrides for _, point in batch], initial_job_idx=self.trials_spent)
        records = [done.return_value for done in returns]
        trials = [guide.tell(trial, record) for (trial, _), record in zip(batch, records, strict=True)]
        self.trials_spent += sum(record.origin is not Origin.REUSED for record in records)
        mirror.add(trials)
        if mirror.problem and not self.complained:
            self.complained = True
            self.sweep.display.note(f"the study is no longer copied to {self.storage}: {mirror.problem}")
        return True

    def _study(self) -> "tuple[Guide, Mirror]":
        """The sampler with all known results, and the storage."""
        from sweep.engine.search.study import Guide, Mirror

        options, settings = self.options, self.sweep.settings
        directions: list[Direction] = ["maximize" if up else "minimize" for up in self.objectives.values()]
        mirror = Mirror(self.storage, self.study, directions)
        startup = max(4, min(8, (options.budget.trials or 24) // 3))
        seed = settings.seed + len(self.sweep.records)  # a resumed search draws anew
        guide = Guide(
            self.space, self.objectives, settings.objective, sampler=options.sampler, seed=seed, startup=startup
        )
        mirror.add([guide.add(point, record) for point, record in self._finished_before()])
        if options.warm_start:
            self.warm = self._warm_start(guide, mirror)
            self.sweep.display.note(f"warm start: {count(self.warm, 'trial')} of earlier sweeps told to the sampler")
        return guide, mirror

    def _finished_before(self) -> "list[tuple[Point, Record]]":
        """The finished trials of a resumed search; the unfinished ones are put in front of the queue."""
        finished = []
        for key, trial in (self.before.history.trials if self.before else {}).items():
            point = self.space.find(trial)
            if point is None:
                continue
            record = self.sweep.records.get(key)
            self.points[key] = point
            if record is None or not record.status.is_finished:
                self.first.append(point)
                continue
            self.space.taken.add(key)
            self.trials_spent += record.origin is not Origin.REUSED
            finished.append((point, record))
        return finished

    def _warm_start(self, guide: "Guide", mirror: "Mirror") -> int:
        """Tell the sampler results of earlier sweeps, from the outputs folder and the storage. Returns their number."""
        known = set(self.sweep.records)
        here = [folder for folder in ledger.sweeps(self.sweep.settings.outputs_path) if folder != self.sweep.folder]
        for folder in reversed(here):  # the newest result of a trial counts
            history = ledger.History(folder)
            for key, record in history.records.items():
                if key in known or key not in history.trials or (point := self.space.find(history.trials[key])) is None:
                    continue
                if guide.add(point, record) is not None:
                    known.add(key)
        for trial in reversed(mirror.trials()):
            key = str(trial.user_attrs.get("key"))
            if key not in known:
                guide.study.add_trial(trial)
                known.add(key)
        return len(known) - len(self.sweep.records)

    def _settle_refused(self) -> None:
        """Record why no point can run; the table of the sweep shows it, as for a grid."""
        refused = [entry.trial.overrides for entry in self.space.plan.entries]
        self.launcher.launch(refused, initial_job_idx=0)

    def _progress(self, guide: "Guide") -> str:
        records = [self.sweep.records[key] for key in self.points if key in self.sweep.records]
        failed = sum(r.status.is_finished and r.status is not Status.OK for r in records)
        limit = self.options.budget.trials
        spent = (
            f"{self.trials_spent}/{limit}"
            if limit
            else f"{count(self.trials_spent, 'trial')} in {duration(self._spent())}"
        )
        return f"search {spent}{f', {failed} failed' if failed else ''}: {self._best(guide)}"

    def _best(self, guide: "Guide") -> str:
        front = guide.best(self.sweep.records.values())
        if not front:
            return "nothing acceptable yet"
        shown = [f"{record.label} with {self._values(record)}" for record in front[:4]]
        more = f" and {len(front) - 4} more" if len(front) > 4 else ""
        if len(self.objectives) == 1:
            return f"best so far {shown[0]}"
        return f"{len(front)} that nothing else beats: {'; '.join(shown)}{more}"

    def _values(self, record: Record) -> str:
        return ", ".join(quantity(name, record.number(name) or 0.0) for name in self.objectives)

    def _ended(self, guide: "Guide") -> str:
        left = self.options.budget.room(self.options.batch, self.trials_spent, self._spent())
        why = "every point that can run was tried" if left else f"the budget of {self.options.budget} is spent"
        where = (
            relative(self.storage.removeprefix("sqlite:///")) if self.storage.startswith("sqlite:///") else self.storage
        )
        front = "" if len(self.objectives) == 1 else f"; {self._best(guide)}"
        return f"search: {why}; study {self.study} in {where}{front}"

    def _spent(self) -> float:
        return self.seconds + time.monotonic() - self._started

    def _write(self) -> None:
        """Write what `resume` needs. A kill loses at most the time of one batch; the ledger has the trials."""
        notes = {
            "arguments": self.arguments,
            "study": self.study,
            "storage": self.options.storage,
            "space": self.space.identity,
            "seconds": self._spent(),
            "points": self.space.declared,
        }
        write_json(self.sweep.folder / NOTES, notes)

    def _check(self, before: EarlierSearch) -> None:
        """Raises UserError if the earlier search had another space or another effort."""
        name = before.history.folder.name
        if before.notes.get("space") != self.space.identity:
            raise UserError(
                f"sweep {name} searched another space: `python -m sweep resume {name}` uses its own command"
            )
        effort = before.history.header.get("settings", {}).get("effort")
        if effort != to_json(self.sweep.settings.effort):
            raise UserError(f"sweep {name} measured with another effort: `python -m sweep resume {name}` uses its own")


def _strip_resume(arguments: Sequence[str], composer: "Composer") -> list[str]:
    """The command line, usable from any folder and without `search.resume`."""
    from sweep.config.compose import find_conf_dir

    flags: list[str] = []
    for element in composer.loader.get_search_path().get_path():
        path = str(element.path).removeprefix("file://")
        if element.provider == "command-line":
            flags += ["--config-dir", path]
        elif element.provider == "main" and Path(path) != find_conf_dir():
            flags += ["--config-path", path]
    if composer.config_name != "config":
        flags += ["--config-name", composer.config_name]
    ours = [line for line in arguments if axes.strip_sign(line.partition("=")[0]) != "search.resume"]
    return [*flags, *composer.hydra_overrides, *ours]

"""MLflow as a mirror of the ledger: one writer, behind the work, and never in its way.

All calls go through one daemon thread. The first one that fails opens the circuit: nothing more is tried, the sweep
goes on, one line says what to do. The ledger has everything, and `replay` sends it later by the same code.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.hardware import environment
from sweep.report.mlflow.address import is_server, prepare_client, store_uri, tracked_after_all
from sweep.report.mlflow.database import import_client
from sweep.report.mlflow.links import links, shared_view
from sweep.report.mlflow.markdown import describe_trial
from sweep.report.mlflow.pages import experiment_note, sweep_note
from sweep.report.mlflow.store import WITHOUT_RUN, RunStore, asked
from sweep.report.names import ranked, varying
from sweep.spec import Record, Status, metrics_of
from sweep.spec.settings import Settings
from sweep.text import one_line
from sweep.verbs.ui import serve

if TYPE_CHECKING:
    from sweep.verdict.select import Verdict

__all__ = ["Logged", "Tracker", "links", "replay", "serve", "store_uri"]

SERVER_SECONDS = 15.0  # silent for longer: a server hangs
LOCAL_SECONDS = 60.0  # a file does not hang, but a loaded machine takes its time to make it
SECONDS_A_TRIAL = 1.0  # and a store that is only slow gets this much a trial on top
TOP = 5  # trials that a link sets side by side
_DATA_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


@dataclass(frozen=True)
class Logged:
    """What the store has now."""

    runs: Mapping[str, str] = field(default_factory=dict)  # MLflow run id by trial key
    parent: str | None = None
    experiment_id: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None  # one line, where not everything was sent


class Tracker:
    """The MLflow runs of one sweep. No method raises for what the store does, or waits long for it."""

    def __init__(
        self,
        settings: Settings,
        sweep_id: str,
        folder: Path,
        *,
        live: bool = True,
        stall_seconds: float | None = None,
    ) -> None:
        """
        Args:
            folder: the sweep's own folder, whose `environment.json` goes to every run.
            live: the sweep runs here and now: `environment.json` is written where it is missing.
            stall_seconds: how long a store may be silent before it is given up; None: by its kind.
        Raises:
            UserError: the settings name no store (`tracking=server` without an address).
        """
        self._settings, self._sweep_id, self._folder = settings, sweep_id, folder
        self._uri = store_uri(settings)
        server = self._uri is not None and is_server(self._uri)
        self._stall = stall_seconds or (SERVER_SECONDS if server else LOCAL_SECONDS)
        self._live = live
        self._files: dict[str, tuple[Path, ...]] = {}
        self._pending: dict[str, Record] = {}
        self._runs: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._problem: str | None = None
        self._skipped: list[str] = []
        self._store: RunStore | None = None
        self._jobs: queue.SimpleQueue[tuple[Callable[[], None], threading.Event]] = queue.SimpleQueue()
        self._opened: threading.Event | None = None
        self._beat = 0.0

    @property
    def problem(self) -> str | None:
        """One line, once the store was given up."""
        return self._problem

    def start(self) -> None:
        """Begin to import MLflow and to open the store, experiment and parent run, in a thread. Returns at once."""
        if self._opened is None and self._uri is not None:
            prepare_client()
            self._opened = self._submit(self._open)
            threading.Thread(target=self._work, name="mlflow-writer", daemon=True).start()

    def ready(self, timeout: float | None = None) -> bool:
        """Wait until nothing goes on in the background (or it failed), so that it cannot disturb a measurement.

        Returns:
            False where it still goes on after `timeout` seconds.
        """
        return self._opened is None or self._opened.wait(timeout)

    def log(self, record: Record, files: Sequence[Path] = ()) -> None:
        """Keep a trial's record for the next `flush` or `finish`; costs nothing. A later record replaces it.

        Args:
            files: more artifacts. What stands in `trials/KEY` of the sweep's folder (the resolved config) and what the
                record names (logs, samples) is sent anyway.
        """
        if files:
            self._files[record.key] = tuple(files)
        if record.status not in WITHOUT_RUN:
            self._pending[record.key] = record

    def flush(self) -> Logged:
        """Send what was logged so far: between two batches of a search, never while anything is measured."""
        self._send()
        return self._logged({})

    def finish(
        self,
        records: Sequence[Record],
        verdict: Verdict | None,
        files: Sequence[Path] = (),
        markdown: str = "",
        *,
        interrupted: bool = False,
    ) -> Logged:
        """Send every trial that is not there, then the sweep's own run with headline, files and description.

        Args:
            records: all of the sweep, also those that `log` never saw.
            files: plan, tables, plots; folders go whole.
            markdown: the description of the parent run.
            interrupted: the sweep did not come to its end.
        """
        for record in records:
            self.log(record)
            self._notes[record.key] = describe_trial(record, len(records), verdict)
        self._send()
        winner, leader = _winner(records, verdict), _leader(records, verdict)

        best = self._best(records, verdict)
        known = {name for record in records for name in metrics_of(record)}

        def close(store: RunStore) -> None:
            store.tag_experiment(*shared_view(self._settings.objective, self._sweep_id, _varying(records), known))
            store.describe_experiment(experiment_note(store.experiment_id, self._sweep_id, self._settings))
            pages = {"parent": store.parent, "winner": self._runs.get(winner.key if winner else "", "")}
            files_sent = [path.name for path in files if path.exists()]
            store.close_parent(
                {**(metrics_of(leader) if leader else {}), **_counts(records), **_work(records)},
                asked(winner) if winner and not interrupted else {},
                _parent_tags(self._settings, verdict, winner, leader),
                sweep_note(markdown, store.experiment_id, self._sweep_id, pages, best, files_sent),
                "KILLED" if interrupted else "FINISHED" if _counts(records)["trials_ok"] else "FAILED",
            )

        def attach(store: RunStore) -> None:
            present = [path for path in (*files, self._folder / "environment.json") if path.exists()]
            store.add_parent_files(present)

        self._wait([self._submit(lambda: self._with_store(attach)), self._submit(lambda: self._with_store(close))])
        return self._logged({"top": best})

    def _best(self, records: Sequence[Record], verdict: Verdict | None) -> list[str]:
        """Runs of the best trials."""
        order = ranked([r for r in records if r.status is Status.OK], verdict.ranking if verdict else ())
        return [self._runs[r.key] for r in order[:TOP] if r.key in self._runs]

    def _send(self) -> None:
        self.start()
        pending, self._pending = self._pending, {}
        done = [self._submit(lambda record=record: self._one(record)) for record in pending.values()]  # type: ignore[misc]  # lambda with a default
        self._wait(done)

    def _one(self, record: Record) -> None:
        own = self._folder / "trials" / record.key

        def send(store: RunStore) -> None:
            found = sorted(own.iterdir()) if own.is_dir() else []
            files = [self._folder / "environment.json", *found, *self._files.get(record.key, ())]
            self._runs[record.key] = store.log_trial(record, files, self._notes.get(record.key, ""))

        self._with_store(send, record.label)

    def _open(self) -> None:
        try:
            if self._live:
                environment.write(self._folder / "environment.json")
            import_client()
            self._beat = time.monotonic()  # the store has not been asked yet
            self._store = RunStore(str(self._uri), self._settings, self._sweep_id)
        except Exception as error:
            self._give_up(error)

    def _with_store(self, action: Callable[[RunStore], None], label: str = "") -> None:
        """Run one action in the writer's thread unless the circuit is open; what fails for its own data is skipped."""
        if self._problem is not None or self._store is None:
            return
        try:
            action(self._store)
        except Exception as error:
            if label and _is_about_data(error):
                self._skipped.append(f"{label}: {one_line(str(error))[:200]}")
            else:
                self._give_up(error)

    def _give_up(self, reason: object) -> None:
        uri = str(self._uri)
        what = f"MLflow server {uri} is away" if is_server(uri) else f"MLflow store {uri} cannot be written"
        detail = one_line(str(reason))
        short = detail if len(detail) <= 160 else detail[:157] + "..."
        send = f"everything is in the ledger; send it later with `python -m sweep sync {self._sweep_id}`"
        self._problem = self._problem or f"{what} ({short}): {send}"

    def _submit(self, job: Callable[[], None]) -> threading.Event:
        done = threading.Event()
        if self._uri is None or self._problem is not None:
            done.set()
        else:
            self._jobs.put((job, done))
        return done

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            job()
            self._beat = time.monotonic()
            done.set()

    def _wait(self, events: Sequence[threading.Event]) -> None:
        """Wait for the writer; a store that is silent for too long, or too slow over all, is given up."""
        began = self._beat = time.monotonic()
        limit = self._stall + SECONDS_A_TRIAL * len(events)
        for event in events:
            while self._problem is None and not event.wait(min(self._stall / 10, 1.0)):
                now = time.monotonic()
                if now - max(self._beat, began) > self._stall:
                    self._give_up(f"no answer for {self._stall:g} s")
                elif now - began > limit:
                    self._give_up(f"not done after {limit:g} s")

    def _logged(self, more: Mapping[str, Sequence[str]]) -> Logged:
        problem = self._problem
        if problem is None and self._skipped:
            problem = f"MLflow refused {len(self._skipped)} of the trials ({self._skipped[0]})"
        store = self._store
        if store is None:
            return Logged(problem=problem)
        found = links(
            self._settings,
            store.experiment_id,
            parent=store.parent,
            sweep_id=self._sweep_id,
            top=more.get("top", ()),
        )
        return Logged(dict(self._runs), store.parent, store.experiment_id, found, problem)


def replay(
    settings: Settings,
    sweep_id: str,
    folder: Path,
    records: Sequence[Record],
    verdict: Verdict | None,
    files: Sequence[Path] = (),
    markdown: str = "",
    *,
    interrupted: bool = False,
) -> Logged:
    """Send a sweep from its ledger (`sync`): what is in the store already is found and not doubled."""
    tracker = Tracker(tracked_after_all(settings), sweep_id, folder, live=False)
    return tracker.finish(records, verdict, files, markdown, interrupted=interrupted)


def _is_about_data(error: Exception) -> bool:
    """The store works, but does not like what it was given."""
    return getattr(error, "error_code", "") in _DATA_ERRORS or isinstance(error, (ValueError, TypeError))


def _winner(records: Sequence[Record], verdict: Verdict | None) -> Record | None:
    return next((r for r in records if verdict is not None and r.key == verdict.winner), None)


def _varying(records: Sequence[Record]) -> list[str]:
    ran = [record.settings for record in records if record.status not in WITHOUT_RUN]
    return varying(ran) or ["backend", "precision", "batch", "cores"]


def _counts(records: Sequence[Record]) -> dict[str, float]:
    good = sum(record.status is Status.OK for record in records)
    refused = sum(record.status in WITHOUT_RUN for record in records)
    return {
        "trials": float(len(records)),
        "trials_ok": float(good),
        "trials_not_possible": float(refused),
        "trials_failed": float(len(records) - good - refused),
    }


def _work(records: Sequence[Record]) -> dict[str, float]:
    """What the whole sweep took, beside the numbers of the leader alone."""
    builds = {build["key"]: build for record in records for build in record.builds if build.get("key")}
    new = [build for build in builds.values() if not build.get("reused")]
    repeats = [repeat for record in records if record.origin == "measured" for repeat in record.repeats]
    return {
        "all_builds": float(len(builds)),
        "all_builds_reused": float(len(builds) - len(new)),
        "all_build_seconds": math.fsum(float(build.get("seconds") or 0) for build in new),
        "all_repeats": float(len(repeats)),
        "all_repeat_seconds": math.fsum(float(repeat.notes.get("wall_seconds") or 0) for repeat in repeats),
    }


def _leader(records: Sequence[Record], verdict: Verdict | None) -> Record | None:
    """The winner, or who leads while it is undecided: whose numbers stand on the sweep's own run."""
    if verdict is None or verdict.kind == "none":
        return None
    return next((r for r in records if r.key == (verdict.winner or next(iter(verdict.ranking), None))), None)


def _parent_tags(
    settings: Settings, verdict: Verdict | None, winner: Record | None, leader: Record | None
) -> dict[str, str]:
    tags = {"sweep.objective": settings.objective.name}
    if verdict is not None:
        tags["sweep.verdict"] = str(verdict.kind)
        tags["sweep.winner"] = winner.label if winner else ""
        tags["sweep.leader"] = leader.label if leader else ""
    return tags

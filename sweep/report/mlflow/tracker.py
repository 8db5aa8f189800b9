"""MLflow as a mirror of the ledger: when a sweep has ended, a worker of the pool sends it.

Only the process that sends imports MLflow: that worker, or `python -m sweep sync`, never a running sweep. The first
call that fails ends the sending, and one line says what to do. The ledger has everything; what is already in the store
is not sent again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.report import story
from sweep.report.mlflow.address import is_server, store_uri, with_tracking
from sweep.report.mlflow.links import make_shared_view
from sweep.report.mlflow.markdown import describe_experiment, describe_sweep, describe_trial
from sweep.report.mlflow.store import RunStore, list_params
from sweep.report.names import find_varying, sort_ranked
from sweep.spec import Json, Origin, Outcome, Record, Status, from_json, to_json
from sweep.spec.settings import Settings
from sweep.store import ledger, query
from sweep.text import to_single_line
from sweep.verdict import select

if TYPE_CHECKING:
    from sweep.verdict.select import Verdict

PRELOAD = ("sweep.report.mlflow.client",)
SERVER_SECONDS = 30.0  # to open the store and close the sweep's run; then a server counts as hanging
LOCAL_SECONDS = 120.0  # the same for a file: a busy machine may need long to create it
SECONDS_A_TRIAL = 1.0
MEMORY_MB = 4096.0
TOP = 5  # trials that a link sets side by side
_DATA_ERRORS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS")


@dataclass(frozen=True)
class SendRequest:
    """Which sweep to send; everything about it lies in its folder."""

    folder: str
    settings: Settings
    files: tuple[str, ...] = ()  # for the sweep's own run: plan, tables, plots; folders go whole
    markdown: str = ""  # the description of the sweep's own run
    interrupted: bool = False  # the sweep was stopped before its end
    entry: str = "sweep.report.mlflow.tracker:send_stored"

    @property
    def sweep_id(self) -> str:
        return Path(self.folder).name

    def seconds(self, trials: int) -> float:
        """How long sending may take."""
        base = SERVER_SECONDS if is_server(str(store_uri(self.settings))) else LOCAL_SECONDS
        return base + SECONDS_A_TRIAL * trials


@dataclass(frozen=True)
class Sent:
    """What was sent, or why not everything was."""

    runs: Mapping[str, str] = field(default_factory=dict)  # MLflow run id by trial key
    parent: str | None = None
    experiment_id: str | None = None
    problem: str | None = None  # one line, if something was not sent

    @property
    def by_key(self) -> Json:
        """Every run id by the key of its trial, and the sweep's own by the empty key, as the ledger keeps them."""
        return {**self.runs, "": self.parent}


def read_outcome(worker: Outcome, request: SendRequest) -> Sent:
    """What a worker has sent; if it was killed or crashed, the line that says how to send the rest."""
    if worker.failure is None:
        return from_json(Sent, worker.result)
    return Sent(problem=describe_retry(request.settings, request.sweep_id, worker.failure.summary))


def describe_retry(settings: Settings, sweep_id: str, reason: object) -> str:
    """Say in one line which store does not work, why, and how to send the sweep later."""
    uri = str(store_uri(settings))
    what = f"MLflow server {uri} is away" if is_server(uri) else f"MLflow store {uri} cannot be written"
    detail = to_single_line(str(reason))
    short = detail if len(detail) <= 160 else detail[:157] + "..."
    return f"{what} ({short}): everything is in the ledger; send it later with `python -m sweep sync {sweep_id}`"


def send_stored(request: Json, folder: Path) -> Json:
    """Send a sweep from its ledger. Entry of a worker; the request is a `SendRequest`, the result a `Sent`."""
    asked_for = from_json(SendRequest, request)
    records = query.records(ledger.History(Path(asked_for.folder)))
    verdict = select.choose(records, asked_for.settings.objective)
    return dict(to_json(send(asked_for, records, verdict)))


def send(request: SendRequest, records: Sequence[Record], verdict: Verdict | None) -> Sent:
    """Send every trial that is not in the store, then the sweep's own run. Errors of the store end in `problem`.

    Args:
        records: all of the sweep.

    Raises:
        UserError: the settings name no store (`tracking=server` without an address).
    """
    sending = _Sending(request, records, verdict)
    try:
        sending.run()
    except Exception as error:  # a client raises whatever it likes; the sweep's results must not be lost for it
        sending.problem = describe_retry(sending.settings, request.sweep_id, error)
    return sending.sent()


class _Sending:
    """One sweep on its way into the store."""

    def __init__(self, request: SendRequest, records: Sequence[Record], verdict: Verdict | None) -> None:
        self.request, self.records, self.verdict = request, records, verdict
        self.settings = with_tracking(request.settings)
        self.uri = str(store_uri(self.settings))
        self.folder = Path(request.folder)
        self.files = [path for path in map(Path, request.files) if path.exists()]
        self.store: RunStore | None = None
        self.runs: dict[str, str] = {}
        self.problem: str | None = None

    def run(self) -> None:
        """Open the store and send everything; stop at the first error that is the store's and not a trial's."""
        store = self.store = RunStore(self.uri, self.settings, self.request.sweep_id)
        refused = []
        for record in self.records:
            if not record.status.was_tried:
                continue
            try:
                self._send_trial(store, record)
            except Exception as error:
                if not _is_about_data(error):
                    raise
                refused.append(f"{record.label}: {to_single_line(str(error))[:200]}")
        store.add_parent_files([*self.files, self.folder / "environment.json"])
        self._close_parent(store)
        if refused:
            self.problem = f"MLflow refused {len(refused)} of the trials ({refused[0]})"

    def sent(self) -> Sent:
        """What has arrived."""
        if self.store is None:
            return Sent(problem=self.problem)
        return Sent(self.runs, self.store.parent, self.store.experiment_id, self.problem)

    def _send_trial(self, store: RunStore, record: Record) -> None:
        own = self.folder / "trials" / record.key
        files = [self.folder / "environment.json", *(sorted(own.iterdir()) if own.is_dir() else [])]
        note = describe_trial(record, len(self.records), self.verdict)
        self.runs[record.key] = store.log_trial(record, files, note)

    def _close_parent(self, store: RunStore) -> None:
        """Describe and end the sweep's own run, and describe the experiment."""
        records, verdict, sweep_id = self.records, self.verdict, self.request.sweep_id
        winner = next((r for r in records if verdict is not None and r.key == verdict.winner), None)
        leader = None if verdict is None else story.find_leader(records, verdict)  # whose numbers the sweep's run shows
        known = {name for record in records for name in record.numbers}
        store.tag_experiment(*make_shared_view(self.settings.objective, sweep_id, _varying(records), known))
        store.describe_experiment(describe_experiment(store.experiment_id, sweep_id, self.settings))
        pages = {"parent": store.parent, "winner": self.runs.get(winner.key if winner else "", "")}
        files = [path.name for path in self.files]
        counts = _counts(records)
        store.close_parent(
            {**(leader.numbers if leader else {}), **counts, **_work(records)},
            list_params(winner) if winner and not self.request.interrupted else {},
            _parent_tags(self.settings, verdict, [r for r in records if verdict and r.key in verdict.chosen], leader),
            describe_sweep(self.request.markdown, store.experiment_id, sweep_id, pages, self._best(), files),
            "KILLED" if self.request.interrupted else "FINISHED" if counts["trials_ok"] else "FAILED",
        )

    def _best(self) -> list[str]:
        """The run ids of the best trials, best first."""
        good = [record for record in self.records if record.status is Status.OK]
        order = sort_ranked(good, self.verdict.ranking if self.verdict else ())
        return [self.runs[record.key] for record in order[:TOP] if record.key in self.runs]


def _is_about_data(error: Exception) -> bool:
    """Whether the store works and refused the data of this call."""
    return getattr(error, "error_code", "") in _DATA_ERRORS or isinstance(error, (ValueError, TypeError))


def _varying(records: Sequence[Record]) -> list[str]:
    ran = [record.settings for record in records if record.status.was_tried]
    return find_varying(ran) or ["backend", "precision", "batch", "cores"]


def _counts(records: Sequence[Record]) -> dict[str, float]:
    good = sum(record.status is Status.OK for record in records)
    refused = sum(not record.status.was_tried for record in records)
    return {
        "trials": float(len(records)),
        "trials_ok": float(good),
        "trials_not_possible": float(refused),
        "trials_failed": float(len(records) - good - refused),
    }


def _work(records: Sequence[Record]) -> dict[str, float]:
    """Builds and repeats of the whole sweep, and their seconds."""
    builds = {build["key"]: build for record in records for build in record.builds if build.get("key")}
    new = [build for build in builds.values() if not build.get("reused")]
    repeats = [repeat for record in records if record.origin is Origin.MEASURED for repeat in record.repeats]
    return {
        "all_builds": float(len(builds)),
        "all_builds_reused": float(len(builds) - len(new)),
        "all_build_seconds": math.fsum(float(build.get("seconds") or 0) for build in new),
        "all_repeats": float(len(repeats)),
        "all_repeat_seconds": math.fsum(repeat.wall_seconds or 0.0 for repeat in repeats),
    }


def _parent_tags(
    settings: Settings, verdict: Verdict | None, chosen: Sequence[Record], leader: Record | None
) -> dict[str, str]:
    tags = {"sweep.objective": settings.objective.name}
    if verdict is not None:
        tags["sweep.verdict"] = str(verdict.kind)
        tags["sweep.winner"] = ", ".join(record.label for record in chosen)
        tags["sweep.leader"] = leader.label if leader else ""
    return tags

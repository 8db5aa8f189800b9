"""Runs in an MLflow store, identified by sweep id and trial key, so that sending them twice changes nothing.

Everything here may raise what the client raises; the caller handles it. Opening a store imports MLflow, importing this
module does not.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.report.mlflow.address import artifact_location
from sweep.report.mlflow.database import make_database, open_client
from sweep.report.mlflow.markdown import OURS, RUN
from sweep.spec import Record, Status
from sweep.spec.metrics import COLUMNS
from sweep.spec.settings import Settings
from sweep.text import axis_text

if TYPE_CHECKING:
    from mlflow.entities import Run

LOG_BYTES = 2_000_000  # of a longer log only the end is sent; the file itself stays where it is
TAIL_BYTES = 256_000
FILE_BYTES = 64_000_000
PARAM_CHARACTERS = 6000
NOTE_CHARACTERS = 7900  # MLflow keeps 8000 of a tag
_RUN_STATUS = {Status.OK: "FINISHED", Status.STOPPED: "KILLED"}
_SENT = "sweep.sent"  # tag: fingerprint of the record that was sent
NOTE = "mlflow.note.content"


class RunStore:
    """One experiment in one store, and the runs of one sweep in it."""

    def __init__(self, uri: str, settings: Settings, sweep_id: str) -> None:
        self.sweep_id = sweep_id
        make_database(uri)
        self._client = open_client(uri)
        self.experiment_id = self._experiment(settings, artifact_location(settings, uri))
        self._runs = self._existing()
        # Tags of the complete runs: a run that was cut off half way still has the status RUNNING, and is sent again.
        self._sent = {key: dict(run.data.tags) for key, run in self._runs.items() if run.info.status != "RUNNING"}
        self.parent = self._open_parent()

    def log_trial(self, record: Record, files: Sequence[Path], note: str = "") -> str:
        """Send one trial, unless it is there already.

        Args:
            files: artifacts besides those that the record names; missing ones are skipped.
            note: the run's description, with `RUN` in the place of the run's id.

        Returns:
            The run's id.
        """
        run, fingerprint = self._runs.get(record.key), _fingerprint(record)
        if run is not None and self._sent.get(record.key, {}).get(_SENT) == fingerprint:
            self._describe(record.key, str(run.info.run_id), note)
            return str(run.info.run_id)
        began = int((record.started or time.time()) * 1000)
        ended = began + int(record.seconds * 1000)
        tags = _trial_tags(record, self.sweep_id, self.parent)
        if run is None:
            run = self._runs[record.key] = self._client.create_run(self.experiment_id, began, tags, record.label)
            tags = {}
        run_id = str(run.info.run_id)
        sent = {**tags, **_note(note, run_id), _SENT: fingerprint}
        self._trial_files(run_id, record, files)
        params = _new_params(run, _params(list_params(record)))
        self._batch(run_id, ended, {**record.numbers, **flatten_buckets(record)}, params, sent)
        # Last, so that the status shows whether a run is complete.
        self._client.set_terminated(run_id, _RUN_STATUS.get(record.status, "FAILED"), ended)
        self._sent[record.key] = sent
        return run_id

    def describe_experiment(self, note: str) -> None:
        """Set the experiment's description, unless somebody has written one."""
        tags = self._client.get_experiment(self.experiment_id).tags
        if OURS in tags.get(NOTE, OURS):
            self.tag_experiment(NOTE, note)

    def _describe(self, key: str, run_id: str, note: str) -> None:
        """Update the description of a run that was sent earlier."""
        for name, text in _note(note, run_id).items():
            if self._sent[key].get(name) != text:
                self._client.set_tag(run_id, name, text)
                self._sent[key] = {**self._sent[key], name: text}

    def close_parent(
        self, metrics: Mapping[str, float], params: Mapping[str, Any], tags: Mapping[str, str], note: str, status: str
    ) -> None:
        """Set the numbers, params, tags and description of the sweep's own run, and end it."""
        now = int(time.time() * 1000)
        new = _new_params(self._client.get_run(self.parent), _params(params))
        self._batch(self.parent, now, metrics, new, {**tags, **_note(note, self.parent)})
        self._client.set_terminated(self.parent, status, now)

    def add_parent_files(self, files: Sequence[Path]) -> None:
        for path in files:
            if path.is_dir():
                self._client.log_artifacts(self.parent, str(path), path.name)
            elif path.is_file():
                self._client.log_artifact(self.parent, str(path))

    def tag_experiment(self, name: str, value: str) -> None:
        """Set a tag of the experiment, which all its sweeps share."""
        from mlflow.exceptions import MlflowException

        try:
            self._client.set_experiment_tag(self.experiment_id, name, value)
        except MlflowException:  # another sweep has just added the same tag: the second try changes it
            self._client.set_experiment_tag(self.experiment_id, name, value)

    def _experiment(self, settings: Settings, location: str | None) -> str:
        from mlflow.exceptions import MlflowException

        experiment = self._client.get_experiment_by_name(settings.name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(settings.name, location, {"sweep.kind": "experiment"}))
            except MlflowException:  # another sweep was quicker
                experiment = self._client.get_experiment_by_name(settings.name)
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _existing(self) -> dict[str, Run]:
        """The runs of this sweep in the store by trial key; the sweep's own run has the empty key."""
        runs: dict[str, Run] = {}
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self.experiment_id], f"tags.`sweep.id` = '{self.sweep_id}'", max_results=1000, page_token=token
            )
            for run in page:
                runs.setdefault(run.data.tags.get("sweep.key", ""), run)
            token = page.token
            if not token:
                return runs

    def _open_parent(self) -> str:
        run = self._runs.get("")
        if run is not None:
            self._client.update_run(run.info.run_id, status="RUNNING")
            return str(run.info.run_id)
        tags = {"sweep.kind": "sweep", "sweep.id": self.sweep_id, "mlflow.source.name": "python -m sweep"}
        run = self._client.create_run(self.experiment_id, int(time.time() * 1000), tags, f"sweep {self.sweep_id}")
        return str(run.info.run_id)

    def _batch(
        self,
        run_id: str,
        time_ms: int,
        metrics: Mapping[str, float],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        self._client.log_batch(
            run_id,
            [Metric(_name(name), _readable(value), time_ms, 0) for name, value in _headline_first(metrics)],
            [Param(name, value) for name, value in params.items()],
            [RunTag(name, value) for name, value in tags.items()],
        )

    def _trial_files(self, run_id: str, record: Record, files: Sequence[Path]) -> None:
        self._client.log_text(run_id, "\n".join(record.overrides) + "\n", "overrides.txt")
        for path in files:
            self._file(run_id, path, "")
        for number, build in enumerate(record.builds):
            where = build.get("log") or (build.get("folder") and Path(str(build["folder"])) / "log.txt")
            if where:
                self._file(run_id, Path(str(where)), "build" if len(record.builds) == 1 else f"build/{number}")
        if record.failure is not None and record.failure.log:
            self._file(run_id, Path(record.failure.log), "failure")
        for repeat in record.repeats:
            if repeat.samples:
                self._file(run_id, Path(repeat.samples), f"samples/{repeat.index}")

    def _file(self, run_id: str, path: Path, below: str) -> None:
        """Send a file if it exists: of a long log the end, of a larger file nothing."""
        if not path.is_file():
            return
        size = path.stat().st_size
        if size > LOG_BYTES and path.suffix in (".txt", ".log"):
            with path.open("rb") as file:
                file.seek(-TAIL_BYTES, 2)
                tail = file.read().decode("utf-8", errors="replace")
            head = f"[the last {TAIL_BYTES:,} of {size:,} bytes; the whole file: {path}]\n"
            self._client.log_text(run_id, head + tail, f"{below}/{path.name}" if below else path.name)
        elif size <= FILE_BYTES:
            self._client.log_artifact(run_id, str(path), below or None)


def _trial_tags(record: Record, sweep_id: str, parent: str) -> dict[str, str]:
    source = record.source
    tags = {
        "mlflow.parentRunId": parent,
        "mlflow.source.name": "python -m sweep",
        "sweep.kind": "trial",
        "sweep.id": sweep_id,
        "sweep.key": record.key,
        "sweep.status": record.status.value,
        "sweep.failure_kind": record.failure.kind.value if record.failure else "",
        "sweep.origin": record.origin.value,
        "sweep.identity": record.identity,
        "sweep.inputs": record.binding.describe() if record.binding else "",  # which array went to which input
        "sweep.original": record.nature.describe()[:NOTE_CHARACTERS] if record.nature else "",  # what it does itself
        "sweep.reason": record.reason[:NOTE_CHARACTERS],
        "sweep.source": source.source if source else "",  # of what was reported: where, when, known mistakes
        "sweep.date": source.date if source else "",
        "sweep.mistakes": ";".join(source.mistakes) if source else "",
    }
    return {name: value for name, value in tags.items() if value or name == "sweep.failure_kind"}


def _note(note: str, run_id: str) -> dict[str, str]:
    """The tag that holds a run's description; no tag if it is empty."""
    text = note.replace(RUN, run_id)
    text = text if len(text) <= NOTE_CHARACTERS else text[:NOTE_CHARACTERS] + "\n\n…"
    return {NOTE: text} if text else {}


def list_params(record: Record) -> dict[str, Any]:
    """The settings of a trial with those of its load and its process, which tell runs under several of them apart.

    `load` is the scenario; the rest is `load.rate`, `load.slo_p99_ms`, `load.concurrency`, `load.max_wait_ms`, ...
    `process.allocator` and the like are there where they are not the default.
    """
    load = {f"load.{name}": value for name, value in record.load.items() if name != "name" and value is not None}
    process = {f"process.{name}": value for name, value in record.process.items()}
    scenario = {"load": record.load["name"]} if record.load.get("name") else {}
    return {**record.settings, **scenario, **load, **process}


def flatten_buckets(record: Record) -> dict[str, float]:
    """The numbers of all buckets, with names like `bucket_128x224/latency_ms_p50`."""
    numbers: dict[str, float] = {}
    for bucket in record.buckets:
        start = f"bucket_{axis_text([bucket.bucket])}/"
        numbers |= {
            start + name: float(value) for name, value in vars(bucket).items() if isinstance(value, int | float)
        }
        numbers |= {f"{start}latency_ms_{name}": float(value) for name, value in bucket.latency_ms.items()}
    return numbers


def _params(settings: Mapping[str, Any]) -> dict[str, str]:
    """Params as MLflow takes them: words as they are, lists as JSON."""
    texts = {name: json.dumps(v) if isinstance(v, (list, tuple, dict)) else str(v) for name, v in settings.items()}
    return {_name(name): text[:PARAM_CHARACTERS] for name, text in texts.items()}


def _new_params(run: Run, params: Mapping[str, str]) -> dict[str, str]:
    """The params that the run does not have: a param can be set only once."""
    return {name: value for name, value in params.items() if name not in run.data.params}


def _headline_first(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """The metrics, those that a person looks for first: the UI keeps the order in which they were sent."""
    names = [name for metric in COLUMNS for name in metric.names if name in metrics]
    return [*((name, metrics[name]) for name in names), *(item for item in metrics.items() if item[0] not in names)]


def _readable(value: float) -> float:
    """The value with six digits, because the UI prints all of them; the ledger keeps the exact value."""
    return value if value.is_integer() else float(f"{value:.6g}")


def _name(name: str) -> str:
    """A name that MLflow takes: letters, digits and `_-. :/`."""
    return re.sub(r"[^\w\-. :/]", "_", name, flags=re.ASCII)[:250] or "_"


def _fingerprint(record: Record) -> str:
    text = json.dumps(asdict(record), sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).hexdigest()[:32]

"""The results as rows: JSON for programs, CSV for spreadsheets. One row for each declared trial, failed ones too."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from sweep.report.names import list_axes
from sweep.spec import Json, Record
from sweep.store.layout import SweepFolder
from sweep.text import axis_text, to_single_line


def trial_rows(records: Sequence[Record], run_ids: Mapping[str, str]) -> list[Json]:
    """The rows that `trials --json` prints.

    Each has `key, label, settings, overrides, status, reason, origin, failure, metrics, mlflow_run_id`.

    Args:
        run_ids: MLflow run id by trial key; a trial without one has null.
    """
    return [_row(record, run_ids.get(record.key)) for record in records]


def _row(record: Record, run_id: str | None) -> Json:
    failure = record.failure
    return {
        "key": record.key,
        "label": record.label,
        "settings": dict(record.settings),
        "overrides": list(record.overrides),
        "status": record.status.value,
        "reason": record.reason,
        "origin": record.origin.value,
        "failure": failure and {"kind": failure.kind.value, "summary": failure.summary, "log": failure.log},
        "metrics": None if record.metrics is None else dict(record.numbers),
        "mlflow_run_id": run_id,
    }


def results_csv(records: Sequence[Record]) -> str:
    """A header and one line for each trial: key, label, axes, ending, and every metric that any trial has."""
    rows = trial_rows(records, {})
    axes = list_axes(row["settings"] for row in rows)
    metrics = sorted({name for row in rows for name in row["metrics"] or {}})
    ending = ["status", "reason", "origin", "failure_kind", "failure_summary", "failure_log"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["key", "label", *axes, *ending, *metrics, "overrides", "mlflow_run_id"])
    for row in rows:
        failure = row["failure"] or {}
        writer.writerow(
            [row["key"], row["label"]]
            + [axis_text(row["settings"].get(axis, "")) for axis in axes]
            + [row["status"], to_single_line(row["reason"]), row["origin"]]
            + [failure.get("kind"), to_single_line(failure.get("summary") or ""), failure.get("log")]
            + [(row["metrics"] or {}).get(name) for name in metrics]
            + [" ".join(row["overrides"]), row["mlflow_run_id"]]
        )
    return text.getvalue()


def write(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write `results.json` and `results.csv` into `folder`; their paths. The runs of MLflow are not known yet."""
    folder.mkdir(parents=True, exist_ok=True)
    place = SweepFolder(folder)
    place.results_json.write_text(json.dumps(trial_rows(records, {}), indent=1) + "\n", encoding="utf-8")
    place.results_csv.write_text(results_csv(records), encoding="utf-8")
    return [place.results_json, place.results_csv]

"""Sweeps as they lie on a disk, with samples, answers, labels and the original's answers, without measuring any."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweep.spec import Record, Status, digest, to_json
from sweep.store import ledger
from tests.support.records import make_record, make_settings, make_trial

CLASSES = 10


@dataclass
class Member:
    """One trial of a stored sweep; `axes` go to `make_trial`, `more` to `make_record`."""

    axes: dict[str, Any] = field(default_factory=dict)
    status: str = "ok"
    latencies_ms: Sequence[Sequence[float]] = ()  # by repeat
    answers: Sequence[int] | np.ndarray[Any, Any] | None = None  # classes of items 0, 1, 2, ..., or an output
    index: Sequence[int] | None = None  # the items answered, where it is not all
    more: dict[str, Any] = field(default_factory=dict)


def store_sweep(
    outputs: Path,
    name: str,
    members: Sequence[Member],
    *,
    cpu: str = "Intel(R) Xeon(R) Processor",
    data: str = "data-digest",
    model: str = "model-digest",
    items: int = 0,
) -> Path:
    """The folder of a sweep that has measured the members on a host with such a CPU."""
    folder = outputs / "sweeps" / name
    book = ledger.Ledger(folder)
    book.append("sweep", id=name, settings=make_settings(outputs), command="python -m sweep -m batch=1,5", version="0")
    pairs = set()
    for member in members:
        found = make_trial(**member.axes)
        trial = replace(found, hardware={"name": "local", "instance_type": None, "cpu": cpu, "cores": 2})
        pair = digest([to_json(trial.model), to_json(trial.data)])
        if pair not in pairs:
            result = {"model": model, "data": data, "reference": "reference-digest", "items": items}
            book.append("reference", pair=pair, seconds=1.0, result=result)
            pairs.add(pair)
        book.append("trial", trial=trial)
        record = replace(make_record(member.status, sweep=name, **member.more, **member.axes), key=trial.key)
        book.append("record", record=_with_files(record, member, folder))
    book.close()
    return folder


def _with_files(record: Record, member: Member, folder: Path) -> Record:
    """The record with its repeats' files, in the folder and under the path of another machine."""
    metrics = dict(record.metrics or {})
    if member.latencies_ms and record.status is Status.OK:
        metrics["latency_ms_p50"] = float(np.median(np.concatenate([np.asarray(part) for part in member.latencies_ms])))
    repeats = []
    for repeat in record.repeats:
        inside = Path("repeats") / f"{record.label}-{record.key[:6]}-{repeat.index}"
        where = folder / inside
        where.mkdir(parents=True)
        if repeat.index < len(member.latencies_ms):
            start = np.arange(len(member.latencies_ms[repeat.index]), dtype=np.int64) * 10**9
            taken = np.round(np.asarray(member.latencies_ms[repeat.index]) * 1e6).astype(np.int64)
            np.savez(where / "samples.npz", start_ns=start, end_ns=start + taken)
        if member.answers is not None:
            given = np.asarray(member.answers)
            output = given if given.ndim > 1 else logits(given)
            index = np.arange(len(output)) if member.index is None else np.asarray(member.index)
            np.savez(where / "outputs.npz", index=index, output_0=output)
        elsewhere = Path("/home/somebody/outputs/sweeps") / folder.name / inside
        paths = {"samples": str(elsewhere / "samples.npz"), "outputs": str(elsewhere / "outputs.npz")}
        repeats.append(replace(repeat, **paths))
    return replace(record, metrics=metrics or None, repeats=tuple(repeats))


def logits(classes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.eye(CLASSES, dtype=np.float32)[classes] * 5


def store_known(
    outputs: Path,
    labels: Sequence[int] | None,
    original: Sequence[int],
    task: str = "classification",
    data: str = "data-digest",
) -> None:
    """Labels and the original model's answers in the store."""
    folder = outputs / "store" / "data" / data
    folder.mkdir(parents=True)
    (folder / "data.json").write_text(json.dumps({"inputs": [], "calibration": [], "task": task}))
    if labels is not None:
        np.save(folder / "labels.npy", np.asarray(labels))
    reference = outputs / "store" / "reference" / "reference-digest"
    reference.mkdir(parents=True)
    (reference / "reference.json").write_text(json.dumps({"outputs": 1}))
    np.save(reference / "output_0.npy", logits(np.asarray(original)))

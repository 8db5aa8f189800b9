"""Learn from earlier sweeps in the same outputs folder: results to reuse, and how long builds take."""

import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from sweep.engine.context import Context
from sweep.engine.forecast import EstimateBuild
from sweep.spec import BuildSpec, Json, Origin, Record, Trial, canonical, from_json, to_json
from sweep.spec.facts import ReuseFacts
from sweep.store import ledger
from sweep.store.layout import SweepFolder

SWEEPS, TRIALS = 2, 100  # to read at most, to learn how long workers take to start


def find_result(context: Context, histories: Sequence[ledger.History], trial: Trial, identity: str) -> Record | None:
    """The newest finished result of an identical trial with enough repeats, marked as reused; None if there is none."""
    for history in histories:
        record = history.records.get(trial.key)
        if record is None or record.identity != identity or not record.status.was_run:
            continue
        if record.origin is Origin.REPLAYED:  # as quick to do again, and it must not pass for what was measured
            continue
        if len(record.repeats) < context.settings.effort.repeats:
            continue
        hours = (time.time() - record.started) / 3600
        reuse = ReuseFacts(record.sweep, hours, history.runs.get(trial.key))
        return replace(
            record,
            origin=Origin.REUSED,
            sweep=context.folder.name,
            overrides=trial.overrides,
            reuse=reuse,
            min_requests=context.settings.effort.min_requests,
        )
    return None


def read_histories(context: Context) -> list[ledger.History]:
    """Every other sweep in the outputs folder, newest first."""
    return [ledger.History(folder) for folder in _list_other_sweeps(context)]


def _list_other_sweeps(context: Context) -> list[Path]:
    return [folder for folder in reversed(ledger.sweeps(context.settings.outputs_path)) if folder != context.folder]


def learn_build_seconds(context: Context) -> EstimateBuild:
    """A function that estimates the seconds of a build.

    0 for a build in the store, else the median of the backend's builds there, None if there are none.
    """
    stored: set[str] = set()
    seconds: dict[str, list[float]] = {}
    for entry in context.store.entries():
        spec: Json = entry.info.get("spec") or {}
        if entry.failure is None and spec:
            stored.add(canonical(spec))
            seconds.setdefault(str(spec.get("backend")), []).append(entry.seconds)

    def estimate(spec: BuildSpec) -> float | None:
        if canonical(to_json(spec)) in stored:
            return 0.0
        known = seconds.get(spec.backend)
        return median(known) if known else None

    return estimate


def learn_start_seconds(context: Context) -> Callable[[Trial], float | None]:
    """A function that estimates the seconds of a worker before its warm-up: the median by model and backend."""
    starts: dict[tuple[str, str], list[float]] = {}
    for folder in _list_other_sweeps(context)[:SWEEPS]:
        for trial in itertools.islice(SweepFolder(folder).trials(), TRIALS):
            _add_start(trial.record, starts)

    def estimate(trial: Trial) -> float | None:
        known = starts.get((str(trial.model["name"]), str(trial.backend["name"])))
        return median(known) if known else None

    return estimate


def _add_start(path: Path, starts: dict[tuple[str, str], list[float]]) -> None:
    """Add the seconds of one record's repeats to `starts`; a file that cannot be read is skipped."""
    try:
        record = from_json(Record, json.loads(path.read_text()))
        for repeat in record.repeats:
            if repeat.wall_seconds is None:
                continue
            windows = repeat.window_seconds * (1 + (len(repeat.capacity.curve) if repeat.capacity else 0))
            took = repeat.wall_seconds - windows - float(repeat.warmup["seconds"])
            key = str(record.settings["model"]), str(record.settings["backend"])
            starts.setdefault(key, []).append(max(0.0, took))
    except (OSError, ValueError, KeyError, TypeError):
        return

"""What earlier sweeps in the same outputs folder already know: results to reuse, and how long builds take."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from sweep.engine.context import Context
from sweep.engine.forecast import SecondsOf
from sweep.spec import BuildSpec, Json, Record, Status, Trial, canonical, from_json, to_json
from sweep.spec.facts import ReuseFacts
from sweep.store import ledger

SWEEPS, TRIALS = 2, 100  # that are looked at for how long workers take to start


def result(context: Context, trial: Trial, identity: str) -> Record | None:
    """The newest finished result of an identical trial with at least as many repeats, marked as reused, if any."""
    for history in _histories(context.settings.outputs_path, context.folder):
        found = history.records.get(trial.key)
        if found is None or found.identity != identity or found.status not in (Status.OK, Status.REJECTED):
            continue
        if found.origin == "replayed":  # as quick to do again, and it must not pass for what was measured
            continue
        if len(found.repeats) < context.settings.effort.repeats:
            continue
        hours = (time.time() - found.started) / 3600
        reuse = ReuseFacts(found.sweep, hours, history.runs.get(trial.key))
        return replace(found, origin="reused", sweep=context.folder.name, overrides=trial.overrides, reuse=reuse)
    return None


@functools.lru_cache(maxsize=1)
def _histories(outputs: Path, current: Path) -> list[ledger.History]:
    """Every other sweep, newest first; read once a sweep."""
    return [ledger.History(folder) for folder in reversed(ledger.sweeps(outputs)) if folder != current]


def typical_seconds(context: Context) -> SecondsOf:
    """0 for a build that is in the store, else the median of the same backend's builds there, else None."""
    stored: set[str] = set()
    seconds: dict[str, list[float]] = {}
    for entry in context.store.entries():
        spec: Json = entry.info.get("spec") or {}
        if entry.failure is None and spec:
            stored.add(canonical(spec))
            seconds.setdefault(str(spec.get("backend")), []).append(entry.seconds)

    def seconds_of(spec: BuildSpec) -> float | None:
        if canonical(to_json(spec)) in stored:
            return 0.0
        known = seconds.get(spec.backend)
        return median(known) if known else None

    return seconds_of


def start_seconds(context: Context) -> Callable[[Trial], float | None]:
    """What workers took before their warm-up in the newest sweeps: the median for the same model and backend."""
    found: dict[tuple[str, str], list[float]] = {}
    newest = [folder for folder in reversed(ledger.sweeps(context.settings.outputs_path)) if folder != context.folder]
    for folder in newest[:SWEEPS]:
        for path in sorted(folder.glob("trials/*/record.json"))[:TRIALS]:
            _add_start(path, found)

    def seconds_of(trial: Trial) -> float | None:
        known = found.get((str(trial.model["name"]), str(trial.backend["name"])))
        return median(known) if known else None

    return seconds_of


def _add_start(path: Path, found: dict[tuple[str, str], list[float]]) -> None:
    """The seconds of one record's repeats; a file that cannot be read says nothing."""
    try:
        record = from_json(Record, json.loads(path.read_text()))
        for repeat in record.repeats:
            if repeat.wall_seconds is None:
                continue
            windows = repeat.window_seconds * (1 + (len(repeat.capacity.curve) if repeat.capacity else 0))
            took = repeat.wall_seconds - windows - float(repeat.warmup["seconds"])
            key = str(record.settings["model"]), str(record.settings["backend"])
            found.setdefault(key, []).append(max(0.0, took))
    except (OSError, ValueError, KeyError, TypeError):
        return

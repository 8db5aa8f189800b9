"""What earlier sweeps in the same outputs folder already know: results to reuse, and how long builds take."""

import functools
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from sweep import ledger
from sweep.engine.context import Context
from sweep.plan import SecondsOf
from sweep.spec import BuildSpec, Json, Record, Status, Trial, canonical, to_json


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
        notes = {**found.notes, "reused_from": found.sweep, "age_hours": hours, "run": history.runs.get(trial.key)}
        return replace(found, origin="reused", sweep=context.folder.name, overrides=trial.overrides, notes=notes)
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

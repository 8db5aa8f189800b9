"""Third phase: repeats in fresh processes, one at a time, interleaved over the trials (A B C A B C, not A A B B C C).

The parent sleeps while a worker measures, and nothing is built meanwhile: drift of the machine hits all trials alike.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep import backends, plan
from sweep.engine.builds import Built, data_shape
from sweep.engine.context import Context
from sweep.engine.references import Reference
from sweep.report import number
from sweep.spec import Failure, FailureKind, Json, Measurement, Outcome, Placement, Trial, from_json, to_json

TRANSIENT = (FailureKind.CORE_UNAVAILABLE,)


@dataclass
class Task:
    """A trial whose builds are there, and how far its repeats have come."""

    trial: Trial
    identity: str
    builds: tuple[Built, ...]
    reference: Reference
    done: dict[int, Measurement] = field(default_factory=dict)
    failure: Failure | None = None
    user_error: bool = False  # it failed, and what was asked for is at fault
    attempts: list[Failure] = field(default_factory=list)  # transient failures that were tried again
    started: float = 0.0  # seconds since the epoch
    seconds: float = 0.0  # spent in this sweep's workers


def measure_all(context: Context, tasks: Sequence[Task]) -> None:
    """Fill `done` or `failure` of every task. A trial that fails is not asked again; what it measured stands."""
    repeats = context.settings.effort.repeats
    todo = sum(repeat not in task.done for task in tasks for repeat in range(repeats))
    context.display.begin("measure", todo)
    for repeat in range(repeats):
        for task in block(tasks, context.settings.seed, repeat):
            if repeat in task.done:
                continue
            if task.failure is None:
                _repeat(context, task, repeat)
            context.display.advance(_progress(task, repeat), failed=task.failure is not None)
    context.display.end()


def block(tasks: Sequence[Task], seed: int, repeat: int) -> list[Task]:
    """The tasks in the order of one block: each block has its own random order, the same for the same seed."""
    order = sorted(tasks, key=lambda task: task.trial.key)
    random.Random(f"{seed}/{repeat}").shuffle(order)
    return order


def _repeat(context: Context, task: Task, repeat: int) -> None:
    task.started = task.started or time.time()
    outcome = _run(context, task, repeat)
    for attempt in range(context.settings.limits.transient_retries):
        if outcome.failure is None or outcome.failure.kind not in TRANSIENT:
            break
        task.attempts.append(outcome.failure)
        time.sleep(2.0**attempt)  # the core's former owner needs a moment to give it back
        outcome = _run(context, task, repeat)
    task.seconds += outcome.seconds
    if outcome.failure is not None or outcome.result is None:
        task.failure, task.user_error = outcome.failure, outcome.user_error
        return
    measurement = _measurement(task.trial, repeat, outcome)
    task.done[repeat] = measurement
    context.ledger.append("repeat", trial=task.trial.key, identity=task.identity, measurement=measurement)


def _run(context: Context, task: Task, repeat: int) -> Outcome:
    trial, limits = task.trial, context.settings.limits
    places = placements(context, trial)
    python = trial.backend.get("python")
    request = {
        "entry": "sweep.worker:measure",
        "builds": [{"spec": to_json(built.spec), "folder": str(built.folder)} for built in task.builds],
        "options": to_json(trial.backend.get("options") or {}),
        "toolchain": plan.toolchain(task.builds[0].spec, context.installed),
        "data_folder": str(task.reference.data_folder),
        "batch": trial.batch,
        "placements": to_json(places),
        "effort": to_json(context.settings.effort),
        "repeat": repeat,
        "share": repeat / max(1, context.settings.effort.repeats * trial.replicas),
        **data_shape(trial.model),
    }
    return context.run(
        request,
        "repeats",
        f"{trial.label}-{trial.key[:6]}-{repeat}",
        seconds=limits.measure_seconds,
        memory_mb=limits.measure_memory_mb,
        python=python,
        preload=() if python else backends.get(str(trial.backend["name"])).preload_run,
        cores=cpus(places),
    )


def cpus(places: Sequence[Placement]) -> list[int]:
    """CPU numbers that a measurement is kept to; none where it runs on another device."""
    return sorted({core for place in places if place.device == "cpu" for core in place.cores})


def placements(context: Context, trial: Trial) -> list[Placement]:
    """Where each replica runs: on a CPU its own cores with that many threads, else a device of its own."""
    device = str(trial.backend.get("device") or "cpu")
    if device != "cpu":
        return [Placement(f"{device}:{number}", (), trial.cores) for number in range(trial.replicas)]
    return [Placement("cpu", cpus, trial.cores) for cpus in context.host.place(trial.cores, trial.replicas)]


def _measurement(trial: Trial, repeat: int, outcome: Outcome) -> Measurement:
    folder = Path(outcome.log).parent
    concurrency = float(trial.load.get("concurrency", 1))
    facts: Json = {
        **(outcome.result or {}),
        "index": repeat,
        "in_flight": trial.replicas * concurrency,
        "samples": str(folder / "samples.npz"),
        "outputs": str(folder / "outputs.npz"),
    }
    facts["peak_memory_mb"] = max(facts["peak_memory_mb"], outcome.peak_memory_mb)
    facts["notes"] = {**facts["notes"], "wall_seconds": outcome.seconds}
    return from_json(Measurement, facts)


def _progress(task: Task, repeat: int) -> str:
    if task.failure is not None:
        return f"{task.trial.label}: {task.failure.kind.value}"
    return f"{task.trial.label}: {number(task.done[repeat].throughput_items_per_s)} items/s"

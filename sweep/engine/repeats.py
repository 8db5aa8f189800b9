"""Third phase: repeats in fresh processes, one at a time, interleaved over the trials (A B C A B C, not A A B B C C).

The parent sleeps while a worker measures, and nothing is built meanwhile: drift of the machine hits all trials alike.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import backends
from sweep.engine import control, plan, replays
from sweep.engine.context import Context, patiently
from sweep.engine.placement import cpus, placements
from sweep.engine.references import data_shape
from sweep.engine.tasks import Task
from sweep.hardware import telemetry
from sweep.spec import Failure, Json, Measurement, Outcome, Trial, deployment, from_json, to_json
from sweep.text import duration, number
from sweep.verdict.elimination import Out
from sweep.worker.load import config as load_config

if TYPE_CHECKING:
    from sweep.engine.deciding import Decider

BUDGET = "budget spent before it was measured: `python -m sweep resume last` goes on, with as much again"


def measure_all(context: Context, tasks: Sequence[Task], decider: "Decider | None" = None) -> None:
    """Fill `done` or `failure` of every task. A trial that fails is not asked again; what it measured stands.

    Trials of one deployment are measured in one worker, side by side; if one of them fails, all have. When the budget
    of time is spent no repeat is begun any more: what was never measured gets a reason in `out`.

    Args:
        decider: says after `effort.repeats` of each whether there are to be more, and of which; None: there are none.
    """
    watch = control.Control(context, tasks, lambda task, repeat: _beside(context, task, repeat))
    begun, upto = 0, context.settings.effort.repeats
    while begun < upto:
        whole = _measure(context, [task for task in tasks if task.is_open], upto, watch)
        control.mark(context, tasks, upto)
        if not whole:
            _spent(context, tasks, decider)
            return
        begun = upto
        upto = upto if decider is None else decider.go_on(tasks, upto)


def _measure(context: Context, tasks: Sequence[Task], repeats: int, watch: control.Control) -> bool:
    """Block after block, until every task has so many repeats; False where the budget of time does not suffice."""
    by_key = {task.trial.key: task for task in tasks}
    groups = {
        trials[0].key: [by_key[trial.key] for trial in trials]
        for trials in deployment.grouped(task.trial for task in tasks).values()
    }
    context.display.begin("measure", sum(repeat not in task.done for task in tasks for repeat in range(repeats)))
    for repeat in range(repeats):
        for first in block([together[0] for together in groups.values()], context.settings.seed, repeat):
            together = groups[first.trial.key]
            if all(repeat in task.done for task in together):
                continue
            if context.is_overdue():
                context.display.end()
                return False
            if first.failure is None:
                if watch.due():
                    watch.measure(repeat)
                _repeat(context, together, repeat)
            for task in together:
                context.display.advance(_progress(task, repeat), failed=task.failure is not None)
    context.display.end()
    return True


def _spent(context: Context, tasks: Sequence[Task], decider: "Decider | None") -> None:
    context.display.note(f"the budget of {duration(context.settings.effort.budget_seconds)} is spent")
    if decider is not None:
        decider.end([task for task in tasks if task.done])
    for task in tasks:
        if task.is_open and not task.done:
            task.out = Out("budget", BUDGET)


def block(tasks: Sequence[Task], seed: int, repeat: int) -> list[Task]:
    """The tasks in the order of one block: each block has its own random order, the same for the same seed."""
    order = sorted(tasks, key=lambda task: task.trial.key)
    random.Random(f"{seed}/{repeat}").shuffle(order)
    return order


def _repeat(context: Context, together: Sequence[Task], repeat: int) -> None:
    """One repeat of one trial, or of all the trials of a deployment."""
    for task in together:
        task.started = task.started or time.time()
    retries = context.settings.limits.transient_retries
    outcome, before = patiently(lambda: _run(context, together, repeat), retries)
    for task in together:
        task.attempts.extend(before)
    parts = (outcome.result or {}).get("members") if len(together) > 1 else [outcome.result]
    for place, task in enumerate(together):
        task.seconds += outcome.seconds
        task.measured_at = time.monotonic()
        if outcome.failure is not None or not parts or parts[place] is None:
            task.failure, task.user_error = outcome.failure, outcome.user_error
            continue
        own = f"member-{place}" if len(together) > 1 else ""
        measurement = _measurement(task.trial, repeat, replace(outcome, result=parts[place]), own)
        task.done[repeat] = measurement
        context.ledger.append("repeat", trial=task.trial.key, identity=task.identity, measurement=measurement)


def _run(context: Context, together: Sequence[Task], repeat: int) -> Outcome:
    first, limits = together[0].trial, context.settings.limits
    requests = [_request(context, task, repeat) for task in together]
    request = (
        requests[0] if len(together) == 1 else {"entry": "sweep.worker.entries:measure_together", "members": requests}
    )
    python = first.backend.get("python")
    needed = [name for task in together for name in backends.get(str(task.trial.backend["name"])).preload_run]
    key = deployment.group(first)
    places = [place for task in together for place in placements(context, task.trial)]
    gpus = [int(place.device.partition(":")[2] or 0) for place in places if place.device.startswith("cuda")]
    before = telemetry.look(cpus(places), gpus)
    outcome = context.run(
        request,
        "repeats",
        f"{first.label}-{key[:6]}-{repeat}",
        seconds=limits.measure_seconds,
        memory_mb=limits.measure_memory_mb,
        python=python,
        preload=() if python else tuple(dict.fromkeys(needed)),
        cores=cpus(places),
    )
    after = telemetry.look(cpus(places), gpus)
    return telemetry.noted(outcome, telemetry.between(before, after, outcome.cpu_seconds))


def _beside(context: Context, task: Task, repeat: int) -> Measurement | Failure:
    """One more measurement of a trial, for the control: it is no repeat of it."""
    outcome = _run(context, [task], repeat)
    return outcome.failure or _measurement(task.trial, repeat, outcome, "")


def _request(context: Context, task: Task, repeat: int) -> Json:
    trial = task.trial
    effort = context.settings.effort
    if trial.deployment:  # nobody's window is stretched: all members run from its beginning to its end
        effort = replace(effort, min_requests=1)
    return {
        "entry": backends.get(str(trial.backend["name"])).measure_entry,
        "label": trial.label,
        "builds": [{"spec": to_json(built.spec), "folder": str(built.folder)} for built in task.builds],
        "options": to_json(trial.backend.get("options") or {}),
        "toolchain": plan.toolchain(task.builds[0].spec, context.installed),
        "data_folder": str(task.reference.data_folder),
        "batch": trial.request_items,
        "load": to_json(trial.load),
        "placements": to_json(placements(context, trial)),
        "effort": to_json(effort),
        "repeat": repeat,
        "share": repeat / max(1, effort.repeats * trial.replicas),
        "flops_by_size": task.reference.facts.get("flops_by_size") or [],
        **data_shape(trial.model),
    }


def _measurement(trial: Trial, repeat: int, outcome: Outcome, own: str) -> Measurement:
    """What one worker says of one trial; `own` is the trial's part of the worker's folder in a deployment."""
    folder = Path(outcome.log).parent / own
    facts: Json = {
        "in_flight": float(trial.replicas * load_config.clients(trial.load)),
        **(outcome.result or {}),
        "index": repeat,
        "samples": str(folder / "samples.npz"),
        "outputs": str(folder / "outputs.npz"),
    }
    # The members of a deployment share a worker: what it took is nobody's alone.
    if not own and not replays.replays(trial):
        facts["peak_memory_mb"] = max(facts["peak_memory_mb"], outcome.peak_memory_mb)
    facts["notes"] = {**facts["notes"], "wall_seconds": outcome.seconds}
    return from_json(Measurement, facts)


def _progress(task: Task, repeat: int) -> str:
    if task.failure is not None:
        return f"{task.trial.label}: {task.failure.kind.value}"
    return f"{task.trial.label}: {number(task.done[repeat].throughput_items_per_s)} items/s"

"""Third phase: measure repeats in fresh processes, one at a time, interleaved (A B C A B C, not A A B B C C).

The parent sleeps while a worker measures, and nothing is built meanwhile. Drift of the machine hits all trials alike.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep import backends
from sweep.engine import control, plan, score_items
from sweep.engine.context import Context, retry_transient
from sweep.engine.placement import list_cpus, place_replicas
from sweep.engine.tasks import Candidate
from sweep.hardware import telemetry
from sweep.spec import Failure, Measurement, Measurements, Outcome, StopReason, deployment, from_json
from sweep.spec.requests import Artifact, MeasureRequest, Padding, TogetherRequest
from sweep.text import duration, number
from sweep.verdict.elimination import Out

if TYPE_CHECKING:
    from sweep.engine.deciding import Decider

BUDGET = "budget spent before it was measured: `python -m sweep resume last` goes on, with as much again"
Run = Callable[[Context, Sequence[Candidate], int], Outcome]  # one repeat of trials that are measured together


def measure_all(context: Context, tasks: Sequence[Candidate], run: Run, decider: "Decider | None" = None) -> None:
    """Fill `done` or `failure` of every task. A trial that fails is not measured again; its repeats so far are kept.

    Trials of one deployment are measured side by side in one worker; if one fails, all fail. When the budget of time is
    spent, no repeat begins any more, and trials without a repeat get a reason in `out`.

    Args:
        run: measures one repeat.
        decider: says after `effort.repeats` repeats which trials get more; None: no trial does.
    """
    watch = control.Control(context, tasks, lambda task, repeat: _measure_control(context, task, repeat, run))
    begun, upto = 0, context.settings.effort.repeats if any(task.is_open for task in tasks) else 0
    while begun < upto:
        whole = _measure(context, [task for task in tasks if task.is_open], upto, watch, run)
        control.mark_drift(context, tasks, upto)
        if not whole:
            _end_overdue(context, tasks, decider)
            return
        begun = upto
        upto = upto if decider is None else decider.go_on(tasks, upto)


def _measure(context: Context, tasks: Sequence[Candidate], repeats: int, watch: control.Control, run: Run) -> bool:
    """Measure block after block until every task has `repeats` repeats; False if the budget is spent before."""
    by_key = {task.trial.key: task for task in tasks}
    groups = {
        trials[0].key: [by_key[trial.key] for trial in trials]
        for trials in deployment.group_trials(task.trial for task in tasks).values()
    }
    context.display.begin("measure", sum(repeat not in task.done for task in tasks for repeat in range(repeats)))
    for repeat in range(repeats):
        for first in shuffle_block([together[0] for together in groups.values()], context.settings.seed, repeat):
            together = groups[first.trial.key]
            if all(repeat in task.done for task in together):
                continue
            if context.is_overdue():
                context.display.end()
                return False
            if first.failure is None:
                if watch.is_due():
                    watch.measure(repeat)
                _repeat(context, together, repeat, run)
            for task in together:
                context.display.advance(_describe_progress(task, repeat), failed=task.failure is not None)
    context.display.end()
    return True


def _end_overdue(context: Context, tasks: Sequence[Candidate], decider: "Decider | None") -> None:
    context.display.note(f"the budget of {duration(context.settings.effort.budget_seconds)} is spent")
    if decider is not None:
        decider.end([task for task in tasks if task.done])
    for task in tasks:
        if task.is_open and not task.done:
            task.out = Out(StopReason.BUDGET, BUDGET)


def shuffle_block(tasks: Sequence[Candidate], seed: int, repeat: int) -> list[Candidate]:
    """Put the tasks in the order of one block: random for each block, and the same for the same seed."""
    order = sorted(tasks, key=lambda task: task.trial.key)
    random.Random(f"{seed}/{repeat}").shuffle(order)
    return order


def _repeat(context: Context, together: Sequence[Candidate], repeat: int, run: Run) -> None:
    """One repeat of one trial, or of all the trials of a deployment."""
    for task in together:
        task.started = task.started or time.time()
    retries = context.settings.limits.transient_retries
    outcome, before = retry_transient(lambda: run(context, together, repeat), retries)
    for task in together:
        task.attempts.extend(before)
        task.seconds += outcome.seconds
        task.measured_at = time.monotonic()
    if outcome.failure is not None:
        for task in together:
            task.failure, task.user_error = outcome.failure, outcome.user_error
        return
    for task, measurement in zip(together, _read_measurements(together, outcome), strict=True):
        task.done[repeat] = measurement
        if measurement.process is not None and measurement.process.changed:
            changes = ", ".join(measurement.process.changed)
            context.note_once(
                f"{task.trial.model['name']}: its own code changes its process, as it will where it is "
                f"deployed ({changes})"
            )
        context.ledger.append("repeat", trial=task.trial.key, identity=task.identity, measurement=measurement)


def run(context: Context, together: Sequence[Candidate], repeat: int) -> Outcome:
    """One repeat of a trial in a worker, or of all the trials of a deployment side by side."""
    first, limits = together[0].trial, context.settings.limits
    requests = [make_request(context, task, repeat) for task in together]
    request = requests[0] if len(together) == 1 else TogetherRequest(tuple(requests))
    key = deployment.group_key(first)
    places = [place for task in together for place in place_replicas(context, task.trial)]
    gpus = sorted({int(place.device.partition(":")[2] or 0) for place in places if place.device.startswith("cuda")})
    before = telemetry.look(list_cpus(places), gpus)
    outcome = context.run(
        request,
        "repeats",
        f"{first.label}-{key[:6]}-{repeat}",
        seconds=limits.measure_seconds,
        memory_mb=limits.measure_memory_mb,
        python=first.backend.get("python"),
        preload=list_preloads(together),
        cores=list_cpus(places),
        env=first.process.environment,
    )
    after = telemetry.look(list_cpus(places), gpus)
    return replace(outcome, host=telemetry.between(before, after, outcome.cpu_seconds))


def list_preloads(together: Sequence[Candidate]) -> tuple[str, ...]:
    """Modules that the server of these trials' workers imports ahead."""
    needed = [name for task in together for name in backends.get(str(task.trial.backend["name"])).preload_run]
    return tuple(dict.fromkeys(needed))


def _measure_control(context: Context, task: Candidate, repeat: int, run: Run) -> Measurement | Failure:
    """Measure a trial once more, for the control; this is no repeat of the trial."""
    outcome = run(context, [task], repeat)
    return outcome.failure or _read_measurements([task], outcome)[0]


def make_request(context: Context, task: Candidate, repeat: int) -> MeasureRequest:
    """What a worker is asked for, for one repeat of one trial."""
    trial = task.trial
    effort = context.settings.effort
    if trial.deployment:  # nobody's window is stretched: all members run from its beginning to its end
        effort = replace(effort, min_requests=1)
    return MeasureRequest(
        builds=tuple(Artifact(built.spec, str(built.folder)) for built in task.builds),
        data_folder=str(task.reference.data_folder),
        batch=trial.request_items,
        placements=tuple(place_replicas(context, trial)),
        effort=effort,
        repeat=repeat,
        share=repeat / max(1, effort.repeats * trial.replicas),
        options=trial.backend.get("options") or {},
        load=trial.load,
        padding=Padding.of(trial.model),
        toolchain=plan.find_toolchain(task.builds[0].spec, context.installed),
        flops_by_size=task.reference.flops_by_size,
        copy_inputs=bool(task.reference.nature.changed_inputs),
        label=trial.label,
        process=trial.process,
        scored=score_items.list_items(trial.data, task.reference),
        entry=backends.get(str(trial.backend["name"])).measure_entry,
    )


def _read_measurements(together: Sequence[Candidate], outcome: Outcome) -> list[Measurement]:
    """The measurement of each trial, with what was seen of the worker from outside."""
    if len(together) > 1:  # its memory belongs to all of them
        members = from_json(Measurements, outcome.result).members
        return [replace(repeat, wall_seconds=outcome.seconds, host=outcome.host) for repeat in members]
    repeat = from_json(Measurement, outcome.result)
    peak, cpu = max(repeat.peak_memory_mb, outcome.peak_memory_mb), outcome.cpu_seconds
    repeat = replace(repeat, wall_seconds=outcome.seconds, host=outcome.host)
    return [replace(repeat, peak_memory_mb=peak, cpu_seconds=cpu)]


def _describe_progress(task: Candidate, repeat: int) -> str:
    if task.failure is not None:
        return f"{task.trial.label}: {task.failure.kind.value}"
    return f"{task.trial.label}: {number(task.done[repeat].throughput_items_per_s)} items/s"

"""The phase between builds and repeats: every distinct set of builds answers the data once, nothing else running.

Agreement and accuracy of all trials with these builds come from that pass, so two rows of one build cannot differ, and
a slow build is judged by as many samples as a fast one. Outputs of timed windows are only compared with it.

    store/scores/KEY/score.json, index.npy, output_0.npy, ...   whole because the folder is renamed into place
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sweep import files
from sweep.engine import plan, repeats, score_items
from sweep.engine.context import Context, retry_transient
from sweep.engine.placement import list_cpus
from sweep.engine.tasks import Candidate
from sweep.hardware.environment import find_of_speed
from sweep.hardware.host import name_processor
from sweep.spec import Failure, Outcome, StopReason, UserError, deployment, digest, from_json, to_json
from sweep.spec.facts import ScoreFacts
from sweep.spec.requests import ScoreRequest
from sweep.store.layout import score_folder
from sweep.text import count, duration
from sweep.verdict.elimination import Out
from sweep.worker.scoring import ANSWERS, read_answers

FORMAT = 1  # of what a score's key covers
MARKER = "score.json"
Run = Callable[[Context, Candidate], Outcome]


def score_all(context: Context, tasks: Sequence[Candidate], run: Run) -> None:
    """Fill `score` or `failure` of every task; what a failed pass has in common with a deployment fails with it.

    Passes in the store are used again. When the budget of time is spent, no pass begins, and trials without one get a
    reason in `out`.

    Args:
        run: one pass of a task.
    """
    sets: dict[str, list[Candidate]] = {}
    for task in tasks:
        sets.setdefault(make_key(context, task), []).append(task)
    if not sets:
        return
    context.display.begin("score", len(sets))
    for key, same in sets.items():
        stored = _find_stored(context, key)
        if stored is not None:
            context.display.advance(f"{same[0].trial.label}: stored")
            _give(same, stored)
        elif context.is_overdue():
            for task in same:
                task.out = Out(StopReason.BUDGET, repeats.BUDGET)
        else:
            _score(context, key, same, run)
    context.display.end()
    _fail_deployments(tasks)


def make_key(context: Context, task: Candidate) -> str:
    """Equal for trials whose answers must be the same: builds, data, routing, toolchain, processor and samples."""
    trial, host = task.trial, context.host
    return digest(
        {
            "format": FORMAT,
            "builds": [built.key for built in task.builds],
            "reference": task.reference.key,
            "items": score_items.list_items(trial.data, task.reference),
            "request_items": trial.request_items,
            "options": trial.backend.get("options") or {},
            "denormals": trial.process.denormals,
            "variables": find_of_speed(),
            "toolchain": plan.find_toolchain(task.builds[0].spec, context.installed),
            "processor": name_processor(host),
            "devices": [[gpu.name for gpu in host.gpus], host.neuron_family],
        }
    )


def run(context: Context, task: Candidate) -> Outcome:
    """One pass in a worker, with one replica on the first placement of the trial."""
    trial, limits = task.trial, context.settings.limits
    request = repeats.make_request(context, task, 0)
    place = request.placements[0]
    return context.run(
        ScoreRequest(replace(request, placements=(place,))),
        "scores",
        trial.label,
        seconds=limits.measure_seconds,
        memory_mb=limits.measure_memory_mb,
        python=trial.backend.get("python"),
        preload=repeats.list_preloads([task]),
        cores=list_cpus([place]),
        env=trial.process.environment,
        watched=True,
    )


def _score(context: Context, key: str, same: Sequence[Candidate], run: Run) -> None:
    """One pass for all of these tasks."""
    begun = time.time()
    outcome, before = retry_transient(lambda: run(context, same[0]), context.settings.limits.transient_retries)
    label = same[0].trial.label
    context.ledger.append(
        "score",
        key=key,
        trials=[task.trial.key for task in same],
        seconds=outcome.seconds,
        failure=outcome.failure,
    )
    for task in same:
        task.attempts.extend(before)
        task.failure, task.user_error = outcome.failure, outcome.user_error
        if outcome.failure is not None:
            task.started = task.started or begun
    if outcome.failure is not None:
        context.display.advance(f"{label}: {outcome.failure.kind.value}", failed=True)
        return
    facts = from_json(ScoreFacts, outcome.result)
    facts = replace(facts, seconds=outcome.seconds, key=key, processor=name_processor(context.host))
    _keep(context, same[0], facts, Path(outcome.log).parent / ANSWERS)
    context.display.advance(f"{label}: {count(facts.items, 'item')} in {duration(facts.seconds)}")
    _give(same, facts)


def _give(same: Sequence[Candidate], facts: ScoreFacts) -> None:
    for task in same:
        task.score = facts


def _find_stored(context: Context, key: str) -> ScoreFacts | None:
    """A pass in the store; what cannot be read is removed."""
    folder = score_folder(context.store.root, key)
    stored = files.read_json(folder / MARKER)
    try:
        facts = from_json(ScoreFacts, stored)
        index, outputs = read_answers(folder)
        whole = all(len(array) == facts.items for array in (index, *outputs))
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        files.remove(folder)
        return None
    files.touch(folder / MARKER)
    return facts


def _keep(context: Context, task: Candidate, facts: ScoreFacts, draft: Path) -> None:
    """Move the answers of a pass into the store.

    Raises:
        UserError: it cannot be written.
    """
    final = score_folder(context.store.root, facts.key)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(draft / MARKER, {**to_json(facts), "builds": [built.key for built in task.builds]})
        files.flush(draft)
        files.move(draft, final)
        files.remove(draft)  # another sweep was first
    except OSError as error:
        raise UserError(files.describe_write_error(error, final.parent)) from error


def _fail_deployments(tasks: Sequence[Candidate]) -> None:
    """Where one member of a deployment failed, none can be measured; where one was not scored, none is."""
    by_key = {task.trial.key: task for task in tasks}
    for trials in deployment.group_trials(task.trial for task in tasks).values():
        together = [by_key[trial.key] for trial in trials]
        if len(together) == 1:
            continue
        failed = next((task for task in together if task.failure is not None), None)
        out = next((task.out for task in together if task.out is not None), None)
        reason = None if failed is None else _name_member(failed)
        for task in together:
            task.out = task.out or out
            if failed is not None:
                task.failure, task.user_error, task.started = reason, failed.user_error, failed.started


def _name_member(task: Candidate) -> Failure:
    """The failure of a member, with its name."""
    assert task.failure is not None, "it failed"
    return replace(task.failure, summary=f"{task.trial.label}: {task.failure.summary}")

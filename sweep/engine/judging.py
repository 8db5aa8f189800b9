"""Last phase: turn repeats into a record, with agreement, gates, metrics and cost."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweep import backends, files
from sweep.engine import padding, plan, rating
from sweep.engine.context import Context
from sweep.engine.placement import list_cpus, place_replicas
from sweep.engine.references import Reference
from sweep.engine.tasks import Built, Candidate
from sweep.hardware.environment import find_of_speed
from sweep.hardware.host import Host, name_processor
from sweep.isolate.pool import format_rerun
from sweep.spec import Failure, Json, Measurement, Record, Status, StopReason, Trial, deployment, digest
from sweep.spec.facts import LadderFacts
from sweep.spec.metrics import OF_ANSWERS
from sweep.store.layout import score_folder
from sweep.text import count
from sweep.verdict.repeats import compute_metrics, list_notes, pool_buckets, pool_sizes

CODE = 2  # raised when measuring or judging changes so that older results are no longer comparable
Comparisons = dict[tuple[str, str], Json]


def compute_identity(context: Context, trial: Trial, builds: Sequence[Built], reference: Reference) -> str:
    """Equal for results that may replace each other.

    They have the same trial, content of the builds, answers, host type, code, and variables that change speed.
    """
    host, variables = context.host, find_of_speed()
    where = [name_processor(host), len(host.cpus), host.instance_type, CODE]
    return digest(
        [trial.key, [built.key for built in builds], reference.key, *where, *([variables] if variables else [])]
    )


def make_stopped_record(context: Context, trial: Trial, stop: StopReason, reason: str) -> Record:
    """The record of a trial that was stopped before it was measured."""
    return replace(make_unmeasured_record(context, trial, Status.STOPPED, reason), stop=stop)


def make_unmeasured_record(
    context: Context, trial: Trial, status: Status, reason: str, failure: Failure | None = None
) -> Record:
    """The record of a trial that was not measured."""
    return Record(
        key=trial.key,
        label=trial.label,
        settings=trial.settings,
        overrides=trial.overrides,
        status=status,
        reason=reason,
        origin=backends.get(str(trial.backend["name"])).origin,
        failure=failure,
        sweep=context.folder.name,
        load=trial.load,
        process=trial.process.list_unusual(),
        deployment=deployment.describe(trial) if trial.deployment else None,
    )


def describe_machine(host: Host) -> str:
    """What machines of one type have in common, like `AMD EPYC 9R14, 2 CPUs`; none of it names this one."""
    return ", ".join(filter(None, (host.instance_type, host.cpu, count(len(host.cpus), "CPU"))))


def make_record(context: Context, task: Candidate) -> Record:
    """The record of a trial after its repeats. One that is still to be judged is `ok` and has no numbers."""
    trial, repeats = task.trial, tuple(task.done[index] for index in sorted(task.done))
    builds = tuple(built.to_json() for built in task.builds)
    base = replace(
        make_unmeasured_record(context, trial, Status.OK, ""),
        repeats=repeats,
        builds=builds,
        identity=task.identity,
        started=task.started,
        seconds=task.seconds,
        notes=list_notes(repeats),
        attempts=tuple(task.attempts),
        ladder=tuple(LadderFacts(b.spec.options, len(b.attempts)) for b in task.builds if b.attempts),
        buckets=tuple(pool_buckets(repeats, builds)),
        sizes=tuple(pool_sizes(repeats)),
        binding=task.reference.binding,
        score=task.score,
        nature=task.reference.nature if task.reference.nature.describe() else None,
        look=task.look,
        dominated_by=task.out.by if task.out is not None else None,
        min_requests=context.settings.effort.min_requests,
        machine=describe_machine(context.host),
    )
    if task.failure is not None:
        summary = task.failure.summary
        if repeats:
            summary += f" (after {len(repeats)} whole repeats)"
        summary += explain_nature(task.reference)
        status = Status.INVALID if task.user_error else Status.RUN_FAILED
        return replace(base, status=status, reason=summary, failure=task.failure)
    if task.out is not None and (not repeats or task.score is None):
        return replace(base, status=Status.STOPPED, reason=task.out.reason, stop=task.out.why)
    return base


def judge(context: Context, task: Candidate, base: Record, comparisons: Comparisons) -> Record:
    """Add the numbers of the repeats and the verdict of the gates to a record.

    Args:
        base: from `make_record`.
        comparisons: those already made in this sweep, by what was compared: trials with the same score, or a repeat
            that is judged once more, are compared once.
    """
    from sweep.verdict import gates

    trial, repeats = task.trial, base.repeats
    comparison = _compare(context, task, comparisons)
    comparable = [] if comparison["mismatch"] else repeats
    windows = [_compare_window(context, task, repeat, comparisons) for repeat in comparable]
    metrics = compute_metrics(base)
    metrics |= {name: comparison[name] for name in OF_ANSWERS if comparison.get(name) is not None}
    metrics |= rating.list_values(comparison)
    if task.score is not None:
        metrics |= {"scored_items": float(task.score.items), "score_seconds": task.score.seconds}
    metrics["build_seconds"] = sum(built.seconds for built in task.builds)
    cost, price = context.compute_cost(trial.hardware, metrics)
    metrics |= cost
    failure = gates.check(
        repeats,
        comparison,
        base.builds,
        trial.precision,
        context.settings.gates,
        task.reference.flops_per_item,
        (trial.hardware.get("peak_flops") or {}).get(trial.precision),
        "int8" if trial.precision == "fp32" and "int8" in task.reference.weights else "",
        windows=windows,
    )
    failure, comparison = padding.explain_failure(context, task, failure, comparison, comparisons)
    record = replace(base, metrics=metrics, agreement=comparison, price=price)
    if failure is not None:
        failure = _add_evidence(context, task, repeats[-1], failure)
        failure = replace(failure, summary=failure.summary + explain_nature(task.reference))
        record = replace(record, status=Status.REJECTED, reason=failure.summary, failure=failure)
    elif task.out is not None:
        record = replace(record, status=Status.STOPPED, reason=task.out.reason, stop=task.out.why)
    return record


def explain_nature(reference: Reference) -> str:
    """The end of a reason: what the original itself does, which the build may not be to blame for."""
    nature = reference.nature.describe()
    return f"; the original itself {nature}" if nature else ""


def _add_evidence(context: Context, task: Candidate, repeat: Measurement, failure: Failure) -> Failure:
    """Add to a failure the log and the versions of the run that is not believed, and how to run it again."""
    folder, python = Path(repeat.samples).parent, task.trial.backend.get("python")
    cores = list_cpus(place_replicas(context, task.trial))
    return replace(
        failure,
        log=str(folder / "log.txt"),
        exit_code=0,
        seconds=task.seconds,
        versions=plan.find_toolchain(task.builds[0].spec, context.installed),
        command=format_rerun(folder, python=python, cores=cores, env=task.trial.process.environment),
    )


def _compare(context: Context, task: Candidate, comparisons: Comparisons) -> Json:
    """The answers of the scoring pass beside the original model's."""
    from sweep.verdict.stats import agreement
    from sweep.worker import arrays
    from sweep.worker.scoring import read_answers

    assert task.score is not None, "nothing is judged before it is scored"
    key = ("score", f"{task.score.key}/{task.trial.pair_key}")  # the data may say how answers are read
    if key not in comparisons:
        index, outputs = read_answers(score_folder(context.store.root, task.score.key))
        labels, kind = arrays.read_labels(task.reference.data_folder)
        reference = arrays.read_reference(task.reference.folder)
        if len(index) < task.score.of:
            reference, labels = [array[index] for array in reference], None if labels is None else labels[index]
        reading = agreement.Reading.of(task.trial.data, task.reference.data_folder, task.reference.folder)
        reading = reading.select(index)
        compared = agreement.compare(reference, outputs, labels, kind, reading=reading)
        own = {} if compared["mismatch"] else rating.rate_answers(context, task)
        comparisons[key] = {**compared, **own}
    return comparisons[key]


def _compare_window(context: Context, task: Candidate, repeat: Measurement, comparisons: Comparisons) -> Json:
    """The answers of a timed window beside those of the scoring pass, as far as its samples were scored."""
    import numpy as np

    from sweep.verdict.stats import agreement
    from sweep.worker import arrays
    from sweep.worker.scoring import read_answers

    assert task.score is not None, "nothing is judged before it is scored"
    key = ("window", f"{repeat.outputs}/{task.trial.pair_key}")
    if key not in comparisons:
        index, outputs = arrays.merge_outputs([files.load_arrays(Path(repeat.outputs))])
        scored, answers = read_answers(score_folder(context.store.root, task.score.key))
        common, of_window, of_score = np.intersect1d(index, scored, assume_unique=True, return_indices=True)
        expected, actual = [array[of_score] for array in answers], [array[of_window] for array in outputs]
        kind = arrays.read_labels(task.reference.data_folder)[1]
        reading = agreement.Reading.of(task.trial.data, task.reference.data_folder).select(common)
        comparisons[key] = agreement.compare(expected, actual, task=kind, reading=reading) if len(common) else {}
    return comparisons[key]

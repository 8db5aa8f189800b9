"""What the engine does otherwise where a table answers: no reference, reported seconds, and records of what is claimed.

A replayed record has the numbers of its row, not those of the draws: a mean of draws would be another number than the
one that was published, and its interval would say nothing.
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import backends
from sweep.backends.replay import answers
from sweep.backends.replay.tables import Row
from sweep.engine.references import Reference
from sweep.spec import BuildSpec, Failure, FailureKind, Outcome, Record, Status, Trial, digest, to_json
from sweep.spec.facts import SourceFacts
from sweep.verdict import plausibility

if TYPE_CHECKING:
    from sweep.engine.context import Context
    from sweep.engine.tasks import Task

ORIGIN = "replayed"


def replays(trial: Trial) -> bool:
    """Whether a table answers this trial."""
    return backends.get(str(trial.backend["name"])).replays


def reference(trial: Trial) -> Reference:
    """In the place of the original model's answers, which nobody needs: there are no answers to compare."""
    nowhere = Path("/nonexistent")
    model, data = (digest(to_json(group)) for group in (trial.model, trial.data))
    return Reference(model, data, digest([model, data, ORIGIN]), nowhere, nowhere)


def as_reported(spec: BuildSpec, outcome: Outcome) -> Outcome:
    """The outcome of a build with the seconds that it was reported to take; of every other backend as it is."""
    seconds = _row(spec).build_seconds or 0.0 if backends.get(spec.backend).replays else None
    if seconds is None:
        return outcome
    failure = outcome.failure and replace(outcome.failure, seconds=seconds)
    return replace(outcome, seconds=seconds, failure=failure)


def to_draw(task: "Task") -> bool:
    """Whether there are repeats to ask for: always, but for a row without a distribution."""
    if not replays(task.trial):
        return True
    row = _row(task.builds[0].spec)
    return row.status is Status.RUN_FAILED or answers.claim(row).drawable


def judge(context: "Context", task: "Task", base: Record) -> Record:
    """The record of a trial as its row has it, with the gates that its numbers can be asked."""
    row = _row(task.builds[0].spec)
    said = answers.claim(row)
    metrics = metrics_of(row, said)
    cost, price = context.cost(task.trial.hardware, metrics)
    metrics |= cost
    lines = [answers.DRAWS, *said.notes] if base.repeats else list(said.notes)
    builds = base.builds
    if row.build_seconds is None:
        builds = tuple({**built, "seconds": None} for built in builds)
    record = replace(
        base,
        metrics=metrics or None,
        builds=builds,
        notes={**base.notes, "replayed": lines},
        price=price,
        source=source_of(task.builds[0].spec),
    )
    hardware = {**task.trial.hardware, "name": row.hardware}
    flags = plausibility.judge(row, [hardware], context.settings.gates)
    if row.status is Status.REJECTED:
        flags = [Failure(row.failure_kind or FailureKind.UNKNOWN, row.reason or "")]
    if not flags:
        return record
    reason = "; ".join(flag.summary for flag in flags)
    return replace(record, status=Status.REJECTED, reason=reason, failure=replace(flags[0], summary=reason))


def metrics_of(row: Row, said: answers.Claim) -> dict[str, float]:
    """The numbers of the row, and what follows from them."""
    known = row.metrics
    if said.rate:
        known.setdefault("throughput_items_per_s", said.rate)
    if said.mean_ms and not said.points:
        known.setdefault("latency_ms_mean", said.mean_ms)
    return known


def source_of(spec: BuildSpec) -> SourceFacts:
    """Where a record's numbers come from."""
    return _row(spec).source_facts(str(spec.options.get("found_in")))


def _row(spec: BuildSpec) -> Row:
    return answers.row_from(dict(spec.options["row"]))

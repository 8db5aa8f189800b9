"""The metrics of `data.metrics`: computed in a worker, because the parent imports no code of the user."""

from collections.abc import Mapping
from typing import Any

from sweep.engine import references
from sweep.engine.context import Context
from sweep.engine.tasks import Candidate
from sweep.spec import Json
from sweep.spec.requests import MetricsRequest
from sweep.store.layout import score_folder


def rate_answers(context: Context, task: Candidate) -> Json:
    """`metrics` of a comparison: the values of the build and of the original, by name; empty if none are named.

    If computing them fails, `metrics_failure` says why, and the trial goes on without them.
    """
    trial = task.trial
    if not trial.data.get("metrics") or task.score is None:
        return {}
    answers = score_folder(context.store.root, task.score.key)
    request = MetricsRequest(trial.data, str(task.reference.data_folder), str(task.reference.folder), str(answers))
    outcome = context.run(
        request,
        "metrics",
        trial.label,
        seconds=context.settings.limits.reference_seconds,
        memory_mb=context.settings.limits.build_memory_mb,
        python=trial.model.get("python"),
        preload=references.list_preloads(trial),
    )
    if outcome.failure is not None:
        context.display.note(f"{trial.label}: data.metrics: {outcome.failure.summary}")
        return {"metrics_failure": outcome.failure.summary}
    return {"metrics": outcome.result}


def list_values(comparison: Mapping[str, Any]) -> dict[str, float]:
    """The values as metrics of a record: by the last part of their name; the original's begin with `reference_`."""
    values = comparison.get("metrics") or {}
    named = {"": values.get("build") or {}, "reference_": values.get("original") or {}}
    return {
        prefix + name.rpartition(".")[2]: float(value)
        for prefix, known in named.items()
        for name, value in known.items()
        if value is not None
    }

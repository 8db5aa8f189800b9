"""Find out whether wrong answers come from the padding or from the build.

The original model answers samples that are padded as the trial pads them. If its answers change, its mask does not
work. If the build agrees with these answers, padding is the only cause.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import files
from sweep.engine import references
from sweep.engine.context import Context
from sweep.engine.tasks import Candidate
from sweep.spec import Failure, Json, digest
from sweep.spec.requests import PaddedReferenceRequest, Padding
from sweep.store.layout import score_folder
from sweep.verdict import gates

if TYPE_CHECKING:
    import numpy as np

    from sweep.spec.settings import Gates
    from sweep.verdict.stats.agreement import Reading

SAMPLES = 64  # that the original answers, at most
ENOUGH = 16  # samples in common, to use the answers that another trial got from the original
NOTE = 160  # characters that are shown of a failure of this check
FIX = "correct the mask (model.bucket_dims, pad_value, pad_side) or use buckets of the inputs' own sizes"


@dataclass(frozen=True)
class _Padded:
    """The samples that a trial has answered and padded, and their padded shapes."""

    items: "np.ndarray"  # ascending
    shapes: "np.ndarray | None"  # of all samples of the data; None: as they are stored


def explain_failure(
    context: Context, task: Candidate, failure: Failure | None, comparison: Json, known: dict[tuple[str, str], Json]
) -> tuple[Failure | None, Json]:
    """Say whether padding is the cause of a failure, and add the numbers behind that to the comparison.

    Both are returned unchanged if the failure has another reason than wrong answers, or if nothing was padded.

    Args:
        known: results of this sweep so far; the original answers once for all trials that pad alike.
    """
    wrong = gates.answers(comparison, task.trial.precision, context.settings.gates)
    if failure is None or failure != wrong:
        return failure, comparison
    from sweep.worker.scoring import read_answers

    assert task.score is not None, "nothing is judged before it is scored"
    index, outputs = read_answers(score_folder(context.store.root, task.score.key))
    padded = _find_padded(task, index)
    if padded is None:
        return failure, comparison
    answer = _ask(context, task, padded, known)
    if "failure" in answer:
        note = textwrap.shorten(answer["failure"], NOTE, placeholder=" …")
        text = f"{failure.summary}; whether padding is the cause is not known: asking the original model failed: {note}"
        return replace(failure, summary=text), {**comparison, "padding": {"failure": answer["failure"]}}
    comparisons = _compare_samples(task, index, outputs, files.load_arrays(Path(answer["answers"])))
    comparisons["cause"] = _find_cause(comparisons, task.trial.precision, context.settings.gates)
    if comparisons["cause"] == "padding":
        explained = gates.answers(
            comparison, task.trial.precision, context.settings.gates, _describe_cause(comparisons)
        )
    else:
        explained = replace(failure, summary=f"{failure.summary}; {_describe_cause(comparisons)}")
    return explained, {**comparison, "padding": comparisons}


def _find_padded(task: Candidate, answered: "np.ndarray") -> _Padded | None:
    """None if a trial has padded none of the samples that it answered."""
    import numpy as np

    from sweep.worker import arrays, batching, padded_reference

    sizes = references.load_sizes(task.trial, task.reference.data_folder)
    if sizes is None:
        return None
    inputs = arrays.read_data(task.reference.data_folder)
    stored = batching.find_stored_size(inputs, Padding.of(task.trial.model))
    shapes = padded_reference.find_padded_sizes(
        [b.spec.bucket for b in task.builds], sizes, stored, task.trial.request_items, answered
    )
    larger = (np.array(stored if shapes is None else shapes) != sizes).any(axis=1)
    items = answered[larger[answered]]
    return _Padded(items, shapes) if len(items) else None


def _ask(context: Context, task: Candidate, padded: _Padded, known: dict[tuple[str, str], Json]) -> Json:
    """Get the original's answers with padding: `answers` is their path; `failure` says why there are none."""
    import numpy as np

    from sweep.worker import padded_reference

    trial, shapes = task.trial, padded.shapes
    how = Padding.of(trial.model)
    key = ("padding", digest([task.reference.key, how, None if shapes is None else shapes.tolist()]))
    if key in known:
        common = np.intersect1d(known[key]["items"], padded.items)
        if len(common) >= min(ENOUGH, len(padded.items)):
            return known[key]
    spread = np.linspace(0, len(padded.items) - 1, min(SAMPLES, len(padded.items))).round().astype(int)
    items = padded.items[spread]
    wanted = None if shapes is None else tuple(map(tuple, shapes[items].tolist()))
    folder = str(task.reference.data_folder)
    request = PaddedReferenceRequest(trial.model, folder, tuple(items.tolist()), wanted, how, trial.data)
    context.display.begin("padding", 1)
    outcome = context.run(
        request,
        "padding",
        f"{trial.model['name']}-{trial.data['name']}",
        seconds=context.settings.limits.reference_seconds,
        memory_mb=context.settings.limits.build_memory_mb,
        python=trial.model.get("python"),
        preload=references.list_preloads(trial),
    )
    answer: Json = {"answers": str(Path(outcome.log).parent / padded_reference.ANSWERS)}
    if outcome.failure is not None:
        answer = {"failure": outcome.failure.summary}
    context.display.advance(f"{trial.label}: the original model with padding", failed="failure" in answer)
    context.display.end()
    known[key] = {**answer, "items": items.tolist()}
    return known[key]


def _compare_samples(
    task: Candidate, index: "np.ndarray", outputs: "list[np.ndarray]", answers: "Mapping[str, np.ndarray]"
) -> Json:
    """Compare on common samples: `original` with padding against without, `build` against the padded original."""
    import numpy as np

    from sweep.verdict.stats import agreement
    from sweep.worker import arrays

    _, kind = arrays.read_labels(task.reference.data_folder)
    items, ours, theirs = np.intersect1d(index, answers["index"], return_indices=True)
    padded = [answers[f"output_{number}"][theirs] for number in range(len(answers) - 1)]
    own = [array[items] for array in arrays.read_reference(task.reference.folder)]
    reading = agreement.Reading.of(task.trial.data, task.reference.data_folder).select(items)
    return _compare_both(own, padded, [array[ours] for array in outputs], kind, reading)


def _compare_both(
    own: "list[np.ndarray]",
    padded: "list[np.ndarray]",
    build: "list[np.ndarray]",
    kind: str,
    reading: "Reading | None" = None,
) -> Json:
    from sweep.verdict.stats import agreement

    original = agreement.compare(own, padded, task=kind, reading=reading)
    against_padded = agreement.compare(padded, build, task=kind, reading=reading)
    return {"samples": len(own[0]), "original": original, "build": against_padded}


def _find_cause(comparisons: Json, precision: str, limits: "Gates") -> str:
    """`padding`, `build` or `both`, whichever the gates reject; if neither, the one with the larger error."""
    padding, build = (gates.answers(comparisons[name], precision, limits) is not None for name in ("original", "build"))
    if padding == build:
        if padding:
            return "both"
        padding = (comparisons["original"]["relative_error"] or 0) >= (comparisons["build"]["relative_error"] or 0)
    return "padding" if padding else "build"


def _describe_cause(facts: Json) -> str:
    original, build = _describe_comparison(facts["original"]), _describe_comparison(facts["build"])
    if facts["cause"] == "padding":
        return (
            f"padding changes the original model's own answers too ({facts['samples']} samples with and without: "
            f"{original}), and the build agrees with the padded original ({build}): {FIX}"
        )
    if facts["cause"] == "both":
        return (
            f"both are at fault: padding changes the original model's own answers ({facts['samples']} samples with and "
            f"without: {original}), and the build differs from the padded original ({build}): {FIX}"
        )
    return (
        f"padding is not the cause: it does not change the original model's own answers ({facts['samples']} samples "
        f"with and without: {original}), the build differs from the padded original too ({build})"
    )


def _describe_comparison(comparison: Mapping[str, Any]) -> str:
    if comparison["mismatch"]:
        return str(comparison["mismatch"])
    if not comparison["finite"]:
        return "NaN or infinity"
    if comparison["varies"] is False:
        return "the same answer to all"
    words = [] if comparison["agreement"] is None else [f"{100 * comparison['agreement']:.4g} % the same"]
    if comparison["cosine_mean"] is not None:
        words.append(f"mean cosine {comparison['cosine_mean']:.5f}")
    return ", ".join(words) or "not known"

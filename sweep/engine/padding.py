"""Answers that are wrong: is it the padding, or the build?

The original model is asked for samples padded as the trial pads them. If its own answers change, its mask does not
work; if the build then agrees with it, that is all there is to it.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.engine import references
from sweep.engine.context import Context
from sweep.engine.tasks import Candidate
from sweep.spec import Failure, Json, digest
from sweep.spec.requests import PaddedReferenceRequest, Padding
from sweep.verdict import gates

if TYPE_CHECKING:
    import numpy as np

    from sweep.spec.settings import Gates

SAMPLES = 64  # are asked at most
ENOUGH = 16  # of those asked for another trial must have been answered by this one, or it is asked for its own
NOTE = 160  # characters of a failure of the worker that looks for the cause
FIX = "correct the mask (model.bucket_dims, pad_value, pad_side) or use buckets of the inputs' own sizes"


@dataclass(frozen=True)
class _Padded:
    """Which of the samples that a trial answered it padded, and to what."""

    items: "np.ndarray"  # ascending
    shapes: "np.ndarray | None"  # of all samples of the data; None: as they are stored


def explained(
    context: Context, task: Candidate, failure: Failure | None, comparison: Json, known: dict[tuple[str, str], Json]
) -> tuple[Failure | None, Json]:
    """The reason to reject a trial with what padding has to do with it, and the comparison with the numbers behind it.

    Both are returned as they are where the reason is another than wrong answers, or nothing was padded.

    Args:
        known: what was computed before in this sweep; the original is asked once for trials that pad alike.
    """
    wrong = gates.answers(comparison, task.trial.precision, context.settings.gates)
    if failure is None or failure != wrong:
        return failure, comparison
    from sweep.store.outputs import load_outputs, merge_outputs

    index, outputs = merge_outputs([load_outputs(task.done[number].outputs) for number in sorted(task.done)])
    padded = _padded(task, index)
    if padded is None:
        return failure, comparison
    asked = _ask(context, task, padded, known)
    if "failure" in asked:
        note = textwrap.shorten(asked["failure"], NOTE, placeholder=" …")
        text = f"{failure.summary}; whether padding is the cause is not known: asking the original model failed: {note}"
        return replace(failure, summary=text), {**comparison, "padding": {"failure": asked["failure"]}}
    found = _compared(task, index, outputs, load_outputs(asked["answers"]))
    found["cause"] = _cause(found, task.trial.precision, context.settings.gates)
    if found["cause"] == "padding":
        told = gates.answers(comparison, task.trial.precision, context.settings.gates, _wording(found))
    else:
        told = replace(failure, summary=f"{failure.summary}; {_wording(found)}")
    return told, {**comparison, "padding": found}


def _padded(task: Candidate, answered: "np.ndarray") -> _Padded | None:
    """None where a trial pads nothing of what it answered."""
    import numpy as np

    from sweep.worker import arrays, batching, padded_reference

    sizes = references.sizes_of(task.trial, task.reference)
    if sizes is None:
        return None
    inputs = arrays.read_data(task.reference.data_folder)
    stored = batching.find_stored_size(inputs, Padding.of(task.trial.model))
    shapes = padded_reference.find_padded_sizes(
        [b.spec.bucket for b in task.builds], sizes, stored, task.trial.request_items
    )
    larger = (np.array(stored if shapes is None else shapes) != sizes).any(axis=1)
    items = answered[larger[answered]]
    return _Padded(items, shapes) if len(items) else None


def _ask(context: Context, task: Candidate, padded: _Padded, known: dict[tuple[str, str], Json]) -> Json:
    """`answers`, the path of what the original says with padding, or `failure`, why it says nothing."""
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
    request = PaddedReferenceRequest(trial.model, folder, tuple(items.tolist()), wanted, how)
    context.display.begin("padding", 1)
    outcome = context.run(
        request,
        "padding",
        f"{trial.model['name']}-{trial.data['name']}",
        seconds=context.settings.limits.reference_seconds,
        memory_mb=context.settings.limits.build_memory_mb,
        python=trial.model.get("python"),
        preload=() if trial.model.get("python") else references.preload(trial),
    )
    said: Json = {"answers": str(Path(outcome.log).parent / padded_reference.ANSWERS)}
    if outcome.failure is not None:
        said = {"failure": outcome.failure.summary}
    context.display.advance(f"{trial.label}: the original model with padding", failed="failure" in said)
    context.display.end()
    known[key] = {**said, "items": items.tolist()}
    return known[key]


def _compared(
    task: Candidate, index: "np.ndarray", outputs: "list[np.ndarray]", answers: "Mapping[str, np.ndarray]"
) -> Json:
    """The samples both have: `original` with padding against without, `build` against the original with padding."""
    import numpy as np

    from sweep.worker import arrays

    _, kind = arrays.read_labels(task.reference.data_folder)
    items, ours, theirs = np.intersect1d(index, answers["index"], return_indices=True)
    padded = [answers[f"output_{number}"][theirs] for number in range(len(answers) - 1)]
    own = [array[items] for array in arrays.read_reference(task.reference.folder)]
    return _both(own, padded, [array[ours] for array in outputs], kind)


def _both(own: "list[np.ndarray]", padded: "list[np.ndarray]", build: "list[np.ndarray]", kind: str) -> Json:
    from sweep.verdict.stats import agreement

    original = agreement.compare(own, padded, task=kind)
    against_padded = agreement.compare(*_numbers(padded, build), task=kind)
    return {"samples": len(own[0]), "original": original, "build": against_padded}


def _numbers(expected: "list[np.ndarray]", found: "list[np.ndarray]") -> "tuple[list[np.ndarray], list[np.ndarray]]":
    """Both with 0 where neither is a number: there they agree."""
    import numpy as np

    alike = [
        np.isnan(a) & np.isnan(b) if a.shape == b.shape else np.False_ for a, b in zip(expected, found, strict=True)
    ]
    return (
        [np.where(same, 0, array) for same, array in zip(alike, expected, strict=True)],
        [np.where(same, 0, array) for same, array in zip(alike, found, strict=True)],
    )


def _cause(found: Json, precision: str, limits: "Gates") -> str:
    """`padding`, `build` or `both`: what the gates reject; where they reject neither alone, what is further off."""
    padding, build = (gates.answers(found[name], precision, limits) is not None for name in ("original", "build"))
    if padding == build:
        if padding:
            return "both"
        padding = (found["original"]["relative_error"] or 0) >= (found["build"]["relative_error"] or 0)
    return "padding" if padding else "build"


def _wording(found: Json) -> str:
    original, build = _told(found["original"]), _told(found["build"])
    if found["cause"] == "padding":
        return (
            f"padding changes the original model's own answers too ({found['samples']} samples with and without: "
            f"{original}), and the build agrees with the padded original ({build}): {FIX}"
        )
    if found["cause"] == "both":
        return (
            f"both are at fault: padding changes the original model's own answers ({found['samples']} samples with and "
            f"without: {original}), and the build differs from the padded original ({build}): {FIX}"
        )
    return (
        f"padding is not the cause: it does not change the original model's own answers ({found['samples']} samples "
        f"with and without: {original}), the build differs from the padded original too ({build})"
    )


def _told(comparison: Mapping[str, Any]) -> str:
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

"""Does a build still give the original model's answers? Vectorised; what cannot be known is None.

Arrays have one row per sample and come in the order of the model's outputs. For classification the first array holds
the logits (samples, classes), or the classes themselves as integers (samples,); errors are taken over all outputs.
Every other output of many numbers a sample is taken for an embedding: it says which samples are alike, so their
neighbours are compared too.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sweep.spec import Json
from sweep.verdict.stats import intervals

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

NOISE = 1e-6  # relative spread over samples that rounding alone can make in single precision
EMBEDDING_WIDTH = 16  # numbers a sample from which an output is taken for an embedding
NEIGHBOURS = 10  # of each sample
NEIGHBOUR_SAMPLES = 2000  # are compared at most, evenly spread: the work grows with their square
ALIKE = 1e-6  # difference of cosines that rounding alone can make: nearer than that is equally near
STUCK = 1e-3  # share of the reference's spread below which outputs count as not following the inputs

_UNKNOWN: Json = dict.fromkeys(
    (
        *("mismatch", "finite", "varies", "max_abs_error", "relative_error", "cosine_mean", "cosine_min"),
        *("agreement", "agreement_low", "agreement_high", "accuracy", "accuracy_low", "accuracy_high"),
        *("reference_accuracy", "who_was_right", "mcnemar_p", "neighbour_overlap"),
    )
)


def compare(
    reference: "Sequence[Array]",
    candidate: "Sequence[Array]",
    labels: "Array | None" = None,
    task: str = "classification",
    confidence: float = 0.95,
) -> Json:
    """Compare a candidate's outputs with the reference's on the same samples.

    Returns plain JSON values; None where something cannot be known:
        samples: rows compared. mismatch: text, where the two cannot be compared at all; the rest is then None.
        finite: no NaN or infinity where the reference has none.
        varies: outputs differ between samples beyond rounding, wherever the reference's do; None if its do not.
        max_abs_error: largest |candidate - reference|, over all outputs.
        relative_error: ||candidate - reference|| / ||reference|| (Euclidean norm), of the worst output.
        cosine_mean, cosine_min: cosine similarity per sample, over all outputs; for an output of one number a sample,
            of the whole column, since one number has no direction.
        agreement, _low, _high: share of samples with the same top class, Wilson's interval.
        accuracy, _low, _high, reference_accuracy: share of labels hit, Wilson's interval of the candidate's.
        who_was_right: counts of samples: both, only_reference, only_candidate, neither. mcnemar_p: exact, two-sided.
        neighbour_overlap: of the worst embedding; see the function of that name. None where no output is one, or one
            is not finite.

    A row with NaN has no top class: it agrees with nothing and is wrong.

    Raises:
        ValueError: if there is not one label per sample.
    """
    import numpy as np

    references = [np.asarray(array) for array in reference]
    candidates = [np.asarray(array) for array in candidate]
    samples = len(references[0]) if references and references[0].ndim else 0
    result: Json = {"samples": samples, **_UNKNOWN}
    result["mismatch"] = _mismatch(references, candidates)
    if result["mismatch"] is not None:
        return result
    pairs = [(_flat(a), _flat(b)) for a, b in zip(references, candidates, strict=True)]
    result.update(_errors(pairs))
    result["varies"] = _varies(pairs)
    result["neighbour_overlap"] = _worst_overlap(references, candidates, task)
    if task == "classification":
        classes = top_classes(references[0], undefined=-2), top_classes(candidates[0])
        if classes[0] is not None and classes[1] is not None:
            result.update(_agreement(classes[0], classes[1], confidence))
            if labels is not None:
                result.update(_who_was_right(classes[0], classes[1], np.asarray(labels).ravel(), confidence))
    return result


def neighbour_overlap(reference: "Array", candidate: "Array", neighbours: int = NEIGHBOURS) -> float | None:
    """The share of each sample's nearest neighbours in the candidate that are among its nearest in the reference.

    Args:
        reference, candidate: embeddings (samples, values) of the same samples.
        neighbours: how many of each sample are looked at, by cosine, itself left out. What is as near as the last of
            the reference's counts too, so that samples that stand twice cost nothing.

    Returns:
        The mean over samples, 0 to 1. 1 for embeddings that were turned or stretched together; two that have nothing to
        do with each other have about neighbours / (samples - 1). None for fewer than neighbours + 2 samples, of which
        all would be neighbours, and where a value is not finite.
    """
    import numpy as np

    step = -(-len(reference) // NEIGHBOUR_SAMPLES) if len(reference) else 1
    a, b = _units(reference[::step]), _units(candidate[::step])
    if len(a) < neighbours + 2 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    of_reference, of_candidate = a @ a.T, b @ b.T
    for cosines in (of_reference, of_candidate):
        np.fill_diagonal(cosines, -np.inf)
    last = np.partition(of_reference, -neighbours, axis=1)[:, -neighbours]
    theirs = np.argpartition(of_candidate, -neighbours, axis=1)[:, -neighbours:]
    return float((np.take_along_axis(of_reference, theirs, axis=1) >= last[:, None] - ALIKE).mean())


def decisive(discordant: int, confidence: float = 0.95) -> int | None:
    """How many of `discordant` samples, which one of two models got right, must be the same one's to tell them apart.

    The smallest k for which `statistics.mcnemar_exact(k, discordant - k)` is below 1 - confidence; None where even all
    of them would not do, as with five or fewer at 95 %: the counts then cannot show a difference, whichever they are.
    """
    splits = range((discordant + 1) // 2, discordant + 1)
    return next((k for k in splits if intervals.mcnemar_exact(k, discordant - k) < 1 - confidence), None)


def _mismatch(references: "list[Array]", candidates: "list[Array]") -> str | None:
    if not references or not candidates:
        return "there are no outputs to compare"
    if len(references) != len(candidates):
        return f"the model has {len(references)} outputs, the build {len(candidates)}"
    for number, (a, b) in enumerate(zip(references, candidates, strict=True)):
        if a.shape != b.shape:
            return f"output {number} has shape {b.shape}, the model's has {a.shape}"
        if a.size == 0 or a.ndim == 0 or len(a) != len(references[0]):
            return f"output {number} does not have one row a sample: its shape is {a.shape}"
    return None


def _flat(array: "Array") -> "Array":
    """(samples, values) in double precision: half-precision and integer outputs must not overflow in a sum."""
    import numpy as np

    return array.reshape(len(array), -1).astype(np.float64)


def _errors(pairs: "list[tuple[Array, Array]]") -> Json:
    import numpy as np

    largest, relative, cosines, finite = 0.0, 0.0, [], True
    for a, b in pairs:
        good = np.isfinite(a)
        if not np.isfinite(b[good]).all():
            finite = False
            continue
        # Where the reference itself is infinite (a mask, say) there is no number to be off from.
        a, b = np.where(good, a, 0.0), np.where(good & np.isfinite(b), b, 0.0)
        off = b - a
        largest = max(largest, float(np.abs(off).max()))
        norm, error = float(np.linalg.norm(a)), float(np.linalg.norm(off))
        relative = max(relative, error / norm if norm > 0 else (0.0 if error == 0 else math.inf))
        cosines.append(_cosine(a, b) if a.shape[1] > 1 else _cosine(a.T, b.T))
    if not finite:
        return {"finite": False}
    every = np.concatenate(cosines)
    return {
        "finite": True,
        "max_abs_error": _known(largest),
        "relative_error": _known(relative),
        "cosine_mean": _known(float(every.mean())),
        "cosine_min": _known(float(every.min())),
    }


def _worst_overlap(references: "list[Array]", candidates: "list[Array]", task: str) -> float | None:
    first = 1 if task == "classification" else 0  # the logits are no embedding, however many classes there are
    overlaps = [
        neighbour_overlap(a, b)
        for a, b in zip(references[first:], candidates[first:], strict=True)
        if a.ndim == 2 and a.dtype.kind == "f" and a.shape[1] >= EMBEDDING_WIDTH
    ]
    known = [share for share in overlaps if share is not None]
    return min(known) if known and len(known) == len(overlaps) else None


def _units(array: "Array") -> "Array":
    """Rows scaled to length 1; what is 0 stays it."""
    import numpy as np

    rows = array.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def _cosine(a: "Array", b: "Array") -> "Array":
    """Cosine similarity of each row; two zero rows are alike, a zero row is like nothing else."""
    import numpy as np

    norm_a, norm_b = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
    # Scaled before the product, so that neither tiny nor huge outputs leave the range of a double.
    unit_a = a / np.where(norm_a > 0, norm_a, 1.0)[:, None]
    unit_b = b / np.where(norm_b > 0, norm_b, 1.0)[:, None]
    cosine = np.clip(np.einsum("ij,ij->i", unit_a, unit_b), -1.0, 1.0)
    return np.where((norm_a == 0) & (norm_b == 0), 1.0, cosine)


def _varies(pairs: "list[tuple[Array, Array]]") -> bool | None:
    """False if any output stays the same while the reference's changes: one stale output is as wrong as all."""
    verdicts = []
    for a, b in pairs:
        scale_a, spread_a = _spread(a)
        if spread_a <= NOISE * scale_a:
            continue
        scale_b, spread_b = _spread(b)
        verdicts.append(spread_b > max(NOISE * scale_b, STUCK * spread_a))
    return all(verdicts) if verdicts else None


def _spread(array: "Array") -> tuple[float, float]:
    """Largest magnitude, and largest distance of a value from that of the first finite row."""
    import numpy as np

    rows = array[np.isfinite(array).all(axis=1)]
    if len(rows) == 0:
        return 0.0, 0.0
    return float(np.abs(rows).max()), float(np.abs(rows - rows[0]).max())


def top_classes(array: "Array", undefined: int = -1) -> "Array | None":
    """The class of each row, `undefined` for a row with NaN; None where the shape says nothing about classes."""
    import numpy as np

    if array.ndim == 1 and array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.ndim != 2 or array.shape[1] < 2:
        return None
    return np.where(np.isnan(array).any(axis=1), undefined, array.argmax(axis=1))


def _agreement(reference: "Array", candidate: "Array", confidence: float) -> Json:
    share = intervals.wilson(int((reference == candidate).sum()), len(reference), confidence)
    return {"agreement": share.estimate, "agreement_low": share.low, "agreement_high": share.high}


def _who_was_right(reference: "Array", candidate: "Array", labels: "Array", confidence: float) -> Json:
    if len(labels) != len(reference):
        raise ValueError(f"{len(labels)} labels for {len(reference)} samples")
    a, b = reference == labels, candidate == labels
    only_reference, only_candidate = int((a & ~b).sum()), int((b & ~a).sum())
    accuracy = intervals.wilson(int(b.sum()), len(labels), confidence)
    return {
        "who_was_right": {
            "both": int((a & b).sum()),
            "only_reference": only_reference,
            "only_candidate": only_candidate,
            "neither": int((~a & ~b).sum()),
        },
        "mcnemar_p": intervals.mcnemar_exact(only_reference, only_candidate),
        "accuracy": accuracy.estimate,
        "accuracy_low": accuracy.low,
        "accuracy_high": accuracy.high,
        "reference_accuracy": float(a.mean()),
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None

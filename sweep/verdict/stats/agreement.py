"""Does a build still give the original model's answers? What cannot be known is None.

Arrays have one row per sample and come in the order of the model's outputs. For a classification the first output says
the classes: of a sample, of every step of a sequence, or of every pixel. How far outputs are from the original's is
said of each by itself: see `outputs`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.spec import Json
from sweep.verdict.stats import intervals, neighbours, outputs
from sweep.workloads import classes, metrics

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

SAMPLE, STEP = "sample", "step"

_UNKNOWN: Json = dict.fromkeys(
    (
        *("mismatch", "finite", "varies", "max_abs_error", "relative_error", "cosine_mean", "cosine_min"),
        *("agreement", "agreement_low", "agreement_high", "accuracy", "accuracy_low", "accuracy_high"),
        *("reference_accuracy", "who_was_right", "mcnemar_p", "neighbour_overlap"),
    )
)


@dataclass(frozen=True)
class Reading:
    """How the answers of a data set are read; the defaults go by their shapes."""

    class_axis: int | None = None  # `data.class_axis`
    unit: str | None = None  # `data.agree_on`: whole samples or steps; None: samples, but pixels of pictures
    ignored_label: int | None = None  # `data.ignore_label`, beside -100
    counted: "Array | None" = None  # (samples, steps), False for steps that only fill up
    names: Sequence[str | None] = ()  # of the outputs, if known

    @staticmethod
    def of(config: Mapping[str, Any], folder: Path | None = None, reference: Path | None = None) -> "Reading":
        """From the config of a data set, and from its arrays and the original's answers in the store."""
        from sweep.worker import arrays

        counted = None
        if folder is not None:
            counted = classes.find_counted_steps(arrays.read_data(folder), arrays.read_sizes(folder))
        axis, unit, ignored = (config.get(name) for name in ("class_axis", "agree_on", "ignore_label"))
        names = [] if reference is None else arrays.read_output_names(reference)
        return Reading(axis, unit, ignored, counted, names)

    def select(self, items: "Array") -> "Reading":
        """For some of the samples, by their numbers."""
        return self if self.counted is None else replace(self, counted=self.counted[items])


def compare(
    reference: "Sequence[Array]",
    candidate: "Sequence[Array]",
    labels: "Array | None" = None,
    task: str = "classification",
    confidence: float = 0.95,
    reading: Reading | None = None,
) -> Json:
    """Compare a candidate's outputs with the reference's on the same samples.

    Returns plain JSON values; None where something cannot be known:
        samples: rows compared. mismatch: text, where the two cannot be compared at all; the rest is then None.
        outputs: each output by itself: number, name, and what `outputs.compare_output` returns.
        finite, varies, max_abs_error, relative_error, cosine_mean, cosine_min: of the worst output.
        agreement, _low, _high: share of samples with the same top class, Wilson's interval. Of a sequence all steps
            must be the same; of pictures it is the share of pixels. The count behind the interval is always the
            samples', since the steps of a sample depend on each other.
        unit: sample or step, what `agreement` is a share of; only for answers of several steps, like these:
            step_agreement, whole_agreement: share of the steps, and of the samples whose steps are all the same.
            whole_accuracy, reference_whole_accuracy: share of the samples whose steps all have the right label.
        accuracy, _low, _high, reference_accuracy: share of labels hit, Wilson's interval of the candidate's.
        who_was_right: counts of samples: both, only_reference, only_candidate, neither. mcnemar_p: exact, two-sided.
        rmse, mae, r2, reference_rmse, ...: of a regression with labels.
        neighbour_overlap: of the worst embedding; see the function of that name. None where no output is one, or one
            is not finite.

    NaN agrees with NaN, in the same places. A row with NaN where the reference has a number agrees with nothing and is
    wrong.

    Raises:
        ValueError: if there is not one label per sample.
        UserError: if `data.class_axis` names no axis.
    """
    import numpy as np

    reading = reading or Reading()
    references = [np.asarray(array) for array in reference]
    candidates = [np.asarray(array) for array in candidate]
    samples = len(references[0]) if references and references[0].ndim else 0
    result: Json = {"samples": samples, **_UNKNOWN}
    result["mismatch"] = _mismatch(references, candidates)
    if result["mismatch"] is not None:
        return result
    result["outputs"] = [
        _compare_output(number, a, b, task, reading)
        for number, (a, b) in enumerate(zip(references, candidates, strict=True))
    ]
    result.update(outputs.summarize(result["outputs"]))
    result["neighbour_overlap"] = neighbours.find_worst_overlap(references, candidates, task)
    if labels is not None:
        labels = np.asarray(labels)
        if len(labels) != samples:
            raise ValueError(f"{len(labels)} labels for {samples} samples")
    if task == "classification":
        result.update(_compare_classes(references[0], candidates[0], labels, reading, confidence))
    elif labels is not None:
        result.update(_compare_values(references[0], candidates[0], labels))
    return result


def pair_classes(
    reference: "Array", candidate: "Array", labels: "Array | None" = None, reading: Reading | None = None
) -> classes.Pair | None:
    """The top classes of each row or step, negative where there is none; None if the shape says nothing of classes."""
    declared = None if reading is None else reading.class_axis
    axis = classes.find_class_axis(reference.shape, reference.dtype.kind, declared, _shape(labels))
    if not classes.names_classes(reference.shape, reference.dtype.kind, axis):
        return None
    return classes.pair_classes(reference, candidate, axis)


def measure_accuracy(answers: "Array", labels: "Array", reading: Reading) -> float | None:
    """Share of the labels that the first output of a model hits; None if they do not fit each other."""
    accuracy = _compare_classes(answers, answers, labels, reading, 0.95).get("accuracy")
    return None if accuracy is None else float(accuracy)


def find_counted(shape: Sequence[int], labels: "Array | None", reading: Reading) -> "Array":
    """Which steps count, of classes of this shape (samples, *steps)."""
    fits = labels is not None and labels.shape == tuple(shape)
    return classes.find_counted(shape, reading.counted, labels if fits else None, reading.ignored_label)


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


def _compare_output(number: int, reference: "Array", candidate: "Array", task: str, reading: Reading) -> Json:
    ids = outputs.are_ids(reference, number == 0, task)
    name = reading.names[number] if number < len(reading.names) else None
    return {"output": number, "name": name, **outputs.compare_output(reference, candidate, reading.counted, ids)}


def _compare_classes(
    reference: "Array", candidate: "Array", labels: "Array | None", reading: Reading, confidence: float
) -> Json:
    pair = pair_classes(reference, candidate, labels, reading)
    if pair is None:
        return {}
    if labels is not None and labels.size == len(labels):
        labels = labels.ravel()
    fits = labels is not None and labels.shape == pair.original.shape
    if pair.original.ndim == 1:
        result = _share("agreement", float((pair.original == pair.build).sum()), len(pair.build), confidence)
        return {**result, **(_who_was_right(pair, labels, confidence) if labels is not None and fits else {})}
    return _compare_steps(pair, labels if fits else None, reading, confidence)


def _compare_steps(pair: classes.Pair, labels: "Array | None", reading: Reading, confidence: float) -> Json:
    """Of sequences and pictures: (samples, *steps)."""
    counted = find_counted(pair.original.shape, labels, reading)
    same = classes.count_steps(pair.original == pair.build, counted)
    unit = reading.unit or (SAMPLE if pair.original.ndim == 2 else STEP)
    share = same.whole if unit == SAMPLE else same.steps
    result = {
        "unit": unit,
        "step_agreement": same.steps,
        "whole_agreement": same.whole,
        **_share("agreement", share * same.samples, same.samples, confidence),
    }
    if labels is None:
        return result
    right, before = (classes.count_steps(answers == labels, counted) for answers in (pair.build, pair.original))
    return {
        **result,
        **_share("accuracy", right.steps * right.samples, right.samples, confidence),
        "reference_accuracy": before.steps,
        "whole_accuracy": right.whole,
        "reference_whole_accuracy": before.whole,
    }


def _share(name: str, hits: float, count: int, confidence: float) -> Json:
    if count == 0:
        return {}
    share = intervals.wilson(min(hits, count), count, confidence)
    return {name: share.estimate, f"{name}_low": share.low, f"{name}_high": share.high}


def _who_was_right(pair: classes.Pair, labels: "Array", confidence: float) -> Json:
    a, b = pair.original == labels, pair.build == labels
    only_reference, only_candidate = int((a & ~b).sum()), int((b & ~a).sum())
    return {
        "who_was_right": {
            "both": int((a & b).sum()),
            "only_reference": only_reference,
            "only_candidate": only_candidate,
            "neither": int((~a & ~b).sum()),
        },
        "mcnemar_p": intervals.mcnemar_exact(only_reference, only_candidate),
        **_share("accuracy", float(b.sum()), len(labels), confidence),
        "reference_accuracy": float(a.mean()),
    }


def _compare_values(reference: "Array", candidate: "Array", labels: "Array") -> Json:
    """Errors of both against the targets of a regression; nothing if the shapes differ."""
    if reference.size != labels.size:
        return {}
    result: Json = {}
    for prefix, answers in (("", candidate), ("reference_", reference)):
        for name in metrics.OF_VALUES:
            result[prefix + name] = metrics.compute(name, [answers], labels)
    return result


def _shape(labels: "Array | None") -> "tuple[int, ...] | None":
    return None if labels is None else labels.shape

"""Scores of answers against labels: those that `data.metrics` may name, and callables of the user's own.

A score is a function of the outputs (each (samples, ...)) and the labels of the same samples. Python 3.8 and numpy,
because workers compute them: a callable of the user's is never imported by the parent.
"""

import importlib
import math
from typing import Any, Callable, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from sweep.spec import UserError, meant
from sweep.workloads.classes import find_class_axis, find_classes, find_counted

OF_VALUES = ("rmse", "mae", "r2")  # of every regression that has labels
BLANK = 0  # the class of CTC that stands for nothing


class Answers(NamedTuple):
    """What a score is computed from."""

    outputs: Sequence[np.ndarray]
    labels: np.ndarray
    class_axis: Optional[int] = None  # `data.class_axis`
    ignored: Optional[int] = None  # `data.ignore_label`, beside -100

    @property
    def axis(self) -> Optional[int]:
        first = self.outputs[0]
        return find_class_axis(first.shape, first.dtype.kind, self.class_axis, self.labels.shape)

    @property
    def classes(self) -> np.ndarray:
        """(samples, *steps) of the first output."""
        return find_classes(self.outputs[0], self.axis)

    @property
    def scores(self) -> np.ndarray:
        """(samples, *steps, classes) of the first output."""
        if self.axis is None:
            raise UserError("the first output has no scores of classes: its shape is %s" % (self.outputs[0].shape,))
        return np.moveaxis(self.outputs[0], self.axis, -1)

    def pairs(self) -> "tuple[np.ndarray, np.ndarray]":
        """Classes and labels of all steps that count, flat."""
        classes, labels = self.classes, self.labels
        if classes.shape != labels.shape:
            raise UserError("labels of shape %s do not fit answers of shape %s" % (labels.shape, classes.shape))
        counted = find_counted(labels.shape, None, labels, self.ignored)
        return classes[counted], labels[counted]

    def values(self) -> "tuple[np.ndarray, np.ndarray]":
        """The first output and the targets as doubles, (samples, values)."""
        first, labels = self.outputs[0], self.labels
        if first.size != labels.size:
            raise UserError("targets of shape %s do not fit answers of shape %s" % (labels.shape, first.shape))
        return first.reshape(len(first), -1).astype(np.float64), labels.reshape(len(labels), -1).astype(np.float64)


def rmse(answers: Answers) -> float:
    """Root of the mean squared error over all values."""
    values, targets = answers.values()
    return float(np.sqrt(np.mean((values - targets) ** 2)))


def mae(answers: Answers) -> float:
    """Mean absolute error over all values."""
    values, targets = answers.values()
    return float(np.mean(np.abs(values - targets)))


def r2(answers: Answers) -> float:
    """Coefficient of determination, 1 - squared errors / squared deviations of the targets; mean over the columns.

    NaN where a column of the targets does not vary.
    """
    values, targets = answers.values()
    errors, deviations = ((targets - values) ** 2).sum(axis=0), ((targets - targets.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(np.where(deviations > 0, 1.0 - errors / deviations, np.nan)))


def _top(count: int) -> Callable[[Answers], float]:
    def top(answers: Answers) -> float:
        scores, labels = answers.scores, answers.labels
        counted = find_counted(labels.shape, None, labels, answers.ignored)
        rows, wanted = scores[counted], labels[counted]
        # How many classes score higher than the right one: ties count for the answer, as they do for argmax at best.
        higher = (rows > np.take_along_axis(rows, wanted[:, None], axis=1)).sum(axis=1)
        return float((higher < count).mean())

    top.__doc__ = "Share of labels among the %d classes with the highest scores." % count
    return top


def _confusion(answers: Answers) -> np.ndarray:
    """(classes, classes): steps with this label and that answer; answers that are no class stand in the last column."""
    classes, labels = answers.pairs()
    count = int(max(labels.max(initial=0), classes.max(initial=0))) + 1
    table = np.zeros((count, count + 1), np.int64)
    np.add.at(table, (labels, np.where(classes < 0, count, classes)), 1)
    return table


def _ratios(hits: np.ndarray, of: np.ndarray, present: np.ndarray) -> float:
    """Mean of hits / of over the classes that are present; 0 / 0 is 0."""
    return float(np.mean((hits / np.maximum(of, 1))[present])) if present.any() else math.nan


def f1_macro(answers: Answers) -> float:
    """Mean over the classes of 2 hits / (answers + labels); classes with neither are left out.

    Source: Opitz and Burst 2019, arXiv:1911.03347, the first of its two definitions, as scikit-learn has it.
    """
    table = _confusion(answers)
    answered, labelled = table.sum(axis=0)[:-1], table.sum(axis=1)
    return _ratios(2.0 * np.diagonal(table), answered + labelled, answered + labelled > 0)


def balanced_accuracy(answers: Answers) -> float:
    """Mean over the classes of the share of their labels that is hit (Brodersen et al. 2010, ICPR)."""
    table = _confusion(answers)
    labelled = table.sum(axis=1)
    return _ratios(np.diagonal(table) * 1.0, labelled, labelled > 0)


def mean_iou(answers: Answers) -> float:
    """Mean over the classes of hits / (answers + labels - hits), over all pixels (Everingham et al. 2010, IJCV 88)."""
    table = _confusion(answers)
    hits = np.diagonal(table)
    union = table.sum(axis=0)[:-1] + table.sum(axis=1) - hits
    return _ratios(hits * 1.0, union, union > 0)


def roc_auc(answers: Answers) -> float:
    """Chance that a sample with label 1 scores higher than one with label 0, ties half (Hanley and McNeil 1982).

    The score is the only number of a sample, or the second class's less the first's.
    """
    flat = answers.outputs[0].reshape(len(answers.labels), -1).astype(np.float64)
    if flat.shape[1] > 2:
        raise UserError("roc_auc is for two classes, the answers have %d numbers a sample" % flat.shape[1])
    score = flat[:, -1] - (flat[:, 0] if flat.shape[1] == 2 else 0.0)
    positive = answers.labels.ravel() > 0
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return math.nan
    _, place, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2.0)[place.ravel()]  # mean rank of equal scores, from 1
    return float((ranks[positive].sum() - count * (count + 1) / 2.0) / (count * others))


def mean_average_precision(answers: Answers) -> float:
    """Mean over the classes of the area under precision and recall, sum of (R_n - R_(n-1)) P_n, as scikit-learn has it.

    Labels are class numbers (samples,), or 0 and 1 for every class (samples, classes). Classes without a label are
    left out. It is that of classes, not of boxes.
    """
    scores = answers.scores if answers.axis is not None else answers.outputs[0]
    labels = answers.labels
    wanted = labels == 1 if labels.shape == scores.shape else labels[:, None] == np.arange(scores.shape[1])
    areas = []
    for column in range(scores.shape[1]):
        hits = wanted[:, column]
        if hits.any():
            areas.append(_average_precision(scores[:, column].astype(np.float64), hits))
    return float(np.mean(areas)) if areas else math.nan


def _average_precision(score: np.ndarray, hits: np.ndarray) -> float:
    order = np.argsort(-score, kind="stable")
    score, found = score[order], np.cumsum(hits[order])
    ends = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # equal scores stand together
    precision, recall = found[ends] / (ends + 1.0), found[ends] / float(found[-1])
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def sequence_error_rate(answers: Answers) -> float:
    """Edits that make the answers the labels, over the number of labels (Levenshtein 1966).

    The word or character error rate, whichever the classes are; steps with an ignored label are left out of both.
    """
    return _error_rate(answers, collapse=False)


def ctc_error_rate(answers: Answers) -> float:
    """The same of what CTC reads: repeated classes are one, class 0 is nothing (Graves et al. 2006, ICML).

    Labels are padded with an ignored label; their number of steps may differ from the answers'.
    """
    return _error_rate(answers, collapse=True)


def _error_rate(answers: Answers, collapse: bool) -> float:
    first = answers.outputs[0]
    axis = find_class_axis(
        first.shape, first.dtype.kind, answers.class_axis, None if collapse else answers.labels.shape
    )
    classes, labels = find_classes(first, axis), answers.labels
    if classes.ndim != 2 or labels.ndim != 2 or (not collapse and classes.shape != labels.shape):
        raise UserError(
            "an error rate needs (samples, steps) of answers and labels, not %s and %s" % (classes.shape, labels.shape)
        )
    kept = find_counted(labels.shape, None, labels, answers.ignored)
    edits = total = 0
    for row, wanted, counts in zip(classes, labels, kept):
        read = _collapse(row) if collapse else row[counts].tolist()
        edits += _count_edits(read, wanted[counts].tolist())
        total += int(counts.sum())
    return edits / total if total else math.nan


def _collapse(row: np.ndarray) -> List[int]:
    changes = np.flatnonzero(np.diff(row, prepend=row[0] - 1))
    return [int(value) for value in row[changes] if value != BLANK]


def _count_edits(a: Sequence[int], b: Sequence[int]) -> int:
    """Insertions, deletions and replacements between two sequences, by dynamic programming over rows."""
    before = list(range(len(b) + 1))
    for row, value in enumerate(a, 1):
        current = [row]
        for column, other in enumerate(b, 1):
            replaced = before[column - 1] + (value != other)
            current.append(min(before[column] + 1, current[-1] + 1, replaced))
        before = current
    return before[-1]


NAMED: Mapping[str, Callable[[Answers], float]] = {
    "top5_accuracy": _top(5),
    "f1_macro": f1_macro,
    "balanced_accuracy": balanced_accuracy,
    "mean_iou": mean_iou,
    "map": mean_average_precision,
    "roc_auc": roc_auc,
    "wer": sequence_error_rate,
    "cer": sequence_error_rate,
    "ctc_error_rate": ctc_error_rate,
    "rmse": rmse,
    "mae": mae,
    "r2": r2,
}


def check_names(names: Sequence[str]) -> None:
    """Refuse names that cannot be metrics; nothing is imported.

    Raises:
        UserError: for a name without a dot that is not in `NAMED`, and for two that end alike.
    """
    for name in names:
        if "." not in name and name not in NAMED:
            text = "data.metrics: there is no metric %r: %s, or package.module.function of your own"
            raise UserError(text % (name, meant(name, NAMED)))
    ends = [name.rpartition(".")[2] for name in names]
    twice = [name for name, end in zip(names, ends) if ends.count(end) > 1]
    if twice:
        raise UserError("data.metrics: %s have one name in tables: rename one" % " and ".join(twice))


def compute(
    name: str,
    outputs: Sequence[np.ndarray],
    labels: Optional[np.ndarray],
    class_axis: Optional[int] = None,
    ignored: Optional[int] = None,
) -> Optional[float]:
    """One score; None where it is not a finite number.

    Args:
        name: in `NAMED`, or `package.module.function`, which is called with (outputs, labels).
        labels: only a function of the user's does without.

    Raises:
        UserError: for a name that cannot be loaded, or labels that do not fit the answers.
    """
    check_names([name])
    if name in NAMED:
        assert labels is not None, "these compare with labels"
        value = NAMED[name](Answers(outputs, labels, class_axis, ignored))
    else:
        value = load(name)(list(outputs), labels)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UserError("data.metrics: %s must return a number, it returned %r" % (name, value)) from None
    return number if math.isfinite(number) else None


def load(name: str) -> Callable[..., Any]:
    """The callable that `package.module.function` names.

    Raises:
        UserError: if there is none.
    """
    module, _, function = name.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise UserError("data.metrics: %s cannot be imported: %s" % (name, error)) from None
    if not callable(target):
        raise UserError("data.metrics: %s is no function" % name)
    return target  # type: ignore[no-any-return]  # callable() was asked above

"""Labels against the original model's own answers: a mistake in them would be blamed on every build."""

from typing import Optional

import numpy as np

from sweep.spec import UserError
from sweep.workloads.classes import find_class_axis, find_classes, find_counted

ENOUGH = 20  # labelled samples from which a share says something
SHIFTED = 0.5  # share of right answers, after moving all labels by one, that shows how the labels are meant


def check_labels(
    labels: np.ndarray, answer: np.ndarray, class_axis: Optional[int] = None, ignored: Optional[int] = None
) -> Optional[str]:
    """None, or a line that says what is odd about the labels.

    Args:
        labels: class numbers, (N,) or (N, *steps).
        answer: the original's first output; shapes without classes say nothing.
        class_axis: `data.class_axis`.
        ignored: `data.ignore_label`.

    Raises:
        UserError: for labels that the model has no class for, and for labels that are all off by one.
    """
    axis = find_class_axis(answer.shape, answer.dtype.kind, class_axis, labels.shape)
    if axis is None:
        return None
    labels = labels.ravel() if labels.size == len(labels) and answer.ndim == 2 else labels
    shape = (*answer.shape[:axis], *answer.shape[axis + 1 :])
    if labels.shape != shape:
        text = "labels of shape %s do not fit answers of shape %s, whose classes lie along axis %d: no accuracy"
        return text % (labels.shape, answer.shape, axis)
    counted = find_counted(shape, None, labels, ignored) if labels.ndim > 1 else np.ones(shape, bool)
    if not counted.any():
        return "no label counts: all say that their step is to be ignored"
    top, labels, classes = find_classes(answer, axis)[counted], labels[counted], answer.shape[axis]
    highest = int(labels.max())
    if highest >= classes:
        text = "the labels go up to %d, the model has %d classes, 0 to %d" % (highest, classes, classes - 1)
        one_high = highest == classes and int(labels.min()) >= 1
        hint = ": they begin at 1, subtract 1" if one_high else ": do they belong to this model?"
        raise UserError(text + hint + (" (data.ignore_label=255 leaves pixels out)" if highest == 255 else ""))
    right = float((top == labels).mean())
    if len(labels) < ENOUGH or right > 0:
        return None
    for step, words in ((-1, "too high: subtract 1"), (1, "too low: add 1")):
        moved = float((top == labels + step).mean())
        if moved > SHIFTED:
            text = "the original model is right in 0 %% of %d samples, and in %.0f %% if all labels move by one"
            raise UserError((text + "; the labels are one %s") % (len(labels), 100 * moved, words))
    return "the original model is right in 0 % of {:,} labelled samples: do the labels belong to it?".format(
        len(labels)
    )

"""Labels against the original model's own answers: a mistake in them would be blamed on every build."""

from typing import Optional

import numpy as np

from sweep.spec import UserError

ENOUGH = 20  # labelled samples from which a share says something
SHIFTED = 0.5  # share of right answers, after moving all labels by one, that shows how the labels are meant


def check_labels(labels: np.ndarray, answer: np.ndarray) -> Optional[str]:
    """None, or a line that says what is odd about the labels.

    Args:
        labels: (N,) class numbers.
        answer: (N, classes), the original's first output; other shapes say nothing about classes.

    Raises:
        UserError: for labels that the model has no class for, and for labels that are all off by one.
    """
    if answer.ndim != 2 or answer.shape[1] < 2:
        return None
    classes, top = answer.shape[1], answer.argmax(axis=1)
    highest = int(labels.max())
    if highest >= classes:
        text = "the labels go up to %d, the model has %d classes, 0 to %d" % (highest, classes, classes - 1)
        one_high = highest == classes and int(labels.min()) >= 1
        raise UserError(text + (": they begin at 1, subtract 1" if one_high else ": do they belong to this model?"))
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

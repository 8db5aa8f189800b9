"""Labels that cannot be the model's are refused before anything is built."""

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import check_labels

CLASSES = 5
TRUE = np.arange(100) % CLASSES
ANSWER = np.eye(CLASSES, dtype=np.float32)[TRUE]  # right in all samples


def test_labels_of_the_model_pass() -> None:
    assert check_labels(TRUE, ANSWER) is None
    assert check_labels(TRUE, ANSWER[:, :1]) is None, "one number a sample has no classes"


@pytest.mark.parametrize(
    ("labels", "answer", "text"),
    [
        (TRUE + 1, ANSWER, "the labels go up to 5, the model has 5 classes, 0 to 4: they begin at 1, subtract 1"),
        (TRUE + 7, ANSWER, "the labels go up to 11, the model has 5 classes, 0 to 4: do they belong to this model?"),
        (
            TRUE + 1,
            np.eye(9, dtype=np.float32)[TRUE],
            "in 100 % if all labels move by one; the labels are one too high",
        ),
        (TRUE, np.eye(9, dtype=np.float32)[TRUE + 1], "in 100 % if all labels move by one; the labels are one too low"),
    ],
)
def test_labels_of_another_model_are_refused(labels: np.ndarray, answer: np.ndarray, text: str) -> None:
    with pytest.raises(UserError) as error:
        check_labels(labels, answer)
    assert text in str(error.value)


def test_no_right_answer_is_said() -> None:
    warning = check_labels((TRUE + 2) % CLASSES, ANSWER)
    assert warning == "the original model is right in 0 % of 100 labelled samples: do the labels belong to it?"
    assert check_labels(((TRUE + 2) % CLASSES)[:10], ANSWER[:10]) is None, "too few to say"


def test_labels_of_every_step() -> None:
    answer = ANSWER.reshape(20, 5, CLASSES)
    labels = TRUE.reshape(20, 5).copy()
    assert check_labels(labels, answer) is None
    labels[:, 4] = -100
    assert check_labels(labels, answer) is None
    labels[:, 4] = 255
    with pytest.raises(UserError, match=r"go up to 255.*data.ignore_label=255"):
        check_labels(labels, answer)
    assert check_labels(labels, answer, ignored=255) is None
    warning = check_labels(TRUE[:20], answer)
    assert warning is not None
    assert "labels of shape (20,) do not fit answers of shape (20, 5, 5)" in warning

"""Scores that `data.metrics` names: small cases by hand, and the same values as scikit-learn's."""

from typing import Any

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import metrics

RANDOM = np.random.default_rng(0)
SCORES = RANDOM.normal(size=(200, 6))
LABELS = RANDOM.integers(0, 5, size=200)  # class 5 has no label


def compute(name: str, output: Any, labels: Any, **more: Any) -> Any:
    return metrics.compute(name, [np.asarray(output)], np.asarray(labels), **more)


def average_of_own(outputs: list[np.ndarray], labels: np.ndarray) -> float:
    return float(outputs[0].mean() + labels.mean())


def no_number(outputs: list[np.ndarray], labels: np.ndarray) -> str:
    return "good"


def test_errors_of_values() -> None:
    assert compute("rmse", [[1.0], [2.0], [6.0]], [1.0, 2.0, 3.0]) == pytest.approx(3**0.5)
    assert compute("mae", [[1.0], [2.0], [6.0]], [1.0, 2.0, 3.0]) == 1
    assert compute("r2", [[1.0], [2.0], [6.0]], [1.0, 2.0, 3.0]) == pytest.approx(1 - 9 / 2)
    assert compute("r2", [[1.0], [2.0]], [3.0, 3.0]) is None, "targets that do not vary have no variance to explain"
    with pytest.raises(UserError, match=r"targets of shape \(2,\) do not fit answers of shape \(2, 3\)"):
        compute("rmse", np.zeros((2, 3)), [1.0, 2.0])


def test_same_values_as_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    top = SCORES.argmax(1)
    assert compute("f1_macro", SCORES, LABELS) == pytest.approx(sklearn.f1_score(LABELS, top, average="macro"))
    assert compute("mean_iou", SCORES, LABELS) == pytest.approx(sklearn.jaccard_score(LABELS, top, average="macro"))
    kept = top < 5
    assert compute("balanced_accuracy", SCORES[kept], LABELS[kept]) == pytest.approx(
        sklearn.balanced_accuracy_score(LABELS[kept], top[kept])
    )
    expected = sklearn.top_k_accuracy_score(LABELS, SCORES, k=5, labels=range(6))
    assert compute("top5_accuracy", SCORES, LABELS) == pytest.approx(expected)
    wanted = (RANDOM.random((200, 6)) > 0.7).astype(int)
    coarse = np.round(SCORES, 1)  # with equal scores
    assert compute("map", coarse, wanted, class_axis=1) == pytest.approx(
        sklearn.average_precision_score(wanted, coarse, average="macro")
    )
    assert compute("roc_auc", coarse[:, 0], wanted[:, 0]) == pytest.approx(
        sklearn.roc_auc_score(wanted[:, 0], coarse[:, 0])
    )
    assert compute("roc_auc", coarse[:, :2], wanted[:, 0]) == pytest.approx(
        sklearn.roc_auc_score(wanted[:, 0], coarse[:, 1] - coarse[:, 0])
    )


def test_map_of_class_numbers_is_that_of_one_column_a_class() -> None:
    columns = (LABELS[:, None] == np.arange(6)).astype(int)
    assert compute("map", SCORES, LABELS) == pytest.approx(compute("map", SCORES, columns, class_axis=1))


def test_scores_of_every_step() -> None:
    steps, labels = SCORES.reshape(20, 10, 6), LABELS.reshape(20, 10).copy()
    assert compute("f1_macro", steps, labels) == compute("f1_macro", SCORES, LABELS)
    assert compute("top5_accuracy", np.moveaxis(steps, 2, 1), labels) == compute("top5_accuracy", SCORES, LABELS)
    labels[:, 5:] = 255
    labels[:, 4] = -100
    few, kept = steps[:, :4].reshape(-1, 6), labels[:, :4].ravel()
    assert compute("mean_iou", steps, labels, ignored=255) == compute("mean_iou", few, kept)


def one_hot(rows: list[list[int]], classes: int = 5) -> np.ndarray:
    return np.eye(classes)[np.array(rows)]


def test_error_rates_of_sequences() -> None:
    labels = np.array([[1, 2, 3, -100], [4, 4, 1, 2]])
    assert compute("wer", one_hot([[1, 2, 3, 0], [4, 4, 1, 2]]), labels) == 0
    assert compute("wer", one_hot([[1, 3, 3, 0], [4, 4, 1, 2]]), labels) == pytest.approx(1 / 7)
    assert compute("cer", [[1, 3, 3, 0], [2, 4, 4, 1]], labels) == pytest.approx(3 / 7)
    read = one_hot([[0, 1, 1, 0, 2, 3, 3], [4, 0, 4, 1, 1, 2, 0]])
    assert compute("ctc_error_rate", read, labels) == 0
    assert compute("ctc_error_rate", one_hot([[0, 1, 1, 0, 2, 3, 3], [4, 4, 4, 1, 1, 2, 0]]), labels) == 1 / 7
    with pytest.raises(UserError, match="of answers and labels"):
        compute("wer", SCORES, LABELS)


@pytest.mark.parametrize(
    ("a", "b", "edits"),
    [("", "", 0), ("kitten", "sitting", 3), ("abc", "", 3), ("", "ab", 2), ("flaw", "lawn", 2), ("same", "same", 0)],
)
def test_edits_between_two_sequences(a: str, b: str, edits: int) -> None:
    assert metrics._count_edits([ord(x) for x in a], [ord(x) for x in b]) == edits


def test_functions_of_the_user() -> None:
    own = f"{__name__}.average_of_own"
    assert compute(own, [[1.0], [3.0]], [1.0, 2.0]) == 3.5
    for name, text in (
        ("tests.workloads.test_metrics.missing", "cannot be imported"),
        ("no.such.module.score", "cannot be imported: No module named 'no'"),
        ("tests.workloads.test_metrics.SCORES", "is no function"),
        ("tests.workloads.test_metrics.no_number", "must return a number, it returned 'good'"),
        ("top5_acuracy", "there is no metric 'top5_acuracy': did you mean 'top5_accuracy'"),
    ):
        with pytest.raises(UserError, match=text):
            compute(name, SCORES, LABELS)


def test_names_that_tables_cannot_tell_apart() -> None:
    metrics.check_names(["map", "mine.cer", "top5_accuracy"])
    with pytest.raises(UserError, match=r"data.metrics: cer and mine.cer have one name in tables"):
        metrics.check_names(["cer", "mine.cer", "map"])

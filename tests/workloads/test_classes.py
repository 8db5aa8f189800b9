"""Which class an answer names: the axis of the classes, places without a number, steps that do not count."""

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import classes

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("shape", "labels", "declared", "axis"),
    [
        ((9, 4), None, None, 1),
        ((9, 4), (9,), None, 1),
        ((9, 1), None, None, None),
        ((9,), None, None, None),
        ((9, 12, 4), None, None, 2),  # (samples, steps, classes)
        ((9, 4, 12), (9, 12), None, 1),  # torch's CrossEntropyLoss has them in front
        ((9, 4, 4), (9, 4), None, 2),
        ((9, 12, 4), (9,), None, 2),  # one label a sample says nothing about the axis
        ((9, 4, 32, 32), None, None, 1),
        ((9, 32, 32, 4), (9, 32, 32), None, 3),
        ((9, 32, 32, 4), None, -1, 3),
        ((9, 32, 32, 4), None, 3, 3),
        ((9, 12, 1), None, None, None),
    ],
)
def test_axis_of_the_classes(
    shape: tuple[int, ...], labels: "tuple[int, ...] | None", declared: "int | None", axis: "int | None"
) -> None:
    assert classes.find_class_axis(shape, "f", declared, labels) == axis


@pytest.mark.parametrize("declared", [0, 3, -3, 7])
def test_an_axis_that_is_none_is_refused(declared: int) -> None:
    with pytest.raises(UserError, match=rf"data.class_axis={declared}: .* an axis is 1 to 2"):
        classes.find_class_axis((9, 12, 4), "f", declared)


def test_whole_numbers_are_classes() -> None:
    assert classes.find_class_axis((9, 12), "i") is None
    assert classes.names_classes((9, 12), "i", None)
    assert not classes.names_classes((9, 12), "f", None)


@pytest.mark.parametrize("block", [1, 10**6])
def test_places_without_a_number(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classes, "BLOCK", block)
    original = np.array([[1.0, np.nan, 0.0], [np.nan] * 3, [0.0, 1.0, 2.0], [0.0, 1.0, 2.0]])
    build = np.array([[1.0, 9.0, 0.0], [np.nan] * 3, [0.0, 1.0, np.nan], [0.0, 3.0, 2.0]])
    pair = classes.pair_classes(original, build, 1)
    assert pair.original.tolist() == [0, classes.NOTHING, 2, 2]
    assert pair.build.tolist() == [0, classes.NOTHING, classes.BROKEN, 1]


def test_steps_that_count() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    steps = classes.find_counted_steps({"input_ids": mask, "attention_mask": mask}, None)
    assert steps is not None
    assert steps.tolist() == [[True, True, False], [True, False, False]]
    by_size = classes.find_counted_steps({"x": np.zeros((2, 3))}, np.array([[2], [3]]))
    assert by_size is not None
    assert by_size.tolist() == [[True, True, False], [True, True, True]]
    assert classes.find_counted_steps({"x": mask}, None) is None
    labels = np.array([[4, -100, 4], [255, 4, 4]])
    counted = classes.find_counted((2, 3), steps, labels, ignored=255)
    assert counted.tolist() == [[True, False, False], [False, False, False]]


def test_shares_of_steps_and_of_whole_samples() -> None:
    good = np.array([[True, True, False], [True, True, True], [False, False, False]])
    counted = np.array([[True, True, False], [True, True, True], [False, False, False]])
    assert classes.count_steps(good, counted) == classes.Steps(1.0, 1.0, 2)
    assert classes.count_steps(good, np.ones((3, 3), bool)) == classes.Steps(5 / 9, 1 / 3, 3)
    assert classes.count_steps(good, np.zeros((3, 3), bool)).samples == 0

"""Arrays reach a model in the types that it declares, and values that do not fit are refused."""

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import Dataset, types

TIME = 1764500000.0  # seconds since 1970: float32 knows them to 128 s


def cast(array: np.ndarray, declared: str) -> tuple[np.ndarray, dict[str, str]]:
    dataset = Dataset({"x": array}, None, {"x": array[:1]}, "regression")
    changed, changes = types.cast(dataset, {"x": declared} if declared else {}, "mine")
    assert changed.calibration["x"].dtype == changed.inputs["x"].dtype
    return changed.inputs["x"], changes


@pytest.mark.parametrize(
    ("given", "declared", "change"),
    [
        ("float32", "float64", "float32 to float64"),
        ("float32", "float16", "float32 to float16"),
        ("int32", "int64", "int32 to int64"),
        ("int64", "int32", "int64 to int32"),
        ("uint8", "float32", "uint8 to float32"),
        ("float32", "int64", "float32 to int64"),
        ("int64", "bool", "int64 to bool"),
        ("int64", "int64", None),
        ("float32", "", None),
        ("int32", "", None),
    ],
)
def test_values_stay_equal_in_the_declared_type(given: str, declared: str, change: str | None) -> None:
    values = np.array([[0], [1]], given)
    array, changes = cast(values, declared)
    assert (array.dtype, changes) == (declared or given, {"x": change} if change else {})
    np.testing.assert_array_equal(array, values)


def test_double_keeps_its_digits_for_a_model_of_doubles_and_is_single_for_all_others() -> None:
    values = np.array([[TIME], [TIME + 1]])
    assert np.diff(cast(values, "float64")[0], axis=0) == 1
    array, changes = cast(values, "")
    assert (array.dtype, changes) == ("float32", {})


@pytest.mark.parametrize(
    ("values", "declared", "words"),
    [
        (
            np.array([[70000.0]], np.float32),
            "float16",
            "x is float32, the model takes float16, which cannot hold 70000",
        ),
        (np.array([[1e300]]), "", "x is float64, the model takes float32, which cannot hold 1e"),
        (np.array([[0.5]], np.float32), "int64", "x is float32, the model takes int64, which cannot hold 0.5"),
        (np.array([[2**40]]), "int32", "cannot hold 1099511627776"),
        (np.array([[-1]]), "uint8", "cannot hold -1"),
        (np.array([[2]]), "bool", "cannot hold 2"),
    ],
)
def test_values_that_the_declared_type_cannot_hold_are_named(values: np.ndarray, declared: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        cast(values, declared)


def test_answers_of_any_float_are_single_and_others_stay() -> None:
    kinds = ["float16", "float64", "int64", "bool"]
    assert [types.to_float32(np.zeros(2, kind)).dtype for kind in kinds] == ["float32", "float32", "int64", "bool"]

"""Every output by itself: its error in spreads of the original's, its cosine, or whether ids are equal."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.spec import Json
from sweep.verdict.stats import outputs

Array = np.ndarray[Any, Any]
RANDOM = np.random.default_rng(0)
VALUES = RANDOM.normal(size=(500, 6))


def error(reference: Array, candidate: Array) -> float:
    return float(outputs.compare_output(reference, candidate)["relative_error"])


def test_error_is_counted_in_spreads_wherever_the_answers_lie() -> None:
    """29 K off where answers lie around 300 K and vary by 15: the share of the magnitude would be a tenth."""
    kelvin = 300 + 15 * RANDOM.uniform(-1, 1, size=(1000, 1))
    assert error(kelvin, kelvin + 29) == pytest.approx(29 / (15 / 3**0.5), rel=0.05)
    assert outputs.compare_output(kelvin, kelvin + 29)["cosine_mean"] > 0.99


@given(st.floats(0.1, 1e3), st.floats(-1e3, 1e3))
def test_error_does_not_depend_on_unit_or_origin(factor: float, shift: float) -> None:
    off = VALUES + 0.1
    assert error(VALUES * factor + shift, off * factor + shift) == pytest.approx(error(VALUES, off), rel=1e-6)


def test_error_is_that_of_99_percent_of_the_samples() -> None:
    few, many = VALUES.copy(), VALUES.copy()
    few[:4] += 100
    many[:6] += 100
    assert error(VALUES, few) == 0
    assert error(VALUES, many) > 10


def test_wrong_scale_has_the_cosine_of_the_original_and_a_large_error() -> None:
    facts = outputs.compare_output(VALUES, VALUES * 232)
    assert facts["cosine_min"] == pytest.approx(1)
    assert facts["relative_error"] > 200
    assert facts["scale"] == pytest.approx(232)
    assert outputs.compare_output(VALUES, VALUES[::-1])["scale"] is None


def test_elements_that_hardly_vary_share_a_floor() -> None:
    flat = VALUES.copy()
    flat[:, 0] = 1e-4 * VALUES[:, 0]
    off = flat.copy()
    off[:, 0] += 0.001  # ten times its own spread, nothing beside the others'
    assert error(flat, off) < 0.01


def test_elements_that_never_vary_are_held_to_their_magnitude() -> None:
    masked = VALUES.copy()
    masked[:, 0] = -1e9
    off = masked.copy()
    off[:, 0] *= 1.001  # as half precision would
    assert error(masked, off) == pytest.approx(0.001 / 6**0.5, rel=1e-3)
    off[:, 1:] = 1.0
    assert outputs.compare_output(masked, off)["varies"] is False


def test_outputs_that_never_vary() -> None:
    constant, zeros = np.full((9, 2), 4.0), np.zeros((9, 2))
    assert error(constant, constant + 1) == pytest.approx(0.25)
    assert error(zeros, zeros) == 0
    assert error(zeros, zeros + 0.5) == 0.5, "there is no magnitude: the difference itself"


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_blocks_of_rows_give_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    off = VALUES + 0.01 * RANDOM.normal(size=VALUES.shape)
    blank = VALUES.copy()
    blank[3, 2] = np.nan
    pairs = [(VALUES, off), (blank, off), (VALUES[:, :1], off[:, :1])]
    whole = [outputs.compare_output(a, b) for a, b in pairs]
    monkeypatch.setattr(outputs, "BLOCK", block)
    for (a, b), expected in zip(pairs, whole, strict=True):
        facts = outputs.compare_output(a, b)
        assert facts == {**expected, **{n: pytest.approx(v) for n, v in expected.items() if type(v) is float}}


def test_spread_is_the_standard_deviation() -> None:
    off = VALUES + VALUES.std(axis=0)
    assert error(VALUES, off) == pytest.approx(1)


def test_nan_of_the_original_is_no_fault_and_no_distance() -> None:
    blank = VALUES.copy()
    blank[:40] = np.nan
    same = outputs.compare_output(blank, blank)
    assert (same["finite"], same["varies"], same["relative_error"], same["known"]) == (True, True, 0.0, 460)
    filled = outputs.compare_output(blank, VALUES)
    assert (filled["finite"], filled["max_abs_error"]) == (True, 0.0)
    more = blank.copy()
    more[100, 1] = np.nan
    broken = outputs.compare_output(blank, more)
    assert (broken["finite"], broken["relative_error"]) == (False, None)
    assert outputs.compare_output(blank * np.nan, blank)["known"] == 0


def test_steps_that_only_fill_up_do_not_count() -> None:
    tokens = RANDOM.normal(size=(30, 5, 4))
    counted = np.arange(5) < RANDOM.integers(1, 6, size=(30, 1))
    off = np.where(counted[..., None], tokens, 77.0)
    assert outputs.compare_output(tokens, off, counted)["max_abs_error"] == 0
    assert outputs.compare_output(tokens, off)["max_abs_error"] > 70
    row = RANDOM.normal(size=(30, 5))  # as long as a sequence by chance
    assert outputs.compare_output(row, np.where(counted, row, 77.0), counted)["max_abs_error"] > 70


@pytest.mark.parametrize(
    ("kind", "is_first", "task", "ids"),
    [
        ("bool", False, "regression", True),
        ("int64", False, "regression", True),
        ("uint8", False, "classification", False),
        ("uint8", True, "classification", True),
        ("float32", True, "classification", False),
    ],
)
def test_which_outputs_are_ids(kind: str, is_first: bool, task: str, ids: bool) -> None:
    assert outputs.are_ids(np.zeros(3, kind), is_first, task) is ids


def test_ids_are_equal_or_not() -> None:
    tokens = RANDOM.integers(0, 1000, size=(50, 8))
    other = tokens.copy()
    other[:10, 0] += 1
    facts = outputs.compare_output(tokens, other, ids=True)
    assert facts["equal"] == 0.8
    assert facts["relative_error"] is facts["cosine_mean"] is None
    picture = RANDOM.integers(0, 3, size=(4, 10, 10))
    edge = picture.copy()
    edge[:, 0, 0] += 1
    assert outputs.compare_output(picture, edge, ids=True)["equal"] == pytest.approx(0.99)


def test_the_worst_output_stands_for_all() -> None:
    good, bad = outputs.compare_output(VALUES, VALUES), outputs.compare_output(VALUES[:, :1], -VALUES[:, :1])
    worst: Json = outputs.summarize([good, bad])
    assert worst["cosine_mean"] == pytest.approx(-1)
    assert worst["relative_error"] == bad["relative_error"]
    broken = outputs.compare_output(VALUES, VALUES * np.nan)
    assert outputs.summarize([good, broken])["finite"] is False
    assert outputs.summarize([good, broken])["relative_error"] is None


def test_answers_that_are_rounding_point_nowhere() -> None:
    """A detector of text sees none in most photos: its maps are 1e-7 there, and another order of sums makes others."""
    maps = np.zeros((20, 50))
    maps[:2] = RANDOM.uniform(size=(2, 50))
    maps[2:] = RANDOM.uniform(size=(18, 50)) * 1e-7
    other = maps.copy()
    other[2:] = RANDOM.uniform(size=(18, 50)) * 1e-7
    assert outputs.compare_output(maps, other)["cosine_min"] > 0.999
    loud = other.copy()
    loud[5] = RANDOM.uniform(size=50)
    assert outputs.compare_output(maps, loud)["cosine_min"] < 0.9

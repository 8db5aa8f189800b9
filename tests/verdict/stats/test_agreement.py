import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.verdict.stats import agreement, intervals

Array = np.ndarray[Any, Any]


@pytest.fixture
def logits() -> Array:
    return np.random.default_rng(0).normal(size=(200, 10)).astype(np.float32)


def test_identical_outputs_agree_fully(logits: Array) -> None:
    labels = logits.argmax(1)
    found = agreement.compare([logits], [logits.copy()], labels, "classification")
    assert found["samples"] == 200
    assert found["mismatch"] is None
    assert found["finite"] is True
    assert found["varies"] is True
    assert found["max_abs_error"] == 0
    assert found["relative_error"] == 0
    assert found["cosine_min"] == pytest.approx(1.0)
    assert found["agreement"] == found["agreement_high"] == found["accuracy"] == found["reference_accuracy"] == 1
    assert 0.97 < found["agreement_low"] < 1
    assert found["who_was_right"] == {"both": 200, "only_reference": 0, "only_candidate": 0, "neither": 0}
    assert found["mcnemar_p"] == 1


def test_counts_and_errors_of_a_small_case() -> None:
    reference = np.array([[2.0, 1.0], [2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
    candidate = np.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    found = agreement.compare([reference], [candidate], np.array([0, 0, 0, 0]))
    assert found["agreement"] == 0.5
    assert found["who_was_right"] == {"both": 1, "only_reference": 1, "only_candidate": 1, "neither": 1}
    assert (found["accuracy"], found["reference_accuracy"]) == (0.5, 0.5)
    assert found["max_abs_error"] == 1.0
    assert found["relative_error"] == pytest.approx(2.0)  # the values differ by 1 and vary by 0.5
    assert found["cosine_min"] == pytest.approx(4 / 5)
    assert found["cosine_mean"] == pytest.approx((1 + 0.8 + 1 + 0.8) / 4)


def test_every_result_is_json(logits: Array) -> None:
    cases = [logits, np.full_like(logits, np.nan), np.zeros_like(logits), logits[:, :3]]
    for candidate in cases:
        json.dumps(agreement.compare([logits], [candidate], np.zeros(200, int)), allow_nan=False)


def test_a_row_with_nan_agrees_with_nothing_and_is_wrong(logits: Array) -> None:
    candidate = logits.copy()
    candidate[0, 3] = np.nan
    found = agreement.compare([logits], [candidate], logits.argmax(1))
    assert found["finite"] is False
    assert found["agreement"] == 199 / 200
    assert found["accuracy"] == 199 / 200
    assert found["varies"] is True
    assert found["max_abs_error"] is found["relative_error"] is found["cosine_mean"] is None


def test_nothing_but_nan_is_not_taken_for_agreement(logits: Array) -> None:
    nothing = np.full_like(logits, np.nan)
    assert agreement.compare([nothing], [nothing])["outputs"][0]["known"] == 0
    assert agreement.compare([logits], [nothing])["agreement"] == 0
    assert agreement.compare([logits], [nothing])["varies"] is False


def test_infinities_of_the_model_itself_are_no_fault(logits: Array) -> None:
    masked = logits.copy()
    masked[:, 0] = -np.inf
    found = agreement.compare([masked], [masked + np.float32(1e-3)])
    assert found["finite"] is True
    assert found["max_abs_error"] == pytest.approx(1e-3, rel=1e-2)
    assert found["agreement"] == 1


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_constant_outputs_do_not_vary(logits: Array, noise: float) -> None:
    constant = np.tile(logits[:1], (200, 1)) + noise * np.random.default_rng(1).normal(size=logits.shape)
    assert agreement.compare([logits], [constant.astype(np.float32)])["varies"] is False


def test_one_stale_output_is_enough(logits: Array) -> None:
    second = np.arange(200.0)[:, None]
    found = agreement.compare([logits, second], [logits, np.full_like(second, 7.0)])
    assert found["varies"] is False


def test_whether_outputs_vary_is_unknown_where_the_model_is_constant(logits: Array) -> None:
    constant = np.ones((5, 3))
    assert agreement.compare([constant], [constant])["varies"] is None
    assert agreement.compare([logits[:1]], [logits[:1]])["varies"] is None


def test_low_precision_still_varies(logits: Array) -> None:
    coarse = np.round(logits * 8) / 8
    assert agreement.compare([logits], [coarse])["varies"] is True


def test_integer_outputs_are_classes() -> None:
    reference, candidate = np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0])
    found = agreement.compare([reference], [candidate], np.array([0, 1, 0, 3]))
    assert found["agreement"] == 0.75
    assert found["max_abs_error"] is found["relative_error"] is None  # a class is no nearer to another
    assert found["who_was_right"] == {"both": 2, "only_reference": 1, "only_candidate": 0, "neither": 1}


def test_unsigned_and_half_outputs_do_not_overflow() -> None:
    reference = np.array([[0, 255], [255, 0]], np.uint8)
    assert agreement.compare([reference], [255 - reference], task="regression")["max_abs_error"] == 255
    half = np.full((4, 8), 60000, np.float16)
    half[1] = -half[1]
    assert agreement.compare([half], [half])["cosine_min"] == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(6, 1), (6, 3, 1), (6, 1, 3, 3), (6,)])
def test_agreement_is_unknown_without_classes(shape: tuple[int, ...]) -> None:
    values = np.arange(float(np.prod(shape))).reshape(shape)
    found = agreement.compare([values], [values], np.zeros(6, int))
    assert found["agreement"] is found["accuracy"] is found["who_was_right"] is None
    assert found["relative_error"] == 0


def test_regression_has_errors_but_no_classes(logits: Array) -> None:
    found = agreement.compare([logits], [logits * 1.01], None, "regression")
    assert found["agreement"] is None
    assert 0.01 < found["relative_error"] < 0.02  # the sample with the largest answers


def test_cosine_of_one_number_a_sample_is_that_of_the_column() -> None:
    column = np.array([[1.0], [-2.0], [0.001]])
    found = agreement.compare([column], [column + 0.002], None, "regression")
    assert found["cosine_mean"] > 0.999
    assert agreement.compare([column], [-column], None, "regression")["cosine_mean"] == pytest.approx(-1.0)


def test_zero_outputs() -> None:
    zeros, ones = np.zeros((3, 2)), np.ones((3, 2))
    alike, unlike = agreement.compare([zeros], [zeros]), agreement.compare([zeros], [ones])
    assert (alike["cosine_min"], alike["relative_error"]) == (1.0, 0.0)
    assert (unlike["cosine_min"], unlike["relative_error"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("reference", "candidate", "said"),
    [
        ([], [], "no outputs"),
        ([np.ones((2, 3))], [], "no outputs"),
        ([np.ones((2, 3))], [np.ones((2, 3)), np.ones(2)], "1 outputs, the build 2"),
        ([np.ones((2, 3))], [np.ones((2, 4))], "(2, 4), the model's has (2, 3)"),
        ([np.ones((0, 3))], [np.ones((0, 3))], "one row a sample"),
        ([np.array(1.0)], [np.array(1.0)], "one row a sample"),
    ],
)
def test_what_cannot_be_compared_is_said(reference: list[Array], candidate: list[Array], said: str) -> None:
    found = agreement.compare(reference, candidate)
    assert said in found["mismatch"]
    assert found["finite"] is found["agreement"] is None


def test_labels_must_match_the_samples(logits: Array) -> None:
    with pytest.raises(ValueError, match="3 labels for 200 samples"):
        agreement.compare([logits], [logits], np.zeros(3, int))


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(2, 6))
def test_counts_add_up(seed: int, samples: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    reference, candidate = random.normal(size=(2, samples, classes))
    found = agreement.compare([reference], [candidate], random.integers(0, classes, samples))
    right = found["who_was_right"]
    assert sum(right.values()) == samples
    assert found["accuracy"] == pytest.approx((right["both"] + right["only_candidate"]) / samples)
    assert found["reference_accuracy"] == pytest.approx((right["both"] + right["only_reference"]) / samples)
    assert found["agreement_low"] <= found["agreement"] <= found["agreement_high"]
    assert -1 <= found["cosine_min"] <= found["cosine_mean"] <= 1


def test_outputs_have_the_names_that_the_store_knows(tmp_path: Path, logits: Array) -> None:
    (tmp_path / "reference.json").write_text('{"outputs": 2, "names": ["logits", "1"]}')
    (tmp_path / "data.json").write_text('{"inputs": []}')
    reading = agreement.Reading.of({"agree_on": "step", "class_axis": -1, "ignore_label": 255}, tmp_path, tmp_path)
    assert (reading.unit, reading.class_axis, reading.ignored_label) == ("step", -1, 255)
    found = agreement.compare([logits, logits], [logits, logits], reading=reading)
    assert [output["name"] for output in found["outputs"]] == ["logits", None]
    (tmp_path / "reference.json").write_text('{"outputs": 2}')
    assert agreement.Reading.of({}, tmp_path, tmp_path).names == [], "an earlier version wrote it"


# --- answers of several steps -----------------------------------------------------------------------------------------


@pytest.fixture
def tokens() -> Array:
    return np.random.default_rng(0).normal(size=(50, 8, 5))


def test_a_sequence_agrees_if_all_its_steps_do(tokens: Array) -> None:
    build = tokens.copy()
    build[:10, 0] = np.roll(build[:10, 0], 1, axis=-1)
    found = agreement.compare([tokens], [build])
    assert found["unit"] == "sample"
    assert found["agreement"] == found["whole_agreement"] == 0.8
    assert found["step_agreement"] == pytest.approx(390 / 400)
    assert found["agreement_low"] == intervals.wilson(40, 50).low
    by_step = agreement.compare([tokens], [build], reading=agreement.Reading(unit="step"))
    assert (by_step["unit"], by_step["agreement"]) == ("step", found["step_agreement"])
    assert by_step["agreement_high"] - by_step["agreement_low"] > 0.05, "50 samples are behind it, not 400 steps"


def test_of_pictures_the_pixels_count() -> None:
    masks = np.random.default_rng(0).normal(size=(20, 3, 16, 16))
    build = masks.copy()
    build[:, :, 0, 0] = np.roll(build[:, :, 0, 0], 1, axis=1)
    found = agreement.compare([masks], [build])
    assert (found["unit"], found["whole_agreement"]) == ("step", 0)
    assert found["agreement"] == found["step_agreement"] == pytest.approx(255 / 256)
    last = agreement.compare(
        [np.moveaxis(masks, 1, 3)], [np.moveaxis(build, 1, 3)], reading=agreement.Reading(class_axis=3)
    )
    assert last["agreement"] == found["agreement"]
    classes = agreement.compare([masks.argmax(1)], [build.argmax(1)])
    assert classes["agreement"] == found["agreement"]


def test_accuracy_of_steps_and_of_samples(tokens: Array) -> None:
    labels = tokens.argmax(-1)
    labels[:5, 0] = (labels[:5, 0] + 1) % 5
    labels[5:, 7] = -100
    build = tokens.copy()
    build[:, 7] = np.roll(build[:, 7], 1, axis=-1)
    found = agreement.compare([tokens], [build], labels)
    counted = 50 * 8 - 45
    assert found["reference_accuracy"] == pytest.approx((counted - 5) / counted)
    assert found["accuracy"] == pytest.approx((counted - 10) / counted)
    assert found["reference_whole_accuracy"] == found["whole_accuracy"] == 0.9
    assert found["whole_agreement"] == 0.9, "steps to ignore do not count"
    assert found["who_was_right"] is None


def test_labels_of_another_shape_give_no_accuracy(tokens: Array) -> None:
    found = agreement.compare([tokens], [tokens], np.zeros(50, int))
    assert found["agreement"] == 1
    assert found["accuracy"] is None


def test_steps_beyond_the_mask_do_not_count(tokens: Array) -> None:
    build = tokens.copy()
    build[:, 4:] = np.roll(build[:, 4:], 1, axis=-1)
    counted = np.broadcast_to(np.arange(8) < 4, (50, 8))
    assert agreement.compare([tokens], [build], reading=agreement.Reading(counted=counted))["agreement"] == 1
    assert agreement.compare([tokens], [build])["agreement"] == 0


def test_nan_in_the_same_places_agrees(logits: Array) -> None:
    blank = logits.copy()
    blank[:16] = np.nan
    blank[20, :3] = np.nan
    found = agreement.compare([blank], [blank.copy()])
    assert (found["finite"], found["agreement"], found["relative_error"]) == (True, 1, 0)
    more = blank.copy()
    more[30, 2] = np.nan
    assert agreement.compare([blank], [more])["agreement"] == 199 / 200


def test_labels_of_a_regression() -> None:
    labels = np.arange(10.0)
    answers, build = labels[:, None] + 1, labels[:, None] - 2
    found = agreement.compare([answers], [build], labels, "regression")
    assert (found["rmse"], found["reference_rmse"], found["mae"]) == (2, 1, 2)
    assert found["r2"] == pytest.approx(1 - 40 / 82.5)
    assert found["reference_r2"] == pytest.approx(1 - 10 / 82.5)
    assert "rmse" not in agreement.compare([answers], [build], np.zeros((10, 3)), "regression")
    json.dumps(agreement.compare([answers], [build], np.ones(10), "regression"), allow_nan=False)

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.verdict.stats import agreement

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
    assert found["relative_error"] == pytest.approx(math.sqrt(4 / 20))
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
    assert agreement.compare([nothing], [nothing])["agreement"] == 0
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
    assert found["max_abs_error"] == 3
    assert found["who_was_right"] == {"both": 2, "only_reference": 1, "only_candidate": 0, "neither": 1}


def test_unsigned_and_half_outputs_do_not_overflow() -> None:
    reference = np.array([[0, 255], [255, 0]], np.uint8)
    assert agreement.compare([reference], [255 - reference])["max_abs_error"] == 255
    half = np.full((4, 8), 60000, np.float16)
    half[1] = -half[1]
    assert agreement.compare([half], [half])["cosine_min"] == pytest.approx(1.0)


@pytest.mark.parametrize("shape", [(6, 1), (6, 3, 2), (6,)])
def test_agreement_is_unknown_without_classes(shape: tuple[int, ...]) -> None:
    values = np.arange(float(np.prod(shape))).reshape(shape)
    found = agreement.compare([values], [values], np.zeros(6, int))
    assert found["agreement"] is found["accuracy"] is found["who_was_right"] is None
    assert found["relative_error"] == 0


def test_regression_has_errors_but_no_classes(logits: Array) -> None:
    found = agreement.compare([logits], [logits * 1.01], None, "regression")
    assert found["agreement"] is None
    assert found["relative_error"] == pytest.approx(0.01, rel=1e-3)


def test_cosine_of_one_number_a_sample_is_that_of_the_column() -> None:
    column = np.array([[1.0], [-2.0], [0.001]])
    found = agreement.compare([column], [column + 0.002], None, "regression")
    assert found["cosine_mean"] > 0.999
    assert agreement.compare([column], [-column], None, "regression")["cosine_mean"] == pytest.approx(-1.0)


def test_zero_outputs() -> None:
    zeros, ones = np.zeros((3, 2)), np.ones((3, 2))
    alike, unlike = agreement.compare([zeros], [zeros]), agreement.compare([zeros], [ones])
    assert (alike["cosine_min"], alike["relative_error"]) == (1.0, 0.0)
    assert (unlike["cosine_min"], unlike["relative_error"]) == (0.0, None)


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


# --- neighbours of embeddings -----------------------------------------------------------------------------------------


def embedding(samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(samples, 24))


@given(st.integers(12, 60), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_neighbours_survive_turning_stretching_and_another_order(samples: int, seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    values, order = random.normal(size=(samples, 24)), random.permutation(samples)
    turn = np.linalg.qr(random.normal(size=(24, 24)))[0]
    assert agreement.neighbour_overlap(values, values) == 1
    assert agreement.neighbour_overlap(values, values @ turn * factor) == 1
    other = random.normal(size=(samples, 24))
    share = agreement.neighbour_overlap(values, other)
    assert share is not None
    assert 0 <= share <= 1
    assert agreement.neighbour_overlap(values[order], other[order]) == pytest.approx(share)


@given(st.integers(12, 30), st.integers(0, 2**32 - 1))
def test_neighbours_are_those_that_counting_finds(samples: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, samples, 4))
    shares = []
    for number in range(samples):
        nearest = []
        for values in (a, b):
            cosine = values @ values[number] / np.linalg.norm(values, axis=1)
            cosine[number] = -np.inf
            nearest.append(set(np.argsort(-cosine)[:3].tolist()))
        shares.append(len(nearest[0] & nearest[1]) / 3)
    assert agreement.neighbour_overlap(a, b, 3) == pytest.approx(np.mean(shares))


def test_embeddings_that_have_nothing_to_do_with_each_other_share_neighbours_by_chance() -> None:
    share = agreement.neighbour_overlap(embedding(401), embedding(401, 1))
    assert share == pytest.approx(10 / 400, abs=0.01)


def test_a_little_noise_costs_few_neighbours() -> None:
    values = embedding(300)
    shares = [agreement.neighbour_overlap(values, values + noise * embedding(300, 1)) for noise in (1e-6, 0.03, 0.3)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[2] is not None
    assert shares[0] > 0.999 > shares[1] > 0.9 > shares[2]


def test_samples_that_stand_twice_are_no_disagreement() -> None:
    """Which of two equal samples is nearer is chance."""
    values = np.repeat(embedding(5), 20, axis=0)
    assert agreement.neighbour_overlap(values, values + 1e-9 * embedding(100, 1)) == 1


def test_many_samples_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "NEIGHBOUR_SAMPLES", 20)
    values, other = embedding(55), embedding(55)
    other[1::3] = other[2::3] = 0  # every third is looked at
    assert agreement.neighbour_overlap(values, other) == 1


def test_neighbours_are_unknown_where_all_are_or_values_are_missing() -> None:
    assert agreement.neighbour_overlap(embedding(11), embedding(11)) is None
    broken = embedding(40)
    broken[3, 3] = np.nan
    assert agreement.neighbour_overlap(embedding(40), broken) is None
    assert agreement.neighbour_overlap(broken, embedding(40)) is None
    assert agreement.neighbour_overlap(np.zeros((40, 24)), np.zeros((40, 24))) == 1


def test_the_worst_embedding_counts_and_logits_are_none() -> None:
    logits, good, other = embedding(40), embedding(40, 1), embedding(40, 2)
    assert agreement.compare([logits], [logits])["neighbour_overlap"] is None
    assert agreement.compare([logits], [logits], task="regression")["neighbour_overlap"] == 1
    assert agreement.compare([logits, good], [logits, good])["neighbour_overlap"] == 1
    found = agreement.compare([logits, good, good], [logits, good, other])["neighbour_overlap"]
    assert found == agreement.neighbour_overlap(good, other)
    assert agreement.compare([logits, good[:, :8]], [logits, good[:, :8]])["neighbour_overlap"] is None

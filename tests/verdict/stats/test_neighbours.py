from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.verdict.stats import agreement, neighbours

Array = np.ndarray[Any, Any]


def embedding(samples: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(samples, 24))


@given(st.integers(12, 60), st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_neighbours_survive_turning_stretching_and_another_order(samples: int, seed: int, factor: float) -> None:
    random = np.random.default_rng(seed)
    values, order = random.normal(size=(samples, 24)), random.permutation(samples)
    turn = np.linalg.qr(random.normal(size=(24, 24)))[0]
    assert neighbours.neighbour_overlap(values, values) == 1
    assert neighbours.neighbour_overlap(values, values @ turn * factor) == 1
    other = random.normal(size=(samples, 24))
    share = neighbours.neighbour_overlap(values, other)
    assert share is not None
    assert 0 <= share <= 1
    assert neighbours.neighbour_overlap(values[order], other[order]) == pytest.approx(share)


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
    assert neighbours.neighbour_overlap(a, b, 3) == pytest.approx(np.mean(shares))


def test_embeddings_that_have_nothing_to_do_with_each_other_share_neighbours_by_chance() -> None:
    share = neighbours.neighbour_overlap(embedding(401), embedding(401, 1))
    assert share == pytest.approx(10 / 400, abs=0.01)


def test_a_little_noise_costs_few_neighbours() -> None:
    values = embedding(300)
    shares = [neighbours.neighbour_overlap(values, values + noise * embedding(300, 1)) for noise in (1e-6, 0.03, 0.3)]
    assert shares[0] is not None
    assert shares[1] is not None
    assert shares[2] is not None
    assert shares[0] > 0.999 > shares[1] > 0.9 > shares[2]


def test_samples_that_stand_twice_are_no_disagreement() -> None:
    """Which of two equal samples is nearer is chance."""
    values = np.repeat(embedding(5), 20, axis=0)
    assert neighbours.neighbour_overlap(values, values + 1e-9 * embedding(100, 1)) == 1


def test_many_samples_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "NEIGHBOUR_SAMPLES", 20)
    values, other = embedding(55), embedding(55)
    other[1::3] = other[2::3] = 0  # every third is looked at
    assert neighbours.neighbour_overlap(values, other) == 1


def test_neighbours_are_unknown_where_all_are_or_values_are_missing() -> None:
    assert neighbours.neighbour_overlap(embedding(11), embedding(11)) is None
    broken = embedding(40)
    broken[3, 3] = np.nan
    assert neighbours.neighbour_overlap(embedding(40), broken) is None
    assert neighbours.neighbour_overlap(broken, embedding(40)) is None
    assert neighbours.neighbour_overlap(np.zeros((40, 24)), np.zeros((40, 24))) == 1


def test_the_worst_embedding_counts_and_logits_are_none() -> None:
    logits, good, other = embedding(40), embedding(40, 1), embedding(40, 2)
    assert agreement.compare([logits], [logits])["neighbour_overlap"] is None
    assert agreement.compare([logits], [logits], task="regression")["neighbour_overlap"] == 1
    assert agreement.compare([logits, good], [logits, good])["neighbour_overlap"] == 1
    found = agreement.compare([logits, good, good], [logits, good, other])["neighbour_overlap"]
    assert found == neighbours.neighbour_overlap(good, other)
    assert agreement.compare([logits, good[:, :8]], [logits, good[:, :8]])["neighbour_overlap"] is None

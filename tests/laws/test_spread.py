"""Spreads that many trials tell together: what a race leaves out after few repeats, and that it is seldom the best."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.spec.settings import Objective
from sweep.verdict import elimination, race, spread
from sweep.verdict.stats.intervals import Values
from tests.support.rates import LAWS, THROUGHPUT, records_of


def values(rates: np.ndarray) -> dict[str, Values]:
    return {f"t{number:02}": dict(enumerate(row.tolist())) for number, row in enumerate(rates)}


def noisy(random: np.random.Generator, medians: np.ndarray, repeats: int, sigma: float | np.ndarray) -> np.ndarray:
    """Each trial with its own spread, all with the same changes of the machine from block to block."""
    blocks = random.lognormal(0.0, 0.2, repeats)
    scatter = np.exp(np.reshape(sigma, (-1, 1)) * random.standard_normal((len(medians), repeats)))
    return np.asarray(medians[:, None] * blocks * scatter)


def test_alike_trials_share_what_they_know_of_their_spread() -> None:
    random = np.random.default_rng(0)
    found = spread.moderate("t00", values(noisy(random, np.full(60, 100.0), 3, 0.05)))
    one = found["t01"]
    assert len(found) == 59
    assert one.degrees > 5  # alone: 2
    assert one.standard_error == pytest.approx(0.05 * math.sqrt(2 / 3), rel=0.2)
    spreads = [each.standard_error for each in found.values()]
    assert max(spreads) / min(spreads) < 2  # of variances of three repeats each the ratio is in the hundreds


def test_unlike_trials_keep_their_own_spread() -> None:
    random = np.random.default_rng(0)
    sigma = np.where(np.arange(60) % 2, 0.2, 0.002)
    found = spread.moderate("t00", values(noisy(random, np.full(60, 100.0), 8, sigma)))
    quiet = np.median([each.standard_error for key, each in found.items() if int(key[1:]) % 2 == 0])
    loud = np.median([each.standard_error for key, each in found.items() if int(key[1:]) % 2])
    assert loud / quiet > 5
    assert found["t01"].degrees < 10


@given(st.integers(0, 1000), st.integers(2, 6), st.integers(8, 20), st.floats(0.01, 100.0))
def test_estimates_are_the_plain_ones_whatever_the_unit_and_the_order(
    seed: int, repeats: int, trials: int, unit: float
) -> None:
    rates = noisy(np.random.default_rng(seed), np.linspace(50, 100, trials), repeats, 0.05)
    found = spread.moderate("t00", values(rates))
    assert len(found) == trials - 1
    for key, each in found.items():
        logs = np.log(rates[0]) - np.log(rates[int(key[1:])])
        assert each.log == pytest.approx(logs.mean(), abs=1e-9)
        assert repeats - 1 <= each.degrees <= trials * (repeats - 1)
        assert each.standard_error > 0
    turned = spread.moderate("t00", dict(reversed(values(rates * unit).items())))
    assert {key: each.standard_error for key, each in turned.items()} == pytest.approx(
        {key: each.standard_error for key, each in found.items()}
    )


def test_where_it_says_nothing() -> None:
    rates = noisy(np.random.default_rng(0), np.full(10, 100.0), 3, 0.05)
    assert spread.moderate("t00", values(rates[: spread.FEWEST - 1])) == {}
    assert spread.moderate("t00", values(rates[:, :1])) == {}
    assert spread.moderate("t00", values(np.full((10, 3), 7.0))) == {}  # nothing scatters
    other: dict[str, Values] = {**values(rates), "t01": {0: 90.0, 5: 91.0, 6: 92.0}, "t02": {0: 90.0, 1: 0.0, 2: 92.0}}
    assert set(spread.moderate("t00", other)) == {f"t{number:02}" for number in range(3, 10)}
    unpaired: dict[str, Values] = {**values(rates), "t00": [100.0, 101.0, 99.0]}
    assert spread.moderate("t00", unpaired) == {}


def test_some_that_agree_by_luck_do_not_seem_exact() -> None:
    rates = noisy(np.random.default_rng(3), np.full(20, 100.0), 3, 0.05)
    rates[7] = rates.mean(axis=0) / rates.mean() * 100.0  # no scatter of its own at all
    found = spread.moderate("t00", values(rates))
    assert found["t07"].standard_error > 0.3 * float(np.median([each.standard_error for each in found.values()]))


def test_throughput_is_better_where_it_is_higher_and_latency_where_it_is_lower() -> None:
    random = np.random.default_rng(0)
    records = records_of(noisy(random, np.linspace(100, 200, 10), 3, 0.02))
    best = max(records, key=lambda r: r.key)
    for objective in (THROUGHPUT, Objective("min_latency", "latency_ms_p50", False)):
        known = {r.key: race.repeat_values(r, objective.metric) for r in records}
        found = race.compare_moderated(best, records[:-1], objective, known)
        assert len(found) == 9
        assert all(each.log > 0 for each in found.values())


def test_the_first_look_at_many_trials_leaves_out_what_is_far_behind() -> None:
    """Each on its own three repeats with a spread of 8 % could not show that half as fast is slower: t(2) is 40."""
    random = np.random.default_rng(1)
    records = records_of(noisy(random, np.linspace(40, 200, 42), 3, 0.08))
    found = elimination.look(records, THROUGHPUT, 1, 42)
    slow = {record.key for record in records[:16]}
    assert slow <= set(found.out)
    best = records[-1]
    alone = [race.compare(best, record, THROUGHPUT) for record in records[:16]]
    confidence = race.confidence_at(THROUGHPUT.confidence, 1, 42)
    assert sum(race.lower_end(each, confidence) > 0 for each in alone) < 8


@pytest.mark.parametrize("law", sorted(LAWS))
@pytest.mark.parametrize(("trials", "repeats"), [(8, 3), (12, 5), (42, 3)])
def test_the_best_is_seldom_left_out(law: str, trials: int, repeats: int) -> None:
    """Worst case: all are equally good, so that any of them may seem to be ahead."""
    random, runs, lost = np.random.default_rng(2), 300, 0
    confidence = race.confidence_at(0.95, 1, trials)
    for _ in range(runs):
        rates = LAWS[law](random, trials, repeats, 0.05)
        ahead = int(rates.sum(axis=1).argmax())
        against = spread.moderate(f"t{ahead:02}", values(rates)).get("t00")
        lost += against is not None and race.lower_end(against, confidence) > 0
    assert lost / runs <= 0.0125 + 0.01  # what the first look may, and what 300 runs can show

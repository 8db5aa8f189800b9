import math
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from sweep.store import samples
from sweep.verdict.stats import intervals

T = TypeVar("T")
positive = st.floats(0.01, 1e6)
repeats = st.lists(positive, min_size=2, max_size=12)
shares = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


# The first call imports scipy, which a deadline would count.


def known(value: T | None) -> T:
    assert value is not None
    return value


def test_wilson_matches_published_interval() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857-872, table I: 81 of 263, method 3.
    interval = intervals.wilson(81, 263)
    assert interval.low == pytest.approx(0.2553, abs=5e-5)
    assert interval.high == pytest.approx(0.3662, abs=5e-5)


@given(shares, st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy_and_contains_the_share(share: tuple[int, int], confidence: float) -> None:
    successes, n = share
    interval = intervals.wilson(successes, n, confidence)
    expected = scipy.stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert 0 <= known(interval.low) <= successes / n <= known(interval.high) <= 1
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


@given(shares)
def test_wilson_is_monotone_in_successes(share: tuple[int, int]) -> None:
    successes, n = share
    fewer, more = intervals.wilson(max(0, successes - 1), n), intervals.wilson(successes, n)
    assert known(fewer.low) <= known(more.low)
    assert known(fewer.high) <= known(more.high)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        intervals.wilson(successes, n)


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_symmetric_and_exact(b: int, c: int) -> None:
    p = intervals.mcnemar_exact(b, c)
    assert p == intervals.mcnemar_exact(c, b)
    assert p == pytest.approx(scipy.stats.binomtest(b, b + c).pvalue if b + c else 1.0, rel=1e-6)


@given(repeats, st.floats(0.5, 0.999))
def test_mean_interval_agrees_with_scipy(values: list[float], confidence: float) -> None:
    interval = intervals.mean_interval(values, confidence)
    sem = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    half = sem * scipy.stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    mean = float(np.mean(values))
    tolerance = 1e-9 * max(values)
    assert interval == pytest.approx((mean, mean - half, mean + half), abs=tolerance * 1e3)


def test_one_value_has_no_interval_and_none_no_mean() -> None:
    assert intervals.mean_interval([5.0]) == (5.0, None, None)
    with pytest.raises(ValueError, match="no values"):
        intervals.mean_interval([])


@pytest.mark.parametrize(("q", "needed"), [(50, 10), (90, 50), (95, 100), (99, 500), (99.9, 5000), (1, 500)])
def test_percentiles_need_samples_beyond_them(q: float, needed: int) -> None:
    assert intervals.samples_needed(q) == needed
    assert intervals.percentile_supported(needed, q)
    assert not intervals.percentile_supported(needed - 1, q)


def test_ratio_pairs_equal_indexes_and_welch_does_the_rest() -> None:
    a, b = [110.0, 121.0, 108.0, 119.0], [100.0, 112.0, 99.0, 108.0]
    log_a, log_b = np.log(a), np.log(b)
    paired = known(intervals.ratio(dict(enumerate(a)), dict(enumerate(b))))
    welch = known(intervals.ratio(a, b))
    shifted = known(intervals.ratio(dict(enumerate(a)), dict(enumerate(b, start=1))))
    low, high = scipy.stats.ttest_rel(log_a, log_b).confidence_interval(0.95)
    assert paired.log_interval(0.95) == pytest.approx((low, high))
    low, high = scipy.stats.ttest_ind(log_a, log_b, equal_var=False).confidence_interval(0.95)
    assert welch.log_interval(0.95) == pytest.approx((low, high))
    assert (paired.paired, welch.paired, shifted.paired) == (True, False, False)
    assert shifted.log_interval(0.95) == pytest.approx(welch.log_interval(0.95))


def test_pairing_does_not_depend_on_the_order_of_the_repeats() -> None:
    a, b = {0: 110.0, 1: 121.0, 2: 108.0}, {0: 100.0, 1: 112.0, 2: 99.0}
    assert intervals.ratio(dict(reversed(a.items())), b) == intervals.ratio(a, b)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 0.0], [1.0, -1.0], [1.0, math.nan], [1.0, math.inf]])
def test_ratio_is_unknown_from_too_few_or_impossible_values(values: list[float]) -> None:
    assert intervals.ratio(values, [1.0, 2.0]) is None
    assert intervals.ratio_interval([1.0, 2.0], values) is None


@given(repeats, repeats, st.floats(0.5, 0.9999))
def test_ratio_interval_is_finite_and_mirrors(a: list[float], b: list[float], confidence: float) -> None:
    forward = known(intervals.ratio_interval(a, b, confidence))
    backward = known(intervals.ratio_interval(b, a, confidence))
    assert all(end is not None and math.isfinite(end) for end in (*forward, *backward))
    if 1e-200 < known(forward.low) < 1e200:
        assert known(forward.low) * known(backward.high) == pytest.approx(1.0, rel=1e-6)


@given(repeats, repeats, st.floats(0.001, 0.5), st.floats(0.6, 0.999))
def test_equivalence_is_symmetric(a: list[float], b: list[float], margin: float, confidence: float) -> None:
    forward, backward = known(intervals.ratio(a, b)), known(intervals.ratio(b, a))
    assert forward.is_within(margin, confidence) == backward.is_within(margin, confidence)
    assert forward.is_different(confidence) == backward.is_different(confidence)
    assert forward.estimate * backward.estimate == pytest.approx(1.0)


@given(repeats, repeats, st.floats(0.01, 0.5))
def test_equivalence_is_two_one_sided_tests(a: list[float], b: list[float], margin: float) -> None:
    log_a, log_b, limit = np.log(a), np.log(b), math.log1p(margin)
    if np.ptp(log_a) < 1e-6 or np.ptp(log_b) < 1e-6:
        return
    above = scipy.stats.ttest_ind(log_a + limit, log_b, equal_var=False, alternative="greater").pvalue
    below = scipy.stats.ttest_ind(log_a - limit, log_b, equal_var=False, alternative="less").pvalue
    p = max(above, below)
    if abs(p - 0.05) > 1e-9:
        assert known(intervals.ratio(a, b)).is_within(margin, 0.95) == (p < 0.05)


def test_trials_are_within_a_margin_or_different_or_neither() -> None:
    steady = [100.0, 100.4, 99.7, 100.1, 99.9]
    slower = [value * 0.94 for value in steady]
    noisy = [100.0, 131.0, 82.0, 109.0, 77.0]

    def judge(a: list[float]) -> tuple[bool, bool]:
        ratio = known(intervals.ratio(a, steady))
        return ratio.is_within(0.02, 0.95), ratio.is_different(0.95)

    assert [judge(values) for values in (steady[::-1], slower, noisy)] == [(True, False), (False, True), (False, False)]


def test_equal_trials_are_called_different_as_rarely_as_promised_and_slow_ones_found() -> None:
    random = np.random.default_rng(3)
    runs = 1000
    equal = slower = 0
    for _ in range(runs):
        a, b = random.lognormal(0.0, 0.01, (2, 5))
        equal += known(intervals.ratio(a.tolist(), b.tolist())).is_different(0.95)
        slower += known(intervals.ratio((a * 0.95).tolist(), b.tolist())).is_different(0.95)
    assert equal <= 0.05 * runs
    assert slower >= 0.95 * runs


@given(st.floats(-0.3, 0.3), st.floats(0.0005, 0.2), st.integers(2, 10), st.booleans())
def test_more_repeats_are_needed_for_more_noise(log: float, error: float, n: int, paired: bool) -> None:
    quiet = intervals.Ratio(log, error, n - 1, n, paired)
    noisy = replace(quiet, standard_error=2 * error)
    wanted = intervals.repeats_to_decide(quiet, 0.02, 0.95)
    assert 2 <= wanted <= intervals.repeats_to_decide(noisy, 0.02, 0.95) <= 1000


def test_repeats_to_decide_is_the_first_that_decides() -> None:
    spread = 0.03
    ratio = intervals.Ratio(0.02, spread / math.sqrt(5), 4, 5, True)
    wanted = intervals.repeats_to_decide(ratio, 0.01, 0.95)

    def half(n: int) -> float:
        return float(scipy.stats.t.ppf(0.975, n - 1)) * spread / math.sqrt(n)

    assert half(wanted) < 0.02 <= half(wanted - 1)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 cut off", b"not an archive"])
def test_samples_that_cannot_be_read_count_as_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "samples.npz"
    if content is not None:
        path.write_bytes(content)
    assert samples.load_samples(str(path)).size == 0

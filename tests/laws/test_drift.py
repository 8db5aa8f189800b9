"""Drift of the machine: found where it is, told with its size, and not where it is not."""

import functools

import numpy as np
import pytest
from scipy.stats import binom

from sweep.verdict.noise.drift import Drift, Point, compute_levels, find
from tests.support.machine_laws import LAWS, Law, autocorrelated, heavy_tail, log_normal, ranking, simulated, speed

SWEEPS = 30  # tests/benchmarks/drift.py takes 300


NORMAL = log_normal()
SLOWER = speed(0.45)  # from the third measurement of the third of five blocks on


@functools.cache
def found(law: Law, sweeps: int = SWEEPS, **sweep: object) -> list[tuple[list[Point], Drift]]:
    random = np.random.default_rng(7)
    pairs = []
    for seed in range(sweeps):
        points = simulated(random, law, **sweep)  # type: ignore[arg-type]  # fields by name
        pairs.append((points, find(points, seed=seed)))
    return pairs


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_quiet_machine_raises_few_false_alarms(law: Law) -> None:
    alarms = sum(bool(drift.findings) for _, drift in found(law))
    assert alarms <= binom.ppf(0.999, SWEEPS, 0.05)


@pytest.mark.parametrize(("trials", "repeats"), [(4, 3), (2, 10), (40, 3), (1, 20)])
def test_sweeps_of_other_shapes_raise_few_false_alarms(trials: int, repeats: int) -> None:
    quiet = found(log_normal(), trials=trials, repeats=repeats, spreads=True)
    assert sum(bool(drift.findings) for _, drift in quiet) <= binom.ppf(0.999, SWEEPS, 0.05)


@pytest.mark.parametrize("law", [NORMAL, heavy_tail(), autocorrelated(0.5)], ids=["normal", "heavy", "alike"])
def test_slow_down_is_found_in_its_block_and_ranking_is_kept(law: Law) -> None:
    right = kept = 0
    sweeps = found(law, speeds=SLOWER)
    for points, drift in sweeps:
        right += any(each.kind == "shift" and each.block == 2 for each in drift.findings)
        undisturbed = [point.value / (1 / 1.1 if n >= 18 else 1.0) for n, point in enumerate(points)]
        quiet = [Point(p.group, value, p.trial) for p, value in zip(points, undisturbed, strict=True)]
        kept += ranking(points, compute_levels(drift, points)) == ranking(quiet, [1.0] * len(quiet))
    assert right >= 0.95 * SWEEPS
    assert kept >= 0.9 * SWEEPS


def test_the_size_of_a_shift_and_its_interval() -> None:
    sizes = [drift.findings[0] for _, drift in found(NORMAL, speeds=SLOWER) if drift.findings]
    assert np.mean([each.ratio for each in sizes]) == pytest.approx(1 / 1.1, abs=0.004)
    assert np.mean([each.low <= 1 / 1.1 <= each.high for each in sizes]) >= 0.93
    assert all(each.low < each.ratio < each.high and 0 < each.p <= 0.025 for each in sizes)


def test_passing_neighbour_gives_two_shifts_and_a_level_between() -> None:
    random = np.random.default_rng(3)
    points = simulated(random, log_normal(0.01), speeds=speed(0.4, 0.7, 0.8))
    drift = find(points)
    assert [each.kind for each in drift.findings] == ["shift", "shift"]
    assert [each.number for each in drift.findings] == [16, 28]
    told = compute_levels(drift, points)
    assert told[:16] == pytest.approx([1.0] * 16, rel=0.02)
    assert told[16:28] == pytest.approx([0.8] * 12, rel=0.02)
    assert told[28:] == pytest.approx([1.0] * 12, rel=0.02)


def test_gradual_slow_down_is_a_trend() -> None:
    random = np.random.default_rng(4)
    kinds = []
    for seed in range(30):
        points = simulated(random, log_normal(0.01), repeats=8, speeds=lambda done: np.exp(-0.15 * done))
        drift = find(points, seed=seed)
        kinds.append([each.kind for each in drift.findings])
        told = compute_levels(drift, points)
        assert told[0] / told[-1] == pytest.approx(np.exp(0.15), rel=0.06)
    assert sum(kind == ["trend"] for kind in kinds) >= 25


def test_small_shifts_are_not_reported() -> None:
    random = np.random.default_rng(5)
    points = simulated(random, log_normal(0.0005), speeds=speed(0.5, ratio=0.996))
    assert find(points, least=0.01).findings == ()
    assert [each.kind for each in find(points, least=0.001).findings] == ["shift"]


def test_single_bad_repeat_is_no_shift() -> None:
    random = np.random.default_rng(6)
    for place in (0, 17, 38, 39):
        points = simulated(random, log_normal(0.01))
        bad = points[place]
        points[place] = Point(bad.group, bad.value / 3, bad.trial, bad.repeat, bad.block, bad.position)
        assert find(points).findings == ()


def test_constant_rates() -> None:
    flat = [Point(str(n % 4), 100.0 + n % 4, block=n // 4, position=n % 4) for n in range(20)]
    assert find(flat).findings == ()
    half = [
        Point(p.group, p.value * (0.5 if n >= 10 else 1), block=p.block, position=p.position)
        for n, p in enumerate(flat)
    ]
    (shift,) = find(half).findings
    assert (shift.block, shift.position) == (2, 2)
    assert shift.ratio == pytest.approx(0.5)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_too_few_measurements_give_no_findings(count: int) -> None:
    few = [Point("one", 100.0 + n) for n in range(count)]
    assert find(few) == Drift()
    assert compute_levels(Drift(), few) == [1.0] * count


def test_single_repeats_give_no_findings() -> None:
    assert find([Point(str(n), 100.0 + n) for n in range(50)]) == Drift()


def test_trials_on_one_side_of_a_shift_do_not_count() -> None:
    """As in a search, where later trials are others: only what is measured on both sides tells the machine's change."""
    random = np.random.default_rng(8)
    first = [Point(f"a{n % 5}", float(1000 * np.exp(0.01 * random.standard_normal()))) for n in range(20)]
    later = [Point(f"b{n % 5}", float(500 * np.exp(0.01 * random.standard_normal()))) for n in range(20)]
    assert find([*first, *later]).findings == ()
    watched = [Point("control", float(800 * np.exp(0.01 * random.standard_normal()))) for _ in range(8)]
    slower = [Point("control", each.value / 1.2) for each in watched]
    drift = find([*first, *watched, *slower, *later])
    assert [each.number for each in drift.findings] == [28]
    assert drift.findings[0].ratio == pytest.approx(1 / 1.2, rel=0.02)


def test_levels_continue_the_scale_that_is_on_record() -> None:
    random = np.random.default_rng(9)
    points = simulated(random, log_normal(0.005), speeds=speed(0.25, ratio=0.9))
    drift = find(points)
    assert compute_levels(drift, points)[-1] == pytest.approx(1.0)  # most of the sweep
    known = compute_levels(drift, points, dict.fromkeys(range(10), 1.0))  # judged before the machine changed
    assert known[0] == pytest.approx(1.0)
    assert known[-1] == pytest.approx(0.9, rel=0.02)


def test_the_same_series_gives_the_same_answer() -> None:
    points = simulated(np.random.default_rng(1), log_normal(), speeds=speed(0.5))
    assert find(points, seed=3) == find(points, seed=3)

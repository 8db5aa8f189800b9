"""What a worker says of itself is held against what others saw."""

from dataclasses import replace
from typing import Any

import pytest

from sweep.spec import FailureKind, Measurement
from sweep.spec.facts import FreshFacts, WitnessFacts
from sweep.verdict import honesty
from tests.support.records import make_measurement


def repeats(count: int = 3, witness: WitnessFacts | None = None, **changes: Any) -> list[Measurement]:
    witnesses = () if witness is None else (witness,)
    return [replace(make_measurement(index), witnesses=witnesses, **changes) for index in range(count)]


@pytest.mark.parametrize(("own", "system", "passes"), [(0.5, 0.52, True), (2.0, 2.03, True), (0.5, None, True)])
def test_clocks_that_agree_pass(own: float, system: float | None, passes: bool) -> None:
    assert (honesty.check_clock(repeats(witness=WitnessFacts(own, system, 0.1, 1))) is None) is passes


@pytest.mark.parametrize(("own", "system"), [(0.5, 5.0), (2.0, 2.2), (5.0, 0.5)])
def test_slowed_or_hurried_clock_is_refused(own: float, system: float) -> None:
    failure = honesty.check_clock(repeats(witness=WitnessFacts(own, system, 0.1, 1)))
    assert failure is not None
    assert failure.kind is FailureKind.IMPLAUSIBLE_TIMING
    assert f"{own:.3g} s by the process's clock and {system:.3g} s by the kernel's" in failure.summary


def test_one_repeat_that_was_held_up_is_no_reason() -> None:
    slow = repeats(1, WitnessFacts(0.5, 0.9, 0.1, 1))
    assert honesty.check_clock([*slow, *repeats(2, WitnessFacts(0.5, 0.5, 0.1, 1))]) is None


@pytest.mark.parametrize(
    ("wall", "own", "passes"), [(3.0, 2.0, True), (9.0, 1.0, True), (60.0, 6.0, False), (1.0, 2.0, False)]
)
def test_life_of_a_worker_must_be_explained(wall: float, own: float, passes: bool) -> None:
    failure = honesty.check_clock(repeats(wall_seconds=wall, own_seconds=own))
    assert (failure is None) is passes


@pytest.mark.parametrize(("cpu", "cores", "passes"), [(1.0, 1, True), (1.9, 2, True), (1.9, 1, False), (9.0, 0, True)])
def test_cpu_time_beyond_the_cores_is_refused(cpu: float, cores: int, passes: bool) -> None:
    failure = honesty.check_cores(repeats(witness=WitnessFacts(1.0, 1.0, cpu, cores)))
    assert (failure is None) is passes
    if failure is not None:
        assert failure.kind is FailureKind.WRONG_RESOURCES
        assert "1.9 cores where the trial has 1" in failure.summary


def test_cpu_time_of_processes_that_slipped_away_counts() -> None:
    inside = WitnessFacts(1.0, 1.0, 1.0, 1)
    failure = honesty.check_cores(repeats(witness=inside, wall_seconds=4.0, cpu_seconds=7.5))
    assert failure is not None
    assert "used 7.5 s of CPU time in 4 s" in failure.summary


def test_kept_answers_are_refused() -> None:
    failure = honesty.check_fresh(repeats(fresh=FreshFacts(20, 30.0, 1.0, seen_ms=0.1, fresh_ms=3.0)))
    assert failure is not None
    assert failure.kind is FailureKind.KEPT_ANSWERS
    assert "take 0.1 ms, fresh ones 3 ms, 30 times as long" in failure.summary


@pytest.mark.parametrize(
    "fresh",
    [
        FreshFacts(20, 1.4, 1.0),
        FreshFacts(20, 3.0, 0.7),
        FreshFacts(3, 2.0, 1.0),
        FreshFacts(skipped="nothing to vary"),
        None,
    ],
)
def test_speed_that_depends_on_values_is_no_cache(fresh: FreshFacts | None) -> None:
    assert honesty.check_fresh(repeats(fresh=fresh)) is None

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.spec import Measurement, to_json
from sweep.spec.facts import CapacityFacts
from sweep.verdict.repeats import summarize
from sweep.verdict.stats import intervals
from sweep.worker.load import capacity
from sweep.worker.load.capacity import Probe

SERVICE_MS = 10.0  # of the simulated server, one item at a time
SLO_MS = 40.0
FIRST = 70.0


def served(due_ms: np.ndarray, service_ms: float) -> np.ndarray:
    """When each item is done: one server, first come first served."""
    places = np.arange(len(due_ms))
    return np.maximum.accumulate(due_ms - service_ms * places) + service_ms * (places + 1)


class Server:
    """M/D/1 as a probe sees it; a probe may be bad: the server stands still for half of its window."""

    def __init__(self, seconds: float, slo_ms: float = SLO_MS, seed: int = 0, bad: int = -1) -> None:
        self.asked: list[float] = []
        self._seconds, self._slo_ms, self._bad = seconds, slo_ms, bad
        self._random = np.random.default_rng(seed)

    def __call__(self, rate: float) -> Probe:
        number = len(self.asked)
        self.asked.append(rate)
        window = 1e3 * self._seconds
        due = np.sort(self._random.random(self._random.poisson(rate * self._seconds)) * window)
        done = served(due, SERVICE_MS)
        if number == self._bad:
            done = np.maximum(done, window / 2)
        late = int((done - due > self._slo_ms).sum())
        in_time = int((done <= window).sum())
        grown = len(due) - in_time > 4 * math.sqrt(len(due)) + 1
        known = {"min": float((done - due).min()), "p50": float(np.median(done - due))}
        return Probe(rate, len(due), late, in_time / self._seconds, grown, known)


def exact_capacity(slo_ms: float) -> float:
    """Items/s at which 1 % wait longer than the service level leaves them: a very long run, halved."""
    random = np.random.default_rng(99)
    unit = np.cumsum(random.exponential(1.0, 400_000))
    low, high = 1.0, 1e3 / SERVICE_MS
    for _ in range(20):
        middle = (low + high) / 2
        due = unit * 1e3 / middle
        late = float((served(due, SERVICE_MS) - due > slo_ms).mean())
        low, high = (middle, high) if late <= capacity.LATE else (low, middle)
    return low


EXACT = exact_capacity(SLO_MS)


def step(limit: float, share: float = 0.5) -> Callable[[float], Probe]:
    """A server that is good up to a rate and bad beyond it."""
    return lambda rate: Probe(rate, 1000, 0 if rate <= limit else round(1000 * share), rate)


@pytest.mark.parametrize("limit", [5.0, 30.0, 69.9, 70.0, 71.0, 100.0, 150.0, 400.0])
def test_step_is_found_and_probed_twice_on_both_sides(limit: float) -> None:
    asked: list[float] = []

    def probe(rate: float) -> Probe:
        asked.append(rate)
        return step(limit)(rate)

    found = capacity.search(probe, FIRST, SLO_MS, 20)
    assert found.converged
    assert found.note == ""
    assert limit / capacity.PRECISION <= found.items_per_s <= limit * 1.001
    below, above = max(r for r in asked if r <= limit), min(r for r in asked if r > limit)
    assert above / below <= capacity.PRECISION
    assert asked.count(below) == asked.count(above) == 2
    assert [row.rate for row in found.curve] == asked


def test_ten_probes_are_enough_near_the_first_rate() -> None:
    for limit in np.linspace(40.0, 150.0, 23):
        found = capacity.search(step(float(limit)), FIRST, SLO_MS, 10)
        assert limit / 1.05 <= found.items_per_s <= limit * 1.001


@pytest.mark.parametrize("bad", range(10))
def test_single_bad_probe_does_not_decide(bad: int) -> None:
    asked = 0

    def probe(rate: float) -> Probe:
        nonlocal asked
        asked += 1
        return Probe(rate, 1000, 1000, 0.3 * rate, True) if asked == bad + 1 else step(90.0)(rate)

    found = capacity.search(probe, FIRST, SLO_MS, 16)
    assert 90.0 / 1.03 <= found.items_per_s <= 90.1
    outvoted = [row for row in found.curve if not row.counted]
    assert all(row.late_share == 1.0 for row in outvoted)
    assert len(outvoted) <= 1


def test_service_level_below_the_service_time_has_no_capacity() -> None:
    found = capacity.search(Server(20.0, slo_ms=9.0), FIRST, 9.0, 20)
    assert (found.items_per_s, found.converged) == (0.0, True)
    assert found.note.startswith("no rate meets 9 ms for 99 % of the items: at ")
    assert found.note.endswith("the quickest 10 ms")
    few = capacity.search(Server(20.0, slo_ms=9.0), FIRST, 9.0, 3)
    assert (few.items_per_s, few.converged) == (0.0, False)
    assert "raise load.probes" in few.note


def test_unbreakable_service_level_gives_the_rate_of_the_server() -> None:
    found = capacity.search(Server(20.0, slo_ms=60_000.0), FIRST, 60_000.0, 20)
    assert found.items_per_s == pytest.approx(1e3 / SERVICE_MS, rel=0.08)
    assert found.items_per_s <= 101.0
    assert "this is what it can do at most" in found.note


def test_idle_server_has_at_least_the_highest_rate_tried() -> None:
    found = capacity.search(step(1e9), FIRST, SLO_MS, 4)
    assert found.items_per_s == pytest.approx(FIRST * capacity.UP**3)
    assert not found.converged
    assert "kept at every rate up to 236.2 items/s" in found.note


def test_slowly_filling_batches_do_not_hide_the_capacity() -> None:
    """With a long `max_wait_ms` items wait longest where few arrive."""

    def probe(rate: float) -> Probe:
        return Probe(rate, 1000, 0 if 80.0 <= rate <= 120.0 else 1000, rate, rate > 140.0)

    found = capacity.search(probe, FIRST, SLO_MS, 20)
    assert found.items_per_s == pytest.approx(120.0, rel=0.03)


def close_call(rate: float, number: int) -> Probe:
    """Met by two of three probes at the slowest rate that a bisection asks, missed by all three together."""
    late = 1000 if rate > 60 else round(1000 * (0.001 if rate < 40 else 0.009 if number in (1, 9) else 0.016))
    return Probe(rate, 1000, late, rate)


@pytest.mark.parametrize("probes", range(4, 15))
def test_rate_met_by_most_probes_is_not_zero(probes: int) -> None:
    """With a slowest rate that all probes together miss by a little, the answer was 0 instead of a little less."""
    asked = 0

    def probe(rate: float) -> Probe:
        nonlocal asked
        asked += 1
        return close_call(rate, asked - 1)

    found = capacity.search(probe, 94.0, SLO_MS, probes)
    assert 20 < found.items_per_s <= 50


def test_few_items_per_probe_are_reported() -> None:
    found = capacity.search(lambda rate: Probe(rate, 30, 0 if rate < 90 else 20, rate), FIRST, SLO_MS, 20)
    assert "from 30 items a probe, too few for a p99" in found.note


@pytest.mark.parametrize("bad", [-1, 0, 1, 3])
def test_capacity_of_a_queue_is_near_the_exact_one(bad: int) -> None:
    """About 9,000 items a probe: 1 % of them scatter by a tenth and more, as they come in bunches."""
    found = [
        capacity.search(Server(200.0, seed=seed, bad=bad), FIRST, SLO_MS, 14).items_per_s / EXACT for seed in range(30)
    ]
    assert np.median(found) == pytest.approx(1.0, abs=0.02)
    assert np.mean([abs(ratio - 1) <= 0.08 for ratio in found]) >= 0.9


def test_capacity_never_falls_with_the_service_level() -> None:
    found = [capacity.search(Server(60.0, slo_ms=slo, seed=3), FIRST, slo, 14).items_per_s for slo in (15, 25, 60, 150)]
    assert found == sorted(found)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 100)), min_size=1, max_size=12))
def test_isotonic_pooling_keeps_the_mean_and_what_rises(points: list[tuple[float, float]]) -> None:
    values, weights = [value for value, _ in points], [weight for _, weight in points]
    fitted = capacity.fit_isotonic(values, weights)
    assert len(fitted) == len(values)
    assert (np.diff(fitted) >= -1e-12).all()
    assert np.dot(fitted, weights) == pytest.approx(np.dot(values, weights))
    assert capacity.fit_isotonic(sorted(values), weights) == pytest.approx(sorted(values))


def test_isotonic_pooling_is_the_weighted_mean_of_what_falls() -> None:
    # By hand: 3 and 1 fall, weights 1 and 3; then 2 is above their mean of 1.5
    assert capacity.fit_isotonic([0.0, 3.0, 1.0, 2.0], [1, 1, 3, 1]).tolist() == [0.0, 1.5, 1.5, 2.0]


@settings(max_examples=60)
@given(st.integers(3, 20), st.floats(0.1, 1e4), st.integers(0, 2**31))
def test_any_probe_results_give_a_complete_answer(probes: int, first: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    asked: list[float] = []

    def probe(rate: float) -> Probe:
        asked.append(rate)
        late = int(random.integers(0, 40))
        return Probe(rate, 1000, late, rate, bool(random.random() < 0.2))

    found = capacity.search(probe, first, SLO_MS, probes)
    assert 1 <= len(asked) <= probes
    assert found.items_per_s <= max(asked) * 1.001
    assert found.items_per_s >= 0
    assert math.isfinite(found.items_per_s)
    assert len(found.curve) == len(asked)
    assert "\n" not in found.note
    to_json(found.curve)


def measurement(index: int, items_per_s: float | None) -> Measurement:
    found = None if items_per_s is None else CapacityFacts(SLO_MS, items_per_s, converged=True)
    return Measurement(index, 90.0, 1.0, 100, 100, 1.0, {}, 0.5, 3.0, {}, 120.0, 1.0, "", "", capacity=found)


def test_capacity_metric_is_the_mean_of_repeats_with_interval() -> None:
    found = summarize([measurement(n, rate) for n, rate in enumerate((80.0, 84.0, 82.0))])
    expected = intervals.mean_interval([80.0, 84.0, 82.0])
    names = ("capacity_items_per_s", "capacity_items_per_s_low", "capacity_items_per_s_high")
    assert tuple(found[name] for name in names) == pytest.approx(tuple(expected))
    assert found["throughput_items_per_s"] == 90.0
    none = summarize([measurement(0, 0.0), measurement(1, 0.0)])
    assert (none["capacity_items_per_s"], none["capacity_items_per_s_high"]) == (0.0, 0.0)
    assert "capacity_items_per_s" not in summarize([measurement(0, None)])

import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.spec import to_json
from sweep.spec.facts import CapacityFacts
from sweep.worker.load import probing
from sweep.worker.load.batcher import Stock
from sweep.worker.load.generator import Clock
from sweep.worker.load.queue import Shared
from sweep.worker.window import Request, Warm
from tests.support.records import make_effort
from tests.support.running import BUSY, sweep

EFFORT = make_effort(60.0, 10)
LOAD = {"name": "capacity", "slo_p99_ms": 40.0, "max_wait_ms": 0.0, "probes": 14, "seed": 0}


class Passing:
    """Time that passes only where somebody waits or works."""

    def __init__(self) -> None:
        self.ns = 0

    def wait(self, until_ns: int) -> None:
        self.ns = max(self.ns, until_ns)

    @property
    def clock(self) -> Clock:
        return Clock(lambda: self.ns, self.wait)


class Working:
    """A runner that takes exactly so long for each request."""

    asynchronous = False

    def __init__(self, time: Passing, service_ms: Callable[[], float]) -> None:
        self._time, self._service_ms = time, service_ms

    def prepare(self, inputs: Any) -> Any:
        return inputs

    def run(self, inputs: Any) -> Any:
        self._time.ns += round(self._service_ms() * 1e6)
        return inputs


def search(service_ms: float | Callable[[], float] = 10.0, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """One replica that takes this long for an item, in virtual time."""
    load, time = {**LOAD, **changes}, Passing()
    runner: Any = Working(time, service_ms if callable(service_ms) else lambda: service_ms)
    order = np.arange(16)

    def ask(bucket: int, samples: np.ndarray) -> Request:
        return Request(runner, None, samples, bucket, 1)

    stock = Stock([runner], [lambda rows: (rows,)], order, np.zeros(16, np.int64), 1, ask)
    shared = Shared(probing.count_cells(load["probes"], 1))
    pace = 100.0 if callable(service_ms) else 1e3 / service_ms
    warm = Warm([ask(0, order[:1])], pace, 4, lambda: time.ns)
    return probing.run_search(warm, stock, load, EFFORT, 0, probing.Team(shared, 1, time.clock))


def test_last_window_runs_at_the_capacity() -> None:
    (window, arrays), found = search()
    # 10 ms each, and 99 % within 40 ms: M/D/1 allows 46.3 items/s (as in tests/worker/load/test_capacity.py)
    assert found.items_per_s == pytest.approx(46.3, rel=0.12)
    assert (found.slo_p99_ms, found.converged, found.note) == (40.0, True, "")
    assert len(found.curve) <= LOAD["probes"]
    first = found.curve[0]
    assert first.rate == pytest.approx(70.0)
    assert first.latency_ms["min"] == pytest.approx(10.0)
    assert first.latency_ms["p50"] == pytest.approx(15.0, rel=0.25)
    assert first.throughput_items_per_s == pytest.approx(70.0, rel=0.1)
    to_json(found)
    assert arrays["window_ns"][1] == 60e9
    assert len(arrays["arrived_ns"]) == pytest.approx(60 * found.items_per_s, rel=0.15)
    latency = arrays["done_ns"] - arrays["due_ns"]
    assert np.percentile(latency, 99) / 1e6 == pytest.approx(40.0, rel=0.35)
    assert len(window.kept) == 4


def test_probes_count_late_items_and_detect_a_growing_queue() -> None:
    _, found = search(slo_p99_ms=60_000.0)
    assert found.items_per_s == pytest.approx(100.0, rel=0.1)
    assert "this is what it can do at most" in found.note
    assert {row.overloaded for row in found.curve if row.rate > 125} <= {True}
    assert {row.overloaded for row in found.curve if row.rate < 95} == {False}


def test_capacity_zero_still_measures_the_slowest_rate() -> None:
    (_, arrays), found = search(slo_p99_ms=9.0)
    assert found.items_per_s == 0.0
    assert "the quickest 10 ms" in found.note
    assert all(row.late_share == 1.0 for row in found.curve)
    assert len(arrays["due_ns"]) > 0


def test_single_stall_does_not_decide() -> None:
    served = 0

    def service_ms() -> float:
        nonlocal served
        served += 1
        return 5000.0 if served == 700 else 10.0  # in the first probe

    _, found = search(service_ms)
    assert found.curve[0].late_share > 0.1
    assert found.items_per_s == pytest.approx(46.3, rel=0.12)


def test_rate_with_hardly_any_arrivals_is_no_error() -> None:
    (_, arrays), found = search(200_000.0, slo_p99_ms=500_000.0, probes=3)
    assert math.isfinite(found.items_per_s)
    assert found.curve
    assert arrays["window_ns"][1] == 180e9  # three times as long as asked for


def test_latencies_are_exact_to_a_percent() -> None:
    latency = np.random.default_rng(0).lognormal(2.0, 1.0, 5000) * 1e6
    counts = np.bincount(probing._bin_latencies(latency), minlength=probing.BINS)
    told = probing._read_percentiles(int(latency.min()), counts, 5000)
    for name, q in (("p50", 50), ("p90", 90), ("p99", 99)):
        assert told[name] == pytest.approx(np.percentile(latency, q, method="inverted_cdf") / 1e6, rel=0.0101)
    unanswered = probing._read_percentiles(int(latency.min()), counts, 5400)
    assert set(unanswered) == {"min", "p50", "p90"}
    assert probing._read_percentiles(0, np.zeros(probing.BINS, np.int64), 10) == {}


def test_replicas_sum_up_the_same_and_start_together() -> None:
    """Threads in the place of processes: they share memory alike."""
    shared = Shared(probing.count_cells(3, 1))
    order = np.arange(8)
    told: dict[int, tuple[Any, CapacityFacts]] = {}

    def replica(number: int) -> None:
        class Quick:
            asynchronous = False

            def prepare(self, inputs: Any) -> Any:
                return inputs

            def run(self, inputs: Any) -> Any:
                return inputs

        runner: Any = Quick()

        def ask(bucket: int, samples: np.ndarray) -> Request:
            return Request(runner, None, samples, bucket, 1)

        stock = Stock([runner], [lambda rows: (rows,)], order, np.zeros(8, np.int64), 1, ask)
        warm = Warm([ask(0, order[:1])], 100.0, 4, gate.wait)
        effort = make_effort(0.05, 1)
        load = {**LOAD, "probes": 3, "slo_p99_ms": 1000.0}
        told[number] = probing.run_search(warm, stock, load, effort, 0, probing.Team(shared, 2))

    gate = threading.Barrier(2)
    threads: Sequence[threading.Thread] = [threading.Thread(target=replica, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert told[0][1].curve
    assert [row.rate for row in told[0][1].curve] == [row.rate for row in told[1][1].curve]
    (_, first), (_, second) = (told[number][0] for number in range(2))
    assert first["window_ns"].tolist() == second["window_ns"].tolist()
    assert sorted([*first["due_ns"], *second["due_ns"]]) == first["arrived_ns"].tolist()


@pytest.mark.usefixtures("warm_pool")
def test_a_sweep_of_capacities_ranks_by_them(tmp_path: Path) -> None:
    status, history = sweep(
        tmp_path,
        "load=capacity",
        "load.slo_p99_ms=60",
        "load.probes=3",
        "load.max_wait_ms=1",
        "objective=max_capacity",
        "replicas=2",
        "backend.options.latency_ms=4",
        "effort.repeats=2",
        "effort.window_seconds=0.2",
        *BUSY,
    )
    assert status == 0
    (record,) = history.records.values()
    assert record.metrics is not None
    capacity = record.metrics["capacity_items_per_s"]
    for repeat in record.repeats:
        found = repeat.capacity
        assert found is not None
        assert found.slo_p99_ms == 60.0
        assert 1 <= len(found.curve) <= 3
        assert all(row.items > 0 for row in found.curve)
    assert capacity == pytest.approx(np.mean([r.capacity.items_per_s if r.capacity else 0.0 for r in record.repeats]))
    assert capacity > 0
    assert record.metrics["capacity_items_per_s_low"] <= capacity <= record.metrics["capacity_items_per_s_high"]

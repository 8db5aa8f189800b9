"""The timed loop counts what it should, warms up until steady, and keeps the outputs of the timed requests."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import files
from sweep.backends.base import Arrays, Runner
from sweep.spec import TrialError
from sweep.worker import batching
from sweep.worker import window as measure
from sweep.worker.window import Request, Window


class Doubling(Runner):
    """Answers twice its input; may be told to take longer at first."""

    precision = "fp32"

    def __init__(self, slow_calls: int = 0, slow_seconds: float = 0.0) -> None:
        self.calls = 0
        self.slow_calls, self.slow_seconds = slow_calls, slow_seconds

    def run(self, request: Any) -> Arrays:
        self.calls += 1
        if self.calls <= self.slow_calls:
            time.sleep(self.slow_seconds)
        return (request[0] * 2.0,)


def requests_over(count: int, batch: int, runner: Runner) -> list[Request]:
    data = np.arange(count, dtype=np.float32)
    return [Request(runner, (data[items],), items) for items in batching.make_batches(np.arange(count), batch, 0)]


def test_outputs_hold_every_timed_sample_once() -> None:
    runner = Doubling()
    requests = requests_over(10, 4, runner)
    window = measure.run_timed_window(requests, measure.clock(), 0.02, 3, keep=100)
    index, outputs = measure.collect_outputs(window)
    assert index.tolist() == list(range(10))
    assert (outputs[0] == index * 2.0).all()


def test_window_stretches_to_enough_requests_up_to_a_limit() -> None:
    runner = Doubling(slow_calls=10**6, slow_seconds=0.005)
    requests = requests_over(4, 1, runner)
    begin = measure.clock()
    window = measure.run_timed_window(requests, begin, 0.02, 8, keep=4)
    assert len(window.end_ns) >= 8
    few = measure.run_timed_window(requests, measure.clock(), 0.02, 10**6, keep=4)
    assert 8 <= len(few.end_ns) <= 12 + 1  # three windows of 20 ms hold at most 12 requests of 5 ms


def test_samples_are_ordered_and_do_not_overlap() -> None:
    requests = requests_over(10, 2, Doubling())
    window = measure.run_timed_window(requests, measure.clock(), 0.01, 1, keep=1)
    assert (window.end_ns >= window.start_ns).all()
    assert (window.start_ns[1:] >= window.end_ns[:-1]).all()


def test_warm_up_waits_for_slow_first_requests() -> None:
    runner = Doubling(slow_calls=12, slow_seconds=0.002)
    requests = requests_over(10, 2, runner)
    report = measure.warm_up(requests, 0.01, 5.0)
    assert report["stable"]
    assert report["requests"] == runner.calls > 12
    assert report["chunk_ms_p50"][-1] < report["chunk_ms_p50"][0]


def test_warm_up_gives_up_and_reports_it() -> None:
    class Drifting(Doubling):
        def run(self, request: Any) -> Arrays:
            time.sleep(0.0002 * (1 + self.calls % 37))
            return super().run(request)

    report = measure.warm_up(requests_over(4, 1, Drifting()), 0.005, 0.05)
    assert report["seconds"] >= 0.05 or report["stable"]


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ([1.0, 1.0], False),
        ([1, 1, 1], True),
        ([1.2, 1.1, 1.0], False),
        ([1.04, 1.02, 1.0], False),
        ([1, 1.05, 1], True),
    ],
)
def test_steady(medians: list[float], expected: bool) -> None:
    assert measure.is_steady(medians) is expected


def test_throughput_of_one_replica_is_items_over_its_window() -> None:
    starts = np.array([0, 10, 20]) * 10**6
    ends = np.array([10, 20, 30]) * 10**6
    common = measure.measure_common_window(starts, ends, np.zeros(3), items=4)
    assert common.seconds == pytest.approx(0.03)
    assert common.rate == pytest.approx(3 * 4 / 0.03)
    assert common.mean_ms == pytest.approx(10)
    assert common.counts.all()


@given(st.floats(0.001, 0.01), st.floats(0.001, 0.01))
def test_throughput_of_two_replicas_is_the_sum_of_their_rates(first: float, second: float) -> None:
    """Back-to-back requests of constant length: exact, because straddling requests count in part."""
    edges = [np.round(np.arange(0, 0.5, step) * 1e9).astype(np.int64) for step in (first, second)]
    starts = np.concatenate([edge[:-1] for edge in edges])
    ends = np.concatenate([edge[1:] for edge in edges])
    replica = np.concatenate([np.full(len(edge) - 1, number) for number, edge in enumerate(edges)])
    rate = measure.measure_common_window(starts, ends, replica, items=1).rate
    assert rate == pytest.approx(1 / first + 1 / second, rel=1e-4)


def test_wrong_output_length_is_a_shape_mismatch() -> None:
    requests = requests_over(4, 2, Doubling())
    window = Window.of([0], [1], [(0, (np.zeros((3, 1)),))], requests)
    with pytest.raises(TrialError, match="a batch of 2 gave outputs"):
        measure.collect_outputs(window)


def test_work_ratio_is_two_unless_the_runner_returns_early() -> None:
    class Early(Doubling):
        asynchronous = True

        def run(self, request: Any) -> Arrays:
            return (request[0],)

        def synchronize(self) -> None:
            time.sleep(0.02)  # the same wait however much was asked

    class Truthful(Doubling):
        def run(self, request: Any) -> Arrays:
            time.sleep(0.001)
            return (request[0],)

    def middle(runner: Doubling) -> float:
        return float(np.median([measure.measure_work_ratio(requests_over(2, 1, runner)[0]) for _ in range(5)]))

    assert middle(Early()) < 1.5
    assert middle(Truthful()) > 1.7


def test_saved_arrays_appear_whole(tmp_path: Path) -> None:
    files.save_arrays(tmp_path / "a.npz", {"x": np.arange(3)})
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]
    assert np.load(tmp_path / "a.npz")["x"].tolist() == [0, 1, 2]

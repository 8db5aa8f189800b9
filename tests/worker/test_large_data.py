"""Data that does not fit into memory: what requests rotate through, and that offline is a whole pass all the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.backends.base import Arrays
from sweep.spec import BuildSpec, Placement
from sweep.spec.requests import Artifact, MeasureRequest, Padding
from sweep.worker import data_sets, requests, window
from sweep.worker.load import generator
from sweep.worker.load.batcher import Padded, Piecewise, Stock
from sweep.worker.load.generator import Clock
from sweep.worker.load.queue import NEVER, Shared
from sweep.workloads import Dataset
from tests.support.echo import Echo, Loads
from tests.support.records import EFFORT

COUNT, WIDTH = 100, 8
SAMPLE_BYTES = 8 * WIDTH
VALUES = np.arange(COUNT * WIDTH, dtype=np.int64).reshape(COUNT, WIDTH)
BUCKETED = {"padding": Padding({"ids": [1]}), "buckets": [(4,), (8,)]}


@pytest.fixture
def serve_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server of 100 samples of which `fitting` fit into memory."""
    sizes = 1 + np.arange(COUNT)[:, None] % WIDTH
    data_sets.write_data(
        [Dataset({"ids": VALUES * (np.arange(WIDTH) < sizes)}, None, {}, sizes=sizes)], tmp_path / "sized"
    )
    data_sets.write_data([Dataset({"ids": VALUES}, None, {})], tmp_path / "data")
    monkeypatch.setattr(requests, "make_backend", lambda request, spec: Loads())

    def make(fitting: int, load: str = "saturate", batch: int = 4, **more: Any) -> requests.Server:
        monkeypatch.setattr(window, "PREPARED_BYTES", fitting * SAMPLE_BYTES)
        buckets = more.pop("buckets", [None])
        request = MeasureRequest(
            builds=tuple(Artifact(BuildSpec({}, {}, "echo", {}, "fp32", batch, b), str(tmp_path)) for b in buckets),
            data_folder=str(tmp_path / ("sized" if more else "data")),
            batch=batch,
            placements=(Placement(),),
            effort=EFFORT,
            repeat=0,
            share=0.0,
            load={"name": load},
            **more,
        )
        return requests.load_server(request, Placement())

    return make


def test_requests_rotate_through_a_random_part(serve_from: Any) -> None:
    formed = list(serve_from(20).form_requests(0.3))
    items = np.concatenate([request.items for request in formed])
    assert len(items) == len(set(items.tolist())) == 20
    assert set(items.tolist()) != set(range(30, 50))
    for request in formed:
        np.testing.assert_array_equal(request.inputs[0], VALUES[request.items])
    again, later = (
        np.concatenate([request.items for request in serve_from(20).form_requests(share)]) for share in (0.3, 0.6)
    )
    np.testing.assert_array_equal(items, again)  # a trial's repeat can be run again
    assert set(items.tolist()) != set(later.tolist())


def test_bucketed_requests_of_a_part_leave_all_of_it(serve_from: Any) -> None:
    formed = list(serve_from(80, **BUCKETED).form_requests(0.0))
    items, times = np.unique(np.concatenate([request.items for request in formed]), return_counts=True)
    assert (len(items), set(times.tolist())) == (20, {4})  # four passes, as with data that fits


def test_data_that_fits_is_taken_whole_and_in_order(serve_from: Any) -> None:
    items = np.concatenate([request.items for request in serve_from(100).form_requests(0.25)])
    assert items.tolist() == [*range(25, 100), *range(25)]


class Time:
    """A clock that requests and loading move."""

    def __init__(self) -> None:
        self.ns = 0

    def now(self) -> int:
        return self.ns

    def wait(self, until_ns: int) -> None:
        self.ns = max(self.ns, until_ns)


class Device(Echo):
    """Takes 1 ms."""

    def __init__(self, time: Time) -> None:
        self.time = time

    def run(self, request: Any) -> Any:
        self.time.ns += 1_000_000
        return request


@pytest.mark.parametrize("more", [{}, BUCKETED, {**BUCKETED, "buckets": [()]}], ids=["plain", "buckets", "dynamic"])
def test_offline_is_a_whole_pass_and_reading_is_not_timed(serve_from: Any, more: Any) -> None:
    server, time, moved = serve_from(20, "offline", **more), Time(), []
    device = Device(time)

    def read_slowly() -> None:
        moved.append(time.ns)
        time.ns += 10**12

    stock = server.stock(0.0, read_slowly)._replace(runners=[device] * len(server.specs))
    queue = generator.make_queue(stock, np.zeros(COUNT, np.int64), 0.0, Shared(len(server.specs) + 1))
    served = generator.serve(queue, stock, 0, NEVER, 10**6, Clock(time.now, time.wait))
    opened, arrays = generator.collect_window(served, queue, stock, 0, 0.0)
    items = np.concatenate([request.items for request in opened.requests])
    assert sorted(items.tolist()) == list(range(COUNT))
    assert len(moved) >= COUNT // 20 - len(server.specs)
    count = len(opened.requests)
    assert opened.start_ns.tolist() == [1_000_000 * number for number in range(count)]
    assert arrays["done_ns"].max() == 1_000_000 * count
    for request, (_, (ids,)) in zip(opened.requests, opened.kept, strict=True):
        width = ids.shape[1]
        own = VALUES[request.items, :width]
        if more:
            own = own * (np.arange(width) < server.data.sizes[request.items])
        np.testing.assert_array_equal(ids[: len(own)], own)


@given(st.integers(1, 30), st.integers(1, 12), st.lists(st.tuples(st.integers(0, 99), st.integers(1, 6)), max_size=20))
def test_pieces_give_the_rows_that_are_asked_for(count: int, most: int, asked: list[tuple[int, int]]) -> None:
    samples = np.random.RandomState(0).permutation(50)[:count]
    values = np.arange(50)

    def read(some: np.ndarray) -> Any:
        assert len(some) <= max(most, 6)
        return Padded(some, (values[some],))

    line = Piecewise(samples, max(most, min(count, 6)), read)
    for first, size in asked:
        rows = samples.take(np.arange(first, first + min(size, count)), mode="wrap")
        if not line.holds(rows):
            line.load(rows)
        (given_rows,) = line(rows)
        np.testing.assert_array_equal(given_rows, values[rows])


def test_replicas_share_a_pass(serve_from: Any) -> None:
    """Each has pieces of its own; together they answer every sample once."""
    servers, shared = [serve_from(20, "offline") for _ in range(2)], Shared(2)
    time = Time()
    stocks: list[Stock] = [server.stock(0.0, lambda: None)._replace(runners=[Device(time)]) for server in servers]
    queues = [generator.make_queue(stock, np.zeros(COUNT, np.int64), 0.0, shared) for stock in stocks]
    seen: list[int] = []
    number = 0
    while queues[0].ready_ns() < NEVER:
        queue, stock = queues[number % 2], stocks[number % 2]
        claim = queue.claim(0)
        assert claim is not None
        samples = queue.items(claim)
        stock.load(0, samples)
        inputs: Arrays = stock.inputs(0, samples)[1]
        np.testing.assert_array_equal(inputs[0], VALUES[samples])
        seen += samples.tolist()
        number += 1
    assert sorted(seen) == list(range(COUNT))

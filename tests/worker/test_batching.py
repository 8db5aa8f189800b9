"""Samples to requests: every sample in a bucket that holds it, in the order of arrival, padded and never cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.backends.base import Runner
from sweep.spec.requests import Padding
from sweep.worker import batching, by_size
from sweep.worker import window as measure

sizes = st.tuples(st.integers(1, 50), st.integers(1, 50))


@given(count=st.integers(1, 40), batch=st.integers(1, 50), offset=st.integers(0, 100))
def test_batches_are_full_and_cover_everything(count: int, batch: int, offset: int) -> None:
    made = batching.make_batches(np.arange(count), batch, offset)
    assert all(len(items) == batch for items in made)
    assert set(np.concatenate(made).tolist()) == set(range(count))
    assert len(made) == -(-count // batch)
    assert made[0][0] == offset % count


@given(st.lists(sizes, min_size=1, max_size=20), st.lists(sizes, min_size=1, max_size=6))
def test_route_takes_the_smallest_bucket_that_fits(
    items: list[tuple[int, int]], buckets: list[tuple[int, int]]
) -> None:
    for (height, width), chosen in zip(items, batching.route(np.array(items), buckets), strict=True):
        fitting = [h * w for h, w in buckets if height <= h and width <= w]
        if chosen == -1:
            assert not fitting
        else:
            h, w = buckets[chosen]
            assert height <= h
            assert width <= w
            assert h * w == min(fitting)


def test_single_size_stands_for_all_dimensions() -> None:
    assert batching.route(np.array([(100, 200)]), [(128,), (224,)]).tolist() == [1]
    assert batching.resize(np.ones((2, 3, 4, 5)), [2, 3], batching.widen((6,), 2), 0.0).shape == (2, 3, 6, 6)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.integers(1, 6), st.integers(0, 50))
def test_requests_form_in_the_order_of_arrival(chosen: list[int], batch: int, offset: int) -> None:
    """Within a bucket nobody overtakes; nothing is lost; only the last request of a bucket may be short."""
    formed = batching.queue_batches(np.array(chosen), batch, offset)
    passes = batching.PASSES if batch > 1 else 1
    arrivals = np.tile(np.roll(np.arange(len(chosen)), -(offset % len(chosen))), passes)
    for bucket in set(chosen):
        mine = [items for number, items in formed if number == bucket]
        assert np.concatenate(mine).tolist() == [item for item in arrivals if chosen[item] == bucket]
        assert all(len(items) == batch for items in mine[:-1])
    assert sum(len(items) for _, items in formed) == len(arrivals)


@given(
    own=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    bucket=st.integers(7, 12),
    side=st.sampled_from(["left", "right"]),
    value=st.integers(-2, 2),
)
def test_padding_keeps_every_sample_whole(own: list[int], bucket: int, side: str, value: int) -> None:
    stored = np.full((len(own), 7), value)
    for row, size in enumerate(own):
        stored[row, :size] = np.arange(1, size + 1) * 10
    shape = Padding({"x": [1]}, {"x": float(value)}, side)
    lengths = np.array(own)[:, None]
    (made,) = batching.fit_samples({"x": stored}, np.arange(len(own)), (bucket,), shape, lengths)
    assert made.shape == (len(own), bucket)
    for row, size in enumerate(own):
        kept = made[row, :size] if side == "right" else made[row, bucket - size :]
        padding = made[row, size:] if side == "right" else made[row, : bucket - size]
        assert kept.tolist() == (np.arange(1, size + 1) * 10).tolist()
        assert (padding == value).all()


def test_two_dimensions_are_padded_on_their_side() -> None:
    stored = np.zeros((1, 3, 4))
    stored[0, :2, :3] = 5.0
    for side, corner in (("right", (slice(0, 2), slice(0, 3))), ("left", (slice(2, 4), slice(3, 6)))):
        shape = Padding({"x": [1, 2]}, 0.0, side)
        (made,) = batching.fit_samples({"x": stored}, np.array([0]), (4, 6), shape, np.array([[2, 3]]))
        assert (made[0][corner] == 5.0).all()
        assert made.sum() == 30.0


def test_padding_side_holds_without_buckets() -> None:
    stored = np.array([[1, 2, 0, 0], [3, 4, 5, 6]])
    shape, sizes = Padding({"x": [1]}, 0.0, "left"), np.array([[2], [4]])
    (made,) = batching.fit_samples({"x": stored}, np.array([0, 1]), None, shape, sizes)
    assert made.tolist() == [[0, 0, 1, 2], [3, 4, 5, 6]]


def test_smaller_bucket_cuts_padding_only() -> None:
    stored = np.array([[1, 2, 0, 0, 0]])
    (made,) = batching.fit_samples({"x": stored}, np.array([0]), (3,), Padding({"x": [1]}), np.array([[2]]))
    assert made.tolist() == [[1, 2, 0]]


def test_misfits_are_counted_and_reported() -> None:
    lengths = np.array([[3], [70], [9], [120]])
    assert batching.route(lengths, [(8,), (64,)]).tolist() == [0, -1, 1, -1]
    told = batching.describe_misfits(lengths, [(8,), (64,)])
    assert told == "2 of 4 inputs fit no bucket of [[8], [64]]: the largest is 120; add a bucket of 120"


def test_examples_to_build_from_fit_the_bucket() -> None:
    lengths = np.array([[30], [5], [6]])
    assert batching.choose_examples(lengths, (8,), 4, 3).tolist() == [1, 2, 1, 2]
    assert batching.choose_examples(lengths, (4,), 2, 3).tolist() == [
        0,
        1,
    ]  # none does: one is shortened, as an example only
    assert batching.choose_examples(None, None, 4, 3).tolist() == [0, 1, 2, 0]


class Echo(Runner):
    def run(self, request: object) -> object:
        return request


def test_rows_that_fill_up_a_short_batch_do_not_count() -> None:
    data = np.arange(5, dtype=np.float32)
    runner = Echo()
    full = measure.Request(runner, (data[:4],), np.arange(4), 0, 4)
    short = measure.Request(runner, (np.resize(data[4:], 4),), np.array([4]), 0, 4)
    window = measure.run_timed_window([full, short], measure.clock(), 0.001, 4, keep=2)
    index, (answers,) = measure.collect_outputs(window)
    assert index.tolist() == [0, 1, 2, 3, 4]
    assert answers.tolist() == data.tolist()
    asked = by_size.sum_work(window).arrays
    assert asked["items"][:4].tolist() == [4, 1, 4, 1]
    assert asked["bucket"].tolist() == [0] * len(asked["bucket"])
    ones = np.arange(2) * 100
    common = measure.measure_common_window(ones, ones + 100, np.zeros(2), np.array([4, 1]))
    assert common.rate * common.seconds == pytest.approx(5.0)

"""The queue and its batcher against theory, on a clock of their own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.worker.load import account, arrivals
from sweep.worker.load.queue import NEVER, Queue, Shared
from tests.support import queueing_theory

MS = 1_000_000
GAPS = st.lists(st.integers(0, 30), min_size=1, max_size=60)  # in ms, between arrivals


def queue_of(due_ns: np.ndarray, batch: int = 1, wait_ns: int = 0, buckets: list[int] | None = None) -> Queue:
    """Samples 0, 1, 2, ... in turn, each in its bucket."""
    bucket_of = np.array(buckets or [0])
    return Queue(due_ns, np.arange(len(bucket_of)), bucket_of, batch, wait_ns, Shared(3))


def due_of(gaps: list[int]) -> np.ndarray:
    return np.cumsum(gaps).astype(np.int64) * MS


@given(GAPS, st.integers(1, 4), st.integers(1, 25))
def test_without_batches_it_is_the_queue_of_m_d_c_to_the_nanosecond(gaps: list[int], servers: int, ms: int) -> None:
    due = due_of(gaps)
    served = queueing_theory.run(queue_of(due), ms * MS, servers)
    assert [start for start, _, _ in served] == queueing_theory.starts(due, ms * MS, servers).tolist()
    assert np.concatenate([own for _, _, own in served]).tolist() == due.tolist()


@pytest.mark.parametrize("servers", [1, 2, 4])
@pytest.mark.parametrize("busy_share", [0.3, 0.5, 0.7])
def test_percentiles_of_random_arrivals_are_those_of_theory(busy_share: float, servers: int) -> None:
    """1.5 million arrivals: by the spread over seeds, percentiles are then good to 0.2 % to 0.7 %."""
    theory, service = queueing_theory.Theory(busy_share, servers), 10 * MS
    rate = busy_share * servers * 1e9 / service
    due = arrivals.draw_poisson(rate, 1_500_000 / rate, (1, servers))
    latency = queueing_theory.latencies(due, service, servers) / service
    assert latency.mean() == pytest.approx(1 + theory.mean_wait, rel=0.02)
    for percentile in (50, 90, 95, 99):
        assert np.percentile(latency, percentile) == pytest.approx(theory.latency(percentile), rel=0.02)


@pytest.mark.parametrize("busy_share", [0.2, 0.5, 0.9])
def test_the_theory_is_that_of_pollaczek_and_khinchine_and_of_erlang(busy_share: float) -> None:
    theory = queueing_theory.Theory(busy_share)
    assert theory.mean_wait == pytest.approx(busy_share / (2 * (1 - busy_share)), rel=1e-3)
    assert theory.wait_at_most(0.0) == pytest.approx(1 - busy_share)
    assert theory.wait_at_most(0.6) == pytest.approx((1 - busy_share) * np.exp(0.6 * busy_share))


def test_a_batch_leaves_when_it_is_full_or_when_its_oldest_item_has_waited() -> None:
    due = np.array([0, 1, 2, 3, 50, 51, 200]) * MS
    served = queueing_theory.run(queue_of(due, batch=4, wait_ns=10 * MS), 1 * MS)
    assert [(start // MS, len(own)) for start, _, own in served] == [(3, 4), (60, 2), (210, 1)]


def test_what_arrived_while_the_server_was_busy_leaves_together() -> None:
    due = np.array([0, 1, 2, 3, 4, 5, 6]) * MS
    served = queueing_theory.run(queue_of(due, batch=4, wait_ns=0), 5 * MS)
    assert [(start // MS, len(own)) for start, _, own in served] == [(0, 1), (5, 4), (10, 2)]


@given(
    GAPS,
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 40),
    st.integers(1, 20),
    st.lists(st.integers(0, 2), min_size=1, max_size=7),
)
def test_every_item_is_served_once_in_order_and_never_early(
    gaps: list[int], servers: int, batch: int, wait: int, ms: int, buckets: list[int]
) -> None:
    due, bucket_of = due_of(gaps), np.array(buckets)
    served = queueing_theory.run(queue_of(due, batch, wait * MS, buckets), ms * MS, servers)
    assert sorted(np.concatenate([own for _, _, own in served]).tolist()) == due.tolist()
    lines: dict[int, list[int]] = {}
    for start, samples, own in served:
        assert len({int(bucket_of[sample]) for sample in samples}) == 1  # a batch has one shape
        assert len(own) <= batch
        assert start >= own.max()  # nobody leaves before he has arrived
        assert len(own) == batch or start >= own.min() + wait * MS
        lines.setdefault(int(bucket_of[samples[0]]), []).extend(own.tolist())
    assert all(line == sorted(line) for line in lines.values())


@given(GAPS, st.integers(1, 5), st.integers(0, 40))
def test_an_idle_server_lets_nobody_wait_longer_than_was_asked(gaps: list[int], batch: int, wait: int) -> None:
    for start, _, own in queueing_theory.run(queue_of(due_of(gaps), batch, wait * MS), 0):
        assert start <= own.min() + wait * MS


def test_buckets_wait_in_lines_of_their_own() -> None:
    due = np.array([0, 1, 2, 3]) * MS  # samples 0, 1, 0, 1
    served = queueing_theory.run(queue_of(due, batch=2, wait_ns=100 * MS, buckets=[0, 1]), 1 * MS)
    assert [(start // MS, samples.tolist()) for start, samples, _ in served] == [(2, [0, 0]), (3, [1, 1])]


def test_nobody_takes_what_another_has_taken() -> None:
    shared, due = Shared(1), np.zeros(5, np.int64)
    first, second = (Queue(due, np.arange(5), np.zeros(5, int), 2, 0, shared) for _ in range(2))
    claims = [first.claim(0), second.claim(0), first.claim(0), second.claim(0)]
    assert [None if claim is None else (claim.first, claim.size) for claim in claims] == [(0, 2), (2, 2), (4, 1), None]
    assert first.ready_ns() == second.ready_ns() == NEVER


def grew(busy_share: float, seed: int, arriving: int = 2000) -> bool:
    service = 1 * MS
    seconds = arriving * service / busy_share / 1e9
    due = arrivals.draw_poisson(busy_share * 1e9 / service, seconds, (seed, 0))
    done = queueing_theory.starts(due, service) + service
    return account.is_growing(account.count_waiting(due, done, 0, round(seconds * 1e9)))


def test_a_queue_that_grows_is_told_from_one_that_fluctuates() -> None:
    assert sum(grew(0.9, seed) for seed in range(300)) <= 3
    assert sum(grew(0.6, seed) for seed in range(300)) <= 3
    assert all(grew(1.5, seed) for seed in range(50))
    assert all(grew(50.0, seed) for seed in range(50))
    assert not account.is_growing(np.zeros(11))
    assert account.is_growing(np.arange(11))

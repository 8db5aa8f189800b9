"""`load=capacity` in the worker: one load and one warm-up, then a window of arrivals for every rate of the search.

All replicas serve every window together. Each runs the same search on the same sums, which stand in memory that they
share, so all take the same next step without talking. The last window, at the capacity, is the one whose throughput,
latencies and outputs count. Worker side, Python 3.8.
"""

import math
import time
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from sweep.spec import FailureKind, TrialError
from sweep.spec.facts import CapacityFacts
from sweep.spec.settings import Effort
from sweep.worker.load import account, arrivals, capacity
from sweep.worker.load.batcher import Stock
from sweep.worker.load.capacity import Probe
from sweep.worker.load.generator import DRAIN, REAL, Clock, OpenWindow, Served, collect_window, make_queue, serve
from sweep.worker.load.queue import Shared
from sweep.worker.window import STRETCHED, Warm

FIRST = 0.7  # of the rate that the replicas reach back to back: tried first
ITEMS = 500  # a probe is stretched, up to the limit of windows, to hold this many
START_NS = 20_000_000  # from the moment at which all are ready to the start of a window
PATIENCE_SECONDS = 120.0  # for the slowest replica to finish a window; after that it counts as gone
STEP = 1.02  # from one bin of latencies to the next
BINS = math.ceil(math.log(1e9) / math.log(STEP))  # from 1 microsecond to 1,000 s

# Sums of all replicas in a window; then the items answered by the end of each of its parts; then the bins
READY, START, DONE, LATE, ANSWERED, LEAST, PARTS = range(7)
SUMS = PARTS + account.BLOCKS + 1


def count_cells(probes: int, buckets: int) -> int:
    """Numbers that the replicas of a trial share: their pace, and for every window its queue and its sums."""
    return 1 + (probes + 1) * (buckets + SUMS + BINS)


class Team(NamedTuple):
    """The replicas of a trial, as one of them sees them."""

    shared: Shared  # with `count_cells` cells
    replicas: int
    clock: Clock = REAL


def run_search(
    warm: Warm, stock: Stock, load: Mapping[str, Any], effort: Effort, repeat: int, team: Team
) -> Tuple[OpenWindow, CapacityFacts]:
    """One replica's part of the window at the capacity, and the result of the search."""
    items = np.mean([len(request.items) for request in warm.requests])
    team.shared.add(0, round(1e3 * warm.pace * float(items)))
    warm.start()  # all have loaded and are warm
    first_rate = FIRST * max(1, team.shared.cells[0]) / 1e3
    number = 0

    def probe(rate: float) -> Probe:
        nonlocal number
        window = _Window(stock, load, effort, repeat, rate, team, number)
        number += 1
        window.serve(min(load["slo_p99_ms"] / 1e3, window.seconds), 0)
        return window.sum_up(load["slo_p99_ms"])

    result = capacity.search(probe, first_rate, load["slo_p99_ms"], load["probes"])
    rate = result.items_per_s or min(probe.rate for probe in result.curve)
    last = _Window(stock, load, effort, repeat, rate, team, load["probes"])
    start, served = last.serve((DRAIN - 1) * last.seconds, warm.keep)
    return collect_window(served, last.queue, stock, start, last.seconds), result


class _Window:
    """One window of arrivals at one rate, for all replicas together."""

    def __init__(
        self, stock: Stock, load: Mapping[str, Any], effort: Effort, repeat: int, rate: float, team: Team, number: int
    ) -> None:
        shortest, least = effort.window_seconds, max(ITEMS, effort.min_requests * stock.rows)
        self.seconds = min(STRETCHED * shortest, max(shortest, least / rate))
        self._stock, self._team, self._rate = stock, team, rate
        due_ns = arrivals.draw_poisson(rate, self.seconds, (load["seed"], repeat, number))
        if not len(due_ns):  # at a very low rate nothing may arrive: let one item
            due_ns = np.zeros(1, np.int64)
        buckets = len(stock.runners)
        first = 1 + number * (buckets + SUMS + BINS)
        self._sums = team.shared.cells[first + buckets : first + buckets + SUMS + BINS]
        self.queue = make_queue(stock, due_ns, load["max_wait_ms"], team.shared, first)

    def serve(self, longer: float, keep: int) -> Tuple[int, Served]:
        """Answer what arrives, and what still waits for `longer` more seconds. Returns the start and the result."""
        self._start = self._together()
        until = round((self.seconds + longer) * 1e9)
        self._served = serve(self.queue, self._stock, self._start, until, keep, self._team.clock)
        return self._start, self._served

    def _together(self) -> int:
        """Start of the window in ns: `START_NS` after the last replica is ready."""
        sums, team = self._sums, self._team
        with team.shared.lock:
            sums[READY] += 1
            if sums[READY] == team.replicas:
                sums[START] = team.clock.now() + START_NS
        return self._await(START, 1)

    def _await(self, cell: int, least: int) -> int:
        """Wait until a cell holds `least` or more; returns what it holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._sums[cell] < least:
            if time.monotonic() > deadline:
                raise TrialError(FailureKind.CRASH, "a replica did not finish its probe of %g items/s" % self._rate)
            time.sleep(5e-4)
        return int(self._sums[cell])

    def sum_up(self, slo_ms: float) -> Probe:
        """The probe of all replicas; waits until each has added its sums."""
        served, sums = self._served, self._sums
        due = self._start + np.concatenate([*map(self.queue.due_of, served.claims), np.zeros(0, np.int64)])
        done = np.repeat(np.array(served.end_ns, np.int64), [claim.size for claim in served.claims])
        latency = done - due
        by_part = np.searchsorted(np.sort(done), self._moments(), side="right")
        added = {ANSWERED: len(done), LATE: int((latency > slo_ms * 1e6).sum())}
        added.update(zip(range(PARTS, SUMS), by_part.tolist()))
        bins, counts = np.unique(_bin_latencies(latency), return_counts=True)
        added.update(zip((SUMS + bins).tolist(), counts.tolist()))
        with self._team.shared.lock:
            for cell, number in added.items():
                sums[cell] += number
            if len(done):
                least = max(1, int(latency.min()))
                sums[LEAST] = min(least, sums[LEAST] or least)
            sums[DONE] += 1
        self._await(DONE, self._team.replicas)
        return self._make_probe()

    def _moments(self) -> np.ndarray:
        """The ends of the parts of the window, on the clock."""
        moments: np.ndarray = self._start + np.linspace(0, self.seconds * 1e9, account.BLOCKS + 1)
        return moments

    def _make_probe(self) -> Probe:
        sums, due_ns = self._sums, self.queue.due_ns
        arrived = np.searchsorted(due_ns, self._moments() - self._start, side="right")
        answered = np.array(sums[PARTS:SUMS], np.int64)
        return Probe(
            self._rate,
            len(due_ns),
            sums[LATE] + len(due_ns) - sums[ANSWERED],
            float(answered[-1]) / self.seconds,
            account.is_growing(arrived - answered),
            _read_percentiles(sums[LEAST], np.array(sums[SUMS:], np.int64), len(due_ns)),
        )


def _bin_latencies(latency_ns: Any) -> np.ndarray:
    """Number of the bin that each latency falls into."""
    places = np.floor(np.log(np.maximum(latency_ns, 1000) / 1000.0) / math.log(STEP)).astype(np.int64)
    clipped: np.ndarray = np.minimum(places, BINS - 1)
    return clipped


def _read_percentiles(least_ns: int, counts: np.ndarray, arrived: int) -> Dict[str, float]:
    """Minimum and percentiles in ms of all that arrived, to 1 %; without those that fall on unanswered items."""
    known = {"min": least_ns / 1e6} if least_ns else {}
    so_far: List[int] = np.cumsum(counts).tolist()
    for name, share in (("p50", 0.50), ("p90", 0.90), ("p99", 0.99)):
        rank = math.ceil(share * arrived)
        if rank <= so_far[-1]:
            known[name] = STEP ** (int(np.searchsorted(so_far, rank)) + 0.5) / 1e3
    return known

"""`load=capacity` in the worker: one load and one warm-up, then a window of arrivals for every rate of the search.

All replicas serve every window together. Each runs the same search on the same sums, which stand in memory that they
share, so nobody has to tell the others what comes next. The last window, at the capacity that was found, is the one
whose throughput, latencies and outputs count. Worker side, Python 3.8.
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
from sweep.worker.load.generator import DRAIN, REAL, Clock, Opened, Served, opened, queue_of, serve
from sweep.worker.load.queue import Shared
from sweep.worker.window import STRETCHED, Warm

FIRST = 0.7  # of what the replicas do back to back: the rate that is tried first
ITEMS = 500  # a probe is stretched, as far as windows may be, until it is expected to hold so many
START_NS = 20_000_000  # from the moment at which all are ready to the start of a window
PATIENCE_SECONDS = 120.0  # for replicas that have not finished a window; then one of them is gone
STEP = 1.02  # from one bin of latencies to the next
BINS = math.ceil(math.log(1e9) / math.log(STEP))  # from 1 microsecond to 1,000 s

# What the replicas add up in a window; behind it what was answered by the end of each part of it, and then the bins
READY, START, DONE, LATE, ANSWERED, LEAST, PARTS = range(7)
SUMS = PARTS + account.BLOCKS + 1


def cells(probes: int, buckets: int) -> int:
    """Numbers that the replicas of a trial share: their pace, and for every window its queue and its sums."""
    return 1 + (probes + 1) * (buckets + SUMS + BINS)


class Team(NamedTuple):
    """The replicas of a trial, as one of them sees them."""

    shared: Shared  # with `cells`
    replicas: int
    clock: Clock = REAL


def window(
    warm: Warm, stock: Stock, load: Mapping[str, Any], effort: Effort, repeat: int, team: Team
) -> Tuple[Opened, CapacityFacts]:
    """One replica's part of the search, and of the window at the capacity that it finds.

    Returns:
        that window, and what was found.
    """
    items = np.mean([len(request.items) for request in warm.requests])
    team.shared.add(0, round(1e3 * warm.pace * float(items)))
    warm.start()  # all have loaded and are warm
    first_rate = FIRST * max(1, team.shared.cells[0]) / 1e3
    asked = 0

    def probe(rate: float) -> Probe:
        nonlocal asked
        one = _Window(stock, load, effort, repeat, rate, team, asked)
        asked += 1
        one.serve(min(load["slo_p99_ms"] / 1e3, one.seconds), 0)
        return one.told(load["slo_p99_ms"])

    found = capacity.search(probe, first_rate, load["slo_p99_ms"], load["probes"])
    rate = found.items_per_s or min(probe.rate for probe in found.curve)
    last = _Window(stock, load, effort, repeat, rate, team, load["probes"])
    start, served = last.serve((DRAIN - 1) * last.seconds, warm.keep)
    facts = CapacityFacts(load["slo_p99_ms"], found.items_per_s, found.converged, found.curve, found.note)
    return opened(served, last.queue, stock, start, last.seconds), facts


class _Window:
    """One window of arrivals at one rate, for all replicas together."""

    def __init__(
        self, stock: Stock, load: Mapping[str, Any], effort: Effort, repeat: int, rate: float, team: Team, number: int
    ) -> None:
        shortest, least = effort.window_seconds, max(ITEMS, effort.min_requests * stock.rows)
        self.seconds = min(STRETCHED * shortest, max(shortest, least / rate))
        self._stock, self._team, self._rate = stock, team, rate
        due_ns = arrivals.poisson(rate, self.seconds, (load["seed"], repeat, number))
        if not len(due_ns):  # so slow that none came: one did
            due_ns = np.zeros(1, np.int64)
        buckets = len(stock.runners)
        first = 1 + number * (buckets + SUMS + BINS)
        self._sums = team.shared.cells[first + buckets : first + buckets + SUMS + BINS]
        self.queue = queue_of(stock, due_ns, load["max_wait_ms"], team.shared, first)

    def serve(self, longer: float, keep: int) -> Tuple[int, Served]:
        """Answer what arrives, and for so many more seconds what waits then. Returns (start, what was done)."""
        self._start = self._together()
        until = round((self.seconds + longer) * 1e9)
        self._served = serve(self.queue, self._stock, self._start, until, keep, self._team.clock)
        return self._start, self._served

    def _together(self) -> int:
        """When the window starts: a moment after the last replica has got ready."""
        sums, team = self._sums, self._team
        with team.shared.lock:
            sums[READY] += 1
            if sums[READY] == team.replicas:
                sums[START] = team.clock.now() + START_NS
        return self._await(START, 1)

    def _await(self, cell: int, least: int) -> int:
        """What stands in a cell as soon as it is `least` or more."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._sums[cell] < least:
            if time.monotonic() > deadline:
                raise TrialError(FailureKind.CRASH, "a replica did not finish its probe of %g items/s" % self._rate)
            time.sleep(5e-4)
        return int(self._sums[cell])

    def told(self, slo_ms: float) -> Probe:
        """What all replicas have seen."""
        served, sums = self._served, self._sums
        due = self._start + np.concatenate([*map(self.queue.due_of, served.claims), np.zeros(0, np.int64)])
        done = np.repeat(np.array(served.end_ns, np.int64), [claim.size for claim in served.claims])
        latency = done - due
        by_part = np.searchsorted(np.sort(done), self._moments(), side="right")
        added = {ANSWERED: len(done), LATE: int((latency > slo_ms * 1e6).sum())}
        added.update(zip(range(PARTS, SUMS), by_part.tolist()))
        bins, counts = np.unique(_bins(latency), return_counts=True)
        added.update(zip((SUMS + bins).tolist(), counts.tolist()))
        with self._team.shared.lock:
            for cell, number in added.items():
                sums[cell] += number
            if len(done):
                least = max(1, int(latency.min()))
                sums[LEAST] = min(least, sums[LEAST] or least)
            sums[DONE] += 1
        self._await(DONE, self._team.replicas)
        return self._sum_up()

    def _moments(self) -> np.ndarray:
        """The ends of the parts of the window, on the clock."""
        moments: np.ndarray = self._start + np.linspace(0, self.seconds * 1e9, account.BLOCKS + 1)
        return moments

    def _sum_up(self) -> Probe:
        sums, due_ns = self._sums, self.queue.due_ns
        arrived = np.searchsorted(due_ns, self._moments() - self._start, side="right")
        answered = np.array(sums[PARTS:SUMS], np.int64)
        return Probe(
            self._rate,
            len(due_ns),
            sums[LATE] + len(due_ns) - sums[ANSWERED],
            float(answered[-1]) / self.seconds,
            account.grows(arrived - answered),
            _latencies(sums[LEAST], np.array(sums[SUMS:], np.int64), len(due_ns)),
        )


def _bins(latency_ns: Any) -> np.ndarray:
    """Number of the bin that each latency falls into."""
    places = np.floor(np.log(np.maximum(latency_ns, 1000) / 1000.0) / math.log(STEP)).astype(np.int64)
    clipped: np.ndarray = np.minimum(places, BINS - 1)
    return clipped


def _latencies(least_ns: int, counts: np.ndarray, arrived: int) -> Dict[str, float]:
    """Milliseconds: the least, and percentiles of all that arrived, to 1 %, as far as so many were answered."""
    known = {"min": least_ns / 1e6} if least_ns else {}
    so_far: List[int] = np.cumsum(counts).tolist()
    for name, share in (("p50", 0.50), ("p90", 0.90), ("p99", 0.99)):
        rank = math.ceil(share * arrived)
        if rank <= so_far[-1]:
            known[name] = STEP ** (int(np.searchsorted(so_far, rank)) + 0.5) / 1e3
    return known

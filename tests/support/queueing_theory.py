"""What queues of random arrivals and constant service do, by theory and by recursion.

M/D/c: arrivals of a Poisson process, each served for the same time by the first of c servers that is free, in order.
"""

from __future__ import annotations

import heapq
import math

import numpy as np

from sweep.worker.load.queue import NEVER, Queue

STATES = 400  # customers in the system, at most; more are unthinkable below 90 % load


class Theory:
    """The stationary waiting time in M/D/c, in service times."""

    def __init__(self, busy_share: float, servers: int = 1) -> None:
        """
        Args:
            busy_share: of each server, below 1.
        """
        self.servers = servers
        self.offered = busy_share * servers
        self.in_system = _in_system(self.offered, servers)
        self._at_most = np.cumsum(self.in_system)

    @property
    def mean_wait(self) -> float:
        """By Little's law, from the mean number that waits."""
        waiting = np.maximum(np.arange(STATES) - self.servers, 0)
        return float((self.in_system * waiting).sum() / self.offered)

    def wait_at_most(self, wait: float) -> float:
        """P(W <= wait): Franx 2001, Operations Research Letters 29:221-229, a form of Crommelin 1932 (Post Office
        Electrical Engineers' Journal 25:41-50) and for one server of Erlang 1909 without alternating signs."""
        whole = math.floor(wait) + 1
        terms = np.arange(whole * self.servers)
        queued = np.minimum(whole * self.servers - 1 - terms + self.servers, STATES - 1)
        return float((self._at_most[queued] * _poisson(self.offered * (whole - wait), len(terms))).sum())

    def latency(self, percentile: float) -> float:
        """Waiting and service together, by bisection."""
        low, high = 0.0, float(STATES)
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (low, middle) if self.wait_at_most(middle) >= percentile / 100 else (middle, high)
        return 1.0 + high


def _poisson(mean: float, count: int) -> np.ndarray:
    """P(N = 0), P(N = 1), ..."""
    ahead = np.log(np.maximum(mean, 1e-300)) - np.log(np.maximum(np.arange(count), 1))
    ahead[:1] = -mean
    return np.exp(np.cumsum(ahead))


def _in_system(offered: float, servers: int) -> np.ndarray:
    """P(n customers are there). Over one service time all who are served leave, and a Poisson number arrives."""
    step = np.zeros((STATES, STATES))
    for have in range(STATES):
        left = max(have - servers, 0)
        step[have, left:] = _poisson(offered, STATES - left)
        step[have, -1] += 1 - step[have].sum()
    balance = np.vstack([step.T - np.eye(STATES), np.ones(STATES)])
    return np.linalg.lstsq(balance, np.append(np.zeros(STATES), 1.0), rcond=None)[0]


def starts(due_ns: np.ndarray, service_ns: int, servers: int = 1) -> np.ndarray:
    """When each customer's service begins: the later of his arrival and the end of that of the c-th before him.

    Constant service keeps customers in order, so that every c-th has the same server.
    """
    begin = np.empty_like(due_ns)
    for first in range(servers):
        mine = due_ns[first::servers]
        before = np.arange(len(mine)) * service_ns
        begin[first::servers] = np.maximum.accumulate(mine - before) + before
    return begin


def latencies(due_ns: np.ndarray, service_ns: int, servers: int = 1) -> np.ndarray:
    return starts(due_ns, service_ns, servers) + service_ns - due_ns


def run(queue: Queue, service_ns: int, servers: int = 1) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """Serve what the queue holds without real time: (start, samples, due) of every batch, in the order of service."""
    free = [0] * servers
    served = []
    while free:
        now = heapq.heappop(free)
        claim = queue.claim(now)
        if claim is not None:
            served.append((now, queue.items(claim), queue.due_of(claim)))
            heapq.heappush(free, now + service_ns)
        elif queue.ready_ns() < NEVER:
            heapq.heappush(free, queue.ready_ns())
    return served

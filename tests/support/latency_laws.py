"""Laws of latency whose percentiles are known exactly, with and without memory: for tests and benchmarks of claims."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.signal import lfilter
from scipy.special import ndtr

Draw = Callable[[np.random.Generator, int], np.ndarray]


@dataclass(frozen=True)
class Law:
    """Latency in ms of requests in a row, stationary from the first one on."""

    name: str
    beyond: Callable[[float], float]  # probability that a request takes longer
    draw: Draw
    bunch: float = 1.0  # late requests that come together, about

    def quantile(self, q: float) -> float:
        return float(math.exp(brentq(lambda log: self.beyond(math.exp(log)) - (1 - q), -7.0, 12.0, xtol=1e-13)))


def normal_beyond(ms: float, middle: float, spread: float) -> float:
    """Of a log-normal law with this median."""
    return float(ndtr(-math.log(ms / middle) / spread))


def log_normal(spread: float = 0.5) -> Law:
    return Law(
        f"log-normal, spread {spread}",
        lambda ms: normal_beyond(ms, 1.0, spread),
        lambda random, n: random.lognormal(0.0, spread, n),
    )


def bimodal(slow: float = 0.03) -> Law:
    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        return np.where(random.random(n) < slow, 5.0, 1.0) * random.lognormal(0.0, 0.2, n)

    def beyond(ms: float) -> float:
        return (1 - slow) * normal_beyond(ms, 1.0, 0.2) + slow * normal_beyond(ms, 5.0, 0.2)

    return Law(f"bimodal, {slow:.0%} five times as slow", beyond, draw)


def pareto(tail: float = 1.5) -> Law:
    return Law(
        f"Pareto, tail {tail}", lambda ms: min(1.0, ms**-tail), lambda random, n: random.random(n) ** (-1.0 / tail)
    )


def modulated(memory: float) -> Law:
    """Log-normal with a level that is an autoregressive process of order one: x' = memory x + noise."""
    level, own = 0.4, 0.2
    spread = math.hypot(level, own)

    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        noise = random.standard_normal(n) * math.sqrt(1 - memory * memory)
        noise[0] = random.standard_normal()
        walk = lfilter([1.0], [1.0, -memory], noise)
        return np.asarray(np.exp(level * walk + own * random.standard_normal(n)))

    name = f"level with memory {memory}"
    return Law(name, lambda ms: normal_beyond(ms, 1.0, spread), draw, 1.0 / (1.0 - memory))


def bursts(length: float, share: float = 0.02) -> Law:
    """Quiet, and slow by four in bursts that end at random after so many requests; about half of those are late."""
    quiet_length = length * (1 - share) / share

    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        slow_first, parts, total = bool(random.random() < share), [], 0
        while total < n:
            means = np.tile([length, quiet_length] if slow_first else [quiet_length, length], 8)
            lengths = random.geometric(1 / means)
            parts.append(np.repeat(np.tile([slow_first, not slow_first], 8), lengths))
            total += int(lengths.sum())
        state = np.concatenate(parts)[:n]
        return np.where(state, 4.0, 1.0) * random.lognormal(0.0, np.where(state, 0.3, 0.2))

    def beyond(ms: float) -> float:
        return (1 - share) * normal_beyond(ms, 1.0, 0.2) + share * normal_beyond(ms, 4.0, 0.3)

    return Law(f"bursts of {length:g}", beyond, draw, length)


def queue(load: float = 0.8) -> Law:
    """Random arrivals at one server that takes 1 ms for each (M/D/1): waiting and being served.

    P(wait <= t) = (1 - load) sum over k <= t of (load (k - t))^k / k! exp(-load (k - t)) (Erlang 1909).
    """

    def draw(random: np.random.Generator, n: int) -> np.ndarray:
        before = 1000
        walk = np.cumsum(1.0 - random.exponential(1.0 / load, n + before))
        wait = walk - np.minimum.accumulate(np.minimum(walk, 0.0))
        return np.asarray(1.0 + wait[before:])

    def beyond(ms: float) -> float:
        t = ms - 1.0
        if not 0 <= t < 25:  # beyond it the terms are too large to add up, and next to nobody waits so long
            return float(t < 0)
        terms = ((load * (k - t)) ** k / math.factorial(k) * math.exp(-load * (k - t)) for k in range(int(t) + 1))
        return 1.0 - (1 - load) * math.fsum(terms)

    return Law(f"queue M/D/1 at {load:.0%}", beyond, draw, 1.0 / (1.0 - load) ** 2)

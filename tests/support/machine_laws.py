"""Sweeps on machines that are simulated: laws of noise, changes of speed; and real ones that are slowed down."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from sweep.store.ledger import Ledger
from sweep.verdict.noise.drift import Point

Random = np.random.Generator
Law = Callable[[Random, int], np.ndarray]  # (random, measurements) -> deviations of log rates, in order of measurement
STEP = 0.05  # by which each simulated trial is faster than the one before


def log_normal(sigma: float = 0.02) -> Law:
    return lambda random, count: sigma * random.standard_normal(count)


def heavy_tail(sigma: float = 0.01) -> Law:
    """Student's t with two and a half degrees of freedom: its variance is finite, hardly."""
    return lambda random, count: sigma * random.standard_t(2.5, count)


def stalls(sigma: float = 0.01, often: float = 0.1) -> Law:
    """Every so often a repeat is slower by 5 to 50 %."""

    def law(random: Random, count: int) -> np.ndarray:
        slow = np.where(random.random(count) < often, random.uniform(0.05, 0.7, count), 0.0)
        return sigma * random.standard_normal(count) - slow

    return law


def autocorrelated(phi: float = 0.5, sigma: float = 0.02) -> Law:
    """Noise of which neighbours are alike: AR(1), stationary from the first."""

    def law(random: Random, count: int) -> np.ndarray:
        fresh = random.standard_normal(count) * sigma * np.sqrt(1 - phi**2)
        noise = np.empty(count)
        noise[0] = sigma * random.standard_normal()
        for number in range(1, count):
            noise[number] = phi * noise[number - 1] + fresh[number]
        return noise

    return law


LAWS: dict[str, Law] = {
    "log-normal": log_normal(),
    "heavy tail": heavy_tail(),
    "stalls": stalls(),
    "autocorrelated 0.3": autocorrelated(0.3),
    "autocorrelated 0.5": autocorrelated(0.5),
}


def speed(begin: float, end: float = 1.0, ratio: float = 1 / 1.1) -> Callable[[np.ndarray], np.ndarray]:
    """Speed of a machine that is slow from one share of the sweep to another."""
    return lambda done: np.where((done >= begin) & (done < end), ratio, 1.0)


def simulated(
    random: Random,
    law: Law,
    trials: int = 8,
    repeats: int = 5,
    speeds: Callable[[np.ndarray], np.ndarray] = np.ones_like,
    spreads: bool = False,
) -> list[Point]:
    """A sweep of interleaved blocks; trial t is `STEP` faster than trial t - 1.

    Args:
        speeds: of the machine, for the share of the sweep that is done.
        spreads: some trials are four times as noisy as others.
    """
    count = trials * repeats
    order = np.concatenate([random.permutation(trials) for _ in range(repeats)])
    wider = np.exp(random.uniform(-0.7, 0.7, trials))[order] if spreads else np.ones(count)
    logs = order * np.log1p(STEP) + wider * law(random, count) + np.log(speeds(np.arange(count) / count))
    return [
        Point(str(trial), float(1000 * np.exp(log)), str(trial), n // trials, n // trials, n % trials, float(n), str(n))
        for n, (trial, log) in enumerate(zip(order, logs, strict=True))
    ]


def ranking(points: list[Point], levels: list[float]) -> list[str]:
    """The trials by the mean logarithm of their rates at the machine's usual speed, fastest first."""
    logs: dict[str, list[float]] = {}
    for point, level in zip(points, levels, strict=True):
        logs.setdefault(point.trial, []).append(float(np.log(point.value / level)))
    return sorted(logs, key=lambda trial: -float(np.mean(logs[trial])))


@contextmanager
def slowed(file: Path, after: int) -> Iterator[None]:
    """Around a real sweep of the fake backend with `backend.options.slow`: slow when `after` repeats are done."""
    append, seen = Ledger.append, [0]

    def counting(self: Ledger, kind: str, **values: Any) -> None:
        append(self, kind, **values)
        seen[0] += kind == "repeat"
        if seen[0] == after:
            file.touch()

    with patch.object(Ledger, "append", counting):
        yield

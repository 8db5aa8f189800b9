"""Records with repeats at given rates, and how rates scatter: the laws that the verdict is tried on."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sweep.spec import Measurement, Record, Status
from sweep.spec.settings import Effort, Objective
from sweep.verdict import elimination, race, select

THROUGHPUT = Objective("max_throughput", "throughput_items_per_s", True)
RACE = Effort("until_decided", 3, 0.5, 20, 0.1, 2.0, repeats_max=40)
Law = Callable[[np.random.Generator, int, int, float], np.ndarray]


def trial(key: str, rates: Sequence[float], latency_ms: float | None = None, **metrics: float | None) -> Record:
    """An ok record whose repeats ran at these rates; latency goes with the inverse unless it is given."""
    repeats = tuple(
        Measurement(
            i, rate, 2.0, 600, 600, 1e3 / rate, {"p50": latency_ms or 1e3 / rate}, 0.1, 1.0, {}, 100.0, 1.0, "", ""
        )
        for i, rate in enumerate(rates)
    )
    mean = math.fsum(rates) / len(rates)
    known: dict[str, float | None] = {
        "throughput_items_per_s": mean,
        "throughput_items_per_s_low": 0.98 * mean,
        "throughput_items_per_s_high": 1.02 * mean,
        "latency_ms_p50": latency_ms or 1e3 / mean,
        "sample_count": 100.0,
        "build_seconds": 5.0,
        **metrics,
    }
    given = {name: value for name, value in known.items() if value is not None}
    return Record(key, f"net-{key}", {}, (), Status.OK, metrics=given, repeats=repeats, sweep="s")


def around(mean: float, spread: float = 0.005, n: int = 5, shift: int = 0) -> list[float]:
    """n rates with this relative spread, in an order that `shift` turns."""
    steps = np.linspace(-1, 1, n)
    return [mean * (1 + spread * float(steps[(i * 2 + shift) % n])) for i in range(n)]


def log_normal(random: np.random.Generator, trials: int, repeats: int, spread: float) -> np.ndarray:
    """Factors of shape (trials, repeats); blocks drift together by 5 %."""
    drift = random.lognormal(0.0, 0.05, repeats)
    return np.asarray(drift * random.lognormal(0.0, spread, (trials, repeats)))


def bimodal(random: np.random.Generator, trials: int, repeats: int, spread: float) -> np.ndarray:
    """Three processes in ten are slow for their whole life, as by the layout of their memory."""
    slow = random.random((trials, repeats)) < 0.3
    return np.where(slow, 1.0 - 4.0 * spread, 1.0) * log_normal(random, trials, repeats, spread / 4.0)


def heavy_tail(random: np.random.Generator, trials: int, repeats: int, spread: float) -> np.ndarray:
    """Stalls of a Pareto law without a variance, on top of everyday noise."""
    stalls = 1.0 + 0.5 * spread * random.pareto(1.5, (trials, repeats))
    return log_normal(random, trials, repeats, spread / 2.0) / stalls


def autocorrelated(random: np.random.Generator, trials: int, repeats: int, spread: float) -> np.ndarray:
    """The machine's own speed wanders (AR(1) from one measurement to the next, 3 spreads wide); blocks are shuffled."""
    state, speeds = 0.0, np.empty((trials, repeats))
    for block in range(repeats):
        for place in random.permutation(trials):
            state = 0.95 * state + 3.0 * spread * math.sqrt(1 - 0.95**2) * random.standard_normal()
            speeds[place, block] = math.exp(state)
    return np.asarray(speeds * random.lognormal(0.0, spread / 2.0, (trials, repeats)))


LAWS: dict[str, Law] = {
    "log-normal": log_normal,
    "bimodal": bimodal,
    "heavy tail": heavy_tail,
    "autocorrelated": autocorrelated,
}


def records_of(rates: np.ndarray, keys: Sequence[str] = (), **metrics: Any) -> list[Record]:
    """One record for each row of rates."""
    names = keys or [f"t{number:02}" for number in range(len(rates))]
    return [trial(key, row.tolist(), **metrics) for key, row in zip(names, rates, strict=True)]


def run_race(
    rates: np.ndarray, objective: Objective = THROUGHPUT, effort: Effort = RACE
) -> tuple[select.Verdict, dict[str, int]]:
    """A race over rows of rates as many as `effort.repeats_max`: the verdict, and repeats that each trial took."""
    looks = race.plan_looks(effort)
    left, taken = records_of(rates), {}
    trials = len(left)
    for number, repeats in enumerate(looks, 1):
        rows = [int(record.key[1:]) for record in left]
        left = records_of(rates[rows, :repeats], [record.key for record in left])
        found = elimination.look(left, objective, number, trials)
        taken.update({record.key: repeats for record in left})
        if found.decided or number == len(looks) or elimination.is_hopeless(found, repeats, looks[-1]):
            break
        left = [record for record in left if record.key not in found.out]
    noted = [replace(record, look=number) for record in left if record.key not in found.out]
    return select.choose(noted, objective), taken

"""The highest rate of arrivals at which 99 % of the items are answered in time, from few and noisy probes.

A probe is one window of random arrivals at one rate. The search brackets the rate at which more than 1 % are late, then
halves the bracket on the logarithm of the rate. What bounds the bracket at the end has been asked twice, and where the
two disagree a third time, so one bad probe (a stall of the machine) costs probes, but does not decide.

The answer is not the bracket but what all probes say together: the late share is fitted as a rate that never falls
with the load, by isotonic regression weighted by items (Ayer et al. 1955, Annals of Mathematical Statistics 26:641-647;
Barlow, Bartholomew, Bremner and Brunk 1972, Statistical Inference under Order Restrictions), and capacity is where the
fit reaches 1 %. Every probe is kept, so that other service levels can be read off later.

Pure functions. Worker side, Python 3.8.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.spec.facts import ProbeFacts

LATE = 0.01  # share of the items that may be late: a p99
PRECISION = 1.03  # the bracket's ends are at most so far apart when the search ends
UP, DOWN = 1.5, 2.0  # steps of the rate while there is no bracket
FLOOR = 16.0  # times below the first rate: slower than that no arrivals are tried
DOUBTED = 2  # rates below it that were met after a rate was missed: then it is asked again before the search goes on
GROSS = 10 * LATE  # a late share that luck does not explain


class Probe(NamedTuple):
    """What one window of arrivals showed."""

    rate: float  # items/s
    items: int  # that arrived
    late: int  # of them: answered later than the service level, or not at all
    throughput_items_per_s: float
    overloaded: bool = False  # the queue grew as long as items arrived
    latency_ms: Optional[Dict[str, float]] = None  # min, p50, p99 of the items

    @property
    def late_share(self) -> float:
        """In the long run: where the queue grows, all are late in the end."""
        return 1.0 if self.overloaded or not self.items else self.late / self.items

    @property
    def meets(self) -> bool:
        return self.late_share <= LATE


class Capacity(NamedTuple):
    """What the probes say together."""

    items_per_s: float  # 0: no rate meets the service level
    curve: Tuple[ProbeFacts, ...]  # every probe in the order of asking, with the fitted late share at its rate
    converged: bool  # the bracket is narrow, and its ends were asked twice
    note: str  # one line: what a person has to know about it; empty: nothing


def search(probe: Callable[[float], Probe], first_rate: float, slo_p99_ms: float, probes: int) -> Capacity:
    """Ask `probe` at most `probes` times, beginning at `first_rate`.

    Args:
        first_rate: items/s, best somewhat below what the server can do at most.
        slo_p99_ms: for the words only: `probe` counts who is late.
    """
    asked: List[Probe] = []
    while len(asked) < probes:
        rate = next_rate(asked, first_rate)
        if rate is None:
            break
        asked.append(probe(rate))
    return conclude(asked, slo_p99_ms, next_rate(asked, first_rate) is None)


def next_rate(asked: Sequence[Probe], first_rate: float) -> Optional[float]:
    """Which rate to try, by what was seen so far; None where the search is over."""
    if not asked:
        return first_rate
    votes = _votes(asked)
    contested = [rate for rate, (yes, no) in votes.items() if yes == no]
    if contested:
        return contested[0]
    low, high = _bracket(votes)
    if low is None:
        return _lower(asked, votes, first_rate)
    if high is None:
        return low * UP
    if sum(votes[high]) == 1 and _passed_since(asked, high) >= DOUBTED:
        return high
    if high / low > PRECISION:
        return math.sqrt(low * high)
    once = next((rate for rate in (high, low) if sum(votes[rate]) == 1), None)
    least = min(votes)
    if once is None and least > first_rate / FLOOR and _fit(_believed(asked))[1][0] > LATE:
        return least / DOWN  # most probes met it, all together do not: something below it has to tell where 1 % is
    return once


def _passed_since(asked: Sequence[Probe], rate: float) -> int:
    """How many probes below a rate met the service level after it had been asked for the first time."""
    first = next(number for number, one in enumerate(asked) if one.rate == rate)
    return sum(one.meets and one.rate < rate for one in asked[first:])


def _lower(asked: Sequence[Probe], votes: Dict[float, Tuple[int, int]], first_rate: float) -> Optional[float]:
    """Nothing was met so far: further down; then once up, where batches fill up sooner; then the slowest once more."""
    least, most = min(votes), max(votes)
    if least > first_rate / FLOOR:
        return least / DOWN
    if most <= first_rate and not any(one.overloaded for one in asked if one.rate == most):
        return most * UP
    return least if sum(votes[least]) == 1 else None


def _votes(asked: Sequence[Probe]) -> Dict[float, Tuple[int, int]]:
    """(probes that met the service level, probes that did not) by rate."""
    votes: Dict[float, Tuple[int, int]] = {}
    for one in asked:
        yes, no = votes.get(one.rate, (0, 0))
        votes[one.rate] = (yes + one.meets, no + (not one.meets))
    return votes


def _bracket(votes: Dict[float, Tuple[int, int]]) -> Tuple[Optional[float], Optional[float]]:
    """The highest rate that most of its probes say is met, and the lowest above it that is not."""
    met = [rate for rate, (yes, no) in votes.items() if yes > no]
    low = max(met) if met else None
    missed = [rate for rate, (yes, no) in votes.items() if no > yes and (low is None or rate > low)]
    return low, min(missed) if missed else None


def conclude(asked: Sequence[Probe], slo_p99_ms: float, converged: bool) -> Capacity:
    """What the probes say together."""
    counted = _counted(asked)
    rates, shares = _fit(_believed(asked))
    fitted = dict(zip(rates, shares))
    curve = tuple(
        ProbeFacts(
            rate=probe.rate,
            items=probe.items,
            late_share=probe.late / max(1, probe.items),
            throughput_items_per_s=probe.throughput_items_per_s,
            overloaded=probe.overloaded,
            counted=counts,
            fitted=fitted.get(probe.rate),
            latency_ms=dict(probe.latency_ms or {}),
        )
        for probe, counts in zip(asked, counted)
    )
    met = [number for number, share in enumerate(shares) if share <= LATE]
    votes = _votes(asked)
    least = min(votes)
    if not met and 0 < votes[least][0] >= votes[least][1]:  # probes were used up before anything below it was asked
        told = "%.4g items/s met %g ms in some probes, not in all together: raise load.probes" % (least, slo_p99_ms)
        return Capacity(least, curve, False, told)
    if not met:
        return Capacity(0.0, curve, converged, _nobody(asked, slo_p99_ms, converged))
    last = met[-1]
    notes: List[str] = []
    if last + 1 == len(rates):
        notes.append("%g ms were kept at every rate up to %.4g items/s: raise load.probes" % (slo_p99_ms, rates[-1]))
        return Capacity(rates[-1], curve, False, "; ".join(notes))
    found = _crossing(rates[last : last + 2], shares[last : last + 2])
    beyond = [one for one in asked if one.rate > rates[last]]
    if all(one.late <= LATE * one.items for one in beyond):
        # Late ones do not tell where a server is full if they may wait for longer than the window
        found = min(found, max(one.throughput_items_per_s for one in asked))
        notes.append("%g ms were kept as long as the server kept up: this is what it can do at most" % slo_p99_ms)
    if not converged:
        ends = (rates[last], rates[last + 1], len(asked))
        notes.append("no more exact than %.4g to %.4g items/s after %d probes: raise load.probes" % ends)
    few = min(one.items for one in asked if one.rate in rates[last : last + 2])
    if few < 1 / LATE:
        notes.append("from %d items a probe, too few for a p99: raise effort.window_seconds" % few)
    return Capacity(found, curve, converged, "; ".join(notes))


def _counted(asked: Sequence[Probe]) -> List[bool]:
    """Which probes the fit looks at: not those grossly late ones that others, as fast or faster, show to be bad."""
    votes = _votes(asked)
    met = max((rate for rate, (yes, no) in votes.items() if yes > no), default=0.0)
    return [one.rate > met or one.late_share <= GROSS for one in asked]


def _believed(asked: Sequence[Probe]) -> List[Probe]:
    return [one for one, counts in zip(asked, _counted(asked)) if counts]


def _fit(asked: Sequence[Probe]) -> Tuple[List[float], List[float]]:
    """(rates, ascending; late share at each, never falling)."""
    rates = sorted({one.rate for one in asked})
    by_rate = [[one for one in asked if one.rate == rate] for rate in rates]
    weights = [float(sum(max(1, one.items) for one in some)) for some in by_rate]
    late = [sum(max(1, one.items) * one.late_share for one in some) for some in by_rate]
    return rates, isotonic(np.divide(late, weights).tolist(), weights).tolist()


def isotonic(values: Sequence[float], weights: Sequence[float]) -> np.ndarray:
    """The sequence that never falls and is nearest to `values` in weighted least squares: pool adjacent violators."""
    blocks: List[Tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values, weights):
        block = (float(value), float(weight), 1)
        while blocks and blocks[-1][0] >= block[0]:
            mean, before, many = blocks.pop()
            together = before + block[1]
            block = ((mean * before + block[0] * block[1]) / together, together, many + block[2])
        blocks.append(block)
    pooled: np.ndarray = np.repeat([mean for mean, _, _ in blocks], [many for _, _, many in blocks])
    return pooled


def _crossing(rates: Sequence[float], shares: Sequence[float]) -> float:
    """Where the line between two fitted points reaches what may be late; rates on a logarithmic scale."""
    part = (LATE - shares[0]) / (shares[1] - shares[0])
    return float(rates[0] * (rates[1] / rates[0]) ** part)


def _nobody(asked: Sequence[Probe], slo_p99_ms: float, converged: bool) -> str:
    """Why there is no capacity: the items themselves take longer, or nothing was found yet."""
    slowest = min(asked, key=lambda one: one.rate)
    told = "no rate meets %g ms for 99 %% of the items" % slo_p99_ms
    known = slowest.latency_ms or {}
    if "p50" in known:
        alone = (slowest.rate, known["p50"], known["min"])
        told += ": at %.4g items/s half of them take %.4g ms, the quickest %.4g ms" % alone
    return told if converged else told + "; %d probes did not go further down: raise load.probes" % len(asked)

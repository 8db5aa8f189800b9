"""The highest rate of arrivals at which 99 % of the items are answered in time, from few and noisy probes.

A probe is one window of random arrivals at one rate. The search brackets the rate at which more than 1 % are late, then
halves the bracket on the logarithm of the rate. Both ends of the final bracket are probed twice, and a third time if
the two probes disagree: one bad probe (a stall of the machine) costs time, but does not decide.

The answer is not the bracket but what all probes say together: the late share is fitted as a rate that never falls
with the load, by isotonic regression weighted by items (Ayer et al. 1955, Annals of Mathematical Statistics 26:641-647;
Barlow, Bartholomew, Bremner and Brunk 1972, Statistical Inference under Order Restrictions), and capacity is where the
fit reaches 1 %. Every probe is kept, so that other service levels can be read off later.

Pure functions. Worker side, Python 3.8.
"""

import math
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.spec.facts import CapacityFacts, ProbeFacts

LATE = 0.01  # share of the items that may be late: a p99
PRECISION = 1.03  # the bracket's ends are at most so far apart when the search ends
UP, DOWN = 1.5, 2.0  # steps of the rate while there is no bracket
FLOOR = 16.0  # the lowest rate tried is the first one divided by this
DOUBTED = 2  # after a rate was missed once, this many met below it cause a second probe of it
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


def search(probe: Callable[[float], Probe], first_rate: float, slo_p99_ms: float, limit: int) -> CapacityFacts:
    """Call `probe` at most `limit` times, beginning at `first_rate`.

    Args:
        first_rate: items/s, best somewhat below what the server can do at most.
        slo_p99_ms: for the result and its note; `probe` counts the late items.
    """
    probes: List[Probe] = []
    while len(probes) < limit:
        rate = choose_rate(probes, first_rate)
        if rate is None:
            break
        probes.append(probe(rate))
    return conclude(probes, slo_p99_ms, choose_rate(probes, first_rate) is None)


def choose_rate(probes: Sequence[Probe], first_rate: float) -> Optional[float]:
    """The rate to try after these probes; None if the search is over."""
    if not probes:
        return first_rate
    votes = _count_votes(probes)
    contested = [rate for rate, (yes, no) in votes.items() if yes == no]
    if contested:
        return contested[0]
    low, high = _find_bracket(votes)
    if low is None:
        return _choose_lower_rate(probes, votes, first_rate)
    if high is None:
        return low * UP
    if sum(votes[high]) == 1 and _count_passes_below(probes, high) >= DOUBTED:
        return high
    if high / low > PRECISION:
        return math.sqrt(low * high)
    unconfirmed = next((rate for rate in (high, low) if sum(votes[rate]) == 1), None)
    least = min(votes)
    if unconfirmed is None and least > first_rate / FLOOR and _fit_late_shares(_select_counted(probes))[1][0] > LATE:
        return least / DOWN  # most probes met it, all together do not: 1 % lies somewhere below
    return unconfirmed


def _count_passes_below(probes: Sequence[Probe], rate: float) -> int:
    """How many probes below `rate` met the service level after the first probe at `rate`."""
    first = next(number for number, probe in enumerate(probes) if probe.rate == rate)
    return sum(probe.meets and probe.rate < rate for probe in probes[first:])


def _choose_lower_rate(
    probes: Sequence[Probe], votes: Dict[float, Tuple[int, int]], first_rate: float
) -> Optional[float]:
    """The next rate while none is met: lower ones, then a higher one (batches fill sooner), then the lowest again."""
    least, most = min(votes), max(votes)
    if least > first_rate / FLOOR:
        return least / DOWN
    if most <= first_rate and not any(probe.overloaded for probe in probes if probe.rate == most):
        return most * UP
    return least if sum(votes[least]) == 1 else None


def _count_votes(probes: Sequence[Probe]) -> Dict[float, Tuple[int, int]]:
    """(probes that met the service level, probes that did not) by rate."""
    votes: Dict[float, Tuple[int, int]] = {}
    for probe in probes:
        yes, no = votes.get(probe.rate, (0, 0))
        votes[probe.rate] = (yes + probe.meets, no + (not probe.meets))
    return votes


def _find_bracket(votes: Dict[float, Tuple[int, int]]) -> Tuple[Optional[float], Optional[float]]:
    """The highest rate that most of its probes met, and the lowest above it that most missed."""
    met = [rate for rate, (yes, no) in votes.items() if yes > no]
    low = max(met) if met else None
    missed = [rate for rate, (yes, no) in votes.items() if no > yes and (low is None or rate > low)]
    return low, min(missed) if missed else None


def conclude(probes: Sequence[Probe], slo_p99_ms: float, converged: bool) -> CapacityFacts:
    """What the probes say together.

    Args:
        converged: the bracket is narrow, and both ends were probed twice.
    """
    counted = _judge_probes(probes)
    rates, shares = _fit_late_shares(_select_counted(probes))
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
        for probe, counts in zip(probes, counted)
    )
    met = [number for number, share in enumerate(shares) if share <= LATE]
    votes = _count_votes(probes)
    least = min(votes)
    if not met and 0 < votes[least][0] >= votes[least][1]:  # no probe was left for a lower rate
        note = "%.4g items/s met %g ms in some probes, not in all together: raise load.probes" % (least, slo_p99_ms)
        return CapacityFacts(slo_p99_ms, least, False, curve, note)
    if not met:
        note = _describe_no_capacity(probes, slo_p99_ms, converged)
        return CapacityFacts(slo_p99_ms, 0.0, converged, curve, note)
    last = met[-1]
    if last + 1 == len(rates):
        note = "%g ms were kept at every rate up to %.4g items/s: raise load.probes" % (slo_p99_ms, rates[-1])
        return CapacityFacts(slo_p99_ms, rates[-1], False, curve, note)
    notes: List[str] = []
    items_per_s = _find_crossing(rates[last : last + 2], shares[last : last + 2])
    if all(probe.late <= LATE * probe.items for probe in probes if probe.rate > rates[last]):
        # If items may wait longer than the window, late ones do not show where the server is full
        items_per_s = min(items_per_s, max(probe.throughput_items_per_s for probe in probes))
        notes.append("%g ms were kept as long as the server kept up: this is what it can do at most" % slo_p99_ms)
    if not converged:
        ends = (rates[last], rates[last + 1], len(probes))
        notes.append("no more exact than %.4g to %.4g items/s after %d probes: raise load.probes" % ends)
    few = min(probe.items for probe in probes if probe.rate in rates[last : last + 2])
    if few < 1 / LATE:
        notes.append("from %d items a probe, too few for a p99: raise effort.window_seconds" % few)
    return CapacityFacts(slo_p99_ms, items_per_s, converged, curve, "; ".join(notes))


def _judge_probes(probes: Sequence[Probe]) -> List[bool]:
    """Which probes the fit uses: not a grossly late one if most probes at that rate or a higher one met the level."""
    votes = _count_votes(probes)
    met = max((rate for rate, (yes, no) in votes.items() if yes > no), default=0.0)
    return [probe.rate > met or probe.late_share <= GROSS for probe in probes]


def _select_counted(probes: Sequence[Probe]) -> List[Probe]:
    return [probe for probe, counts in zip(probes, _judge_probes(probes)) if counts]


def _fit_late_shares(probes: Sequence[Probe]) -> Tuple[List[float], List[float]]:
    """(rates, ascending; late share at each, never falling)."""
    rates = sorted({probe.rate for probe in probes})
    by_rate = [[probe for probe in probes if probe.rate == rate] for rate in rates]
    weights = [float(sum(max(1, probe.items) for probe in same)) for same in by_rate]
    late = [sum(max(1, probe.items) * probe.late_share for probe in same) for same in by_rate]
    return rates, fit_isotonic(np.divide(late, weights).tolist(), weights).tolist()


def fit_isotonic(values: Sequence[float], weights: Sequence[float]) -> np.ndarray:
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


def _find_crossing(rates: Sequence[float], shares: Sequence[float]) -> float:
    """The rate at which the line between two fitted points reaches `LATE`; rates on a logarithmic scale."""
    part = (LATE - shares[0]) / (shares[1] - shares[0])
    return float(rates[0] * (rates[1] / rates[0]) ** part)


def _describe_no_capacity(probes: Sequence[Probe], slo_p99_ms: float, converged: bool) -> str:
    """Why there is no capacity: single items take longer, or the probes ran out."""
    slowest = min(probes, key=lambda probe: probe.rate)
    text = "no rate meets %g ms for 99 %% of the items" % slo_p99_ms
    known = slowest.latency_ms or {}
    if "p50" in known:
        alone = (slowest.rate, known["p50"], known["min"])
        text += ": at %.4g items/s half of them take %.4g ms, the quickest %.4g ms" % alone
    return text if converged else text + "; %d probes did not go further down: raise load.probes" % len(probes)

"""Intervals, exact tests and comparisons of repeats: pure functions of numbers, with the source of every formula.

The statistical unit is one repeat, measured in a fresh process. Requests inside a repeat are not independent, so they
never make an interval narrower. Speeds are compared as ratios: their logarithms are closer to normal, "10 % faster" is
the mirror image of "10 % slower", and a factor common to both sides cancels. Numbers that cannot be known are absent
or None, never NaN. numpy and scipy are imported inside functions, because start-up to plan must be short.
"""

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from sweep.verdict.stats import student

BEYOND = 5  # samples that must lie beyond a percentile before it is shown: p99 needs 500, p50 needs 10

# Values of one trial: by repeat index, so that interleaved trials are compared within a block, or without one.
Values = Mapping[int, float] | Sequence[float]


class Interval(NamedTuple):
    """An estimate and its interval; both ends are None where one value says nothing about its spread."""

    estimate: float
    low: float | None
    high: float | None


def wilson(successes: float, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a share of `successes` among `n` (Wilson 1927, JASA 22:209-212, no continuity correction).

    Unlike the textbook interval it stays inside [0, 1] and does not shrink to a point at 0 or n successes.

    Raises:
        ValueError: if there is nothing to estimate from (n < 1) or more successes than trials.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes in {n} trials")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def mcnemar_exact(b: int, c: int) -> float:
    """Two-sided exact p that two classifiers are right equally often (McNemar 1947, Psychometrika 12:153-157).

    b, c: samples that only the first and only the second got right. Given their sum, b is Binomial(b + c, 1/2) if
    neither is better; twice the smaller tail, at most 1. No discordant sample says nothing: 1.
    """
    from scipy.special import bdtr

    return 1.0 if b + c == 0 else min(1.0, 2.0 * float(bdtr(min(b, c), b + c, 0.5)))


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean with Student's t interval: mean +- t(n - 1) s / sqrt(n).

    Raises:
        ValueError: for no values.
    """
    if not values:
        raise ValueError("no values")
    mean, variance = _moments(values)
    if len(values) < 2:
        return Interval(mean, None, None)
    half = student.quantile((1 + confidence) / 2, len(values) - 1) * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half)


def samples_needed(q: float) -> int:
    """Samples from which at least `BEYOND` are expected beyond the percentile q, on its thinner side."""
    tail = min(q, 100.0 - q)
    return math.ceil(100.0 * BEYOND / tail - 1e-9)


def percentile_supported(n: int, q: float) -> bool:
    """Whether n samples carry the percentile q (0 < q < 100). From 71 samples a "p99" is just the maximum."""
    return n >= samples_needed(q)


@dataclass(frozen=True)
class Ratio:
    """How two trials compare: the logarithm of value a / value b, from repeats."""

    log: float
    standard_error: float
    degrees: float  # of freedom
    repeats: int  # of the side that has fewer
    paired: bool

    @property
    def estimate(self) -> float:
        return _exp(self.log)

    def log_interval(self, confidence: float) -> tuple[float, float]:
        half = student.quantile((1 + confidence) / 2, self.degrees) * self.standard_error
        return self.log - half, self.log + half

    def interval(self, confidence: float) -> Interval:
        low, high = self.log_interval(confidence)
        return Interval(self.estimate, _exp(low), _exp(high))

    def is_different(self, confidence: float) -> bool:
        """Whether the two surely differ: said of equal ones at most 1 - confidence of the time."""
        low, high = self.log_interval(confidence)
        return low > 0 or high < 0

    def is_within(self, margin: float, confidence: float) -> bool:
        """Whether the two surely differ by no more than the margin.

        Two one-sided tests (Schuirmann 1987, J. Pharmacokinet. Biopharm. 15:657-680), each at `confidence`, with the
        limits +-log(1 + margin): this equals a 2 confidence - 1 interval inside the limits.
        """
        low, high = self.log_interval(2 * confidence - 1)
        return max(-low, high) <= math.log1p(margin)

    def inverse(self) -> "Ratio":
        return Ratio(-self.log, self.standard_error, self.degrees, self.repeats, self.paired)


def ratio(a: Values, b: Values) -> Ratio | None:
    """Compare repeats of two trials; None where there are fewer than two each, or a value that is not positive.

    Mappings with the same indexes are interleaved: index i of both was measured in the same block, so the block's drift
    cancels in the difference of logarithms (paired t, n - 1 degrees of freedom). Everything else is compared by Welch's
    t (Welch 1947, Biometrika 34:28-35) with Satterthwaite's degrees of freedom (1946, Biometrics Bulletin 2:110-114).
    """
    paired = isinstance(a, Mapping) and isinstance(b, Mapping) and set(a) == set(b)
    logs_a, logs_b = logarithms(a), logarithms(b)
    if logs_a is None or logs_b is None or min(len(logs_a), len(logs_b)) < 2:
        return None
    n_a, n_b = len(logs_a), len(logs_b)
    if paired:
        mean, variance = _moments([x - y for x, y in zip(logs_a, logs_b, strict=True)])
        return Ratio(mean, math.sqrt(variance / n_a), n_a - 1, n_a, True)
    (mean_a, variance_a), (mean_b, variance_b) = _moments(logs_a), _moments(logs_b)
    u, v = variance_a / n_a, variance_b / n_b
    spread = u * u / (n_a - 1) + v * v / (n_b - 1)
    degrees = (u + v) ** 2 / spread if spread > 0 else float(n_a + n_b - 2)
    return Ratio(mean_a - mean_b, math.sqrt(u + v), degrees, min(n_a, n_b), False)


def ratio_interval(a: Values, b: Values, confidence: float = 0.95) -> Interval | None:
    """Interval of value a / value b, or None where repeats are too few; see `ratio`."""
    compared = ratio(a, b)
    return None if compared is None else compared.interval(confidence)


def repeats_to_decide(compared: Ratio, margin: float, confidence: float, comparisons: int = 1, most: int = 1000) -> int:
    """Repeats in all after which this pair is expected to be decided, if its difference and spread stay as observed.

    Decided means that the interval leaves out "equal" (a winner), or lies inside the margin at the confidence that
    `comparisons` simultaneous claims need (a tie), whichever comes first. `most` stands for "more than anybody runs".
    """
    apart, spare = abs(compared.log), math.log1p(margin) - abs(compared.log)

    def decided(n: int) -> bool:
        degrees = (n - 1) * (1 if compared.paired else 2)
        error = compared.standard_error * math.sqrt(compared.repeats / n)
        wins = student.quantile((1 + confidence) / 2, degrees) * error < apart
        return wins or student.quantile(1 - (1 - confidence) / (2 * comparisons), degrees) * error < spare

    # Once decided it stays so: the quantiles and the error fall with n.
    return 2 + bisect.bisect_left(range(2, most), True, key=decided)


def add_ends(metrics: dict[str, float], name: str, spread: Interval) -> None:
    """Ends that hold the estimate: a pooled median need not lie inside the interval of the repeats' mean median."""
    if spread.low is not None and spread.high is not None:
        metrics[name + "_low"] = max(0.0, min(spread.low, metrics[name]))
        metrics[name + "_high"] = max(spread.high, metrics[name])


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and unbiased variance (0 for one value), exactly the same in any order."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)


def drop_indexes(values: Values) -> list[float]:
    """The values alone: repeats of different blocks have nothing in common."""
    return list(values.values()) if isinstance(values, Mapping) else list(values)


def logarithms(values: Values) -> list[float] | None:
    """In the order of the repeats; None where one is not a positive number."""
    numbers = [values[index] for index in sorted(values)] if isinstance(values, Mapping) else list(values)
    if not all(math.isfinite(number) and number > 0 for number in numbers):
        return None
    return [math.log(number) for number in numbers]


def _exp(value: float) -> float:
    return math.exp(max(-700.0, min(700.0, value)))  # finite: one repeat more or less can make an interval absurd

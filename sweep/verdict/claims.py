"""Service levels as claims: is `latency p99 <= X` proved, refuted, or unproved by the requests that were measured?

The claim is about the share of requests that are late, which may be 1 % for a p99. It is proved where the upper end of
an exact one-sided interval of that share (Clopper and Pearson 1934, Biometrika 26:404-413) is within what may be late,
and refuted where the lower end is beyond it; each of the two is wrong at most 1 - confidence of the time. An estimate
of the percentile itself proves nothing: from 71 requests it is just the largest.

Late requests that come together prove less than as many that come singly. A test shows whether they do: at the limit
and, where late requests are too few, at lower levels that are near enough to speak for it. It counts pairs of requests
beyond the level within 1, 4, 16, ... requests of each other, and compares with chance (the counts of Knox 1964, Applied
Statistics 13:25-29, along one dimension). Where there are too many pairs, requests count in blocks: n requests of which
k are late count as n/b with k/b late, where b is the factor by which the bunching widens the spread of k (the effective
number of Bayley and Hammersley 1946, JRSS Supplement 8:184-197; exact intervals with an effective number: Korn and
Graubard 1998, Survey Methodology 24:193-201). Few bunches say little about their size, so b is an upper bound, for
bursts that end at random.

Bursts that never came during the measurement cannot be seen. So a proof says up to how many late requests at a time it
holds, and requests closer together than `STALL_MS` never count as more than one.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sweep import text
from sweep.spec import Record
from sweep.spec.settings import Objective
from sweep.store import samples

if TYPE_CHECKING:
    import numpy as np

STALL_MS = 3.0  # what a scheduler takes away at a time (Linux: a base slice of 3 ms): who waits then, waits together
MOST = 10_000_000  # requests; where more would be needed the share is too close to what may be late
LEVELS = (50.0, 75.0, 90.0, 95.0, 98.0)  # percentiles below the limit at which bunching is looked for
REACH = 2.0  # a level speaks for a limit at most so much further above it than it is above the lower quartile, in logs
CHANCE = 0.01  # that requests at random look bunched, at one level and distance
UNSURE = 0.10  # that bunches are larger than they are taken for


@dataclass(frozen=True)
class Claim:
    """What the requests say about one limit on a percentile of latency."""

    verdict: str  # proved | refuted | unproved
    late: int  # requests beyond the limit
    n: int  # requests in all
    effective_n: float  # as many independent requests as they are worth
    low: float  # the share of late requests is above this, and
    high: float  # below this, each surely at `confidence`
    more: int | None  # requests that should settle it if they go on like these; 0: it is; None: more than anybody sends
    limit_ms: float
    quantile: float
    confidence: float
    together: int = 0  # proved: it holds for late requests that come up to so many at a time


def judge_latency(
    latency_ms: "Sequence[np.ndarray]",
    limit_ms: float,
    quantile: float = 0.99,
    confidence: float = 0.99,
    together: float = 1.0,
) -> Claim:
    """Judge the claim that at most 1 - quantile of all requests take longer than `limit_ms`.

    Args:
        latency_ms: of each repeat, in the order in which the requests came; NaN and infinity are late.
        together: at least this many requests count as one.
    """
    import numpy as np

    huge = np.finfo(np.float64).max / 4
    arrays = [np.asarray(repeat, np.float64).ravel() for repeat in latency_ms]
    series = [np.nan_to_num(array, nan=huge, posinf=huge) for array in arrays if array.size]
    allowed = round(1.0 - quantile, 12)
    n = sum(array.size for array in series)
    count = sum(int((array > limit_ms).sum()) for array in series)
    unit = min(float(max(n, 1)), max(1.0, together, _find_block(series, limit_ms) if n else 1.0))
    low, high = share_bounds(count / unit, n / unit, confidence)
    verdict = "proved" if high <= allowed else "refuted" if low > allowed else "unproved"
    more = 0 if verdict != "unproved" else _estimate_more(count, n, unit, allowed, confidence)
    held = _find_largest_block(count, n, allowed, confidence) if verdict == "proved" else 0
    return Claim(verdict, count, n, n / unit, low, high, more, limit_ms, quantile, confidence, held)


def share_bounds(late: float, n: float, confidence: float) -> tuple[float, float]:
    """One-sided bounds of a share, each at `confidence`: exact (Clopper and Pearson) for whole numbers."""
    from scipy.special import betaincinv

    if n <= 0:
        return 0.0, 1.0
    low = float(betaincinv(late, n - late + 1, 1 - confidence)) if late > 0 else 0.0
    high = float(betaincinv(late + 1, n - late, confidence)) if late < n else 1.0
    return low, high


def judge_record(record: Record, objective: Objective) -> Mapping[str, Claim]:
    """Judge the limits of an objective on a trial's latency; the claims by the name of the limit.

    Reads the samples of its repeats, once for each limit. There is no claim if they are gone or were never measured.
    """
    limits = [(limit, limit.metric.quantile / 100) for limit in objective.limits if limit.metric.quantile is not None]
    if not limits or not record.origin.is_evidence:
        return {}
    paths = tuple(repeat.samples for repeat in sorted(record.repeats, key=lambda repeat: repeat.index))
    seconds = math.fsum(repeat.window_seconds for repeat in record.repeats)
    judged = {}
    for limit, quantile in limits:
        claim = _judge_files(paths, seconds, float(limit.bound), quantile, objective.claim_confidence)
        if claim is not None:
            judged[limit.name] = claim
    return judged


@functools.lru_cache(maxsize=8192)
def _judge_files(
    paths: tuple[str, ...], seconds: float, limit_ms: float, quantile: float, confidence: float
) -> Claim | None:
    """The claim from files of samples, which never change once they are written."""
    series = [samples.load_samples(path) / 1e6 for path in paths if path]
    n = sum(array.size for array in series)
    if not n:
        return None
    pace = n / seconds * STALL_MS / 1e3 if seconds > 0 else 1.0
    return judge_latency(series, limit_ms, quantile, confidence, together=pace)


def describe(claim: Claim) -> str:
    """`p99 <= 20 ms is proved: 3 of 12,000 requests were later, at most 0.08 % at 99 % confidence, 1 % may be; ...`"""
    allowed, sure = 1.0 - claim.quantile, f"{text.percent(claim.confidence, 4)} confidence"
    start = f"p{100 * claim.quantile:.4g} <= {text.number(claim.limit_ms)} ms is {claim.verdict}"
    if not claim.n:
        return f"{start}: nothing was measured; {_describe_needs(claim)}"
    counted = f"{claim.late:,} of {text.count(claim.n, 'request')} {'was' if claim.late == 1 else 'were'} later"
    if claim.effective_n < 0.75 * claim.n:
        counted += f" (as good as {max(1, int(claim.effective_n)):,} independent ones)"
    may = f"{text.percent(allowed)} may be"
    if claim.verdict == "proved":
        held = f"; it holds for up to {claim.together:,} late at a time" if claim.together > 1 else ""
        return f"{start}: {counted}, at most {text.percent(claim.high)} at {sure}, {may}{held}"
    if claim.verdict == "refuted":
        return f"{start}: {counted}, at least {text.percent(claim.low)} at {sure}, {may}"
    return (
        f"{start}: {counted}, {text.percent(claim.low)} to {text.percent(claim.high)}, {may}; {_describe_needs(claim)}"
    )


def _describe_needs(claim: Claim) -> str:
    if claim.more is None:
        return "too close for more requests to settle it"
    digits = max(0, len(str(claim.more)) - 2)  # it is an expectation: two digits say enough
    return f"about {text.count(math.ceil(claim.more / 10**digits) * 10**digits, 'more request')} would settle it"


def _find_block(series: "Sequence[np.ndarray]", limit_ms: float) -> float:
    """How many requests count as one: the worst of what the limit shows and the levels that speak for it."""
    import numpy as np

    base, *levels = np.percentile(np.concatenate(series), [25.0, *LEVELS]).tolist()
    near = [level for level in levels if base < level < limit_ms and _speaks(base, level, limit_ms)]
    return max(_measure_bunching(series, level) for level in dict.fromkeys([limit_ms, *near]))


def _speaks(base: float, level: float, limit_ms: float) -> bool:
    """Whether the limit is so near that what bunches requests beyond `level` may bring them beyond the limit."""
    return base > 0 and math.log(limit_ms / level) <= REACH * math.log(level / base)


def _measure_bunching(series: "Sequence[np.ndarray]", level: float) -> float:
    """The factor by which requests beyond `level` come together: 1 where they are not shown to.

    Sums of autocorrelations of "is beyond": variance of their number over what it would be if they came singly.
    """
    import numpy as np
    from scipy.special import gammaincinv, pdtrc

    places = [np.flatnonzero(array > level) for array in series]
    n, k = sum(array.size for array in series), sum(array.size for array in places)
    if k < 2 or k == n:
        return 1.0
    worst, reach = 1.0, 1
    while reach <= max(1, max(array.size for array in series) // 4):
        near = sum(int((np.searchsorted(p, p + reach, "right") - np.arange(p.size) - 1).sum()) for p in places)
        apart = (min(reach, array.size - 1) for array in series)
        possible = sum(far * array.size - far * (far + 1) / 2 for far, array in zip(apart, series, strict=True))
        expected = k * (k - 1) / (n * (n - 1)) * possible
        if near > expected and pdtrc(near - 1, expected) < CHANCE:
            factor = 1.0 + 2.0 * (near - expected) / (k * (1.0 - k / n))
            bunches = max(1.0, k / factor)
            worst = max(worst, factor * bunches / float(gammaincinv(bunches, UNSURE)))
        reach *= 4
    return worst


def _estimate_more(count: int, n: int, unit: float, allowed: float, confidence: float) -> int | None:
    """Requests beyond `n` after which the claim should be settled, if the share of late ones stays as it is."""
    share = count / n if n else 0.0

    def settled(total: int) -> bool:
        low, high = share_bounds(share * total / unit, total / unit, confidence)
        return high <= allowed or low > allowed

    return None if not settled(MOST + n) else _find_least(settled, n, MOST + n) - n


def _find_largest_block(count: int, n: int, allowed: float, confidence: float) -> int:
    """The largest block in which requests may count for the proof to stand."""

    def falls(block: int) -> bool:
        return share_bounds(count / block, n / block, confidence)[1] > allowed

    return _find_least(falls, 1, n) - 1


def _find_least(holds: Callable[[int], bool], low: int, high: int) -> int:
    """The least number in (low, high] for which a condition holds that stays once it does; it does for `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high

"""Which candidates to take as buckets: over arrays of numbers, nothing of models or builds.

Where each candidate holds what smaller ones hold, a dynamic programme finds the best list of every length. Candidate j
serves all sizes above the next smaller bucket i and up to its own, so with W[j], the weight of all sizes up to j, and
c[j], the cost of one request, the lowest cost of everything up to j with r buckets, the largest of them j, is

    V[1][j] = W[j] c[j],    V[r][j] = min over i < j of V[r - 1][i] + (W[j] - W[i]) c[j].

A limit on a sum over the buckets, or candidates that do not hold each other, leave no such order: there few lists are
all looked at, and of many one is improved by exchanging single buckets, which does not show that it is the best.
"""

import itertools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from sweep.verdict.buckets.cost import SHARE

WHOLE = 20_000  # lists that are all looked at
SAME = 1e-12  # relative: sums of rounded numbers this close are equal

Key = tuple[int, ...]  # numbers of candidates, rising
Worth = tuple[float, ...]  # smaller is better


def best_lists(weight: np.ndarray, cost: np.ndarray, k: int, fee: np.ndarray | float = 0.0) -> Iterator[Key]:
    """The cheapest list of r candidates that holds everything, for r = 1, 2, ... as far as k. Takes O(k n^2).

    Args:
        weight: (n,) of all sizes up to each candidate, not falling. Those that have all of it can be the largest.
        cost: (n,) of a request of each.
        fee: (n,) what taking a candidate costs by itself.
    """
    number = np.arange(len(cost))
    step = (weight - weight[:, None]) * cost + fee
    step[number[:, None] >= number] = np.inf
    ends = np.flatnonzero(weight == weight[-1])
    total, splits = weight * cost + fee, list[np.ndarray]()
    for _ in range(min(k, len(cost))):
        key = [int(ends[total[ends].argmin()])]
        for split in reversed(splits):
            key.append(int(split[key[-1]]))
        if np.isfinite(total[key[0]]):
            yield tuple(reversed(key))
        both = total[:, None] + step
        splits.append(both.argmin(axis=0))
        total = both[splits[-1], number]


def rising(weight: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Numbers of the candidates that the best lists need where nothing is limited: their costs rise.

    A candidate that costs no less than a larger one can be replaced by it.
    """
    above = np.append(np.minimum.accumulate(cost[::-1])[::-1][1:], np.inf)
    needed = np.flatnonzero(cost < above)
    return needed[: int(np.searchsorted(weight[needed], weight[-1])) + 1]


def thin(weight: np.ndarray, most: int) -> np.ndarray:
    """Numbers of about `most` candidates: half evenly by number, half by weight, and that of the 99th percentile."""
    if len(weight) <= most:
        return np.arange(len(weight))
    even = np.linspace(0, len(weight) - 1, most // 2).astype(int)
    shares = np.append(np.linspace(0, 1, most // 2), SHARE)
    return np.unique(np.append(even, np.searchsorted(weight, shares * weight[-1])))


class Search:
    """The best lists by looking at lists."""

    def __init__(
        self, fits: np.ndarray, weights: np.ndarray, seconds: np.ndarray, use: np.ndarray, objective: str
    ) -> None:
        """S sizes and n candidates in order of size. Sizes that the same candidates hold count as one.

        Args:
            fits: (S, n) whether a candidate holds a size.
            weights: (S,) of the sizes.
            seconds: (n,) of a request.
            use: (limits, n) share of each limit that a candidate takes.
            objective: as for `bucketing.solve`.
        """
        self._fits, number = np.unique(fits, axis=0, return_inverse=True)
        self._weights = np.bincount(number.ravel(), weights) / weights.sum()
        self._seconds, self._use = seconds, use
        self._p99 = objective == "p99"

    def whole(self, k: int) -> Key | None:
        """The best of all lists of k."""
        return self._best(itertools.combinations(range(len(self._seconds)), k))

    def is_small(self, k: int) -> bool:
        """Whether all lists of k can be looked at."""
        return math.comb(len(self._seconds), k) <= WHOLE

    def exchange(self, starts: Iterable[Key]) -> Key | None:
        """The best of `starts`, improved until no exchange of one bucket makes it better."""
        best = self._best(starts)
        while best is not None:
            rest = [best[:place] + best[place + 1 :] for place in range(len(best))]
            other = self._best(itertools.chain.from_iterable(map(self.extend, rest)))
            if other is None or (self._worth(other) or ()) >= (self._worth(best) or ()):
                break
            best = other
        return best

    def extend(self, key: Key) -> Iterator[Key]:
        """Every list with one bucket more."""
        return (tuple(sorted((*key, number))) for number in range(len(self._seconds)) if number not in key)

    def _best(self, keys: Iterable[Key]) -> Key | None:
        rated = ((worth, key) for key in keys if (worth := self._worth(key)) is not None)
        return min(rated, default=(None, None))[1]

    def _worth(self, key: Key) -> Worth | None:
        """What is minimised; None where a size is not held or a limit exceeded."""
        chosen = list(key)
        if (self._use[:, chosen].sum(axis=1) > 1 + SAME).any():
            return None
        fits = self._fits[:, chosen]
        if not fits.any(axis=1).all():
            return None
        seconds = self._seconds[chosen]
        shares = np.bincount(fits.argmax(axis=1), self._weights, len(chosen))
        mean = float(shares @ seconds)
        if not self._p99:
            return (mean,)
        order = np.argsort(seconds, kind="stable")
        return float(seconds[order][np.searchsorted(np.cumsum(shares[order]), SHARE)]), mean

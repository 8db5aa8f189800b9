"""Which candidates to take as buckets: exact programmes over arrays of numbers, nothing of models or builds.

Candidates are ordered by size. Candidate j serves all sizes above the next smaller bucket i and up to its own, at its
own cost: g(i, j) = (W[j] - W[i]) c[j], where W[j] is the weight of all sizes up to j and c[j] the cost of one request.
The best cost of everything up to j with r buckets, the largest of them j, is then

    V[1][j] = penalty[j] + W[j] c[j],    V[r][j] = penalty[j] + min over i < j of V[r - 1][i] + g(i, j).

For a < b < i < j,  g(a, j) + g(b, i) - g(a, i) - g(b, j) = (W[b] - W[a]) (c[j] - c[i]),  which is >= 0 wherever weights
are not negative and c does not fall: the quadrangle inequality (Yao 1980, STOC 429-435; "Monge"). The best i then never
moves left as j moves right, whatever V[r - 1] and the penalty are, and a row is found by divide and conquer: the middle
column's best i bounds both halves (Aggarwal, Klawe, Moran, Shor and Wilber 1987, Algorithmica 2:195-208, from where
total monotonicity and the faster SMAWK are). n candidates and k buckets take O(k n log n), here one level at a time in
numpy. SMAWK would save the logarithm, but not in numpy. Where c falls somewhere, the row is found by looking at all i.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SAME = 1e-12  # relative: costs this close are equal, as sums of rounded products are


@dataclass(frozen=True)
class Candidates:
    """n candidates in order of size. Only those whose weight is the whole traffic's can be the largest bucket.

    weight: (n,) of all sizes up to each, not falling. cost: (n,) seconds. use: (n, R) of each limited resource, as
    share of its limit: a list fits where its sum is at most 1 in every column.
    """

    weight: np.ndarray
    cost: np.ndarray
    use: np.ndarray
    through: int | None = None  # this candidate must be a bucket, if there is one below the largest

    @property
    def last(self) -> np.ndarray:
        return np.flatnonzero(self.weight == self.weight[-1])

    @property
    def monotone(self) -> bool:
        return bool(np.all(np.diff(self.cost) >= 0))

    @property
    def floor(self) -> np.ndarray:
        """(n,) the lowest next smaller bucket that each may have."""
        return np.where(self._beyond, self.through or 0, 0)

    @property
    def alone(self) -> np.ndarray:
        """(n,) cost where each serves everything up to it."""
        return np.where(self._beyond, np.inf, self.weight * self.cost)

    @property
    def _beyond(self) -> np.ndarray:
        """(n,) whether each needs a smaller bucket below it."""
        return np.arange(len(self.cost)) > (len(self.cost) if self.through is None else self.through)

    def only(self, which: np.ndarray) -> "Candidates":
        return Candidates(self.weight[which], self.cost[which], self.use[which])

    @property
    def cheapest(self) -> np.ndarray:
        """(n,) which candidates an optimal list needs where nothing is limited: weight and cost both rise over them.

        See `undominated`; here without looking at pairs.
        """
        number = np.arange(len(self.cost))
        order = np.lexsort((number, self.cost, self.weight))
        kept = np.sort(order[np.r_[True, np.diff(self.weight[order]) > 0]])
        least_above = np.r_[np.minimum.accumulate(self.cost[kept][::-1])[::-1][1:], np.inf]
        needed: np.ndarray = np.isin(number, kept[self.cost[kept] < least_above])
        return needed

    @property
    def undominated(self) -> np.ndarray:
        """(n,) which candidates an optimal list needs under the limits: the others can be replaced at no loss.

        A candidate b is not needed where a larger one, x, costs and uses no more: take the cheapest of x and of the
        list's buckets between b and x, and let it serve what b and all up to it served. Each of them cost at least as
        much, and no size above it is touched. Nor is b needed where a smaller one that costs and uses no more has the
        same weight: no size lies between them.
        """
        both = np.column_stack([self.cost, self.use])
        needed = np.ones(len(both), dtype=bool)
        if np.all(np.diff(self.cost) > 0) and np.all(np.diff(self.weight) > 0):
            return needed
        for number in range(len(both)):
            equal = self.weight == self.weight[number]
            larger = np.arange(len(both)) > number
            worth = (both < both[number]).any(axis=1)  # of two that are alike the smaller one stays
            others = needed & np.where(larger, ~equal | worth, equal)
            others[number] = False
            needed[number] = not (others & (both <= both[number]).all(axis=1)).any()
        return needed

    def spread(self, most: int, also: int | None) -> np.ndarray:
        """(n,) about `most` of the candidates: half evenly by number, half by weight, and those that are needed."""
        number = np.arange(len(self.cost))
        even = np.linspace(0, len(number) - 1, max(1, most // 2)).astype(int)
        by_weight = np.searchsorted(self.weight, np.linspace(0, self.weight[-1], max(1, most // 2)))
        return np.isin(number, np.concatenate([even, by_weight, self.last[:1], self.last[-1:], [also or 0]]))

    def fits(self, chosen: Sequence[int]) -> bool:
        return bool((self.use[list(chosen)].sum(axis=0) <= 1 + SAME).all())

    def value(self, chosen: Sequence[int]) -> float:
        """The cost of a list in order of size."""
        hits = np.diff(self.weight[list(chosen)], prepend=0.0)
        return float(hits @ self.cost[list(chosen)])


class Rows(NamedTuple):
    """V and where each best list goes on: (k, n) each; -1 where the bucket is the smallest."""

    best: np.ndarray
    split: np.ndarray

    def chosen(self, k: int, last: np.ndarray) -> tuple[int, ...] | None:
        """The best list of k buckets, if there is one."""
        at = int(last[np.argmin(self.best[k - 1, last])])
        if not np.isfinite(self.best[k - 1, at]):
            return None
        found = [at]
        for row in range(k - 1, 0, -1):
            found.append(int(self.split[row, found[-1]]))
        return tuple(reversed(found))


def programme(given: Candidates, k: int, penalty: np.ndarray | float = 0.0) -> Rows:
    """All rows of the dynamic programme; `penalty`: (n,) what each bucket costs by itself."""
    alone, floor = given.alone, given.floor
    row = _row if given.monotone else _row_any_cost
    best, split = [alone + penalty], [np.full(len(alone), -1)]
    for _ in range(1, k):
        value, index = row(best[-1], given.weight, given.cost, floor)
        split.append(index)
        best.append(value + penalty)
    return Rows(np.array(best), np.array(split))


def _row(before: np.ndarray, weight: np.ndarray, cost: np.ndarray, floor: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For every j the lowest V[i] + g(i, j) and its i, where the best i never moves left: all of a level at once."""
    value, best = np.full(len(cost), np.inf), np.full(len(cost), -1)
    # Columns first..last have their best i in low..high.
    first, last, low, high = (np.array([x]) for x in (1, len(cost) - 1, 0, len(cost) - 2))
    while True:
        some = first <= last
        if not some.any():
            return value, best
        first, last, low, high = first[some], last[some], low[some], high[some]
        middle = (first + last) // 2
        start = np.maximum(low, floor[middle])
        length = np.minimum(high, middle - 1) - start + 1
        offset = np.cumsum(length) - length
        index = np.arange(length.sum()) - np.repeat(offset - start, length)
        column = np.repeat(middle, length)
        values = before[index] + (weight[column] - weight[index]) * cost[column]
        lowest = np.minimum.reduceat(values, offset)
        hits = np.flatnonzero(values == np.repeat(lowest, length))
        at = index[hits[np.searchsorted(hits, offset)]]
        value[middle], best[middle] = lowest, at
        first, last = np.concatenate([first, middle + 1]), np.concatenate([middle - 1, last])
        low, high = np.concatenate([low, at]), np.concatenate([at, high])


def _row_any_cost(
    before: np.ndarray, weight: np.ndarray, cost: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same by looking at every pair, for a cost that falls somewhere."""
    number = np.arange(len(cost))
    values = before[:, None] + (weight[None, :] - weight[:, None]) * cost[None, :]
    values[(number[:, None] >= number[None, :]) | (number[:, None] < floor[None, :])] = np.inf
    best = values.argmin(axis=0)
    value = values[best, number]
    return value, np.where(np.isfinite(value), best, -1)

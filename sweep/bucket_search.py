"""Which candidates to take as buckets: exact programmes over arrays of numbers, nothing of models or builds.

Candidates are ordered by size. Candidate j serves all sizes above the next smaller bucket i and up to its own, at its
own cost: g(i, j) = (W[j] - W[i]) c[j], where W[j] is the weight of all sizes up to j and c[j] the cost of one request.
The best cost of everything up to j with at most r buckets, the largest of them j, is then

    V[r][j] = penalty[j] + min(W[j] c[j], min over i < j of V[r - 1][i] + g(i, j)).

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

LABELS = 100_000  # of a layer, before the search under limits is given up
BEAM = 300  # labels of a layer in the first, quick search
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

    def chosen(self, k: int, last: np.ndarray) -> tuple[int, ...]:
        """The best list of at most k buckets."""
        at = int(last[np.argmin(self.best[k - 1, last])])
        found = [at]
        for row in range(k - 1, 0, -1):
            at = int(self.split[row, at])
            if at < 0:
                break
            found.append(at)
        return tuple(reversed(found))


def programme(given: Candidates, k: int, penalty: np.ndarray | float = 0.0) -> Rows:
    """All rows of the dynamic programme; `penalty`: (n,) what each bucket costs by itself."""
    alone, floor = given.alone, given.floor
    row = _row if given.monotone else _row_any_cost
    best, split = [alone + penalty], [np.full(len(alone), -1)]
    for _ in range(1, k):
        value, index = row(best[-1], given.weight, given.cost, floor)
        split.append(np.where(value < alone, index, -1))
        best.append(np.minimum(value, alone) + penalty)
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


class TooManyError(Exception):
    """More labels than can be held: fewer candidates are needed for an exact answer."""


_Known = tuple[float, tuple[int, ...]]  # the best list so far and its cost


class _Bound(NamedTuple):
    """A Lagrangian bound: prices per share of each limit, and the rows under these prices."""

    price: np.ndarray
    rows: Rows


def under_limits(given: Candidates, k: int, start: Sequence[int]) -> tuple[int, ...]:
    """The cheapest list of at most k buckets that fits all limits; `start`: one that fits, of at most k.

    A resource-constrained shortest path by label setting (Desrochers and Soumis 1988, INFOR 26:191-212): a label is a
    list of the upper buckets with its cost and what it uses. It is dropped where another at the same place is no worse
    in all of these, or where its cost with the best Lagrangian bound of the rest (Handler and Zang 1980, Networks
    10:293-310) is no better than a list that is known. Prices make this faster; the answer does not depend on them.

    Raises:
        TooManyError: too many labels remain.
    """
    known = (given.value(start), tuple(start))
    bounds, known = _bounds(given, k, known)
    known = _labels(given, k, bounds, known, beam=BEAM)
    return _labels(given, k, bounds, known)[1]


def _bounds(given: Candidates, k: int, known: _Known) -> tuple[list[_Bound], _Known]:
    """Bounds at no price and at nearly the best prices, and the best list that was met on the way."""
    resources = given.use.shape[1]
    scale = float(given.weight[-1] * given.cost[given.last].min())

    def at(price: np.ndarray) -> tuple[float, _Bound, np.ndarray]:
        nonlocal known
        bound = _Bound(price, programme(given, k, given.use @ price))
        chosen = bound.rows.chosen(k, given.last)
        if given.fits(chosen) and given.value(chosen) < known[0]:
            known = (given.value(chosen), chosen)
        value = float(bound.rows.best[k - 1, given.last].min() - price.sum())
        return value, bound, given.use[list(chosen)].sum(axis=0) - 1

    price = np.zeros(resources)
    best, bound, _ = at(price)
    bounds = [bound]
    for turn in range(1 if resources == 1 else 3):
        for resource in range(resources):
            low, high, tried = 0.0, 4.0 * scale, price.copy()
            for step in range(24 if turn == 0 else 12):
                # The bound is concave in each price; what is used beyond the limit is its slope.
                tried[resource] = high if step == 0 else (low + high) / 2 if low else high / 8
                value, bound, slope = at(tried.copy())
                if value > best:
                    best, price = value, tried.copy()
                    bounds = [bounds[0], bound]
                if slope[resource] > 0:
                    low = float(tried[resource])
                else:
                    high = float(tried[resource])
    return bounds, known


class _Labels(NamedTuple):
    """L lists without their smallest buckets."""

    at: np.ndarray  # (L,) the next bucket, not paid yet
    cost: np.ndarray  # (L,) of those above it
    use: np.ndarray  # (L, R) of those above it
    parent: np.ndarray  # (L,) in the layer before
    least: np.ndarray  # (L,) cost of any whole list that begins like this

    def only(self, which: np.ndarray) -> "_Labels":
        return _Labels(*(part[which] for part in self))


def _labels(given: Candidates, k: int, bounds: list[_Bound], known: _Known, beam: int | None = None) -> _Known:
    """Lists from the largest bucket down, one more bucket a layer; `beam`: only so many labels of each layer."""
    last = given.last[(given.use[given.last] <= 1 + SAME).all(axis=1)]
    none = np.zeros((len(last), given.use.shape[1]))
    layers = [_Labels(last, np.zeros(len(last)), none, np.full(len(last), -1), np.zeros(len(last)))]
    for depth in range(k):
        labels = layers[-1]
        total = labels.cost + given.alone[labels.at]
        if total.size and total.min() < known[0]:
            known = (float(total.min()), _path(layers, int(total.argmin())))
        if depth == k - 1 or not labels.at.size:
            break
        labels = _further(given, labels, bounds, k - depth - 2, known[0])
        if beam and len(labels.at) > beam:
            labels = labels.only(np.argpartition(labels.least, beam)[:beam])
        layers.append(_undominated(labels))
    return known


def _path(layers: list[_Labels], label: int) -> tuple[int, ...]:
    found = []
    for layer in reversed(layers):
        found.append(int(layer.at[label]))
        label = int(layer.parent[label])
    return tuple(found)


def _further(given: Candidates, labels: _Labels, bounds: list[_Bound], row: int, known: float) -> _Labels:
    """Every label with each next smaller bucket that fits and can still be better than what is known."""
    floor, alone, parts, held = given.floor, given.alone, [], 0
    for number in range(len(labels.at)):
        at = int(labels.at[number])
        below = np.arange(floor[at], at)
        cost = labels.cost[number] + (given.weight[at] - given.weight[below]) * given.cost[at]
        use = labels.use[number] + given.use[at]
        useful = (use + given.use[below] <= 1 + SAME).all(axis=1)
        least = cost + alone[below] if row == 0 else np.full(len(below), -np.inf)
        for bound in bounds:
            least = np.maximum(least, cost + bound.rows.best[row, below] + float((use - 1) @ bound.price))
        useful = np.flatnonzero(useful & (least < known - SAME * abs(known)))
        if row == 0 and useful.size:  # the smallest bucket: nothing follows, so only the best one counts
            useful = useful[[least[useful].argmin()]]
            known = float(least[useful[0]])
        held += len(useful)
        if held > LABELS:
            raise TooManyError
        uses = np.broadcast_to(use, (len(useful), len(use)))
        parts.append(_Labels(below[useful], cost[useful], uses, np.full(len(useful), number), least[useful]))
    return _Labels(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def _undominated(labels: _Labels) -> _Labels:
    """Without labels that are no better than another at the same place, in cost and in every resource."""
    order = np.lexsort((*labels.use.T, labels.cost, labels.at))
    labels = labels.only(order)
    kept: list[int] = []
    for place in np.split(np.arange(len(order)), np.flatnonzero(np.diff(labels.at)) + 1):
        front = np.empty((len(place), labels.use.shape[1]))
        size = 0
        for number in place.tolist():
            use = labels.use[number]
            if not (front[:size] <= use).all(axis=1).any():
                front[size], size = use, size + 1
                kept.append(number)
    return labels.only(np.array(kept, dtype=np.int64))

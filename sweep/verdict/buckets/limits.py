"""The best list of buckets under limits: label setting with Lagrangian bounds, exact.

A limit on a sum over the chosen buckets is what divide and conquer alone cannot keep. Prices on what is limited turn it
into a cost of each bucket, which it can; the best prices bound what any list that fits can reach, and a search over
lists, from the largest bucket down, closes the gap.
"""

from typing import NamedTuple

import numpy as np

from sweep.verdict.buckets.search import SAME, Candidates, Rows, programme

LABELS = 100_000  # of a layer, before the search is given up
BEAM = 300  # labels of a layer in the first, quick search


class TooManyError(Exception):
    """More labels than can be held: fewer candidates are needed for an exact answer. `best`: a list that fits."""

    best: tuple[int, ...] | None = None


_Known = tuple[float, tuple[int, ...] | None]  # the lowest cost so far and its list


class _Bound(NamedTuple):
    """A Lagrangian bound: prices per share of each limit, and the rows under these prices."""

    price: np.ndarray
    rows: Rows


def under_limits(given: Candidates, k: int, known: float) -> tuple[int, ...] | None:
    """The cheapest list of k buckets that fits all limits, if there is one that is cheaper than `known`.

    A resource-constrained shortest path by label setting (Desrochers and Soumis 1988, INFOR 26:191-212): a label is a
    list of the upper buckets with its cost and what it uses. It is dropped where another at the same place is no worse
    in all of these, or where its cost with the best Lagrangian bound of the rest (Handler and Zang 1980, Networks
    10:293-310) is no better than a list that is known. Prices make this faster; the answer does not depend on them.

    Raises:
        TooManyError: too many labels remain.
    """
    bounds, best = _bounds(given, k, (known, None))
    try:
        best = _labels(given, k, bounds, best, beam=BEAM)
        return _labels(given, k, bounds, best)[1]
    except TooManyError as error:
        error.best = best[1]
        raise


def _bounds(given: Candidates, k: int, known: _Known) -> tuple[list[_Bound], _Known]:
    """Bounds at no price and at nearly the best prices, and the best list that was met on the way."""
    resources = given.use.shape[1]
    scale = float(given.weight[-1] * given.cost[given.last].min())

    def at(price: np.ndarray) -> tuple[float, _Bound, np.ndarray]:
        nonlocal known
        bound = _Bound(price, programme(given, k, given.use @ price))
        chosen = bound.rows.chosen(k, given.last)
        if chosen is None:  # fewer than k candidates
            return -np.inf, bound, np.zeros(resources)
        if given.fits(chosen) and given.value(chosen) < known[0]:
            known = (given.value(chosen), chosen)
        value = float(bound.rows.best[k - 1, given.last].min() - price.sum())
        return value, bound, given.use[list(chosen)].sum(axis=0) - 1

    def improve(price: np.ndarray, resource: int, steps: int) -> tuple[float, _Bound]:
        """The best bound along one price: it is concave, and what is used beyond the limit is its slope."""
        best, bound, _ = at(price)
        low, high = 0.0, 4.0 * scale
        for step in range(steps):
            if best >= known[0]:  # nothing can be better than what is known
                break
            tried = price.copy()
            tried[resource] = high if step == 0 else (low + high) / 2 if low else high / 8
            value, other, slope = at(tried)
            if value > best:
                best, bound = value, other
            if slope[resource] > 0:
                low = float(tried[resource])
            else:
                high = float(tried[resource])
        return best, bound

    single = [improve(np.zeros(resources), resource, 24) for resource in range(resources)]
    value, bound = max(single, key=lambda pair: pair[0])
    bounds = [at(np.zeros(resources))[1], *(other for _, other in single)]
    for turn in range(2 * resources if resources > 1 else 0):
        value, bound = max((value, bound), improve(bound.price, turn % resources, 12), key=lambda pair: pair[0])
    if resources > 1:
        bounds.append(bound)
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
        if not labels.at.size:
            return known
        if depth == k - 1:
            total = labels.cost + given.alone[labels.at]
            return (float(total.min()), _path(layers, int(total.argmin()))) if total.min() < known[0] else known
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
        useful = np.flatnonzero(useful & (least < known * (1 - SAME)))
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

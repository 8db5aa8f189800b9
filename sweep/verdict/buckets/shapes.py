"""The best list of buckets where sizes do not all fit in each other, as heights and widths of images.

There is no order to build a programme on. Few candidates are searched whole; more by adding the best one and then
exchanging single ones until nothing improves, which finds a good list and does not show that it is the best.
"""

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.spec import UserError
from sweep.verdict.buckets.cost import SHARE, Choice, Curve, better, evaluate, no_list
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

WHOLE = 20_000  # lists that are all looked at
SIDE = 8  # different sizes of each dimension that are combined to candidates

Key = tuple[int, ...]  # numbers of candidates, rising
Worth = tuple[float, ...]  # smaller is better


def solve(
    traffic: Traffic, cost: Curve, k_max: int, limits: dict[str, float], shapes: "np.ndarray | None", objective: str
) -> tuple[Choice, ...]:
    """See `bucketing.solve`. Without `shapes`, every size of one dimension with every one of the others."""
    exact = True
    if shapes is None:
        shapes, exact = _grid(traffic)
        seconds = [point.seconds for point in cost.points]
        exact &= seconds == sorted(seconds)  # only then a bucket is best as small as what it serves
    if not (shapes >= traffic.largest).all(axis=1).any() and any(
        not (shapes >= size).all(axis=1).any() for size in traffic.sizes
    ):
        raise UserError(f"the candidates do not cover every size: add {list(traffic.largest)}")
    search = _Search(traffic, cost, limits, shapes, objective)
    found: list[Choice] = []
    best: Key | None = None
    for k in range(1, min(k_max, len(shapes)) + 1):
        whole = math.comb(len(shapes), k) <= WHOLE
        best = search.whole(k) if whole else search.exchange(k, best)
        if best is None:
            continue
        choice = replace(evaluate(traffic, cost, shapes[list(best)]), exact=exact and whole)
        if not found or better(choice, found[-1], objective):
            found.append(choice)
    if not found:
        raise no_list(evaluate(traffic, cost, [traffic.largest]), limits)
    return tuple(found)


def _grid(traffic: Traffic) -> tuple["np.ndarray", bool]:
    """Candidates, (n, D), in order of size, and whether they are all."""
    import numpy as np

    sides, exact = [], True
    for dimension in traffic.sizes.T:
        order = np.argsort(dimension, kind="stable")
        side = np.unique(dimension)
        if len(side) > SIDE:
            total = np.cumsum(traffic.weights[order])
            share = np.searchsorted(total, total[-1] * np.arange(1, SIDE + 1) / SIDE * (1 - 1e-12))
            side, exact = np.unique(np.append(dimension[order][share], side[-1])), False
        sides.append(side)
    shapes = np.array(list(itertools.product(*sides)), dtype=np.int64)
    return shapes[np.argsort(units(shapes), kind="stable")], exact


class _Search:
    def __init__(
        self, traffic: Traffic, cost: Curve, limits: dict[str, float], shapes: "np.ndarray", objective: str
    ) -> None:
        import numpy as np

        elements = units(shapes)
        self._fits: np.ndarray = np.all(traffic.sizes[:, None, :] <= shapes[None, :, :], axis=2)
        self._weights = traffic.weights / traffic.weights.sum()
        self._seconds = cost.values("seconds", elements)
        uses = [cost.values(name, elements) / limit for name, limit in limits.items()]
        self._use = np.array(uses).reshape(len(limits), len(shapes))
        self._p99 = objective == "p99"

    def worth(self, key: Key) -> Worth | None:
        """What is minimised, or None where a size is not covered or a limit exceeded."""
        import numpy as np

        chosen = list(key)
        fits = self._fits[:, chosen]
        if not fits.any(axis=1).all() or (self._use[:, chosen].sum(axis=1) > 1 + 1e-12).any():
            return None
        seconds = self._seconds[chosen]
        shares = np.bincount(fits.argmax(axis=1), self._weights, len(chosen))
        mean = float(shares @ seconds)
        if not self._p99:
            return (mean,)
        order = np.argsort(seconds, kind="stable")
        return float(seconds[order][np.searchsorted(np.cumsum(shares[order]), SHARE)]), mean

    def _best(self, keys: "itertools.chain[Key] | itertools.combinations[Key] | set[Key]") -> Key | None:
        rated = ((worth, key) for key in keys if (worth := self.worth(key)) is not None)
        return min(rated, default=(None, None))[1]

    def whole(self, k: int) -> Key | None:
        """The best of all lists of k."""
        return self._best(itertools.combinations(range(len(self._seconds)), k))

    def exchange(self, k: int, start: Key | None) -> Key | None:
        """A list of k that no exchange of one bucket makes better."""
        if start is None:
            return None
        count = len(self._seconds)
        best = self._best({_with(start, number) for number in range(count) if number not in start})
        while best is not None:
            rest = [best[:place] + best[place + 1 :] for place in range(len(best))]
            again = self._best({_with(some, number) for some in rest for number in range(count) if number not in some})
            if again is None or (self.worth(again) or ()) >= (self.worth(best) or ()):
                break
            best = again
        return best


def _with(key: Key, number: int) -> Key:
    return tuple(sorted((*key, number)))

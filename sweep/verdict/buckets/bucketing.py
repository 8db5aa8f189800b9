"""The best list of buckets for given traffic, from a cost curve.

Some bucket must hold the largest size; any other may be given up. Only some shapes need to be looked at: a bucket
that is not the size of any item can be made smaller, down to the next size, without changing what it serves, and costs
less unless the curve falls there. A curve falls only between measured sizes, so these are looked at too.
`cost` says what is minimised, `search` how it is found.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.spec import UserError
from sweep.verdict.buckets.cost import (
    SHARE,
    Choice,
    Curve,
    Point,
    Shape,
    as_shapes,
    better,
    describe_excess,
    evaluate,
    no_list,
    pad_to_max,
    powers_of_two,
    serve,
    waste,
)
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Choice", "Curve", "Point", "Traffic", "evaluate", "pad_to_max", "powers_of_two", "serve", "solve", "waste"]

FREE, LIMITED = 2_000, 200  # candidates, without limits and under limits; more are thinned out first
PRICES = 32  # on what is limited, which are tried for a list to begin an exchange from
OBJECTIVES = ("mean", "p99")


def solve(
    traffic: Traffic,
    cost: Curve,
    k_max: int,
    *,
    memory_mb: float | None = None,
    build_seconds: float | None = None,
    candidates: Iterable[int | Shape] | None = None,
    objective: str = "mean",
) -> tuple[Choice, ...]:
    """The best list of k buckets for k = 1, 2, ... k_max, as far as each is better than all before it.

    A k is left out where no list of k buckets that fits the limits is better than one of fewer buckets; k = 1 is always
    there. `memory_mb`, `build_seconds`: what all buckets of a list may take together. `candidates`: the shapes to
    choose from; default every size that occurs and every measured one. `objective`: "mean", the expected seconds per
    item; "p99", first the p99 of a request and then the mean (one bucket at the 99th percentile gives the best p99).

    `Choice.exact` says whether no other list of so many buckets is better. Without limits that holds where each size
    fits in the next, for up to 2,000 candidates that matter; more are thinned out, which costs 0.03 % or less. Under
    limits the best list of all is taken where it fits. Else up to 20,000 lists are all looked at; above, of 200
    candidates, one list is improved by exchange: 0.1 % from the best on average, 5 % at worst (decision 115). Sizes of
    several dimensions that do not fit in each other are searched in the same way.

    Raises:
        UserError: no candidate covers the largest size, one bucket alone is over a limit, or a limit's cost is unknown.
    """
    from sweep.verdict.buckets import shapes as bucket_shapes

    if k_max < 1 or objective not in OBJECTIVES:
        raise UserError(f"k_max must be at least 1 and the objective one of {', '.join(OBJECTIVES)}")
    limits = _limits(cost, memory_mb=memory_mb, build_seconds=build_seconds)
    shapes = None if candidates is None else as_shapes(candidates, traffic.dimensions)
    if not _ordered(traffic, shapes):
        return bucket_shapes.solve(traffic, cost, k_max, limits, shapes, objective)
    return _Chain(traffic, cost, limits, shapes, objective).solve(k_max)


def _limits(cost: Curve, **limits: float | None) -> dict[str, float]:
    """The limits that are set, checked."""
    known = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in known.items():
        if not limit > 0:
            raise UserError(f"the limit {name} must be above 0, not {limit}")
        if not cost.knows(name):
            raise UserError(f"a limit of {name} needs a cost curve with {name}: measure it, or leave the limit out")
    return known


def _ordered(traffic: Traffic, shapes: "np.ndarray | None") -> bool:
    """Whether each size and candidate fits in the next."""
    import numpy as np

    together = traffic.sizes if shapes is None else np.concatenate([traffic.sizes, shapes])
    return Traffic.of(together).ordered


class _Chain:
    """The choice among candidates of which each fits in the next."""

    def __init__(
        self, traffic: Traffic, cost: Curve, limits: dict[str, float], shapes: "np.ndarray | None", objective: str
    ) -> None:
        import numpy as np

        self._traffic, self._cost, self._limits, self._objective = traffic, cost, limits, objective
        if shapes is None:
            measured = [point.size for point in cost.points if len(point.size) == traffic.dimensions == 1]
            shapes = np.concatenate([traffic.sizes, as_shapes(measured, 1)]) if measured else traffic.sizes
            shapes = as_shapes(shapes, traffic.dimensions)
        covered = np.searchsorted(units(traffic.sizes), units(shapes), side="right")
        if covered[-1] < len(traffic.sizes):
            raise UserError(f"no candidate covers the largest size: add {list(traffic.largest)}")
        self._shapes = shapes[covered > 0]
        self._weight = np.cumsum(traffic.weights)[covered[covered > 0] - 1]  # of all sizes up to each candidate
        self._seconds = cost.values("seconds", units(self._shapes))

    def solve(self, k_max: int) -> tuple[Choice, ...]:
        free = self._without_limits(k_max)
        limited: list[Choice | None] = []
        choices: list[Choice] = []
        for k in range(1, min(k_max, len(self._shapes)) + 1):
            choice = free[k - 1] if k <= len(free) else None
            if describe_excess(choice or free[-1], self._limits):
                limited = limited or list(self._under_limits(k_max))
                choice = limited[k - 1]
            if choice and (not choices or better(choice, choices[-1], self._objective)):
                choices.append(choice)
        return tuple(choices)

    def _choice(self, numbers: "np.ndarray", exact: bool) -> Choice:
        return replace(evaluate(self._traffic, self._cost, self._shapes[numbers]), exact=exact)

    def _without_limits(self, k_max: int) -> list[Choice]:
        """The best list of k buckets for k = 1, 2, ..."""
        import numpy as np

        from sweep.verdict.buckets import search

        needed = search.rising(self._weight, self._seconds)
        kept = needed[search.thin(self._weight[needed], FREE)]
        weight, seconds, fee = self._weight[kept], self._seconds[kept], np.zeros(len(kept))
        if self._objective == "p99":
            # A bucket at the 99th percentile gives the best p99, whatever the others are: no list costs more than what
            # this one is given for being taken.
            fee[np.searchsorted(weight, SHARE * weight[-1])] = -weight[-1] * seconds[-1]
        exact = len(kept) == len(needed)
        return [self._choice(kept[list(key)], exact) for key in search.best_lists(weight, seconds, k_max, fee)]

    def _under_limits(self, k_max: int) -> Iterator[Choice | None]:
        """A good list of k buckets that fits the limits, for k = 1, 2, ...; None if the search met none."""
        import numpy as np

        from sweep.verdict.buckets import search

        elements = units(self._shapes)
        use = np.array([self._cost.values(name, elements) / limit for name, limit in self._limits.items()])
        small = np.flatnonzero((use <= 1 + search.SAME).all(axis=0))
        if not small.size or self._weight[small[-1]] < self._weight[-1]:
            ends = np.flatnonzero(self._weight == self._weight[-1])
            raise no_list(self._choice(ends[[use[:, ends].max(axis=0).argmin()]], True), self._limits)
        pool = small[search.thin(self._weight[small], LIMITED)]
        weight, seconds, use = self._weight[pool], self._seconds[pool], use[:, pool]
        alone = np.diff(weight, prepend=0.0)  # weight of the sizes that no smaller candidate holds
        fits = np.triu(np.ones((len(pool), len(pool)), bool))[alone > 0]
        lists = search.Search(fits, alone[alone > 0], seconds, use, self._objective)
        prices = weight[-1] * seconds.max() * np.geomspace(1e-4, 1e2, PRICES)
        priced = [tuple(search.best_lists(weight, seconds, k_max, price * use.max(axis=0))) for price in prices]
        best: search.Key | None = None
        for k in range(1, k_max + 1):
            whole = lists.is_small(k)
            starts = {keys[k - 1] for keys in priced if k <= len(keys)} | set(lists.extend(best) if best else ())
            best = lists.whole(k) if whole else lists.exchange(starts)
            yield self._choice(pool[list(best)], whole and len(pool) == len(small)) if best else None

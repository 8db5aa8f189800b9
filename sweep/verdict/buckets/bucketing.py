"""The best list of buckets for given traffic, from a cost curve: exact, with or without limits.

Some bucket must cover the largest size; any other may be given up. Only some shapes need to be looked at: a bucket
that is not the size of any item can be made smaller, down to the next size, without changing what it serves, and costs
less unless the curve falls there. A curve falls only between measured sizes, so these are looked at too.
`cost` says what is minimised, `search` and `limits` how it is found and why that is exact.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from sweep.spec import UserError
from sweep.verdict.buckets.cost import (
    SHARE,
    Choice,
    Curve,
    Point,
    Shape,
    as_shapes,
    better,
    evaluate,
    no_list,
    over,
    pad_to_max,
    powers_of_two,
    serve,
    waste,
)
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

    from sweep.verdict.buckets.search import Candidates

__all__ = ["Choice", "Curve", "Point", "Traffic", "evaluate", "pad_to_max", "powers_of_two", "serve", "solve", "waste"]

LIMITED = 10_000  # candidates up to which limits are handled exactly; more are thinned out first
FALLING = 500  # the same where the cost falls with the size somewhere, which takes all pairs
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

    Exact for all sizes of one dimension, and of several where each size fits in the next, but: under limits that rule
    out the best list, more than 10,000 candidates (500 where the curve falls), or fewer where the search would hold
    too many lists, are thinned out by weight, and a k that is then left out is not proven to be of no use; and p99
    under limits leaves out shapes that cost more time than a larger one. Sizes of several dimensions that do not fit
    in each other are searched whole where that is quick, else by exchange. `Choice.exact` says which.

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
    """The limits that are set, each with a cost that is known."""
    found = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in found.items():
        if not limit > 0:
            raise UserError(f"the limit {name} must be above 0, not {limit}")
        if not cost.knows(name):
            raise UserError(f"a limit of {name} needs a cost curve with {name}: measure it, or leave the limit out")
    return found


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
        weight = np.cumsum(traffic.weights)[covered - 1]
        self._shapes, self._weight = shapes[covered > 0], weight[covered > 0]
        self._seconds = cost.values("seconds", units(self._shapes))
        self._pool: _Pool | None = None

    def solve(self, k_max: int) -> tuple[Choice, ...]:
        import numpy as np

        from sweep.verdict.buckets import search

        every = search.Candidates(self._weight, self._seconds, np.empty((len(self._weight), 0)))
        free, shapes = every.only(every.cheapest), self._shapes[every.cheapest]
        free = replace(free, through=_through(free, self._objective))
        rows = search.programme(free, min(k_max, len(shapes)))
        found: list[Choice] = []
        limited = False  # the best list of all is over a limit
        for k in range(1, min(k_max, len(self._shapes)) + 1):
            choice = None
            if k <= len(shapes):
                chosen = rows.chosen(k, free.last) if k > 1 else (len(shapes) - 1,)
                choice = self._evaluate(shapes[list(chosen)]) if chosen else None
                limited = bool(choice and over(choice, self._limits))
            if limited:
                choice = self._under_limits(k, found)
            if choice and (not found or better(choice, found[-1], self._objective)):
                found.append(choice)
        if self._objective == "p99" and self._limits:  # slower shapes are left out, and may be what fits
            return tuple(replace(choice, exact=False) for choice in found)
        return tuple(found)

    def _evaluate(self, shapes: "np.ndarray") -> Choice:
        return evaluate(self._traffic, self._cost, shapes)

    def _under_limits(self, k: int, before: list[Choice]) -> Choice | None:
        """The best list of k buckets that fits, if it is better than those before; of fewer candidates if need be."""
        from sweep.verdict.buckets import limits as bucket_limits

        scale = self._cost.batch * float(self._weight[-1])
        found: Choice | None = None
        most = LIMITED
        while True:
            if self._pool is None:
                self._pool = self._fitting(most)
            pool, complete = self._pool, True
            known = min((choice.expected_seconds for choice in [*before, found] if choice), default=math.inf) * scale
            try:
                chosen = bucket_limits.under_limits(pool.given, k, known) if k > 1 else pool.start
            except bucket_limits.TooManyError as error:
                chosen, complete = error.best, False
                most, self._pool = len(pool.shapes) // 2, None
            if chosen:
                found = self._evaluate(pool.shapes[list(chosen)])
            if complete:
                return found and replace(found, exact=pool.exact)

    def _fitting(self, most: int) -> "_Pool":
        """At most `most` of the candidates that fit the limits by themselves."""
        import numpy as np

        from sweep.verdict.buckets import search

        elements = units(self._shapes)
        use = [self._cost.values(name, elements) / limit for name, limit in self._limits.items()]
        given, shapes = search.Candidates(self._weight, self._seconds, np.column_stack(use)), self._shapes
        exact = True
        if self._objective == "p99":
            given, shapes = given.only(given.cheapest), shapes[given.cheapest]
        small: np.ndarray = np.all(given.use <= 1 + search.SAME, axis=1)
        if not small[given.last].any():
            least = given.last[given.use[given.last].max(axis=1).argmin()]
            raise no_list(self._evaluate(shapes[[least]]), self._limits)
        given, shapes = given.only(small), shapes[small]
        for limit in (most, None, min(most, FALLING)):
            if limit is None:
                kept = given.undominated
            elif len(shapes) > limit and (limit == most or not given.monotone):
                kept, exact = given.spread(limit, _through(given, self._objective)), False
            else:
                continue
            given, shapes = given.only(kept), shapes[kept]
        given = replace(given, through=_through(given, self._objective))
        start = int(given.last[given.cost[given.last].argmin()])
        return _Pool(given, shapes, (start,), exact and most == LIMITED)


class _Pool(NamedTuple):
    """Candidates that fit the limits, their shapes, the best single one, and whether none was left out."""

    given: "Candidates"
    shapes: "np.ndarray"
    start: tuple[int, ...]
    exact: bool


def _through(given: "Candidates", objective: str) -> int | None:
    """The bucket that makes p99 the best it can be: the smallest that 99 of 100 items fit in, beside the largest.

    Whatever the other buckets are, no list has a better p99 where larger ones cost more, and nothing else is needed.
    """
    import numpy as np

    first, last = int(np.searchsorted(given.weight, SHARE * given.weight[-1])), len(given.weight) - 1
    fitting = (number for number in range(first, last) if given.fits([number, last]))
    return next(fitting, None) if objective == "p99" else None

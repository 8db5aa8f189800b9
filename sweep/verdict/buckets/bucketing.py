"""The best list of buckets for given traffic, from a cost curve.

Some bucket must hold the largest size; any other may be given up. Only some shapes need to be looked at: a bucket
that is not the size of any item can be made smaller, down to the next size, without changing what it serves, and costs
less unless the curve falls there. A curve falls only between measured sizes, so these are looked at too.
`cost` says what is minimised, `search` how it is found.
"""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.spec import UserError
from sweep.verdict.buckets.cost import SHARE, Choice, Curve, as_shapes, better, describe_excess, evaluate
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

FREE, LIMITED = 2_000, 200  # candidates, without limits and under limits; more are thinned out first
PRICES = 32  # on what is limited, which are tried for a list to begin an exchange from
SIDE = 8  # different sizes of each dimension that are combined to candidates
OBJECTIVES = ("mean", "p99")


def solve(
    traffic: Traffic,
    cost: Curve,
    k_max: int,
    *,
    memory_mb: float | None = None,
    build_seconds: float | None = None,
    objective: str = "mean",
) -> tuple[Choice, ...]:
    """The best list of k buckets for k = 1, 2, ... k_max, as far as each is better than all before it.

    A k is left out where no list of k buckets that fits the limits is better than one of fewer buckets; k = 1 is always
    there. `memory_mb`, `build_seconds`: what all buckets of a list may take together. `objective`: "mean", the expected
    seconds per item; "p99", first the p99 of a request and then the mean (one bucket at the 99th percentile gives the
    best p99).

    `Choice.exact` says whether no other list of so many buckets is better. Without limits that holds where each size
    fits in the next, for up to 2,000 candidates that matter; more are thinned out, which costs 0.03 % or less. Under
    limits the best list of all is taken where it fits. Else up to 20,000 lists are all looked at; above, of 200
    candidates, one list is improved by exchange: 0.1 % from the best on average, 5 % at worst (decision 115). Sizes of
    several dimensions that do not fit in each other are searched in the same way, among all combinations of up to
    `SIDE` sizes of each dimension.

    Raises:
        UserError: one bucket alone is over a limit, or a limit's cost is unknown.
    """
    if k_max < 1 or objective not in OBJECTIVES:
        raise UserError(f"k_max must be at least 1 and the objective one of {', '.join(OBJECTIVES)}")
    limits = _limits(cost, memory_mb=memory_mb, build_seconds=build_seconds)
    free = _solve_free(traffic, cost, k_max, objective) if traffic.ordered else {}
    is_limited = not free or any(describe_excess(choice, limits) for choice in free.values())
    searched = _solve_by_search(traffic, cost, k_max, limits, objective) if is_limited else {}
    choices: list[Choice] = []
    for k in range(1, k_max + 1):
        choice = free.get(k)
        if choice is None or describe_excess(choice, limits):
            choice = searched.get(k)
        if choice and (not choices or better(choice, choices[-1], objective)):
            choices.append(choice)
    if not choices:
        alone = evaluate(traffic, cost, [traffic.largest])
        excess = describe_excess(alone, limits)
        raise UserError(f"no list of buckets fits: {list(traffic.largest)} alone {excess}; raise it")
    return tuple(choices)


def _limits(cost: Curve, **limits: float | None) -> dict[str, float]:
    """The limits that are set, checked."""
    known = {name: limit for name, limit in limits.items() if limit is not None}
    for name, limit in known.items():
        if not limit > 0:
            raise UserError(f"the limit {name} must be above 0, not {limit}")
        if not cost.knows(name):
            raise UserError(f"a limit of {name} needs a cost curve with {name}: measure it, or leave the limit out")
    return known


def _solve_free(traffic: Traffic, cost: Curve, k_max: int, objective: str) -> dict[int, Choice]:
    """The best list of every number of buckets where nothing is limited and each size fits in the next."""
    import numpy as np

    from sweep.verdict.buckets import search

    shapes = _list_chain(traffic, cost)
    weight, seconds = _sum_weights(traffic, shapes), cost.values("seconds", units(shapes))
    needed = search.rising(weight, seconds)
    kept = needed[search.thin(weight[needed], FREE)]
    weight, seconds, fee = weight[kept], seconds[kept], np.zeros(len(kept))
    if objective == "p99":
        # A bucket at the 99th percentile gives the best p99, whatever the others are: no list costs more than what
        # this one is given for being taken.
        fee[np.searchsorted(weight, SHARE * weight[-1])] = -weight[-1] * seconds[-1]
    exact = len(kept) == len(needed)
    keys = search.best_lists(weight, seconds, k_max, fee)
    return {len(key): replace(evaluate(traffic, cost, shapes[kept[list(key)]]), exact=exact) for key in keys}


def _solve_by_search(
    traffic: Traffic, cost: Curve, k_max: int, limits: Mapping[str, float], objective: str
) -> dict[int, Choice]:
    """A good list of every number of buckets for which the search met one that fits the limits."""
    import numpy as np

    from sweep.verdict.buckets import search

    shapes, exact = (_list_chain(traffic, cost), True) if traffic.ordered else _make_grid(traffic, cost)
    elements = units(shapes)
    use = np.array([cost.values(name, elements) / limit for name, limit in limits.items()]).reshape(-1, len(shapes))
    pool = small = np.flatnonzero((use <= 1 + search.SAME).all(axis=0))
    if traffic.ordered:
        pool = small[search.thin(_sum_weights(traffic, shapes[small]), LIMITED)]
    shapes, use, seconds = shapes[pool], use[:, pool], cost.values("seconds", elements[pool])
    fits: np.ndarray = np.all(traffic.sizes[:, None, :] <= shapes, axis=2)
    if not fits.any(axis=1).all():
        return {}
    priced: list[tuple[search.Key, ...]] = []
    if traffic.ordered:
        weight = _sum_weights(traffic, shapes)
        prices = weight[-1] * seconds.max() * np.geomspace(1e-4, 1e2, PRICES)
        priced = [tuple(search.best_lists(weight, seconds, k_max, price * use.max(axis=0))) for price in prices]
    lists = search.Search(fits, traffic.weights, seconds, use, objective)
    choices: dict[int, Choice] = {}
    best: search.Key | None = ()
    for k in range(1, k_max + 1):
        is_small = lists.is_small(k)
        starts = {keys[k - 1] for keys in priced if k <= len(keys)} | set(() if best is None else lists.extend(best))
        best = lists.whole(k) if is_small else lists.exchange(starts)
        if best is not None:
            proven = exact and is_small and len(pool) == len(small)
            choices[k] = replace(evaluate(traffic, cost, shapes[list(best)]), exact=proven)
    return choices


def _list_chain(traffic: Traffic, cost: Curve) -> "np.ndarray":
    """Candidates of which each fits in the next, (n, D): the sizes that occur and those that were measured."""
    import numpy as np

    measured = [point.size for point in cost.points if len(point.size) == traffic.dimensions == 1]
    shapes = np.concatenate([traffic.sizes, as_shapes(measured, 1)]) if measured else traffic.sizes
    shapes = as_shapes(shapes, traffic.dimensions)
    return shapes[units(shapes) >= units(traffic.sizes[:1])]


def _sum_weights(traffic: Traffic, shapes: "np.ndarray") -> "np.ndarray":
    """(n,): the weight of all sizes up to each candidate of a chain."""
    import numpy as np

    weights: np.ndarray = np.cumsum(traffic.weights)
    return weights[np.searchsorted(units(traffic.sizes), units(shapes), side="right") - 1]


def _make_grid(traffic: Traffic, cost: Curve) -> tuple["np.ndarray", bool]:
    """Candidates where sizes do not fit in each other, (n, D) in order of size, and whether no other can be better."""
    import numpy as np

    seconds = [point.seconds for point in cost.points]
    sides, exact = [], seconds == sorted(seconds)  # only then a bucket is best as small as what it serves
    for dimension in traffic.sizes.T:
        order = np.argsort(dimension, kind="stable")
        side = np.unique(dimension)
        if len(side) > SIDE:
            total = np.cumsum(traffic.weights[order])
            share = np.searchsorted(total, total[-1] * np.arange(1, SIDE + 1) / SIDE * (1 - 1e-12))
            side, exact = np.unique(np.append(dimension[order][share], side[-1])), False
        sides.append(side)
    return as_shapes(np.array(list(itertools.product(*sides)), dtype=np.int64), traffic.dimensions), exact

"""The best list of buckets where sizes do not all fit in each other, as heights and widths of images."""

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.spec import UserError
from sweep.verdict.buckets.cost import Choice, Curve, better, evaluate, no_list
from sweep.verdict.buckets.traffic import Traffic, units

if TYPE_CHECKING:
    import numpy as np

SIDE = 8  # different sizes of each dimension that are combined to candidates


def solve(
    traffic: Traffic, cost: Curve, k_max: int, limits: dict[str, float], shapes: "np.ndarray | None", objective: str
) -> tuple[Choice, ...]:
    """See `bucketing.solve`. Without `shapes`, every size of one dimension with every one of the others."""
    import numpy as np

    from sweep.verdict.buckets.search import Search

    exact = True
    if shapes is None:
        shapes, exact = _grid(traffic)
        seconds = [point.seconds for point in cost.points]
        exact &= seconds == sorted(seconds)  # only then a bucket is best as small as what it serves
    fits: np.ndarray = np.all(traffic.sizes[:, None, :] <= shapes[None, :, :], axis=2)
    if not fits.any(axis=1).all():
        raise UserError(f"the candidates do not cover every size: add {list(traffic.largest)}")
    elements = units(shapes)
    use = np.array([cost.values(name, elements) / limit for name, limit in limits.items()]).reshape(-1, len(shapes))
    search = Search(fits, traffic.weights, cost.values("seconds", elements), use, objective)
    choices: list[Choice] = []
    best: tuple[int, ...] | None = ()
    for k in range(1, min(k_max, len(shapes)) + 1):
        whole = search.is_small(k)
        best = search.whole(k) if whole else search.exchange(search.extend(best)) if best is not None else None
        if best is None:
            continue
        choice = replace(evaluate(traffic, cost, shapes[list(best)]), exact=exact and whole)
        if not choices or better(choice, choices[-1], objective):
            choices.append(choice)
    if not choices:
        raise no_list(evaluate(traffic, cost, [traffic.largest]), limits)
    return tuple(choices)


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

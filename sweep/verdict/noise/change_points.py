"""How much of a series of measurements a change of level that all groups share would explain.

The machinery of `drift`: arrays in, arrays out. A group is a thing that was measured more than once. It has its own
level, so steps and slopes are looked at within groups. numpy is imported inside functions, to keep start-up short.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[np.float64]]
    Numbers = np.ndarray[Any, np.dtype[np.int64]]

SIDE = 3  # points on each side of a step, at least: one slow measurement is no new level
EDGES = 64  # places at which an episode may begin or end, in a long series
PRIOR = 4.0  # points' worth of belief that a group is as noisy as all are
CLIP = 4.0  # standard deviations from its group's level that a point may lie away
HUBER = 1.5  # standard deviations from which a residual loses weight
ROUNDS = 12  # of reweighting
STEADIER = 1.0  # standard errors by which the autocorrelation is taken to be higher than estimated
USUAL, BELIEF = 0.5, 12.0  # autocorrelation that is believed in beforehand, and as strongly as so many points speak
HIGHEST = 0.9  # autocorrelation: beyond that noise and drift are the same thing
TINY = 1e-12


class Data(NamedTuple):
    """The points of groups with more than one."""

    logs: "Array"  # of their values
    group: "Numbers"  # number of each point's group
    sizes: "Array"  # points of each group
    places: "Numbers"  # number of each point in the whole series
    done: "Array"  # share of the whole series that came before each point


class Model(NamedTuple):
    """Changes of level: the number of each step's first point in `Data`, and its p; the p of a trend, if any."""

    cuts: tuple[int, ...] = ()
    chances: tuple[float, ...] = ()
    trend: float | None = None

    def with_steps(self, *cuts: int) -> "Model":
        return self._replace(cuts=(*self.cuts, *cuts), chances=(*self.chances, *[1.0] * len(cuts)))

    def with_chances(self, before: "Model", chance: float) -> "Model":
        """With this p for the changes that `before` does not have."""
        chances = (*self.chances[: len(before.cuts)], *[chance] * (len(self.cuts) - len(before.cuts)))
        return self._replace(chances=chances, trend=chance if before.trend is None and self.trend else self.trend)

    def columns(self, data: Data) -> "Array":
        """[changes, points]: the trend, where there is one, from 0 at the first to 1 at the last; then the steps."""
        import numpy as np

        rows = [] if self.trend is None else [data.done]
        rows += [(np.arange(len(data.logs)) >= cut).astype(float) for cut in self.cuts]
        return np.array(rows, float).reshape(-1, len(data.logs))


class Fit(NamedTuple):
    """Sizes of a model's changes in logs, their standard errors for independent noise, and what is left over."""

    sizes: "Array"
    errors: "Array"
    degrees: float
    residual: "Array"
    scale: "Array"  # standard deviation that each point is believed to have


def group_points(values: Sequence[float], groups: Sequence[str]) -> Data | None:
    """None if there are too few points for both sides of a step."""
    import numpy as np

    if not values:
        return None
    _, group, sizes = np.unique(np.array(groups), return_inverse=True, return_counts=True)
    places = np.flatnonzero(sizes[group] > 1)
    if len(places) < 2 * SIDE:
        return None
    _, group, sizes = np.unique(group[places], return_inverse=True, return_counts=True)
    logs = np.log(np.array(values, float)[places])
    return Data(logs, group, sizes.astype(float), places, places / (len(values) - 1))


def steps(data: Data, rest: "Array", scale: "Array") -> "Array":
    """What a new level from each point on takes off the sum of squares; 0 for points too near an end.

    Args:
        rest: [draws, points], of mean 0 within each group.

    Returns:
        [draws, points].
    """
    import numpy as np

    weight = 1 / scale**2
    sums = np.cumsum(rest * weight, axis=1)[:, :-1]
    # When one more point of a group goes over to the new level, m of its n being there, the weighted sum of squares of
    # the step, taken within groups, grows by 1 - (2 m + 1) / n.
    spread = np.cumsum(weight * (1 - (2 * _rank(data.group) + 1) / data.sizes[data.group]))[:-1]
    usable = spread > 1e-9 * weight.sum()
    usable[: SIDE - 1] = False
    usable[len(usable) - SIDE + 1 :] = False
    taken = np.zeros_like(rest)
    taken[:, 1:][:, usable] = sums[:, usable] ** 2 / spread[usable]
    return taken


def trend(data: Data, rest: "Array", scale: "Array") -> "Array":
    """What a slope over the whole series takes off the sum of squares: [draws]."""
    import numpy as np

    weight, slope = 1 / scale**2, within(data, data.done[None])[0]
    return np.asarray((rest @ (weight * slope)) ** 2 / max(float((weight * slope**2).sum()), TINY))


def episodes(data: Data, rest: "Array", scale: "Array") -> "tuple[Array, Numbers]":
    """What a level that begins and ends takes off the sum of squares; in a long series only `EDGES` places are tried.

    Returns:
        [draws, episodes]; and [episodes, 2]: the first point of the episode, and the first after it.
    """
    import numpy as np

    count = len(data.group)
    edges = np.unique(np.linspace(SIDE, count - SIDE, min(EDGES, count - 2 * SIDE + 1)).astype(int))
    first, last = np.triu_indices(len(edges), 1)
    long_enough = edges[last] - edges[first] >= SIDE
    first, last = first[long_enough], last[long_enough]
    weight = 1 / scale**2
    sums = np.cumsum(rest * weight, axis=1)[:, edges - 1]
    seen = np.zeros((count, len(data.sizes)))
    seen[np.arange(count), data.group] = 1.0
    seen = np.cumsum(seen, axis=0)[edges - 1]
    of_group = np.zeros(len(data.sizes))
    of_group[data.group] = weight
    inside = seen[last] - seen[first]
    spread = (inside * (1 - inside / data.sizes)) @ of_group
    usable = spread > 1e-9 * weight.sum()
    first, last, spread = first[usable], last[usable], spread[usable]
    return (sums[:, last] - sums[:, first]) ** 2 / spread, np.stack([edges[first], edges[last]], axis=1)


def clip(data: Data, logs: "Array") -> "tuple[Array, Array]":
    """Deviations from the groups' medians, clipped, of mean 0 in each group; and their scale."""
    import numpy as np

    order = np.lexsort((logs, data.group))
    starts, sizes = _starts(data), data.sizes.astype(int)
    middle = (logs[order][starts + (sizes - 1) // 2] + logs[order][starts + sizes // 2]) / 2
    away = logs - middle[data.group]
    scale = _scale(data, away)
    return within(data, np.clip(away, -CLIP * scale, CLIP * scale)[None])[0], scale


def draw_noise(
    data: Data, noise: "Array", autocorrelation: float, draws: int, random: "np.random.Generator"
) -> "Array":
    """The same noise in random orders, [draws, points], of mean 0 in each group.

    Each group's values are permuted among its own places. Noise with autocorrelation is permuted as its innovations,
    from which it is put together again.
    """
    import numpy as np

    steady = math.sqrt(1 - autocorrelation**2)
    fresh = noise.copy()
    fresh[1:] -= autocorrelation * noise[:-1]
    fresh[0] *= steady
    fresh = within(data, fresh[None])[0]
    order = np.argsort(data.group, kind="stable")
    shuffled = np.argsort(data.group[order] + random.random((draws, len(noise))), axis=1)
    series = np.empty((draws, len(noise)))
    series[:, order] = fresh[order][shuffled]
    if autocorrelation > 0:
        series[:, 0] /= steady
        for number in range(1, len(noise)):
            series[:, number] += autocorrelation * series[:, number - 1]
    return within(data, series)


def autocorrelation(data: Data, suspected: Model) -> float:
    """Autocorrelation of neighbouring residuals, with the suspected changes taken out: rather too high, never < 0.

    Too low an estimate accuses a quiet machine. It is too small by (1 + 3 r) / n where a mean is fitted (Marriott and
    Pope 1954, Biometrika 41:390-402), and about as much again for each change that was looked for. Few points say
    little, so what machines usually have is mixed in.
    """
    import numpy as np

    fitted = fit(data, suspected)
    noise = np.clip(fitted.residual / fitted.scale, -CLIP, CLIP)
    observed = float((noise[1:] * noise[:-1]).sum()) / max(float((noise**2).sum()), TINY)
    count = len(noise)
    parameters = 1 + len(suspected.cuts) + (suspected.trend is not None)
    likely = observed + parameters * (1 + 3 * max(0.0, observed)) / count
    likely = (count * likely + BELIEF * USUAL) / (count + BELIEF) + STEADIER / math.sqrt(count)
    return min(HIGHEST, max(0.0, likely))


def fit(data: Data, model: Model) -> Fit:
    """Each group's level and the model's changes, by least squares in which outliers have less weight."""
    import numpy as np

    changes = model.columns(data)
    both = np.vstack([changes, data.logs])
    trust, weight = np.ones(len(data.logs)), 1 / clip(data, data.logs)[1] ** 2
    for _ in range(ROUNDS):
        whole = np.bincount(data.group, weight)
        means = np.array([np.bincount(data.group, weight * row) / whole for row in both])
        rows = both - means[:, data.group]
        inverse = np.linalg.pinv((rows[:-1] * weight) @ rows[:-1].T, hermitian=True)
        sizes = inverse @ ((rows[:-1] * weight) @ rows[-1])
        residual = rows[-1] - sizes @ rows[:-1]
        scale = _scale(data, residual)
        trust = np.minimum(1.0, HUBER * scale / np.maximum(np.abs(residual), TINY))
        weight = trust / scale**2
    degrees = max(1.0, len(data.logs) - len(data.sizes) - len(changes))
    variance = float((weight * residual**2).sum()) / degrees
    errors = np.sqrt(np.maximum(variance * np.diag(inverse), 0.0))
    return Fit(sizes, errors, degrees, residual, scale)


def improve(data: Data, model: Model) -> Model:
    """With each step moved to where it explains most while the other changes stay."""
    import numpy as np

    for _ in range(2):
        for place in range(len(model.cuts)):
            others = model._replace(cuts=model.cuts[:place] + model.cuts[place + 1 :])
            sizes = np.delete(fit(data, model).sizes, place + (model.trend is not None))
            rest, scale = clip(data, data.logs - sizes @ others.columns(data))
            taken = steps(data, rest[None], scale)[0]
            taken[list(others.cuts)] = 0.0
            cut = int(np.argmax(taken))
            model = model._replace(cuts=(*model.cuts[:place], cut, *model.cuts[place + 1 :]))
    return model


def within(data: Data, values: "Array") -> "Array":
    """[rows, points] less the mean of each group."""
    import numpy as np

    order = np.argsort(data.group, kind="stable")
    means = np.add.reduceat(values[:, order], _starts(data), axis=1) / data.sizes
    return np.asarray(values - means[:, data.group])


def _starts(data: Data) -> "Numbers":
    """Where each group begins when the points are sorted by group."""
    import numpy as np

    return np.asarray(np.cumsum(data.sizes) - data.sizes).astype(int)


def _rank(group: "Numbers") -> "Numbers":
    """How many points of its own group come before each point."""
    import numpy as np

    order = np.argsort(group, kind="stable")
    rank = np.empty(len(group), int)
    rank[order] = np.arange(len(group)) - np.searchsorted(group[order], group[order])
    return rank


def _scale(data: Data, away: "Array") -> "Array":
    """Standard deviation of each point: of its group, drawn towards that of all groups; above 0."""
    import numpy as np

    size = np.abs(away)
    apart = size[size > 1e-9]  # a median of the group is a point of it, which is not away at all
    free = max(1.0, len(away) - len(data.sizes))
    pooled = 1.4826 * float(np.median(apart)) * math.sqrt(len(apart) / free) if len(apart) else 0.0
    pooled = max(pooled, 1e-9)
    squares = np.bincount(data.group, np.minimum(size, CLIP * pooled) ** 2)
    return np.asarray(np.sqrt((PRIOR * pooled**2 + squares) / (PRIOR + data.sizes - 1))[data.group])

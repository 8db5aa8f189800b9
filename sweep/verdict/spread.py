"""How much repeats of a trial scatter, estimated from many trials that were measured in the same few blocks.

Three repeats say little about the spread of one trial: among forty, Student's t with two degrees of freedom shows a
difference of 3x only if repeats scatter by less than 3 %. But forty trials of three repeats show their common spread.
So variances are drawn towards a common one, the more so the more alike they are: the moderated t of Smyth (2004,
Statistical Applications in Genetics and Molecular Biology 3:3). Variances follow a scaled inverse chi-squared law whose
scale and degrees of freedom d0 are found from the moments of their logarithms; a trial's variance is then the mean of
the scale and its own, weighted by d0 and d, with d0 + d degrees of freedom.

How much the variances differ is itself an estimate, and too small a value would promise too much: its upper 95 % bound
is taken. With few trials that bound leaves every trial its own variance.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sweep.verdict.stats.intervals import Ratio, Values, logarithms

if TYPE_CHECKING:
    import numpy as np

FEWEST = 8  # trials; with fewer, every trial has its own variance
ROUNDING = 1e-20  # variance of logarithms that is nothing but floating point
FLOOR = 1e-5  # of the median variance: a smaller one is repeats that agree by luck, and has no useful logarithm


def moderate(best: str, values: Mapping[str, Values]) -> dict[str, Ratio]:
    """How many times more the values of `best` are than each other trial's: above 1 where they are larger.

    Args:
        best: key of one of the trials.
        values: of each trial by repeat index.

    Returns:
        By key; empty where too few trials have repeats of the same blocks, or nothing scatters.
    """
    import numpy as np

    blocked = {key: indexed for key, indexed in values.items() if isinstance(indexed, Mapping)}
    blocks = set(blocked.get(best, ()))
    known = {key: logs for key, indexed in blocked.items() if set(indexed) == blocks and (logs := logarithms(indexed))}
    if len(known) < FEWEST or len(blocks) < 2 or best not in known:
        return {}
    levels = np.array(list(known.values()))
    variances, degrees = _moderate_variances(levels)
    if variances is None:
        return {}
    means, place = levels.mean(axis=1), list(known).index(best)
    errors = np.sqrt((variances + variances[place]) / len(blocks))
    return {
        key: Ratio(float(means[place] - mean), float(error), degrees, len(blocks), True)
        for key, mean, error in zip(known, means, errors, strict=True)
        if key != best
    }


def _moderate_variances(logs: "np.ndarray") -> tuple["np.ndarray | None", float]:
    """Moderated variances (k,) of k trials in n blocks (k, n), and their degrees of freedom.

    None where nothing scatters. A block's mean has a part of every trial's noise: beside very loud ones a quiet trial
    seems a little less so.
    """
    import numpy as np
    from scipy.special import digamma

    trials, blocks = logs.shape
    residuals = logs - logs.mean(axis=1, keepdims=True) - logs.mean(axis=0) + logs.mean()
    own = blocks - 1.0
    variances = (residuals**2).sum(axis=1) / (own * (1 - 1 / trials))  # a block's mean takes a part of each
    middle = float(np.median(variances))
    if middle < ROUNDING:
        return None, 0.0
    variances = np.maximum(variances, FLOOR * middle)
    levels = np.log(variances) - float(digamma(own / 2)) + math.log(own / 2)
    common = _estimate_prior_degrees(levels, own)
    if common <= 0:
        return variances, own
    scale = math.exp(float(levels.mean()) + float(digamma(common / 2)) - math.log(common / 2))
    return (common * scale + own * variances) / (common + own), common + own


def _estimate_prior_degrees(levels: "np.ndarray", own: float) -> float:
    """d0 from the spread of log variances beyond what `own` degrees of freedom make; at most what all trials have."""
    from scipy.optimize import brentq
    from scipy.special import chdtri, polygamma

    rest = len(levels) - 1
    bound = float(levels.var(ddof=1)) * rest / float(chdtri(rest, 0.95))  # chdtri: of the upper tail
    beyond, most = bound - float(polygamma(1, own / 2)), rest * own

    def excess(degrees: float) -> float:
        return float(polygamma(1, degrees / 2)) - beyond

    if excess(most) >= 0:
        return most
    return 0.0 if excess(1e-3) <= 0 else float(brentq(excess, 1e-3, most))

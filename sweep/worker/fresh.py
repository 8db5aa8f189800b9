"""Are inputs that the model has never seen answered as fast as those that it has?

After the window some requests of the window and fresh ones take turns. A fresh request is a request of the window with
values changed so little that the work is the same: floats move by a thousandth of themselves and stay within the range
of their array, of integers (tokens, pixels) two in every sample change places. Shapes stay, so nothing is compiled.

Worker side, Python 3.8.
"""

from statistics import median
from typing import Callable, List, Optional, Sequence, Tuple

import numpy as np

from sweep.backends.base import Arrays
from sweep.spec.facts import FreshFacts
from sweep.worker import window as measuring
from sweep.worker.window import Request

SECONDS = 0.3  # for all pairs together, by the window's latency
LEAST, MOST = 3, 20  # pairs
PATIENCE = 5  # times `SECONDS`, after which no further pair begins
SLOWEST_SECONDS = 1.0  # of a request: slower ones keep no answers that would help them
BYTES = 64 << 20  # of fresh inputs


def compare(requests: Sequence[Request], fit: Callable[[Request], Arrays], seconds: float, repeat: int) -> FreshFacts:
    """Time requests of the window and fresh ones in turns.

    Args:
        requests: that were sent in the window, with their inputs.
        fit: the host arrays of a request.
        seconds: the median latency in the window.
        repeat: number of the repeat; where pairs take longer than `SECONDS`, only the first repeat has them.
    """
    if seconds > SLOWEST_SECONDS or (repeat and 2 * LEAST * seconds > SECONDS):
        return FreshFacts(skipped="requests take too long for another look in every repeat")
    count = min(MOST, max(LEAST, int(SECONDS / (2 * max(seconds, 1e-6)))))
    generator = np.random.RandomState(repeat)
    seen: List[Request] = []
    fresh: List[Request] = []
    room = BYTES
    while len(fresh) < count and (room > 0 or len(fresh) < LEAST):
        request = requests[len(fresh) % len(requests)]
        varied = vary(fit(request), generator)
        if varied is None:
            return FreshFacts(skipped="the inputs leave nothing to vary")
        seen.append(request)
        fresh.append(request._replace(inputs=request.runner.prepare(varied)))
        room -= sum(array.nbytes for array in varied)
    pairs: List[Tuple[float, float]] = []
    for turn, pair in enumerate(zip(seen, fresh)):
        pairs.append(_time_pair(*pair, first=bool(turn % 2)))
        if len(pairs) >= LEAST and sum(map(sum, pairs)) > PATIENCE * SECONDS:
            break  # fresh ones take far longer than the window let expect
    old, new = (median(times) for times in zip(*pairs))
    slower = sum(theirs > ours for ours, theirs in pairs) / len(pairs)
    return FreshFacts(len(pairs), new / max(old, 1e-9), slower, seen_ms=1000 * old, fresh_ms=1000 * new)


def vary(arrays: Arrays, generator: "np.random.RandomState") -> Optional[Arrays]:
    """Inputs that differ from these in every sample, for the same work; None if there are none."""
    varied = tuple(_vary(array, generator) for array in arrays)
    changed = [_changed(old, new) for old, new in zip(arrays, varied) if old.ndim]
    whole = len(changed) and {len(rows) for rows in changed} == {len(changed[0])}
    return varied if whole and np.any(changed, axis=0).all() else None


def _changed(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(N,) whether a sample has other values."""
    different: np.ndarray = (old != new).reshape(len(old), -1).any(axis=1)
    return different


def _vary(array: np.ndarray, generator: "np.random.RandomState") -> np.ndarray:
    if not array.size or not array.ndim:
        return array
    if array.dtype.kind == "f":
        step = 1e-2 if array.dtype.itemsize == 2 else 1e-3
        noise = 1 + step * generator.uniform(-1, 1, array.shape)
        varied: np.ndarray = np.clip(array * noise, array.min(), array.max()).astype(array.dtype)
        return varied
    masks = 2  # values at most: a place that a mask hides may be left out of the work
    return _swap(array, generator) if array.dtype.kind in "iu" and len(np.unique(array)) > masks else array


def _swap(array: np.ndarray, generator: "np.random.RandomState") -> np.ndarray:
    """Let two unequal values of every sample change places; a sample whose values are all equal stays."""
    rows = np.array(array).reshape(len(array), -1)
    for row in rows:
        others = np.flatnonzero(row != row[generator.randint(len(row))])
        if len(others):
            a = generator.choice(others)
            b = generator.choice(np.flatnonzero(row != row[a]))
            row[[a, b]] = row[[b, a]]
    return rows.reshape(array.shape)


def _time_pair(seen: Request, fresh: Request, first: bool) -> Tuple[float, float]:
    """Seconds of both; `first`: the fresh one goes first."""
    times = {}
    for request in (fresh, seen) if first else (seen, fresh):
        begin = measuring.clock()
        request.runner.run(request.inputs)
        request.runner.synchronize()
        times[id(request)] = (measuring.clock() - begin) / 1e9
    return times[id(seen)], times[id(fresh)]

"""What one repeat says by bucket, or by size: requests, items, latency, padding, and the memory of what was loaded.

Worker side, Python 3.8.
"""

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.backends.base import Runner
from sweep.isolate import failures
from sweep.spec import Json, TrialError, UserError
from sweep.spec.metrics import QUANTILES
from sweep.worker.window import Window

SIZES = 64  # groups that dynamic sizes are told in, at most
RESOLUTION_MB = 1.0  # a resident set moves by pages and arenas of the allocator with nothing loaded at all
Bucket = Tuple[int, ...]


class Loaded(NamedTuple):
    """The builds of one replica, and what loading each of them took in MB; None where that cannot be known.

    The first one's share includes what the runtime takes to start. On a host less than `RESOLUTION_MB` is told as 0.
    """

    runners: List[Runner]
    memory_mb: List[Optional[float]]


def load(buckets: Sequence[Optional[Bucket]], one: Callable[[int], Runner], doing: Optional[Path] = None) -> Loaded:
    """Load the builds one after the other.

    Args:
        buckets: of each build.
        one: loads the build of that number.
        doing: where several are loaded, this file says which until all are: it outlives a process that is killed.

    Raises:
        TrialError, UserError: of the first build that cannot be loaded, named where there are several.
    """
    loaded = Loaded([], [])
    held = [resident_mb(), 0.0]
    for number in range(len(buckets)):
        which = "" if len(buckets) == 1 else _which(buckets, number)
        if which and doing is not None:
            doing.write_text("loading " + which)
        try:
            loaded.runners.append(one(number))
        except UserError as error:
            raise UserError("%s: %s" % (which, error) if which else str(error)) from error
        except Exception as error:
            if not which:
                raise
            kind, summary = failures.classify(error, "")
            raise TrialError(kind, "%s: %s" % (which, summary)) from error
        now = [resident_mb(), loaded.runners[-1].device_memory_mb()]
        loaded.memory_mb.append(_growth(held, now))
        held = now
    if doing is not None and doing.exists():
        doing.unlink()
    return loaded


def resident_mb() -> Optional[float]:
    """This process's resident set; None where there is no /proc."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2.0**20


def _growth(before: Sequence[Optional[float]], after: Sequence[Optional[float]]) -> Optional[float]:
    """(host, device) before and after: the growth on the device where it has memory of its own, else on the host."""
    place = 1 if after[1] else 0
    a, b = before[place], after[place]
    if a is None or b is None:
        return None
    least = 0.0 if place else RESOLUTION_MB
    return b - a if b - a >= least else 0.0


def _which(buckets: Sequence[Optional[Bucket]], number: int) -> str:
    """`bucket 128, the 3rd of 5`."""
    place = number + 1
    end = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return "bucket %s, the %d%s of %d" % ("x".join(map(str, buckets[number] or ())), place, end, len(buckets))


def timed(window: Window) -> Tuple[Dict[str, np.ndarray], Json]:
    """Of the window: items, bucket and padded size of every request, (n,), (n,) and (n, D), and its sums of work.

    Returns:
        the arrays, and `elements` and `flops`, each (of the items themselves, of what was computed), 0 where sizes do
        not vary or operations are not known.
    """
    requests, turns = window.requests, window.number
    each = {
        "items": np.array([len(request.items) for request in requests], np.int64),
        "bucket": np.array([request.bucket for request in requests], np.int64),
        "size": np.array([request.size for request in requests], np.int64).reshape(max(1, len(requests)), -1),
    }
    sums = {
        name: np.array([getattr(request, name) for request in requests], np.float64)
        .reshape(-1, 2)[turns]
        .sum(axis=0)
        .tolist()
        for name in ("elements", "flops")
    }
    return {name: array[turns] for name, array in each.items()}, sums


def notes(buckets: Sequence[Any], parts: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> Json:
    """What a repeat notes of its buckets or sizes, of padding and of loaded builds.

    Args:
        buckets: of each build, as in its spec: None and [] are not buckets.
        parts: of each replica, `memory_mb` of its builds and its sums of `timed`.
        arrays: latency_ms of every request, and what `timed` gave for it.
    """
    found: Json = {}
    memory = parts[0]["memory_mb"]
    if None not in memory:
        found["loaded_mb"] = sum(memory)
    if buckets[0]:
        found["buckets"] = [_bucket(bucket, number, memory[number], arrays) for number, bucket in enumerate(buckets)]
    elif buckets[0] is not None and arrays["size"].shape[1]:
        found["sizes"] = pooled(_sizes(arrays))
    for name, kind in (("padding", "elements"), ("padding_flops", "flops")):
        own, computed = (sum(part[kind][place] for part in parts) for place in (0, 1))
        if computed:
            found[name] = max(0.0, 1.0 - own / computed)
    return found


def _bucket(bucket: Any, number: int, memory_mb: Optional[float], arrays: Mapping[str, np.ndarray]) -> Json:
    mine = arrays["bucket"] == number
    told: Json = {"bucket": bucket, "requests": int(mine.sum()), "items": int(arrays["items"][mine].sum())}
    if mine.any():
        latency = arrays["latency_ms"][mine]
        told["latency_ms_mean"] = float(latency.mean())
        quantiles = np.percentile(latency, list(QUANTILES.values())).tolist()
        told["latency_ms"] = {**dict(zip(QUANTILES, quantiles)), "max": float(latency.max())}
    return told if memory_mb is None else {**told, "memory_mb": memory_mb}


def _sizes(arrays: Mapping[str, np.ndarray]) -> List[Json]:
    distinct, which = np.unique(arrays["size"], axis=0, return_inverse=True)
    which = which.ravel()
    requests = np.bincount(which)
    items = np.bincount(which, arrays["items"])
    mean = np.bincount(which, arrays["latency_ms"]) / requests
    columns = (distinct.tolist(), requests.tolist(), items.tolist(), mean.tolist())
    return [
        {"size": size, "requests": n, "items": int(held), "latency_ms_mean": latency}
        for size, n, held, latency in zip(*columns)
    ]


def pooled(groups: Sequence[Mapping[str, Any]], most: int = SIZES) -> List[Json]:
    """What is told by size, smallest area first and each size once; neighbours together where there are too many.

    The size of such a group is the one that most of its items have, the larger of two.
    """
    by_size: Dict[Bucket, List[Mapping[str, Any]]] = {}
    for group in groups:
        by_size.setdefault(tuple(group["size"]), []).append(group)
    order = sorted(by_size, key=lambda size: (int(np.prod(size)), size))
    parts = np.array_split(np.arange(len(order)), min(most, len(order))) if order else []
    return [_together([_together(by_size[order[i]]) for i in part]) for part in parts]


def _together(groups: Sequence[Mapping[str, Any]]) -> Json:
    requests = sum(group["requests"] for group in groups)
    return {
        "size": list(max(groups, key=lambda group: (group["items"], int(np.prod(group["size"]))))["size"]),
        "requests": requests,
        "items": sum(group["items"] for group in groups),
        "latency_ms_mean": sum(group["requests"] * group["latency_ms_mean"] for group in groups) / requests,
    }

"""One repeat by bucket or by size: requests, items, latency, padding, and the memory of the loaded builds.

Worker side, Python 3.8.
"""

import os
from dataclasses import replace
from pathlib import Path
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.backends.base import Runner
from sweep.isolate import failures, procfs
from sweep.spec import Measurement, TrialError, UserError
from sweep.spec.facts import BucketFacts, ReplicaFacts, SizeFacts
from sweep.spec.metrics import QUANTILES
from sweep.worker.batching import Bucket
from sweep.worker.window import Window

SIZES = 64  # groups of dynamic sizes, at most
RESOLUTION_MB = 1.0  # a resident set moves this much with nothing loaded: pages, arenas of the allocator


def load_builds(
    buckets: Sequence[Optional[Bucket]], load: Callable[[int], Runner], doing: Optional[Path] = None
) -> Tuple[List[Runner], List[Optional[float]]]:
    """Load the builds one after the other.

    Returns:
        the runners, and the MB that loading each of them took; None where that is not known. The first build's share
        includes the start of the runtime. On a host, less than `RESOLUTION_MB` counts as 0.

    Args:
        buckets: of each build.
        load: loads the build of that number.
        doing: if there are several builds, this file names the one being loaded: it outlives a process that is killed.

    Raises:
        TrialError, UserError: of the first build that cannot be loaded, with its name if there are several.
    """
    runners: List[Runner] = []
    memory_mb: List[Optional[float]] = []
    held = [resident_mb(), 0.0]
    for number in range(len(buckets)):
        which = "" if len(buckets) == 1 else _describe_bucket(buckets, number)
        if which and doing is not None:
            doing.write_text("loading " + which)
        try:
            runners.append(load(number))
        except UserError as error:
            raise UserError("%s: %s" % (which, error) if which else str(error)) from error
        except Exception as error:
            if not which:
                raise
            kind, summary = failures.classify(error, "")
            raise TrialError(kind, "%s: %s" % (which, summary)) from error
        now = [resident_mb(), runners[-1].device_memory_mb()]
        memory_mb.append(_growth(held, now))
        held = now
    if doing is not None and doing.exists():
        doing.unlink()
    return runners, memory_mb


def resident_mb() -> Optional[float]:
    """The resident set of this process; None without /proc."""
    return procfs.sum_resident_mb([os.getpid()]) or None


def _growth(before: Sequence[Optional[float]], after: Sequence[Optional[float]]) -> Optional[float]:
    """(host, device) before and after: the growth on the device where it has memory of its own, else on the host."""
    place = 1 if after[1] else 0
    a, b = before[place], after[place]
    if a is None or b is None:
        return None
    least = 0.0 if place else RESOLUTION_MB
    return b - a if b - a >= least else 0.0


def _describe_bucket(buckets: Sequence[Optional[Bucket]], number: int) -> str:
    """`bucket 128, the 3rd of 5`."""
    place = number + 1
    end = "th" if place % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return "bucket %s, the %d%s of %d" % ("x".join(map(str, buckets[number] or ())), place, end, len(buckets))


class Work(NamedTuple):
    """The work of one window; `elements` and `flops` as in `ReplicaFacts`."""

    arrays: Dict[str, np.ndarray]  # items, bucket and padded size of every request: (n,), (n,) and (n, D)
    elements: Tuple[float, float]
    flops: Tuple[float, float]


def sum_work(window: Window) -> Work:
    """The work that was asked for in a window, and that was computed."""
    requests, turns = window.requests, window.number
    arrays = {
        "items": np.array([len(request.items) for request in requests], np.int64),
        "bucket": np.array([request.bucket for request in requests], np.int64),
        "size": np.array([request.size for request in requests], np.int64).reshape(max(1, len(requests)), -1),
    }
    work = np.array([(*request.elements, *request.flops) for request in requests], np.float64).reshape(-1, 4)
    own, computed, own_flops, computed_flops = work[turns].sum(axis=0).tolist()
    return Work({name: array[turns] for name, array in arrays.items()}, (own, computed), (own_flops, computed_flops))


def add_sizes(
    repeat: Measurement,
    buckets: Sequence[Optional[Bucket]],
    replicas: Sequence[ReplicaFacts],
    arrays: Mapping[str, np.ndarray],
) -> Measurement:
    """The repeat with the facts of its buckets or sizes, of padding and of loaded builds.

    Args:
        buckets: of each build, as in its spec: None and () are not buckets.
        arrays: latency_ms of every request, and the arrays of `sum_work`.
    """
    memory = [value for value in replicas[0].memory_mb if value is not None]
    return replace(
        repeat,
        loaded_mb=sum(memory) if len(memory) == len(buckets) else None,
        buckets=tuple(
            _summarize_bucket(bucket, number, replicas[0].memory_mb[number], arrays)
            for number, bucket in enumerate(buckets)
            if bucket
        ),
        sizes=tuple(pool_sizes(_summarize_sizes(arrays))) if buckets[0] == () and arrays["size"].shape[1] else (),
        padding=_padding_share([replica.elements for replica in replicas]),
        padding_flops=_padding_share([replica.flops for replica in replicas]),
    )


def _padding_share(work: Sequence[Tuple[float, float]]) -> Optional[float]:
    """Share of the computed work that nobody asked for; None if it is not known."""
    own, computed = (sum(part[place] for part in work) for place in (0, 1))
    return max(0.0, 1.0 - own / computed) if computed else None


def _summarize_bucket(
    bucket: Bucket, number: int, memory_mb: Optional[float], arrays: Mapping[str, np.ndarray]
) -> BucketFacts:
    mine = arrays["bucket"] == number
    facts = BucketFacts(bucket, int(mine.sum()), int(arrays["items"][mine].sum()), memory_mb=memory_mb)
    if not mine.any():
        return facts
    latency = arrays["latency_ms"][mine]
    return replace(facts, latency_ms_mean=float(latency.mean()), latency_ms=percentiles(latency))


def percentiles(latency_ms: np.ndarray) -> Dict[str, float]:
    """p50, p90, p95, p99 and max."""
    known = np.percentile(latency_ms, list(QUANTILES.values())).tolist()
    return {**dict(zip(QUANTILES, known)), "max": float(latency_ms.max())}


def _summarize_sizes(arrays: Mapping[str, np.ndarray]) -> List[SizeFacts]:
    distinct, which = np.unique(arrays["size"], axis=0, return_inverse=True)
    which = which.ravel()
    requests = np.bincount(which)
    items = np.bincount(which, arrays["items"])
    mean = np.bincount(which, arrays["latency_ms"]) / requests
    columns = (distinct.tolist(), requests.tolist(), items.tolist(), mean.tolist())
    return [SizeFacts(tuple(size), n, int(held), latency) for size, n, held, latency in zip(*columns)]


def pool_sizes(groups: Sequence[SizeFacts], most: int = SIZES) -> List[SizeFacts]:
    """Groups by ascending area, each size once; neighbours are merged if there are more than `most`.

    A merged group has the size of most of its items, the larger one of two.
    """
    by_size: Dict[Bucket, List[SizeFacts]] = {}
    for group in groups:
        by_size.setdefault(group.size, []).append(group)
    order = sorted(by_size, key=lambda size: (int(np.prod(size)), size))
    parts = np.array_split(np.arange(len(order)), min(most, len(order))) if order else []
    return [_merge([_merge(by_size[order[i]]) for i in part]) for part in parts]


def _merge(groups: Sequence[SizeFacts]) -> SizeFacts:
    requests = sum(group.requests for group in groups)
    return SizeFacts(
        max(groups, key=lambda group: (group.items, int(np.prod(group.size)))).size,
        requests,
        sum(group.items for group in groups),
        sum(group.requests * group.latency_ms_mean for group in groups) / requests,
    )

"""Inside a measure worker: load, warm up until steady, run one timed window, keep every sample and the outputs.

The timed loop does nothing but call the runner and read the clock. Inputs are real, prepared ahead and rotate through
the data, so that no cache answers for the device; outputs of the timed requests are kept, to be compared with those of
the scoring pass.
Loads other than one client a replica are in `sweep.worker.load`.
"""

import gc
import resource
import time
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.backends.base import Arrays, Runner
from sweep.spec import FailureKind, Json, TrialError
from sweep.spec.facts import LoadFacts, ReplicaFacts
from sweep.spec.settings import Effort

clock = time.perf_counter_ns  # CLOCK_MONOTONIC: one time base for all processes of a host
PREPARED_BYTES = 512 << 20  # at most this much input is prepared ahead
KEPT_BYTES = 128 << 20  # at most this much output is kept, to be compared with that of the scoring pass
STRETCHED = 3  # a window lasts at most this many times `effort.window_seconds`


class Request(NamedTuple):
    """One prepared call: which runner, what it takes, and which samples of the data it holds."""

    runner: Runner
    inputs: Any
    items: np.ndarray
    bucket: int = 0  # number of the bucket
    rows: int = 0  # of the call, if rows that do not count fill a short batch up; 0: as many as items
    size: Tuple[int, ...] = ()  # that its items are padded to, if sizes vary
    elements: Tuple[int, int] = (0, 0)  # size units of the items themselves, and of what is computed for them
    flops: Tuple[float, float] = (0.0, 0.0)  # likewise operations, where they are known


class Window(NamedTuple):
    """What one replica did, request by request."""

    start_ns: np.ndarray
    end_ns: np.ndarray
    kept: List[Tuple[int, Any]]  # (number in `requests`, raw output) of one pass through the data, at most
    requests: Sequence[Request]  # the distinct ones; their inputs may be gone
    number: np.ndarray  # place in `requests` of every call
    client: np.ndarray  # number of the client that sent it

    @staticmethod
    def of(start_ns: Any, end_ns: Any, kept: List[Tuple[int, Any]], requests: Sequence[Request]) -> "Window":
        """The window of one client that sent `requests` in turn, round and round."""
        starts, ends = np.asarray(start_ns, np.int64), np.asarray(end_ns, np.int64)
        turns = np.arange(len(starts))
        return Window(starts, ends, kept, requests, turns % max(1, len(requests)), np.zeros_like(turns))


def time_first_request(request: Request) -> Tuple[float, int]:
    """Milliseconds that the first call after loading takes, and the bytes of its outputs."""
    begin = clock()
    raw = request.runner.run(request.inputs)
    request.runner.synchronize()
    elapsed = (clock() - begin) / 1e6
    return elapsed, sum(array.nbytes for array in request.runner.outputs(raw))


def warm_up(requests: Sequence[Request], seconds: float, seconds_max: float) -> Json:
    """Run until the latency is steady: three chunks in a row whose medians agree within 10 % and do not all fall.

    A chunk is at least 5 requests and 1/6 of `seconds`. Gives up after `seconds_max`; `stable` says whether.

    Returns:
        requests, seconds, stable, and the chunk medians in ms.
    """
    begin = clock()
    medians: List[float] = []
    count = 0
    chunk: List[int] = []
    chunk_begin = begin
    chunk_ns = seconds * 1e9 / 6
    stable = False
    while True:
        request = requests[count % len(requests)]
        t = clock()
        request.runner.run(request.inputs)
        request.runner.synchronize()
        now = clock()
        chunk.append(now - t)
        count += 1
        if len(chunk) >= 5 and now - chunk_begin >= chunk_ns:
            medians.append(float(np.median(chunk)) / 1e6)
            chunk, chunk_begin = [], now
        stable = is_steady(medians)
        if (stable and now - begin >= seconds * 1e9) or now - begin >= seconds_max * 1e9:
            break
    return {
        "requests": count,
        "seconds": (clock() - begin) / 1e9,
        "stable": stable,
        "chunk_ms_p50": [round(m, 6) for m in medians[-20:]],
    }


def is_steady(medians: Sequence[float]) -> bool:
    """Whether the last three agree within 10 % and do not still fall by more than 3 %."""
    if len(medians) < 3:
        return False
    a, b, c = medians[-3:]
    falling = a > b > c and c < 0.97 * a
    return max(a, b, c) <= 1.10 * min(a, b, c) and not falling


def stretch_window(effort: Effort, requests_per_s: float) -> float:
    """Seconds that `min_requests` take at this pace: at least `window_seconds`, at most `STRETCHED` times as much."""
    seconds = effort.window_seconds
    return min(STRETCHED * seconds, max(seconds, effort.min_requests / requests_per_s))


def run_timed_window(
    requests: Sequence[Request], start_ns: int, seconds: float, min_requests: int, keep: int
) -> Window:
    """Requests back to back from `start_ns` for `seconds`, longer (up to 3x) until there are `min_requests`.

    Args:
        keep: so many of the first outputs are kept, at most one pass through `requests`.
    """
    runners = [request.runner for request in requests]
    calls = [(request.runner.run, request.inputs) for request in requests]
    asynchronous = any(runner.asynchronous for runner in runners)
    starts: List[int] = []
    ends: List[int] = []
    kept: List[Any] = []
    begun, ended, keep_output = starts.append, ends.append, kept.append
    deadline, last = start_ns + int(seconds * 1e9), start_ns + int(STRETCHED * seconds * 1e9)
    number, total = 0, len(calls)
    keep = min(keep, total)
    while clock() < start_ns:
        pass  # at most a few ms: replicas begin together
    now = start_ns
    while now < deadline or (len(ends) < min_requests and now < last):
        run, inputs = calls[number]
        begin = clock()
        output = run(inputs)
        if asynchronous:
            runners[number].synchronize()
        now = clock()
        begun(begin)
        ended(now)
        if len(kept) < keep:
            keep_output(output)
        number += 1
        if number == total:
            number = 0
    return Window.of(starts, ends, list(enumerate(kept)), requests)


def measure_work_ratio(request: Request) -> float:
    """Time of 40 requests over that of 20, each with one synchronisation at the end: about 2 if timing is true."""
    times = []
    for count in (20, 40):
        begin = clock()
        for _ in range(count):
            request.runner.run(request.inputs)
        request.runner.synchronize()
        times.append(clock() - begin)
    return times[1] / times[0]


def collect_outputs(window: Window) -> Tuple[np.ndarray, Arrays]:
    """The samples that the timed requests answered, without repetition, and their outputs in the same order.

    Raises:
        TrialError: if nothing was answered, or an output does not have one row per sample.
    """
    if not window.kept:
        raise TrialError(FailureKind.IMPLAUSIBLE_TIMING, "the timed window holds no request")
    requests = [window.requests[number] for number, _ in window.kept]
    items = np.concatenate([request.items for request in requests])
    parts = [request.runner.outputs(raw) for request, (_, raw) in zip(requests, window.kept)]
    for request, arrays in zip(requests, parts):
        check_rows(request, arrays)
    cut = [tuple(array[: len(request.items)] for array in arrays) for request, arrays in zip(requests, parts)]
    _, first = np.unique(items, return_index=True)
    return items[first], tuple(np.concatenate(arrays)[first] for arrays in zip(*cut))


def check_rows(request: Request, outputs: Arrays) -> None:
    """Raises TrialError: an output does not have one row for each sample of its request."""
    expected = request.rows or len(request.items)
    if any(array.ndim == 0 or len(array) != expected for array in outputs):
        shapes = ", ".join(str(array.shape) for array in outputs)
        raise TrialError(FailureKind.SHAPE_MISMATCH, "a batch of %d gave outputs %s" % (expected, shapes))


class Totals(NamedTuple):
    """What all clients of all replicas did in their window."""

    rate: float  # items/s
    seconds: float
    latency_ms: np.ndarray  # of every request that counts; in an open load of every item
    mean_ms: float  # rate x mean is the number in flight, wherever the window cuts the last requests
    counts: np.ndarray  # bool, of every request: whether it was begun inside
    items: Dict[str, np.ndarray]  # of open loads: due_ns, done_ns of every answered item, in the order of due_ns
    load: Optional[LoadFacts] = None


def measure_common_window(starts: np.ndarray, ends: np.ndarray, client: np.ndarray, items: Any) -> Totals:
    """Rate and mean latency over the window that all clients share; `items` of each request, or of all alike.

    The window runs from the first start until the first client has its last answer: clients that go on have the machine
    for themselves, and their further requests do not count. A request that straddles the end counts by the share
    of its time inside, which is unbiased for back-to-back requests.
    """
    begin = int(starts.min())
    end = min(int(ends[client == number].max()) for number in np.unique(client))
    inside = np.clip((end - starts) / np.maximum(ends - starts, 1), 0.0, 1.0)
    seconds = (end - begin) / 1e9
    mean_ms = float((inside * (ends - starts)).sum() / inside.sum()) / 1e6
    counts = inside > 0
    rate = float((inside * items).sum() / seconds)
    return Totals(rate, seconds, (ends - starts)[counts] / 1e6, mean_ms, counts, {})


def peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


Barrier = Callable[[], int]


class Warm(NamedTuple):
    """A replica that is ready for its window."""

    requests: Sequence[Request]  # prepared ahead
    pace: float  # requests/s, as the warm-up ended
    keep: int  # outputs of at most so many requests
    start: Barrier  # blocks until every replica is ready, then returns the common start in ns


Drive = Callable[[Warm], Window]  # sends the requests of one window


def run_replica(
    load: Callable[[], Sequence[Request]],
    effort: Effort,
    drive: Drive,
    barrier: Optional[Barrier] = None,
    collects: bool = True,
) -> Tuple[ReplicaFacts, Window]:
    """One replica from load to the end of its window.

    Args:
        load: loads the artifacts and prepares the requests.
        barrier: as `Warm.start`; None for a single replica, which may start at once.
        collects: whether Python may collect garbage inside the window.

    Returns:
        its facts without `elements` and `flops`, and the window.
    """
    begin = clock()
    requests = load()
    load_seconds = (clock() - begin) / 1e9
    first_ms, output_bytes = time_first_request(requests[0])
    warmup = warm_up(requests, effort.warmup_seconds, effort.warmup_seconds_max)
    request_ms = warmup["chunk_ms_p50"][-1:] or [1000 * warmup["seconds"] / warmup["requests"]]
    keep = max(1, KEPT_BYTES // max(1, output_bytes))
    gc.collect()  # before the common start, because it takes a while: a window begins alike in every repeat
    if not collects:
        gc.disable()
    try:
        window = drive(Warm(requests, 1000.0 / max(request_ms[0], 1e-6), keep, barrier or clock))
    finally:
        if not collects:
            gc.enable()
    facts = ReplicaFacts(
        load_seconds=load_seconds,
        first_request_ms=first_ms,
        warmup=warmup,
        precision=requests[0].runner.precision,
        peak_memory_mb=peak_memory_mb(),
        device_memory_mb=max(request.runner.device_memory_mb() for request in requests),
        work_ratio=measure_work_ratio(requests[0])
        if any(request.runner.asynchronous for request in requests)
        else None,
    )
    return facts, window

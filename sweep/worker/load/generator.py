"""The loop of one replica in an open load, and what a window of it leaves.

A free replica asks the queue when the next batch may leave, sleeps until shortly before, spins for the rest, and takes
it. Latency of an item is from the moment at which it was meant to arrive to the moment at which its answer is there:
waiting in the queue, waiting for the batch to fill up, a stall of the server or of this loop are all in it.

`serve` does that and keeps the books; with a clock of a test it takes no real time. `run_window` is one window of a
declared load. Worker side, Python 3.8.
"""

import math
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

import numpy as np

from sweep.spec import UserError
from sweep.spec.settings import Effort
from sweep.worker import window as measuring
from sweep.worker.load import arrivals
from sweep.worker.load.batcher import Stock
from sweep.worker.load.queue import NEVER, Claim, Queue, Shared
from sweep.worker.window import Warm, Window

SPIN_NS = 200_000  # how late a sleep may end
DRAIN = 2  # windows after which a server that cannot keep up is given up


class Clock(NamedTuple):
    """How time passes; tests have one that passes by itself."""

    now: Callable[[], int]  # ns
    wait: Callable[[int], None]  # until this moment


def _wait(until_ns: int) -> None:
    left = until_ns - measuring.clock()
    if left > SPIN_NS:
        time.sleep((left - SPIN_NS) / 1e9)
    while measuring.clock() < until_ns:
        pass


REAL = Clock(measuring.clock, _wait)


class Served(NamedTuple):
    """What one replica did in a window, request by request."""

    claims: List[Claim]
    start_ns: List[int]  # when each batch was taken
    end_ns: List[int]  # when its answers were there
    kept: List[Tuple[int, Any]]  # (number of the request, raw output)


def serve(queue: Queue, stock: Stock, start_ns: int, until_ns: int, keep: int, clock: Clock = REAL) -> Served:
    """Answer arrivals until none is left, or until `until_ns`; a request that has begun is finished.

    Where the data does not fit into memory, the clock of this replica stands still while it reads the next piece: all
    times that are returned are without these pauses.

    Args:
        start_ns: of the window, on the clock; arrivals and `until_ns` count from there.
        keep: outputs of at most this many requests are kept, and of one pass through the data.
    """
    now, wait = clock
    served = Served([], [], [], [])
    unseen = len(stock.order)
    paused = 0  # ns
    while True:
        ready = queue.ready_ns()
        if ready >= until_ns:
            break
        wait(start_ns + paused + ready)
        begin = now() - paused
        if begin - start_ns >= until_ns:
            break
        claim = queue.claim(begin - start_ns)
        if claim is None:  # another replica was faster
            continue
        samples = queue.items(claim)
        if stock.load(claim.bucket, samples):
            paused = now() - begin
        runner, inputs = stock.inputs(claim.bucket, samples)
        output = runner.run(inputs)
        if runner.asynchronous:
            runner.synchronize()
        served.end_ns.append(now() - paused)
        served.start_ns.append(begin)
        if unseen > 0 and len(served.kept) < keep:
            served.kept.append((len(served.claims), output))
            unseen -= claim.size
        served.claims.append(claim)
    return served


# One replica's part of a window, and these arrays, whose moments are in ns on the clock:
# due_ns, done_ns   of every item that it answered
# ready_ns          of every request: when it could have left
# arrived_ns        of every item that arrived, whoever answered it
# window_ns         its start, and for how long items arrived; 0: all at once
OpenWindow = Tuple[Window, Dict[str, np.ndarray]]


def collect_window(served: Served, queue: Queue, stock: Stock, start_ns: int, seconds: float) -> OpenWindow:
    """What `serve` did, as arrays."""
    due = [queue.due_of(claim) for claim in served.claims]
    requests = [stock.ask(claim.bucket, queue.items(claim)) for claim in served.claims]
    return Window.of(served.start_ns, served.end_ns, served.kept, requests), {
        "due_ns": start_ns + np.concatenate([*due, np.zeros(0, np.int64)]),
        "done_ns": np.repeat(np.array(served.end_ns, np.int64), [claim.size for claim in served.claims]),
        "ready_ns": start_ns + np.array([claim.ready_ns for claim in served.claims], np.int64),
        "arrived_ns": start_ns + queue.due_ns,
        "window_ns": np.array([start_ns, round(seconds * 1e9)], np.int64),
    }


def run_window(
    warm: Warm, stock: Stock, load: Mapping[str, Any], effort: Effort, repeat: int, shared: Shared
) -> OpenWindow:
    """One replica's part of a window of `load`: offline, poisson or trace.

    Args:
        repeat: its number; repeats differ in their arrivals, the trials of a sweep do not.
        shared: by all replicas: a cell for each bucket, and one more.

    Raises:
        UserError: where nothing arrives.
    """
    if load["name"] == "offline":
        return _run_offline(warm, stock, effort, shared)
    due_ns, seconds = plan_arrivals(load, effort, repeat)
    queue = make_queue(stock, due_ns, load["max_wait_ms"], shared)
    start = warm.start()
    until = DRAIN * max(seconds, effort.window_seconds)
    return collect_window(serve(queue, stock, start, round(until * 1e9), warm.keep), queue, stock, start, seconds)


def make_queue(stock: Stock, due_ns: np.ndarray, max_wait_ms: float, shared: Shared, first_cell: int = 0) -> Queue:
    """The queue in which the stock's samples arrive in turn."""
    return Queue(due_ns, stock.order, stock.bucket_of, stock.rows, round(max_wait_ms * 1e6), shared, first_cell)


def plan_arrivals(load: Mapping[str, Any], effort: Effort, repeat: int) -> Tuple[np.ndarray, float]:
    """(moments in ns from the start, seconds that they fill) of arrivals planned before the window.

    Raises:
        UserError: where there are none.
    """
    if load["name"] == "trace":
        due_ns = arrivals.replay_trace(load["file"], load["sha256"], load["speed"])
        return due_ns, float(due_ns[-1]) / 1e9
    seconds = measuring.stretch_window(effort, load["rate"])
    due_ns = arrivals.draw_poisson(load["rate"], seconds, (load["seed"], repeat))
    if not len(due_ns):
        text = "nothing arrives in %g s at load.rate=%g: raise effort.window_seconds, or the rate"
        raise UserError(text % (seconds, load["rate"]))
    return due_ns, seconds


def _run_offline(warm: Warm, stock: Stock, effort: Effort, shared: Shared) -> OpenWindow:
    """Whole passes through the data, as many as fill the window at the pace that all replicas have together."""
    items = np.mean([len(request.items) for request in warm.requests])
    together = len(shared.cells) - 1
    shared.add(together, math.ceil(warm.pace * items * measuring.stretch_window(effort, warm.pace)))
    start = warm.start()
    passes = max(1, round(shared.cells[together] / len(stock.order)))
    queue = make_queue(stock, np.zeros(passes * len(stock.order), np.int64), 0.0, shared)
    return collect_window(serve(queue, stock, start, NEVER, warm.keep), queue, stock, start, 0.0)

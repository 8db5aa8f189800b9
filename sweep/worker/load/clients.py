"""Closed loops: clients that send their next request when the last one is answered. Worker side, Python 3.8."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, List, Sequence, TypeVar

import numpy as np

from sweep.spec.settings import Effort
from sweep.worker import window as measuring
from sweep.worker.window import Request, Warm, Window

T = TypeVar("T")
Part = Sequence[Request]  # the requests of one client, in its order
FIRST = 3  # requests of each client before the window: a thread has a warm-up of its own


def run_window(warm: Warm, effort: Effort, clients: int) -> Window:
    """One replica's part of a window.

    One client is a plain loop. Several are threads that call the runner at the same time, as a server's do, which it
    must allow (`Backend.concurrent`). Each client goes through all requests, from its own starting place.
    """
    if clients == 1:
        return measuring.run_timed_window(
            warm.requests, warm.start(), effort.window_seconds, effort.min_requests, warm.keep
        )
    total = len(warm.requests)
    turns = [np.roll(np.arange(total), -(client * total // clients)) for client in range(clients)]
    parts = [[warm.requests[number] for number in turn.tolist()] for turn in turns]
    keep = min(-(-total // clients), max(1, warm.keep // clients))
    enough = -(-effort.min_requests // clients)
    together = threading.Barrier(clients)  # each thread takes exactly one part

    def first(part: Part) -> None:
        try:
            for request in part[:FIRST]:
                request.runner.run(request.inputs)
                request.runner.synchronize()
        except BaseException:
            together.abort()
            raise
        together.wait()

    with ThreadPoolExecutor(clients) as threads:
        _run_parts(threads, first, parts)
        start = warm.start()

        def timed(part: Part) -> Window:
            return measuring.run_timed_window(part, start, effort.window_seconds, enough, keep)

        windows = _run_parts(threads, timed, parts)
    return _join(windows, turns, warm.requests)


def _run_parts(threads: ThreadPoolExecutor, work: Callable[[Part], T], parts: Sequence[Part]) -> List[T]:
    """What `work` returns for every client. Raises the error of a client that failed, not of those it held up."""
    futures = [threads.submit(work, part) for part in parts]
    errors = [future.exception() for future in futures]
    for error in sorted(filter(None, errors), key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def _join(windows: Sequence[Window], turns: Sequence[np.ndarray], requests: Sequence[Request]) -> Window:
    """The clients' windows as one; numbers of requests are those of the replica again."""
    return Window(
        np.concatenate([window.start_ns for window in windows]),
        np.concatenate([window.end_ns for window in windows]),
        [(int(turn[number]), raw) for window, turn in zip(windows, turns) for number, raw in window.kept],
        requests,
        np.concatenate([turn[window.number] for window, turn in zip(windows, turns)]),
        np.concatenate([np.full(len(window.number), client) for client, window in enumerate(windows)]),
    )

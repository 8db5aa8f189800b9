"""From items that wait to one request: what a server does between its queue and the model.

Items are padded to their bucket ahead of time, as their sender would. The work when a batch leaves is part of the
latency of its items: putting their arrays together, filling a short batch up to the model's batch, and the runtime's
own `prepare`. Rows that fill up do not count as items.

Worker side, Python 3.8.
"""

from typing import Any, Callable, NamedTuple, Sequence, Tuple

import numpy as np

from sweep.backends.base import Arrays, Runner
from sweep.worker.window import Request

Together = Callable[[np.ndarray], Arrays]  # (rows,) samples of one bucket -> one array per input, (rows, ...)


class Padded:
    """The samples of one bucket, all of one shape."""

    def __init__(self, samples: np.ndarray, arrays: Arrays) -> None:
        """
        Args:
            samples: (n,) their numbers.
            arrays: one per input, (n, ...).
        """
        self._place = np.zeros(1 + int(samples.max(initial=-1)), np.int64)
        self._place[samples] = np.arange(len(samples))
        self._arrays = arrays

    def __call__(self, rows: np.ndarray) -> Arrays:
        if len(rows) == 1:  # a view will do
            place = int(self._place[rows[0]])
            return tuple(array[place : place + 1] for array in self._arrays)
        places = self._place[rows]
        return tuple(array.take(places, axis=0) for array in self._arrays)


class Piecewise:
    """The samples of one bucket, of which one piece at a time is in memory, where all would take too much."""

    def __init__(self, samples: np.ndarray, most: int, read: Callable[[np.ndarray], Together]) -> None:
        """
        Args:
            samples: (n,) their numbers, in the order in which they are asked for, round and round.
            most: samples of a piece.
            read: what puts the samples of a piece together, which it reads.
        """
        self._place = np.zeros(1 + int(samples.max(initial=-1)), np.int64)
        self._place[samples] = np.arange(len(samples))
        self._samples, self._read = samples, read
        self._most = min(most, len(samples))
        self._begin = 0
        self._piece = read(samples[: self._most])

    def __call__(self, rows: np.ndarray) -> Arrays:
        return self._piece(rows)

    def holds(self, rows: np.ndarray) -> bool:
        """Whether samples that follow each other are in memory."""
        ahead = (int(self._place[rows[0]]) - self._begin) % len(self._samples)
        return self._most == len(self._samples) or ahead + len(rows) <= self._most

    def load(self, rows: np.ndarray) -> None:
        """Read the piece that begins with these samples; the one before it is given up first."""
        self._begin = int(self._place[rows[0]])
        self._piece = _forget
        piece = np.arange(self._begin, self._begin + self._most)
        self._piece = self._read(self._samples.take(piece, mode="wrap"))


def _forget(rows: np.ndarray) -> Arrays:
    raise AssertionError("no piece is loaded")


class Stock(NamedTuple):
    """What one replica serves from."""

    runners: Sequence[Runner]  # one for each bucket
    together: Sequence[Together]  # likewise
    order: np.ndarray  # samples as they arrive, round and round
    bucket_of: np.ndarray  # (N,) bucket of each sample of the data
    rows: int  # of every request
    ask: Callable[[int, np.ndarray], Request]  # (bucket, samples) -> the request without its inputs
    moved: Callable[[], None] = lambda: None  # is called after each piece that was loaded

    def load(self, bucket: int, samples: np.ndarray) -> bool:
        """Read the inputs of a batch into memory; False if they are there, as nearly always."""
        together = self.together[bucket]
        if not isinstance(together, Piecewise) or together.holds(samples):
            return False
        together.load(samples)
        self.moved()
        return True

    def inputs(self, bucket: int, samples: np.ndarray) -> Tuple[Runner, Any]:
        """The runner of a batch, and its prepared inputs."""
        runner = self.runners[bucket]
        rows = samples if len(samples) == self.rows else np.resize(samples, self.rows)
        return runner, runner.prepare(self.together[bucket](rows))

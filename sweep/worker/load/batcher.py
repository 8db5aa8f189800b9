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


class Stock(NamedTuple):
    """What one replica serves from."""

    runners: Sequence[Runner]  # one for each bucket
    together: Sequence[Together]  # likewise
    order: np.ndarray  # samples as they arrive, round and round
    bucket_of: np.ndarray  # (N,) bucket of each sample of the data
    rows: int  # of every request
    ask: Callable[[int, np.ndarray], Request]  # (bucket, samples) -> the request without its inputs

    def inputs(self, bucket: int, samples: np.ndarray) -> Tuple[Runner, Any]:
        """The runner of a batch, and its prepared inputs."""
        runner = self.runners[bucket]
        rows = samples if len(samples) == self.rows else np.resize(samples, self.rows)
        return runner, runner.prepare(self.together[bucket](rows))

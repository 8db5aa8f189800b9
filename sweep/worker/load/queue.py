"""The queue of a server and its batcher: which items leave together, when, and with which replica.

Items wait in the line of their bucket. A batch may leave as soon as it is full, or when its oldest item has waited for
`max_wait_ms`; the replica that is free first takes it. With a batch of one that is the queue of M/D/c: one line, first
come first served, c servers. All arrivals are known, so a free replica knows when to look again, and what the queue
does depends only on the times of the calls: tests run it on a clock of their own.

Worker side, Python 3.8.
"""

import mmap
import multiprocessing
from bisect import bisect_right
from typing import NamedTuple, Optional, Tuple

import numpy as np

NEVER = 1 << 62  # ns


class Shared:
    """Whole numbers, 0 at first, that all replicas of a trial read and change. Made before they are forked."""

    def __init__(self, cells: int) -> None:
        self._memory = mmap.mmap(-1, 8 * max(1, cells))  # anonymous: lives as long as the processes that share it
        self.cells = memoryview(self._memory).cast("q")
        self.lock = multiprocessing.get_context("fork").Lock()

    def add(self, cell: int, number: int) -> None:
        with self.lock:
            self.cells[cell] += number


class Claim(NamedTuple):
    """A batch that one replica has taken: `size` items of a bucket's line from `first` on."""

    bucket: int
    first: int
    size: int
    ready_ns: int  # when it could have left


class Queue:
    """One window's arrivals. Every replica makes the same queue; `shared` holds what they have taken from it."""

    def __init__(
        self,
        due_ns: np.ndarray,
        order: np.ndarray,
        bucket_of: np.ndarray,
        batch: int,
        max_wait_ns: int,
        shared: Shared,
        first_cell: int = 0,
    ) -> None:
        """
        Args:
            due_ns: (n,) int64, when items arrive, ascending, from the window's start.
            order: the samples that they ask for, one after the other, round and round.
            bucket_of: (N,) number of the bucket that takes each sample of the data.
            shared: its cells from `first_cell` on, one for each bucket: how many items of its line are taken. They
                belong to this window alone and must be 0 at its start.
        """
        samples = order[np.arange(len(due_ns)) % len(order)]
        bucket = bucket_of[samples]
        self.due_ns = due_ns
        lines = [np.flatnonzero(bucket == number) for number in range(int(bucket_of.max()) + 1)]
        self._items = [samples[line] for line in lines]
        # A view gives Python's own integers, several times as fast as an array does.
        self._due = [due_ns[line].data for line in lines]
        self._batch, self._max_wait_ns = batch, max_wait_ns
        self._taken = shared.cells[first_cell : first_cell + len(lines)]
        self._lock = shared.lock

    def ready_ns(self) -> int:
        """When the next batch may leave, from the window's start; NEVER if nothing is left.

        What other replicas take can only make it later, so a replica may sleep until then.
        """
        return self._soonest()[0]

    def claim(self, now_ns: int) -> Optional[Claim]:
        """Take the batch that could leave first, with all that joined it since; None if none may leave yet."""
        with self._lock:
            ready, bucket = self._soonest()
            if ready > now_ns:
                return None
            due, first = self._due[bucket], self._taken[bucket]
            end = bisect_right(due, now_ns, first, min(first + self._batch, len(due)))
            self._taken[bucket] = end
        return Claim(bucket, first, end - first, ready)

    def items(self, claim: Claim) -> np.ndarray:
        """(size,) samples of a batch."""
        samples: np.ndarray = self._items[claim.bucket][claim.first : claim.first + claim.size]
        return samples

    def due_of(self, claim: Claim) -> np.ndarray:
        """(size,) when they were meant to arrive."""
        return np.asarray(self._due[claim.bucket][claim.first : claim.first + claim.size])

    def _soonest(self) -> Tuple[int, int]:
        """(when it may leave, bucket) of the batch that may leave first."""
        soonest, chosen = NEVER, 0
        for bucket, due in enumerate(self._due):
            first = self._taken[bucket]
            if first == len(due):
                continue
            ready = due[first] + self._max_wait_ns
            last = first + self._batch - 1
            if last < len(due):
                ready = min(ready, due[last])
            if ready < soonest:
                soonest, chosen = ready, bucket
        return soonest, chosen

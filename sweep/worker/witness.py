"""What others than the worker's own clock saw of a window: the kernel's clock, and the CPU time that was used.

Code of the model runs in the same process. It can slow the clock that the window is timed with, or use more cores than
the trial has; the gates compare. Worker side, Python 3.8.
"""

import os
import resource
from typing import Callable, Optional

from sweep.isolate import procfs
from sweep.spec import Placement
from sweep.spec.facts import WitnessFacts
from sweep.worker import window as measuring
from sweep.worker.window import Barrier, Warm, Window


class Witness:
    """Watches one window of one replica."""

    def __init__(self, placement: Placement) -> None:
        self._cores = len(placement.cores) if placement.device == "cpu" else 0
        self._begin()

    def watch(self, drive: Callable[[Warm], Window]) -> Callable[[Warm], Window]:
        """The same work, watched from its common start to its end."""

        def watched(warm: Warm) -> Window:
            self._begin()
            window = drive(warm._replace(start=self._start(warm.start)))
            self.facts = self._end()
            return window

        return watched

    def _start(self, barrier: Barrier) -> Barrier:
        def start() -> int:
            moment = barrier()
            self._begin()  # while it waited for other replicas it used no core
            return moment

        return start

    def _begin(self) -> None:
        self._system = procfs.read_uptime()
        self._cpu = read_cpu_seconds()
        self._own = measuring.clock()

    def _end(self) -> WitnessFacts:
        own = (measuring.clock() - self._own) / 1e9
        cpu = read_cpu_seconds() - self._cpu
        now, then = procfs.read_uptime(), self._system
        system: Optional[float] = None if now is None or then is None else now - then
        return WitnessFacts(own, system, cpu, self._cores)


def read_cpu_seconds() -> float:
    """CPU time of all threads of this process, of its ended children, and of all living processes that it started."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    ended = sum(usage.ru_utime + usage.ru_stime for usage in both)
    ticks = sum(procfs.read_cpu_ticks(pid) for pid in procfs.list_descendants(os.getpid()))
    return ended + ticks / procfs.TICKS

"""Did a replica run on the cores and with the threads of its trial? A model's own code can change both.

Worker side, Python 3.8.
"""

import os
from typing import FrozenSet, Iterable, List, Optional, Sequence

from sweep.isolate import procfs
from sweep.spec import FailureKind, Placement, TrialError


def check_resources(placement: Placement, threads: Optional[int]) -> None:
    """Compare what this process has with what it was given.

    Args:
        threads: that the runtime says it uses for one operator; None if it does not say.

    Raises:
        TrialError: of the kind wrong_resources.
    """
    if placement.cores and placement.device == "cpu":
        beyond = list_allowed_cpus() - set(placement.cores)
        if beyond:
            text = "a thread or process of it may run on CPUs %s, the trial has %s: its code changes the affinity"
            raise TrialError(FailureKind.WRONG_RESOURCES, text % (_listed(beyond), _listed(placement.cores)))
    wanted = max(1, placement.threads)
    if threads is not None and threads != wanted:
        text = "it ran with %d threads, the trial has %d: the model's code sets the number of threads"
        raise TrialError(FailureKind.WRONG_RESOURCES, text % (threads, wanted))


def bind_all_threads(cores: Sequence[int]) -> None:
    """Let this thread run on these CPUs, and every other thread of the process on no others."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    for thread in _list_threads([os.getpid()]):
        try:
            if not os.sched_getaffinity(thread) <= set(cores):
                os.sched_setaffinity(thread, cores)
        except OSError:  # the thread has ended meanwhile
            pass


def list_allowed_cpus() -> FrozenSet[int]:
    """CPUs that any thread of this process, or of one that it started, may run on; none where nobody knows."""
    allowed = set()
    for thread in _list_threads([os.getpid(), *procfs.list_descendants(os.getpid())]):
        try:
            allowed |= os.sched_getaffinity(thread)
        except OSError:  # the thread has ended meanwhile
            pass
    return frozenset(allowed)


def _list_threads(pids: Iterable[int]) -> List[int]:
    """Numbers of all threads of these processes; none where the system does not say."""
    if not hasattr(os, "sched_getaffinity"):
        return []
    threads: List[int] = []
    for pid in pids:
        try:
            threads += [int(name) for name in os.listdir("/proc/%d/task" % pid)]  # noqa: PTH208  # names are all
        except OSError:  # it has ended meanwhile, or there is no /proc
            pass
    return threads


def _listed(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))

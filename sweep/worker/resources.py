"""Did a replica run on the cores and with the threads of its trial? A model's own code can change both.

Worker side, Python 3.8.
"""

import os
from pathlib import Path
from typing import FrozenSet, Iterable, Optional

from sweep.spec import FailureKind, Placement, TrialError

TASKS = Path("/proc/self/task")


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
            text = "a thread may run on CPUs %s, the trial has %s: the model's code or a library changes the affinity"
            raise TrialError(FailureKind.WRONG_RESOURCES, text % (_listed(beyond), _listed(placement.cores)))
    wanted = max(1, placement.threads)
    if threads is not None and threads != wanted:
        text = "it ran with %d threads, the trial has %d: the model's code sets the number of threads"
        raise TrialError(FailureKind.WRONG_RESOURCES, text % (threads, wanted))


def list_allowed_cpus() -> FrozenSet[int]:
    """CPUs that any thread of this process may run on; none where the system does not say."""
    if not hasattr(os, "sched_getaffinity") or not TASKS.is_dir():
        return frozenset()
    allowed = set()
    for task in TASKS.iterdir():
        try:
            allowed |= os.sched_getaffinity(int(task.name))
        except OSError:  # the thread has ended meanwhile
            pass
    return frozenset(allowed)


def _listed(cpus: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(cpus)))

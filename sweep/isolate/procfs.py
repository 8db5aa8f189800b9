"""Processes, their memory and the processor, as Linux shows them below /proc.

Worker side, Python 3.8, standard library. Without /proc (macOS) no process is found, and only process groups are ended.
"""

import os
import signal
from pathlib import Path
from typing import Dict, FrozenSet, List, NamedTuple, Optional, Tuple

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")  # a second
MB = float(1 << 20)
PROGRESS = "progress.json"  # in a task's folder: a worker that changes it goes on beyond its deadline
_HAS_CHILDREN = Path("/proc/self/task/%d/children" % os.getpid()).exists()  # of CONFIG_PROC_CHILDREN
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

try:
    import ctypes

    _libc: Optional["ctypes.CDLL"] = ctypes.CDLL(None, use_errno=True)
except (ImportError, OSError):  # a Python built without ctypes still runs workers, only less guarded
    _libc = None


def die_with_parent() -> None:
    """Ask the kernel to kill this process as soon as its parent is gone."""
    _prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that none of them can slip away."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def keep_freed_memory() -> None:
    """Tell glibc's allocator not to give freed memory back to the system (`process.allocator=keep`).

    By default the top of the heap goes back after a request or stays, depending on the accident of what lies above it:
    the same model then may run 1.5 times slower, busy with page faults. See mallopt(3).
    """
    if _libc is not None and hasattr(_libc, "mallopt"):
        _libc.mallopt(M_MMAP_THRESHOLD, 32 << 20)
        _libc.mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


def _prctl(option: int, value: int) -> None:
    if _libc is not None and hasattr(_libc, "prctl"):
        _libc.prctl(option, value, 0, 0, 0)


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:  # the process has ended meanwhile, or it is not ours to see
        return ""


def list_children(pid: int) -> List[int]:
    """Direct children of a process."""
    try:
        threads = os.listdir("/proc/%d/task" % pid)  # noqa: PTH208  # called several times a second
    except OSError:
        return []
    if not _HAS_CHILDREN:
        return _scan_children(pid)
    texts = [_read("/proc/%d/task/%s/children" % (pid, thread)) for thread in threads]
    return [int(child) for text in texts for child in text.split()]


def _scan_children(pid: int) -> List[int]:
    """For kernels without CONFIG_PROC_CHILDREN."""
    pids = []
    for name in os.listdir("/proc"):  # noqa: PTH208  # names are all that is wanted
        status = _stat(int(name)) if name.isdigit() else []
        if len(status) > 1 and int(status[1]) == pid:
            pids.append(int(name))
    return pids


def _stat(pid: int) -> List[str]:
    """Fields of /proc/PID/stat after the name: state, parent, ..."""
    return _read("/proc/%d/stat" % pid).rpartition(")")[2].split()


def read_cpu_ticks(pid: int) -> int:
    """CPU time of a process in the kernel's ticks, without that of its children; 0 where it is gone."""
    fields = _stat(pid)
    return int(fields[11]) + int(fields[12]) if len(fields) > 12 else 0


def read_uptime() -> Optional[float]:
    """Seconds since boot as the kernel counts them, by steps of 0.01; None where it does not say."""
    fields = _read("/proc/uptime").split()
    return float(fields[0]) if fields else None


def list_descendants(pid: int) -> List[int]:
    """Living processes below `pid`, children before grandchildren; zombies are left out, their children are not."""
    pids: List[int] = []
    ahead = list_children(pid)
    seen = set(ahead)
    while ahead:
        current = ahead.pop()
        pids.append(current)
        fresh = [child for child in list_children(current) if child not in seen]
        seen.update(fresh)
        ahead.extend(fresh)
    return [process for process in pids if _stat(process)[:1] not in ([], ["Z"], ["X"])]


def read_name(pid: int) -> str:
    return _read("/proc/%d/comm" % pid).strip() or "process"


def sum_resident_mb(pids: List[int]) -> float:
    """Sum of the resident sets, with what is mapped from files. Shared memory counts once for every process."""
    pages = 0
    for pid in pids:
        fields = _read("/proc/%d/statm" % pid).split()
        pages += int(fields[1]) if len(fields) > 1 else 0
    return pages * PAGE_BYTES / MB


def sum_held_mb(pids: List[int]) -> float:
    """Sum of the memory that the kernel cannot take back: resident without pages of files, such as mapped data sets.

    Shared memory counts once for every process: see `sum_proportional_mb`.
    """
    return sum(_sum_lines("/proc/%d/status" % pid, ("RssAnon:", "RssShmem:")) for pid in pids)


def sum_proportional_mb(pids: List[int]) -> float:
    """As `sum_held_mb`, but shared memory counts once. Slower: the kernel walks page tables."""
    return sum(
        _sum_lines("/proc/%d/smaps_rollup" % pid, ("Pss_Anon:", "Pss_Shmem:")) or sum_held_mb([pid]) for pid in pids
    )


def _sum_lines(path: str, names: Tuple[str, ...]) -> float:
    """Sum in MB of the lines of a file that begin with one of `names` and give kB."""
    return sum(int(line.split()[1]) for line in _read(path).splitlines() if line.startswith(names)) / 1024.0


class Processor(NamedTuple):
    """The first processor, as Linux describes it. Nothing of it is known where there is no /proc."""

    model: str  # "" on most Arm processors, which have no name there
    features: FrozenSet[str]  # by the kernel's names: `avx512_vnni`, `asimddp`


def read_processor(root: Path = Path("/")) -> Processor:
    """Read /proc/cpuinfo. `root` is the file system to read, for tests."""
    first = _read(str(root / "proc/cpuinfo")).partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    facts = {key.strip(): value.strip() for key, _, value in pairs}
    words = facts.get("flags") or facts.get("Features") or ""
    return Processor(facts.get("model name", ""), frozenset(words.split()))


def read_progress_ns(folder: str) -> int:
    """When a worker has last written its progress, in ns; 0 if it never has."""
    try:
        return os.stat(os.path.join(folder, PROGRESS)).st_mtime_ns  # noqa: PTH116, PTH118  # as its callers have it
    except OSError:
        return 0


def count_oom_kills() -> int:
    """How often the kernel has killed for memory since boot, here or in our control group."""
    counts: Dict[str, int] = {}
    for path in ("/proc/vmstat", "/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"):
        for line in _read(path).splitlines():
            if line.startswith("oom_kill "):
                counts[path] = int(line.split()[1])
    return sum(counts.values())


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass

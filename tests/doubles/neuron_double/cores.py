"""The Neuron runtime of one process: the cores that it owns alone, what is loaded on them, and when it must refuse.

Ownership is a file lock for each core, so it ends with the process however it ends. What the process holds is written
to `runtimes/<pid>.json` for neuron-ls and neuron-monitor.
"""

import atexit
import contextlib
import fcntl
import itertools
import json
import os
import sys
import threading
import time
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from neuron_double import faults, rules, state
from neuron_double.fault_table import BUSY, BUSY_LOGICAL, FORKED, NO_MEMORY, NO_RUNTIME

SETTINGS = ("NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES")
LATENCIES = 1000  # kept for neuron-monitor
WRITE_SECONDS = 0.2  # between two writes of the statistics
Error = Callable[[str], BaseException]


class Core:
    """One NeuronCore of this process: runs one request at a time."""

    def __init__(self, number: int) -> None:
        self.number = number  # on the host
        self.lock = threading.Lock()
        self.models: Dict[int, Tuple[str, int]] = {}  # handle -> name, bytes
        self.busy_seconds = 0.0

    def used_bytes(self) -> int:
        return sum(size for _, size in self.models.values())


class Runtime:
    """What a process has of the machine; one for each process, `RUNTIME`. Core numbers here are the process's own."""

    def __init__(self) -> None:
        self.cores: List[Core] = []
        self._handles = itertools.count(1)
        self._files: List[int] = []
        self._settings: Tuple[Optional[str], ...] = ()
        self._pid = 0  # that initialised it
        self._guard = threading.RLock()
        self._completed = 0
        self._failed = 0
        self._latencies: List[float] = []
        self._written = 0.0

    def ensure(self, package: str, generations: Tuple[str, ...], error: Error = RuntimeError) -> None:
        """Initialise it if it is not; refuse where it cannot be used. It then owns all cores that it may see.

        Raises:
            error: no device, cores that another process holds, use after fork, settings changed too late.
        """
        with self._guard:
            if self._pid:
                self._check_unchanged(package, error)
                return
            host = state.host()
            if not host or host["generation"] not in generations:
                raise error(NO_RUNTIME)
            wanted, any_of = self._wanted(host, package, error)
            os.makedirs(state.path("cores"), exist_ok=True)
            with state.locked(os.path.join("cores", "allocate.lock")):
                self._allocate(wanted, any_of, host, error)
            self._settings = tuple(map(os.environ.get, SETTINGS))
            self._pid = os.getpid()
            atexit.register(self._forget)
            self.write()

    def _check_unchanged(self, package: str, error: Error) -> None:
        if self._pid != os.getpid():
            raise rules.broken("runtime-after-fork", FORKED, package, error)
        if self._settings != tuple(map(os.environ.get, SETTINGS)):
            text = "%s changed after the runtime initialised" % " or ".join(SETTINGS)
            raise rules.broken("runtime-settings-late", text, package, error)

    def _wanted(self, host: Dict[str, Any], package: str, error: Error) -> Tuple[List[int], int]:
        """The cores to choose from, and how many of them."""
        total = host["devices"] * host["cores_per_device"]
        visible, count = map(os.environ.get, SETTINGS)
        if visible:
            ends = visible.split("-")
            if len(ends) > 2 or not all(end.isdigit() for end in ends) or int(ends[0]) > int(ends[-1]):
                text = "NEURON_RT_VISIBLE_CORES=%s is neither one core nor a range" % visible
                raise rules.broken("visible-cores-form", text, package, error)
            first, last = int(ends[0]), int(ends[-1])
            if last >= total:
                raise error("Could not find VNC id %d" % max(first, total))
            return list(range(first, last + 1)), last + 1 - first
        if count and count != "0":
            if not count.isdigit() or int(count) > total:
                text = "NEURON_RT_NUM_CORES=%s: this host has %d cores" % (count, total)
                raise rules.broken("num-cores-form", text, package, error)
            return list(range(total)), int(count)
        return list(range(total)), total

    def _allocate(self, wanted: List[int], count: int, host: Dict[str, Any], error: Error) -> None:
        taken: List[Tuple[int, int]] = []
        for number in wanted:
            handle = os.open(state.path(os.path.join("cores", "%d.lock" % number)), os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(handle)
                continue
            taken.append((number, handle))
        for _, handle in taken[count:] if len(taken) >= count else taken:
            os.close(handle)
        if len(taken) < count:
            if count == len(wanted):
                raise error(BUSY % ("nc%d-nc%d" % (wanted[0], wanted[-1]), len(taken)))
            raise error(BUSY_LOGICAL % (count, len(taken), host.get("lnc", 1)))
        self._files = [handle for _, handle in taken[:count]]
        self.cores = [Core(number) for number, _ in taken[:count]]

    def least_used(self, count: int = 1) -> List[int]:
        """The `count` cores with the fewest bytes loaded, first ones first."""
        order = sorted(range(len(self.cores)), key=lambda index: (self.cores[index].used_bytes(), index))
        return sorted(order[:count]) if count > 1 else order[:1]

    def load(
        self,
        name: str,
        size_bytes: int,
        core: int,
        package: str,
        error: Error = RuntimeError,
        count: int = 1,
        **facts: Any,
    ) -> int:
        """Put a model on one core, or a pipeline on `count` from that one on, `size_bytes` on each; its handle.

        Raises:
            error: it does not fit, or an injected fault.
        """
        cores = self.cores[core : core + count]
        faults.strike("load", package, error, core=cores[0].number, **facts)
        with self._guard:
            limit = state.host()["core_memory_bytes"]
            for one in cores:
                if one.used_bytes() + size_bytes > limit:
                    sys.stderr.write("Displaying Current Memory Utilization\n")
                    sys.stderr.write("Failed to allocate %d bytes on ND 0:NC %d\n" % (size_bytes, one.number))
                    raise error(NO_MEMORY)
            handle = next(self._handles)
            for one in cores:
                one.models[handle] = (name, size_bytes)
            self.write()
        numbers = [one.number for one in cores]
        state.record("load", package=package, core=numbers[0], cores=numbers, bytes=size_bytes, facts=facts)
        return handle

    def unload(self, handle: int) -> None:
        with self._guard:
            for core in self.cores:
                core.models.pop(handle, None)
            if self._pid == os.getpid():
                self.write()

    @contextlib.contextmanager
    def running(self, first_core: int, count: int = 1) -> Iterator[None]:
        """One request on `count` contiguous cores, alone on them; counted for neuron-monitor."""
        cores = self.cores[first_core : first_core + count]
        with contextlib.ExitStack() as stack:
            for core in cores:
                stack.enter_context(core.lock)
            begun = time.monotonic()
            try:
                yield
            except BaseException:
                self._failed += 1
                raise
            taken = time.monotonic() - begun
        with self._guard:
            for core in cores:
                core.busy_seconds += taken
            self._completed += 1
            self._latencies = [*self._latencies[1 - LATENCIES :], taken]
            if time.monotonic() - self._written > WRITE_SECONDS:
                self.write()

    def write(self) -> None:
        """Tell the tools what this process holds."""
        if state.folder() is None or not os.path.isdir(state.path("cores")):
            return
        self._written = time.monotonic()
        os.makedirs(state.path("runtimes"), exist_ok=True)
        cores = {
            str(core.number): {
                "busy_seconds": core.busy_seconds,
                "models": [{"name": name, "bytes": size} for name, size in core.models.values()],
            }
            for core in self.cores
        }
        held = {
            "pid": os.getpid(),
            "started": state.started(os.getpid()),
            "command": " ".join(getattr(sys, "orig_argv", sys.argv)),
            "tag": os.environ.get("NEURON_PROCESS_TAG", str(os.getpid())),
            "cores": cores,
            "completed": self._completed,
            "failed": self._failed,
            "latencies": self._latencies,
        }
        state.replace(os.path.join("runtimes", "%d.json" % os.getpid()), held)

    def _forget(self) -> None:
        if self._pid == os.getpid():
            with contextlib.suppress(OSError, KeyError):
                os.unlink(state.path(os.path.join("runtimes", "%d.json" % self._pid)))

    def in_forked_child(self) -> None:
        """The child keeps no core: closing its copies leaves the parent's locks alone."""
        for handle in self._files:
            with contextlib.suppress(OSError):
                os.close(handle)
        self._files = []
        self._guard = threading.RLock()


def holders() -> List[Dict[str, Any]]:
    """What live processes hold, as they wrote it."""
    found = []
    folder = state.path("runtimes")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        if name.endswith(".json"):
            with contextlib.suppress(OSError), open(os.path.join(folder, name), encoding="utf-8") as file:
                held = json.load(file)
                if state.started(held["pid"]) == held["started"]:
                    found.append(held)
    return found


RUNTIME = Runtime()
os.register_at_fork(after_in_child=RUNTIME.in_forked_child)

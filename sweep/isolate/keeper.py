"""The keeper, a process beside each worker: it starts the worker, stores its output, enforces its limits and reports.

It adopts every descendant that loses its parent, so that whatever a worker leaves behind (compilers, daemons with a
session of their own) is found and ended. It sleeps in `select` unless something happens; only where a memory limit is
set does it wake up a few times a second. Worker side, Python 3.8, standard library.
"""

import fcntl
import json
import os
import resource
import select
import signal
import socket
import time
import traceback
from typing import Callable, List, NamedTuple, Optional, Tuple

from sweep.isolate import procfs
from sweep.spec import Json

HEAD_BYTES = 8 << 20  # of a worker's output, stored as it comes
TAIL_BYTES = 1 << 20  # of its end, where errors stand
WATCH_SECONDS = 0.25  # between two looks at the memory
GRACE_SECONDS = 0.5  # for helpers that end by themselves once the worker is gone
PIPE_BYTES = 1 << 20  # large, so that a worker that prints rarely waits for us
F_SETPIPE_SZ = 1031
SIGNALS = (signal.SIGCHLD, signal.SIGTERM)
KILL_SECONDS = 10.0  # until a process that does not die is given up (it hangs in the kernel)


class Log:
    """The captured output: its head and its tail, so that no worker can fill the disk."""

    def __init__(self, path: str) -> None:
        try:
            self.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o666)
        except OSError:  # no log is no reason to stop
            self.file = os.open(os.devnull, os.O_WRONLY)
        self.room = HEAD_BYTES
        self.tail = bytearray()
        self.dropped = 0

    def take(self, data: bytes) -> None:
        if self.room > 0:
            head, data = data[: self.room], data[self.room :]
            self.room -= len(head)
            self._write(head)
        self.tail += data
        if len(self.tail) > 2 * TAIL_BYTES:
            self._trim()

    def _trim(self) -> None:
        excess = max(0, len(self.tail) - TAIL_BYTES)
        del self.tail[:excess]
        self.dropped += excess

    def _write(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(self.file, data) :]
        except OSError:  # a full disk must not take the keeper down
            pass

    def close(self, notes: List[str]) -> None:
        self._trim()
        if self.dropped:
            self._write(b"\n[sweep] %d bytes of output are left out here\n" % self.dropped)
        self._write(bytes(self.tail))
        for note in notes:
            self._write(("\n[sweep] %s\n" % note).encode("utf-8", "replace"))
        os.close(self.file)


class Wakeup:
    """Signals as bytes that `select` can wait for."""

    def __init__(self, *numbers: int) -> None:
        self.read, self.write = os.pipe()
        os.set_blocking(self.read, False)
        os.set_blocking(self.write, False)
        signal.set_wakeup_fd(self.write, warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, lambda *_: None)

    def take(self) -> bytes:
        try:
            return os.read(self.read, 4096)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.read)
        os.close(self.write)


def hold_signals() -> None:
    """Keep signals pending around a fork: a handler of the wrong process must not take them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def release_signals() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Order(NamedTuple):
    """An order of the parent to run a worker."""

    number: int
    folder: str
    seconds: float
    memory_mb: Optional[float]
    cores: List[int]


def send(channel: socket.socket, message: Json) -> None:
    try:
        channel.send(json.dumps(message).encode("utf-8"))
    except OSError:  # the other side is gone; its end of the channel says so
        pass


# Turns a forked child into the worker: (order, keeper's process number, output pipe, descriptors to close). No return.
Become = Callable[[Order, int, int, List[int]], None]


def keep(order: Order, channel: socket.socket, life: int, become: Become) -> None:
    """Run one worker to its end and report. Called in a process of its own with signals held; it ends here.

    Args:
        life: a pipe that closes when the server dies.
    """
    status = 1
    try:
        os.setsid()  # so that nobody's kill of the server's group takes the keepers too
        send(channel, _Keeper(order, channel, life, become).run())
        status = 0
    except BaseException:  # the server's own log; the server tells the parent that this keeper is lost
        traceback.print_exc()
    finally:
        os._exit(status)


def _read_cpu_seconds() -> float:
    """CPU time of this keeper and of its ended descendants: the worker and everything that it started."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def _widen(pipe: int) -> None:
    try:
        fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:  # a small pipe does too
        pass


class _Keeper:
    def __init__(self, order: Order, channel: socket.socket, life: int, become: Become) -> None:
        self.order, self.life = order, life
        self.wakeup = Wakeup(*SIGNALS)
        self.log = Log(order.folder + "/log.txt")
        procfs.adopt_orphans()
        self.kernel_kills = procfs.count_oom_kills()
        self.output, write = os.pipe()
        os.set_blocking(self.output, False)
        _widen(write)
        self.started = self.looked = time.monotonic()
        self.peak_mb = 0.0
        keeper = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            ours = [channel.fileno(), life, self.log.file, self.output, self.wakeup.read, self.wakeup.write]
            become(order, keeper, write, ours)
        os.close(write)
        release_signals()

    def run(self) -> Json:
        why = self._watch()
        left = [] if why else self._left_behind()
        self._end_all()
        code, rusage = self._reap()
        seconds = time.monotonic() - self.started
        while self._drain():
            pass
        self.log.close(["left behind and ended: " + ", ".join(left)] if left else [])
        kernel = code == -signal.SIGKILL and not why and procfs.count_oom_kills() > self.kernel_kills
        return {
            "exited": self.order.number,
            "why": why,
            "code": code,
            "seconds": seconds,
            "peak_memory_mb": max(self.peak_mb, rusage),
            "cpu_seconds": _read_cpu_seconds(),
            "left": left,
            "kernel_oom": kernel,
        }

    def _watch(self) -> str:
        """Sleep until the worker ends, or must be ended. Returns why it must be ended, or ""."""
        waiting = [self.output, self.wakeup.read, self.life]
        end, progress = self.started + self.order.seconds, 0
        while True:
            pause = max(0.0, end - time.monotonic())
            if self.order.memory_mb is not None:
                pause = min(pause, WATCH_SECONDS)
            ready = select.select(waiting, [], [], pause)[0]
            if self.output in ready and not self._drain():
                waiting.remove(self.output)  # the worker closed its output, and may go on
            if self.life in ready:
                return "abandoned"
            if self.wakeup.read in ready:
                if signal.SIGTERM in self.wakeup.take():
                    return "cancelled"
                if self._ended():
                    return ""
            if self._over_memory():
                return "memory"
            if time.monotonic() >= end:
                before, progress = progress, procfs.read_progress_ns(self.order.folder)
                if progress == before:
                    return "deadline"
                end += self.order.seconds

    def _drain(self) -> bool:
        """Store what the worker has written; False if there is nothing now, or nothing more will come."""
        try:
            data = os.read(self.output, 1 << 18)
        except BlockingIOError:
            return False
        self.log.take(data)
        return bool(data)

    def _ended(self) -> bool:
        """Whether the worker has ended. It stays a zombie, so that its number cannot belong to another group."""
        while True:
            try:
                state = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return True
            if state is None:
                return False
            if state.si_pid == self.pid:
                return True
            os.waitpid(state.si_pid, os.WNOHANG)  # an adopted orphan

    def _over_memory(self) -> bool:
        limit, now = self.order.memory_mb, time.monotonic()
        if limit is None or now - self.looked < 0.9 * WATCH_SECONDS:
            return False
        self.looked = now
        tree = procfs.list_descendants(os.getpid())
        used = procfs.sum_held_mb(tree)
        if used > limit and len(tree) > 1:  # forks share memory: count it once before ending anything
            used = procfs.sum_proportional_mb(tree)
        self.peak_mb = max(self.peak_mb, used)
        return used > limit

    def _left_behind(self) -> List[str]:
        """Processes that still run a moment after the worker has ended."""
        end = time.monotonic() + GRACE_SECONDS
        while True:
            tree = procfs.list_descendants(os.getpid())
            rest = end - time.monotonic()
            if not tree or rest <= 0:
                return ["%s (%d)" % (procfs.read_name(pid), pid) for pid in tree]
            if self.life in select.select([self.wakeup.read, self.life], [], [], min(rest, 0.05))[0]:
                return []  # the server is gone: end everything at once
            self.wakeup.take()

    def _end_all(self) -> None:
        """Kill until nothing is left. Children of a killed process become ours, so the next look finds them."""
        end = time.monotonic() + KILL_SECONDS
        procfs.kill_group(self.pid)
        while time.monotonic() < end:
            tree = procfs.list_descendants(os.getpid())
            if not tree:
                return
            for pid in tree:
                procfs.kill(pid)
            select.select([self.wakeup.read], [], [], 0.02)
            self.wakeup.take()

    def _reap(self) -> Tuple[Optional[int], float]:
        """Exit code (negative: signal; None: it would not die) and peak resident memory in MB of the worker."""
        end = time.monotonic() + KILL_SECONDS
        while time.monotonic() < end:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
                return code, usage.ru_maxrss / 1024.0
            select.select([self.wakeup.read], [], [], 0.05)
            self.wakeup.take()
        return None, 0.0

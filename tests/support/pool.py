"""A pool of workers without processes and without waiting: it stands in the place of `sweep.isolate.pool.Workers`.

Everything but the process is real: the request goes into the task's folder, the entry reads it there and leaves its
files, and the pool makes the outcome of them. Only the worker runs here, in this thread, and time is the pool's own: it
passes where somebody sleeps, and a little with every look at the clock. So a sweep of the fake backend takes
milliseconds, and its timings are exactly those that the fake device was told to have.

What would end the worker's process ends it here too: the fake backend's signals and hangs, the deadline of the order,
and whatever `FakePool.before` raises. `tests/isolate/test_fake_pool.py` holds it against the real pool.
"""

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.backends import fake
from sweep.engine import context, control, repeats, resolve, scoring
from sweep.isolate import procfs, server
from sweep.isolate.pool import Workers
from sweep.spec import Json, to_json
from sweep.worker import process, repeat, replicas, threads, window, witness
from sweep.worker.load import generator, probing

LOOK_NS = 200  # that pass with every look at the clock
START_SECONDS = 0.02  # of a worker, before its entry is called
START_NS = 20_000_000  # from the moment at which the last replica is ready to the common start
PEAK_MB = 50.0


def _nothing() -> None:
    pass


def _ignore_resources(placement: object, threads: object) -> None:
    """The threads of this process are those of all tests."""


_NO_GC = SimpleNamespace(collect=_nothing, disable=_nothing, enable=_nothing)  # here it is the garbage of all tests


class Ended(BaseException):
    """The worker's process ends here, as the keeper of a real one would report it."""

    def __init__(self, code: int = -signal.SIGKILL, why: str = "", peak_memory_mb: float = PEAK_MB) -> None:
        super().__init__(code, why)
        self.report: Json = {"code": code, "why": why, "peak_memory_mb": peak_memory_mb}


class Clock:
    """Passes by itself; in the place of the module `time` where a worker or the engine looks at it."""

    def __init__(self) -> None:
        self.ns = time.monotonic_ns()
        self.wall = time.time() - self.monotonic()
        self.deadline_ns: float = float("inf")

    def perf_counter_ns(self) -> int:
        self.pass_until(self.ns + LOOK_NS)
        return self.ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() / 1e9

    def monotonic(self) -> float:
        return self.ns / 1e9

    def time(self) -> float:
        return self.wall + self.monotonic()

    def sleep(self, seconds: float) -> None:
        self.pass_until(self.ns + round(1e9 * seconds))

    def pass_until(self, ns: float) -> None:
        """Raises `Ended` at the deadline of the worker, if it has one."""
        if ns >= self.deadline_ns:
            self.ns = int(self.deadline_ns)
            raise Ended(why="deadline")
        self.ns = max(self.ns, int(ns))


class FakePool:
    """Runs workers here, one after the other. Use it by `installed`, or by the fixture `fake_pool`.

    Attributes:
        before: called before every worker with the name of its entry, like "measure"; raises `Ended` to end that
            worker, KeyboardInterrupt for a Ctrl-C while the sweep waits for it.
        entries: the names of all that were asked for, in order.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self.before: Callable[[str], None] = lambda entry: None
        self.entries: list[str] = []
        self._turn = threading.Lock()

    def workers(self) -> Workers:
        """In the place of the class."""
        return Workers(lambda python, preload, variables, own: _Server(self))  # type: ignore[arg-type,return-value]  # it stands in

    def run(self, order: Json) -> Json:
        """What the keeper of a real worker reports."""
        folder = Path(order["folder"])
        with self._turn:
            begun, cpu = self.clock.ns, time.thread_time()
            report: Json = {"why": "", "left": [], "kernel_oom": False, "peak_memory_mb": PEAK_MB}
            try:
                report["code"] = self._execute(order, folder)
            except Ended as end:
                (folder / "result.json").unlink(missing_ok=True)
                report |= end.report
            seconds = (self.clock.ns - begun) / 1e9
            return {**report, "seconds": seconds, "cpu_seconds": time.thread_time() - cpu}

    def _execute(self, order: Json, folder: Path) -> int:
        """Exit code of a worker that ended by itself."""
        self.entries.append(_entry(folder))
        with _same_process(folder / "log.txt"):
            self.clock.sleep(START_SECONDS)
            self.clock.deadline_ns = self.clock.ns + 1e9 * order["seconds"]
            try:
                self.before(self.entries[-1])
                return server.execute(folder)
            finally:
                self.clock.deadline_ns = float("inf")

    @contextlib.contextmanager
    def installed(self) -> Iterator["FakePool"]:
        """Sweeps of this process have this pool, and its time, as long as the context lasts."""
        clock = self.clock
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("sweep.engine.session.Workers", self.workers)
            for module in (context, control, repeats, resolve, scoring):
                patch.setattr(module, "time", clock)
            patch.setattr(window, "clock", clock.perf_counter_ns)
            patch.setattr(window, "gc", _NO_GC)
            real = generator.Clock(clock.perf_counter_ns, clock.pass_until)
            patch.setattr(generator.serve, "__defaults__", (real,))
            patch.setattr(probing.Team.__new__, "__defaults__", (real,))
            patch.setattr(probing, "time", clock)
            patch.setattr(replicas, "run", self._replicas)
            for name, stand_in in _of_process().items():
                patch.setattr(process, name, stand_in)
            patch.setattr(threads, "read_threads", lambda: {"openblas": 1})
            patch.setattr(procfs, "read_uptime", clock.monotonic)
            patch.setattr(witness, "read_cpu_seconds", lambda: 0.0)
            patch.setattr(repeat, "check_resources", _ignore_resources)
            patch.setattr(server, "encode_failure", _failure_of)
            for name, stand_in in _of_fake_backend(clock).items():
                patch.setattr(fake, name, stand_in)
            yield self

    def _replicas(self, copies: Sequence[replicas.Copy], work: replicas.Work, one_by_one: bool = False) -> list[Json]:
        """In the place of `replicas.run`: they warm up from the same moment on, and have the same start.

        One runs at a time; those that share a queue need processes of their own.
        """
        ready, begun = self.clock.ns, self.clock.ns
        started: list[_Replica] = []
        for copy in copies:
            started.append(_Replica(self.clock, copy, work))
            ready = max(ready, started[-1].go_on(ready if one_by_one else begun))
            if one_by_one and not started[-1].waits:
                break
        whole = all(replica.waits for replica in started)
        ends = [replica.go_on(ready + START_NS, whole) for replica in started if replica.waits]
        self.clock.ns = max(ends, default=ready)
        for replica in started:
            replica.thread.join()
            if replica.ended is not None and replica.ended.report["why"]:
                raise replica.ended
        return replicas._collect(copies[: len(started)], [replica.status for replica in started])


def _entry(folder: Path) -> str:
    request = json.loads((folder / "request.json").read_text("utf-8"))
    return str(request["entry"]).rpartition(":")[2]


class _Server:
    """In the place of `forkclient.Server`: has no process."""

    dead = False

    def __init__(self, pool: FakePool) -> None:
        self._pool = pool

    def run(self, order: Callable[[int], Json], seconds: float, folder: str = "") -> Json:
        return self._pool.run(order(1))

    def cancel(self) -> None:
        """Nothing runs beside the caller."""

    hang_up = join = kill = cancel


class _GaveUp(BaseException):
    """Another replica failed before the start."""


class _Replica:
    """One copy of a model. It has a thread, to be left in the middle; it runs only while `go_on` is called."""

    def __init__(self, clock: Clock, copy: replicas.Copy, work: replicas.Work) -> None:
        self.status = 0  # as `os.waitpid` has it
        self.ended: Ended | None = None
        self.waits = True
        self._clock, self._copy, self._work = clock, copy, work
        self._start: int | None = None
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()

    def go_on(self, ns: int, start: bool | None = None) -> int:
        """From a moment on, until it waits for the others or ends; the moment then. `start`: whether all are warm."""
        self._clock.ns, self._start = ns, ns if start else None
        self._go.release()
        self._back.acquire()
        return self._clock.ns

    def _live(self) -> None:
        self._go.acquire()
        try:
            self._copy.answer.write_text(
                json.dumps({"result": to_json(self._work(self._copy, lambda: None, self._barrier))})
            )
        except _GaveUp:
            self.status = replicas.GAVE_UP << 8
        except Ended as ended:
            self.ended, self.status = ended, -ended.report["code"]
        except BaseException as error:
            self._copy.answer.write_text(json.dumps({"failure": server.encode_failure(error)}))
            self.status = 1 << 8
        self.waits = False
        self._back.release()

    def _barrier(self) -> int:
        self._back.release()
        self._go.acquire()
        if self._start is None:
            raise _GaveUp
        return self._start


@contextlib.contextmanager
def _same_process(log: Path) -> Iterator[None]:
    """Undoes what a worker may do to the process that it has for itself, and lets it not end this one."""
    environment, cpus = dict(os.environ), os.sched_getaffinity(0)

    def end(code: int) -> None:
        raise Ended(code)

    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(log, "w"))
        stack.enter_context(contextlib.redirect_stdout(file))
        stack.enter_context(contextlib.redirect_stderr(file))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(os, "abort", lambda: end(-signal.SIGABRT))
        patch.setattr(os, "kill", lambda pid, number: end(-number))
        try:
            yield
        finally:
            os.sched_setaffinity(0, cpus)
            os.environ.clear()
            os.environ.update(environment)


def _failure_of(error: BaseException, real: Callable[[BaseException], Json] = server.encode_failure) -> Json:
    """A process that has ended says nothing about it."""
    if isinstance(error, Ended):
        raise error
    return real(error)


def _of_process() -> dict[str, Any]:
    """The process of a worker is that of all tests: nothing of it is changed or told."""
    return {"set_up": lambda settings: None, "hold": lambda settings, placement: None, "observe": dict}


def _of_fake_backend(clock: Clock) -> dict[str, Any]:
    """What the fake backend waits with, and crashes with."""

    def crash(address: int) -> None:
        raise Ended(-signal.SIGSEGV)

    forever = SimpleNamespace(wait=lambda: clock.pass_until(clock.deadline_ns))
    return {
        "time": clock,
        "threading": SimpleNamespace(Event=lambda: forever),
        "ctypes": SimpleNamespace(string_at=crash),
    }

"""Run one worker: a fresh process with a deadline and a memory limit; an `Outcome` whatever happens to it.

The parent's side. Each (interpreter, preloaded modules) has a `forkserver`; a call of `run` sends it an order and
sleeps until the worker's keeper reports. Nothing here polls: while a worker is measured the parent uses no CPU.

A task folder holds `request.json` (with "entry": "module:function"), and afterwards `log.txt` and `result.json`. An
entry may write `versions.json` ({distribution: version}) early; a failure then says what it ran with, also after a
crash.
"""

import itertools
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sweep import failures
from sweep.spec import Failure, FailureKind, Json, Outcome

START_SECONDS = 300.0  # for a server to import its modules
GRACE_SECONDS = 60.0  # beyond the deadline, for a keeper to end everything and report
TAIL_BYTES = 16384  # of a log are searched for the reason of a failure
NEAR_LIMIT = 0.9  # share of the memory limit from which an unexplained SIGKILL is taken as out of memory


@dataclass(frozen=True)
class Limits:
    """Where a worker is ended: wall seconds, and MiB of resident memory of its whole process tree."""

    seconds: float
    memory_mb: float | None = None


class Workers:
    """Starts workers. Safe to use from several threads; close it, or use it as a context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._servers: dict[tuple[str, tuple[str, ...]], _Server] = {}
        self._closed = False
        self._finalizer = weakref.finalize(self, _close_all, self._servers)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self, preload: Sequence[str], python: str | None = None) -> None:
        """Start a server in the background, so that its imports are done when the first worker is needed."""
        try:
            self._server(python, preload)
        except (OSError, _GoneError):  # told by the run that needs it
            pass

    def run(
        self,
        request: Json,
        folder: Path,
        *,
        limits: Limits,
        python: str | None = None,
        preload: Sequence[str] = (),
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run `request["entry"]` in a fresh process and wait, asleep, until everything that it started is gone.

        Args:
            folder: the task folder; made if needed. `request.json`, `log.txt` and `result.json` are replaced.
            python: another interpreter, or None for ours.
            preload: modules for the server to import once. They may only import, not compute.
            cores: CPU numbers to run on; none means all.
            env: set in the worker, which is after the preloaded modules were imported.
        """
        folder = folder.absolute()
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("result.json", "log.txt", "versions.json"):
            (folder / name).unlink(missing_ok=True)
        (folder / "request.json").write_text(json.dumps(request), "utf-8")
        task = _Task(folder, limits, tuple(int(core) for core in cores), dict(env or {}), python)
        begun = time.monotonic()
        for attempt in (1, 2):
            try:
                return task.outcome(self._server(python, preload).run(task))
            except _GoneError as gone:
                if self._closed:
                    return task.failed(FailureKind.PREEMPTED, "stopped: no worker was started", begun)
                if gone.final or attempt == 2:
                    return task.failed(FailureKind.TOOLCHAIN_MISSING, str(gone), begun)
            except OSError as error:
                kind = FailureKind.TOOLCHAIN_MISSING
                return task.failed(kind, f"the interpreter {python or sys.executable} does not start: {error}", begun)
        raise AssertionError("unreachable")

    def cancel(self) -> None:
        """End every running worker now; their `run` returns a failure of kind PREEMPTED. Does not wait for them."""
        with self._lock:
            servers = list(self._servers.values())
        for server in servers:
            server.cancel()

    def close(self) -> None:
        """End every worker and server, and wait until they are gone. Later runs are refused as PREEMPTED."""
        with self._lock:
            self._closed = True
        self._finalizer()

    def _server(self, python: str | None, preload: Sequence[str]) -> "_Server":
        own = python is None or os.path.abspath(python) == sys.executable
        key = (sys.executable if own else str(python), tuple(preload))
        with self._lock:
            if self._closed:
                raise _GoneError("closed", final=True)
            server = self._servers.get(key)
            if server is None or server.dead:
                server = self._servers[key] = _Server(key[0], key[1], own)
            return server


class _GoneError(Exception):
    """The server cannot take an order. Final where a new server would fare no better."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _close_all(servers: "dict[Any, _Server]") -> None:
    ending = list(servers.values())
    servers.clear()
    for server in ending:
        server.hang_up()
    for server in ending:
        server.join()


@dataclass(frozen=True)
class _Task:
    folder: Path
    limits: Limits
    cores: tuple[int, ...]
    env: Mapping[str, str]
    python: str | None

    def order(self, number: int) -> Json:
        return {
            "number": number,
            "folder": str(self.folder),
            "seconds": self.limits.seconds,
            "memory_mb": self.limits.memory_mb,
            "cores": list(self.cores),
            "env": dict(self.env),
        }

    def outcome(self, report: Json) -> Outcome:
        """What the keeper's report and the files in the folder say together."""
        answer = _read_json(self.folder / "result.json")
        seconds, peak = float(report.get("seconds", 0.0)), float(report.get("peak_memory_mb", 0.0))
        why, code = report.get("why", ""), report.get("code")
        killed = why and code != 0  # a worker that ended well just before it was killed has ended well
        if answer is not None and not killed and "lost" not in report:
            result = answer.get("result")
            if result is not None:
                if report.get("left"):
                    result = {**result, "left_behind": report["left"]}
                return Outcome(result, None, str(self._log), seconds, peak)
            told = answer["failure"]
            failure = self._told(told, code, seconds)
            return Outcome(None, failure, str(self._log), seconds, peak, user_error=bool(told.get("user")))
        kind, summary = self._explain(report, peak)
        signal_name = _signal_name(code) if code is not None and code < 0 else None
        failure = self._failure(kind, summary, seconds, code if signal_name is None else None, signal_name)
        return Outcome(None, failure, str(self._log), seconds, peak)

    def failed(self, kind: FailureKind, summary: str, begun: float) -> Outcome:
        """The outcome of a worker that never started."""
        seconds = time.monotonic() - begun
        return Outcome(None, self._failure(kind, failures.one_line(summary), seconds), str(self._log), seconds)

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _explain(self, report: Json, peak: float) -> tuple[FailureKind, str]:
        """Why there is no result."""
        why, code, limit = report.get("why", ""), report.get("code"), self.limits.memory_mb
        if why == "deadline":
            return FailureKind.TIMEOUT, f"not finished after {self.limits.seconds:g} s: killed at the deadline"
        if why == "memory":
            return FailureKind.HOST_OOM, f"held {peak:,.0f} MB of memory, the limit is {limit:,.0f} MB: killed"
        if why == "cancelled":
            return FailureKind.PREEMPTED, "stopped on request"
        if why == "abandoned" or "lost" in report:
            return FailureKind.CRASH, f"lost: {report.get('lost') or 'the server that started it died'}"
        if code is None:
            return FailureKind.HARDWARE_ERROR, "could not be killed: it hangs inside the kernel or a driver"
        signal_name = _signal_name(code) if code < 0 else None
        if signal_name == "SIGKILL":
            if report.get("kernel_oom"):
                return FailureKind.HOST_OOM, f"killed by the kernel's out-of-memory killer, having held {peak:,.0f} MB"
            if limit is not None and peak >= NEAR_LIMIT * limit:
                return FailureKind.HOST_OOM, f"killed by SIGKILL at {peak:,.0f} MB of a limit of {limit:,.0f} MB"
        return failures.from_exit(None if signal_name else code, signal_name, _tail(self._log))

    def _told(self, told: Json, code: int | None, seconds: float) -> Failure:
        """The failure that the worker itself reported; what it could not name, the log may."""
        kind, summary = FailureKind(told["kind"]), str(told["summary"])
        if kind is FailureKind.UNKNOWN and not told.get("user"):
            kind = failures.classify(None, _tail(self._log))[0]
        return self._failure(kind, summary, seconds, code)

    def _failure(
        self,
        kind: FailureKind,
        summary: str,
        seconds: float,
        exit_code: int | None = None,
        signal_name: str | None = None,
    ) -> Failure:
        versions = _read_json(self.folder / "versions.json") or {}
        texts = {str(name): str(version) for name, version in versions.items()}
        log = str(self._log) if self._log.exists() else None
        return Failure(kind, summary, log, exit_code, signal_name, seconds, texts, self.command())

    def command(self) -> str:
        """A shell line that runs this worker again by hand."""
        words = ["env", *(f"{name}={value}" for name, value in self.env.items())] if self.env else []
        words += [self.python or sys.executable, "-m", "sweep.forkserver"]
        if self.cores:
            words += ["--cores", ",".join(map(str, self.cores))]
        line = shlex.join([*words, "--once", str(self.folder)])
        if self.python is None:
            return f"cd {shlex.quote(os.getcwd())} && {line}"
        link = f'ln -s {shlex.quote(str(_package()))} "$only/sweep"'
        return f'only=$(mktemp -d) && {link} && PYTHONPATH="$only" {line}'


class _Waiting:
    """One run that waits for its report."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.report: Json | None = None


class _Server:
    """One fork server process, and the thread that reads what its keepers report."""

    def __init__(self, python: str, preload: tuple[str, ...], own: bool) -> None:
        self.dead = False
        self._ready = threading.Event()  # set once it serves, and when it has died
        self._serves = False
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._python = python
        self._private = tempfile.mkdtemp(prefix="sweep-")
        (Path(self._private) / "sweep").symlink_to(_package())
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # its own output, for when it fails
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _CHANNELS.add(self._channel)
        try:
            self._process = self._start(preload, own, theirs)
        except OSError:
            self._channel.close()
            shutil.rmtree(self._private, ignore_errors=True)
            raise
        finally:
            theirs.close()
        path = [entry or os.getcwd() for entry in sys.path]
        setup = {
            "path": path + [os.getcwd()] * (os.getcwd() not in path) if own else None,
            "cwd": os.getcwd(),
            "private": self._private,
        }
        self._send(setup)
        self._thread = threading.Thread(target=self._read, name="sweep-workers", daemon=True)
        self._thread.start()

    def _start(self, preload: tuple[str, ...], own: bool, channel: socket.socket) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._python, "-m", "sweep.forkserver", *preload],
            stdin=channel.fileno(),
            stdout=self._messages.fileno(),
            stderr=self._messages.fileno(),
            cwd=self._private,  # `-m` looks here first, so it is this package that starts and no other of that name
            env=_environment(self._python, own),
            start_new_session=True,
        )

    def run(self, task: _Task) -> Json:
        """Send an order and wait for its report.

        Raises:
            _GoneError: no worker was started.
        """
        if not self._ready.wait(START_SECONDS):
            self.kill()
            raise _GoneError(f"{self._python} has not finished its imports after {START_SECONDS:g} s", final=True)
        if not self._serves:
            raise _GoneError(self._why_not(), final=True)
        waiting, number = _Waiting(), next(self._numbers)
        with self._lock:
            if self.dead:
                raise _GoneError("its server died")
            self._waiting[number] = waiting
        try:
            begun = time.monotonic()
            if not self._send({"start": task.order(number)}):
                raise _GoneError("its server died")
            if not waiting.done.wait(task.limits.seconds + GRACE_SECONDS):
                self.kill()  # its keepers see that, and end their workers
                waiting.done.wait(GRACE_SECONDS)
        except BaseException:  # Ctrl-C while asleep: take the worker along
            self._send({"kill": number})
            raise
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        return waiting.report or {"lost": "its server died", "seconds": time.monotonic() - begun}

    def cancel(self) -> None:
        with self._lock:
            numbers = list(self._waiting)
        for number in numbers:
            self._send({"kill": number})

    def hang_up(self) -> None:
        """Close the channel: the server ends every worker, then itself."""
        try:
            self._channel.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def kill(self) -> None:
        self._process.kill()

    def join(self) -> None:
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._thread.join(GRACE_SECONDS)

    def _send(self, message: Json) -> bool:
        try:
            self._channel.send(json.dumps(message).encode("utf-8"))
        except OSError:
            return False
        return True

    def _read(self) -> None:
        while True:
            try:
                data = self._channel.recv(1 << 20)
            except OSError:
                break
            if not data:
                break
            message = json.loads(data)
            if "ready" in message:
                self._serves = True
                self._ready.set()
            with self._lock:
                waiting = self._waiting.get(message.get("exited", -1))
            if waiting is not None:
                waiting.report = message
                waiting.done.set()
        self._died()

    def _died(self) -> None:
        """The channel has closed: server and keepers are gone."""
        with self._lock:
            self.dead = True
            waiting = list(self._waiting.values())
        self._process.wait()
        shutil.rmtree(self._private, ignore_errors=True)
        for one in waiting:
            one.done.set()
        self._ready.set()

    def _why_not(self) -> str:
        self._messages.seek(0)
        text = self._messages.read()[-TAIL_BYTES:].decode("utf-8", "replace")
        return f"{self._python} cannot run workers: {failures.meaningful_line(text) or 'it ended at once'}"


_CHANNELS: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _close_copies() -> None:
    """In a fork of this process: a copy of the channel would keep the workers alive after their parent has died."""
    for channel in list(_CHANNELS):
        channel.close()


os.register_at_fork(after_in_child=_close_copies)


def _environment(python: str, own: bool) -> dict[str, str]:
    """Ours; for another interpreter without what belongs to our Python, and with its own programs first on PATH."""
    env = dict(os.environ)
    env.pop("PYTHONSAFEPATH", None)  # would hide this package from `-m`
    if not own:
        for name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"):
            env.pop(name, None)
        if os.path.dirname(python):
            env["PATH"] = os.pathsep.join([os.path.dirname(os.path.abspath(python)), env.get("PATH", os.defpath)])
    return env


def _package() -> Path:
    return Path(failures.__file__).resolve().parent


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def _read_json(path: Path) -> Json | None:
    """The object in a file, or None where there is none that can be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""

"""The parent's end of one fork server: start it, send it orders, sleep until its keepers report."""

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import IO, Callable, Dict, Optional, Tuple

from sweep.isolate import failures, procfs
from sweep.spec import Json

START_SECONDS = 300.0  # for a server to import its modules
GRACE_SECONDS = 60.0  # beyond the deadline, for a keeper to end everything and report
MESSAGES_BYTES = 16384  # of what a server that does not start has printed
PACKAGE = Path(failures.__file__).resolve().parents[1]


class GoneError(Exception):
    """The server cannot take an order. `final`: a new server could not either."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class _Waiting:
    """A run that waits for the server, then for the report of its worker."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.report: Optional[Json] = None
        self.sent = self.started = self.cancelled = False


class Server:
    """One fork server process, and the thread that reads what its keepers report.

    Raises:
        OSError: there is no such interpreter.
    """

    def __init__(
        self, python: str, preload: Tuple[str, ...], variables: Tuple[Tuple[str, str], ...], own: bool
    ) -> None:
        self.dead = False
        self._serves = self._ending = False
        self._why_not = "it ended at once"
        self._change = threading.Condition()  # of dead, serves and every _Waiting
        self._numbers = itertools.count(1)
        self._waiting: Dict[int, _Waiting] = {}
        self._python = python
        self._private = tempfile.mkdtemp(prefix="sweep-")
        (Path(self._private) / "sweep").symlink_to(PACKAGE)
        self._messages: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # what the server itself prints
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _CHANNELS.add(self._channel)
        try:
            self._process = self._start(preload, {**_make_environment(python, own), **dict(variables)}, theirs)
        except OSError:
            self._tidy()
            raise
        finally:
            theirs.close()
        here = str(Path.cwd())
        path = [entry or here for entry in sys.path]
        path += [here] * (here not in path)
        self._send({"path": path if own else None, "cwd": here, "private": self._private})
        self._thread = threading.Thread(target=self._read, name="sweep-workers", daemon=True)
        self._thread.start()

    def _start(
        self, preload: Tuple[str, ...], env: Dict[str, str], channel: socket.socket
    ) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [self._python, "-m", "sweep.isolate.server", *preload],
            stdin=channel.fileno(),
            stdout=self._messages.fileno(),
            stderr=self._messages.fileno(),
            cwd=self._private,  # `-m` looks here first, so it is this package that starts and no other of that name
            env=env,
            start_new_session=True,
        )

    def run(self, order: Callable[[int], Json], seconds: float, folder: str = "") -> Json:
        """Send an order under a number of its own, and sleep until its report comes, at most `seconds` and some grace.

        A worker that writes its progress into `folder` has as much time again.

        Raises:
            GoneError: no worker was started.
        """
        waiting, number = _Waiting(), next(self._numbers)
        begun = time.monotonic()
        try:
            if not self._start_worker(waiting, number, order):
                return {"why": "cancelled", "seconds": time.monotonic() - begun}
            begun = time.monotonic()
            if not _wait(waiting.done, seconds, folder):
                self.kill()  # its keepers see that, and end their workers
                waiting.done.wait(GRACE_SECONDS)
        except BaseException:  # Ctrl-C while asleep: take the worker along
            self._send({"kill": number})
            raise
        finally:
            with self._change:
                self._waiting.pop(number, None)
        if waiting.report is None and not waiting.started and not self._ending:
            raise GoneError("its server died")  # before it read the order: a new one may try
        report = waiting.report or {"lost": "its server died", "seconds": time.monotonic() - begun}
        if self._ending and ("lost" in report or report["why"] == "abandoned"):
            report["why"] = "cancelled"
        return report

    def _start_worker(self, waiting: _Waiting, number: int, order: Callable[[int], Json]) -> bool:
        """Send the order once the server is ready for it; False if it was cancelled before."""
        with self._change:
            self._waiting[number] = waiting
            self._change.wait_for(lambda: self._serves or self.dead or waiting.cancelled, START_SECONDS)
            if waiting.cancelled:
                return False
            if self.dead:
                reason = "its server died" if self._serves else self._why_not
                raise GoneError(f"{self._python} cannot run workers: {reason}", final=not self._serves)
            if not self._serves:
                self.kill()
                raise GoneError(f"{self._python} has not finished its imports in {START_SECONDS:g} s", final=True)
            waiting.sent = self._send({"start": order(number)})
            if not waiting.sent:
                raise GoneError("its server died")
            return True

    def cancel(self) -> None:
        """End every worker, and let no order through that still waits for the server."""
        with self._change:
            for number, waiting in self._waiting.items():
                waiting.cancelled = True
                if waiting.sent:
                    self._send({"kill": number})
            self._change.notify_all()

    def hang_up(self) -> None:
        """Close our side of the channel: the server ends every worker, then itself; keepers still report."""
        self._ending = True
        try:
            self._channel.shutdown(socket.SHUT_WR)
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
            with self._change:
                self._serves = self._serves or "ready" in message
                self.dead = self.dead or message.get("why") == "abandoned"  # a keeper saw it first
                waiting = self._waiting.get(message.get("exited", message.get("started", -1)))
                self._change.notify_all()
            if waiting is not None and "started" in message:
                waiting.started = True
            elif waiting is not None:
                waiting.report = message
                waiting.done.set()
        self._died()

    def _died(self) -> None:
        """The channel has closed: server and keepers are gone."""
        self._process.wait()
        self._messages.seek(0)
        text = self._messages.read()[-MESSAGES_BYTES:].decode("utf-8", "replace")
        self._tidy()
        with self._change:
            self.dead = True
            self._why_not = failures.pick_line(text) or self._why_not
            for waiting in self._waiting.values():
                waiting.done.set()
            self._change.notify_all()

    def _tidy(self) -> None:
        self._channel.close()
        self._messages.close()
        shutil.rmtree(self._private, ignore_errors=True)


def _wait(done: threading.Event, seconds: float, folder: str) -> bool:
    """Wait for a worker for longer than its keeper does, who looks at its progress once in `seconds`."""
    patience, progress = seconds + GRACE_SECONDS, 0
    while not done.wait(patience):
        before, progress = progress, procfs.read_progress_ns(folder)
        if progress == before:
            return False
        patience = 2 * seconds + GRACE_SECONDS
    return True


_CHANNELS: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def _close_copies() -> None:
    """In a fork of this process: a copy of the channel would keep the workers alive after their parent has died."""
    for channel in list(_CHANNELS):
        channel.close()


os.register_at_fork(after_in_child=_close_copies)


def _make_environment(python: str, own: bool) -> Dict[str, str]:
    """Our environment. Another interpreter gets none of our Python's variables, and its own programs first on PATH."""
    env = dict(os.environ)
    env.pop("PYTHONSAFEPATH", None)  # would hide this package from `-m`
    if not own:
        for name in ("PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__"):
            env.pop(name, None)
        if os.sep in python:
            env["PATH"] = os.pathsep.join([str(Path(python).parent), env.get("PATH", os.defpath)])
    return env

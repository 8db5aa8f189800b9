"""The server that workers are forked from: `python -m sweep.isolate.server MODULE...`, started by `isolate.client`.

It imports the modules once (it only imports: a process that has run an operation makes its children hang), then forks a
keeper for each order, which forks the worker. So a fresh worker costs tens of milliseconds although it starts with its
framework imported. It has one thread, a session of its own (Ctrl-C in a terminal does not reach it), and sleeps unless
an order comes or a child ends. When its channel closes, which also happens when the parent is killed, everything ends.

`python -m sweep.isolate.server --once FOLDER` runs one worker by hand. Worker side, Python 3.8, standard library.
"""

import argparse
import faulthandler
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Dict, List, Optional, Sequence, TextIO

from sweep.files import write_whole
from sweep.isolate import failures, keeper, procfs
from sweep.spec import FailureKind, Json, TrialError, UserError, to_json

MESSAGE_BYTES = 1 << 20
MODULES_BEFORE = {  # of entries in task folders that version 0.1 left; until 0.3
    "sweep.worker": "sweep.worker.entries",
    "sweep.padding": "sweep.worker.padded_reference",
    "sweep.replaying": "sweep.backends.replay.answers",
}


def execute(folder: Path) -> int:
    """Answer `folder/request.json` in `folder/result.json`; returns 0 for a result, 1 for a failure."""
    try:
        request = json.loads((folder / "request.json").read_text("utf-8"))
        module, _, name = request["entry"].partition(":")
        entry = getattr(importlib.import_module(MODULES_BEFORE.get(module, module)), name)
        answer = {"result": to_json(entry(request, folder))}
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a framework are failures too
        answer = {"failure": encode_failure(error)}
    write_whole(folder / "result.json", json.dumps(answer))
    return 0 if "result" in answer else 1


def encode_failure(error: BaseException) -> Json:
    """The JSON of an exception in result.json. The traceback goes to the log, unless it is the user's error."""
    if isinstance(error, UserError):
        return {"kind": FailureKind.UNKNOWN.value, "summary": failures.shorten(str(error)), "user": True}
    traceback.print_exception(type(error), error, error.__traceback__)
    kind, summary = failures.classify(error, "")
    return {"kind": kind.value, "summary": summary}


def serve(modules: Sequence[str]) -> None:
    """Serve orders from the socket that stands in for standard input, until it closes."""
    channel = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    setup = _receive(channel)
    if setup is None:
        return
    _see_what_parent_sees(setup)
    missing = _import(modules)
    gc.collect()
    gc.freeze()  # collecting in a child would copy every page of the frameworks
    keeper.send(channel, {"ready": os.getpid(), "missing": missing})
    _Server(channel).loop()
    _remove_private(setup.get("private"))


def _see_what_parent_sees(setup: Json) -> None:
    """Take over the parent's working directory, and its import path if it has the same interpreter."""
    package = sys.modules["sweep"]
    package.__path__ = [os.path.realpath(path) for path in package.__path__]  # not by way of the private link
    if setup.get("path") is not None:
        sys.path[:] = setup["path"]
    else:
        sys.path[0] = setup["private"]
    try:
        os.chdir(setup["cwd"])
    except OSError:
        pass


def _import(modules: Sequence[str]) -> List[str]:
    """Import modules ahead. Returns those that failed; the worker that needs them reports why."""
    missing = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception:  # any failure of an import is reported by the worker that needs it
            missing.append(module)
            traceback.print_exc()
    return missing


def _receive(channel: socket.socket) -> Optional[Json]:
    try:
        data = channel.recv(MESSAGE_BYTES)
    except OSError:
        data = b""
    message: Optional[Json] = json.loads(data.decode("utf-8")) if data else None
    return message


class _Server:
    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.wakeup = keeper.Wakeup(signal.SIGCHLD)
        self.life, self.alive = os.pipe()  # keepers hold the one end, only this process the other
        self.keepers: Dict[int, int] = {}
        self.own = set(procfs.list_children(os.getpid()))  # helpers that an import may have started
        procfs.adopt_orphans()

    def loop(self) -> None:
        while True:
            ready = select.select([self.channel.fileno(), self.wakeup.read], [], [])[0]
            if self.wakeup.read in ready:
                self._reap()
            if self.channel.fileno() in ready:
                message = _receive(self.channel)
                if message is None:
                    break
                self._obey(message)
        self._end()

    def _obey(self, message: Json) -> None:
        if "kill" in message:
            for pid, number in self.keepers.items():
                if number == message["kill"]:
                    procfs.kill(pid, signal.SIGTERM)
            return
        order = keeper.Order(**message["start"])
        sys.stdout.flush()
        sys.stderr.flush()
        keeper.hold_signals()
        try:
            pid = os.fork()
        except OSError as error:  # no memory or no process left
            keeper.send(self.channel, {"exited": order.number, "lost": "cannot fork: %s" % error})
            pid = -1
        if pid == 0:
            os.close(self.alive)
            self.wakeup.close()
            keeper.keep(order, self.channel, self.life, become_worker)
        keeper.release_signals()
        if pid > 0:
            self.keepers[pid] = order.number
            keeper.send(self.channel, {"started": order.number})

    def _reap(self) -> None:
        self.wakeup.take()
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self.keepers.pop(pid, None)
            if number is None or status != 0:  # a keeper died: what it kept is ours now
                strays = set(procfs.list_children(os.getpid())) - set(self.keepers) - self.own
                for stray in strays:
                    procfs.kill(stray)
            if number is not None and status != 0:
                keeper.send(self.channel, {"exited": number, "lost": "its keeper died"})

    def _end(self) -> None:
        os.close(self.alive)  # tells every keeper
        end = time.monotonic() + 2 * keeper.KILL_SECONDS
        while self.keepers and time.monotonic() < end:
            select.select([self.wakeup.read], [], [], 1.0)
            self._reap()


def become_worker(order: keeper.Order, parent: int, output: int, inherited: List[int]) -> None:
    """Turn this forked child into a worker with a clean state, do the work, and end."""
    status = 1
    try:
        os.setsid()
        procfs.die_with_parent()
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)
        signal.set_wakeup_fd(-1)
        for number in keeper.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        _take_output(output, inherited)
        status = _work(order)
    except BaseException:  # nothing may return into the server's code
        traceback.print_exc()
    finally:
        _flush()
        os._exit(status)


def _take_output(output: int, inherited: List[int]) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    for descriptor in [null, output, *inherited]:
        os.close(descriptor)
    sys.stdout, sys.stderr = _open_text(1), _open_text(2)
    faulthandler.enable(2)  # a segmentation fault leaves its stack in the log


def _open_text(descriptor: int) -> TextIO:
    return open(descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)


def _work(order: keeper.Order) -> int:
    folder = Path(order.folder)
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    try:
        Path("/proc/self/oom_score_adj").write_text("500")  # if the kernel must kill, a worker and not the parent
    except OSError:
        pass
    if "numpy.random" in sys.modules:  # `random` reseeds itself after a fork, numpy does not
        sys.modules["numpy.random"].seed()
    try:
        pin(order.cores)
    except TrialError as error:
        answer = {"kind": error.kind.value, "summary": str(error)}
        write_whole(folder / "result.json", json.dumps({"failure": answer}))
        return 1
    return execute(folder)


def pin(cores: Sequence[int]) -> None:
    """Run on these CPU numbers only; no cores, no pinning."""
    if not cores or not hasattr(os, "sched_setaffinity"):
        return
    try:
        os.sched_setaffinity(0, cores)
    except OSError:
        usable = ",".join(map(str, sorted(os.sched_getaffinity(0))))
        wanted = ",".join(map(str, cores))
        raise TrialError(
            FailureKind.CORE_UNAVAILABLE, "CPU cores %s cannot be used: here are %s" % (wanted, usable)
        ) from None


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass


def _remove_private(folder: Optional[str]) -> None:
    """The parent does this too, unless it was killed."""
    if folder:
        try:
            (Path(folder) / "sweep").unlink()
            Path(folder).rmdir()
        except OSError:
            pass


def main(arguments: Optional[Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sweep.isolate.server", description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="import these before forking")
    parser.add_argument("--once", metavar="FOLDER", help="run the worker of this task folder here and now")
    parser.add_argument("--cores", default="", help="CPU numbers for --once, like 0,1")
    options = parser.parse_args(arguments)
    if options.once is None:
        serve(options.modules)
        return 0
    faulthandler.enable()
    pin([int(core) for core in options.cores.split(",") if core])
    folder = Path(options.once)
    status = execute(folder)
    print((folder / "result.json").read_text("utf-8"))
    return status


if __name__ == "__main__":
    sys.exit(main())

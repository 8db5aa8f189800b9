"""Run a worker: a fresh process with a deadline and a memory limit. Whatever happens to it, there is an `Outcome`.

The parent's side. Each set of interpreter, preloaded modules and variables has a `server`; `run` sends it an order and
sleeps until the worker's keeper reports. Nothing here polls: while a worker is measured the parent uses no CPU.

A task folder holds `request.json` (its `entry` is "module:function"), and afterwards `log.txt` and `result.json`. An
entry may write `versions.json` ({distribution: version}) early, so that a failure has the versions even after a crash.
Before a step that may get it killed, a worker writes the name of the step into `doing-*.txt`.
"""

import json
import os
import shlex
import signal
import sys
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Protocol, Sequence, Tuple

from sweep import files
from sweep.isolate import failures, procfs
from sweep.isolate.client import PACKAGE, GoneError, Server
from sweep.spec import Failure, FailureKind, Json, Outcome, UserError, to_json

TAIL_BYTES = 16384  # at the end of a log, searched for the reason of a failure
Variables = Tuple[Tuple[str, str], ...]  # of an environment, sorted
NEAR_LIMIT = 0.9  # share of the memory limit from which an unexplained SIGKILL is taken as out of memory


class Request(Protocol):
    """A frozen value that `spec.to_json` can write."""

    @property
    def entry(self) -> str:
        """The function that answers, as "module:function"."""


@dataclass(frozen=True)
class Limits:
    """When a worker is ended: wall seconds without progress, and MiB of memory of its whole process tree."""

    seconds: float
    memory_mb: Optional[float] = None


class Workers:
    """Starts workers. Safe to use from several threads; close it, or use it as a context manager.

    Args:
        server: starts the server of (interpreter, modules to preload, variables, whether the interpreter is ours).
    """

    def __init__(self, server: Callable[[str, Tuple[str, ...], Variables, bool], Server] = Server) -> None:
        self._lock = threading.Lock()
        self._start = server
        self._servers: Dict[Tuple[str, Tuple[str, ...], Variables], Server] = {}
        self._closed = False
        self._finalizer = weakref.finalize(self, _close_all, self._servers)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def warm(self, preload: Sequence[str], python: Optional[str] = None) -> None:
        """Start a server in the background, so that its imports are done when the first worker is needed."""
        try:
            self._server(python, preload, {})
        except (OSError, GoneError):  # the run that needs it reports this
            pass

    def run(
        self,
        request: Request,
        folder: Path,
        *,
        limits: Limits,
        python: Optional[str] = None,
        preload: Sequence[str] = (),
        cores: Sequence[int] = (),
        env: Optional[Mapping[str, str]] = None,
    ) -> Outcome:
        """Run `request.entry` in a fresh process and wait, asleep, until everything that it started is gone.

        Args:
            folder: the task folder; made if needed. `request.json`, `log.txt` and `result.json` are replaced.
            python: another interpreter, or None for ours.
            preload: modules for the server to import once. They may only import, not compute.
            cores: CPU numbers to run on; none means all.
            env: variables to set before anything is imported: workers with other variables have another server.

        Raises:
            UserError: the folder cannot be written.
        """
        folder = folder.absolute()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in (
                *(folder / name for name in ("result.json", "log.txt", "versions.json", procfs.PROGRESS)),
                *_list_doing(folder),
            ):
                path.unlink(missing_ok=True)
            (folder / "request.json").write_text(json.dumps(to_json(request)), "utf-8")
        except OSError as error:
            raise UserError(files.describe_write_error(error, folder)) from error
        task = _Task(folder, limits, tuple(int(core) for core in cores), dict(env or {}), python)
        begun = time.monotonic()
        for attempt in (1, 2):
            try:
                server = self._server(python, preload, task.env)
                return task.outcome(server.run(task.order, limits.seconds, str(folder)))
            except GoneError as gone:
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

    def _server(self, python: Optional[str], preload: Sequence[str], env: Mapping[str, str]) -> Server:
        path = _find_interpreter(python)
        own = path == sys.executable
        key = (path, tuple(preload), tuple(sorted(env.items())))
        with self._lock:
            if self._closed:
                raise GoneError("closed", final=True)
            server = self._servers.get(key)
            if server is None or server.dead:
                server = self._servers[key] = self._start(*key, own)
            return server


def _close_all(servers: "dict[Any, Server]") -> None:
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
    cores: Tuple[int, ...]
    env: Mapping[str, str]
    python: Optional[str]

    def order(self, number: int) -> Json:
        return {
            "number": number,
            "folder": str(self.folder),
            "seconds": self.limits.seconds,
            "memory_mb": self.limits.memory_mb,
            "cores": list(self.cores),
        }

    def outcome(self, report: Json) -> Outcome:
        """The outcome, from the keeper's report and the files in the folder."""
        answer = _read_json(self.folder / "result.json")
        seconds, peak = float(report.get("seconds", 0.0)), float(report.get("peak_memory_mb", 0.0))
        cpu = report.get("cpu_seconds")
        why, code = report.get("why", ""), report.get("code")
        killed = why and code != 0  # a worker that ended well just before it was killed has ended well
        if answer is not None and not killed and "lost" not in report:
            result = answer.get("result")
            if result is not None:
                left = tuple(report.get("left") or ())
                return Outcome(result, None, str(self._log), seconds, peak, cpu_seconds=cpu, left_behind=left)
            reported = answer["failure"]
            failure = self._read_failure(reported, code, seconds)
            return Outcome(None, failure, str(self._log), seconds, peak, user_error=bool(reported.get("user")))
        kind, summary = self._explain(report, peak)
        stages = [path.read_text("utf-8") for path in _list_doing(self.folder)]
        summary = f"{stages[0]}: {summary}" if stages else summary
        signal_name = _signal_name(code) if code is not None and code < 0 else None
        failure = self._failure(kind, summary, seconds, code if signal_name is None else None, signal_name)
        return Outcome(None, failure, str(self._log), seconds, peak)

    def failed(self, kind: FailureKind, summary: str, begun: float) -> Outcome:
        """The outcome of a worker that never started."""
        seconds = time.monotonic() - begun
        return Outcome(None, self._failure(kind, failures.shorten(summary), seconds), str(self._log), seconds)

    @property
    def _log(self) -> Path:
        return self.folder / "log.txt"

    def _explain(self, report: Json, peak: float) -> Tuple[FailureKind, str]:
        """Kind and summary of a worker without a result."""
        why, code, limit = report.get("why", ""), report.get("code"), self.limits.memory_mb
        if why == "deadline":
            reported = (self.folder / procfs.PROGRESS).is_file()
            what = "no progress for" if reported else "not finished after"
            return FailureKind.TIMEOUT, f"{what} {self.limits.seconds:g} s: killed at the deadline"
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
        return failures.classify_exit(
            None if signal_name else code, signal_name, failures.read_tail(self._log, TAIL_BYTES)
        )

    def _read_failure(self, reported: Json, code: Optional[int], seconds: float) -> Failure:
        """The failure that the worker itself reported; what it could not name, the log may."""
        kind, summary = FailureKind(reported["kind"]), str(reported["summary"])
        if kind is FailureKind.UNKNOWN and not reported.get("user"):
            kind = failures.classify(None, failures.read_tail(self._log, TAIL_BYTES))[0]
        return self._failure(kind, summary, seconds, code)

    def _failure(
        self,
        kind: FailureKind,
        summary: str,
        seconds: float,
        exit_code: Optional[int] = None,
        signal_name: Optional[str] = None,
    ) -> Failure:
        versions = _read_json(self.folder / "versions.json") or {}
        texts = {str(name): str(version) for name, version in versions.items()}
        log = str(self._log) if self._log.exists() else None
        command = format_rerun(self.folder, python=self.python, cores=self.cores, env=self.env)
        return Failure(kind, summary, log, exit_code, signal_name, seconds, texts, command)


def _list_doing(folder: Path) -> List[Path]:
    """Files in which a worker or one of its copies has named a step that may get it killed."""
    return sorted([*folder.glob("doing-*.txt"), *folder.glob("*/doing-*.txt")])


def format_rerun(
    folder: Path, *, python: Optional[str] = None, cores: Sequence[int] = (), env: Optional[Mapping[str, str]] = None
) -> str:
    """A shell line that runs the worker of a task folder again by hand."""
    words = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
    words += [_find_interpreter(python), "-m", "sweep.isolate.server"]
    if cores:
        words += ["--cores", ",".join(map(str, cores))]
    line = shlex.join([*words, "--once", str(folder)])
    if _find_interpreter(python) == sys.executable:
        return f"cd {shlex.quote(str(Path.cwd()))} && {line}"
    link = f'ln -s {shlex.quote(str(PACKAGE))} "$only/sweep"'
    return f'only=$(mktemp -d) && {link} && PYTHONPATH="$only" {line}'


def _find_interpreter(python: Optional[str]) -> str:
    """An absolute path (links are kept: they are what makes a virtual environment), or a name to find on PATH."""
    if python is None:
        return sys.executable
    return str(Path(python).expanduser().absolute()) if os.sep in python else python


def _signal_name(code: int) -> str:
    try:
        return signal.Signals(-code).name
    except ValueError:  # a real-time signal
        return f"signal {-code}"


def _read_json(path: Path) -> Optional[Json]:
    """The JSON object in a file; None if it cannot be read."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None

"""Several copies of models measured at once, each in a process or a thread; all are warm before the common start.

A fork happens before any framework has run an operation, and each copy sees only what it is told to use. Each copy
sends one byte when it has loaded and another when it is warm; then all get the same start.
"""

import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from sweep.spec import FailureKind, Json, Placement, TrialError, UserError, from_json, to_json
from sweep.spec.facts import ReplicaFacts
from sweep.spec.requests import MeasureRequest
from sweep.worker import window as measuring
from sweep.worker.load.queue import Shared

START_NS = 20_000_000  # from when all are warm until the common start
GAVE_UP = 75  # exit status of a copy that got no start because another copy failed


class Copy(NamedTuple):
    """One replica of one trial: what is measured, the trial's folder, its number and its place."""

    request: MeasureRequest
    folder: Path
    number: int
    placement: Placement
    shared: Optional[Shared] = None  # by all replicas of this trial, in an open load
    task: Optional[Path] = None  # folder of the worker, where several trials run together

    @property
    def answer(self) -> Path:
        return self.folder / ("replica-%d.json" % self.number)

    @property
    def doing(self) -> Path:
        """The file with what this copy does just now, for the case that it is killed."""
        return self.folder / ("doing-%d.txt" % self.number)

    @property
    def name(self) -> str:
        return "%s replica %d" % (self.request.label, self.number)


Work = Callable[[Copy, Callable[[], None], Callable[[], int]], ReplicaFacts]  # (copy, loaded, barrier)


def run(copies: Sequence[Copy], work: Work, one_by_one: bool = False) -> List[ReplicaFacts]:
    """What `work` returns for every copy, each in a process of its own.

    Args:
        one_by_one: start each copy only when the one before it has loaded its model.

    Raises:
        TrialError, UserError: of the first copy that failed.
    """
    listening: List[int] = []  # pipes from the copies
    go: List[int] = []  # pipes to the copies, for the start
    children: List[int] = []
    whole = True
    for copy in copies:
        pid, says, goes = _fork(copy, work, go)
        children.append(pid)
        listening.append(says)
        go.append(goes)
        if one_by_one and os.read(says, 1) != b"l":
            whole = False  # it ended: the others are not needed
            break
    for says in listening:
        while whole:
            word = os.read(says, 1)
            whole = bool(word)
            if word == b"w":
                break
    start = (measuring.clock() + START_NS).to_bytes(8, "little")
    for pipe in go:
        if whole:
            os.write(pipe, start)
        os.close(pipe)  # without a start, the end of file makes the others give up
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    for says in listening:
        os.close(says)
    return _collect(copies[: len(ended)], ended)


def run_in_threads(copies: Sequence[Copy], work: Work) -> List[ReplicaFacts]:
    """What `work` returns for every copy, each in a thread of this process; they are loaded one after the other.

    All of them have the cores of all, since whatever binds threads binds those of the whole process.

    Raises:
        the error of the first copy that failed.
    """
    cores = tuple(core for copy in copies for core in copy.placement.cores)
    if cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)
    loading, start = threading.Lock(), [0]
    together = threading.Barrier(len(copies), lambda: start.append(measuring.clock() + START_NS))

    def serve(copy: Copy) -> ReplicaFacts:
        loading.acquire()
        held = [loading]

        def loaded() -> None:
            held.pop().release()

        def barrier() -> int:
            together.wait()
            return start[-1]

        try:
            return work(copy, loaded, barrier)
        except BaseException:
            together.abort()
            raise
        finally:
            for lock in held:
                lock.release()

    with ThreadPoolExecutor(len(copies)) as threads:
        futures = [
            threads.submit(serve, copy._replace(placement=replace(copy.placement, cores=cores))) for copy in copies
        ]
    errors = [error for error in (future.exception() for future in futures) if error is not None]
    for error in sorted(errors, key=lambda error: isinstance(error, threading.BrokenBarrierError)):
        raise error
    return [future.result() for future in futures]


def _fork(copy: Copy, work: Work, theirs: Sequence[int]) -> Tuple[int, int, int]:
    """Fork one copy: its process number, the pipe from it, the pipe to it."""
    says, to_say = os.pipe()
    to_go, goes = os.pipe()
    pid = os.fork()
    if pid == 0:
        for pipe in (says, goes, *theirs):
            os.close(pipe)
        _run_copy(copy, work, to_say, to_go)
    os.close(to_say)
    os.close(to_go)
    return pid, says, goes


def _run_copy(copy: Copy, work: Work, to_say: int, to_go: int) -> None:
    """The whole life of a copy's process: never returns."""

    def loaded() -> None:
        os.write(to_say, b"l")

    def barrier() -> int:
        os.write(to_say, b"w")
        start = os.read(to_go, 8)
        if len(start) < 8:
            os._exit(GAVE_UP)
        return int.from_bytes(start, "little")

    from sweep.isolate.server import encode_failure

    code = 0
    try:
        answer = {"result": to_json(work(copy, loaded, barrier))}
    except BaseException as error:
        answer, code = {"failure": encode_failure(error)}, 1
    copy.answer.write_text(json.dumps(answer))
    os._exit(code)


def _collect(copies: Sequence[Copy], ended: Sequence[int]) -> List[ReplicaFacts]:
    """The result of every copy. A failed copy's reason goes before that of a copy that only gave up."""
    gave_up = [os.WIFEXITED(status) and os.WEXITSTATUS(status) == GAVE_UP for status in ended]
    for index in sorted(range(len(copies)), key=lambda index: gave_up[index]):
        _check(copies[index], ended[index])
    return [from_json(ReplicaFacts, json.loads(copy.answer.read_text())["result"]) for copy in copies]


def _check(copy: Copy, status: int) -> None:
    answer: Json = json.loads(copy.answer.read_text()) if copy.answer.exists() else {}
    if "failure" in answer:
        kind, summary = answer["failure"]["kind"], answer["failure"]["summary"]
        if answer["failure"].get("user"):
            raise UserError(summary)
        raise TrialError(FailureKind(kind), "%s: %s" % (copy.name.strip(), summary))
    if os.WIFSIGNALED(status):
        doing = " while " + copy.doing.read_text() if copy.doing.exists() else ""
        summary = "%s was killed by signal %d%s" % (copy.name.strip(), os.WTERMSIG(status), doing)
        raise TrialError(FailureKind.CRASH, summary)
    if "result" not in answer:
        summary = "%s ended without a result (exit %d)" % (copy.name.strip(), status >> 8)
        raise TrialError(FailureKind.CRASH, summary)

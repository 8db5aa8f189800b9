"""Several copies of models measured at once: a forked process each, warm one and all before the common start.

The fork happens before any framework has run an operation, and each copy sees only what it is told to use. Copies tell
by a byte that they have loaded and by another that they are warm; then all get the same start.
"""

import json
import os
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

from sweep.spec import FailureKind, Json, Placement, TrialError, UserError, from_json, to_json
from sweep.spec.facts import ReplicaFacts
from sweep.spec.requests import MeasureRequest
from sweep.worker import window as measuring
from sweep.worker.load.queue import Shared

GAVE_UP = 75  # exit status of a copy that got no start, because another one failed


class Copy(NamedTuple):
    """One replica of one trial: what is measured, the trial's folder, its number and its place."""

    request: MeasureRequest
    folder: Path
    number: int
    placement: Placement
    shared: Optional[Shared] = None  # by all replicas of this trial, in an open load

    @property
    def answer(self) -> Path:
        return self.folder / ("replica-%d.json" % self.number)

    @property
    def doing(self) -> Path:
        """What this copy is at, if a crash would leave nobody who knows."""
        return self.folder / ("doing-%d.txt" % self.number)

    @property
    def name(self) -> str:
        return "%s replica %d" % (self.request.label, self.number)


Work = Callable[[Copy, Callable[[], None], Callable[[], int]], ReplicaFacts]  # of (copy, loaded, barrier)


def run(copies: Sequence[Copy], work: Work, one_by_one: bool = False) -> List[ReplicaFacts]:
    """What `work` returns for every copy, each in a process of its own.

    Args:
        one_by_one: start each copy only when the one before it has loaded its model.

    Raises:
        TrialError, UserError: of the first copy that failed.
    """
    said: List[int] = []  # pipes on which the copies speak
    go: List[int] = []  # pipes on which they are told when to start
    children: List[int] = []
    whole = True
    for copy in copies:
        pid, says, goes = _start(copy, work, go)
        children.append(pid)
        said.append(says)
        go.append(goes)
        if one_by_one and os.read(says, 1) != b"l":
            whole = False  # it ended: there is no need for the others
            break
    for says in said:
        while whole:
            word = os.read(says, 1)
            whole = bool(word)
            if word == b"w":
                break
    start = (measuring.clock() + 20_000_000).to_bytes(8, "little")
    for pipe in go:
        if whole:
            os.write(pipe, start)
        os.close(pipe)  # without a start: end of file tells the others to give up
    ended = [os.waitpid(pid, 0)[1] for pid in children]
    for says in said:
        os.close(says)
    return _answers(copies[: len(ended)], ended)


def _start(copy: Copy, work: Work, theirs: Sequence[int]) -> Tuple[int, int, int]:
    """Fork one copy: its process number, the pipe that it speaks on, the pipe that it is told to start on."""
    says, to_say = os.pipe()
    to_go, goes = os.pipe()
    pid = os.fork()
    if pid == 0:
        for pipe in (says, goes, *theirs):
            os.close(pipe)
        _live(copy, work, to_say, to_go)
    os.close(to_say)
    os.close(to_go)
    return pid, says, goes


def _live(copy: Copy, work: Work, to_say: int, to_go: int) -> None:
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


def _answers(copies: Sequence[Copy], ended: Sequence[int]) -> List[ReplicaFacts]:
    """Every copy's result. The reason of a copy that failed goes before that of one that only gave up."""
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

"""What a compiler prints while a build runs, and the reason that it gives if it fell back without failing.

Frameworks that "recover" from a failure of their compiler only warn, so the reason is in the output alone. Worker side,
Python 3.8.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Iterator, List, Tuple

from sweep.isolate import failures

KEPT_BYTES = 1 << 20  # of the end of the output
WAIT_SECONDS = 5.0  # for what still holds the output after the build
_ICE = tuple(re.compile(r"error %s\s*:\s*(\S.*?)\s*$" % part, re.I | re.M) for part in ("message", "class", "location"))
_LINES = (
    re.compile(r"not fusing subgraph .{0,300}?(?:because|:) *(.+)$", re.I | re.M),
    re.compile(r"cannot infer output tensor shapes for subgraph.*$", re.I | re.M),
    re.compile(r"command .{0,2000}(timed out after .*)$", re.I | re.M),
    re.compile(r"neuronx?-cc failed with:\s*\n\s*(\S.*)$", re.I | re.M),
)
_SILENT = re.compile(r"neuronx?-cc failed with:|failed to fuse subgraph", re.I)


class Output:
    """The printed text, complete after the context of `capture`; until then it goes to `path`."""

    text = ""
    path = Path()


@contextlib.contextmanager
def capture() -> Iterator[Output]:
    """Around a build: keep what this process and its children print, and pass it on.

    A process copies it, not a thread: a framework that prints while it holds the interpreter's lock would block.
    """
    output = Output()
    with tempfile.TemporaryDirectory() as folder:
        copy = output.path = Path(folder) / "output"
        _flush()
        before = os.dup(1), os.dup(2)
        tee = subprocess.Popen(["tee", str(copy)], stdin=subprocess.PIPE, stdout=before[1], stderr=subprocess.DEVNULL)
        assert tee.stdin is not None
        for number in (1, 2):
            os.dup2(tee.stdin.fileno(), number)
        tee.stdin.close()
        try:
            yield output
        finally:
            _flush()
            _restore(before)
            try:
                tee.wait(WAIT_SECONDS)
            except subprocess.TimeoutExpired:  # a process that the build left behind still has the other end
                tee.kill()
                tee.wait()
            output.text = failures.read_tail(copy, KEPT_BYTES)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _restore(before: Tuple[int, int]) -> None:
    for number, old in zip((1, 2), before):
        os.dup2(old, number)
        os.close(old)


def find_reason(text: str) -> str:
    """Why the compiler gave up, as a line from its output; empty if it does not say.

    Its report of an internal error has precedence: `Scheduler Failure! (AssertionError at job.Scheduler.3)`.
    """
    reports = [pattern.findall(text) for pattern in _ICE]
    message, kind, place = (matches[-1].strip() if matches else "" for matches in reports)
    if message:
        where = " at ".join(filter(None, (kind, place)))
        return failures.shorten("%s (%s)" % (message, where) if where else message)
    known = failures.match(text[-failures.TAIL_CHARACTERS :])
    if known is not None:
        return failures.pick_line(text[-failures.TAIL_CHARACTERS :], known)
    line = _find_line(text)
    if line:
        return failures.shorten(line)
    return "the compiler failed without a word" if _SILENT.search(text) else ""


def _find_line(text: str) -> str:
    for pattern in _LINES:
        matches: List[str] = [match.group(match.lastindex or 0) for match in pattern.finditer(text)]
        if matches and not matches[-1].startswith(("WARNING:", "INFO:")):
            return matches[-1]
    return ""

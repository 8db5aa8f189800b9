"""Classify what frameworks, compilers and runtimes print: a kind of failure, and one line.

The table is data: the first row that matches wins. Rows are tried on the exception with its causes, then (by the
parent) on the end of the log. A number counts only in a context that says what it is. Worker side, Python 3.8.
"""

import errno
import re
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired
from typing import Iterator, List, NamedTuple, Optional, Pattern, Tuple

from sweep.isolate.failure_table import NEURON_STATUS, ROWS
from sweep.spec import FailureKind, TrialError

SUMMARY_CHARACTERS = 300
TAIL_CHARACTERS = 16000  # searched at the end of a log: what stands earlier is seldom the reason


class Row(NamedTuple):
    pattern: Pattern[str]
    kind: FailureKind


TABLE: Tuple[Row, ...] = tuple(Row(re.compile(text, re.IGNORECASE), kind) for text, kind in ROWS)

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A status of the Neuron runtime stands in a line that speaks of it, and is never an exit status
_STATUS = re.compile(
    r"(?:\bnrt|\bneuron|load the model|execute the model)[^\n]{0,160}?(?<!exit )\bstatus\s*[=:]\s*(?P<code>\d+)\b",
    re.IGNORECASE,
)
_NAMED_STATUS = re.compile(r"\bNRT Error \w+\((?P<code>\d+)\)|\bnrt_\w+\b[^\n]{0,80}\breturned (?P<code2>\d+)\b")
# Lines of messages that say where a framework failed, or that more follows, and nothing of the cause
_HEAD = re.compile(
    r"^(?:Exception from |Check '|While validating |FrontEnd API failed|Model wasn't fully converted"
    r"|Attempted to call function marked as skipped|The following operation failed in the TorchScript interpreter"
    r"|C\+\+ compile error)|:$|\bNext steps:",
    re.IGNORECASE,
)
# The line that names the cause where a message begins with such a line; the first that matches, most telling first
_CAUSES = tuple(
    re.compile(text)
    for text in (
        r"^-- (?P<cause>(?:No conversion rule found|Conversion is failed) .*)",  # OpenVINO's summary of operators
        r"^Explanation: (?P<cause>.*)",  # torch._dynamo
        r"(?P<cause>(?:fatal )?error: .*)",  # compilers of C++
        r"^(?P<cause>\w+(?:Error|Exception): .*)",  # the end of a traceback
    )
)
# A place in the source of onnxruntime with the function's whole signature, in front of the cause
_PLACE = re.compile(r"/\S+\.(?:h|cc|cpp):\d+ [^\n]*?\) (?=[A-Z])")
_CONTINUED = re.compile(r"for the following indices$")  # onnxruntime: the sizes stand in the next line
_NODE = re.compile(r"\[\[\{\{node ")  # TensorFlow: the line before it is the cause
_SUMMARY = re.compile(r"^#* *Exception summary", re.IGNORECASE)
_CLASS = re.compile(r"^<class '(?:\w+\.)*(\w+)'>")
_FRAME = re.compile(r'^\s*File "([^"]+)", line (\d+) in (\S+)', re.MULTILINE)


def read_tail(path: Path, limit: int) -> str:
    """The last `limit` bytes of a file as text; empty if there is no file."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""


def classify(error: Optional[BaseException], text: str) -> Tuple[FailureKind, str]:
    """Kind and one line for an exception, for the text of a log, or for both; the exception goes first."""
    if error is None:
        row = match(text[-TAIL_CHARACTERS:])
        return (row.kind, pick_line(text, row)) if row else (FailureKind.UNKNOWN, pick_line(text))
    if isinstance(error, TrialError):
        return error.kind, shorten(str(error))
    chain = list(_list_causes(error))
    summary = _describe(error)
    kind = next(filter(None, map(_find_kind, _list_causes(error, named=True))), None)
    if kind is None:
        rows = [match(_describe(cause, full=True)) for cause in chain] + [match(text[-TAIL_CHARACTERS:])]
        kind = next((row.kind for row in rows if row), FailureKind.UNKNOWN)
    if any(isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT) for cause in chain):
        return FailureKind.DISK_FULL, shorten("disk full: %s" % summary)
    return kind, summary


def classify_exit(exit_code: Optional[int], signal_name: Optional[str], text: str) -> Tuple[FailureKind, str]:
    """Kind and one line for a worker that ended without a result and that we did not kill.

    Args:
        text: the end of its log.
    """
    tail = text[-TAIL_CHARACTERS:]
    row = match(tail)
    kind = row.kind if row else FailureKind.CRASH
    if signal_name == "SIGKILL":
        how = "killed by SIGKILL (often the kernel's out-of-memory killer)"
    elif signal_name:
        how = "killed by %s%s" % (signal_name, _describe_frame(tail))
    else:
        how = "ended with exit code %s and left no result" % exit_code
    line = pick_line(tail, row) if row or (tail.strip() and not _describe_frame(tail)) else ""
    return kind, shorten("%s: %s" % (how, line) if line else how)


def match(text: str) -> Optional[Row]:
    """The first row of the table that matches this text."""
    status = _match_neuron_status(text)
    if status is not None:
        return status
    for row in TABLE:
        if row.pattern.search(text):
            return row
    return None


def shorten(text: str) -> str:
    """The first line with a letter or a digit, without control codes, cut to 300 characters."""
    lines = [" ".join(line.split()) for line in _CONTROL.sub(" ", text.replace("\r", "\n")).split("\n")]
    line = next((line for line in lines if any(character.isalnum() for character in line)), "")
    return line if len(line) <= SUMMARY_CHARACTERS else line[: SUMMARY_CHARACTERS - 1].rstrip() + "\u2026"


def pick_cause(message: str) -> str:
    """The line of an exception's message that names the cause: frameworks put places in their own source in front.

    The first line, unless it says only where something failed or announces what follows; then the line that names
    an operator, an explanation or an error.
    """
    text = _PLACE.sub("", _CONTROL.sub(" ", message))
    lines = [line.strip() for line in text.splitlines() if any(character.isalnum() for character in line)]
    if not lines:
        return shorten(text)
    if not _HEAD.search(lines[0]):
        return shorten(" ".join(lines[:2]) if _CONTINUED.search(lines[0]) else lines[0])
    for number, line in enumerate(lines[:-1]):
        if _SUMMARY.search(line):
            return shorten(_CLASS.sub(r"\1", lines[number + 1]))
        if number and _NODE.search(lines[number + 1]):
            return shorten(line)
    causes = (match for pattern in _CAUSES for match in map(pattern.search, lines) if match)
    cause = next((match.group("cause") for match in causes), None)
    return shorten(cause or next((line for line in lines if not _HEAD.search(line)), lines[0]))


def pick_line(text: str, row: Optional[Row] = None) -> str:
    """The first line that the row matches, else the last line about an error, else the last line."""
    lines = [line for line in _CONTROL.sub(" ", text.replace("\r", "\n")).split("\n") if line.strip()]
    if row is not None:
        for line in lines:
            if row.pattern.search(line):
                return shorten(line)
    errors = [line for line in lines if re.search(r"\b\w*(?:error|exception|fatal|abort|terminate)\w*\b", line, re.I)]
    return shorten((errors or lines or [""])[-1])


def _list_causes(error: BaseException, named: bool = False) -> Iterator[BaseException]:
    """An exception, then its causes, outermost first.

    Args:
        named: only the causes that an exception names (`raise ... from`) and not what was handled when it was raised:
            libraries try things, fail, and go on to fail for another reason.
    """
    seen: List[int] = []
    current: Optional[BaseException] = error
    while current is not None and id(current) not in seen:
        seen.append(id(current))
        yield current
        context = None if named or current.__suppress_context__ else current.__context__
        current = current.__cause__ or context


def _describe(error: BaseException, full: bool = False) -> str:
    try:
        message = str(error)
    except Exception:  # an exception may fail to print itself
        message = ""
    name = type(error).__name__
    return "%s: %s" % (name, message) if full else shorten("%s: %s" % (name, pick_cause(message)) if message else name)


def _find_kind(error: BaseException) -> Optional[FailureKind]:
    """The kind that follows from the type of an exception."""
    if isinstance(error, TrialError):
        return error.kind
    if isinstance(error, ImportError):
        return FailureKind.TOOLCHAIN_MISSING
    if isinstance(error, (MemoryError, BrokenProcessPool)):
        return FailureKind.HOST_OOM
    if isinstance(error, CalledProcessError) and error.returncode < 0:  # -9: nearly always for memory
        return FailureKind.HOST_OOM if error.returncode == -9 else FailureKind.COMPILER_CRASH
    if isinstance(error, (TimeoutError, TimeoutExpired)):
        return FailureKind.TIMEOUT
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return FailureKind.HOST_OOM
    if isinstance(error, FloatingPointError):
        return FailureKind.NUMERICAL_ERROR
    return None


def _describe_frame(text: str) -> str:
    """The innermost Python frame of a stack that `faulthandler` wrote; empty if there is none."""
    start = text.rfind("most recent call first")
    frame = _FRAME.search(text, start) if start >= 0 else None
    return " in %s (%s:%s)" % (frame.group(3), frame.group(1).rpartition("/")[2], frame.group(2)) if frame else ""


def _match_neuron_status(text: str) -> Optional[Row]:
    status = _STATUS.search(text)
    code = status.group("code") if status else None
    if status is None:
        named = _NAMED_STATUS.search(text)
        code = (named.group("code") or named.group("code2")) if named else None
        status = named
    if status is None or code is None or int(code) not in NEURON_STATUS:
        return None
    kind = NEURON_STATUS[int(code)]
    if code == "2" and "execute" in status.group(0).lower():  # status 2 is a bad artifact at load, bad inputs at run
        kind = FailureKind.SHAPE_MISMATCH
    return Row(re.compile(re.escape(status.group(0))), kind)

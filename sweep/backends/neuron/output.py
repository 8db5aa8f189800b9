"""The reason of a failure, from what a Neuron SDK raises and what it prints: its exceptions alone often give none.

`RuntimeError: neuronx-cc failed with 70` says nothing; the line that the compiler printed before says all. So the
output is kept while it goes on to the log, and the table of failures sees both. Worker side, Python 3.8.
"""

import contextlib
import shutil
import subprocess
import traceback
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Iterator, List, Optional, Sequence

from sweep.backends import compiler_output
from sweep.backends.artifact import PASSED_ON
from sweep.isolate import failures
from sweep.spec import FailureKind, TrialError

LOG = "compiler.log"  # the end of the compiler's own log, beside the artifact
LOG_BYTES = 64 << 10
# Exceptions whose type says what happened.
SELF_EXPLAINING = (OSError, subprocess.SubprocessError, BrokenProcessPool, FloatingPointError)


@contextlib.contextmanager
def explain(workdir: Optional[Path] = None, logged: Sequence[str] = ()) -> Iterator[compiler_output.Output]:
    """Around calls of an SDK; after the context the value's text is what they printed.

    Args:
        workdir: the folder where the compiler leaves logs; after a failure their ends are printed and read, too.
        logged: lines that the SDK reports in another way than by printing, read when the context is left.

    Raises:
        TrialError: for an exception whose reason the table of failures finds in all of that. Others pass.
    """
    outputs: List[compiler_output.Output] = []
    try:
        with compiler_output.capture() as printed:
            outputs.append(printed)
            yield printed
    except PASSED_ON:
        raise
    except Exception as error:
        text = "\n".join([*logged, outputs[0].text if outputs else ""])
        known = find_reason(error, text + (_print_logs(workdir, text) if workdir else ""))
        if known is None:
            raise
        raise known from error


def find_reason(error: BaseException, output: str = "") -> Optional[TrialError]:
    """The reason that the exception, its cause or the output gives, by the first fitting row; None if none fits."""
    own = "".join(traceback.format_exception_only(type(error), error)).strip()
    if isinstance(error, SELF_EXPLAINING):
        kind, line = failures.classify(error, output)
        return None if kind is FailureKind.UNKNOWN else TrialError(kind, line)
    merged = "\n".join([own, str(error.__cause__ or error.__context__ or ""), output])
    row = failures.match(merged)
    if row is None:
        return None
    reported = compiler_output.find_reason(output) if row.kind is FailureKind.COMPILER_CRASH else ""
    line, first = reported or failures.pick_line(merged, row), failures.shorten(own)
    return TrialError(row.kind, line if line == first else "%s (%s)" % (line, first))


def keep_log(workdir: Path, folder: Path) -> None:
    """Keep the end of the compiler's logs beside the artifact, and delete its folder."""
    text = "\n".join(_read_ends(workdir)).strip()
    if text:
        (folder / LOG).write_text(text + "\n", "utf-8")
    shutil.rmtree(str(workdir), ignore_errors=True)


def _read_ends(workdir: Path) -> List[str]:
    """The ends of the compiler's logs in its working folder, the oldest first."""
    logs = [path for path in workdir.rglob("*") if path.is_file() and "log" in path.name.lower()]
    return [failures.read_tail(path, LOG_BYTES) for path in sorted(logs, key=lambda path: path.stat().st_mtime)]


def _print_logs(workdir: Path, known: str) -> str:
    """Read the ends of the logs, and print those that are not in the output."""
    texts = [text for text in _read_ends(workdir) if text.strip() and text.strip() not in known]
    for text in texts:
        print(text, flush=True)
    return "\n".join(texts)

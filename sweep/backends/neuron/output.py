"""What a Neuron SDK raises and what it prints, taken together for one reason: its exceptions alone often give none.

`RuntimeError: neuronx-cc failed with 70` says nothing; the line that the compiler printed before says all. So the
output is kept while it passes on to the log, and the table of failures sees both. Worker side, Python 3.8.
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
TELLING = (OSError, subprocess.SubprocessError, BrokenProcessPool, FloatingPointError)  # their type says what happened


@contextlib.contextmanager
def explained(workdir: Optional[Path] = None, noted: Sequence[str] = ()) -> Iterator[compiler_output.Output]:
    """Around calls into an SDK; what they print is the value's text, after the context was left.

    Args:
        workdir: where its compiler leaves logs; after a failure their ends are printed and looked at too.
        noted: what it says by other ways than printing, when it is over.

    Raises:
        TrialError: for an exception whose reason the table of failures knows, from all that was said. Others pass.
    """
    kept: List[compiler_output.Output] = []
    try:
        with compiler_output.captured() as said:
            kept.append(said)
            yield said
    except PASSED_ON:
        raise
    except Exception as error:
        text = "\n".join([*noted, kept[0].text if kept else ""])
        known = reason(error, text + (_print_logs(workdir, text) if workdir else ""))
        if known is None:
            raise
        raise known from error


def reason(error: BaseException, output: str = "") -> Optional[TrialError]:
    """What the exception, its cause and the output say together, first row of the table first; None: nothing known."""
    own = "".join(traceback.format_exception_only(type(error), error)).strip()
    if isinstance(error, TELLING):
        kind, line = failures.classify(error, output)
        return None if kind is FailureKind.UNKNOWN else TrialError(kind, line)
    merged = "\n".join([own, str(error.__cause__ or error.__context__ or ""), output])
    row = failures.match(merged)
    if row is None:
        return None
    reported = compiler_output.reason(output) if row.kind is FailureKind.COMPILER_CRASH else ""
    line, first = reported or failures.pick_line(merged, row), failures.shorten(own)
    return TrialError(row.kind, line if line == first else "%s (%s)" % (line, first))


def keep_log(workdir: Path, folder: Path) -> None:
    """The end of the compiler's logs beside the artifact; everything else that it left goes."""
    text = "\n".join(_ends(workdir)).strip()
    if text:
        (folder / LOG).write_text(text + "\n", "utf-8")
    shutil.rmtree(str(workdir), ignore_errors=True)


def _ends(workdir: Path) -> List[str]:
    """The ends of the compiler's logs in its working folder, the oldest first."""
    found = [path for path in workdir.rglob("*") if path.is_file() and "log" in path.name.lower()]
    return [failures.read_tail(path, LOG_BYTES) for path in sorted(found, key=lambda path: path.stat().st_mtime)]


def _print_logs(workdir: Path, known: str) -> str:
    """The ends of the logs, printed too unless they were already."""
    texts = [text for text in _ends(workdir) if text.strip() and text.strip() not in known]
    for text in texts:
        print(text, flush=True)
    return "\n".join(texts)

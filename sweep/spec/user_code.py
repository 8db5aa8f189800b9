"""Around code of the user's: a process that it wants to end is its mistake, and says what it printed last.

Python 3.8, standard library alone.
"""

import contextlib
import sys
from typing import Any, Iterator, List

from sweep.spec.errors import UserError


class _Listener:
    """The stream of errors, with the last line that was written to it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._text: List[str] = []

    def write(self, text: str) -> Any:
        self._text = [*self._text, text][-100:]
        return self._stream.write(text)

    def last_line(self) -> str:
        lines = [line.strip() for line in "".join(self._text).splitlines() if line.strip()]
        return lines[-1] if lines else ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def running(what: str) -> Iterator[None]:
    """Around code of the user's.

    Args:
        what: as in `model my_package.make`.

    Raises:
        UserError: the code calls sys.exit, as argparse does where it misses an argument.
    """
    before = sys.stderr
    listener = _Listener(before)
    sys.stderr = listener  # it hands everything on
    try:
        yield
    except SystemExit as error:
        words = error.code if isinstance(error.code, str) else listener.last_line() or "sys.exit(%s)" % error.code
        text = "%s ends the process: %s; it reads no command line here: give its arguments in the config"
        raise UserError(text % (what, " ".join(words.split()))) from error
    finally:
        sys.stderr = before

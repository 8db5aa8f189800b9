"""Tests that start processes say so by a marker: in one without, the attempt fails, and the test with it.

Python raises an audit event before it starts a process in any way, so nothing gets by. A hook cannot be taken back: it
is installed once and asks what the test that runs at the moment may do.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

STARTS = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "os.exec"}
MARKERS = ("process", "browser", "slow")  # not `sweep`: most whole sweeps have the fake pool, and start none
HELP = (
    "mark it with `process`, or use the fixture `warm_pool` for sweeps with real workers, `fake_pool` for none at all"
)


class UnmarkedProcessError(OSError):
    """A test that starts a process has no marker that says so.

    It is an OSError so that the code under test tidies up as where a process cannot be started.
    """


class Guard:
    """Refuses to start processes inside `forbidden`; elsewhere it does nothing."""

    def __init__(self) -> None:
        self._test = ""
        self._attempts: list[str] = []
        sys.addaudithook(self._hear)

    @contextmanager
    def forbidden(self, test: str) -> Iterator[None]:
        """Around one step of a test.

        Raises:
            UnmarkedProcessError: it tried to start a process, whatever became of that.
        """
        self._test, self._attempts = test, []
        try:
            yield
        except BaseException as error:
            if self._attempts:
                raise UnmarkedProcessError(self._attempts[0]) from error
            raise
        finally:
            self._test = ""
        if self._attempts:
            raise UnmarkedProcessError(self._attempts[0])

    def _hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if self._test and event in STARTS:
            self._attempts.append(f"{self._test} starts a process ({event} {arguments[:1]}): {HELP}")
            raise UnmarkedProcessError(self._attempts[-1])

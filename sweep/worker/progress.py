"""How far a long task is: `progress.json` in its folder, which the parent shows.

Its deadline counts from here: the keeper lets a task go on that has written since it looked last. Worker side,
Python 3.8.
"""

import time
from pathlib import Path

from sweep.files import write_json
from sweep.isolate.procfs import PROGRESS

SECONDS = 1.0  # between two writings


class Progress:
    """Writes the file, at most once in so many seconds."""

    def __init__(self, folder: Path, seconds: float = SECONDS) -> None:
        self._path, self._seconds = folder / PROGRESS, seconds
        self._written = time.monotonic()

    def __call__(self, stage: str, done: int, total: int = 0) -> None:
        """
        Args:
            stage: what is being done.
            done, total: samples; a total of 0 is not known.
        """
        now = time.monotonic()
        if now - self._written >= self._seconds:
            self._written = now
            write_json(self._path, {"stage": stage, "done": done, "total": total})

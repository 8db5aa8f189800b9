"""Show how far a long worker is, from the file in which it writes that: `worker.progress`."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sweep import files
from sweep.isolate.procfs import PROGRESS

if TYPE_CHECKING:
    from sweep.report.terminal.display import Display

SECONDS = 1.0  # between two looks


@contextmanager
def show_progress(display: "Display", folder: Path, name: str, seconds: float = SECONDS) -> Iterator[None]:
    """Show the progress of the worker in `folder` until the context ends."""
    ended = threading.Event()

    def watch() -> None:
        shown = None
        while not ended.wait(seconds):
            progress = files.read_json(folder / PROGRESS)
            if progress and progress != shown:
                shown = progress
                display.report(f"{name}: {progress['stage']}", progress["done"], progress["total"])

    thread = threading.Thread(target=watch, name="sweep-progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()

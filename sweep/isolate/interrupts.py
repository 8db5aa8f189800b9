"""SIGTERM ends things as cleanly as Ctrl-C does."""

import signal
from contextlib import contextmanager
from types import FrameType
from typing import Iterator, Optional


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt; outside the main thread nothing changes."""
    try:
        before = signal.signal(signal.SIGTERM, _raise)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _raise(number: int, frame: Optional[FrameType]) -> None:
    raise KeyboardInterrupt

"""The process around a model is that of a plain script, but for what a trial declares."""

import threading
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest

from sweep.isolate import denormals, procfs
from sweep.spec.process import Process
from sweep.worker import process

T = TypeVar("T")
DENORMAL = np.full(4, 1e-40, np.float32)


def in_thread(work: Callable[[], T]) -> T:
    """What the processor is told about floats belongs to one thread; that of the tests must keep its own."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry when the allocator is told to keep memory."""
    calls: list[str] = []
    monkeypatch.setattr(procfs, "keep_freed_memory", lambda: calls.append("keep"))
    return calls


def test_default_changes_nothing(kept: list[str]) -> None:
    def work() -> tuple[bool, float]:
        process.set_up(Process())
        return denormals.are_flushed(), float((DENORMAL * np.float32(0.5))[0])

    flushed, half = in_thread(work)
    assert (kept, flushed) == ([], False)
    assert half > 0


def test_allocator_keeps_memory_only_where_it_is_declared(kept: list[str]) -> None:
    process.set_up(Process(allocator="keep"))
    assert kept == ["keep"]


def test_flushed_denormals_are_zero_in_threads_that_start_later() -> None:
    def work() -> list[float]:
        process.set_up(Process(denormals="flush"))
        halves = [float((DENORMAL * np.float32(0.5))[0])]
        return [*halves, in_thread(lambda: float((DENORMAL * np.float32(0.5))[0]))]

    assert in_thread(work) == [0.0, 0.0]
    assert not denormals.are_flushed()

"""Failures that pass by themselves are tried again, each later than the one before, and each is on record."""

import pytest

from sweep.engine import context
from sweep.spec import Failure, FailureKind, Outcome

FINE = Outcome({"ok": True}, None, "log.txt", 0.1)


def failed(kind: FailureKind) -> Outcome:
    return Outcome(None, Failure(kind, "no"), "log.txt", 0.1)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(context.time, "sleep", waited.append)
    return waited


def test_retries_wait_longer_each_time_for_a_busy_core(waits: list[float]) -> None:
    outcomes = iter([failed(FailureKind.CORE_UNAVAILABLE)] * 2 + [FINE])
    outcome, before = context.retry_transient(lambda: next(outcomes), 2)
    assert outcome is FINE
    assert [failure.kind for failure in before] == [FailureKind.CORE_UNAVAILABLE] * 2
    assert waits == [1.0, 2.0]


def test_retries_are_limited(waits: list[float]) -> None:
    outcome, before = context.retry_transient(lambda: failed(FailureKind.CORE_UNAVAILABLE), 2)
    assert outcome.failure is not None
    assert len(before) == len(waits) == 2


def test_lasting_failures_are_not_retried(waits: list[float]) -> None:
    outcomes = iter([failed(FailureKind.DEVICE_OOM), FINE])
    outcome, before = context.retry_transient(lambda: next(outcomes), 2)
    assert outcome.failure is not None
    assert (before, waits) == ([], [])

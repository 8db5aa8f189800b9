"""Why something did not work or was stopped, as values: what each implies, and how earlier versions are read."""

import json
from typing import Any

import pytest

from sweep.spec import FailureKind, Origin, Record, Status, StopReason, from_json, to_json

K, S = FailureKind, Status
DOMINATED = "dominated by net-fake-fp32-b8-c1: 0.52x its throughput, surely by more than 0.4x (after 3 repeats)"


def of_f9dda2f(status: str, reason: str, notes: dict[str, Any], failure: dict[str, Any] | None = None) -> str:
    """A record as that version wrote it: how it was stopped stands in its text only."""
    known = {"key": "k", "label": "net", "settings": {"batch": 1}, "overrides": ["batch=1"], "status": status}
    more = {"reason": reason, "origin": "measured", "failure": failure, "metrics": None, "agreement": None}
    rest = {"repeats": [], "builds": [], "identity": "", "sweep": "s", "started": 0.0, "seconds": 0.0, "load": {}}
    return json.dumps({**known, **more, "notes": notes, **rest})


@pytest.mark.parametrize(
    ("reason", "notes", "stop"),
    [
        (DOMINATED, {"stopped": {"why": "dominated", "reason": DOMINATED, "by": "b"}}, StopReason.DOMINATED),
        ("infeasible: x", {"stopped": {"why": "infeasible", "reason": "", "by": None}}, StopReason.INFEASIBLE),
        ("budget spent before it was measured: ...", {"stopped": {"why": "budget", "by": None}}, StopReason.BUDGET),
        ("budget spent before it was built: ...", {}, StopReason.BUDGET),
        ("interrupted: continue with `python -m sweep resume last`", {}, StopReason.INTERRUPTED),
        ("built: run the same line with plan=measure where the hardware is", {}, StopReason.BUILT),
        ("its deployment is not whole: 1 of 2 members could not be built or", {}, StopReason.INCOMPLETE),
        ("stopped on request", {}, StopReason.PREEMPTED),
    ],
)
def test_a_stopped_record_of_an_earlier_version_gets_its_reason_as_a_value(
    reason: str, notes: dict[str, Any], stop: StopReason
) -> None:
    record = from_json(Record, json.loads(of_f9dda2f("stopped", reason, notes)))
    assert (record.status, record.reason, record.stop) == (Status.STOPPED, reason, stop)
    assert (record.dominated_by, record.notes) == (notes.get("stopped", {}).get("by"), {})
    assert from_json(Record, to_json(record)) == record


def test_unstopped_record_has_no_stop_reason() -> None:
    failure = {"kind": "crash", "summary": "interrupted: killed by SIGSEGV"}
    record = from_json(Record, json.loads(of_f9dda2f("run_failed", "interrupted: ...", {}, failure)))
    assert record.stop is None
    assert record.failure is not None
    assert record.failure.kind is FailureKind.CRASH


def test_origins_are_read_and_written_as_before() -> None:
    record = from_json(Record, json.loads(of_f9dda2f("ok", "", {})))
    assert record.origin is Origin.MEASURED
    assert to_json(record)["origin"] == "measured"
    assert [origin.value for origin in Origin if origin.is_evidence] == ["measured", "reused"]


def test_properties_of_statuses() -> None:
    assert {s for s in Status if not s.was_tried} == {S.INVALID, S.UNAVAILABLE}
    assert {s for s in Status if s.was_run} == {S.OK, S.REJECTED}
    assert {s for s in Status if s.is_failure} == {S.BUILD_FAILED, S.RUN_FAILED, S.REJECTED}
    assert {s for s in Status if not s.is_finished} == {S.STOPPED}


def test_properties_of_failure_kinds() -> None:
    passing = {K.PREEMPTED, K.CORE_UNAVAILABLE, K.HARDWARE_ERROR, K.TOOLCHAIN_MISSING, K.CRASH, K.DISK_FULL}
    assert {k for k in K if k.is_passing} == passing
    assert {k for k in K if k.is_transient} == {K.CORE_UNAVAILABLE}
    assert {k for k in K if k.is_hopeless} == {K.PREEMPTED, K.TOOLCHAIN_MISSING}
    assert {k for k in K if k.is_fault_of_machine} == {K.PREEMPTED, K.CORE_UNAVAILABLE, K.HARDWARE_ERROR}


def test_only_reasons_of_a_race_are_eliminations() -> None:
    assert {s for s in StopReason if s.is_elimination} == {StopReason.DOMINATED, StopReason.INFEASIBLE}

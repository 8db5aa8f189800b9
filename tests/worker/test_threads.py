"""Copies that threads of one process feed: loaded in turn, started together, and a failure ends them all."""

import threading
from pathlib import Path
from typing import Any, cast

import pytest

from sweep.spec import FailureKind, Placement, Status, TrialError
from sweep.spec.facts import ReplicaFacts
from sweep.spec.requests import MeasureRequest
from sweep.worker import replicas
from sweep.worker.replicas import Copy
from tests.support.running import TINY, entries, sweep


def make_copies(count: int, folder: Path) -> list[Copy]:
    return [Copy(cast(MeasureRequest, None), folder, number, Placement()) for number in range(count)]


def test_copies_are_loaded_in_turn_and_start_together(tmp_path: Path) -> None:
    events: list[str] = []
    starts: list[int] = []

    def work(copy: Copy, loaded: Any, barrier: Any) -> ReplicaFacts:
        events.append(f"load {copy.number}")
        events.append(f"loaded {copy.number}")
        loaded()
        starts.append(barrier())
        assert threading.current_thread() is not threading.main_thread()
        return cast(ReplicaFacts, copy.number)

    assert replicas.run_in_threads(make_copies(3, tmp_path), work) == [0, 1, 2]
    loads = [event.split()[1] for event in events]
    assert loads[::2] == loads[1::2], "nobody loads while another does"
    assert len(starts) == 3
    assert len(set(starts)) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_error_of_one_copy_is_that_of_all(when: str, tmp_path: Path) -> None:
    def work(copy: Copy, loaded: Any, barrier: Any) -> ReplicaFacts:
        if copy.number == 1 and when == "before":
            raise TrialError(FailureKind.HOST_OOM, "no memory for this copy")
        loaded()
        if copy.number == 1:
            raise TrialError(FailureKind.HOST_OOM, "no memory for this copy")
        barrier()
        return cast(ReplicaFacts, copy.number)

    with pytest.raises(TrialError, match="no memory for this copy"):
        replicas.run_in_threads(make_copies(3, tmp_path), work)


@pytest.mark.usefixtures("warm_pool")
def test_both_ways_are_measured_side_by_side(tmp_path: Path) -> None:
    more = ["replicas=2", "process.copies=default,threads", "backend.options.latency_ms=2.0"]
    status, history = sweep(tmp_path, *more, base=TINY)
    by_way = {record.settings["copies"]: record for record in history.records.values()}
    assert status == 0
    assert {way: record.status for way, record in by_way.items()} == dict.fromkeys(("default", "threads"), Status.OK)
    assert len(entries(history, "build")) == 1
    assert "copies=threads" in by_way["threads"].label
    both = [(record.metrics or {})["throughput_items_per_s"] for record in by_way.values()]
    assert 0.5 < both[0] / both[1] < 2.0  # they sleep: in neither way does one copy wait for the other
    assert both[1] > 600  # of two copies; one alone could answer 500 items/s

"""A replica that takes other cores or threads than its trial has is no measurement of the trial."""

import os
import subprocess
import sys
import threading

import pytest

from sweep.spec import FailureKind, Placement, TrialError
from sweep.worker import threads
from sweep.worker.resources import bind_all_threads, check_resources, list_allowed_cpus

ALL = tuple(sorted(os.sched_getaffinity(0)))
needs_two_cpus = pytest.mark.skipif(len(ALL) < 2, reason="has one CPU: its affinity cannot be wider than a trial's")


def test_own_cores_and_threads_pass() -> None:
    check_resources(Placement(cores=ALL, threads=2), 2)
    check_resources(Placement(cores=ALL, threads=2), None)
    assert list_allowed_cpus() == frozenset(ALL)


@needs_two_cpus
def test_wider_affinity_is_refused() -> None:
    with pytest.raises(TrialError, match=f"of it may run on CPUs {ALL[-1]}, the trial has") as error:
        check_resources(Placement(cores=ALL[:-1], threads=1), 1)
    assert error.value.kind is FailureKind.WRONG_RESOURCES


def test_other_number_of_threads_is_refused() -> None:
    with pytest.raises(TrialError, match="it ran with 1 threads, the trial has 2") as error:
        check_resources(Placement(cores=ALL, threads=2), 1)
    assert error.value.kind is FailureKind.WRONG_RESOURCES


def test_cores_of_a_device_are_not_cpus() -> None:
    check_resources(Placement(cores=(ALL[-1] + 1,), threads=1, device="neuron"), None)


@pytest.mark.process
@needs_two_cpus
def test_wider_process_that_was_started_is_seen() -> None:
    code = f"import os, sys; os.sched_setaffinity(0, {set(ALL)}); print(flush=True); sys.stdin.read()"
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL[:1])
    try:
        line = [sys.executable, "-S", "-c", code]
        with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            assert list_allowed_cpus() >= frozenset(ALL)
    finally:
        os.sched_setaffinity(0, before)


@needs_two_cpus
def test_threads_are_bound_to_the_cores_again() -> None:
    """A model's code that widens the affinity while it is loaded does not keep it."""
    seen: list[set[int]] = []

    def work() -> None:
        mine = threading.get_native_id()
        go.wait()
        seen.append(os.sched_getaffinity(mine))

    go, before = threading.Event(), os.sched_getaffinity(0)
    thread = threading.Thread(target=work)
    thread.start()
    try:
        bind_all_threads(ALL[:1])
        go.set()
        thread.join()
        assert seen == [{ALL[0]}]
    finally:
        os.sched_setaffinity(0, before)
    assert os.sched_getaffinity(0) == before


def test_core_that_the_models_code_gave_away_is_taken_back() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, ALL[:1])
    bind_all_threads(ALL)
    assert os.sched_getaffinity(0) == before


def test_threads_of_native_libraries_are_set_and_read_back() -> None:
    before = threads.read_threads()
    assert before["openblas"] >= 1, "numpy brings it"
    threads.set_threads(1)
    try:
        assert threads.read_threads()["openblas"] == 1
    finally:
        threads.set_threads(before["openblas"])
    assert threads.read_threads()["openblas"] == before["openblas"]

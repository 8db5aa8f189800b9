"""A replica that takes other cores or threads than its trial has is no measurement of the trial."""

import os

import pytest

from sweep.spec import FailureKind, Placement, TrialError
from sweep.worker.resources import check_resources, list_allowed_cpus

ALL = tuple(sorted(os.sched_getaffinity(0)))
needs_two_cpus = pytest.mark.skipif(len(ALL) < 2, reason="has one CPU: its affinity cannot be wider than a trial's")


def test_own_cores_and_threads_pass() -> None:
    check_resources(Placement(cores=ALL, threads=2), 2)
    check_resources(Placement(cores=ALL, threads=2), None)
    assert list_allowed_cpus() == frozenset(ALL)


@needs_two_cpus
def test_wider_affinity_is_refused() -> None:
    with pytest.raises(TrialError, match=f"may run on CPUs {ALL[-1]}, the trial has") as error:
        check_resources(Placement(cores=ALL[:-1], threads=1), 1)
    assert error.value.kind is FailureKind.WRONG_RESOURCES


def test_other_number_of_threads_is_refused() -> None:
    with pytest.raises(TrialError, match="it ran with 1 threads, the trial has 2") as error:
        check_resources(Placement(cores=ALL, threads=2), 1)
    assert error.value.kind is FailureKind.WRONG_RESOURCES


def test_cores_of_a_device_are_not_cpus() -> None:
    check_resources(Placement(cores=(ALL[-1] + 1,), threads=1, device="neuron"), None)

"""The kernel's clock and the CPU time of a window are seen from the common start on."""

import time

import numpy as np
import pytest

from sweep.spec import Placement
from sweep.spec.facts import WitnessFacts
from sweep.worker import window as measuring
from sweep.worker.window import Warm, Window
from sweep.worker.witness import Witness

NOTHING = Window.of([], [], [], [])
SECONDS = 0.2


def watch(wait: float, busy: bool = False) -> WitnessFacts:
    """A window that begins after `wait` seconds at the barrier."""

    def barrier() -> int:
        time.sleep(wait)
        return measuring.clock()

    def drive(warm: Warm) -> Window:
        warm.start()
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(0 if busy else 0.01)
        return NOTHING

    witness = Witness(Placement(cores=(0,), threads=1))
    witness.watch(drive)(Warm([], 1.0, 1, barrier))
    return witness.facts


def test_waiting_for_other_replicas_is_no_part_of_it() -> None:
    facts = watch(wait=0.3)
    assert facts.system_seconds is not None
    assert facts.system_seconds >= SECONDS - 0.02
    assert facts.own_seconds >= SECONDS
    assert np.isclose(facts.own_seconds, facts.system_seconds, atol=0.1)
    assert facts.cores == 1


def test_slowed_clock_differs_from_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    real = measuring.clock
    monkeypatch.setattr(measuring, "clock", lambda: real() // 10)
    facts = watch(wait=0.0)
    assert facts.own_seconds < 0.5 * (facts.system_seconds or 0)


def test_cores_of_a_device_are_not_counted() -> None:
    witness = Witness(Placement(cores=(0, 1), threads=1, device="neuron"))
    witness.watch(lambda warm: NOTHING)(Warm([], 1.0, 1, measuring.clock))
    assert witness.facts.cores == 0
    assert watch(wait=0.0, busy=True).cpu_seconds > 0

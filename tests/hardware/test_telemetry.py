"""What the machine did around a measurement, from pretended /proc and /sys, and from the real ones."""

import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.engine import repeats
from sweep.hardware import telemetry
from sweep.hardware.telemetry import Look, between, look
from sweep.spec import Measurements, Outcome, to_json
from sweep.spec.facts import HostFacts
from tests.support.records import make_measurement, make_trial

TICKS = os.sysconf("SC_CLK_TCK")


def machine(folder: Path, **files: str) -> Path:
    paths = {"stat": "proc/stat", "loadavg": "proc/loadavg"}
    for name, text in files.items():
        path = folder / paths.get(name, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_counters_and_gauges_are_read(tmp_path: Path) -> None:
    root = machine(tmp_path, stat="cpu  10 1 5 100 2 0 1 7 0 0\ncpu0 1 2 3\n", loadavg="0.75 0.5 0.4 1/99 1234\n")
    for number, kilohertz in enumerate((2_000_000, 3_000_000, 1_000_000)):
        machine(root, **{f"sys/devices/system/cpu/cpu{number}/cpufreq/scaling_cur_freq": f"{kilohertz}\n"})
    for number, degrees in enumerate(("45000", "61500", "-274000", "broken")):
        machine(root, **{f"sys/class/thermal/thermal_zone{number}/temp": degrees})
    seen = look(cpus=(0, 1), root=root)
    assert seen.ticks == (10, 1, 5, 100, 2, 0, 1, 7, 0, 0)
    assert (seen.load, seen.mhz, seen.celsius) == (0.75, 2500.0, 61.5)
    assert (seen.gpu_mhz, seen.gpu_celsius) == (None, None)


def test_what_a_host_does_not_show_is_absent(tmp_path: Path) -> None:
    nothing = look(root=tmp_path)
    assert nothing.ticks == ()
    assert between(nothing, look(root=tmp_path), 1.0) == HostFacts()


def test_shares_of_the_machine() -> None:
    before = Look(0.0, (0,) * 10, own_seconds=5.0)
    # Two CPUs for ten seconds: 6 s busy, of which 2 s the worker's and 1 s our own; 1 s stolen.
    after = Look(10.0, tuple(round(s * TICKS) for s in (5, 0, 1, 12, 1, 0, 0, 1, 3, 0)), own_seconds=6.0, mhz=2000.0)
    facts = between(before, after, 2.0)
    assert facts == HostFacts(steal_share=0.05, foreign_cpu_share=0.15, mhz=2000.0)


def test_a_worker_whose_cpu_time_is_not_known_blames_nobody() -> None:
    after = Look(10.0, tuple(TICKS * s for s in (5, 0, 1, 12, 1, 0, 0, 1, 0, 0)))
    assert between(Look(0.0, (0,) * 10), after, None) == HostFacts(steal_share=0.05)


def test_shares_stay_between_none_and_all() -> None:
    after = Look(1.0, tuple(TICKS * s for s in (1, 0, 0, 0, 0, 0, 0, 0)), own_seconds=9.0)
    assert between(Look(0.0, (0,) * 8), after, 3.0).foreign_cpu_share == 0.0


def test_a_moment_is_too_short_for_shares() -> None:
    after = Look(0.01, tuple(TICKS * s for s in (1, 0, 0, 0, 0, 0, 0, 0)))
    assert between(Look(0.0, (0,) * 8), after, 0.0) == HostFacts()


@pytest.mark.process
def test_gpus_are_asked_only_where_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool, asked = tmp_path / "nvidia-smi", tmp_path / "asked"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {asked}\nprintf "0, 1980, 41\\n1, 1200, 77\\n2, [N/A], [N/A]\\n"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert look().gpu_mhz is None
    assert not asked.exists()
    assert (look(gpus=(0, 1)).gpu_mhz, look(gpus=(0, 1)).gpu_celsius) == (1200.0, 77.0)
    assert look(gpus=(2,)).gpu_mhz is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    assert look(gpus=(1,)).gpu_celsius == 41.0
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert look(gpus=(0,)).gpu_mhz is None


def test_what_was_seen_from_outside_goes_to_every_member() -> None:
    """A worker's memory is that of one trial where it measured one alone."""
    seen: Any = {"log": "", "seconds": 9.0, "peak_memory_mb": 500.0, "host": HostFacts(mhz=1.0)}
    one: Any = SimpleNamespace(trial=make_trial())
    measured = make_measurement()
    (alone,) = repeats._measurements([one], Outcome(to_json(measured), None, **seen))
    assert alone == replace(measured, wall_seconds=9.0, host=HostFacts(mhz=1.0), peak_memory_mb=500.0)
    both = repeats._measurements([one, one], Outcome(to_json(Measurements((measured, measured))), None, **seen))
    assert both == [replace(measured, wall_seconds=9.0, host=HostFacts(mhz=1.0))] * 2


def test_the_real_machine_is_looked_at() -> None:
    first = look()
    assert len(first.ticks) > telemetry.STEAL
    assert first.own_seconds > 0
    assert first.load is not None

"""What the machine was like around a measurement: time stolen by the hypervisor, CPU of others, clocks, temperatures.

There is a look before and a look after: nothing is polled during the measurement. A look reads a few files of /proc and
/sys and takes well under 2 ms. Only if a GPU is used does it start nvidia-smi, while no worker lives. What a host does
not show (a virtual machine has no temperatures) is absent, never an error.
"""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweep.hardware.ec2 import read_text as _read
from sweep.hardware.host import query_gpus
from sweep.isolate import procfs
from sweep.spec.facts import HostFacts

LEAST_SECONDS = 0.2  # the kernel counts in hundredths: over less than this a share of CPU time says nothing
MOST_CPUS = 16  # whose clocks are asked: each question wakes a core for a moment
GPU_SECONDS = 5.0  # after this nvidia-smi is not waited for
STEAL = 7  # column of /proc/stat: user nice system idle iowait irq softirq steal guest guest_nice
IDLE = (3, 4)


@dataclass(frozen=True)
class Look:
    """Counters and gauges at one moment; None or empty if the host does not show them."""

    seconds: float  # of a clock that never goes back
    ticks: tuple[int, ...] = ()  # CPU time of the machine by kind, see `STEAL`
    own_seconds: float = 0.0  # CPU time of this process and of its servers, without what these started
    load: float | None = None  # processes that ran or wanted to, mean of the last minute
    mhz: float | None = None  # mean of the CPUs used
    celsius: float | None = None  # the hottest zone
    gpu_mhz: float | None = None  # the slowest of the GPUs used
    gpu_celsius: float | None = None  # the hottest of them


def look(cpus: Sequence[int] = (), gpus: Sequence[int] = (), root: Path = Path("/")) -> Look:
    """Look at the machine now.

    Args:
        cpus: numbers of the CPUs that are used; none means all.
        gpus: numbers of the GPUs that are used, as the worker counts them; without any, nvidia-smi is not started.
        root: the file system to read, for tests.
    """
    gpu_mhz, gpu_celsius = _gpus(gpus) if gpus else (None, None)
    return Look(
        time.monotonic(),
        _ticks(root),
        _own_seconds(),
        _first_number(_read(root / "proc/loadavg")),
        _mhz(root, cpus),
        _celsius(root),
        gpu_mhz,
        gpu_celsius,
    )


def between(before: Look, after: Look, worker_seconds: float | None) -> HostFacts:
    """The state of the machine between two looks.

    Args:
        worker_seconds: CPU time of the measured processes; None if not known, then the foreign share is absent.
    """
    steal, foreign = None, None
    passed = [b - a for a, b in zip(before.ticks, after.ticks, strict=False)]
    whole = sum(passed[: STEAL + 1])  # the columns that follow are counted in `user` and `nice` already
    if len(passed) > STEAL and whole > 0 and after.seconds - before.seconds >= LEAST_SECONDS:
        steal = _share(passed[STEAL] / whole)
        if worker_seconds is not None:
            busy = (whole - passed[STEAL] - sum(passed[column] for column in IDLE)) / _ticks_per_second()
            own = worker_seconds + after.own_seconds - before.own_seconds
            foreign = _share((busy - own) * _ticks_per_second() / whole)
    return HostFacts(steal, foreign, before.load, after.mhz, after.celsius, after.gpu_mhz, after.gpu_celsius)


def _share(value: float) -> float:
    return round(min(1.0, max(0.0, value)), 4)


def _ticks(root: Path) -> tuple[int, ...]:
    """CPU time of the whole machine since boot by kind, in the kernel's ticks."""
    words = _read(root / "proc/stat").partition("\n")[0].split()
    return tuple(int(word) for word in words[1:] if word.isdigit()) if words[:1] == ["cpu"] else ()


def _ticks_per_second() -> float:
    return float(os.sysconf("SC_CLK_TCK"))


def _own_seconds() -> float:
    """CPU time of this process and its direct children, the servers that start workers and import for them."""
    ticks = [procfs.read_cpu_ticks(pid) for pid in procfs.list_children(os.getpid())]
    return time.process_time() + sum(ticks) / _ticks_per_second()


def _mhz(root: Path, cpus: Sequence[int]) -> float | None:
    """Mean current frequency of the CPUs in MHz, from the kernel's cpufreq (in kHz there)."""
    folder = root / "sys/devices/system/cpu"
    if not (folder / "cpu0/cpufreq").exists():
        return None
    numbers = list(cpus) or range(os.cpu_count() or 1)
    clocks = (_first_number(_read(folder / f"cpu{number}/cpufreq/scaling_cur_freq")) for number in numbers[:MOST_CPUS])
    known = [clock / 1000.0 for clock in clocks if clock]
    return round(sum(known) / len(known), 1) if known else None


def _celsius(root: Path) -> float | None:
    """The hottest thermal zone that can be read, from thousandths of a degree."""
    return max(_zones(root / "sys/class/thermal"), default=None)


def _zones(folder: Path) -> Iterator[float]:
    for zone in sorted(folder.glob("thermal_zone*"))[:MOST_CPUS]:
        degrees = _first_number(_read(zone / "temp"))
        if degrees is not None and degrees > 0:  # a zone that is switched off says 0 or less
            yield round(degrees / 1000.0, 1)


def _gpus(gpus: Sequence[int]) -> tuple[float | None, float | None]:
    """(slowest SM clock in MHz, highest temperature in degrees C) of the GPUs used."""
    wanted = _driver_numbers(gpus)
    lines = query_gpus("index,clocks.sm,temperature.gpu", GPU_SECONDS)
    rows = [[_first_number(cell) for cell in line.split(",")] for line in lines]
    used = [row for row in rows if len(row) == 3 and (not wanted or row[0] in wanted)]
    clocks, degrees = ([value for row in used if (value := row[column]) is not None] for column in (1, 2))
    return min(clocks, default=None), max(degrees, default=None)


def _driver_numbers(gpus: Sequence[int]) -> set[float]:
    """GPU numbers as the driver counts them; empty, which means all, if CUDA_VISIBLE_DEVICES holds names."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return {float(number) for number in gpus}
    parts = [part.strip() for part in visible.split(",")]
    return {float(parts[n]) for n in gpus if n < len(parts)} if all(part.isdigit() for part in parts) else set()


def _first_number(text: str) -> float | None:
    try:
        return float(text.split()[0])
    except (IndexError, ValueError):
        return None

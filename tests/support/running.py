"""Run real sweeps in tests: seconds instead of a minute, on the tiny model and the fake backend by default."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sweep.__main__ import run
from sweep.spec import Json
from sweep.store import ledger

ROOT = Path(__file__).parents[2]
QUICK = [
    "effort=quick",
    "effort.repeats=3",
    "effort.window_seconds=0.05",
    "effort.warmup_seconds=0.02",
    "effort.warmup_seconds_max=0.3",
    "effort.min_requests=5",
    "report=none",
    "tracking=none",
]
# On a machine that does something else too, for tests to which it does not matter who is kept waiting
BUSY = ["gates.generator_tolerance=1.0", "gates.little_tolerance=1.0"]
TINY = ["model=tiny", "backend=fake", *QUICK]


def sweep(outputs: Path, *overrides: str, base: list[str] = TINY) -> tuple[int, ledger.History]:
    """Run a sweep in this process; its exit status and what its ledger says."""
    status = run([*base, f"outputs={outputs}", *overrides])
    return status, ledger.History(ledger.find(outputs, "last"))


def command(outputs: Path, *overrides: str, base: list[str] = TINY) -> list[str]:
    return [sys.executable, "-m", "sweep", *base, f"outputs={outputs}", *overrides]


def start(outputs: Path, *overrides: str, base: list[str] = TINY) -> "subprocess.Popen[str]":
    """Start a sweep in a process group of its own."""
    return subprocess.Popen(
        command(outputs, *overrides, base=base),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )


def read_until(process: "subprocess.Popen[str]", seen: Callable[[str], bool]) -> list[str]:
    """Lines of output up to and with the first for which `seen` holds; all lines if none does."""
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if seen(line):
            break
    return lines


def kill_group(process: "subprocess.Popen[str]") -> None:
    """kill -9 of the whole process group, as a user or a scheduler does it."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def entries(history: ledger.History, kind: str) -> list[Json]:
    return [entry for entry in ledger.entries(history.folder) if entry["kind"] == kind]

"""Killed or stopped at any moment, then resumed: nothing measured is lost, nothing doubled, no half record read."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sweep.spec import Status
from sweep.store import ledger
from tests.support.running import ROOT, command, entries, kill_group, read_until, start

AXES = ("batch=1,2", "cores=1,2")
REPEATS = 3 * 4


def resume(outputs: Path) -> "subprocess.CompletedProcess[str]":
    line = [sys.executable, "-m", "sweep", "resume", "last", "--outputs", str(outputs)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)


def whole(outputs: Path) -> ledger.History:
    """The history of a sweep that must be complete: every trial ok, every repeat there exactly once."""
    history = ledger.History(ledger.find(outputs, "last"))
    count = Counter((entry["trial"], entry["measurement"]["index"]) for entry in entries(history, "repeat"))
    assert len(count) == REPEATS
    assert set(count.values()) == {1}
    assert len(history.records) == len(history.trials) == 4
    assert {record.status for record in history.records.values()} == {Status.OK}
    assert all(len(record.repeats) == 3 for record in history.records.values())
    assert history.finished
    return history


def repeats_on_disk(outputs: Path) -> list[tuple[str, int]]:
    folders = ledger.sweeps(outputs)
    found = [e for folder in folders for e in ledger.entries(folder) if e["kind"] == "repeat"]
    return [(entry["trial"], entry["measurement"]["index"]) for entry in found]


@pytest.mark.parametrize("phase", ["build 1", "measure 1/", "measure 7/", "measure 12/"])
def test_kill_nine_then_resume(tmp_path: Path, phase: str) -> None:
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith(phase))
    kill_group(process)
    before = repeats_on_disk(tmp_path)
    done = resume(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    whole(tmp_path)
    assert repeats_on_disk(tmp_path)[: len(before)] == before  # what was measured stands, and comes first


def test_kill_nine_at_random_moments_again_and_again(tmp_path: Path) -> None:
    """Each resume is killed too, until one comes through."""
    random_source = random.Random(7)
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith("reference"))
    kill_group(process)
    for _ in range(3):
        kept = repeats_on_disk(tmp_path)
        line = [sys.executable, "-m", "sweep", "resume", "--outputs", str(tmp_path)]
        process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT, start_new_session=True
        )
        steps = random_source.randint(1, 4)
        for _ in range(steps):
            read_until(process, lambda line: line.startswith("measure "))
        kill_group(process)
        assert repeats_on_disk(tmp_path)[: len(kept)] == kept
    assert resume(tmp_path).returncode == 0
    whole(tmp_path)


def test_a_torn_line_is_dropped_by_the_resume(tmp_path: Path) -> None:
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith("measure 5/"))
    kill_group(process)
    path = ledger.find(tmp_path, "last") / ledger.LEDGER
    data = path.read_bytes()
    path.write_bytes(data[:-20])  # the power went while the last repeat was written
    lost = len(repeats_on_disk(tmp_path))
    assert resume(tmp_path).returncode == 0
    history = whole(tmp_path)
    assert history.torn == 0
    assert lost < REPEATS


def test_workers_end_with_the_sweep(tmp_path: Path) -> None:
    process = start(tmp_path, "backend.options.fault=build_hang")
    read_until(process, lambda line: line.startswith("reference: "))
    folder = ledger.find(tmp_path, "last") / "builds"
    while not list(folder.glob("*/request.json")):
        assert process.poll() is None
    kill_group(process)
    marker = str(tmp_path).encode()
    deadline_loops = 200
    for _ in range(deadline_loops):
        left = [path for path in Path("/proc").glob("[0-9]*") if marker in _traces(path)]
        if not left:
            break
        signal.sigtimedwait([], 0.05)
    assert left == []


def _traces(process: Path) -> bytes:
    """Command line and open files of a process: whatever names the outputs folder."""
    try:
        names = [str(link.readlink()) for link in (process / "fd").iterdir()]
        return (process / "cmdline").read_bytes() + "\n".join(names).encode()
    except OSError:
        return b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_cleanly_and_resumes(tmp_path: Path, number: signal.Signals) -> None:
    process = start(tmp_path, *AXES)
    seen = read_until(process, lambda line: line.startswith("measure 3/"))
    os.kill(process.pid, number)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(seen) + rest
    assert "Traceback" not in rest
    history = ledger.History(ledger.find(tmp_path, "last"))
    assert len(history.records) == 4
    assert Status.STOPPED in {record.status for record in history.records.values()}
    assert "resume" in rest
    assert resume(tmp_path).returncode == 0
    whole(tmp_path)


def test_two_sweeps_at_once_share_the_store(tmp_path: Path) -> None:
    slow = ("batch=1", "backend.options.build_seconds=1.5")
    processes = [start(tmp_path, *slow) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    histories = [ledger.History(folder) for folder in ledger.sweeps(tmp_path)]
    assert len(histories) == 2
    assert sum(len(entries(history, "build")) for history in histories) == 1
    assert all(len(entries(history, "repeat")) == 3 for history in histories)


def test_a_sweep_that_runs_cannot_be_resumed_beside_itself(tmp_path: Path) -> None:
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith("measure 1/"))
    beside = resume(tmp_path)
    kill_group(process)
    assert beside.returncode == 1
    assert "is being run by another process" in beside.stderr
    assert "Traceback" not in beside.stderr


def test_a_complete_sweep_has_nothing_to_resume(tmp_path: Path) -> None:
    subprocess.run(command(tmp_path, "batch=1"), check=True, capture_output=True, cwd=ROOT)
    done = resume(tmp_path)
    assert done.returncode == 0
    assert "nothing to do" in done.stdout

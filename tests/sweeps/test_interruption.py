"""Killed or stopped at any moment, then resumed: nothing measured is lost, nothing doubled, no half record read."""

import contextlib
import io
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.spec import Status
from sweep.store import ledger
from tests.support.pool import FakePool
from tests.support.running import ROOT, entries, kill_group, read_until, start, sweep

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


@pytest.mark.process
@pytest.mark.parametrize("phase", ["build 1", "measure 7/"])
def test_killed_sweep_resumes(tmp_path: Path, phase: str) -> None:
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith(phase))
    kill_group(process)
    before = repeats_on_disk(tmp_path)
    done = resume(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    whole(tmp_path)
    assert repeats_on_disk(tmp_path)[: len(before)] == before  # what was measured stands, and comes first


MOMENTS = [("reference", 1), ("build", 1), ("repeat", 1), ("repeat", 7), ("repeat", 12), ("record", 3)]


@pytest.mark.parametrize("torn", [0, 20], ids=["whole", "torn"])
@pytest.mark.parametrize(("kind", "number"), MOMENTS)
def test_sweep_resumes_from_every_part_of_its_ledger(
    tmp_path: Path, fake_pool: FakePool, kind: str, number: int, torn: int
) -> None:
    """As after a kill, or after a loss of power in the middle of a line."""
    _, history = sweep(tmp_path, *AXES)
    path = history.folder / ledger.LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    upto = [place for place, line in enumerate(lines, 1) if json.loads(line)["kind"] == kind][number - 1]
    kept = b"".join(lines[:upto])
    path.write_bytes(kept[: len(kept) - torn])
    before, started = repeats_on_disk(tmp_path), len(fake_pool.entries)
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    assert whole(tmp_path).torn == 0
    assert repeats_on_disk(tmp_path)[: len(before)] == before
    assert fake_pool.entries[started:].count("measure") == REPEATS - len(before)


@pytest.mark.process
def test_sweep_killed_at_random_moments_resumes(tmp_path: Path) -> None:
    """Each resume is killed too, until one comes through."""
    random_source = random.Random(7)
    process = start(tmp_path, *AXES)
    read_until(process, lambda line: line.startswith("reference"))
    kill_group(process)
    for _ in range(2):
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


@pytest.mark.process
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


@pytest.mark.process
def test_ctrl_c_stops_cleanly_and_resumes(tmp_path: Path) -> None:
    process = start(tmp_path, *AXES)
    seen = read_until(process, lambda line: line.startswith("measure 3/"))
    os.kill(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, "".join(seen) + rest
    check_stopped(tmp_path, rest)
    assert resume(tmp_path).returncode == 0
    whole(tmp_path)


def test_sigterm_stops_as_ctrl_c_does(tmp_path: Path, fake_pool: FakePool, capsys: pytest.CaptureFixture[str]) -> None:
    def before(entry: str) -> None:
        if fake_pool.entries.count("measure") > 2:
            signal.raise_signal(signal.SIGTERM)

    fake_pool.before = before
    status, _ = sweep(tmp_path, *AXES)
    assert status == 130
    check_stopped(tmp_path, capsys.readouterr().out)
    fake_pool.before = lambda entry: None
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    whole(tmp_path)


def check_stopped(outputs: Path, shown: str) -> None:
    assert "Traceback" not in shown
    assert "resume" in shown
    history = ledger.History(ledger.find(outputs, "last"))
    assert len(history.records) == 4
    assert Status.STOPPED in {record.status for record in history.records.values()}


@pytest.mark.process
def test_two_sweeps_at_once_share_the_store(tmp_path: Path) -> None:
    slow = ("batch=1", "backend.options.build_seconds=1.5")
    processes = [start(tmp_path, *slow) for _ in range(2)]
    outputs = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    histories = [ledger.History(folder) for folder in ledger.sweeps(tmp_path)]
    assert len(histories) == 2
    assert sum(len(entries(history, "build")) for history in histories) == 1
    assert all(len(entries(history, "repeat")) == 3 for history in histories)


def test_running_sweep_cannot_be_resumed_beside_itself(tmp_path: Path, fake_pool: FakePool) -> None:
    tried: list[int] = []
    errors = io.StringIO()

    def before(entry: str) -> None:
        if entry == "measure" and not tried:
            with contextlib.redirect_stderr(errors):
                tried.append(run(["resume", "last", "--outputs", str(tmp_path)]))

    fake_pool.before = before
    sweep(tmp_path, *AXES)
    assert tried == [1]
    assert "is being run by another process" in errors.getvalue()
    assert "Traceback" not in errors.getvalue()
    whole(tmp_path)


def test_complete_sweep_has_nothing_to_resume(
    tmp_path: Path, fake_pool: FakePool, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep(tmp_path, "batch=1")
    capsys.readouterr()
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    assert "nothing to do" in capsys.readouterr().out

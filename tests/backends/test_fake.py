"""backend=fake shows every failure that a backend can have."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import workloads
from sweep.backends import fake
from sweep.spec import FailureKind, TrialError
from sweep.testing import Built, build
from sweep.testing.builds import BATCH, LINEAR
from tests.support.running import ROOT


def build_fake(folder: Path, **options: Any) -> Built:
    return build(fake.Fake, "fp32", folder, options=options)


def fake_answers(fault: str, folder: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    built = build_fake(folder, latency_ms=0.0, fault=fault, **options)
    runner = built.load()
    right = workloads.run_reference(workloads.load_model(LINEAR), built.batch(0))[0]
    return runner.outputs(runner.run(runner.prepare(built.batch(0))))[0], right


def fake_process(fault: str, folder: Path, repeat: int = 0, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Build and run the fake in a process of its own; it prints `done` if it gets through."""
    command = f"""
import pathlib
from tests.backends.test_fake import build_fake
built = build_fake(pathlib.Path({str(folder)!r}), **{ {"latency_ms": 0.0, "fault": fault, **options}!r})
runner = built.load()
for number in range(5):
    runner.run(runner.prepare(built.batch(number)))
print("done")
"""
    environment = {"SWEEP_REPEAT": str(repeat), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", command], capture_output=True, check=False, env=environment, cwd=ROOT)


def test_answers_can_be_wrong_constant_or_nan(tmp_path: Path) -> None:
    wrong, right = fake_answers("wrong_answers", tmp_path)
    assert (wrong.argmax(1) != right.argmax(1)).all()
    assert np.unique(fake_answers("constant_answers", tmp_path)[0]).size == 1
    assert np.isnan(fake_answers("nan_answers", tmp_path)[0]).all()


@pytest.mark.parametrize(
    ("fault", "error"),
    [("build_raise", RuntimeError), ("disk_full", OSError), ("import_missing", ModuleNotFoundError),
     ("build_memory", MemoryError)],
)  # fmt: skip
def test_build_raises_the_error_of_its_fault(fault: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        build_fake(tmp_path, fault=fault, fault_memory_mb=64)
    assert not list(tmp_path.iterdir())


def test_load_refuses_a_truncated_artifact(tmp_path: Path) -> None:
    built = build_fake(tmp_path, fault="build_truncated")
    with pytest.raises(TrialError) as caught:
        built.load()
    assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE


def test_placement_alone_shows_a_silent_fallback(tmp_path: Path) -> None:
    built = build_fake(tmp_path, fault="build_silent_fallback")
    assert built.info.placement == 0.0
    assert build_fake(tmp_path).info.placement == 1.0


def test_request_raises_with_the_given_text(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no more descriptors"):
        fake_answers("run_raise", tmp_path, fault_text="no more descriptors")


@pytest.mark.process
@pytest.mark.parametrize(("fault", "code"), [("build_abort", -6), ("build_segfault", -11), ("run_crash", -11)])
def test_process_dies_of_the_signal_of_its_fault(fault: str, code: int, tmp_path: Path) -> None:
    ran = fake_process(fault, tmp_path)
    assert ran.returncode == code
    assert b"done" not in ran.stdout


@pytest.mark.process
def test_crash_can_happen_in_the_third_repeat_only(tmp_path: Path) -> None:
    codes = [fake_process("run_crash_third_repeat", tmp_path / str(repeat), repeat).returncode for repeat in (1, 2, 3)]
    assert codes == [0, -11, 0]


@pytest.mark.process
def test_output_flood_is_a_hundred_megabytes(tmp_path: Path) -> None:
    ran = fake_process("build_output_flood", tmp_path)
    assert ran.returncode == 0
    assert len(ran.stdout) >= fake.FLOOD_MB << 20
    assert ran.stdout.endswith(b"done\n")


@pytest.mark.process
@pytest.mark.parametrize("fault", ["build_hang", "run_hang"])
def test_hang_does_not_end_by_itself(fault: str, tmp_path: Path) -> None:
    call = f"fake_answers({fault!r}, Path({str(tmp_path)!r}))"
    command = f"from tests.backends.test_fake import *; print('begun', flush=True); {call}"
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(1)
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / fake.MODEL).exists() == (fault == "run_hang")


@pytest.mark.process
def test_grandchildren_outlive_a_build_that_succeeds(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    built = build_fake(tmp_path, fault="build_grandchildren")
    pids = [int(pid) for pid in re.findall(r"grandchild (\d+)", capfd.readouterr().out)]
    try:
        assert built.info.placement == 1.0
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, 0)  # alive
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("when", "happens"),
    [({"batch": BATCH}, True), ({"batch": 5}, False), ({"batch": BATCH, "precision": "fp16"}, False),
     ({"bucket": [3]}, False), (None, True)],
)  # fmt: skip
def test_fault_can_be_limited_to_some_settings(when: Any, happens: bool, tmp_path: Path) -> None:
    options = {"fault": "build_raise", "fault_when": when}
    if happens:
        with pytest.raises(RuntimeError, match="it does not work"):
            build_fake(tmp_path, **options)
    else:
        assert build_fake(tmp_path, **options).info.precision == "fp32"


def test_fault_of_a_run_can_be_limited_to_a_number_of_cores(tmp_path: Path) -> None:
    options = {"fault": "run_raise", "fault_when": {"cores": 2}, "latency_ms": 0.0}
    built = build_fake(tmp_path, **options)
    one, two = built.load(threads=1), built.load(threads=2)
    one.run(one.prepare(built.batch(0)))
    with pytest.raises(RuntimeError):
        two.run(two.prepare(built.batch(0)))


def test_latency_follows_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fake.time, "sleep", slept.append)
    options = {"latency_ms": 100.0, "overhead_ms": 200.0, "parallel": 0.5}
    built = build_fake(tmp_path, **options)
    slept.clear()
    for threads in (1, 2):
        runner = built.load(threads)
        runner.run(runner.prepare(built.batch(0)))
    assert slept[0] == pytest.approx(0.4, abs=0.05)  # what the answer itself took is part of it
    assert slept[1] == pytest.approx(0.3, abs=0.05)

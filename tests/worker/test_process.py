"""The process around a model is that of a plain script, but for what a trial declares."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from sweep.isolate import denormals, procfs
from sweep.report.mlflow import store
from sweep.spec import Placement
from sweep.spec.process import Process
from sweep.worker import process, threads
from tests.support.running import sweep

T = TypeVar("T")
DENORMAL = np.full(4, 1e-40, np.float32)


def in_thread(work: Callable[[], T]) -> T:
    """What the processor is told about floats belongs to one thread; that of the tests must keep its own."""
    results: list[T] = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Gets an entry when the allocator is told to keep memory."""
    calls: list[str] = []
    monkeypatch.setattr(procfs, "keep_freed_memory", lambda: calls.append("keep"))
    return calls


def test_default_changes_nothing(kept: list[str]) -> None:
    def work() -> tuple[bool, float]:
        process.set_up(Process())
        return denormals.are_flushed(), float((DENORMAL * np.float32(0.5))[0])

    flushed, half = in_thread(work)
    assert (kept, flushed) == ([], False)
    assert half > 0


def test_allocator_keeps_memory_only_where_it_is_declared(kept: list[str]) -> None:
    process.set_up(Process(allocator="keep"))
    assert kept == ["keep"]


def test_flushed_denormals_are_zero_in_threads_that_start_later() -> None:
    def work() -> list[float]:
        process.set_up(Process(denormals="flush"))
        halves = [float((DENORMAL * np.float32(0.5))[0])]
        return [*halves, in_thread(lambda: float((DENORMAL * np.float32(0.5))[0]))]

    assert in_thread(work) == [0.0, 0.0]
    assert not denormals.are_flushed()


def test_what_the_models_code_changes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process.observe()
    assert process.list_changes(before, process.observe()) == []
    monkeypatch.setenv("OMP_PROC_BIND", "true")
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)
    changes = process.list_changes(before, process.observe())
    assert changes == ["time.perf_counter: the system's -> another", "OMP_PROC_BIND: not set -> true"]


def test_settings_of_torch_are_observed() -> None:
    torch = pytest.importorskip("torch")
    before = process.observe()
    kept = torch.get_float32_matmul_precision()
    torch.set_default_dtype(torch.float64)
    torch.set_float32_matmul_precision("medium")
    try:
        changes = process.list_changes(before, process.observe())
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision(kept)
    assert "torch: default dtype: torch.float32 -> torch.float64" in changes
    assert f"torch: matmul precision: {kept} -> medium" in changes


def test_declared_threads_are_set_again_after_the_model_is_made() -> None:
    before = threads.read_threads()
    threads.set_threads(2)
    try:
        process.hold(Process(), Placement(threads=1))
        assert set(threads.read_threads().values()) == {1}
    finally:
        threads.set_threads(before["openblas"])


@pytest.mark.parametrize("given", [1, 2])
def test_torch_has_the_threads_of_the_trial_whatever_the_model_sets(given: int) -> None:
    """The model's own number of threads between operators stays, for it can be set once; it is read back."""
    torch = pytest.importorskip("torch")
    from sweep.backends.pytorch import common

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3 - given)
        common.use_threads(Placement(threads=given))
        runner = common.TorchRunner(torch.nn.Identity(), "cpu", "fp32")
        assert runner.count_threads() == torch.get_num_threads() == given
        assert runner.count_parallel_operators() == torch.get_num_interop_threads()
    finally:
        torch.set_num_threads(before)


@pytest.mark.usefixtures("fake_pool")
def test_trials_that_differ_in_their_process_are_two_rows_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Process] = []
    monkeypatch.setattr(process, "set_up", seen.append)
    settings = iter([{"niceness": "0"}, {"niceness": "5"}] * 100)
    monkeypatch.setattr(process, "observe", lambda: next(settings))
    status, history = sweep(tmp_path, "process.allocator=default,keep", "effort.repeats=2")
    records = {record.settings["allocator"]: record for record in history.records.values()}
    assert status == 0
    assert {name: dict(record.process) for name, record in records.items()} == {
        "default": {},
        "keep": {"allocator": "keep"},
    }
    assert {settings.allocator for settings in seen} == {"default", "keep"}
    assert store.list_params(records["keep"])["process.allocator"] == "keep"
    repeat = records["keep"].repeats[0]
    assert repeat.process is not None
    assert repeat.process.changed == ("niceness: 0 -> 5",)
    assert capsys.readouterr().out.count("its own code changes its process") == 1
    assert repeat.own_seconds is not None
    assert repeat.fresh is not None
    assert repeat.fresh.pairs
    assert len(repeat.witnesses) == 1

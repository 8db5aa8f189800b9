"""The pool without processes says what the real one says; it is what most tests of the engine stand on."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweep.spec import FailureKind, Json, Record, Status
from sweep.store.ledger import History
from tests.support.pool import Ended, FakePool
from tests.support.running import BUSY, entries, sweep

FAULTS = ["build_raise", "build_abort", "build_segfault", "build_truncated", "build_silent_fallback", "build_hang"]
FAULTS += ["disk_full", "import_missing", "wrong_answers", "constant_answers", "nan_answers"]
FAULTS += ["run_raise", "run_crash", "run_crash_third_repeat", "run_hang_third_repeat"]
SAME = [f"backend.options.fault=null,{','.join(FAULTS)}", "limits.build_seconds=1", "limits.measure_seconds=1"]
TOGETHER = ["replicas=2", "deployment.members=[{cores:1},{cores:1,precision:fp16}]"]


def shape(value: object) -> object:
    """What a JSON value is made of: its keys and the types of its values."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if isinstance(value, (int, float)) and not isinstance(value, bool) else type(value).__name__


def outcome(record: Record) -> Json:
    """What must not depend on which pool it was.

    Times and paths do, what a stack in the log adds to a summary, and which percentiles there were enough requests for.
    """
    failure = record.failure
    return {
        "status": record.status,
        "reason": re.sub(r"(?<=killed by )SIG(\w+).*|/\S+|[\d.]+", r"\1", record.reason),
        "failure": failure and (failure.kind, failure.signal, failure.exit_code, sorted(failure.versions)),
        "log": bool(failure and failure.log and Path(failure.log).is_file()),
        "repeats": [repeat.index for repeat in record.repeats],
        "agreement": record.agreement and record.agreement["agreement"],
        "metrics": sorted(name for name in record.metrics or {} if not name.startswith("latency_ms_p9")),
        "builds": [build["precision"] for build in record.builds],
    }


def same_sweep(outputs: Path, *overrides: str) -> dict[str, Record]:
    _, history = sweep(outputs, *BUSY, *overrides)
    return history.records


def without_processes(outputs: Path, *overrides: str) -> dict[str, Record]:
    with FakePool().installed():
        return same_sweep(outputs, *overrides)


@pytest.mark.usefixtures("warm_pool")
def test_faults_end_as_with_real_workers(tmp_path: Path) -> None:
    real = same_sweep(tmp_path / "real", *SAME)
    fake = without_processes(tmp_path / "fake", *SAME)
    assert len(real) == 1 + len(FAULTS)
    assert fake.keys() == real.keys()
    for key, record in real.items():
        assert outcome(fake[key]) == outcome(record), record.label


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("together", TOGETHER)
def test_measurements_have_the_shape_of_real_ones(tmp_path: Path, together: str) -> None:
    def measured(run: Callable[..., dict[str, Record]], name: str) -> tuple[object, object]:
        records = run(tmp_path / name, together, "effort.window_seconds=0.3")
        assert {record.status for record in records.values()} == {Status.OK}, [r.reason for r in records.values()]
        (history,) = (History(folder) for folder in (tmp_path / name / "sweeps").iterdir())
        repeats = [entry["measurement"] for entry in entries(history, "repeat")]
        for repeat in repeats:
            repeat.pop("host")  # shares of CPU time are left out of measurements that were too short for them
        files = [{name: array.dtype.name for name, array in np.load(repeat["samples"]).items()} for repeat in repeats]
        return [shape(repeat) for repeat in repeats], files

    assert measured(without_processes, "fake") == measured(same_sweep, "real")


def test_timings_are_those_of_the_fake_device(tmp_path: Path, fake_pool: FakePool) -> None:
    _, history = sweep(tmp_path, "replicas=1,2", "backend.options.latency_ms=20", "effort.window_seconds=0.3")
    for record in history.records.values():
        assert record.metrics is not None
        assert record.metrics["latency_ms_p50"] == pytest.approx(20.0, rel=1e-3)
        assert record.metrics["throughput_items_per_s"] == pytest.approx(50.0 * record.settings["replicas"], rel=1e-3)


def test_worker_ends_as_the_test_says(tmp_path: Path, fake_pool: FakePool) -> None:
    def before(entry: str) -> None:
        if entry == "build":
            raise Ended(why="memory", peak_memory_mb=4000.0)

    fake_pool.before = before
    _, history = sweep(tmp_path, "limits.build_memory_mb=300")
    (record,) = history.records.values()
    assert record.failure is not None
    assert record.failure.kind is FailureKind.HOST_OOM
    assert "held 4,000 MB of memory, the limit is 300 MB: killed" in record.reason
    assert fake_pool.entries == ["reference", "build"]

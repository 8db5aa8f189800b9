"""Whole sweeps: every trial resolved once, builds shared, repeats interleaved, failures contained."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.report import page
from sweep.spec import FailureKind, Origin, Record, Status
from tests.support.running import QUICK, ROOT, TINY, entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")


def by_settings(records: dict[str, Record], **wanted: object) -> Record:
    found = [r for r in records.values() if all(r.settings[name] == value for name, value in wanted.items())]
    assert len(found) == 1
    return found[0]


@pytest.mark.usefixtures("warm_pool")
def test_trials_end_in_one_status_and_share_builds(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "batch=1,5", "cores=1,2,64")
    assert status == 0
    assert len(history.trials) == len(history.records) == 6
    assert {r.status for r in history.records.values() if r.settings["cores"] == 64} == {Status.INVALID}
    good = [r for r in history.records.values() if r.settings["cores"] != 64]
    assert {r.status for r in good} == {Status.OK}
    assert all("use cores=" in r.reason for r in history.records.values() if r.status is Status.INVALID)
    assert len(entries(history, "build")) == 2  # four valid trials, two batch sizes
    assert len(entries(history, "record")) == 6
    assert all(len(r.repeats) == 3 and r.metrics and r.metrics["throughput_items_per_s"] > 0 for r in good)
    assert all(r.agreement and r.agreement["agreement"] == 1.0 for r in good)


@pytest.mark.usefixtures("warm_pool")
def test_arrays_of_a_tokenizer_reach_the_inputs_of_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = "tests.support.text_workloads"
    status, history = sweep(
        tmp_path,
        *("model=custom", f"model._target_={texts}.bert_like", "data=custom", f"data._target_={texts}.tokens"),
        *("backend=torch,onnxruntime", "batch=4"),
        base=[*QUICK, "effort.repeats=1"],
    )
    pairs = "input_ids, attention_mask, token_type_ids (by name)"
    assert status == 0
    assert len(history.records) == 2
    for record in history.records.values():
        assert record.status is Status.OK
        assert (record.agreement or {})["accuracy"] == (record.agreement or {})["reference_accuracy"] == 1.0
        assert record.binding is not None
        assert record.binding.describe() == pairs
    assert pairs in capsys.readouterr().out
    assert run(["why", "batch=4", "--outputs", str(tmp_path)]) == 0
    assert f"inputs   {pairs}" in capsys.readouterr().out
    assert pairs in page.write(history.folder).read_text()


def test_repeats_are_interleaved_in_blocks(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=1,2,3")
    order = [(entry["measurement"]["index"], entry["trial"]) for entry in entries(history, "repeat")]
    assert [index for index, _ in order] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    blocks = [[trial for index, trial in order if index == block] for block in range(3)]
    assert all(sorted(block) == sorted(blocks[0]) for block in blocks)


def test_second_sweep_builds_only_what_has_changed(tmp_path: Path) -> None:
    sweep(tmp_path, "batch=1,2", "cores=1")
    _, same = sweep(tmp_path, "batch=1,2", "cores=2")
    assert entries(same, "build") == []
    assert all(build["reused"] for record in same.records.values() for build in record.builds)
    _, more = sweep(tmp_path, "batch=1,2,3", "cores=1")
    assert [entry["name"] for entry in entries(more, "build")] == ["tiny-fake-fp32-b3"]


def test_damaged_build_is_built_again(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=2")
    folder = Path(next(iter(history.records.values())).builds[0]["folder"])
    artifact = next(path for path in folder.iterdir() if path.suffix == ".npz")
    artifact.write_bytes(artifact.read_bytes()[:-10])
    _, again = sweep(tmp_path, "batch=2")
    assert len(entries(again, "build")) == 1
    assert [r.status for r in again.records.values()] == [Status.OK]


def test_failing_trial_does_not_stop_the_others(tmp_path: Path) -> None:
    status, history = sweep(
        tmp_path, "batch=1,2", "backend.options.fault=build_raise", "+backend.options.fault_when={batch: 2}"
    )
    assert status == 0
    assert by_settings(history.records, batch=1).status is Status.OK
    failed = by_settings(history.records, batch=2)
    assert failed.status is Status.BUILD_FAILED
    assert failed.failure is not None
    assert failed.failure.log is not None
    assert Path(failed.failure.log).exists()
    assert "sweep.isolate.server --once" in failed.failure.command


def test_repeats_before_a_crash_are_kept(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "backend.options.fault=run_crash_third_repeat")
    record = next(iter(history.records.values()))
    assert status == 2  # nothing could be measured to the end
    assert record.status is Status.RUN_FAILED
    assert record.failure is not None
    assert record.failure.signal == "SIGSEGV"
    assert [repeat.index for repeat in record.repeats] == [0, 1]
    assert "after 2 whole repeats" in record.reason


def test_remembered_failures_are_retried_only_on_request(tmp_path: Path) -> None:
    overrides = ("backend.options.fault=build_raise",)
    _, first = sweep(tmp_path, *overrides)
    _, second = sweep(tmp_path, *overrides)
    _, third = sweep(tmp_path, *overrides, "retry_failed=true")
    assert [len(entries(h, "build")) for h in (first, second, third)] == [1, 0, 1]
    assert {next(iter(h.records.values())).status for h in (first, second, third)} == {Status.BUILD_FAILED}


def test_timeout_is_retried_only_with_more_time(tmp_path: Path) -> None:
    slow = ("backend.options.build_seconds=3",)
    _, first = sweep(tmp_path, *slow, "limits.build_seconds=0.3")
    _, second = sweep(tmp_path, *slow, "limits.build_seconds=0.3")
    _, third = sweep(tmp_path, *slow, "limits.build_seconds=60")
    kinds = [r.failure and r.failure.kind for h in (first, second, third) for r in h.records.values()]
    assert kinds == [FailureKind.TIMEOUT, FailureKind.TIMEOUT, None]
    assert [len(entries(h, "build")) for h in (first, second, third)] == [1, 0, 1]


def test_identical_results_are_reused_on_request_and_marked(tmp_path: Path) -> None:
    _, first = sweep(tmp_path, "batch=1,2")
    _, second = sweep(tmp_path, "batch=1,2,3", "reuse=true")
    origins = {r.settings["batch"]: r.origin for r in second.records.values()}
    assert origins == {1: Origin.REUSED, 2: Origin.REUSED, 3: Origin.MEASURED}
    reused = by_settings(second.records, batch=1)
    assert reused.reuse is not None
    assert reused.reuse.sweep == first.folder.name
    assert reused.metrics == by_settings(first.records, batch=1).metrics
    assert {entry["trial"] for entry in entries(second, "repeat")} == {by_settings(second.records, batch=3).key}


def test_trial_declared_twice_runs_once(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=2,2", "cores=1")
    assert len(history.trials) == 1
    assert len(entries(history, "repeat")) == 3


def test_replicas_share_one_window(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "replicas=1,2", "backend.options.latency_ms=20", "effort.window_seconds=0.3")
    one, two = (by_settings(history.records, replicas=n) for n in (1, 2))
    assert one.status is two.status is Status.OK, (one.reason, two.reason)
    assert two.repeats[0].in_flight == 2
    alone, together = ([repeat.throughput_items_per_s for repeat in record.repeats] for record in (one, two))
    assert alone == pytest.approx([50.0] * 3, rel=1e-3)  # 20 ms each
    assert together == pytest.approx([100.0] * 3, rel=1e-3)


@pytest.mark.usefixtures("warm_pool")
def test_dying_replica_fails_its_trial_and_nothing_else(tmp_path: Path) -> None:
    status, history = sweep(
        tmp_path,
        "replicas=2",
        "batch=1,2",
        "backend.options.fault=run_crash_third_repeat",
        "+backend.options.fault_when={batch: 2}",
        "effort.window_seconds=0.3",
    )
    assert status == 0
    assert by_settings(history.records, batch=1).status is Status.OK
    failed = by_settings(history.records, batch=2)
    assert failed.status is Status.RUN_FAILED
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.CRASH
    assert "replica" in failed.reason


def test_plan_only_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    assert run([*TINY, f"outputs={tmp_path}", "batch=1,2", "cores=1,64", "plan=only"]) == 0
    shown = capsys.readouterr().out
    assert "2 distinct builds" in shown
    assert "use cores=" in shown
    assert not (tmp_path / "sweeps").exists()
    assert not (tmp_path / "store").exists()


@pytest.mark.process
def test_parent_imports_no_framework(tmp_path: Path) -> None:
    code = f"""
import sys
from sweep.__main__ import run
status = run({[*TINY, f"outputs={tmp_path}", "backend=fake"]!r})
frameworks = {{"torch", "onnxruntime", "openvino", "tensorflow", "onnx", "nncf"}}
loaded = sorted(frameworks & set(sys.modules))
print("LOADED", status, loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "LOADED 0 []"


def test_sweep_writes_results_for_people_and_programs(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=1,2", "cores=1,64", "report=html")
    rows = json.loads((history.folder / "results.json").read_text())
    assert len(rows) == 4
    assert {"key", "overrides", "status", "origin", "failure", "metrics", "mlflow_run_id"} <= set(rows[0])
    assert len((history.folder / "results.csv").read_text().splitlines()) == 5
    assert (history.folder / "throughput_latency.png").read_bytes().startswith(b"\x89PNG")
    verdict = json.loads((history.folder / "verdict.json").read_text())
    assert verdict["sentence"]


def test_data_and_reference_are_stored_once(tmp_path: Path) -> None:
    sweep(tmp_path, "batch=1")
    store = tmp_path / "store"
    stored = sorted([*store.glob("data/*/data.json"), *store.glob("reference/*/reference.json")])
    sweep(tmp_path, "batch=2")
    assert stored == sorted([*store.glob("data/*/data.json"), *store.glob("reference/*/reference.json")])
    assert len(stored) == 2

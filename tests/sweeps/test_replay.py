"""backend=replay: rows looked up, builds and repeats answered from them, records marked, and no verdict about them."""

import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.backends.replay import answers, tables
from sweep.backends.replay.backend import Replay
from sweep.backends.replay.tables import Row
from sweep.engine import rules
from sweep.hardware.host import Host
from sweep.spec import FailureKind, Origin, Record, Status, Trial, UserError
from sweep.store import ledger
from tests.support.running import QUICK, ROOT, entries, kill_group, read_until, start, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
BASE = ["model=published", "model.name=net", "backend=replay", "hardware=inf1_xlarge", "precision=bf16", *QUICK]
HEADER = (
    "model,instance,stack,status,source,precision,batch,cores,replicas,request_batch,in_flight,throughput_items_per_s,"
    "latency_ms_mean,latency_ms_p50,latency_ms_p99,latency_ms_min,build_seconds,placement,reason,log,date,note,failure_kind"
)
ROWS = (
    "net,inf1.xlarge,neuron,ok,a page,bf16,1,1,1,1,1,100,10,9.5,20,8,50,0.99,,,2020,,",
    "net,inf1.xlarge,neuron,ok,a page,bf16,4,1,1,4,1,200,20,19,40,16,60,0.99,,,2020,,",
    "net,inf1.xlarge,neuron,build_failed,a page,bf16,2,1,1,2,1,,,,,,70,0.0,Scheduler Failure!,Error message: "
    "Scheduler Failure!,2020,,",
    "net,inf1.xlarge,neuron,run_failed,a page,bf16,8,1,1,8,1,,,,,,80,,nrt_infer: no device memory,,2020,,device_oom",
    "net,inf1.xlarge,neuron,stopped,a page,bf16,16,1,1,16,1,,,,,,,,planned and not done,,2020,,",
    "net,inf1.xlarge,neuron,ok,a page,bf16,1,4,1,1,1,9000,10,9.5,20,8,50,0.99,,,2020,,",
)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([HEADER, *ROWS]) + "\n")
    return path


def base(table: Path) -> list[str]:
    return [*BASE, f"backend.options.table={table}"]


def make(
    model: str = "resnet50", hardware: str = "inf1_xlarge", options: Mapping[str, Any] = {}, **asked: Any
) -> Trial:
    group = {"name": "replay", "device": "replay", "options": {"table": "resnet50_2020", **options}}
    values = {"precision": "bf16", "batch": 1, "cores": 1, "replicas": 1, **asked}
    return Trial({"name": model}, {"name": "published"}, {"name": hardware}, group, **values)


def by(history: ledger.History, *names: str) -> dict[Any, Record]:
    return {tuple(r.settings[name] for name in names): r for r in history.records.values()}


# --- looking up -------------------------------------------------------------------------------------------------------


def test_trial_finds_its_row() -> None:
    trial = make(request_batch=10, options={"where": {"source": "c8c9c82"}})
    assert Replay.unavailable(trial) is None
    row = Replay.build_options(trial)["row"]
    assert (row["throughput_items_per_s"], row["build_seconds"]) == (509.898, 57.83)


def test_missing_row_names_the_nearest() -> None:
    reason = str(Replay.unavailable(make(batch=3, request_batch=30)))
    assert (
        "no row of table resnet50_2020 for resnet50 precision=bf16 batch=3 cores=1 replicas=1 request_batch=30"
        in reason
    )
    assert "(resnet50_2020:" in reason
    assert "batch=" in reason.partition("the nearest have")[2]
    assert "\n" not in reason
    assert Replay.build_options(make(batch=3)) == {}
    assert "no row of table resnet50_2020 is about model resnt" in str(Replay.unavailable(make(model="resnt")))


def test_several_rows_name_the_column_that_distinguishes_them() -> None:
    reason = str(Replay.unavailable(make(request_batch=10)))
    assert "4 rows fit, source tells them apart: choose one with backend.options.where={source: ...} like " in reason
    for text in re.findall(r"'([^']+)'", reason):
        assert Replay.unavailable(make(request_batch=10, options={"where": {"source": text}})) is None, text
    two = make(hardware="g4dn_xlarge", precision="fp32", batch=8)
    assert "2 rows fit, stack tells them apart: choose one with backend.options.stack like 'tensorflow', 't" in str(
        Replay.unavailable(two)
    )


def test_whole_name_of_a_stack_precedes_a_part_of_it() -> None:
    asked: dict[str, Any] = {"hardware": "g4dn_xlarge", "precision": "fp32", "batch": 8}
    for stack, expected in (
        ("tensorflow", "tensorflow"),
        ("tensorrt", "tensorflow_tensorrt"),
        ("!tensorrt", "tensorflow"),
    ):
        trial = make(options={"stack": stack}, **asked)
        assert Replay.unavailable(trial) is None, stack
        assert Replay.build_options(trial)["row"]["stack"] == expected


def test_instance_family_matches_only_where_no_instance_does() -> None:
    compiled = make(hardware="inf1_6xlarge", cores=16, options={"table": "inf1_compile_sweep_2020"})
    assert Replay.unavailable(compiled) is None
    assert Replay.unavailable(make(hardware="inf2_xlarge", options={"table": "inf1_compile_sweep_2020"})) is not None


def test_row_without_result_is_unavailable(table: Path) -> None:
    reason = Replay.unavailable(make(model="net", batch=16, options={"table": str(table)}))
    assert reason == "mine:6 has no result: stopped: planned and not done"


def test_wrong_options_are_one_line_of_error(table: Path) -> None:
    with pytest.raises(UserError, match=r"a table has no column dat: it has"):
        Replay.unavailable(make(options={"where": {"dat": 1}}))
    with pytest.raises(UserError, match=r"no table resnet50_2021"):
        Replay.unavailable(make(options={"table": "resnet50_2021"}))
    table.write_text(HEADER + "\n" + ROWS[0].replace(",100,", ",many,") + "\n")
    with pytest.raises(UserError, match=r"mine.csv:2: throughput_items_per_s 'many' is not a number"):
        Replay.unavailable(make(model="net", options={"table": str(table)}))
    assert "no buckets" in str(Replay.runs(make(buckets=((224,),))))


def test_withdrawn_hardware_is_replayed_only() -> None:
    host = Host("test", 8, tuple(range(8)), 16000.0, (), (), None)
    gone: dict[str, Any] = {"name": "c5_2xlarge_eia2_xlarge", "device": "eia", "cores": 1, "withdrawn": "gone for good"}
    replayed = make(hardware="", precision="fp32", batch=8)
    replayed = Trial(**{**vars(replayed), "hardware": gone})
    real = Trial(**{**vars(replayed), "backend": {"name": "torch", "device": "cpu", "options": {}}})

    def everything(python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
        return dict.fromkeys(packages, "1")

    found = rules.make_plan([replayed, real], host, everything)
    assert [(entry.status, entry.reason) for entry in found.entries] == [
        (None, ""),
        (Status.UNAVAILABLE, "gone for good"),
    ]


# --- what a row claims ------------------------------------------------------------------------------------------------


def claimed(**values: Any) -> answers.Claim:
    return answers.derive_claim(Row(1, "net", "inf1.xlarge", "neuron", Status.OK, "a page", **values))


def test_unreported_values_follow_from_littles_law_or_are_left_out() -> None:
    rate_only = claimed(throughput_items_per_s=100.0, request_batch=10, in_flight=2.0)
    assert rate_only.mean_ms == pytest.approx(200.0)
    assert "only a throughput is reported: mean latency 200 ms by Little's law with 2 in flight" in rate_only.notes
    latency_only = claimed(
        latency_ms_mean=50.0, latency_ms_p50=49.0, latency_ms_p99=60.0, request_batch=4, in_flight=1.0
    )
    assert latency_only.rate == pytest.approx(80.0)
    lanes = claimed(throughput_items_per_s=100.0, latency_ms_p50=40.0, latency_ms_p99=40.0, request_batch=1)
    assert lanes.notes == ("requests in flight are not stated: 4 by Little's law",)
    assert lanes.mean_ms is None, "a median is no mean"
    refused = claimed(latency_ms_p50=50.0, latency_ms_max=1000.0)
    assert refused.rate is None
    assert any("no throughput can be derived" in note for note in refused.notes)
    assert claimed(build_seconds=1.0).notes == ("the row has no timing: nothing to measure",)


# --- whole sweeps -----------------------------------------------------------------------------------------------------


def test_sweep_is_replayed_from_a_table(tmp_path: Path, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "batch=1,2,3,4,8", base=base(table))
    printed = " ".join(capsys.readouterr().out.split())  # it is wrapped to the terminal
    assert status == 0
    found = by(history, "batch")
    assert {key[0]: record.status.value for key, record in found.items()} == {
        1: "ok",
        2: "build_failed",
        3: "unavailable",
        4: "ok",
        8: "run_failed",
    }
    assert {record.origin for record in found.values()} == {Origin.REPLAYED}
    assert all("-replay-" in record.label for record in found.values())
    best, failed, broken = found[4,], found[2,], found[8,]
    assert failed.failure is not None
    assert failed.failure.kind is FailureKind.PARTIAL_PLACEMENT
    assert failed.reason == "0 % of the operators run on the target: Scheduler Failure!"
    assert failed.failure.seconds == failed.builds[0]["seconds"] == 70.0
    assert "Error message: Scheduler Failure!" in Path(str(failed.failure.log)).read_text()
    assert broken.failure is not None
    assert broken.failure.kind is FailureKind.DEVICE_OOM
    metrics = dict(best.metrics or {})
    assert (metrics["throughput_items_per_s"], metrics["latency_ms_p50"], metrics["build_seconds"]) == (200, 19, 60)
    assert not any(name.endswith(("_low", "_high")) for name in metrics)
    assert best.source is not None
    assert best.source.source == "a page"
    assert not any(record.repeats for record in found.values())
    assert "the builds are reported to have taken 260 s" in printed
    assert "published numbers are not evidence" in printed
    assert "Nothing was run: the best replayed number is net-replay-bf16-b4-c1, 200 items/s, 2x the next" in printed
    assert "interval" not in printed.partition("→")[2]
    finished = entries(history, "finish")[-1]["verdict"]
    assert (finished["kind"], finished["winner"], finished["ranking"][0]) == ("none", None, best.key)


def test_impossible_numbers_are_rejected(tmp_path: Path, table: Path) -> None:
    _, history = sweep(tmp_path, "cores=4", base=base(table))
    (record,) = history.records.values()
    assert record.status is Status.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureKind.IMPLAUSIBLE_TIMING
    assert "Little's law" in record.reason
    assert record.origin is Origin.REPLAYED


def test_unmet_constraint_names_the_nearest_result(tmp_path: Path, table: Path, capsys: Any) -> None:
    sweep(tmp_path, "batch=1,4", "objective.latency_ms_p99_max=5", base=base(table))
    line = capsys.readouterr().out.partition("→")[2]
    assert "Nothing was run, and no replayed result meets the constraints; the nearest is net-replay" in " ".join(
        line.split()
    )


@pytest.mark.process
def test_kill_nine_then_resume_then_reproduce(tmp_path: Path, table: Path) -> None:
    process = start(tmp_path, "batch=1,4", base=base(table))
    read_until(process, lambda line: line.startswith("build 1/"))
    kill_group(process)
    done = subprocess.run(
        [sys.executable, "-m", "sweep", "resume", "last", "--outputs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    history = ledger.History(ledger.find(tmp_path, "last"))
    assert not entries(history, "repeat")
    assert {(r.status, r.origin) for r in history.records.values()} == {(Status.OK, Origin.REPLAYED)}
    key = next(iter(history.records))
    again = subprocess.run(
        [sys.executable, "-m", "sweep", "reproduce", key, "--outputs", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert "reproduced: the table says the same again; it was replayed" in again.stdout


def test_reuse_keeps_a_replay_marked_as_replayed(tmp_path: Path, table: Path) -> None:
    for _ in range(2):
        _, history = sweep(tmp_path, "reuse=true", base=base(table))
        assert {record.origin for record in history.records.values()} == {Origin.REPLAYED}


def test_search_runs_on_replays(tmp_path: Path, table: Path) -> None:
    words = ["hydra/sweeper=optuna", "search.budget=2 trials", "search.batch=1", "batch=1,2,4"]
    status, history = sweep(tmp_path, *words, base=base(table))
    assert status == 0
    assert history.records
    assert {record.origin for record in history.records.values()} == {Origin.REPLAYED}


def test_model_of_a_table_is_invalid_for_another_backend(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, base=["model=published", "model.name=net", "backend=torch", *QUICK])
    (record,) = history.records.values()
    assert record.status is Status.INVALID
    assert "only backend=replay answers" in record.reason


def test_every_shipped_row_with_a_result_can_be_judged() -> None:
    """No shipped row breaks the derivation, whatever it leaves out."""
    rows = [row for path in tables.shipped().values() for row in tables.read(path) if row.status is Status.OK]
    claims = [answers.derive_claim(row) for row in rows]
    assert all(number is None or 0 < number < 1e6 for claim in claims for number in (claim.rate, claim.mean_ms))
    assert sum(claim.rate is not None for claim in claims) > 100

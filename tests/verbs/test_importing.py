"""Imported tables: what the gates find in the numbers, what is written, and what never happens to measured trials."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep import verbs
from sweep.__main__ import VERBS
from sweep.backends.replay import tables
from sweep.backends.replay.tables import Row
from sweep.config import compose
from sweep.report.mlflow import database
from sweep.spec import FailureKind, Origin, Record, Status, UserError
from sweep.spec.settings import Gates
from sweep.store import ledger
from sweep.verbs import importing
from sweep.verdict import plausibility, select
from tests.support.records import THROUGHPUT, make_record

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
HEADER = "model,instance,stack,status,source,precision,batch,request_batch,throughput_items_per_s,accuracy,note"
T4: list[dict[str, Any]] = [
    {"name": "g4dn_xlarge", "peak_flops": {"fp32": 8.1e12, "int8": None}},
    {"name": "g4dn_2xlarge", "peak_flops": {"fp32": 8.1e12, "int8": None}},
]
PLAIN = Row(2, "resnet50", "g4dn.xlarge", "tensorflow_tensorrt", Status.OK, "a page", precision="fp32", batch=8)


def judge(**changes: Any) -> list[str]:
    found = plausibility.judge(replace(PLAIN, **changes), T4, Gates(agreement_min={"fp32": 0.999}))
    return [f"{failure.kind.value}: {failure.summary}" for failure in found]


# --- the gates, row by row --------------------------------------------------------------------------------------------


def test_plausible_rows_pass() -> None:
    timing = {"request_batch": 8, "in_flight": 1, "throughput_items_per_s": 100.0, "latency_ms_mean": 80.0}
    ends = {"latency_ms_min": 70.0, "latency_ms_p50": 79.0, "latency_ms_p99": 90.0, "latency_ms_max": 95.0}
    shares = {"accuracy": 0.75, "agreement": 1.0, "placement": 0.9964, "items": 50_000}
    assert judge(**timing, **ends, **shares, flops_per_item=7.7e9) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"request_batch": 8, "in_flight": 1, "throughput_items_per_s": 1666.69, "latency_ms_mean": 6.10138},
            "implausible_timing: 1667 items/s x 6.101 ms / 8 items a request = 1.27 in flight, but 1 were: 27 % off",
        ),
        (
            {"request_batch": 8, "in_flight": 1, "throughput_items_per_s": 1666.69, "latency_ms_p50": 6.2},
            "(by the median, no mean is stated)",
        ),
        (
            {"throughput_items_per_s": 7869.37, "flops_per_item": 7.7e9},
            "implausible_timing: 6.06e+13 FLOP/s is 7.48x the device's peak of 8.1e+12 at fp32",
        ),
        (
            {"instance": "g4dn", "throughput_items_per_s": 4683.57, "flops_per_item": 7.7e9},
            "is 4.45x the device's peak",
        ),
        ({"latency_ms_mean": 5.0, "latency_ms_min": 6.0}, "latency min of 6 ms is above mean of 5 ms"),
        ({"latency_ms_mean": 9.0, "latency_ms_max": 8.0}, "latency mean of 9 ms is above max of 8 ms"),
        ({"latency_ms_p50": 9.0, "latency_ms_p99": 8.0}, "latency p50 of 9 ms is above p99 of 8 ms"),
        ({"latency_ms_mean": 123.6, "latency_ms_p99": 116.5}, "a giant request or two, as without warm-up"),
        ({"throughput_items_per_s": 0.0}, "throughput_items_per_s is 0, which no working trial has"),
        ({"latency_ms_p50": 0.0, "throughput_items_per_s": 5.0, "in_flight": 1, "request_batch": 8}, "p50 is 0"),
        ({"accuracy": 74.9}, "wrong_output: accuracy 74.9 is no share of one, write a percentage as 0.749"),
        ({"agreement": 0.9, "items": 3000}, "wrong_output: same answer as the original model for 90 %"),
        ({"placement": 0.4, "build_seconds": 9.0}, "partial_placement: only 40 % of the operators run on the target"),
    ],
)
def test_implausible_rows_are_rejected_by_their_numbers(changes: dict[str, Any], says: str) -> None:
    told = judge(**changes)
    assert len(told) == 1
    assert says in told[0]


@pytest.mark.parametrize(
    "changes",
    [
        {"throughput_items_per_s": 1666.69, "latency_ms_mean": 6.1, "request_batch": 8},  # in_flight not stated
        {"throughput_items_per_s": 1666.69, "latency_ms_mean": 6.1, "in_flight": 1},  # request_batch not stated
        {"throughput_items_per_s": 7869.37},  # FLOPs not stated
        {"throughput_items_per_s": 7869.37, "flops_per_item": 7.7e9, "precision": "int8"},  # peak not known
        {"throughput_items_per_s": 7869.37, "flops_per_item": 7.7e9, "instance": "p9.large"},  # type not declared
        {"agreement": 0.9},  # of how many items is not stated
        {"status": Status.BUILD_FAILED, "placement": 0.0, "reason": "x"},  # it says itself that it failed
    ],
)
def test_missing_values_are_not_guessed(changes: dict[str, Any]) -> None:
    assert judge(**changes) == []


# --- an import --------------------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path: Path, mlflow_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shutil.copy(mlflow_store, tmp_path / "mlflow.db")
    return tmp_path


def table(folder: Path, *lines: str, name: str = "mine.csv") -> Path:
    path = folder / name
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def runs(outputs: Path) -> list[Any]:
    client = database.open_client(f"{database.PREFIX}{outputs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(importing.EXPERIMENT)
    return list(client.search_runs([experiment.experiment_id])) if experiment else []


def test_shipped_table_goes_to_ledger_and_mlflow(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verbs.run(["import", "published/resnet50_2020.csv", "--outputs", str(outputs)]) == 0
    printed = capsys.readouterr().out
    assert "50 rows: 31 ok, 1 run failed, 6 stopped, 12 flagged implausible" in printed
    assert "async_timing, 19 rows: The timer stops" in printed
    (folder,) = ledger.sweeps(outputs)
    assert folder.name.endswith("-reported")
    history = ledger.History(folder)
    assert history.finished
    assert history.header["table"]["name"] == "resnet50_2020"
    records = list(history.records.values())
    assert {record.origin for record in records} == {Origin.REPORTED}
    assert not any(name.endswith(("_low", "_high")) for record in records for name in record.metrics or {})
    fast = next(r for r in records if (r.metrics or {}).get("throughput_items_per_s") == 7869.37)
    assert fast.status is Status.REJECTED
    assert fast.failure is not None
    assert fast.failure.kind is FailureKind.IMPLAUSIBLE_TIMING
    assert "7.48x the device's peak" in fast.reason
    sent = {run.data.tags.get("sweep.key"): run for run in runs(outputs)}
    assert len(sent) == 51
    tags = sent[fast.key].data.tags
    assert tags["sweep.origin"] == "reported"
    assert tags["sweep.date"] == "2020-10-19"
    assert tags["sweep.mistakes"] == "mean_of_rates;async_timing;wall_time_contradicts_rate"
    assert "ai-accelerators-examples" in tags["sweep.source"]
    assert tags["sweep.reason"] == fast.reason
    assert sent[fast.key].data.metrics["latency_ms_p99"] == 23.9022
    assert (folder / "resnet50_2020.csv").read_bytes() == tables.find("resnet50_2020").read_bytes()


def test_flagged_rows_of_shipped_tables() -> None:
    types, limits = compose.load_hardware_types(), compose.load_settings().gates
    flagged = Counter[str]()
    for name, path in tables.shipped().items():
        found = importing.make_records(importing.Table(path, tables.read(path)), "s", types, limits)
        flagged[name] = sum(record.status is Status.REJECTED for record in found)
    assert flagged == {
        "resnet50_2020": 12,
        "aws_neuron_benchmarks": 1,
        "aws_inf1_resnet50": 0,
        "eva02_clip_2024": 0,
        "inf1_compile_sweep_2020": 0,
    }


GOOD = "Tiny,inf1.xlarge,tensorflow_neuron,ok,a page,bf16,5,50,{},0.9,"


def test_importing_again_changes_nothing(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = table(outputs, GOOD.format(9000))
    importing.run([str(path), str(path)], outputs)
    before = {run.info.run_id for run in runs(outputs)}
    copy = table(outputs, "", GOOD.format("9000.0"), name="copy.csv")
    capsys.readouterr()
    importing.run([str(copy)], outputs)
    (folder,) = ledger.sweeps(outputs)
    assert capsys.readouterr().out == f"copy: already imported as {folder.name}\n"
    assert {run.info.run_id for run in runs(outputs)} == before
    assert len(before) == 2


def test_killed_import_is_completed(outputs: Path) -> None:
    path = table(outputs, GOOD.format(9000))
    importing.run([str(path)], outputs)
    (folder,) = ledger.sweeps(outputs)
    lines = (folder / ledger.LEDGER).read_bytes().splitlines(keepends=True)
    (folder / ledger.LEDGER).write_bytes(b"".join(lines[:2]))  # header and record, no finish
    importing.run([str(path)], outputs)
    assert ledger.sweeps(outputs) == [folder]
    assert ledger.History(folder).finished
    assert len(runs(outputs)) == 2


def test_bad_table_stops_the_import_of_all(outputs: Path) -> None:
    good, bad = table(outputs, GOOD.format(9000)), table(outputs, "tiny,inf1.xlarge", name="half.csv")
    with pytest.raises(UserError, match=r"half\.csv:2: 2 cells"):
        importing.run([str(good), str(bad)], outputs)
    assert ledger.sweeps(outputs) == []
    assert runs(outputs) == []


def test_unreachable_store_does_not_stop_the_import(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    importing.run([str(table(outputs, GOOD.format(9000)))], outputs, "http://127.0.0.1:9")
    (folder,) = ledger.sweeps(outputs)
    assert f"python -m sweep sync {folder.name}" in capsys.readouterr().out
    assert ledger.History(folder).finished


# --- beside measured trials -------------------------------------------------------------------------------------------


def test_last_never_means_an_imported_table(outputs: Path) -> None:
    importing.run([str(table(outputs, GOOD.format(9000)))], outputs)
    with pytest.raises(UserError, match="no sweep was run"):
        ledger.find(outputs, "last")
    ran = outputs / "sweeps" / "20200101-000000"
    book = ledger.Ledger(ran)
    book.append("sweep", id=ran.name)
    book.close()
    assert ledger.find(outputs, "last") == ran
    (imported,) = (folder for folder in ledger.sweeps(outputs) if folder != ran)
    with pytest.raises(UserError, match="imported table"):
        verbs.run(["resume", imported.name, "--outputs", str(outputs)])


def test_reported_rows_need_the_include_option(outputs: Path) -> None:
    measured = [make_record(model="tiny"), make_record(model="tiny", batch=5)]
    with pytest.raises(UserError, match="python -m sweep import"):
        importing.load_reported(outputs, measured, ["reported"])
    importing.run([str(table(outputs, GOOD.format(9000), GOOD.format(8000).replace("Tiny", "other")))], outputs)
    assert importing.load_reported(outputs, measured, []) == []
    (beside,) = importing.load_reported(outputs, measured, ["reported"])
    assert beside.settings["model"] == "tiny"
    assert beside.origin is Origin.REPORTED
    with pytest.raises(UserError, match="--include replayed: "):
        importing.load_reported(outputs, measured, ["replayed"])


def test_corrected_table_replaces_the_number(outputs: Path) -> None:
    importing.run([str(table(outputs, GOOD.format(9000)))], outputs)
    importing.run([str(table(outputs, GOOD.format(4000)))], outputs)
    assert len(ledger.sweeps(outputs)) == 2
    (beside,) = importing.load_reported(outputs, [make_record(model="tiny")], ["reported"])
    assert beside.metrics is not None
    assert beside.metrics["throughput_items_per_s"] == 4000


def test_verbs_show_measured_and_reported_with_origin(
    outputs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    importing.run([str(table(outputs, GOOD.format(9_000_000)))], outputs)
    measured = [make_record(model="tiny", repeats=3), make_record(model="tiny", batch=5, repeats=3)]
    ran = outputs / "sweeps" / "20200101-000000"
    book = ledger.Ledger(ran)
    book.append("sweep", id=ran.name, settings=replace(compose.load_settings(), outputs=str(outputs)))
    for record in measured:
        book.append("record", record=record)
    book.append("finish", verdict=None)
    book.close()
    capsys.readouterr()
    verbs.run(["trials", "--json", "--outputs", str(outputs)])
    assert {row["origin"] for row in json.loads(capsys.readouterr().out)} == {"measured"}
    verbs.run(["trials", "--json", "--include", "reported", "--outputs", str(outputs)])
    assert Counter(row["origin"] for row in json.loads(capsys.readouterr().out)) == {"measured": 2, "reported": 1}
    verbs.run(["best", "--include", "reported", "--outputs", str(outputs)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "9,000,000 items/s (reported, no spread known)" in shown
    assert " reported " in shown.partition("→")[0]
    assert {"import", "verify"} < set(VERBS)


# --- the verdict ------------------------------------------------------------------------------------------------------


def published(throughput: float, **axes: Any) -> Record:
    record = make_record(throughput=throughput, origin=Origin.REPORTED, repeats=0, backend="neuron", **axes)
    return replace(record, key="p" + record.key[1:], metrics={"throughput_items_per_s": throughput})


def test_reported_number_never_wins_and_never_loses() -> None:
    measured = [make_record(throughput=rate, repeats=4, batch=batch) for rate, batch in ((1000, 1), (500, 5))]
    alone = select.choose(measured, THROUGHPUT)
    assert alone.kind == "winner"
    for rate in (10.0, 700.0, 99_000.0):
        with_one = select.choose([*measured, published(rate)], THROUGHPUT)
        assert (with_one.kind, with_one.winner) == (alone.kind, alone.winner)
        assert with_one.more_repeats == alone.more_repeats
        reason = with_one.reasons[published(rate).key]
        assert reason.startswith("reported, no spread known: ")
        assert "dominated" not in reason
        assert published(rate).key in with_one.ranking
        assert published(rate).key not in (*with_one.tied, *with_one.front)
        assert ("Reported as better" in with_one.sentence) is (rate > 1000)


def test_of_reported_numbers_alone_nothing_is_chosen() -> None:
    verdict = select.choose([published(10.0), published(20.0, batch=5)], THROUGHPUT)
    assert (verdict.kind, verdict.winner, verdict.tied) == ("none", None, ())
    assert verdict.ranking[0] == published(20.0, batch=5).key
    assert verdict.sentence.startswith("Nothing was run: the best reported number is ")
    assert "no spread known" in verdict.sentence


def test_reported_numbers_do_not_replace_missing_measurements() -> None:
    failed = make_record("build_failed")
    verdict = select.choose([failed, published(20.0)], THROUGHPUT)
    assert (verdict.kind, verdict.winner) == ("none", None)
    assert "1 build failed" in verdict.sentence

"""buckets=auto: a cost curve from powers of two, the best list for every k, and the best of them measured."""

import json
from pathlib import Path

import pytest

from sweep import batching, materials
from sweep.engine import auto_buckets
from sweep.spec import Status
from tests.sweeping import QUICK, entries, sweep

BAG = [
    "backend=fake",
    "model=custom",
    "model._target_=tests.text_workloads.model",
    "model.format=numpy",
    "model.requires=[]",
    "model.bucket_dims={input_ids:[1],attention_mask:[1]}",
    "data=custom",
    "data._target_=tests.text_workloads.texts",
    "+data.longest=128",
    "+data.count=60",
    *QUICK,
]
SLOW = ["backend.options.latency_ms=0.0", "backend.options.unit_ms=0.05"]  # an element costs so much


def test_auto_measures_guesses_and_the_best_lists(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "buckets=auto", "bucketing.max=3", "bucketing.measure=2", *SLOW, base=BAG)
    assert status == 0
    (found,) = json.loads((history.folder / auto_buckets.FILE).read_text())
    rows = found["rows"]
    assert [row["k"] for row in rows if row["best_for_k"]] == [1, 2, 3]
    assert {row["name"] for row in rows} == {"best", "powers of two", "pad to max"}
    measured = [row for row in rows if row["measured"]]
    assert len(measured) == 4  # both guesses and two lists
    for row in measured:  # the device takes exactly a time by size, so that the curve must be right
        assert row["status"] == "ok"
        assert row["measured"]["weights"] == "traffic"
        predicted = row["predicted"]["item_latency_ms"]
        assert row["measured"]["item_latency_ms_mean"] == pytest.approx(predicted, rel=0.25)
    ordered = sorted(measured, key=lambda row: row["predicted"]["item_latency_ms"])
    rates = [row["measured"]["throughput_items_per_s"] for row in ordered]
    assert rates[0] > rates[-1]


def test_builds_are_shared_by_shape(tmp_path: Path) -> None:
    """Three lists sharing shapes: as many builds as there are distinct shapes."""
    _, history = sweep(tmp_path, "buckets=[128],[32,128],[32,64,128]", *SLOW, base=BAG)
    assert {record.status for record in history.records.values()} == {Status.OK}
    assert len(entries(history, "build")) == 3


def test_more_buckets_waste_less_and_every_bucket_says_what_it_did(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "buckets=[128],[32,64,128]", "batch=4", *SLOW, base=BAG)
    one, three = sorted(history.records.values(), key=lambda record: len(record.settings["buckets"]))
    assert one.repeats[0].notes["padding"] > three.repeats[0].notes["padding"] > 0
    for repeat in three.repeats:
        told = repeat.notes["buckets"]
        assert [each["bucket"] for each in told] == [[32], [64], [128]]
        assert sum(each["items"] for each in told) == repeat.items
        assert sum(each["requests"] for each in told) == repeat.requests
    assert three.metrics is not None
    assert three.metrics["agreement"] == 1.0  # against answers to samples without padding


def test_a_sample_that_fits_no_bucket_is_counted_and_nothing_is_cut(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "buckets=[8]", *SLOW, base=BAG)
    (record,) = history.records.values()
    assert (status, record.status) == (2, Status.INVALID)
    assert "inputs fit no bucket of [[8]]" in record.reason
    assert "add a bucket of" in record.reason


def test_a_bucket_whose_build_fails_fails_the_trial_and_is_named(tmp_path: Path) -> None:
    fault = ["backend.options.fault=build_raise", "backend.options.fault_when={bucket:[64]}"]
    _, history = sweep(tmp_path, "buckets=[32,64,128],[32,128]", *fault, *SLOW, base=BAG)
    two, three = sorted(history.records.values(), key=lambda record: len(record.settings["buckets"]))
    assert (two.status, three.status) == (Status.OK, Status.BUILD_FAILED)
    assert "bucket 64" in three.reason


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["bucketing.traffic=nowhere.csv"], "cannot read nowhere.csv"),
        (["model.bucket_dims=null"], "declares no bucket dimension"),
        (["hydra/sweeper=optuna", "batch=1,2"], "buckets=auto searches by itself"),
        (["bucketing.max=0"], "bucketing.max must be an integer >= 1"),
        (["bucketing.minimise=median"], "bucketing.minimise must be one of mean, p99"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lines: list[str], words: str
) -> None:
    from sweep.__main__ import run

    assert run([*BAG, f"outputs={tmp_path}", "buckets=auto", *lines]) == 1
    assert words in capsys.readouterr().err


def test_traffic_of_a_file_decides_the_lists(tmp_path: Path) -> None:
    traffic = tmp_path / "sizes.csv"
    traffic.write_text("size,count\n10,1000\n128,1\n")
    _, history = sweep(
        tmp_path / "out", "buckets=auto", "bucketing.max=2", f"bucketing.traffic={traffic}", *SLOW, base=BAG
    )
    (found,) = json.loads((history.folder / auto_buckets.FILE).read_text())
    assert [row["buckets"] for row in found["rows"] if row["best_for_k"]] == [[[128]], [[10], [128]]]


def test_the_sizes_that_lists_are_chosen_for_are_those_of_the_data(tmp_path: Path) -> None:
    sweep(tmp_path, "buckets=[128]", *SLOW, base=BAG)
    (folder,) = (tmp_path / "store" / "data").iterdir()
    sizes = materials.read_sizes(folder)
    assert sizes is not None
    assert (batching.route(sizes, [(128,)]) == 0).all()

"""buckets=auto: a cost curve from powers of two, the best list for every k, and the best of them measured."""

import json
from collections import Counter
from pathlib import Path

import pytest

from sweep.backends.fake import Fake
from sweep.engine.search import buckets
from sweep.spec import Json, Status
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.worker import arrays, batching
from tests.support.pool import FakePool
from tests.support.running import QUICK, entries, kill_group, read_until, start, sweep

BAG = [
    "backend=fake",
    "model=custom",
    "model._target_=tests.support.text_workloads.model",
    "model.format=numpy",
    "model.requires=[]",
    "model.bucket_dims={input_ids:[1],attention_mask:[1]}",
    "data=custom",
    "data._target_=tests.support.text_workloads.texts",
    "+data.longest=128",
    "+data.count=60",
    "bucketing.rounds=1",
    *QUICK,
]
SLOW = ["backend.options.latency_ms=0.0", "backend.options.unit_ms=0.05"]  # an element costs so much
EXACT = ["backend.options.latency_ms=0.0", "backend.options.unit_ms=0.02"]
EXACT += ["effort.window_seconds=0.1", "effort.min_requests=60"]  # every bucket is hit

pytestmark = pytest.mark.usefixtures("fake_pool")


def test_auto_measures_guesses_and_the_best_lists(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "buckets=auto", "bucketing.max=3", "bucketing.measure=2", *EXACT, base=BAG)
    assert status == 0
    (found,) = json.loads(SweepFolder(history.folder).buckets.read_text())
    rows = found["rows"]
    assert [row["k"] for row in rows if row["best_for_k"]] == [1, 2, 3]
    assert {row["name"] for row in rows} == {"best", "powers of two", "pad to max"}
    measured = [row for row in rows if row["measured"]]
    assert len(measured) == 4  # both guesses and two lists
    for row in measured:  # the device takes exactly a time by size, so that the curve must be right
        assert row["status"] == "ok"
        assert row["measured"]["weights"] == "traffic"
        predicted = row["predicted"]["item_latency_ms"]
        assert row["measured"]["item_latency_ms_mean"] == pytest.approx(predicted, rel=0.02)
    ordered = sorted(measured, key=lambda row: row["predicted"]["item_latency_ms"])
    assert ordered[-1]["buckets"] == [[128]]
    rates = [row["measured"]["throughput_items_per_s"] for row in ordered]
    assert rates[0] > 1.2 * rates[-1]
    # What the verdict compares was measured in the same blocks: the guesses once more, beside the lists
    kept = history.records.values()
    assert len({record.measured_together for record in kept}) == 1
    for record in kept:
        rates = [repeat.throughput_items_per_s for repeat in record.repeats]
        assert any(row["measured"]["throughput_items_per_s"] == pytest.approx(sum(rates) / 3) for row in measured)


def test_search_repeats_with_what_the_first_lists_showed(tmp_path: Path) -> None:
    """Sizes that are no multiple of 8 cost more than a curve through powers of two says."""
    uneven = [*EXACT, "backend.options.uneven_ms=0.8"]
    asked = ["buckets=auto", "bucketing.max=3", "bucketing.measure=1", "bucketing.rounds=3"]
    status, history = sweep(tmp_path, *asked, *uneven, base=BAG)
    assert status == 0
    (group,) = found(tmp_path)
    measured = [row for row in group["rows"] if row["measured"]]
    first = [row for row in measured if row["name"] == "best before"]
    assert first
    assert first[0]["predicted"]["item_latency_ms"] < 0.95 * first[0]["measured"]["item_latency_ms_mean"]
    best = min(measured, key=lambda row: row["measured"]["item_latency_ms_mean"])
    assert best["measured"]["item_latency_ms_mean"] < first[0]["measured"]["item_latency_ms_mean"]
    assert len({record.measured_together for record in history.records.values()}) == 1
    count = Counter((entry["identity"], entry["measurement"]["index"]) for entry in entries(history, "repeat"))
    assert set(count.values()) == {1}


@pytest.mark.usefixtures("warm_pool")
def test_builds_are_shared_by_shape(tmp_path: Path) -> None:
    """Three lists sharing shapes: as many builds as there are distinct shapes."""
    _, history = sweep(tmp_path, "buckets=[128],[32,128],[32,64,128]", *SLOW, base=BAG)
    assert {record.status for record in history.records.values()} == {Status.OK}
    assert len(entries(history, "build")) == 3


def test_more_buckets_pad_less_and_report_what_each_did(tmp_path: Path) -> None:
    """Over whole passes: what a part of one happens to hold may be padded more or less."""
    _, history = sweep(tmp_path, "buckets=[128],[32,64,128]", "batch=4", "+data.count=24", *EXACT, base=BAG)
    one, three = sorted(history.records.values(), key=lambda record: len(record.settings["buckets"]))
    assert (one.repeats[0].padding or 0) > (three.repeats[0].padding or 0) > 0
    for repeat in three.repeats:
        rows = repeat.buckets
        assert [row.bucket for row in rows] == [(32,), (64,), (128,)]
        assert sum(row.items for row in rows) == repeat.items
        assert sum(row.requests for row in rows) == repeat.requests
        assert all((row.latency_ms_mean or 0) >= 4 * 0.02 * row.bucket[0] for row in rows)  # it sleeps so long
    assert three.metrics is not None
    assert three.metrics["agreement"] == 1.0  # against answers to samples without padding


def test_sample_that_fits_no_bucket_is_counted_and_never_cut(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "buckets=[8]", *SLOW, base=BAG)
    (record,) = history.records.values()
    assert (status, record.status) == (2, Status.INVALID)
    assert "inputs fit no bucket of [[8]]" in record.reason
    assert "add a bucket of" in record.reason


def test_failed_bucket_fails_its_trial_by_name(tmp_path: Path) -> None:
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


def mostly_short(folder: Path) -> Path:
    path = folder / "sizes.csv"
    path.write_text("size,count\n10,1000\n128,1\n")
    return path


def test_traffic_file_decides_the_lists(tmp_path: Path) -> None:
    traffic = mostly_short(tmp_path)
    _, history = sweep(
        tmp_path / "out", "buckets=auto", "bucketing.max=2", f"bucketing.traffic={traffic}", *EXACT, base=BAG
    )
    (found,) = json.loads(SweepFolder(history.folder).buckets.read_text())
    assert [row["buckets"] for row in found["rows"] if row["best_for_k"]] == [[[128]], [[10], [128]]]


def test_lists_are_chosen_for_the_sizes_of_the_data(tmp_path: Path) -> None:
    sweep(tmp_path, "buckets=[128]", *SLOW, base=BAG)
    (folder,) = (path.parent for path in (tmp_path / "store" / "data").glob("*/data.json"))
    sizes = arrays.read_sizes(folder)
    assert sizes is not None
    assert (batching.route(sizes, [(128,)]) == 0).all()


def found(outputs: Path) -> list[Json]:
    """The entries of the last sweep's buckets.json."""
    folder = ledger.find(outputs, "last")
    told: list[Json] = json.loads(SweepFolder(folder).buckets.read_text())
    return told


GAINS = ["buckets=auto", "bucketing.max=2", "bucketing.measure=1"]


@pytest.mark.parametrize("repeats", [2, 6, 8], ids=["among the guesses", "after them", "among the best lists"])
def test_interrupted_search_for_lists_resumes(tmp_path: Path, fake_pool: FakePool, repeats: int) -> None:
    def before(entry: str) -> None:
        if fake_pool.entries.count("measure") > repeats:
            raise KeyboardInterrupt

    fake_pool.before = before
    traffic = f"bucketing.traffic={mostly_short(tmp_path)}"
    status, history = sweep(tmp_path, *GAINS, traffic, *SLOW, base=BAG)
    assert status == 130
    assert len(entries(history, "repeat")) == repeats
    fake_pool.before = lambda entry: None
    group = resumed(tmp_path)
    if repeats < 6:  # the guesses were measured once more, beside the lists
        assert group["control"]["moved"] == 0


@pytest.mark.process
@pytest.mark.usefixtures("warm_pool")
def test_killed_search_for_lists_resumes(tmp_path: Path) -> None:
    """The traffic is such that a second bucket gains ninefold: no disturbance hides that."""
    process = start(tmp_path, *GAINS, f"bucketing.traffic={mostly_short(tmp_path)}", *SLOW, base=BAG)
    read_until(process, lambda line: line.startswith("measure 3/6"))
    kill_group(process)
    control = resumed(tmp_path)["control"]
    assert control["moved"] == pytest.approx(control["after_ms"] / control["before_ms"] - 1)


def resumed(outputs: Path) -> Json:
    """The group of a search that was stopped: it comes to its end, and no repeat is lost or doubled."""
    from sweep.__main__ import run

    assert run(["resume", "--outputs", str(outputs)]) == 0
    history = ledger.History(ledger.find(outputs, "last"))
    count = Counter((entry["identity"], entry["measurement"]["index"]) for entry in entries(history, "repeat"))
    assert set(count.values()) == {1}
    assert {record.status for record in history.records.values()} == {Status.OK}
    (group,) = found(outputs)
    assert group["auto"]
    assert [row["k"] for row in group["rows"] if row["best_for_k"]] == [1, 2]
    assert [row["name"] for row in group["rows"] if row["measured"]] == ["pad to max", "best", "powers of two"]
    return group


def test_plan_shows_the_first_lists_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    assert run([*BAG, f"outputs={tmp_path}", "buckets=auto", "plan=only"]) == 0
    said = capsys.readouterr().out
    assert "1 2 4 8 16 32 64 128" in said or "2 4 8 16 32 64 128" in said
    assert buckets.LATER in " ".join(said.split())
    assert not list(tmp_path.rglob("*.npy"))
    assert not list(tmp_path.glob("sweeps/*"))


def test_dynamic_sizes_that_do_not_build_are_a_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fake device takes fixed shapes: one that says it takes any fails, and everything else goes on."""
    monkeypatch.setattr(Fake, "dynamic_sizes", True)
    fault = ["backend.options.fault=build_raise", "backend.options.fault_when={bucket:[]}"]
    status, _ = sweep(tmp_path, "buckets=auto", "bucketing.max=2", "bucketing.measure=1", *fault, *EXACT, base=BAG)
    assert status == 0
    (group,) = found(tmp_path)
    (row,) = [row for row in group["rows"] if row["name"] == "dynamic"]
    assert (row["buckets"], row["k"], row["status"], row["measured"]) == ("dynamic", None, "build_failed", None)
    assert row["reason"]
    assert len([row for row in group["rows"] if row["measured"]]) == 3
    assert "dynamic: build failed" in capsys.readouterr().out


def test_limit_that_no_list_fits_leaves_the_guesses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "buckets=auto", "bucketing.build_seconds=0.001", *SLOW, base=BAG)
    assert status == 0
    assert len(history.records) == 2
    (group,) = found(tmp_path)
    assert "no list of buckets fits" in group["problem"]
    assert all(row["over"] for row in group["rows"])
    assert "no list of buckets fits" in " ".join(capsys.readouterr().out.split())


def test_declared_lists_are_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    sweep(tmp_path, "buckets=[128],[64,128],[32,64,128]", "batch=1,2", *EXACT, base=BAG)
    capsys.readouterr()
    assert run(["buckets", "--outputs", str(tmp_path), "--json"]) == 0
    groups = json.loads(capsys.readouterr().out)
    assert [(group["batch"], group["auto"]) for group in groups] == [(1, False), (2, False)]
    for group in groups:
        assert [(row["name"], row["buckets"]) for row in group["rows"]] == [
            ("pad to max", [[128]]),
            ("asked", [[64], [128]]),
            ("asked", [[32], [64], [128]]),
        ]
        assert all(row["measured"]["item_latency_ms_mean"] > 0 for row in group["rows"])
        assert [point["size"] for point in group["curve"]] == [[32], [64], [128]]
    assert run(["buckets", "--outputs", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "Static buckets pay here: " in said
    assert "each bucket of " in said


def test_sweep_without_buckets_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    _, history = sweep(tmp_path)
    assert not SweepFolder(history.folder).buckets.exists()
    assert run(["buckets", "--outputs", str(tmp_path)]) == 1
    assert "has measured no lists of buckets" in capsys.readouterr().err

"""Whole sweeps under each load, on a fake model: records, metrics, samples and reasons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweep.report import events
from sweep.spec import Record, Status
from sweep.store import ledger
from sweep.store.samples import load_samples
from sweep.worker import window
from tests.engine.test_padding import BAG, TORCH
from tests.support.running import BUSY, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
SERVED = ["backend.options.latency_ms=2", "effort.repeats=2", "effort.window_seconds=0.2", *BUSY]


def records(history: ledger.History) -> list[Record]:
    return list(history.records.values())


def one(outputs: Path, *overrides: str) -> Record:
    _, history = sweep(outputs, *SERVED, *overrides)
    (record,) = records(history)
    return record


def samples(record: Record, repeat: int = 0) -> dict[str, np.ndarray]:
    with np.load(record.repeats[repeat].samples) as stored:
        return {name: stored[name] for name in stored.files}


def test_random_arrivals_are_served_in_batches(tmp_path: Path) -> None:
    record = one(tmp_path, "load=poisson", "load.rate=150", "batch=4", "load.max_wait_ms=3")
    assert record.status is Status.OK, record.reason
    assert record.metrics is not None
    (load, _) = (repeat.load for repeat in record.repeats)
    assert load is not None
    assert (load.scenario, load.rate) == ("poisson", 150.0)
    assert load.arrived - load.left == load.finished == record.repeats[0].items
    assert 1.0 <= load.batch_mean <= 4.0
    assert record.metrics["arrival_rate_items_per_s"] == 150.0
    stored = samples(record)
    assert len(stored["due_ns"]) == len(stored["done_ns"]) == stored["items"].sum() > len(stored["start_ns"])
    assert (np.diff(stored["due_ns"]) >= 0).all()
    latency = load_samples(record.repeats[0].samples)
    assert latency.tolist() == (stored["done_ns"] - stored["due_ns"]).tolist()
    assert latency.min() >= 8e6  # a batch of 4 takes 8 ms however full it is
    assert record.metrics["sample_count"] == sum(repeat.items for repeat in record.repeats)
    assert record.repeats[0].latency_ms_mean == pytest.approx(latency.mean() / 1e6)


def test_trials_share_arrivals_and_repeats_do_not(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, *SERVED, "load=poisson", "load.rate=100", "backend.options.latency_ms=1,2")
    due = [
        [stored["due_ns"] - stored["due_ns"][0] for stored in (samples(record, repeat) for repeat in (0, 1))]
        for record in records(history)
    ]
    assert due[0][0].tolist() == due[1][0].tolist()
    assert due[0][1].tolist() == due[1][1].tolist() != due[0][0].tolist()


@pytest.mark.usefixtures("warm_pool")
def test_replicas_share_one_queue(tmp_path: Path) -> None:
    record = one(tmp_path, "load=poisson", "load.rate=600", "replicas=2")
    assert record.status is Status.OK, record.reason
    stored = samples(record)
    assert set(stored["replica"].tolist()) == {0, 1}
    assert len(np.unique(stored["due_ns"])) == len(stored["due_ns"])


def test_overload_is_reported_and_is_no_failure(tmp_path: Path) -> None:
    record = one(tmp_path, "load=poisson", "load.rate=5000")
    assert record.status is Status.OK, record.reason
    assert record.metrics is not None
    assert record.metrics["overloaded_share"] == 1.0
    assert record.metrics["left_items"] > 0
    assert record.metrics["throughput_items_per_s"] < 500
    assert record.notes["overloaded"].startswith("the queue grew in 2 of 2 repeats: 5000 items/s arrived and ")


@pytest.mark.parametrize("replicas", [1, 2])
def test_rate_without_arrivals_is_a_user_error(tmp_path: Path, replicas: int) -> None:
    record = one(tmp_path, "load=poisson", "load.rate=0.0001", f"replicas={replicas}")
    assert record.status is Status.INVALID
    assert "raise effort.window_seconds, or the rate" in record.reason


def test_trace_is_played_whole(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("time_s\n" + "".join(f"{10 + number / 50}\n" for number in range(21)))
    record = one(tmp_path, "load=trace", f"load.file={trace}", "load.speed=2")
    assert record.status is Status.OK, record.reason
    stored = samples(record)
    assert np.diff(stored["due_ns"]).tolist() == [10_000_000] * 20
    load = record.repeats[0].load
    assert load is not None
    assert load.rate == pytest.approx(105.0)
    assert "trace.csv" not in record.label


def test_offline_load_is_whole_passes_through_the_data(tmp_path: Path) -> None:
    record = one(tmp_path, "load=offline", "batch=8", "backend.options.latency_ms=0.2")
    assert record.status is Status.OK, record.reason
    for repeat in record.repeats:
        assert repeat.items % 64 == 0
        assert repeat.load is not None
        assert repeat.load.batch_mean == 8.0
        assert repeat.throughput_items_per_s == pytest.approx(repeat.items / repeat.window_seconds)
        assert repeat.throughput_items_per_s < 5000  # 0.2 ms each


@pytest.mark.parametrize("replicas", [1, 2])
def test_data_that_does_not_fit_is_passed_whole_by_offline_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replicas: int
) -> None:
    monkeypatch.setattr(window, "PREPARED_BYTES", 16 * 64)  # 16 samples of 64 bytes
    given = ["batch=4", "hardware.cores=2", f"replicas={replicas}", "backend.options.latency_ms=0.2"]
    _, history = sweep(tmp_path, *SERVED, *given, "load=offline,saturate")
    by_load = {str(record.settings.get("load", "saturate")): record for record in records(history)}
    for record in by_load.values():
        assert record.status is Status.OK, record.reason
        assert {repeat.samples_of_data for repeat in record.repeats} == {64}
    for repeat in by_load["offline"].repeats:
        assert repeat.samples_rotated == 64
        assert repeat.items % 64 == 0
    for repeat in by_load["saturate"].repeats:
        assert repeat.samples_rotated is not None
        assert 16 <= repeat.samples_rotated <= 16 * replicas
    (line,) = [text for text in events.describe_events(by_load["saturate"]) if text.startswith("samples")]
    assert line.endswith("of 64 samples")


def test_single_user_waits_for_a_whole_batch(tmp_path: Path) -> None:
    record = one(tmp_path, "load=single", "batch=4")
    assert record.status is Status.OK, record.reason
    repeat = record.repeats[0]
    assert repeat.items == repeat.requests
    assert repeat.latency_ms_mean >= 8.0
    assert repeat.throughput_items_per_s <= 125.0


@pytest.mark.usefixtures("warm_pool")
def test_clients_send_requests_side_by_side(tmp_path: Path) -> None:
    record = one(tmp_path, "load.concurrency=3")
    assert record.status is Status.OK, record.reason
    assert record.repeats[0].in_flight == 3.0
    stored = samples(record)
    others = [((stored["start_ns"] <= begin) & (stored["end_ns"] > begin)).sum() for begin in stored["start_ns"]]
    assert max(others) == 3


def test_single_repeat_is_enough_for_a_record(tmp_path: Path) -> None:
    record = one(tmp_path, "load=poisson", "load.rate=100", "effort.repeats=1")
    assert record.status is Status.OK, record.reason
    assert len(record.repeats) == 1


def test_loads_are_an_axis_with_distinct_labels(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, *SERVED, "load=saturate,single,offline")
    found = records(history)
    assert {record.status for record in found} == {Status.OK}
    assert sorted(record.settings.get("load", "saturate") for record in found) == ["offline", "saturate", "single"]
    assert len({record.label for record in found}) == 3


def test_deployment_members_have_separate_queues(tmp_path: Path) -> None:
    members = "deployment.members=[{batch:1},{batch:2}]"
    _, history = sweep(tmp_path, *SERVED, "load=poisson", "load.rate=100", members)
    assert [(record.status, record.reason) for record in records(history)] == [(Status.OK, "")] * 2
    loads = [record.repeats[0].load for record in records(history)]
    assert all(load is not None and load.finished > 0 for load in loads)


IN_LINES = ["batch=3", "load=poisson", "load.rate=300", "load.max_wait_ms=10", *BUSY]


def test_items_wait_in_the_line_of_their_bucket(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "buckets=[4,12]", *IN_LINES, base=BAG)
    (record,) = records(history)
    assert record.status is Status.OK, record.reason  # the right answers, from the right bucket
    repeat = record.repeats[0]
    assert [row.bucket for row in repeat.buckets] == [(4,), (12,)]
    assert sum(row.items for row in repeat.buckets) == repeat.items


@pytest.mark.usefixtures("warm_pool")
def test_items_of_any_size_wait_in_one_line(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "buckets=dynamic", *IN_LINES, base=[*TORCH, "+model.masked=true"])
    (record,) = records(history)
    assert record.status is Status.OK, record.reason
    assert len(record.repeats[0].sizes) > 1

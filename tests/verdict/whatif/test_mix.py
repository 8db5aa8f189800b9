"""Another mix of lengths, from what was measured of each bucket: against a closed loop that really has that mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import verbs
from sweep.spec import Measurement, Origin, Record, Trial
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.store import ledger, query
from sweep.verdict.buckets.traffic import Traffic
from sweep.verdict.repeats import compute_metrics, pool_buckets
from sweep.verdict.whatif import mix
from sweep.verdict.whatif.answers import Question, View
from tests.support.priced_sweeps import NAME
from tests.support.records import THROUGHPUT, make_record, make_settings, make_trial

BUCKETS = ((8,), (16,), (32,))
MEAN_MS = (1.0, 4.0, 20.0)  # of a request of each bucket
BATCH = 4
SHORT = Traffic.of([6, 12, 30], [70, 22, 8])
LONG = Traffic.of([6, 12, 30], [10, 50, 40])
Arrays = dict[str, np.ndarray]


def window(traffic: Traffic, seed: int, requests: int = 4000) -> Arrays:
    """One client that waits for each answer: which bucket each request is of, and what it took, ns."""
    random = np.random.default_rng(seed)
    bucket = random.choice(3, requests, p=traffic.weights / traffic.weights.sum())
    taken = np.array(MEAN_MS)[bucket] * random.lognormal(0.0, 0.1, requests)
    end = np.cumsum(taken * 1e6).astype(np.int64)
    start = np.concatenate([[0], end[:-1]])
    return {"start_ns": start, "end_ns": end, "bucket": bucket}


def measured(arrays: Arrays, path: str, index: int) -> Measurement:
    """What the worker would say of it."""
    latency = (arrays["end_ns"] - arrays["start_ns"]) / 1e6
    rows = []
    for number, bucket in enumerate(BUCKETS):
        mine = latency[arrays["bucket"] == number]
        row = BucketFacts(bucket, len(mine), BATCH * len(mine))
        if len(mine):
            tails = {f"p{q}": float(np.percentile(mine, q)) for q in (50, 90, 95, 99)}
            row = replace(row, latency_ms_mean=float(mine.mean()), latency_ms=tails)
        rows.append(row)
    seconds = float(arrays["end_ns"][-1]) / 1e9
    items = BATCH * len(latency)
    tails = {f"p{q}": float(np.percentile(latency, q)) for q in (50, 90, 95, 99)}
    mean = float(latency.mean())
    return Measurement(
        *(index, items / seconds, seconds, len(latency), items, mean, tails, 0.1, 1.0, {}, 100.0, 1.0, path, ""),
        buckets=tuple(rows),
        padding=0.3,
    )


def store(
    outputs: Path, traffic: Traffic = SHORT, load: str = "saturate", files: bool = True, requests: int = 4000
) -> tuple[Trial, Record]:
    folder = outputs / "sweeps" / NAME
    trial = replace(make_trial(batch=BATCH, buckets=BUCKETS), load={"name": load})
    repeats = []
    for index in range(3):
        arrays = window(traffic, index, requests)
        path = folder / "repeats" / f"x-{index}" / "samples.npz"
        path.parent.mkdir(parents=True)
        if files:
            np.savez(path, **arrays)
        repeats.append(measured(arrays, str(path), index))
    made = make_record(batch=BATCH, buckets=BUCKETS)
    buckets = tuple(pool_buckets(repeats, [{}] * 3))
    record = replace(made, key=trial.key, repeats=tuple(repeats), builds=({},) * 3, buckets=buckets)
    record = replace(record, metrics=compute_metrics(record))
    keep(outputs, [trial], [record])
    return trial, record


def keep(outputs: Path, trials: Sequence[Trial], records: Sequence[Record]) -> None:
    book = ledger.Ledger(outputs / "sweeps" / NAME)
    book.append("sweep", id=NAME, settings=make_settings(outputs), command="python -m sweep", version="0")
    for trial, record in zip(trials, records, strict=True):
        book.append("trial", trial=trial)
        book.append("record", record=record)
    book.close()


def only(outputs: Path) -> query.Stored:
    history = query.history(outputs, NAME)
    (record,) = history.records.values()
    return query.Stored(history, record)


def metrics_of(found: Record | str) -> dict[str, float]:
    assert isinstance(found, Record), found
    return dict(found.metrics or {})


def test_the_mix_that_was_measured_gives_what_was_measured(tmp_path: Path) -> None:
    _, record = store(tmp_path)
    own = Traffic.of([8, 16, 32], [row.items for row in record.buckets])
    made = metrics_of(mix.reweigh(only(tmp_path), own))
    before = dict(record.metrics or {})
    assert made["throughput_items_per_s"] == pytest.approx(before["throughput_items_per_s"], rel=0.02)
    assert made["item_latency_ms_mean"] == pytest.approx(before["item_latency_ms_mean"], rel=1e-6)
    for name in ("latency_ms_mean", "latency_ms_p50", "latency_ms_p90", "latency_ms_p95", "latency_ms_p99"):
        assert made[name] == pytest.approx(before[name], rel=0.02), name


@pytest.mark.parametrize("traffic", [LONG, SHORT], ids=["long", "short"])
def test_another_mix_gives_what_a_window_of_that_mix_gives(traffic: Traffic, tmp_path: Path) -> None:
    store(tmp_path / "told", LONG if traffic is SHORT else SHORT, requests=20_000)
    made = metrics_of(mix.reweigh(only(tmp_path / "told"), traffic))
    _, truth = store(tmp_path / "truth", traffic, requests=20_000)
    real = dict(truth.metrics or {})
    names = ("throughput_items_per_s", "latency_ms_mean", "latency_ms_p50", "latency_ms_p95", "item_latency_ms_mean")
    for name in names:
        assert made[name] == pytest.approx(real[name], rel=0.04), name
    assert made["throughput_items_per_s_low"] < made["throughput_items_per_s"] < made["throughput_items_per_s_high"]
    elements = float(traffic.weights @ [8, 16, 32])
    assert made["padding"] == pytest.approx(1 - float(traffic.weights @ [6, 12, 30]) / elements)


def test_a_percentile_that_few_samples_would_carry_is_not_told(tmp_path: Path) -> None:
    store(tmp_path, SHORT, requests=250)  # 750 requests, of which about 60 are long
    made = metrics_of(mix.reweigh(only(tmp_path), Traffic.of([30], [1])))
    assert "latency_ms_p50" in made
    assert "latency_ms_p99" not in made
    assert made["latency_ms_mean"] == pytest.approx(20.0, rel=0.05)


def test_without_samples_there_are_means_and_no_percentiles(tmp_path: Path) -> None:
    store(tmp_path, files=False)
    found = mix.reweigh(only(tmp_path), LONG)
    made = metrics_of(found)
    assert not any(name.startswith("latency_ms_p") for name in made)
    assert made["latency_ms_mean"] == pytest.approx(0.1 * 1 + 0.5 * 4 + 0.4 * 20, rel=0.05)
    assert isinstance(found, Record)
    assert all(repeat.samples == "" and repeat.latency_ms == {} for repeat in found.repeats)


def test_what_cannot_be_told_is_said(tmp_path: Path) -> None:
    store(tmp_path / "a")
    assert mix.reweigh(only(tmp_path / "a"), Traffic.of([40])) == "a length of 40 fits none of their buckets"
    two = mix.reweigh(only(tmp_path / "a"), Traffic.of([[8, 8], [8, 16]]))
    assert isinstance(two, Record), "one number of a bucket stands for all dimensions"
    store(tmp_path / "b", load="poisson")
    assert "under load=poisson changes with the mix" in str(mix.reweigh(only(tmp_path / "b"), LONG))
    store(tmp_path / "c")
    found = only(tmp_path / "c")
    empty = tuple(replace(row, requests=0, items=0) if row.bucket == (32,) else row for row in found.record.buckets)
    repeats = tuple(replace(one, buckets=empty) for one in found.record.repeats)
    none = query.Stored(found.history, replace(found.record, repeats=repeats))
    assert mix.reweigh(none, LONG) == "no request of bucket 32 was measured"
    plain = query.Stored(found.history, replace(found.record, buckets=()))
    assert "they have one size" in str(mix.reweigh(plain, LONG))
    reported = query.Stored(found.history, replace(found.record, origin=Origin.REPORTED))
    assert mix.reweigh(reported, LONG) == "they were not measured here"


def sized(batch: int = 1) -> tuple[Trial, Record]:
    """One build for any size: a millisecond for each eight elements."""
    trial = replace(make_trial(batch=batch, buckets=((),)), load={"name": "saturate"})
    groups = tuple(SizeFacts((n,), 100, 100, n / 8) for n in (8, 16, 32))
    one = make_record(batch=batch).repeats[0]
    repeats = tuple(replace(one, index=i, throughput_items_per_s=1e3 / 7 * 3, sizes=groups) for i in range(3))
    record = replace(make_record(batch=batch), key=trial.key, repeats=repeats, sizes=groups)
    return trial, record


def test_any_size_in_one_build(tmp_path: Path) -> None:
    keep(tmp_path, *([each] for each in sized()))
    made = metrics_of(mix.reweigh(only(tmp_path), Traffic.of([12, 24], [1, 1])))
    assert made["latency_ms_mean"] == pytest.approx((1.5 + 3.0) / 2, rel=1e-6)
    assert made["throughput_items_per_s"] == pytest.approx((1e3 / 7 * 3) * (7 / 3) / 2.25, rel=1e-6)
    assert not any(name.startswith("latency_ms_p") for name in made)
    assert "do not reach as far" in str(mix.reweigh(only(tmp_path), Traffic.of([40])))
    keep(tmp_path / "b", *([each] for each in sized(2)))
    assert "padded to the largest" in str(mix.reweigh(only(tmp_path / "b"), LONG))


def test_trials_that_cannot_tell_are_left_out_of_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, told = store(tmp_path / "one")
    plain = replace(make_trial(batch=2), load={"name": "saturate"})
    fast = replace(make_record(batch=2, throughput=1e9), key=plain.key)
    keep(tmp_path, [good, plain], [told, fast])
    history = query.history(tmp_path, NAME)
    found = [query.Stored(history, record) for record in query.records(history)]
    view = View(found, Question(THROUGHPUT, traffic=LONG))
    assert view.verdict.winner == good.key
    assert list(view.left_out.values()) == [(fast.label,)]
    (tmp_path / "mix.csv").write_text("size,count\n6,10\n12,50\n30,40\n")
    words: list[Any] = ["best", f"traffic={tmp_path / 'mix.csv'}", "--outputs", str(tmp_path)]
    verbs.run(words)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"left out {fast.label}: they have one size" in shown
    assert "10 % of the items" in shown

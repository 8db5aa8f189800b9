"""What the repeats of a trial say together: requests, throughput, buckets, load."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.spec import Measurement
from sweep.spec.facts import BucketFacts
from sweep.store import samples
from sweep.verdict.repeats import list_notes, pool_buckets, summarize, summarize_load, summarize_sizes
from tests.support.records import make_load, make_measurement, make_record


def repeat(index: int = 0, **facts: Any) -> Measurement:
    return replace(make_measurement(index), items=10, requests=5, latency_ms_mean=4.0, **facts)


def measurement(index: int, throughput: float = 100.0, **changes: object) -> Measurement:
    base = Measurement(
        index, throughput, 1.0, 100, 100, 1.0, {"p50": 1.0}, 0.5, 3.0, {}, 120.0 + index, 1.0, str(index), ""
    )
    return replace(base, **changes)  # type: ignore[arg-type]  # fields by name


def summarize_with(repeats: Sequence[Measurement], latencies_ns: dict[str, np.ndarray]) -> dict[str, float]:
    """The summary where the samples of a repeat are these, by the name of its file."""
    with mock.patch("sweep.verdict.repeats.load_samples", latencies_ns.__getitem__):
        return summarize(repeats)


def test_summary_pools_requests_and_averages_throughput() -> None:
    latencies = {"0": np.arange(1, 301) * 1000, "1": np.arange(301, 601) * 1000}
    found = summarize_with([measurement(0, 100.0), measurement(1, 110.0)], latencies)
    pooled = np.arange(1, 601) / 1000
    assert found["sample_count"] == 600
    assert found["repeats"] == 2
    assert found["throughput_items_per_s"] == 105.0
    assert found["latency_ms_mean"] == pytest.approx(pooled.mean())
    assert found["latency_ms_max"] == 0.6
    for name, q in (("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)):
        assert found["latency_ms_" + name] == pytest.approx(np.percentile(pooled, q))
    assert found["load_seconds"] == 0.5
    assert found["first_request_ms"] == 3.0
    assert found["peak_memory_mb"] == 121.0


def test_summary_leaves_out_what_the_count_does_not_support() -> None:
    found = summarize_with([measurement(0)], {"0": np.full(71, 1000)})
    assert {"latency_ms_p50", "latency_ms_p90"} <= set(found)
    assert not {"latency_ms_p95", "latency_ms_p99", "throughput_items_per_s_low", "latency_ms_p50_low"} & set(found)
    empty = summarize_with([measurement(0)], {"0": np.empty(0, np.int64)})
    assert empty["sample_count"] == 0
    assert not [name for name in empty if name.startswith("latency")]
    assert summarize([]) == {}


@settings(max_examples=50)
@given(st.lists(st.lists(st.integers(1, 10**9), max_size=40), min_size=1, max_size=6), st.randoms())
def test_summary_is_finite_ordered_and_blind_to_the_order_of_repeats(
    latencies: Sequence[Sequence[int]],
    random: "np.random.Generator",
) -> None:
    arrays = {str(i): np.array(each, np.int64) for i, each in enumerate(latencies)}
    done = [measurement(i, 10.0 + 3 * (i % 3)) for i in range(len(latencies))]
    found = summarize_with(done, arrays)
    shuffled = list(done)
    random.shuffle(shuffled)  # type: ignore[arg-type]  # numpy takes any list
    assert summarize_with(shuffled, arrays) == found
    assert all(math.isfinite(value) for value in found.values())
    for name in ("throughput_items_per_s", "latency_ms_p50"):
        if name + "_low" in found:
            assert 0 <= found[name + "_low"] <= found[name] <= found[name + "_high"]


def test_summary_never_holds_what_is_not_finite() -> None:
    broken = measurement(0, math.nan, load_seconds=math.inf, first_request_ms=math.nan, peak_memory_mb=math.nan)
    found = summarize_with([broken], {"0": np.full(20, 10)})
    assert not {"throughput_items_per_s", "load_seconds", "first_request_ms", "peak_memory_mb"} & set(found)


def test_samples_are_read_from_the_file_of_a_repeat(tmp_path: Path) -> None:
    path = tmp_path / "samples.npz"
    start = np.array([5, 10, 20], np.int64)
    np.savez(path, start_ns=start, end_ns=start + 1_000_000, replica=np.array([0, 0, 1]))
    assert samples.load_samples(str(path)).tolist() == [1_000_000] * 3
    found = summarize([measurement(i, samples=str(path)) for i in range(4)])
    assert found["latency_ms_p50"] == 1.0
    assert found["sample_count"] == 12


def test_load_metrics_of_several_repeats() -> None:
    load = make_load(rate=100.0, left=3, batch_mean=2.0, overloaded=True, lag_ms_p99=0.1)
    calm = replace(load, left=0, overloaded=False, batch_mean=3.0)
    repeats = [repeat(0, load=load, throughput_items_per_s=100.0), repeat(1, load=calm)]
    assert summarize_load(repeats) == {
        "arrival_rate_items_per_s": 100.0,
        "batch_items_mean": 2.5,
        "left_items": 3.0,
        "overloaded_share": 0.5,
        "generator_lag_ms_p99": 0.1,
    }
    assert list_notes(repeats) == {
        "overloaded": "the queue grew in 1 of 2 repeats: 100 items/s arrived and 100 were answered"
    }
    assert summarize_load([repeat()]) == list_notes([repeat()]) == list_notes(repeats[1:]) == {}


def test_record_pools_its_repeats() -> None:
    def bucket(size: int, requests: int, p50: float | None) -> BucketFacts:
        facts = BucketFacts((size,), requests, 2 * requests, memory_mb=50.0 + requests / 100)
        latency = {} if p50 is None else {"p50": p50, "p99": p50 + 2}
        return facts if p50 is None else replace(facts, latency_ms_mean=p50 + 1, latency_ms=latency)

    repeats = (
        repeat(0, buckets=(bucket(8, 100, 1.0), bucket(16, 0, None)), padding=0.25, loaded_mb=100.0),
        repeat(1, buckets=(bucket(8, 500, 3.0), bucket(16, 150, 9.0)), padding=0.75, loaded_mb=104.0),
    )
    builds = ({"seconds": 2.0, "artifact_mb": 5.0}, {"seconds": 3.0, "artifact_mb": None})
    small, large = pool_buckets(repeats, builds)
    assert small == BucketFacts(
        (8,),
        600,
        1200,
        pytest.approx((100 * 2 + 500 * 4) / 600),
        {"p50": 2.0, "p99": 4.0},
        memory_mb=53.0,
        share=0.8,
        build_seconds=2.0,
        artifact_mb=5.0,
    )
    assert (large.latency_ms, large.artifact_mb) == ({"p50": 9.0}, None)  # 150 requests carry no p99
    record = replace(make_record(), repeats=repeats, builds=builds, buckets=(small, large))
    assert summarize_sizes(record) == {
        "padding": 0.5,
        "item_latency_ms_mean": pytest.approx((1200 * 11 / 3 + 300 * 10) / 1500),
        "loaded_mb": 102.0,
    }
    plain = replace(record, repeats=(repeat(loaded_mb=9.0),), buckets=())
    assert summarize_sizes(plain) == {}  # nothing varies


def test_overload_note_has_what_the_overloaded_repeats_answered() -> None:
    load = make_load(rate=100.0, left=3, batch_mean=2.0, overloaded=True, lag_ms_p99=0.1)
    calm = replace(load, left=0, overloaded=False, batch_mean=3.0)
    repeats = [replace(make_measurement(number, 95.0), load=facts) for number, facts in enumerate((load, calm))]
    assert summarize_load(repeats) == {
        "arrival_rate_items_per_s": 100.0,
        "batch_items_mean": 2.5,
        "left_items": 3.0,
        "overloaded_share": 0.5,
        "generator_lag_ms_p99": 0.1,
    }
    assert list_notes(repeats) == {
        "overloaded": "the queue grew in 1 of 2 repeats: 100 items/s arrived and 95 were answered"
    }
    assert list_notes(repeats[1:]) == {}


def test_closed_loop_has_no_load_metrics() -> None:
    assert summarize_load([make_measurement()]) == {}
    assert list_notes([make_measurement()]) == {}

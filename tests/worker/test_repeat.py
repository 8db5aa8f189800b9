"""What replicas say together about one repeat."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import files
from sweep.spec import BuildSpec, Measurement, Placement
from sweep.spec.facts import ReplicaFacts
from sweep.spec.requests import Artifact, MeasureRequest
from sweep.worker import repeat
from tests.support.records import EFFORT

PART = ReplicaFacts(
    load_seconds=0.1,
    first_request_ms=1.0,
    warmup={"requests": 3, "seconds": 0.1, "stable": True, "chunk_ms_p50": [1.0]},
    precision="fp32",
    peak_memory_mb=10.0,
    device_memory_mb=0.0,
    memory_mb=(0.0,),
    samples_of_data=9,
)


def told(folder: Path, *replicas: tuple[float, list[float]], items: int = 2) -> Measurement:
    """The repeat of replicas that begin at a moment and send requests of these lengths back to back, all in ms."""
    for number, (begin, lengths) in enumerate(replicas):
        edges = ((begin + np.concatenate([[0.0], np.cumsum(lengths)])) * 1e6).astype(np.int64)
        count = len(lengths)
        arrays = {
            "start_ns": edges[:-1],
            "end_ns": edges[1:],
            "items": np.full(count, items),
            "bucket": np.zeros(count, np.int64),
            "size": np.zeros((count, 0), np.int64),
            "client": np.zeros(count, np.int64),
            "rotated": np.array([number, 7]),
            "index": np.array([number]),
            "output_0": np.zeros((1, 3)),
        }
        files.save_arrays(folder / f"replica-{number}.npz", arrays)
    spec = BuildSpec({}, {}, "fake", {}, "fp32", items)
    places = (Placement(),) * len(replicas)
    request = MeasureRequest((Artifact(spec, ""),), "", items, places, EFFORT, repeat=3, share=0.0)
    return repeat.combine(request, folder, [PART] * len(replicas), {})


def in_flight(repeat: Measurement, items: int = 2) -> float:
    return repeat.throughput_items_per_s / items * repeat.latency_ms_mean / 1e3


def test_requests_after_the_common_window_do_not_count(tmp_path: Path) -> None:
    """It has the machine for itself, or just then the host takes it away: its latencies say nothing about both."""
    repeat = told(tmp_path, (0.0, [1.0] * 100), (0.0, [2.0] * 50 + [20.0] * 30))
    assert repeat.throughput_items_per_s == pytest.approx(2 * (1000 + 500))
    assert repeat.latency_ms["max"] == pytest.approx(2.0)
    assert (repeat.requests, repeat.items) == (150, 300)
    assert (repeat.samples_rotated, repeat.samples_of_data) == (3, 9)  # 0, 1 and 7
    assert in_flight(repeat) == pytest.approx(2)
    assert (repeat.index, repeat.in_flight, repeat.precision) == (3, 2.0, "fp32")
    assert (repeat.samples, repeat.outputs) == (str(tmp_path / "samples.npz"), str(tmp_path / "outputs.npz"))
    with np.load(tmp_path / "samples.npz") as samples:
        assert np.bincount(samples["replica"]).tolist() == [100, 50]
        assert {len(samples[name]) for name in samples.files} == {150}
    with np.load(tmp_path / "outputs.npz") as outputs:
        assert outputs["index"].tolist() == [0, 1]


LENGTHS = st.lists(st.floats(0.1, 50), min_size=1, max_size=40)


@given(st.lists(LENGTHS, min_size=1, max_size=4))
def test_rate_times_mean_latency_is_the_number_in_flight(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[list[float]]
) -> None:
    """However the window cuts the last requests: Little's law is exact where every replica is always busy."""
    repeat = told(tmp_path_factory.mktemp("repeat"), *((0.0, one) for one in lengths))
    assert in_flight(repeat) == pytest.approx(len(lengths), rel=1e-4)


def test_sequential_replicas_have_one_request_in_flight(tmp_path: Path) -> None:
    assert in_flight(told(tmp_path, (0.0, [1.0] * 50), (50.0, [1.0] * 50))) == pytest.approx(1)

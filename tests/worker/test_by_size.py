"""What a repeat says by bucket and by size, also in tables and MLflow, and where a build does not load."""

import csv
import io
import math
import mmap
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import verbs, workloads
from sweep.backends.base import Arrays, Runner
from sweep.isolate.pool import Limits, Workers
from sweep.report import tables
from sweep.report.mlflow.store import flatten_buckets
from sweep.report.terminal.display import Display
from sweep.spec import (
    BuildSpec,
    FailureKind,
    Json,
    Measurement,
    Placement,
    Record,
    Status,
    TrialError,
    UserError,
    from_json,
)
from sweep.spec.facts import ReplicaFacts, SizeFacts
from sweep.spec.requests import Artifact, BuildRequest, MeasureRequest, Padding
from sweep.spec.settings import Settings
from sweep.worker import arrays, by_size, data_sets, requests, window
from sweep.workloads import Dataset
from tests.engine.search.test_buckets import BAG, EXACT, SLOW
from tests.support.echo import Echo, Loads
from tests.support.records import EFFORT, make_measurement
from tests.support.running import TINY, sweep

# MLflow has its own
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
DIMS = {"ids": [1]}
SIZES = np.array([[1], [3], [4], [8]])
SQUARES = [([size], float(size * size)) for size in (1, 3, 4, 8)]  # operations of a sample of each size


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Requests over four samples of 1, 3, 4 and 8 elements, for given buckets."""
    ids = np.arange(1, 33).reshape(4, 8) * (np.arange(8) < SIZES)
    data_sets.write_data([Dataset({"ids": ids}, None, {}, sizes=SIZES)], tmp_path / "data")
    monkeypatch.setattr(requests, "make_backend", lambda request, spec: Loads())

    def make(buckets: list[Any], batch: int = 2, **more: Any) -> list[window.Request]:
        specs = [BuildSpec({}, {}, "echo", {}, "fp32", batch, bucket) for bucket in buckets]
        request = MeasureRequest(
            builds=tuple(Artifact(spec, str(tmp_path)) for spec in specs),
            data_folder=str(tmp_path / "data"),
            batch=batch,
            placements=(Placement(),),
            effort=EFFORT,
            repeat=0,
            share=0.0,
            padding=Padding(DIMS),
            **more,
        )
        return list(requests.load_server(request, Placement()).form_requests(0.0))

    return make


def facts_of(requests: list[window.Request], buckets: list[Any], turns: int = 1) -> Measurement:
    """What is known of a window in which every request was asked so many times and took as many ms as its size."""
    count = len(requests) * turns
    work = by_size.sum_work(window.Window.of(np.zeros(count), np.zeros(count), [], requests))
    latency = work.arrays["size"].prod(axis=1).astype(float)
    memory = (10.0,) * len(buckets)
    replica = ReplicaFacts(0.0, 0.0, {}, "fp32", 0.0, 0.0, None, work.elements, work.flops, memory)
    return by_size.add_sizes(make_measurement(), buckets, [replica], {**work.arrays, "latency_ms": latency})


def repeat(index: int = 0, **facts: Any) -> Measurement:
    return replace(make_measurement(index), items=10, requests=5, latency_ms_mean=4.0, **facts)


def test_padding_by_hand_in_elements_and_operations(prepared: Any) -> None:
    # Four passes. Bucket 4: 12 samples of 1, 3 and 4 in 6 requests of two; bucket 8: 4 samples in 2 requests
    notes = facts_of(prepared([(4,), (8,)], flops_by_size=SQUARES), [(4,), (8,)])
    assert [(each.requests, each.items) for each in notes.buckets] == [(6, 12), (2, 4)]
    assert notes.padding == pytest.approx(1 - (4 * (1 + 3 + 4) + 4 * 8) / (12 * 4 + 4 * 8))
    assert notes.padding_flops == pytest.approx(1 - (4 * (1 + 9 + 16) + 4 * 64) / (12 * 16 + 4 * 64))
    assert [each.latency_ms_mean for each in notes.buckets] == [4.0, 8.0]
    assert notes.loaded_mb == 20.0


def test_filling_rows_of_a_short_request_are_padding(prepared: Any) -> None:
    # Bucket 8: 4 samples in a request of three and one of one with two rows of filling
    notes = facts_of(prepared([(4,), (8,)], batch=3), [(4,), (8,)])
    assert [(each.requests, each.items) for each in notes.buckets] == [(4, 12), (2, 4)]
    assert notes.padding == pytest.approx(1 - (4 * (1 + 3 + 4) + 4 * 8) / (12 * 4 + 6 * 8))
    assert notes.padding_flops is None  # nobody counted operations


def test_dynamic_sizes_are_reported_by_padded_size(prepared: Any) -> None:
    notes = facts_of(prepared([()], batch=1, flops_by_size=SQUARES), [()], turns=3)
    assert notes.sizes == tuple(SizeFacts((n,), 3, 3, float(n)) for n in (1, 3, 4, 8))
    assert (notes.padding, notes.padding_flops) == (0.0, 0.0)
    together = facts_of(prepared([()], batch=2), [()])  # (1, 3) and (4, 8)
    assert [(each.size, each.items) for each in together.sizes] == [((3,), 2), ((8,), 2)]
    assert together.padding == pytest.approx(1 - 16 / 22)


def test_pad_to_max_has_padding_and_no_buckets(prepared: Any) -> None:
    notes = facts_of(prepared([None]), [None])
    assert notes.buckets == notes.sizes == ()
    assert notes.padding == pytest.approx(0.5)


def test_sizes_are_pooled_and_none_is_lost() -> None:
    groups = [SizeFacts((n,), 1, n, float(n)) for n in range(1, 301)]
    found = by_size.pool_sizes(groups[::-1])
    assert len(found) == by_size.SIZES
    assert sum(group.items for group in found) == 300 * 301 // 2
    assert sum(group.requests * group.latency_ms_mean for group in found) == pytest.approx(300 * 301 / 2)
    assert [group.size for group in found] == sorted(group.size for group in found)
    assert found[-1].size == (300,)  # which most items of its group have
    assert by_size.pool_sizes(found) == found
    assert by_size.pool_sizes([]) == []


def test_operations_are_extrapolated_above_the_largest_counted_size() -> None:
    found = workloads.interpolate_flops([([2], 10.0), ([4], 30.0)], np.array([2, 3, 4, 6]))
    assert found.tolist() == [10.0, 20.0, 30.0, 50.0]


@pytest.mark.usefixtures("warm_pool")
def test_sweep_reports_every_bucket_and_its_sums(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "buckets=[],[32,64,128]", "batch=4", *EXACT, "tracking=local", base=BAG[:-1])
    assert status == 0
    plain, record = sorted(history.records.values(), key=lambda each: len(each.settings["buckets"]))
    told, metrics = record.buckets, record.metrics
    assert metrics is not None
    assert [each.bucket for each in told] == [(32,), (64,), (128,)]
    assert sum(each.items for each in told) == sum(one.items for one in record.repeats)
    assert sum(each.requests for each in told) == sum(one.requests for one in record.repeats)
    assert math.fsum(each.share or 0 for each in told) == pytest.approx(1.0)
    assert math.fsum(each.build_seconds or 0 for each in told) == pytest.approx(metrics["build_seconds"])
    assert math.fsum(each.artifact_mb or 0 for each in told) == pytest.approx(metrics["artifact_mb"])
    used = [each for each in told if each.items]
    assert all(list(each.latency_ms.values()) == sorted(each.latency_ms.values()) for each in used)
    for one in (each for repeat in record.repeats for each in repeat.buckets if each.items):
        assert list(one.latency_ms.values()) == sorted(one.latency_ms.values())
        assert list(one.latency_ms) == ["p50", "p90", "p95", "p99", "max"]
    mean = sum(each.items * (each.latency_ms_mean or 0) for each in used) / sum(each.items for each in used)
    assert metrics["item_latency_ms_mean"] == pytest.approx(mean)
    assert 0 <= min(each.memory_mb or 0 for each in told) <= metrics["loaded_mb"]
    assert metrics["loaded_mb"] > 0
    assert (plain.metrics or {})["padding"] > metrics["padding"] > 0
    assert _logged(tmp_path, record) == pytest.approx({**record.numbers, **flatten_buckets(record)}, rel=1e-5)
    assert _logged(tmp_path, record)["bucket_128/items"] == told[-1].items
    rows = list(csv.DictReader(io.StringIO(tables.results_csv([record, plain]))))
    assert float(rows[0]["padding"]) == metrics["padding"]
    assert float(rows[0]["item_latency_ms_mean"]) == metrics["item_latency_ms_mean"]
    capsys.readouterr()
    verbs.run(["why", "buckets=32 64 128", "--outputs", str(tmp_path)])
    shown = capsys.readouterr().out
    assert f"bucket   {used[0].bucket[0]}: " in shown
    assert "of the elements; the request of an item takes" in shown
    verbs.run(["best", "--outputs", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "  padding  " in shown
    assert max(map(len, _table(shown))) <= 120


def _logged(outputs: Path, record: Record) -> dict[str, float]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{outputs}/mlflow.db")
    experiments = [each.experiment_id for each in client.search_experiments()]
    (run,) = client.search_runs(experiments, f"tags.`sweep.key` = '{record.key}'")
    return dict(run.data.metrics)


def _table(shown: str) -> list[str]:
    lines = shown.splitlines()
    head = next(number for number, line in enumerate(lines) if " items/s " in line)
    assert " padding " in lines[head]
    return lines[head : head + 4]


@pytest.mark.usefixtures("fake_pool")
def test_padding_column_appears_only_where_items_are_padded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path / "tiny", base=TINY)
    (head,) = [line for line in capsys.readouterr().out.splitlines() if "  items/s  " in line]
    assert "padding" not in head
    _, history = sweep(tmp_path / "bag", "buckets=[32,64,128]", "batch=1,4", *SLOW, base=BAG)
    settings = from_json(Settings, history.header["settings"])
    capsys.readouterr()
    heads = {}
    for width in (120, 60, 50, 40):
        stream = io.StringIO()
        Display(plain=True, stream=stream, width=width).results(list(history.records.values()), None, settings)
        heads[width] = next(line for line in stream.getvalue().splitlines() if "items/s" in line)
        assert len(heads[width]) <= width
    assert "padding" in heads[120]
    assert "padding" not in heads[40]
    assert all("agree" in head for head in heads.values() if "padding" in head)


def test_loading_more_builds_takes_more_memory() -> None:
    held: list[mmap.mmap] = []

    def one(number: int) -> Runner:
        held.append(mmap.mmap(-1, 24 << 20))  # not from what this process has freed before
        for place in range(0, 24 << 20, mmap.PAGESIZE):
            held[-1][place] = 1
        return Echo()

    alone = by_size.load_builds([None], one)[1]
    four = by_size.load_builds([(n,) for n in (1, 2, 3, 4)], one)[1]
    assert alone[0] is not None
    assert alone[0] > 0
    assert sum(each or 0.0 for each in four) / alone[0] == pytest.approx(4.0, rel=0.1)


def test_small_change_of_resident_memory_is_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter([100.0, 130.0, 130.0078125, 129.5, 131.0])
    monkeypatch.setattr(by_size, "resident_mb", lambda: next(seen))
    assert by_size.load_builds([(n,) for n in (1, 2, 3, 4)], lambda number: Echo())[1] == [30.0, 0.0, 0.0, 1.5]


def test_device_memory_takes_precedence_over_host_memory() -> None:
    class OnDevice(Echo):
        def __init__(self, peak: float) -> None:
            self.peak = peak

        def device_memory_mb(self) -> float:
            return self.peak

    assert by_size.load_builds([(1,), (2,)], lambda number: OnDevice(100.0 + 50 * number))[1] == [100.0, 50.0]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (MemoryError("no more"), FailureKind.HOST_OOM, "no more"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), FailureKind.DEVICE_OOM, "Tried to allocate"),
        (TrialError(FailureKind.CORE_UNAVAILABLE, "core 3 is taken"), FailureKind.CORE_UNAVAILABLE, "core 3 is taken"),
    ],
)
def test_bucket_that_cannot_be_loaded_is_named(tmp_path: Path, error: Exception, kind: FailureKind, words: str) -> None:
    def one(number: int) -> Runner:
        if number == 2:
            raise error
        return Echo()

    with pytest.raises(TrialError) as caught:
        by_size.load_builds([(32,), (64,), (128, 224), (256,)], one, tmp_path / "doing-0.txt")
    assert caught.value.kind is kind
    assert str(caught.value).startswith("bucket 128x224, the 3rd of 4: ")
    assert words in str(caught.value)
    with pytest.raises(type(error)) as alone:
        by_size.load_builds([(32,)], lambda number: one(2))
    assert alone.value is error  # one build alone has no need of a name


def test_user_error_stays_a_user_error() -> None:
    def one(number: int) -> Runner:
        raise UserError("set backend.options.x=1")

    with pytest.raises(UserError, match="bucket 1, the 1st of 2: set backend"):
        by_size.load_builds([(1,), (2,)], one)


@pytest.mark.usefixtures("fake_pool")
def test_trial_names_the_build_that_does_not_load(tmp_path: Path) -> None:
    fault = ["backend.options.fault=build_truncated", "backend.options.fault_when={bucket:[64]}"]
    for replicas in (1, 2):
        _, history = sweep(tmp_path, "buckets=[32,64,128]", f"replicas={replicas}", *fault, *SLOW, base=BAG)
        (record,) = history.records.values()
        assert record.status is Status.RUN_FAILED
        assert record.failure is not None
        assert record.failure.kind is FailureKind.ARTIFACT_INCOMPATIBLE
        assert "bucket 64, the 2nd of 3: the artifact's model.npz" in record.reason


def killed_while_loading(request: Json, folder: Path) -> Json:
    """A worker that the kernel ends while it loads its second build."""

    def one(number: int) -> Runner:
        if number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return Echo()

    by_size.load_builds([(32,), (64,)], one, folder / "doing-0.txt")
    return {}


@pytest.mark.process
def test_worker_killed_while_loading_leaves_the_name_of_the_bucket(tmp_path: Path) -> None:
    with Workers() as workers:
        entry = {"entry": "tests.worker.test_by_size:killed_while_loading"}
        outcome = workers.run(entry, tmp_path / "task", limits=Limits(60.0))
    assert outcome.failure is not None
    assert outcome.failure.summary.startswith("loading bucket 64, the 2nd of 2: killed by SIGKILL")


def calibrated(folder: Path, bucket: Any, side: str = "right") -> list[Arrays]:
    spec = BuildSpec({}, {"name": "mine"}, "fake", {}, "int8", 2, bucket)
    request = BuildRequest(spec, str(folder), "", Padding(DIMS, 9, side))
    return list(requests.make_source(request, spec).calibration())


def test_calibration_samples_fit_the_bucket_and_are_padded_alike(tmp_path: Path) -> None:
    ids = np.array([[1, 0, 0, 0, 0, 0], [1, 2, 3, 0, 0, 0], [1, 2, 3, 4, 5, 6]])
    own = np.array([[1], [3], [6]])
    data = workloads.check_dataset(Dataset({"ids": ids}, None, {"ids": ids}, sizes=own, calibration_sizes=own), "mine")
    data_sets.write_data([data], tmp_path / "data")
    ((small,),) = calibrated(tmp_path / "data", (4,))
    assert small.tolist() == [[1, 0, 0, 0], [1, 2, 3, 0]]
    ((left,),) = calibrated(tmp_path / "data", (4,), "left")
    assert [row[-1] for row in left.tolist()] == [1, 3]
    assert len(calibrated(tmp_path / "data", None)) == 2  # all three, in two batches
    assert [array.shape for (array,) in calibrated(tmp_path / "data", ())] == [(2, 3), (2, 6)]
    ((only,),) = calibrated(tmp_path / "data", (2,))
    assert only.tolist() == [[1, 0], [1, 0]]  # only the first fits
    data_sets.write_data([data._replace(calibration_sizes=None)], tmp_path / "old")
    assert [array.shape for (array,) in calibrated(tmp_path / "old", (4,))] == [(2, 4), (2, 4)]  # as good as can be


def test_calibration_sizes_belong_to_the_data_and_are_checked() -> None:
    ids = np.array([[1, 0], [1, 2]])
    data = Dataset({"ids": ids}, None, {"ids": ids}, sizes=np.array([[1], [2]]))
    sized = data._replace(calibration_sizes=np.array([1, 2]))
    both = [data_sets.write_data([some], None) for some in (data, workloads.check_dataset(sized, "mine"))]
    assert both[0].digest() != both[1].digest()
    with pytest.raises(UserError, match="calibration has 1 sizes for 2 samples"):
        workloads.check_dataset(data._replace(calibration_sizes=np.array([1])), "mine")
    assert workloads.check_dataset(sized._replace(calibration={}), "mine").calibration_sizes is None


def test_operations_are_counted_once(tmp_path: Path) -> None:
    def never() -> Json:
        raise AssertionError("they are stored")

    assert arrays.read_or_write(tmp_path / "flops.json", lambda: [[[4], 2.0]]) == [[[4], 2.0]]
    assert arrays.read_or_write(tmp_path / "flops.json", never) == [[[4], 2.0]]

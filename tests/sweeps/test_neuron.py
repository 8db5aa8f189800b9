"""Whole sweeps of the trained digits network on pretended Inf2 and Inf1 machines, through their own interpreters."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.hardware.host import detect
from sweep.spec import FailureKind as K
from sweep.spec import Record, Status
from sweep.store import ledger
from tests.support.neuron_machine import NeuronHost, NeuronHosts
from tests.support.planning import plan_trials
from tests.support.running import BUSY, QUICK, ROOT, entries, sweep
from tests.support.warm_servers import Shelf

FEW = ["data=custom", "data._target_=tests.support.few_digits.images"]
SHORT = ["model=digits", *FEW, *QUICK, *BUSY, "effort.repeats=1", "effort.warmup_seconds_max=0.1"]

TEXTS = [
    *SHORT[3:],
    "model=custom",
    "model._target_=tests.support.text_workloads.torch_bag",
    "model.format=module",
    "model.requires=[]",
    "model.bucket_dims={input_ids:[1],attention_mask:[1]}",
    "data=custom",
    "data._target_=tests.support.text_workloads.texts",
    "+data.count=60",
    "+data.longest=64",
]


Machine = Callable[..., NeuronHost]


@pytest.fixture
def machine(neuron_hosts: NeuronHosts, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Puts this process on a pretended machine."""

    def put(wheel: str = "torch_neuronx", instance_type: str = "inf2.xlarge") -> NeuronHost:
        host = neuron_hosts.get(wheel, instance_type)
        move_to(host, monkeypatch)
        return host

    return put


def move_to(host: NeuronHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this process on that machine."""
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)
    detect.cache_clear()


@pytest.fixture(autouse=True)
def elsewhere(_shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_shelf, "preload_elsewhere", ("torch", "sweep.worker.entries"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    detect.cache_clear()


def by_label(history: ledger.History) -> dict[str, Record]:
    return {record.label: record for record in history.records.values()}


@pytest.mark.usefixtures("warm_pool")
def test_a_sweep_over_precision_requests_and_copies(tmp_path: Path, machine: Machine) -> None:
    host = machine()
    dynamic = "backend.options.dynamic_batch:true"
    status, history = sweep(
        tmp_path / "outputs",
        "backend=neuronx",
        f"backend.python={host.python}",
        "hardware=inf2_xlarge",
        "combinations=[{precision:fp32,batch:2,replicas:auto},{precision:bf16,batch:2},"
        f"{{precision:bf16,batch:2,cores:2,request_batch:4}},{{precision:bf16,batch:2,request_batch:5,{dynamic}}},"
        "{precision:bf16,batch:2,cores:2}]",
        base=SHORT,
    )
    assert status == 0
    records = sorted(history.records.values(), key=lambda record: (record.status.value != "ok", record.label))
    told = [(record.label, record.status.value, record.reason) for record in records]
    assert [record.status for record in records] == [*[Status.OK] * 4, Status.INVALID], told
    assert "use request_batch=4" in records[4].reason
    narrow, asked, split, exact = records[:4]
    assert (exact.settings["replicas"], exact.repeats[0].in_flight) == (2, 2.0)
    for record in (narrow, split, asked):
        assert record.builds[0]["precision"] == "bf16"
        assert record.agreement is not None
        assert record.agreement["agreement"] >= 0.95
    assert (asked.settings["batch"], asked.settings["request_batch"]) == (2, 5)
    assert asked.repeats[0].items == asked.repeats[0].requests * 5
    assert narrow.builds[0]["key"] == split.builds[0]["key"]  # cores and requests are matters of the run
    assert len(entries(history, "build")) == 3
    assert "available" in narrow.repeats[0].notes["device"]  # neuron-monitor was asked; to answer takes it a second
    assert exact.builds[0]["versions"]["neuronx-cc"] == "2.26.6360.0"
    assert host.violations() == []


@pytest.mark.usefixtures("warm_pool")
def test_every_bad_luck_is_one_record_and_the_rest_is_measured(tmp_path: Path, machine: Machine) -> None:
    host = machine()
    host.fault("compiler_crash", batch=2, optlevel="2")
    host.fault("trace_segfault", batch=3)
    host.fault("compile_delay", batch=4, seconds=60)
    host.fault("core_unavailable", batch=5, after=1, times=1)  # the build puts it on a core first
    host.fault("nan_outputs", batch=6)
    host.fault("wrong_answers", batch=7)
    host.fault("runner_killed", batch=8)
    host.fault("exec_timeout", batch=9)
    status, history = sweep(
        tmp_path / "outputs",
        "-m",
        "backend=neuronx",
        f"backend.python={host.python}",
        "hardware=inf2_xlarge",
        "precision=bf16",
        # The ladder is for the one that it helps: others would fail, or wait for their deadline, once more
        "combinations=[{batch:1},{batch:2,backend.ladder:[{optlevel:1}]},{batch:3},{batch:4},{batch:5},{batch:6},"
        "{batch:7},{batch:8},{batch:9}]",
        "limits.build_seconds=12",
        base=SHORT,
    )
    assert status == 0
    records = {int(record.settings["batch"]): record for record in history.records.values()}
    found = {batch: (r.status.value, r.failure.kind.value if r.failure else None) for batch, r in records.items()}
    assert found == {
        1: ("ok", None),
        2: ("ok", None),
        3: ("build_failed", "compiler_crash"),
        4: ("build_failed", "timeout"),
        5: ("ok", None),
        6: ("rejected", "numerical_error"),
        7: ("rejected", "wrong_output"),
        8: ("run_failed", "crash"),
        9: ("run_failed", "timeout"),
    }, {batch: record.reason for batch, record in records.items()}
    assert records[2].ladder[0].used["optlevel"] == 1
    assert "deltaElems" in records[2].builds[0]["attempts"][0]["failure"]["summary"]
    assert [attempt.kind.value for attempt in records[5].attempts] == ["core_unavailable"]
    assert "killed at the deadline" in records[4].reason
    assert "status=5" in records[9].reason
    assert host.violations() == []


@pytest.mark.usefixtures("warm_pool")
def test_built_on_a_host_without_a_device_and_measured_on_one(
    tmp_path: Path, neuron_hosts: NeuronHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = neuron_hosts.get("torch_neuronx", "inf2.xlarge")
    asked = ["backend=neuronx", f"backend.python={host.python}", "hardware=inf2_xlarge", "precision=bf16", "batch=2"]
    status, history = sweep(tmp_path / "compile", *asked, "plan=build", base=SHORT)
    (record,) = history.records.values()
    assert (status, record.status) == (0, Status.STOPPED)
    assert "plan=measure" in record.reason
    assert record.builds[0]["notes"]["cpu_backend"] is True
    shutil.copytree(tmp_path / "compile" / "store", tmp_path / "device" / "store", symlinks=True)
    target = NeuronHost(tmp_path / "target", ("torch_neuronx",), "inf2.xlarge", tools="real")
    move_to(target, monkeypatch)
    shutil.rmtree(target.site / "neuronx_cc-2.26.6360.0.dist-info")  # a device host needs no compiler
    (target.bin / "neuronx-cc").unlink()
    status, history = sweep(tmp_path / "device", *asked, f"backend.python={target.python}", "plan=measure", base=SHORT)
    (record,) = history.records.values()
    assert (status, record.status) == (0, Status.OK), record.reason
    assert target.calls("trace") == []
    assert target.violations() == []


@pytest.mark.usefixtures("warm_pool")
def test_inf1_pipelines_and_what_falls_back(tmp_path: Path, machine: Machine) -> None:
    host = machine("torch_neuron", "inf1.xlarge")
    host.fault("low_on_device_ratio", batch=2, pipeline=1, ratio=0.3)
    host.fault("scheduler_failure", batch=2, pipeline=4)
    status, history = sweep(
        tmp_path / "outputs",
        "-m",
        "backend=neuron",
        f"backend.python={host.python}",
        "hardware=inf1_xlarge",
        "precision=bf16",
        "batch=1,2",
        "cores=1,4",
        base=SHORT,
    )
    assert status == 0
    records = {(r.settings["batch"], r.settings["cores"]): r for r in history.records.values()}
    assert records[1, 1].status is records[1, 4].status is Status.OK
    for cores, told in ((1, "25%"), (4, "Scheduler Failure!")):
        record = records[2, cores]
        assert (record.status, record.failure and record.failure.kind) == (Status.BUILD_FAILED, K.PARTIAL_PLACEMENT)
        assert told in record.reason
        assert record.failure is not None
        assert record.failure.seconds > 0
    assert host.violations() == []


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.slow  # real texts and several builds: the same is tested with small models
@pytest.mark.parametrize(
    ("backend", "wheel", "instance_type", "precision"),
    [("neuronx", "torch_neuronx", "inf2.xlarge", "fp32"), ("neuron", "torch_neuron", "inf1.xlarge", "bf16")],
)
def test_texts_of_any_length_go_to_the_smallest_of_three_shapes(
    backend: str, wheel: str, instance_type: str, precision: str, tmp_path: Path, machine: Machine
) -> None:
    host = machine(wheel, instance_type)
    (host.site / "models.pth").write_text(str(ROOT))
    status, history = sweep(
        tmp_path / "outputs",
        f"backend={backend}",
        f"backend.python={host.python}",
        f"hardware={instance_type.replace('.', '_')}",
        f"precision={precision}",
        "batch=2",
        "buckets=[64],[32,64],[16,32,64],dynamic",
        base=TEXTS,
    )
    assert status == 0
    records = {len(r.builds): r for r in history.records.values()}
    assert sorted(records) == [0, 1, 2, 3]
    assert records[0].status is Status.INVALID
    assert records[0].reason == f"{backend} builds for fixed shapes: list buckets, or use buckets=auto"
    for count in (1, 2, 3):
        record = records[count]
        assert record.status is Status.OK, record.reason
        assert record.agreement is not None
        assert record.agreement["agreement"] >= 0.95
        (repeat,) = record.repeats
        assert [row.bucket for row in repeat.buckets] == [(16,), (32,), (64,)][-count:]
        assert sum(row.requests for row in repeat.buckets) == repeat.requests
    padding = [records[count].repeats[0].padding or 0.0 for count in (1, 2, 3)]
    assert padding == sorted(padding, reverse=True)
    assert padding[0] > padding[2] > 0
    assert len(entries(history, "build")) == 3  # as many as there are shapes
    assert sorted(call["shapes"][0][1] for call in host.calls("trace")) == [16, 32, 64]
    assert host.violations() == []


@pytest.mark.process
@pytest.mark.parametrize(
    ("words", "status", "reason"),
    [
        (["hardware=inf2_24xlarge"], Status.UNAVAILABLE, "this host is not an inf2.24xlarge: it is an inf2.xlarge"),
        (["hardware=inf2_xlarge", "cores=4", "request_batch=4"], Status.INVALID, "4 NeuronCores, inf2_xlarge has 2"),
        (["hardware=trn2_48xlarge"], Status.UNAVAILABLE, "this host is not a trn2.48xlarge"),
        (["hardware=local", "backend.options.target=inf2"], None, ""),
        (["hardware=local", "precision=int8"], Status.INVALID, "neuronx has no int8"),
    ],
)
def test_plan_says_what_cannot_run(words: list[str], status: Status | None, reason: str, machine: Machine) -> None:
    host = machine()
    (entry,) = plan_trials(*SHORT, "backend=neuronx", f"backend.python={host.python}", *words).entries
    assert entry.status is status
    assert reason in entry.reason


@pytest.mark.usefixtures("warm_pool")
def test_without_the_wheels_the_line_says_what_installs_them(tmp_path: Path) -> None:
    status, history = sweep(
        tmp_path, "backend=neuronx", "plan=build", "hardware=inf2_xlarge", "precision=bf16", base=SHORT
    )
    (record,) = history.records.values()
    assert (status, record.status) == (2, Status.UNAVAILABLE)
    assert "not installed: torch-neuronx, neuronx-cc" in record.reason

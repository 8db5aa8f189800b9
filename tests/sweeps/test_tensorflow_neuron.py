"""TensorFlow on pretended Inf1 and Inf2 machines: builds, silent fallbacks, faults, several interpreters in one sweep.

The doubles stand for TensorFlow and its Neuron plug-ins; nothing here ran on a device or with TensorFlow itself.
"""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from sweep.hardware.host import detect
from sweep.spec import FailureKind, Json, Record, Status
from sweep.store.ledger import History
from tests.support.neuron_machine import NeuronHost, NeuronHosts
from tests.support.planning import plan_trials
from tests.support.published_sweep import BATCHES, CORES, FAILED, RESCUED, SECONDS, inject
from tests.support.running import BUSY, QUICK, entries, sweep

SCHEDULER = "Scheduler Failure! (AssertionError at job.Scheduler.3)"
TF1, TF2, TF2X = "tensorflow_neuron_1", "tensorflow_neuron", "tensorflow_neuronx"
INSTANCES = {TF1: "inf1.xlarge", TF2: "inf1.xlarge", TF2X: "inf2.xlarge"}
ONCE = [*QUICK, "effort.repeats=1", "precision=bf16"]
Machine = Callable[..., NeuronHost]


@pytest.fixture
def machine(neuron_hosts: NeuronHosts, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """A pretended machine on which this process is, until the end of the test; no rule may have been broken then."""
    hosts: list[NeuronHost] = []

    def put(wheel: str, instance_type: str | None = None) -> NeuronHost:
        host = neuron_hosts.get(wheel, instance_type or INSTANCES[wheel])
        hosts.append(host)
        for name, value in host.env.items():
            monkeypatch.setenv(name, value)
        detect.cache_clear()
        return host

    yield put
    detect.cache_clear()
    assert [broken for host in hosts for broken in host.violations()] == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of sixteen colours each, and the same in 32 pixels for small models."""
    path = tmp_path_factory.mktemp("pictures") / "pictures.npz"
    colours = np.random.RandomState(0).uniform(-120, 130, (14, 4, 4, 3)).astype(np.float32)
    np.savez(path, image=np.kron(colours, np.ones((1, 56, 56, 1), np.float32)))
    return path


def asked(host: NeuronHost, data: Path, backend: str = "tensorflow_neuron", python: str | None = None) -> list[str]:
    """A sweep of ResNet50 on the machine of this test."""
    return [
        *("model=resnet50_keras", "model.weights=imagenet", "data=npz", f"data.path={data}"),
        *(f"backend={backend}", f"backend.python={python or host.python}"),
        f"hardware={json.loads((host.state / 'host.json').read_text())['instance_type'].replace('.', '_')}",
        *ONCE,
        *BUSY,
    ]


def by_cell(history: History) -> dict[tuple[int, int], Record]:
    return {(r.settings["batch"], r.settings["cores"]): r for r in history.records.values()}


def only(history: History) -> Record:
    (record,) = history.records.values()
    return record


# --- the published sweep ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("batches", [(1, 5), pytest.param(BATCHES, marks=pytest.mark.slow)], ids=["six", "fifteen"])
def test_failed_compilations_of_2020_have_their_reason_and_their_seconds(
    machine: Machine, pictures: Path, tmp_path: Path, batches: tuple[int, ...]
) -> None:
    host = machine(TF1, "inf1.6xlarge")
    scale = 1 / 2000
    inject(host, scale)
    cells = {cell for cell in SECONDS if cell[0] in batches}
    failed = FAILED & cells
    status, history = sweep(
        tmp_path / "out",
        f"batch={','.join(map(str, batches))}",
        f"cores={','.join(map(str, CORES))}",
        "backend.options.cores_flag=--num-neuroncores",
        "backend.options.static_weights=auto",
        base=asked(host, pictures),
    )
    records = by_cell(history)
    assert status == 0
    assert {cell for cell, record in records.items() if record.status is Status.BUILD_FAILED} == failed
    assert {cell for cell, record in records.items() if record.status is Status.OK} == cells - failed
    for cell in failed:
        failure = records[cell].failure
        assert failure is not None
        assert failure.kind is FailureKind.PARTIAL_PLACEMENT
        assert failure.summary == f"only 0% of the operators run on the target (limit 90%): {SCHEDULER}"
        assert failure.seconds >= SECONDS[cell] * scale
        assert failure.versions["neuron-cc"] == records[1, 1].builds[0]["versions"]["neuron-cc"]
        assert records[cell].builds[0]["placement"] is None
    for cell in set(records) - failed:
        (built,) = records[cell].builds
        assert built["placement"] == pytest.approx(0.9964, abs=5e-5)  # of the notebook
        assert built["notes"]["operators"]["on_neuron"] > 500
        assert ("--static-weights" in built["notes"]["flags"]) == (cell[1] == 16)
    loaded = {(call["facts"]["batch"], call["facts"]["cores"]) for call in host.calls("load")}
    assert loaded == cells - failed  # what fell back was never measured


@pytest.mark.usefixtures("warm_pool")
def test_flags_of_the_guides_rescue_one_of_the_nine_by_the_ladder(
    machine: Machine, pictures: Path, tmp_path: Path
) -> None:
    host = machine(TF1, "inf1.6xlarge")
    inject(host)
    extra = "[--batching_en,--rematerialization_en,--spill_dis,--sb_size,110,--enable-replication,'True',-O2]"
    ladder = f"backend.ladder=[{{static_weights:true}},{{extra_args:{extra}}}]"
    _, history = sweep(tmp_path / "out", f"batch={RESCUED[0]}", ladder, base=asked(host, pictures))
    record = only(history)
    assert record.status is Status.OK
    attempts = record.builds[0]["attempts"]
    assert [SCHEDULER in attempt["failure"]["summary"] for attempt in attempts] == [True, True]
    assert [attempt["options"]["static_weights"] for attempt in attempts] == [False, True]


# --- both TensorFlows, and what the compiler is told ------------------------------------------------------------------


@pytest.mark.usefixtures("warm_pool")
def test_tensorflow_1_compiles_a_saved_model(machine: Machine, pictures: Path, tmp_path: Path) -> None:
    host = machine(TF1)
    os.environ["NEURON_CC_FLAGS"] = "--must-compile"
    try:
        more = ("precision=fp16", "cores=2", "backend.options.fp32_cast=matmult", "backend.options.dynamic_batch=true")
        _, history = sweep(tmp_path / "out", *more, "request_batch=3", base=asked(host, pictures))
    finally:
        del os.environ["NEURON_CC_FLAGS"]
    record = only(history)
    assert record.status is Status.OK, record.reason
    (call,) = host.calls("saved_model.compile")
    arguments = {**call["arguments"], **call["arguments"].get("kwargs", {})}
    assert arguments["batch_size"] == 1
    assert arguments["dynamic_batch_size"] is True
    assert arguments["compiler_args"] == ["--fp32-cast", "matmult-fp16", "--neuroncore-pipeline-cores", "2"]
    assert arguments["compiler_timeout"] > 24 * 3600  # the deadline is the engine's
    notes = record.builds[0]["notes"]
    assert notes["ignored_environment"] == {"NEURON_CC_FLAGS": "--must-compile"}
    assert record.settings["request_batch"] == 3
    assert record.repeats[0].items == 3 * record.repeats[0].requests


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize(
    ("wheel", "more", "flags"),
    [
        (TF2, ["cores=2"], "--verbose=error --fp32-cast=all --neuroncore-pipeline-cores=2"),
        (
            TF2,
            [
                "precision=fp16",
                "backend.options.verbose=info",
                "backend.options.extra_args=[--enable-saturate-infinity]",
            ],
            "--verbose=info --fp32-cast=all-fp16 --enable-saturate-infinity",
        ),
        (
            TF2X,
            ["backend.options.auto_cast=matmult", "backend.options.optlevel=1"],
            "--verbose=error --target=inf2 --auto-cast=matmult --auto-cast-type=bf16 --optlevel=1 --model-type=generic",
        ),
        (
            TF2X,
            ["precision=fp32"],
            "--verbose=error --target=inf2 --auto-cast=none --optlevel=2 --model-type=generic",
        ),
    ],
)
def test_tensorflow_2_traces_with_flags_from_the_environment(
    machine: Machine, pictures: Path, tmp_path: Path, wheel: str, more: list[str], flags: str
) -> None:
    host = machine(wheel)
    backend = "tensorflow_neuronx" if wheel == TF2X else "tensorflow_neuron"
    _, history = sweep(tmp_path / "out", *more, base=asked(host, pictures, backend))
    record = only(history)
    assert record.status is Status.OK, record.reason
    (call,) = host.calls("trace")
    assert call["env"]["NEURON_CC_FLAGS"] == flags
    assert record.builds[0]["precision"] == record.settings["precision"]
    assert "available" in record.repeats[0].notes["device"]  # neuron-monitor was asked, which needs a second
    (loaded,) = {call["env"]["NEURON_RT_VISIBLE_CORES"] for call in host.calls("load")}
    assert loaded == ("0-1" if "cores=2" in more else "0")


@pytest.mark.usefixtures("warm_pool")
def test_copies_inside_one_process_and_requests_of_other_sizes(
    machine: Machine, pictures: Path, tmp_path: Path
) -> None:
    host = machine(TF2)
    options = ("backend.options.auto_multicore=true", "backend.options.dynamic_batch=true")
    _, history = sweep(
        tmp_path / "out", "batch=2", "cores=4", "request_batch=1,2,7", *options, base=asked(host, pictures)
    )
    assert {r.settings["request_batch"] for r in history.records.values() if r.status is Status.OK} == {1, 2, 7}
    assert len(entries(history, "build")) == 1  # what a client sends is no matter of the compiler's
    assert {call["core"] for call in host.calls("load")} == {0, 1, 2, 3}


@pytest.mark.usefixtures("warm_pool")
def test_replicas_are_processes_with_cores_of_their_own(machine: Machine, pictures: Path, tmp_path: Path) -> None:
    host = machine(TF2)
    _, history = sweep(tmp_path / "out", "cores=1", "replicas=2", base=asked(host, pictures))
    assert only(history).status is Status.OK, only(history).reason
    seen = {(call["pid"], call["env"]["NEURON_RT_VISIBLE_CORES"]) for call in host.calls("load")}
    assert sorted(cores for _, cores in seen) == ["0", "0", "1"]  # one of them scores the build
    assert len({pid for pid, _ in seen}) == 3


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("wheel", [TF1, TF2])
def test_a_saved_model_is_compiled_as_it_is(machine: Machine, pictures: Path, tmp_path: Path, wheel: str) -> None:
    host = machine(wheel)
    folder = _saved_resnet(host, wheel, tmp_path)
    base = [word for word in asked(host, pictures) if not word.startswith("model")]
    _, history = sweep(
        tmp_path / "out", "model=saved_model", f"model.path={folder}", "model.trust=true", "batch=2", base=base
    )
    record = only(history)
    assert record.status is Status.OK, record.reason
    assert record.builds[0]["placement"] > 0.99


def _saved_resnet(host: NeuronHost, wheel: str, folder: Path) -> Path:
    import subprocess

    saved = folder / "resnet50"
    write = "net.save(sys.argv[1])"
    if wheel == TF1:
        ends = "{'pictures': net.inputs[0]}, {'answers': net.outputs[0]}"
        write = f"tf.saved_model.simple_save(tf.keras.backend.get_session(), sys.argv[1], {ends})"
    code = f"import sys, tensorflow as tf; net = tf.keras.applications.ResNet50(); {write}"
    subprocess.run([host.python, "-c", code, str(saved)], check=True, env={**os.environ, **host.env})
    return saved


@pytest.mark.usefixtures("warm_pool")
def test_built_where_no_device_is_and_measured_where_no_compiler_is(
    machine: Machine, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = machine(TF2)
    monkeypatch.delenv("NEURON_DOUBLE")
    monkeypatch.setenv("PATH", os.defpath)
    detect.cache_clear()
    base = asked(host, pictures)
    status, history = sweep(tmp_path / "out", "plan=build", base=base)
    assert (status, only(history).status) == (0, Status.STOPPED)
    for name, value in host.env.items():
        monkeypatch.setenv(name, value)
    detect.cache_clear()
    host.fault("compiler_absent")
    status, history = sweep(tmp_path / "out", "plan=measure", base=base)
    assert (status, only(history).status) == (0, Status.OK), only(history).reason


# --- one sweep, three interpreters ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_pool")
def test_one_sweep_over_three_interpreters(
    machine: Machine, neuron_hosts: NeuronHosts, pictures: Path, tmp_path: Path
) -> None:
    host = machine(TF2X)
    torch = neuron_hosts.get("torch_neuronx", "inf2.xlarge")  # its interpreter, on the machine that there is
    keras = f"model:resnet50_keras,model.weights:imagenet,data:npz,data.path:'{pictures}'"
    digits = "model:digits,data:custom,data._target_:tests.support.few_digits.images"
    combinations = [
        f"{{backend:torch,precision:fp32,{digits}}}",
        f"{{backend:tensorflow_neuronx,backend.python:'{host.python}',precision:bf16,{keras}}}",
        f"{{backend:neuronx,backend.python:'{torch.python}',precision:bf16,{digits}}}",
    ]
    status, history = sweep(
        tmp_path / "out",
        "hardware=inf2_xlarge",
        "batch=4",
        f"combinations=[{','.join(combinations)}]",
        base=[*QUICK, "effort.repeats=1"],
    )
    found = {r.settings["backend"]: r for r in history.records.values()}
    assert status == 0
    assert sorted(found) == ["neuronx", "tensorflow_neuronx", "torch"]
    assert {(r.status, r.reason) for r in found.values()} == {(Status.OK, "")}
    assert "tensorflow-neuronx" in found["tensorflow_neuronx"].builds[0]["versions"]
    assert "torch-neuronx" in found["neuronx"].builds[0]["versions"]


# --- what goes wrong --------------------------------------------------------------------------------------------------

SILENT = "the compiler failed without a word"
FALLBACKS: dict[str, list[tuple[str, Json, str]]] = {
    TF1: [
        ("silent_cpu_fallback", {}, "the compiler fell back"),
        ("scheduler_failure", {}, SCHEDULER),
        ("compiler_oom", {}, SILENT),
        ("bad_pipeline_size", {}, "The requested number of neuroncore-pipeline-cores (4) may not be suitable"),
    ],
    TF2: [
        ("silent_cpu_fallback", {}, "the compiler fell back"),
        ("compiler_crash", {"variant": 0}, "Assertion 'deltaElems <= max' failed"),
        ("compiler_segfault", {}, SILENT),
    ],
    TF2X: [("unsupported_operator", {}, "[NCC_EUOC002] An unsupported operator was used: fft")],
}


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("wheel", list(FALLBACKS))
def test_a_compiler_that_only_warns_has_failed_for_its_own_reason(
    machine: Machine, pictures: Path, tmp_path: Path, wheel: str
) -> None:
    host, faults = machine(wheel), FALLBACKS[wheel]
    for batch, (fault, when, _) in enumerate(faults, 1):
        host.fault(fault, batch=batch, **when)
    batches = ",".join(str(batch) for batch in range(1, len(faults) + 1))
    backend = "tensorflow_neuronx" if wheel == TF2X else "tensorflow_neuron"
    status, history = sweep(tmp_path / "out", f"batch={batches}", base=asked(host, pictures, backend))
    assert status == 2
    for (batch, _), record in by_cell(history).items():
        failure = record.failure
        assert failure is not None
        assert (record.status, failure.kind) == (Status.BUILD_FAILED, FailureKind.PARTIAL_PLACEMENT)
        told = "only 0% of the operators run on the target (limit 90%): " + faults[batch - 1][2]
        assert failure.summary.startswith(told)
        assert host.python in failure.command
    assert host.calls("load") == []


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("wheel", [TF1, TF2])
def test_a_part_on_the_cpu_is_told_with_its_share(machine: Machine, pictures: Path, tmp_path: Path, wheel: str) -> None:
    host = machine(wheel)
    host.fault("low_on_device_ratio", ratio=0.5)
    _, history = sweep(tmp_path / "out", base=asked(host, pictures))
    assert only(history).status is Status.BUILD_FAILED
    assert 30 < int(only(history).reason.split("%")[0].rpartition(" ")[2]) < 70
    allowed = (tmp_path / "out2", "gates.placement_min=0.2")
    _, history = sweep(*allowed, base=asked(host, pictures))
    assert only(history).status is Status.OK  # a person may want to know how fast that is, and the share is there
    assert 0.3 < only(history).builds[0]["placement"] < 0.7


@pytest.mark.usefixtures("warm_pool")
@pytest.mark.parametrize("wheel", [TF1, TF2])
def test_a_compiler_that_hangs_is_ended_at_the_deadline_of_the_sweep(
    machine: Machine, pictures: Path, tmp_path: Path, wheel: str
) -> None:
    host = machine(wheel)
    host.fault("compile_hang")
    _, history = sweep(tmp_path / "out", "limits.build_seconds=3", base=asked(host, pictures))
    failure = only(history).failure
    assert failure is not None
    assert (failure.kind, failure.summary) == (FailureKind.TIMEOUT, "not finished after 3 s: killed at the deadline")


@pytest.mark.usefixtures("warm_pool")
def test_no_compiler_is_told_before_anything_is_traced(machine: Machine, pictures: Path, tmp_path: Path) -> None:
    host = machine(TF2)
    host.fault("compiler_absent")
    _, history = sweep(tmp_path / "out", base=asked(host, pictures))
    failure = only(history).failure
    assert failure is not None
    assert failure.kind is FailureKind.TOOLCHAIN_MISSING
    assert failure.summary == f"neuron-cc is not found: {host.python} -m pip install neuron-cc"


RUNS: list[tuple[str, Json, Status, FailureKind]] = [
    ("nan_outputs", {}, Status.REJECTED, FailureKind.NUMERICAL_ERROR),
    ("wrong_answers", {}, Status.REJECTED, FailureKind.WRONG_OUTPUT),
    ("runner_killed", {}, Status.RUN_FAILED, FailureKind.CRASH),
    ("device_oom", {}, Status.RUN_FAILED, FailureKind.DEVICE_OOM),
    ("host_oom", {}, Status.RUN_FAILED, FailureKind.HOST_OOM),
    ("artifact_incompatible", {}, Status.RUN_FAILED, FailureKind.ARTIFACT_INCOMPATIBLE),
    ("runtime_unavailable", {}, Status.RUN_FAILED, FailureKind.TOOLCHAIN_MISSING),
    ("exec_timeout", {}, Status.RUN_FAILED, FailureKind.TIMEOUT),
    ("shape_mismatch", {"variant": 1}, Status.RUN_FAILED, FailureKind.SHAPE_MISMATCH),
    ("shape_mismatch", {"variant": 2}, Status.RUN_FAILED, FailureKind.SHAPE_MISMATCH),
    ("hardware_error", {}, Status.RUN_FAILED, FailureKind.HARDWARE_ERROR),
]


@pytest.mark.usefixtures("warm_pool")
def test_what_tensorflow_makes_of_the_runtimes_errors_keeps_its_kind(
    machine: Machine, pictures: Path, tmp_path: Path
) -> None:
    host = machine(TF2)
    for batch, (fault, when, _, _) in enumerate(RUNS, 1):
        host.fault(fault, batch=batch, **when)
    _, history = sweep(tmp_path / "out", f"batch={','.join(map(str, range(1, 12)))}", base=asked(host, pictures))
    found = {batch: (r.status, r.failure and r.failure.kind) for (batch, _), r in by_cell(history).items()}
    assert found == {batch: (status, kind) for batch, (_, _, status, kind) in enumerate(RUNS, 1)}


@pytest.mark.usefixtures("warm_pool")
def test_a_core_that_is_busy_is_asked_for_again(machine: Machine, pictures: Path, tmp_path: Path) -> None:
    host = machine(TF2)
    host.fault("core_unavailable", times=1)
    _, history = sweep(tmp_path / "out", base=asked(host, pictures))
    record = only(history)
    assert record.status is Status.OK, record.reason
    host.fault("core_unavailable")
    _, history = sweep(tmp_path / "out", "limits.transient_retries=1", base=asked(host, pictures))
    failure = only(history).failure
    assert failure is not None
    assert failure.kind is FailureKind.CORE_UNAVAILABLE
    assert len(only(history).attempts) == 1


# --- what is refused before anything runs -----------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("wheel", "more", "says"),
    [
        (
            TF2,
            ["request_batch=3"],
            "tensorflow_neuron takes 3 items as built for batch=1 only with backend.options",
        ),
        (TF2, ["cores=8"], "asks for 8 NeuronCores, inf1_xlarge has 4: use cores=1,2,4"),
        (TF2, ["precision=fp32"], "inf1_xlarge has no fp32: it has bf16, fp16"),
        (TF2, ["backend.options.extra_args=['--fp32-cast=all']"], "holds --fp32-cast: set fp32_cast"),
        (TF2, ["model=digits"], "tensorflow_neuron takes no model of format module: it takes keras, saved_model"),
        (TF2, ["backend=tensorflow_neuronx"], "tensorflow_neuronx builds for inf2, trn1, trn1n, not for inf1"),
        (
            TF2X,
            ["backend=tensorflow_neuron"],
            "tensorflow_neuron is for inf1, inf2_xlarge is inf2: use backend=tensor",
        ),
        (TF2X, ["cores=2"], "runs one copy on one core: use replicas=..., or backend.options.auto_multicore=true"),
        (TF2X, ["model=saved_model", "model.path=x"], "can run code when loaded: set model.trust=true"),
    ],
)
def test_plan_says_what_cannot_work(machine: Machine, pictures: Path, wheel: str, more: list[str], says: str) -> None:
    host = machine(wheel)
    backend = "tensorflow_neuronx" if wheel == TF2X else "tensorflow_neuron"
    keys = {word.partition("=")[0] for word in more}
    base = [word for word in asked(host, pictures, backend) if word.partition("=")[0] not in keys]
    base = [word for word in base if "model" not in keys or not word.startswith("model.")]
    (entry,) = plan_trials(*base, *more).entries
    assert entry.status is Status.INVALID
    assert says in entry.reason


@pytest.mark.process
def test_sixteen_copies_in_one_process_are_too_many(machine: Machine, pictures: Path) -> None:
    host = machine(TF2, "inf1.6xlarge")
    (entry,) = plan_trials(*asked(host, pictures), "cores=16", "backend.options.auto_multicore=true").entries
    assert "over at most 4 cores in one process: use cores=4 replicas=4" in entry.reason


@pytest.mark.usefixtures("warm_pool")
def test_what_is_not_installed_is_named_with_the_line_that_installs_it(
    machine: Machine, pictures: Path, tmp_path: Path
) -> None:
    host = machine("torch_neuronx", "inf2.xlarge")
    _, history = sweep(tmp_path / "out", base=asked(host, pictures, "tensorflow_neuronx"))
    record = only(history)
    assert record.status is Status.UNAVAILABLE
    assert record.reason.startswith(f"not installed: tensorflow, tensorflow-neuronx; {host.python} -m pip install")

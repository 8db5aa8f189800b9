"""backend=neuronx against a strict double of torch_neuronx: what it compiles, where it runs, what it refuses."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends
from sweep.backends.neuron import neuronx, output, sdk, torch_common
from sweep.backends.neuron.neuronx import NeuronXOptions
from sweep.spec import BuildSpec, Placement, Trial, TrialError
from sweep.spec import FailureKind as K
from tests.support.neuron_bench import Bench, Built, fixtures

NEURONX = backends.get("neuronx")
INF2 = {"name": "inf2_xlarge", "instance_type": "inf2.xlarge", "target": "inf2"}
bench, built = fixtures("torch_neuronx")


@pytest.fixture(autouse=True)
def by_the_rules(bench: Bench) -> Iterator[None]:
    """No test may make the backend break a documented rule."""
    yield
    bench.host.heal()
    assert bench.host.violations() == []


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Any]:
    """Makes other machines, and closes them."""
    made: list[Bench] = []

    def make(instance_type: str, name: str = "other", **host: Any) -> Bench:
        made.append(Bench(tmp_path / name, "torch_neuronx", instance_type, **host))
        return made[-1]

    yield make
    for one in made:
        one.close()
        assert one.host.violations() == []


def last(bench: Bench, name: str) -> dict[str, Any]:
    return bench.host.calls(name)[-1]


def flags(bench: Bench) -> list[str]:
    words: list[str] = last(bench, "trace")["compiler_args"]
    return words


# --- what is compiled -------------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("precision", "options", "words"),
    [
        ("fp32", {}, "--target inf2 --model-type generic --optlevel 2 --auto-cast none"),
        ("bf16", {}, "--target inf2 --model-type generic --optlevel 2 --auto-cast all --auto-cast-type bf16"),
        (
            "fp16",
            {"auto_cast": "matmult", "optlevel": 1, "model_type": "transformer", "target": "trn1"},
            "--target trn1 --model-type transformer --optlevel 1 --auto-cast matmult --auto-cast-type fp16",
        ),
    ],
)
def test_every_flag_is_passed_and_kept(precision: str, options: dict[str, Any], words: str, bench: Bench) -> None:
    """Defaults of the compiler changed between releases; what was asked for must not."""
    made = bench.build(precision=precision, **options)
    given = [*words.split(), "--enable-mixed-precision-accumulation"]
    assert flags(bench) == given
    assert made.info.notes["compiler_args"] == given
    assert made.info.precision == precision
    assert made.info.placement == 1.0
    stated = torch_common.read_stated(made.folder / "model.pt")
    assert list(stated.arguments) == given
    assert stated.shapes == ((2, 8),)
    assert stated.versions["neuronx-cc"] == made.info.versions["neuronx-cc"]
    outcome = bench.measure(made)
    assert outcome.result is not None
    assert outcome.result["precision"] == precision


@pytest.mark.process
def test_free_arguments_are_passed_on_and_accumulation_can_be_narrow(bench: Bench) -> None:
    made = bench.build(mixed_precision_accumulation=False, extra_args=["--enable-saturate-infinity"])
    assert flags(bench)[-2:] == ["--disable-mixed-precision-accumulation", "--enable-saturate-infinity"]
    assert made.outcome.failure is None


def test_logical_cores_are_explicit_on_trn2_alone() -> None:
    assert "--logical-nc-config 2" in " ".join(neuronx.compiler_args(NeuronXOptions(target="trn2"), "bf16"))
    assert "--logical-nc-config 1" in " ".join(neuronx.compiler_args(NeuronXOptions(target="trn2", lnc=1), "bf16"))
    assert "--logical-nc-config" not in neuronx.compiler_args(NeuronXOptions(target="trn1"), "bf16")


@pytest.mark.process
def test_logical_cores_are_those_of_the_artifact_when_it_is_loaded(another: Any) -> None:
    host = another("trn2.48xlarge")
    made = host.build(target="trn2", lnc=1)
    assert made.info.notes["lnc"] == 1
    assert host.measure(made, (3,)).failure is None
    assert last(host, "load")["env"]["NEURON_LOGICAL_NC_CONFIG"] == "1"


@pytest.mark.parametrize(
    ("arguments", "weights", "precision"),
    [
        (["--auto-cast", "none"], "fp32", "fp32"),
        (["--auto-cast", "none"], "bf16", "bf16"),
        (["--auto-cast", "matmult", "--auto-cast-type", "bf16"], "fp32", "bf16"),
        (["--auto-cast", "all", "--auto-cast-type=fp16"], "fp32", "fp16"),
        (["--auto-cast", "all", "--auto-cast-type", "bf16", "--auto-cast-type", "tf32"], "fp32", "tf32"),
        ([], "fp32", "unknown"),
    ],
)
def test_precision_is_read_back_from_the_flags(arguments: list[str], weights: str, precision: str) -> None:
    assert neuronx.precision_of(arguments, weights) == precision


@pytest.mark.process
def test_narrow_weights_are_not_called_fp32(bench: Bench) -> None:
    """--auto-cast concerns fp32 graphs only."""
    assert bench.build(model="narrow", precision="fp32").info.precision == "bf16"


@pytest.mark.process
def test_the_environment_of_a_shell_changes_nothing(bench: Bench) -> None:
    made = bench.build(env={"NEURON_CC_FLAGS": "--auto-cast=all --optlevel=1"})
    env = last(bench, "trace")["env"]
    assert "NEURON_CC_FLAGS" not in env
    assert "NEURON_COMPILE_CACHE_URL" in env
    assert "is left out" in Path(made.outcome.log).read_text()


@pytest.mark.process
def test_answers_agree_and_outputs_are_float32(bench: Bench) -> None:
    exact, close = bench.answers(*(bench.measure(bench.build(precision=name)) for name in ("fp32", "bf16")))
    assert exact.dtype == close.dtype == np.float32
    assert 0 < np.abs(exact - close).max() < 0.05
    two = bench.measure(bench.build(model="vit", precision="fp32"))
    assert set(np.load(Path(two.log).parent / "outputs.npz").files) == {"index", "output_0", "output_1"}


@pytest.mark.process
def test_little_is_left_beside_the_artifact(built: Built) -> None:
    assert sorted(path.name for path in built.folder.iterdir()) == ["compiler.log", "model.pt"]
    assert "Compiler status PASS" in (built.folder / "compiler.log").read_text()
    with zipfile.ZipFile(built.folder / "model.pt") as archive:
        assert any(name.endswith("extra/sweep.json") for name in archive.namelist())


@pytest.mark.process
def test_a_damaged_artifact_is_told(bench: Bench, built: Built, tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes((built.folder / "model.pt").read_bytes()[:5000])
    for folder, told in ((tmp_path, "cannot be loaded"), (tmp_path / "none", "the artifact has no model.pt")):
        failure = bench.measure(Built(built.spec, built.outcome, folder)).failure
        assert failure is not None
        assert failure.kind is K.ARTIFACT_INCOMPATIBLE
        assert told in failure.summary


# --- with and without a device ----------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_compile_host_needs_no_device_and_a_device_host_is_used(bench: Bench, built: Built) -> None:
    assert last(bench, "trace")["cpu_backend"] is False
    assert last(bench, "trace")["env"]["NEURON_RT_NUM_CORES"] == "1"  # not the whole chip
    elsewhere = bench.build(env={"NEURON_DOUBLE": "", "PATH": "/usr/bin:/bin"})
    assert elsewhere.info.notes["cpu_backend"] is True
    assert bench.measure(elsewhere).failure is None


@pytest.mark.process
@pytest.mark.parametrize("asked", [True, False])
def test_it_can_be_said(asked: bool, bench: Bench) -> None:
    bench.build(cpu_backend=asked)
    assert last(bench, "trace")["cpu_backend"] is asked


def test_a_second_build_at_once_leaves_the_device_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sdk, "has_device", lambda: True)
    monkeypatch.setattr(neuronx.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("NEURON_RT_NUM_CORES", "")
    with neuronx._without_device("auto") as first, neuronx._without_device("auto") as second:
        assert (first, second) == (False, True)
    with neuronx._without_device("auto") as third:
        assert third is False


@pytest.mark.process
def test_a_replica_sees_its_cores_alone(another: Any) -> None:
    host = another("inf2.24xlarge")
    made = host.build()
    assert host.measure(made, (2,), (5,)).failure is None
    loads = host.host.calls("load")[1:]  # the first is the build's
    assert {(call["core"], call["env"]["NEURON_RT_VISIBLE_CORES"]) for call in loads} == {(2, "2"), (5, "5")}
    assert len({call["pid"] for call in loads}) == 2
    assert all("NEURON_RT_NUM_CORES" not in call["env"] for call in loads)
    wide = host.measure(made, (2, 3, 4), request_batch=6)
    assert wide.failure is None
    assert last(host, "load")["env"]["NEURON_RT_VISIBLE_CORES"] == "2-4"


@pytest.mark.process
def test_the_core_is_chosen_by_the_documented_name_then_the_old_one(bench: Bench, built: Built, another: Any) -> None:
    assert bench.measure(built, (1,)).failure is None
    assert {**last(bench, "neuron_cores_context"), "env": 0, "pid": 0}.items() >= {"start_nc": 0, "nc_count": 1}.items()
    old = another("inf2.xlarge", placement="experimental")
    assert old.measure(old.build(), (1,)).failure is None
    assert len(old.host.calls("neuron_cores_context")) == 1


@pytest.mark.parametrize("name", ["neuron", "neuronx"])
def test_the_sdk_is_never_imported_before_the_fork(name: str) -> None:
    """A forked copy cannot use a runtime that its parent started, nor choose cores once the SDK is there."""
    backend = backends.get(name)
    assert {*backend.preload_build, *backend.preload_run} == {"torch"}


def test_cores_that_are_not_consecutive_cannot_be_said() -> None:
    assert sdk.format_cores((4,)) == "4"
    assert sdk.format_cores((2, 3, 4)) == "2-4"
    with pytest.raises(ValueError, match="not consecutive"):
        sdk.format_cores((0, 2))


def test_cores_cannot_change_once_the_sdk_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", "0")
    monkeypatch.setenv("NEURONCORE_GROUP_SIZES", "4x1")
    monkeypatch.setitem(sys.modules, "torch_neuronx", sys)
    sdk.claim(Placement("neuron", (0,)), ("torch_neuronx",))
    with pytest.raises(TrialError, match="each replica needs a process of its own"):
        sdk.claim(Placement("neuron", (1,)), ("torch_neuronx",))
    assert "NEURONCORE_GROUP_SIZES" not in sdk.os.environ


# --- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_several_cores_split_a_request(bench: Bench, built: Built) -> None:
    outcome = bench.measure(built, (0, 1), request_batch=4)
    assert outcome.failure is None
    call = last(bench, "DataParallel")
    assert (call["device_ids"], call["dim"], call["dynamic"]) == ([0, 1], 0, False)
    np.testing.assert_allclose(*bench.answers(outcome, bench.measure(built)), rtol=1e-5)
    assert _summary(bench.measure(built, (0, 1), request_batch=2)) == ("built for inputs of shape 4x8, called with 2x8")


@pytest.mark.process
def test_several_cores_can_hold_a_copy_each(bench: Bench, built: Built) -> None:
    assert bench.measure(built, (0, 1), spread="replicate").failure is None
    assert last(bench, "neuron_cores_context")["nc_count"] == 2


@pytest.mark.process
def test_dynamic_batching_takes_requests_of_any_size(bench: Bench) -> None:
    made = bench.build(dynamic_batch=True)
    for cores, size in (((0,), 5), ((0,), 1), ((0, 1), 3)):
        assert bench.measure(made, cores, request_batch=size).failure is None
    assert last(bench, "DataParallel")["dynamic"] is True


@pytest.mark.process
def test_a_request_of_another_shape_is_refused_before_the_device(bench: Bench, built: Built) -> None:
    assert _summary(bench.measure(built, request_batch=3)) == "built for inputs of shape 2x8, called with 3x8"
    options = {"dynamic_batch": True}
    stated = torch_common.Stated("bf16", ((2, 8), (2, 3)), ("float32", "float32"), (), options, {})
    pytest.importorskip("torch")
    runner = torch_common.NeuronRunner(None, stated, Placement("neuron", (0,)))
    good = (np.zeros((5, 8), np.float32), np.zeros((5, 3), np.float32))
    assert runner.check_shapes(good) == good
    for bad in ((good[0], good[1][:4]), (good[0][:, :7], good[1]), good[:1]):
        with pytest.raises(TrialError, match="built for inputs of shape anyx8, anyx3, called with") as caught:
            runner.check_shapes(bad)
        assert caught.value.kind is K.SHAPE_MISMATCH


@pytest.mark.process
def test_what_dynamic_batching_cannot_split_is_a_wrong_shape() -> None:
    pytest.importorskip("torch")

    def refuses(*_: Any) -> None:
        raise ValueError("dim 0 differs")

    stated = torch_common.Stated("bf16", ((2, 8),), ("float32",), (), {}, {})
    runner = torch_common.NeuronRunner(refuses, stated, Placement("neuron", (0,)))
    with pytest.raises(TrialError, match="the device refuses the request: dim 0 differs") as caught:
        runner.run((1,))
    assert caught.value.kind is K.SHAPE_MISMATCH


@pytest.mark.process
def test_a_lazy_load_is_part_of_loading(bench: Bench) -> None:
    made = bench.build(lazy_load=True)
    bench.host.fault("load_delay", seconds=0.6)
    outcome = bench.measure(made)
    assert outcome.result is not None
    assert outcome.result["load_seconds"] > 0.6
    assert outcome.result["first_request_ms"] < 600


@pytest.mark.process
def test_separated_weights_are_moved_to_the_core_once(bench: Bench) -> None:
    made = bench.build(inline_weights=False)
    assert last(bench, "trace")["inline_weights_to_neff"] is False
    assert bench.measure(made).failure is None
    assert last(bench, "move_trace_to_device")["device_id"] == 0
    assert bench.host.calls("weights_copied") == []


@pytest.mark.process
def test_what_the_compiler_does_not_take_may_stay_on_the_host(bench: Bench) -> None:
    failure = bench.build(model="sorts").failure
    assert failure.kind is K.UNSUPPORTED_OPERATOR
    made = bench.build(model="sorts", partition={"ops_to_partition": ["aten::sort"]})
    assert 0.0 < made.info.placement <= 1.0
    assert made.info.notes["partition"] == {"ops_to_partition": ["aten::sort"]}
    assert bench.measure(made).failure is None
    narrow = bench.build(model="sorts", partition={"model_support_percentage_threshold": 0.99}).failure
    assert "below the threshold" in narrow.summary


@pytest.mark.process
def test_the_share_on_the_device_is_what_is_not_left_in_the_graph() -> None:
    torch = pytest.importorskip("torch")
    library = torch.library.Library("neuron", "FRAGMENT")  # as an SDK registers its operator
    library.define("sweep_test(Tensor x) -> Tensor")
    library.impl("sweep_test", lambda x: x.clone(), "CompositeExplicitAutograd")

    class Part(torch.nn.Module):  # type: ignore[misc]  # torch is imported here
        def forward(self, x: Any) -> Any:
            return torch.sort(torch.ops.neuron.sweep_test(x), -1)[0]

    class Whole(torch.nn.Module):  # type: ignore[misc]  # torch is imported here
        def forward(self, x: Any) -> Any:
            return torch.sort(torch.relu(x.sin().cos()), -1)[0]

    x = torch.zeros(2, 3)
    with torch_common.common.quiet():
        traced = torch.jit.trace(Part(), x)
        whole = torch.jit.trace(Whole(), x)
    assert torch_common.share_on_device(traced, Whole(), (x,)) == 0.75
    assert torch_common.share_on_device(whole, Whole(), (x,)) == 0.0


# --- bad luck ---------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_an_artifact_of_another_compiler_says_both_versions(bench: Bench, built: Built, another: Any) -> None:
    older = another("inf2.xlarge", neuronx_cc="2.20.0.0")
    failure = older.measure(built).failure
    assert failure is not None
    assert failure.kind is K.ARTIFACT_INCOMPATIBLE
    assert "neuronx-cc 2.26.6360.0" in failure.summary
    assert "here are" in failure.summary
    assert "neuronx-cc 2.20.0.0" in failure.summary


@pytest.mark.process
def test_an_artifact_for_another_device_says_its_target(bench: Bench, another: Any) -> None:
    for_trn2 = bench.build(target="trn2")
    assert for_trn2.outcome.failure is not None  # with a device: the trace loads it there
    for_trn2 = bench.build(target="trn2", cpu_backend=True)
    assert "built for trn2" in _summary(bench.measure(for_trn2))


@pytest.mark.process
def test_a_core_that_another_process_holds(bench: Bench, built: Built) -> None:
    """The exception speaks of the runtime; the runtime's own line of the busy core."""
    failure = bench.measure(built, (0,), (0,)).failure
    assert failure is not None
    assert failure.kind is K.CORE_UNAVAILABLE
    assert "not available - Requested" in failure.summary


@pytest.mark.process
def test_the_runtimes_line_goes_before_the_exception() -> None:
    """What native code prints is overheard: the exception alone would send people to the driver."""
    line = "ERROR NRT:nrt_allocate_neuron_cores NeuronCore(s) not available - Requested:nc1-nc1 Available:0"

    def start() -> None:
        with output.explain():
            subprocess.run(["echo", line], check=True)
            raise RuntimeError("Neuron runtime cannot be initialized; cannot determine the number of cores")

    with pytest.raises(TrialError, match="Requested:nc1-nc1") as caught:
        start()
    assert caught.value.kind is K.CORE_UNAVAILABLE


@pytest.mark.process
def test_a_host_without_a_driver(bench: Bench, built: Built) -> None:
    failure = bench.measure(built, env={"NEURON_DOUBLE": ""}).failure
    assert failure is not None
    assert failure.kind is K.TOOLCHAIN_MISSING
    assert "runtime cannot be initialized" in failure.summary


@pytest.mark.process
def test_more_cores_than_there_are(bench: Bench, built: Built) -> None:
    failure = bench.measure(built, (2,)).failure
    assert failure is not None
    assert (failure.kind, "Could not find VNC id 2" in failure.summary) == (K.CORE_UNAVAILABLE, True)


@pytest.mark.process
def test_more_than_the_core_holds(built: Built, another: Any) -> None:
    small = another("inf2.xlarge", core_memory_bytes=100)
    failure = small.measure(built).failure
    assert failure is not None
    assert failure.kind is K.DEVICE_OOM


@pytest.mark.process
@pytest.mark.parametrize(
    ("edit", "options", "told"),
    [
        ("del trace", {}, "torch_neuronx has no trace: "),
        ("del dynamic_batch", {"dynamic_batch": True}, "torch_neuronx has no dynamic_batch: "),
        ("def trace(func, example_inputs, compiler_args=None): pass", {}, "does not know the keyword compiler_workdir"),
        ("raise ImportError('libnrt.so.1: cannot open shared object file')", {}, "libnrt.so.1"),
    ],
)
def test_an_sdk_of_another_age_is_told_with_its_versions(
    edit: str, options: dict[str, Any], told: str, another: Any
) -> None:
    host = another("inf2.xlarge")
    with (host.host.site / "torch_neuronx" / "__init__.py").open("a") as file:
        file.write(f"\n{edit}\n")
    failure = host.build(**options).failure
    assert failure.kind is K.TOOLCHAIN_MISSING
    assert told in failure.summary
    if "torch_neuronx has" in told:
        assert "torch-neuronx 2.9.0" in failure.summary


@pytest.mark.process
def test_without_the_compiler(another: Any) -> None:
    host = another("inf2.xlarge")
    host.host.fault("compiler_absent")
    failure = host.build().failure
    assert (failure.kind, "not installed" in failure.summary) == (K.TOOLCHAIN_MISSING, True)


@pytest.mark.process
def test_a_trace_that_returns_the_model_as_it_is(another: Any) -> None:
    host = another("inf2.xlarge")
    with (host.host.site / "torch_neuronx" / "__init__.py").open("a") as file:
        file.write(
            "\nimport torch\ndef trace(func, example_inputs, **_): return torch.jit.trace(func, example_inputs)\n"
        )
    failure = host.build().failure
    assert (failure.kind, "nothing for the device" in failure.summary) == (K.PARTIAL_PLACEMENT, True)


def test_device_memory_is_what_the_driver_counts(tmp_path: Path) -> None:
    for core, sizes in enumerate(((1 << 20, 2 << 20), (7 << 20,), (), ())):
        for category, size in enumerate(sizes):
            path = tmp_path / sdk.SYSFS / f"neuron{core // 2}/neuron_core{core % 2}/stats/memory_usage"
            (path / f"device_mem/{category}").mkdir(parents=True)
            (path / f"device_mem/{category}/present").write_text(f"{size}\n")
    assert sdk.device_memory_mb((0,), root=tmp_path) == 3.0
    assert sdk.device_memory_mb((1,), root=tmp_path) == 7.0
    assert sdk.device_memory_mb((0,), 2, root=tmp_path) == 10.0
    assert sdk.device_memory_mb((0,), root=tmp_path / "none") == 0.0


# --- what the parent may ask ------------------------------------------------------------------------------------------


def spec(precision: str = "bf16", **options: Any) -> BuildSpec:
    return BuildSpec({"format": "module"}, {}, "neuronx", {"target": "inf2", **options}, precision, 1, device="neuron")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (spec("int8"), "neuronx has no int8: it has fp32, bf16, fp16"),
        (spec(target="auto"), "does not say what to compile for: set backend.options.target to one of inf2, trn1"),
        (spec(target="inf1"), "use backend=neuron"),
        (spec(target="inf3"), "neuronx does not compile for inf3: it compiles for inf2, trn1, trn1n, trn2"),
        (spec(lnc=2), "lnc is for target=trn2 alone"),
        (spec(extra_args=["--auto-cast=all"]), "extra_args holds --auto-cast: set backend.options.auto_cast"),
        (spec(extra_args=["-O1"]), "set backend.options.optlevel"),
    ],
)
def test_what_cannot_be_built_is_one_line(given: BuildSpec, told: str) -> None:
    refused = NEURONX.supports(given)
    assert refused is not None
    assert told in refused
    assert "\n" not in refused


def trial(hardware: dict[str, Any] | None = None, **changes: Any) -> Trial:
    options = {"target": "auto", **changes.pop("options", {})}
    shape = {"batch": 4, "cores": 1, "replicas": 1, "precision": "bf16", **changes}
    backend = {"name": "neuronx", "device": "neuron", "options": options}
    return Trial({"name": "m"}, {"name": "d"}, INF2 if hardware is None else hardware, backend, **shape)


@pytest.mark.parametrize(
    ("hardware", "target"),
    [
        (INF2, "inf2"),
        ({"name": "x", "instance_type": "trn1n.32xlarge"}, "trn1n"),
        ({"name": "x", "instance_type": "trn2u.48xlarge"}, "trn2"),
        ({"name": "x", "instance_type": "c5.xlarge"}, "auto"),
        ({"name": "local", "target": None}, "auto"),
        ({"name": "x", "target": "inf1"}, "inf1"),
    ],
)
def test_the_target_is_that_of_the_hardware(hardware: dict[str, Any], target: str) -> None:
    assert NEURONX.build_options(trial(hardware))["target"] == target
    assert NEURONX.build_options(trial(hardware, options={"target": "trn2"}))["target"] == "trn2"
    assert "spread" not in NEURONX.build_options(trial(hardware, options={"spread": "replicate"}))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (trial(), None),
        (trial(request_batch=8), "neuronx takes requests of the batch that it was built for"),
        (trial(request_batch=8, options={"dynamic_batch": True}), None),
        (trial(cores=2), "split over 2 cores: use request_batch=8 (batch x cores), or dynamic_batch=true"),
        (trial(cores=2, request_batch=8), None),
        (trial(cores=2, options={"dynamic_batch": True}), None),
        (trial(cores=2, options={"spread": "replicate"}), None),
        (trial(cores=2, request_batch=8, options={"spread": "replicate"}), "leave out request_batch"),
        (trial(cores=2, request_batch=8, options={"inline_weights": False}), "use cores=1 with replicas"),
        (trial(options={"target": "trn1"}), None),  # the same NeuronCores
        (trial(options={"target": "trn2"}), "inf2 cannot run what is built for trn2"),
    ],
)
def test_what_cannot_run_is_one_line(asked: Trial, told: str | None) -> None:
    refused = NEURONX.runs(asked)
    assert (refused is None) == (told is None)
    assert told is None or (refused is not None and told in refused)


def test_an_artifact_that_says_nothing_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("model/data.pkl", json.dumps({}))
    with pytest.raises(ValueError, match="says nothing about itself"):
        torch_common.read_stated(tmp_path / "model.pt")


def _summary(outcome: Any) -> str:
    assert outcome.failure is not None
    return str(outcome.failure.summary)

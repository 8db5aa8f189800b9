"""The contract that every backend keeps, in every precision that it has; and what each says where it cannot.

Each case builds once, for batch 2, and is then asked in many ways. CUDA is not tested here: it needs a GPU.
"""

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import yaml

from sweep import backends, workloads
from sweep.backends import cpu, fake
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Placement, TrialError, UserError

ROOT = Path(__file__).parents[2]
BATCH = 2
FRAMEWORKS = ("torch", "onnxruntime", "onnx", "openvino", "nncf", "onnxscript", "tensorflow")
DIGITS: dict[str, Any] = {"name": "digits", "_target_": "sweep.workloads.digits.network", "format": "module"}
IMAGES: dict[str, Any] = {"name": "digits", "_target_": "sweep.workloads.digits.images"}
TINY: dict[str, Any] = {"name": "tiny", "_target_": "sweep.workloads.tiny.linear", "format": "numpy"}
SAMPLES: dict[str, Any] = {"name": "tiny", "_target_": "sweep.workloads.tiny.samples"}
OWN = "tests.backends.test_contract."

bf16_here = pytest.mark.skipif(not cpu.has_bf16(), reason="this processor does not multiply bf16")
CASES = [
    pytest.param(("fake", "fp32"), id="fake-fp32"),
    pytest.param(("fake", "fp16"), id="fake-fp16"),
    pytest.param(("torch", "fp32"), id="torch-fp32"),
    pytest.param(("torch", "bf16"), id="torch-bf16"),
    pytest.param(("torchscript", "fp32"), id="torchscript-fp32"),
    pytest.param(("torchscript", "bf16"), id="torchscript-bf16"),
    pytest.param(("onnxruntime", "fp32"), id="onnxruntime-fp32"),
    pytest.param(("onnxruntime", "int8"), id="onnxruntime-int8"),
    pytest.param(("openvino", "fp32"), id="openvino-fp32"),
    pytest.param(("openvino", "bf16"), id="openvino-bf16", marks=bf16_here),
    pytest.param(("openvino", "int8"), id="openvino-int8"),
    pytest.param(("inductor", "fp32"), id="inductor-fp32"),
    # Its C++ takes longest to build, and of other backends bf16 is tested, of inductor fp32
    pytest.param(("inductor", "bf16"), id="inductor-bf16", marks=pytest.mark.slow),
]
RELATIVE_ERROR = {"fp32": 1e-5, "fp16": 5e-3, "bf16": 3e-2, "int8": 0.2}


@functools.cache
def data_of(target: str) -> workloads.Dataset:
    return workloads.load_data({"name": "data", "_target_": target})


def source_of(model: dict[str, Any], data: workloads.Dataset, batch: int = BATCH) -> Source:
    def calibration() -> Iterator[Arrays]:
        samples = tuple(data.calibration.values())
        for begin in range(0, len(samples[0]) - batch + 1, batch):
            yield tuple(array[begin : begin + batch] for array in samples)

    example = tuple(array[:batch] for array in data.inputs.values())
    return Source(lambda: workloads.load_model(model), example, calibration, tuple(data.inputs))


def untouchable() -> Any:
    raise AssertionError("a backend with an artifact must not ask for the original when it loads")


class Built(NamedTuple):
    backend: Backend
    spec: BuildSpec
    info: BuildInfo
    folder: Path
    source: Source
    data: workloads.Dataset
    model: dict[str, Any]

    def load(self, threads: int = 1, folder: Path | None = None) -> Runner:
        has_artifact = any(self.folder.iterdir())
        source = self.source._replace(load_model=untouchable) if has_artifact else self.source
        return self.backend.load(folder or self.folder, self.spec, Placement(threads=threads), source)

    def batch(self, number: int) -> Arrays:
        some = slice(number * BATCH, (number + 1) * BATCH)
        return tuple(np.ascontiguousarray(array[some]) for array in self.data.inputs.values())


def build(name: str, precision: str, folder: Path, **changes: Any) -> Built:
    model, data = (TINY, SAMPLES) if name == "fake" else (DIGITS, IMAGES)
    model, data = changes.pop("model", model), changes.pop("data", data)
    options = changes.pop("options", {})
    loaded = data if isinstance(data, workloads.Dataset) else data_of(data["_target_"])
    described = data if isinstance(data, dict) else {"name": "data"}
    spec = BuildSpec(model, described, name, options, precision, BATCH, **changes)
    backend = backends.get(name)(options)
    source = source_of(model, loaded)
    folder.mkdir(exist_ok=True)
    return Built(backend, spec, backend.build(source, spec, folder), folder, source, loaded, model)


@pytest.fixture(scope="module", params=CASES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    name, precision = request.param
    backend = backends.get(name)
    if backend.missing():
        pytest.skip(str(backend.missing()))
    for package in backend.optional_packages.get(precision, ()):
        pytest.importorskip(package)
    return build(name, precision, tmp_path_factory.mktemp(f"{name}-{precision}"))


# --- the contract -----------------------------------------------------------------------------------------------------


def test_the_precision_asked_for_is_built_and_runs(built: Built) -> None:
    assert built.backend.supports(built.spec) is None
    assert built.info.precision == built.spec.precision
    assert built.load().precision == built.spec.precision


def test_answers_agree_with_the_original(built: Built) -> None:
    runner = built.load()
    count = 32 if built.spec.backend == "fake" else 100
    batches = [built.batch(number) for number in range(count)]
    answers = [runner.outputs(runner.run(runner.prepare(batch))) for batch in batches]
    assert all(len(answer) == 1 and answer[0].dtype == np.float32 for answer in answers)
    answer = np.concatenate([answer[0] for answer in answers])
    original = workloads.load_model(built.model)
    reference = workloads.run_reference(
        original, tuple(np.concatenate(arrays) for arrays in zip(*batches, strict=True))
    )[0]
    assert answer.shape == reference.shape
    assert (answer.argmax(1) == reference.argmax(1)).mean() >= (1.0 if built.spec.precision == "fp32" else 0.98)
    assert np.abs(answer - reference).max() / np.abs(reference).max() < RELATIVE_ERROR[built.spec.precision]


def test_results_stay_valid_after_later_calls(built: Built) -> None:
    runner = built.load()
    first, second = runner.prepare(built.batch(0)), runner.prepare(built.batch(1))
    raw = runner.run(first)
    before = runner.outputs(raw)[0].copy()
    others = [runner.outputs(runner.run(second))[0] for _ in range(3)]
    assert np.array_equal(runner.outputs(raw)[0], before)
    assert not np.array_equal(before, others[0])


def test_one_build_serves_any_number_of_threads(built: Built) -> None:
    answers = []
    for threads in (1, 2):
        runner = built.load(threads)
        answers.append(runner.outputs(runner.run(runner.prepare(built.batch(0))))[0])
        runner.close()
    np.testing.assert_allclose(answers[0], answers[1], rtol=1e-2, atol=1e-1 if built.spec.precision == "bf16" else 1e-3)


def test_other_shapes_than_those_built_for_are_refused(built: Built) -> None:
    runner = built.load()
    if runner.shapes is None:
        assert built.spec.backend == "torch"  # nothing was built for a shape
        return
    assert runner.shapes == tuple(array.shape for array in built.batch(0))
    one_more = tuple(np.concatenate([array, array[:1]]) for array in built.batch(0))
    with pytest.raises(TrialError, match=r"built for inputs of shape 2x.*, called with 3x") as caught:
        runner.prepare(one_more)
    assert caught.value.kind is FailureKind.SHAPE_MISMATCH


def test_the_artifact_is_whole_and_nothing_else_is_left(built: Built) -> None:
    files = {path.name for path in built.folder.rglob("*")}
    module = sys.modules[type(built.backend).__module__]
    if built.spec.backend == "torch":
        assert not files
        assert "none" in built.info.notes["artifact"]
        return
    assert getattr(module, "MODEL") in files  # noqa: B009  # the name is each module's own
    assert len(files) <= 2  # OpenVINO keeps the weights beside
    assert all(path.stat().st_size > 0 for path in built.folder.rglob("*"))


def test_a_damaged_artifact_is_told_from_a_failing_framework(built: Built, tmp_path: Path) -> None:
    if built.spec.backend == "torch":
        return  # it has none
    with pytest.raises(TrialError, match="the artifact has no model") as caught:
        built.load(folder=tmp_path)
    assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE
    for path in built.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(TrialError, match="cannot be loaded") as caught:
        built.load(folder=tmp_path)
    assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE


def test_versions_name_the_toolchain(built: Built) -> None:
    wanted = {*built.backend.packages, *built.backend.optional_packages.get(built.spec.precision, ())}
    assert wanted <= set(built.info.versions)
    assert set(built.backend.packages) <= set(built.backend.probe()["versions"])
    assert "cpu" in built.backend.probe()["devices"]


# --- what the parent may ask ------------------------------------------------------------------------------------------


def test_no_framework_is_imported_to_ask_a_backend() -> None:
    command = f"""
import sys
from sweep import backends, workloads
from sweep.spec import BuildSpec
for name in backends.names():
    backend = backends.get(name)
    backend.supports(BuildSpec({DIGITS!r}, {IMAGES!r}, name, {{}}, "bf16", 1))
    backend.missing(), backend.versions("int8")
found = [name for name in {FRAMEWORKS!r} if name in sys.modules]
assert not found, found
"""
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("name", [name for name in backends.names() if not backends.get(name).replays])
def test_what_cannot_work_is_one_line_that_says_what_would(name: str) -> None:
    backend = backends.get(name)
    precision, device = backend.precisions[0], backend.devices[0]
    target = {"target": "inf2"} if "target" in backend.compile_options else {}
    good = BuildSpec({"format": backend.formats[0]}, IMAGES, name, target, precision, 1, device=device)
    assert backend.supports(good) is None
    for bad, words in (
        (replace(good, precision="int3"), f"{name} has no int3: it has {precision}"),
        (replace(good, device="tpu"), f"{name} has no device tpu: it has {device}"),
        (replace(good, model={"format": "gguf"}), f"{name} takes no model of format gguf: it takes "),
    ):
        reason = backend.supports(bad)
        assert reason is not None
        assert reason.startswith(words)
        assert "\n" not in reason


def test_fp16_on_a_cpu_points_to_bf16() -> None:
    for name in ("torch", "torchscript", "inductor"):
        reason = backends.get(name).supports(BuildSpec(DIGITS, IMAGES, name, {}, "fp16", 1))
        assert reason == f"{name} fp16 is for device=cuda: on a CPU use precision=bf16"


def test_openvino_bf16_needs_a_processor_that_multiplies_it(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = BuildSpec(DIGITS, IMAGES, "openvino", {}, "bf16", 1)
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset({"avx2"}))
    assert "use precision=fp32" in str(backends.get("openvino").supports(spec))
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset({"amx_bf16"}))
    assert backends.get("openvino").supports(spec) is None


def test_inductor_without_a_compiler_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "apt-get install g++" in str(backends.get("inductor").missing())
    monkeypatch.setenv("CXX", sys.executable)
    assert backends.get("inductor").missing() is None


def test_an_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"there is no backend onnxruntim: did you mean onnxruntime\?"):
        backends.get("onnxruntim")


def test_the_built_in_table_is_that_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    section = text.split('[project.entry-points."sweep.backends"]')[1].split("\n[")[0]
    assert dict(re.findall(r'^(\w+) = "(.+)"$', section, re.MULTILINE)) == backends.BUILT_IN


@pytest.mark.parametrize("name", backends.names())
def test_every_compile_option_stands_in_the_configuration(name: str) -> None:
    config = yaml.safe_load((ROOT / "conf" / "backend" / f"{name}.yaml").read_text())
    assert config["name"] == name
    assert set(backends.get(name).compile_options) <= set(config["options"])
    assert config["device"] in backends.get(name).devices


def test_cuda_that_is_not_here_is_a_missing_core(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(TrialError) as caught:
        build("torch", "fp32", tmp_path, device="cuda")
    assert caught.value.kind is FailureKind.CORE_UNAVAILABLE


# --- models of other kinds --------------------------------------------------------------------------------------------


def two_inputs() -> Any:
    """Order and type of inputs matter, the outputs are a dict, and a number is among them."""
    import torch

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(11, 4)
            self.dense = torch.nn.Linear(4, 3)

        def forward(self, ids: Any, scale: Any) -> Any:
            pooled = self.table(ids).mean(1) * scale
            return {"pooled": pooled, "scores": self.dense(pooled)}

    return Two()


def only_relu() -> Any:
    import torch

    return torch.nn.ReLU()


def two_input_data() -> workloads.Dataset:
    random = np.random.RandomState(0)
    inputs = {"ids": random.randint(0, 11, (20, 5)), "scale": random.rand(20, 1).astype(np.float32)}
    return workloads.checked(workloads.Dataset(inputs, None, {}, "regression", None), "two")


@pytest.mark.parametrize("name", ["torch", "torchscript", "onnxruntime", "openvino"])
def test_several_inputs_and_outputs_keep_their_order_and_type(name: str, tmp_path: Path) -> None:
    model = {"name": "two", "_target_": OWN + "two_inputs", "format": "module"}
    made = build(name, "fp32", tmp_path, model=model, data=two_input_data())
    runner = made.load()
    answers = runner.outputs(runner.run(runner.prepare(made.batch(3))))
    reference = workloads.run_reference(workloads.load_model(model), made.batch(3))
    assert len(answers) == len(reference) == 2
    for answer, wanted in zip(answers, reference, strict=True):
        np.testing.assert_allclose(answer, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_int8_that_quantises_nothing_is_a_failure(name: str, tmp_path: Path) -> None:
    if name == "openvino":
        pytest.importorskip("nncf")
    values = np.random.RandomState(0).rand(20, 8).astype(np.float32)
    data = workloads.Dataset({"x": values}, None, {"x": values[:4]}, "regression", None)
    with pytest.raises(TrialError) as caught:
        build(name, "int8", tmp_path, model={"name": "relu", "_target_": OWN + "only_relu"}, data=data)
    assert caught.value.kind is FailureKind.UNSUPPORTED_DTYPE


def test_onnxruntime_says_what_it_quantised(tmp_path: Path) -> None:
    dense = build("onnxruntime", "int8", tmp_path / "dense").info.notes
    every = build("onnxruntime", "int8", tmp_path / "every", options={"int8_convolutions": True}).info.notes
    assert sum(dense["quantised"].values()) == 2
    assert dense["int8_weight_share"] == pytest.approx(0.763, abs=0.001)
    assert sum(every["quantised"].values()) == 5
    assert every["int8_weight_share"] > 0.999  # the rest are biases


def test_an_optimisation_level_that_is_not_known_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one of all, extended, basic, none"):
        build("onnxruntime", "fp32", tmp_path, options={"optimization": "most"})


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [BATCH, "n", 5])
def test_an_onnx_file_is_fixed_to_the_shape_asked_for(name: str, batch: int | str, tmp_path: Path) -> None:
    from tests.workloads.test_base import onnx_product

    path = onnx_product(tmp_path / "given.onnx", batch)
    model = {"name": "mine", "_target_": "sweep.workloads.files.onnx", "path": path, "format": "onnx"}
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    data = workloads.Dataset({"x": values}, None, {}, "regression", None)
    if batch == 5 and name == "onnxruntime":  # OpenVINO can change a shape that is fixed in the file
        with pytest.raises(TrialError) as caught:
            build(name, "fp32", tmp_path / "artifact", model=model, data=data)
        assert caught.value.kind is FailureKind.SHAPE_MISMATCH
        return
    made = build(name, "fp32", tmp_path / "artifact", model=model, data=data)
    runner = made.load()
    assert runner.shapes == ((BATCH, 2),)
    answer = runner.outputs(runner.run(runner.prepare(made.batch(1))))[0]
    np.testing.assert_allclose(answer, values[2:4] @ np.arange(6, dtype=np.float32).reshape(2, 3))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("torchscript", "torch"), ("torchscript", "torchscript"), ("torchscript", "openvino"), ("exported", "torch"),
     ("exported", "torchscript"), ("exported", "onnxruntime"), ("exported", "openvino")],
)  # fmt: skip
def test_torch_files_go_through_the_backends_that_say_so(kind: str, name: str, tmp_path: Path) -> None:
    import torch

    from sweep.backends.pytorch.common import quiet

    original = workloads.load_model(DIGITS)
    path, example = str(tmp_path / "given.bin"), torch.zeros(BATCH, 1, 28, 28)
    with quiet(), torch.no_grad():
        if kind == "torchscript":
            torch.jit.save(torch.jit.trace(original, example), path)
        else:
            torch.export.save(torch.export.export(original, (example,)), path)
    target = f"sweep.workloads.files.{kind}"
    model = {"name": kind, "_target_": target, "path": path, "format": kind, "trust": True}
    with quiet():
        made = build(name, "fp32", tmp_path / "artifact", model=model)
        runner = made.load()
    assert made.backend.supports(made.spec) is None
    answer = runner.outputs(runner.run(runner.prepare(made.batch(0))))[0]
    np.testing.assert_allclose(answer, workloads.run_reference(original, made.batch(0))[0], rtol=1e-3, atol=1e-3)


# --- the fake shows every failure -------------------------------------------------------------------------------------


def fake_answers(fault: str, folder: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    made = build("fake", "fp32", folder, options={"latency_ms": 0.0, "fault": fault, **options})
    runner = made.load()
    right = workloads.run_reference(workloads.load_model(TINY), made.batch(0))[0]
    return runner.outputs(runner.run(runner.prepare(made.batch(0))))[0], right


def fake_process(fault: str, folder: Path, repeat: int = 0, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Build and run the fake in a process of its own; it prints `done` if it gets through."""
    command = f"""
import pathlib
from tests.backends.test_contract import build
made = build("fake", "fp32", pathlib.Path({str(folder)!r}), options={ {"latency_ms": 0.0, "fault": fault, **options}!r})
runner = made.load()
for number in range(5):
    runner.run(runner.prepare(made.batch(number)))
print("done")
"""
    environment = {"SWEEP_REPEAT": str(repeat), "PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    return subprocess.run([sys.executable, "-c", command], capture_output=True, check=False, env=environment, cwd=ROOT)


def test_wrong_constant_and_nan_answers(tmp_path: Path) -> None:
    wrong, right = fake_answers("wrong_answers", tmp_path)
    assert (wrong.argmax(1) != right.argmax(1)).all()
    assert np.unique(fake_answers("constant_answers", tmp_path)[0]).size == 1
    assert np.isnan(fake_answers("nan_answers", tmp_path)[0]).all()


@pytest.mark.parametrize(
    ("fault", "error"),
    [("build_raise", RuntimeError), ("disk_full", OSError), ("import_missing", ModuleNotFoundError),
     ("build_memory", MemoryError)],
)  # fmt: skip
def test_builds_that_raise(fault: str, error: type[Exception], tmp_path: Path) -> None:
    with pytest.raises(error):
        build("fake", "fp32", tmp_path, options={"fault": fault, "fault_memory_mb": 64})
    assert not list(tmp_path.iterdir())


def test_a_truncated_artifact_is_found_when_it_is_loaded(tmp_path: Path) -> None:
    made = build("fake", "fp32", tmp_path, options={"fault": "build_truncated"})
    with pytest.raises(TrialError) as caught:
        made.load()
    assert caught.value.kind is FailureKind.ARTIFACT_INCOMPATIBLE


def test_a_silent_fallback_shows_in_the_placement_alone(tmp_path: Path) -> None:
    made = build("fake", "fp32", tmp_path, options={"fault": "build_silent_fallback"})
    assert made.info.placement == 0.0
    assert build("fake", "fp32", tmp_path).info.placement == 1.0


def test_a_request_that_raises_says_the_text_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no more descriptors"):
        fake_answers("run_raise", tmp_path, fault_text="no more descriptors")


@pytest.mark.parametrize(("fault", "code"), [("build_abort", -6), ("build_segfault", -11), ("run_crash", -11)])
def test_processes_that_die(fault: str, code: int, tmp_path: Path) -> None:
    ran = fake_process(fault, tmp_path)
    assert ran.returncode == code
    assert b"done" not in ran.stdout


def test_a_crash_in_the_third_repeat_only(tmp_path: Path) -> None:
    codes = [fake_process("run_crash_third_repeat", tmp_path / str(repeat), repeat).returncode for repeat in (1, 2, 3)]
    assert codes == [0, -11, 0]


def test_a_flood_of_output_is_a_hundred_megabytes(tmp_path: Path) -> None:
    ran = fake_process("build_output_flood", tmp_path)
    assert ran.returncode == 0
    assert len(ran.stdout) >= fake.FLOOD_MB << 20
    assert ran.stdout.endswith(b"done\n")


@pytest.mark.parametrize("fault", ["build_hang", "run_hang"])
def test_a_hang_does_not_end_by_itself(fault: str, tmp_path: Path) -> None:
    call = f"fake_answers({fault!r}, Path({str(tmp_path)!r}))"
    command = f"from tests.backends.test_contract import *; print('begun', flush=True); {call}"
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, cwd=ROOT)
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3)
    finally:
        process.kill()
        out, _ = process.communicate()
    assert out.startswith(b"begun")
    assert (tmp_path / fake.MODEL).exists() == (fault == "run_hang")


def test_grandchildren_outlive_a_build_that_says_all_is_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import os
    import signal

    made = build("fake", "fp32", tmp_path, options={"fault": "build_grandchildren"})
    pids = [int(pid) for pid in re.findall(r"grandchild (\d+)", capfd.readouterr().out)]
    try:
        assert made.info.placement == 1.0
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, 0)  # alive
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


@pytest.mark.parametrize(
    ("when", "happens"),
    [({"batch": BATCH}, True), ({"batch": 5}, False), ({"batch": BATCH, "precision": "fp16"}, False),
     ({"bucket": [3]}, False), (None, True)],
)  # fmt: skip
def test_a_fault_can_be_limited_to_some_settings(when: Any, happens: bool, tmp_path: Path) -> None:
    options = {"fault": "build_raise", "fault_when": when}
    if happens:
        with pytest.raises(RuntimeError, match="it does not work"):
            build("fake", "fp32", tmp_path, options=options)
    else:
        assert build("fake", "fp32", tmp_path, options=options).info.precision == "fp32"


def test_a_fault_of_a_run_can_be_limited_to_a_number_of_cores(tmp_path: Path) -> None:
    options = {"fault": "run_raise", "fault_when": {"cores": 2}, "latency_ms": 0.0}
    made = build("fake", "fp32", tmp_path, options=options)
    one, two = made.load(threads=1), made.load(threads=2)
    one.run(one.prepare(made.batch(0)))
    with pytest.raises(RuntimeError):
        two.run(two.prepare(made.batch(0)))


def test_a_fault_that_is_not_known_is_refused() -> None:
    spec = BuildSpec(TINY, SAMPLES, "fake", {"fault": "build_explode"}, "fp32", 1)
    reason = fake.Fake.supports(spec)
    assert reason is not None
    assert all(fault in reason for fault in fake.FAULTS)


def test_latency_follows_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    slept: list[float] = []
    monkeypatch.setattr(fake.time, "sleep", slept.append)
    options = {"latency_ms": 100.0, "overhead_ms": 200.0, "parallel": 0.5}
    made = build("fake", "fp32", tmp_path, options=options)
    slept.clear()
    for threads in (1, 2):
        runner = made.load(threads)
        runner.run(runner.prepare(made.batch(0)))
    assert slept[0] == pytest.approx(0.4, abs=0.05)  # what the answer itself took is part of it
    assert slept[1] == pytest.approx(0.3, abs=0.05)

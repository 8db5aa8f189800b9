"""Our own backends keep the contract that plug-ins keep too, and each says what it cannot do and why.

Each case builds once, for batch 2, and is then asked in many ways. CUDA is not tested here: it needs a GPU.
"""

import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from sweep import backends, workloads
from sweep.backends import cpu
from sweep.backends.base import Backend
from sweep.spec import BuildSpec, FailureKind, TrialError, UserError
from sweep.testing import BackendContract, Built, build, check_refusals, find_imported_frameworks
from sweep.testing.builds import BATCH, DIGITS, IMAGES, describe_build
from tests.support.running import ROOT
from tests.support.shared_builds import build_once

pytestmark = pytest.mark.process

FRAMEWORKS = ("torch", "onnxruntime", "onnx", "openvino", "nncf", "onnxscript", "tensorflow")
OWN = "tests.backends.test_contract."
OURS = [backends.get(name) for name in backends.names()]

slow = pytest.mark.slow
bf16_here = pytest.mark.skipif(not cpu.has_bf16(), reason="this processor has neither avx512_bf16 nor amx_bf16")


class OurContract(BackendContract):
    """The contract, with builds that are shared, and artifacts that are one file."""

    def build(self, precision: str, factory: pytest.TempPathFactory) -> Built:
        spec, source, data = describe_build(self.backend, precision)
        builder = self.backend({})
        name = f"{spec.backend}-{precision}"
        folder, info = build_once(name, lambda target: builder.build(source, spec, target), factory)
        return Built(builder, spec, info, folder, source, data)

    def test_artifact_is_the_model_and_nothing_else(self, built: Built) -> None:
        files = {path.name for path in built.folder.rglob("*")}
        if self.compiles:
            assert getattr(sys.modules[self.backend.__module__], "MODEL") in files  # noqa: B009  # each module's own
            assert len(files) <= 2  # OpenVINO keeps the weights beside


class TestFake(OurContract):
    backend = backends.get("fake")
    precisions = ("fp32", "fp16")


class TestTorch(OurContract):
    backend = backends.get("torch")
    precisions = ("fp32", "bf16")
    compiles = False


class TestTorchScript(OurContract):
    backend = backends.get("torchscript")
    precisions = ("fp32", "bf16")


class TestOnnxRuntime(OurContract):
    backend = backends.get("onnxruntime")
    precisions = ("fp32", "int8")


class TestOpenVino(OurContract):
    backend = backends.get("openvino")
    precisions = ("fp32", pytest.param("bf16", marks=bf16_here), "int8")


class TestInductor(OurContract):
    backend = backends.get("inductor")
    precisions = ("fp32", pytest.param("bf16", marks=slow))


# --- what the parent may ask ------------------------------------------------------------------------------------------


def test_no_framework_is_imported_to_ask_a_backend() -> None:
    assert find_imported_frameworks(OURS, FRAMEWORKS) == []


@pytest.mark.parametrize("backend", [one for one in OURS if one.origin.is_evidence], ids=lambda backend: backend.name)
def test_refusals_say_what_would_work(backend: type[Backend]) -> None:
    check_refusals(backend, {"target": "inf2"} if backend.name.endswith("neuronx") else {})


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


def test_unknown_backend_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"there is no backend onnxruntim: did you mean 'onnxruntime'\?"):
        backends.get("onnxruntim")


def test_backend_of_another_distribution_goes_before_a_built_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [metadata.EntryPoint("fake", "tests.backends.test_contract:Mine", backends.GROUP)]
    monkeypatch.setattr(metadata, "entry_points", lambda group: points if group == backends.GROUP else [])
    backends._table.cache_clear()
    try:
        assert backends._table() == {**backends.BUILT_IN, "fake": "tests.backends.test_contract:Mine"}
    finally:
        backends._table.cache_clear()


@pytest.mark.parametrize("name", backends.names())
def test_every_backend_has_its_configuration(name: str) -> None:
    config = yaml.safe_load((ROOT / "conf" / "backend" / f"{name}.yaml").read_text())
    assert config["name"] == name
    assert {"options": name} in config["defaults"]
    assert "options" not in config, "their defaults stand in the class alone"
    assert config["device"] in backends.get(name).devices


def test_absent_cuda_is_a_missing_core(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(TrialError) as caught:
        build(backends.get("torch"), "fp32", tmp_path, device="cuda")
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
    return workloads.check_dataset(workloads.Dataset(inputs, None, {}, "regression", None), "two")


@pytest.mark.parametrize("name", ["torch", "torchscript", "onnxruntime", "openvino"])
def test_several_inputs_and_outputs_keep_their_order_and_type(name: str, tmp_path: Path) -> None:
    model = {"name": "two", "_target_": OWN + "two_inputs", "format": "module"}
    built = build(backends.get(name), "fp32", tmp_path, model=model, data=two_input_data())
    runner = built.load()
    answers = runner.outputs(runner.run(runner.prepare(built.batch(3))))
    reference = workloads.run_reference(workloads.load_model(model), built.batch(3))
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
        build(backends.get(name), "int8", tmp_path, model={"name": "relu", "_target_": OWN + "only_relu"}, data=data)
    assert caught.value.kind is FailureKind.UNSUPPORTED_DTYPE


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("batch", [BATCH, "n", 5])
def test_onnx_file_is_fixed_to_the_shape_of_the_request(name: str, batch: int | str, tmp_path: Path) -> None:
    from tests.workloads.test_base import onnx_product

    path = onnx_product(tmp_path / "given.onnx", batch)
    model = {"name": "mine", "_target_": "sweep.workloads.files.onnx", "path": path, "format": "onnx"}
    values = np.arange(20, dtype=np.float32).reshape(10, 2)
    data = workloads.Dataset({"x": values}, None, {}, "regression", None)
    if batch == 5 and name == "onnxruntime":  # OpenVINO can change a shape that is fixed in the file
        with pytest.raises(TrialError) as caught:
            build(backends.get(name), "fp32", tmp_path / "artifact", model=model, data=data)
        assert caught.value.kind is FailureKind.SHAPE_MISMATCH
        return
    built = build(backends.get(name), "fp32", tmp_path / "artifact", model=model, data=data)
    runner = built.load()
    assert runner.shapes == ((BATCH, 2),)
    answer = runner.outputs(runner.run(runner.prepare(built.batch(1))))[0]
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
        built = build(backends.get(name), "fp32", tmp_path / "artifact", model=model)
        runner = built.load()
    assert built.backend.supports(built.spec) is None
    answer = runner.outputs(runner.run(runner.prepare(built.batch(0))))[0]
    np.testing.assert_allclose(answer, workloads.run_reference(original, built.batch(0))[0], rtol=1e-3, atol=1e-3)

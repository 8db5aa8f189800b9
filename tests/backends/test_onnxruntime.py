"""ONNX Runtime: what a build says of itself, and int8 weights that suit the processor."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends
from sweep.backends import cpu
from sweep.backends.onnxruntime import MODEL, OnnxRuntime
from sweep.config import schema
from sweep.spec import TrialError, UserError
from sweep.testing import Built, build
from sweep.workloads import Dataset, OnnxFile, run_reference
from tests.support.records import make_trial

pytestmark = pytest.mark.process

X86 = frozenset({"sse2", "avx2", "fma"})
ARM = frozenset({"fp", "asimd"})
PROCESSORS = {
    "x86 without VNNI": (X86, True),
    "x86 with AVX-512 and no VNNI": (X86 | {"avx512f", "avx512bw"}, True),
    "x86 with avx512_vnni": (X86 | {"avx512f", "avx512_vnni"}, False),
    "x86 with avx_vnni": (X86 | {"avx_vnni"}, False),
    "x86 with amx_int8": (X86 | {"amx_int8"}, False),
    "Arm with dot products": (ARM | {"asimddp"}, False),
    "Arm without dot products": (ARM, False),
    "no /proc/cpuinfo": (frozenset[str](), False),
}
RELATIVE_ERROR = 0.2
WIDTH, CLASSES = 64, 10


def loud() -> Any:
    """Two products whose sums are large: most weights of a column have the same sign."""
    import torch

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, CLASSES))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight += layer.weight.abs().mean()
    return model.eval()


def build_int8(folder: Path, **options: Any) -> Built:
    values = np.random.RandomState(0).rand(40, WIDTH).astype(np.float32)
    data = Dataset({"x": values}, None, {}, "regression", None)
    model = {"name": "loud", "_target_": "tests.backends.test_onnxruntime.loud", "format": "module"}
    return build(OnnxRuntime, "int8", folder, model=model, data=data, options=options)


def largest_weight(built: Built) -> int:
    import onnx
    from onnx import TensorProto, numpy_helper

    model = onnx.load(str(built.folder / MODEL))
    weights = [w for w in model.graph.initializer if w.data_type == TensorProto.INT8 and len(w.dims) == 2]
    assert len(weights) == 2
    return max(int(np.abs(numpy_helper.to_array(w).astype(int)).max()) for w in weights)


def relative_error(built: Built) -> float:
    runner, original = built.load(), built.source.load_model()
    errors = []
    for number in range(10):
        (answer,) = runner.outputs(runner.run(runner.prepare(built.batch(number))))
        (wanted,) = run_reference(original, built.batch(number))
        errors.append(np.abs(answer - wanted).max() / np.abs(wanted).max())
    return float(max(errors))


@pytest.mark.parametrize("name", PROCESSORS)
def test_weights_are_reduced_where_products_saturate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, reduced = PROCESSORS[name]
    monkeypatch.setattr(cpu, "cpu_features", lambda: features)
    assert cpu.int8_products_saturate() == reduced
    trial = make_trial(backend="onnxruntime", precision="int8")
    assert OnnxRuntime.build_options(trial) == ({"reduce_range": True} if reduced else {})
    assert OnnxRuntime.build_options(make_trial(backend="onnxruntime")) == {}, "fp32 has no such weights"
    unsigned = replace(trial, backend={"name": "onnxruntime", "options": {"int8_convolutions": True}})
    assert OnnxRuntime.build_options(unsigned) == {"int8_convolutions": True}, "unsigned weights never saturate"


@pytest.mark.parametrize("name", ["x86 without VNNI", "x86 with avx512_vnni"])
def test_build_reduces_weights_as_its_processor_needs(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    features, reduced = PROCESSORS[name]
    monkeypatch.setattr(cpu, "cpu_features", lambda: features)
    built = build_int8(tmp_path)
    assert built.info.notes["reduce_range"] is reduced
    largest_pair = 2 * 255 * largest_weight(built)  # two activations of 8 bits, each by the largest weight
    assert (largest_pair < 2**15) is reduced
    monkeypatch.undo()
    if not reduced and cpu.int8_products_saturate():
        pytest.skip("this processor has no VNNI (avx512_vnni, avx_vnni or amx_int8): 8 bits saturate on it")
    assert relative_error(built) < RELATIVE_ERROR


def test_given_range_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "cpu_features", lambda: ARM)
    assert build_int8(tmp_path, reduce_range=True).info.notes["reduce_range"] is True


def test_onnxruntime_notes_what_it_quantised(tmp_path: Path) -> None:
    runtime = backends.get("onnxruntime")
    dense = build(runtime, "int8", tmp_path / "dense").info.notes
    every = build(runtime, "int8", tmp_path / "every", options={"int8_convolutions": True}).info.notes
    assert sum(dense["quantised"].values()) == 2
    assert dense["int8_weight_share"] == pytest.approx(0.763, abs=0.001)
    assert sum(every["quantised"].values()) == 5
    assert every["int8_weight_share"] > 0.999  # the rest are biases


def test_unknown_optimisation_level_is_a_user_error() -> None:
    with pytest.raises(UserError, match="must be one of all, extended, basic, none"):
        schema.check("backend", {"name": "onnxruntime", "options": {"optimization": "most"}})


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_weights_beside_a_file_go_along(precision: str, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "net", value[:1], value[1:], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "net.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    x = np.random.default_rng(1).standard_normal((8, 64), np.float32)
    config = {
        "name": "net",
        "_target_": "sweep.workloads.files.onnx",
        "format": "onnx",
        "path": str(tmp_path / "net.onnx"),
    }
    data = Dataset({"x": x}, None, {"x": x}, "regression")
    built = build(OnnxRuntime, precision, tmp_path / "built", model=config, data=data, batch=8)
    (tmp_path / "weights.bin").unlink()
    shutil.copytree(built.folder, tmp_path / "moved")
    runner = built.load(folder=tmp_path / "moved")
    answers = runner.outputs(runner.run(runner.prepare((x,))))[0]
    np.testing.assert_allclose(answers, x @ weights, atol=1e-4 if precision == "fp32" else 1.0)


@pytest.mark.parametrize("kind", ["constant", "turned"])
def test_weights_that_nodes_make_are_quantised(kind: str, tmp_path: Path) -> None:
    """Exporters put weights into nodes, or turn them round in the graph."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.random.default_rng(0).standard_normal((64, 64), np.float32), "stored")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
    maker = helper.make_node("Constant", [], ["w"], value=weights)
    if kind == "turned":
        maker = helper.make_node("Transpose", ["stored"], ["w"], perm=[1, 0])
    nodes = [maker, helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(nodes, "net", value[:1], value[1:], [weights] if kind == "turned" else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    x = np.random.default_rng(1).standard_normal((8, 64), np.float32)
    config = {"name": "m", "_target_": "sweep.workloads.files.onnx", "format": "onnx", "path": str(tmp_path / "m.onnx")}
    built = build(OnnxRuntime, "int8", tmp_path / "b", model=config, data=Dataset({"x": x}, None, {}, "regression"))
    assert built.info.precision == "int8"
    assert built.info.notes["int8_weight_share"] == 1
    assert not list((tmp_path / "b").glob("folded*"))
    (answer,) = built.load().outputs(built.load().run(built.load().prepare(built.batch(0))))
    (right,) = run_reference(OnnxFile(config["path"]), built.batch(0))
    assert np.abs(answer - right).max() < RELATIVE_ERROR * np.abs(right).max()


def convolutions() -> Any:
    import torch

    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3)).eval()


def test_a_net_of_convolutions_is_told_the_option_that_covers_it(tmp_path: Path) -> None:
    data = Dataset({"x": np.ones((8, 3, 8, 8), np.float32)}, None, {}, "regression")
    model = {"name": "net", "_target_": f"{__name__}.convolutions", "format": "module"}
    words = "with 2 convolutions: backend.options.int8_convolutions=true covers them"
    with pytest.raises(TrialError, match=words):
        build(OnnxRuntime, "int8", tmp_path / "none", model=model, data=data)
    covered = build(OnnxRuntime, "int8", tmp_path / "all", model=model, data=data, options={"int8_convolutions": True})
    assert sum(covered.info.notes["quantised"].values()) == 2

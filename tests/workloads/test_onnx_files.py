"""Ways in which ONNX files say the same: sizes, types and names; asked as the reference and as builds ask them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends, workloads
from sweep.backends.base import Source
from sweep.spec import BuildSpec, Placement
from sweep.workloads import Dataset, OnnxFile, onnx_files

pytestmark = pytest.mark.process  # for its runtimes
VALUES = np.arange(14, dtype=np.float32).reshape(7, 2)
WEIGHT = np.arange(6, dtype=np.float32).reshape(2, 3)
RUNTIMES = ["onnxruntime", "openvino"]


def write_product(path: Path, batch: Any = "n", dtype: str = "float32", name: str = "x") -> OnnxFile:
    """x (batch, 2) times a constant (2, 3)."""
    from onnx import helper, numpy_helper, save

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weight = numpy_helper.from_array(WEIGHT.astype(dtype), "weight")
    ends = [helper.make_tensor_value_info(end, kind, [batch, size]) for end, size in ((name, 2), ("y", 3))]
    graph = helper.make_graph([helper.make_node("MatMul", [name, "weight"], ["y"])], "g", ends[:1], ends[1:], [weight])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return OnnxFile(str(path))


def bind(model: OnnxFile, name: str = "x") -> tuple[Dataset, dict[str, str]]:
    dataset, facts = workloads.bind(model, {"name": "net"}, Dataset({name: VALUES}, None, {}, "regression"), {})
    return dataset, dict(facts.casts)


def build(runtime: str, model: OnnxFile, inputs: tuple[np.ndarray, ...], folder: Path) -> tuple[np.ndarray, ...]:
    """The answers of a build."""
    spec = BuildSpec({"name": "net", "format": "onnx"}, {"name": "mine"}, runtime, {}, "fp32", len(inputs[0]))
    no_samples: Iterator[tuple[np.ndarray, ...]] = iter(())
    source = Source(lambda: model, inputs, lambda: no_samples, ("x",))
    backend = backends.get(runtime)({})
    folder.mkdir()
    backend.build(source, spec, folder)
    runner = backend.load(folder, spec, Placement(), source)
    return runner.outputs(runner.run(runner.prepare(inputs)))


@pytest.mark.parametrize("batch", [-1, 0, "n", None, 4])
def test_a_size_is_free_however_the_file_writes_it(batch: Any, tmp_path: Path) -> None:
    model = write_product(tmp_path / "net.onnx", batch)
    assert onnx_files.list_inputs(model)[0].shape == (4 if batch == 4 else None, 2)
    (answer,) = workloads.run_reference(model, (VALUES,))
    np.testing.assert_allclose(answer, VALUES @ WEIGHT)
    for runtime in RUNTIMES:
        (built,) = build(runtime, model, (VALUES[:4],), tmp_path / runtime)
        np.testing.assert_allclose(built, VALUES[:4] @ WEIGHT)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64"])
def test_data_has_the_type_that_the_file_declares(dtype: str, tmp_path: Path) -> None:
    model = write_product(tmp_path / "net.onnx", dtype=dtype)
    dataset, casts = bind(model)
    assert casts == {"x": f"float32 to {dtype}"}
    inputs = tuple(dataset.inputs.values())
    (answer,) = workloads.run_reference(model, inputs)
    np.testing.assert_allclose(answer, VALUES @ WEIGHT)
    assert answer.dtype == ("int64" if dtype == "int64" else "float32")
    for runtime in RUNTIMES:
        (built,) = build(runtime, model, inputs, tmp_path / runtime)
        np.testing.assert_allclose(built, VALUES @ WEIGHT)
        assert built.dtype == answer.dtype


@pytest.mark.parametrize("name", ["serving/x:0", "a b", "größe", "../x", "x" * 300])
def test_inputs_have_any_name(name: str, tmp_path: Path) -> None:
    from sweep.worker import arrays, data_sets

    model = write_product(tmp_path / "net.onnx", name=name)
    np.savez(tmp_path / "data.npz", **{name: VALUES})
    data = workloads.load_data({"_target_": "sweep.workloads.files.npz", "path": str(tmp_path / "data.npz")})
    dataset, facts = workloads.bind(model, {"name": "net"}, data, {"name": "mine"})
    assert facts.by == "name"
    data_sets.write_data([dataset], tmp_path / "data")
    assert {path.parent for path in tmp_path.rglob("*.npy")} == {tmp_path / "data/inputs"}
    read = arrays.read_data(tmp_path / "data")
    assert list(read) == [name]
    for runtime in RUNTIMES:
        (built,) = build(runtime, model, tuple(map(np.array, read.values())), tmp_path / runtime)
        np.testing.assert_allclose(built, VALUES @ WEIGHT)


def test_arrays_of_earlier_versions_are_read_by_their_plain_name(tmp_path: Path) -> None:
    from sweep.worker import arrays, data_sets

    data_sets.write_data([Dataset({"a b": VALUES}, None, {}, "regression")], tmp_path / "data")
    folder = tmp_path / "data/inputs"
    (folder / arrays.name_file("a b")).rename(folder / "a b.npy")
    np.testing.assert_array_equal(arrays.read_data(tmp_path / "data")["a b"], VALUES)


def test_a_file_that_keeps_its_weights_in_int8_is_called_that(tmp_path: Path) -> None:
    """Weights of one byte that the graph makes floats of: a runtime may compute in int8 then."""
    from onnx import TensorProto, helper, numpy_helper, save

    constants = [
        numpy_helper.from_array(np.ones((2, 3), np.int8), "packed"),
        numpy_helper.from_array(np.ones(3, np.float32), "scale"),
    ]
    nodes = [
        helper.make_node("Cast", ["packed"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "scale"], ["weight"]),
        helper.make_node("MatMul", ["x", "weight"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, ["n", size]) for end, size in (("x", 2), ("y", 3))]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "a.onnx")
    assert onnx_files.describe_weights(str(tmp_path / "a.onnx")) == "int8"
    assert onnx_files.describe_weights(write_product(tmp_path / "b.onnx").path) == ""

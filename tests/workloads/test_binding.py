"""Which array goes to which input: by name wherever both sides have names, and no array is dropped."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends, workloads
from sweep.backends.base import Source
from sweep.spec import BuildSpec, Placement, UserError
from sweep.workloads import Dataset, NumpyModel, OnnxFile
from tests.support.running import ROOT
from tests.support.tensorflow_interpreters import ONE, TWO, Lab, told

pytestmark = pytest.mark.process  # for its torch models
MODEL, DATA = {"name": "net"}, {"name": "mine"}
LEFT = np.array([[1.0], [2.0], [3.0]], np.float32)
RIGHT = np.array([[10.0], [20.0], [30.0]], np.float32)
DIFFERENCE = LEFT - RIGHT


def make_difference() -> Any:
    """A module whose answer says which array came where."""
    import torch

    class Difference(torch.nn.Module):
        def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left - right

    return Difference()


def make_optional() -> Any:
    """As models of transformers: every input has a default, and what is given need not stand side by side."""
    import torch

    class Optional(torch.nn.Module):
        def forward(self, left: Any = None, mask: Any = None, right: Any = None, **options: Any) -> Any:
            return left - right if mask is None else left - right + mask

    return Optional()


class NumpyDifference(NumpyModel):
    def __call__(self, left: Any, right: Any) -> Any:
        return left - right


def swapped(**more: np.ndarray) -> Dataset:
    inputs = {"right": RIGHT, **more, "left": LEFT}
    return Dataset(inputs, None, {name: array[:1] for name, array in inputs.items()}, "regression")


def onnx_difference(folder: Path) -> OnnxFile:
    from onnx import TensorProto, helper, save

    def value(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1])

    node = helper.make_node("Sub", ["left", "right"], ["answer"])
    graph = helper.make_graph([node], "difference", [value("left"), value("right")], [value("answer")])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "net.onnx")
    return OnnxFile(str(folder / "net.onnx"))


def scripted(folder: Path) -> Any:
    import torch

    torch.jit.save(torch.jit.trace(make_difference(), (torch.ones(1, 1), torch.ones(1, 1))), folder / "net.pt")
    return torch.jit.load(folder / "net.pt")


def exported(folder: Path) -> Any:
    import torch

    program = torch.export.export(make_difference(), (torch.ones(3, 1), torch.ones(3, 1)))
    torch.export.save(program, folder / "net.pt2")
    return torch.export.load(folder / "net.pt2").module()


MODELS = {
    "module": lambda folder: make_difference(),
    "options": lambda folder: make_optional(),
    "numpy": lambda folder: NumpyDifference(),
    "onnx": onnx_difference,
    "torchscript": scripted,
    "exported": exported,
}


def ask(model: Any, dataset: Dataset, data: dict[str, Any] = DATA) -> np.ndarray:
    """The model's answer, asked as a reference and as a build's original are."""
    model = workloads.wrap_call(model, MODEL, list(dataset.inputs), data)
    return workloads.run_reference(model, tuple(dataset.inputs.values()))[0]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", MODELS)
def test_arrays_reach_the_inputs_of_their_names_whatever_their_order(kind: str, tmp_path: Path) -> None:
    model = MODELS[kind](tmp_path)
    bound, binding = workloads.bind(model, MODEL, swapped(), DATA)
    assert (binding.by, list(binding.inputs)) == ("name", ["left", "right"])
    assert list(bound.inputs) == list(bound.calibration) == ["left", "right"]
    np.testing.assert_array_equal(ask(model, bound), DIFFERENCE)


@pytest.mark.parametrize("config", [{"inputs": ["right", "left"]}, {}])
def test_a_list_wins_over_names(config: dict[str, Any]) -> None:
    data = {**DATA, **config}
    bound, binding = workloads.bind(make_difference(), MODEL, swapped(), data)
    assert binding.by == ("list" if config else "name")
    expected = RIGHT - LEFT if config else DIFFERENCE
    np.testing.assert_array_equal(ask(make_difference(), bound, data), expected)


def test_position_decides_where_no_name_matches() -> None:
    dataset = Dataset({"a": LEFT, "b": RIGHT}, None, {}, "regression")
    bound, binding = workloads.bind(make_difference(), MODEL, dataset, DATA)
    assert (binding.by, binding.describe()) == ("position", "a -> left, b -> right (by position)")
    np.testing.assert_array_equal(ask(make_difference(), bound), DIFFERENCE)


@pytest.mark.parametrize("kind", ["module", "numpy", "onnx", "torchscript", "exported"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("arrays", "text"),
    [
        ({"left": LEFT, "right": RIGHT, "y": LEFT}, "data mine has the array y, which no input of model net takes"),
        ({"left": LEFT}, "model net needs the input right, and data mine has no array of that name; it has left"),
        (
            {"a": LEFT, "b": LEFT, "c": LEFT},
            r"mine has 3 arrays \(a, b, c\), model net takes 2: left, right; choose",
        ),
        ({"a": LEFT}, r"data mine has 1 array \(a\), model net takes 2: left, right; choose"),
    ],
)
def test_nothing_is_dropped_and_nothing_is_missing(
    kind: str, arrays: dict[str, np.ndarray], text: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=text):
        workloads.bind(MODELS[kind](tmp_path), MODEL, Dataset(arrays, None, {}, "regression"), DATA)


def test_inputs_with_a_default_are_not_missing() -> None:
    bound, _ = workloads.bind(make_optional(), MODEL, swapped(mask=LEFT), DATA)
    assert list(bound.inputs) == ["left", "mask", "right"]
    with pytest.raises(UserError, match="array other, which no input of model net takes; it takes left, mask, right"):
        workloads.bind(make_optional(), MODEL, swapped(other=LEFT), DATA)


def test_a_model_is_wrapped_only_where_its_inputs_do_not_stand_side_by_side() -> None:
    plain, options = make_difference(), make_optional()
    assert workloads.wrap_call(plain, MODEL, ["left", "right"], DATA) is plain
    assert workloads.wrap_call(plain, MODEL, ["a", "b"], DATA) is plain
    assert workloads.wrap_call(options, MODEL, ["left"], DATA) is options
    assert workloads.wrap_call(options, MODEL, ["left", "right"], DATA) is not options
    assert workloads.wrap_call(options, MODEL, ["left", "right"], {"inputs": ["left", "right"]}) is options


def test_a_factory_may_have_an_argument_called_inputs() -> None:
    for model, data in (({**MODEL, "inputs": 2}, DATA), ({**MODEL, "inputs": [2, 1]}, DATA), (MODEL, {"inputs": 2})):
        bound, binding = workloads.bind(make_difference(), model, swapped(), data)
        assert binding.by == "name"
        np.testing.assert_array_equal(ask(make_difference(), bound, data), DIFFERENCE)


def test_the_list_of_an_error_names_arrays_in_the_order_of_the_model() -> None:
    with pytest.raises(UserError, match=r"data\.inputs=\[left,right\];"):
        workloads.bind(make_difference(), MODEL, swapped(y=LEFT), DATA)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("kind", "backend"),
    [("options", name) for name in ("torch", "torchscript", "onnxruntime", "openvino")]
    + [("onnx", name) for name in ("onnxruntime", "openvino")],
)
def test_builds_of_every_runtime_take_arrays_as_the_original_does(kind: str, backend: str, tmp_path: Path) -> None:
    model = MODELS[kind](tmp_path)
    bound, _ = workloads.bind(model, MODEL, swapped(), DATA)
    inputs = tuple(bound.inputs.values())
    source = Source(
        lambda: workloads.wrap_call(model, MODEL, list(bound.inputs), DATA),
        inputs,
        lambda: iter(()),
        tuple(bound.inputs),
    )
    config = {**MODEL, "format": "onnx" if kind == "onnx" else "module"}
    spec = BuildSpec(config, DATA, backend, {}, "fp32", len(LEFT))
    builder, folder = backends.get(backend)({}), tmp_path / "build"
    folder.mkdir()
    builder.build(source, spec, folder)
    runner = builder.load(folder, spec, Placement(), source)
    np.testing.assert_array_equal(runner.outputs(runner.run(runner.prepare(inputs)))[0], DIFFERENCE)


BY_NAME = """
import sys
sys.path.insert(0, {root!r})
from sweep import workloads
net = two()
a, b = np.ones((5, 3), "float32"), np.full((5, 3), 2, "float32")
data = workloads.Dataset({{"b": b, "a": a}}, None, {{"b": b, "a": a}}, "regression")
{save}
for model in (net, workloads.SavedModel("kept"), workloads.SavedModel("kept", ("b", "a"))):
    bound, binding = workloads.bind(model, {{"name": "net"}}, data, {{"name": "mine"}})
    answers = workloads.run_reference(model, tuple(bound.inputs.values()))[0]
    tell([binding.describe(), list(bound.calibration), same(answers, net.predict([a, b]))])
more = workloads.Dataset({{"b": b, "a": a, "c": a}}, None, {{}}, "regression")
refused(lambda: workloads.bind(workloads.SavedModel("kept"), {{"name": "net"}}, more, {{"name": "mine"}}))
"""


@pytest.mark.parametrize(
    ("wheel", "save"),
    [
        (
            ONE,
            'tf.saved_model.simple_save(tf.keras.backend.get_session(), "kept", '
            'dict(zip("ab", net.inputs)), {"answers": net.outputs[0]})',
        ),
        (TWO, 'tf.saved_model.save(net, "kept")'),
    ],
)
def test_arrays_reach_the_inputs_of_keras_and_of_a_signature(wheel: str, save: str, tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    try:
        ran = lab.run(wheel, lab.host(wheel), BY_NAME.format(root=str(ROOT), save=save))
    finally:
        lab.close()
    by_name = ["a, b (by name)", ["a", "b"], True]
    assert told(ran.out)[:3] == [by_name, by_name, ["b, a (as listed)", ["b", "a"], True]], ran.err
    assert "data mine has the array c, which no input of model net takes; it takes a, b" in told(ran.out)[3][1]


class Sampled(NumpyModel):
    def __call__(self, wave: Any, rate: int) -> Any:
        return wave * rate


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_a_plain_value_is_no_array() -> None:
    """TorchScript of a detector of speech: forward(wave, rate: int), and an array of another name beside the wave."""
    import torch

    class Detector(torch.nn.Module):
        def forward(self, wave: torch.Tensor, rate: int) -> torch.Tensor:
            return wave * rate

    advice = r"model net takes rate as a plain int, which is no array: give it as model.constants=\{rate: VALUE\}"
    data = Dataset({"wave": LEFT, "state": RIGHT}, None, {}, "regression")
    for model in (Detector(), torch.jit.script(Detector()), Sampled()):
        with pytest.raises(UserError, match=advice):
            workloads.bind(model, MODEL, data, DATA)
    config = {**MODEL, "_target_": "tests.workloads.test_binding.make_difference", "constants": {"rate": 16000}}
    alone = Dataset({"wave": LEFT}, None, {}, "regression")
    bound, _ = workloads.bind(torch.jit.script(Detector()), config, alone, DATA)
    assert list(bound.inputs) == ["wave"]

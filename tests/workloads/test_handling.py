"""How models are called and what of their results counts: the reference and builds agree about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends, workloads
from sweep.backends.base import Source
from sweep.spec import BuildSpec, Placement, TrialError, UserError
from sweep.workloads import Dataset, handling

pytestmark = [pytest.mark.process, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
X = np.arange(14, dtype=np.float32).reshape(7, 2) - 3
COMPILERS = ["torch", "torchscript", "onnxruntime", "openvino"]


def config(kind: str, **more: Any) -> dict[str, Any]:
    return {"name": "odd", "_target_": "tests.support.odd_models.make", "kind": kind, **more}


def ask(model: Mapping[str, Any], **arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The answers of the original, as a reference asks it."""
    data = {"name": "mine"}
    original = workloads.handle(workloads.load_model(model), model)
    dataset, _ = workloads.bind(original, model, Dataset(arrays, None, {}, "regression"), data)
    return workloads.run_reference(
        workloads.wrap_call(original, model, list(dataset.inputs), data), tuple(dataset.inputs.values())
    )


def build(backend: str, model: Mapping[str, Any], folder: Path, **arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """The answers of a build."""
    data, inputs = {"name": "mine"}, tuple(arrays.values())
    spec = BuildSpec(model, data, backend, {}, "fp32", len(inputs[0]))
    source = Source(lambda: workloads.load_original(model, list(arrays), data), inputs, lambda: iter(()), tuple(arrays))
    folder.mkdir()
    tool = backends.get(backend)({})
    tool.build(source, spec, folder)
    runner = tool.load(folder, spec, Placement(), source)
    return runner.outputs(runner.run(runner.prepare(inputs)))


def check(model: Mapping[str, Any], folder: Path, wanted: list[np.ndarray], **arrays: np.ndarray) -> None:
    """Reference and builds answer what is wanted."""
    for answers in (
        ask(model, **arrays),
        *(build(backend, model, folder / backend, **arrays) for backend in COMPILERS),
    ):
        assert [a.dtype.kind for a in answers] == [w.dtype.kind for w in wanted]
        for answer, right in zip(answers, wanted, strict=True):
            np.testing.assert_allclose(answer, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("result", "count"), [("nested", 2), ("dict", 2), ("dataclass", 1), ("named", 2), ("truth", 2), ("double", 1)]
)
def test_results_are_opened_whatever_they_are_packed_in(result: str, count: int, tmp_path: Path) -> None:
    second = X * 2 > 0 if result == "truth" else X * 2 + 1
    check(config("Net", result=result), tmp_path, [X * 2, second][:count], x=X)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ("whole", r"output 0 has no row a sample: float32 of shape \(\) for 7 samples: let the model return tensors"),
        (
            "kept",
            r"output 1 has no row a sample: float32 of shape \(\d, 2\) .* choose the others, model\.outputs=\[0\]",
        ),
        ("empty", r"output 1 is empty: float32 of shape \(7, 0\): choose the others, model\.outputs=\[0\]"),
        ("scalar", r"output 1 `loss` has no row a sample: .*model\.outputs=\[0\]"),
        ("text", "it returned no array: let the model return tensors"),
    ],
)
def test_results_without_a_row_a_sample_are_named_with_what_would_work(result: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ask(config("Net", result=result), x=X)


@pytest.mark.parametrize("outputs", [[0], ["logits"], "logits", 0])
def test_outputs_are_chosen_by_number_or_name(outputs: Any, tmp_path: Path) -> None:
    check(config("Net", result="scalar", outputs=outputs), tmp_path, [X * 2], x=X)


def test_outputs_come_in_the_order_of_the_list() -> None:
    both = ask(config("Net", result="dict", outputs=["hidden", 0]), x=X)
    np.testing.assert_array_equal(both, [X * 2 + 1, X * 2])
    with pytest.raises(UserError, match=r"no output 2; it has 0 logits, 1 hidden"):
        ask(config("Net", result="dict", outputs=[2]), x=X)


def test_results_in_numpy_are_for_eager_torch_alone(tmp_path: Path) -> None:
    model = config("Net", result="numpy")
    np.testing.assert_array_equal(ask(model, x=X)[0], X * 2)
    np.testing.assert_array_equal(build("torch", model, tmp_path / "torch", x=X)[0], X * 2)
    with pytest.raises(TrialError, match="arrays of numpy, which a compiler cannot follow: return tensors"):
        build("torchscript", model, tmp_path / "script", x=X)


def test_arguments_that_are_no_tensor_are_constants(tmp_path: Path) -> None:
    check(config("Switch", constants={"scale": 3.0, "return_dict": False}), tmp_path, [X * 3], x=X)


def test_the_batch_may_stand_on_another_axis(tmp_path: Path) -> None:
    import torch

    sequence, state = X.reshape(7, 1, 2), np.linspace(-1, 1, 42, dtype=np.float32).reshape(7, 2, 3)
    plain = workloads.load_model(config("Recurrent"))
    with torch.no_grad():
        y, following = plain(torch.from_numpy(sequence), torch.from_numpy(np.ascontiguousarray(state.swapaxes(0, 1))))
    wanted = [y.numpy(), following.numpy().swapaxes(0, 1)]
    check(config("Recurrent", batch_axis={"state": 1, "1": 1}), tmp_path, wanted, x=sequence, state=state)
    with pytest.raises(UserError, match=r"batch_axis names stat; the model has the inputs x, state"):
        ask(config("Recurrent", batch_axis={"state": 1, "stat": 1}), x=sequence, state=state)


@pytest.mark.parametrize("kind", ["bfloat16", "float16", "float64"])
def test_a_model_of_other_floats_is_asked_and_built_in_fp32(kind: str, tmp_path: Path) -> None:
    model = config(kind) | {"_target_": "tests.support.odd_models.half"}
    original = workloads.load_model(model)
    names = {"bfloat16": "bf16", "float16": "fp16", "float64": "fp64"}
    assert workloads.describe_weights(original) == names[kind]
    weight, bias = original.weight.float().numpy(), original.bias.float().numpy()
    check(model, tmp_path, [X @ weight.T + bias], x=X)


def test_a_model_that_casts_its_inputs_itself_keeps_its_weights(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"dtype.*; its weights were made fp32: .* model.widen=false"):
        ask(config("CastsItself"), x=X)
    model = config("CastsItself", widen=False)
    inner = workloads.load_model(model).inner
    wanted = X @ inner.weight.detach().float().numpy().T + inner.bias.detach().float().numpy()
    np.testing.assert_allclose(ask(model, x=X)[0], wanted, atol=0.02)  # bf16 has 8 bits


def test_a_batch_size_that_stands_in_the_code_turns_out() -> None:
    model = workloads.load_model(config("Blocks"))
    original = workloads.Original(model)
    (answer,) = original((X,))
    assert original.batch == 3
    np.testing.assert_array_equal(answer, X * 2)


def test_an_error_that_no_batch_size_cures_is_the_models_own() -> None:
    with pytest.raises(RuntimeError, match="shape"):
        ask(config("Blocks", size=1000), x=X)


def test_a_factory_keeps_its_own_argument_of_such_a_name() -> None:
    model = {"name": "odd", "_target_": "tests.support.odd_models.wide", "outputs": 3}
    assert ask(model, x=X)[0].shape == (7, 3)
    assert ask({**model, "outputs": None}, x=X)[0].shape == (7, 4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"outputs": [True]}, "model.outputs must be numbers or names"),
        ({"constants": [1]}, "model.constants must name inputs and their values"),
        ({"batch_axis": "state"}, "model.batch_axis must be the axis of the batch"),
        ({"batch_axis": {"state": -1}}, "model.batch_axis must be"),
        ({"widen": "no"}, "model.widen must be true or false"),
    ],
)
def test_values_of_the_wrong_form_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        handling.read(given)


def test_a_model_that_takes_something_else_says_what_it_takes_and_what_it_was_given() -> None:
    words = r"TypeError: cat\(\).*; the model's forward\(xs: .*list.*\) -> .* was given float32 of shape \(7, 2\)"
    with pytest.raises(UserError, match=words):
        ask(config("Listed"), xs=X)

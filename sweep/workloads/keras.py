"""Models of TensorFlow: ResNet50 of Keras, and a folder with a SavedModel; and photographs as Keras' ResNet takes them.

Factories run in the interpreter that `model.python` names, which has TensorFlow 1.15 or 2.x.
"""

import random
from pathlib import Path
from typing import Any, Optional, Sequence

import numpy as np

from sweep.spec import UserError
from sweep.workloads import efficientnet, tensorflow_models
from sweep.workloads.base import Dataset, SavedModel, existing

IMAGENET = "imagenet"
MEANS = (103.939, 116.779, 123.68)  # blue, green, red over ImageNet: what ResNet50 of Keras was trained with
SAVED = ("saved_model.pb", "saved_model.pbtxt")


def resnet50(weights: Optional[str] = None, seed: int = 0) -> Any:
    """ResNet50: images (N, 224, 224, 3), channels blue, green, red less their means, to probabilities (N, 1000).

    Args:
        weights: `imagenet` (Keras downloads them once), a file that Keras saved, or None: drawn from `seed`, the same
            in every process, which serves to see what compiles and how fast it is.
    """
    if weights not in (None, IMAGENET):
        weights = str(existing(str(weights), "the file of weights"))
    import tensorflow

    reset_keras(seed)
    return tensorflow.keras.applications.ResNet50(weights=weights)


def reset_keras(seed: int) -> None:
    """Reset Keras so that the next model is for inference and draws its random weights from `seed`.

    Keras draws seeds from Python's generator, from one of its own, or from TensorFlow's, depending on the version.
    """
    import tensorflow

    keras = tensorflow.keras
    keras.backend.clear_session()  # also forgets a seed of TensorFlow 1, so it comes first
    random.seed(seed)
    np.random.seed(seed)
    if tensorflow_models.is_tf1():
        keras.backend.set_learning_phase(0)  # its graphs are made for training or for inference
        tensorflow.compat.v1.set_random_seed(seed)
        return
    tensorflow.random.set_seed(seed)
    own = getattr(getattr(keras, "utils", None), "set_random_seed", None)  # TensorFlow 2.7 and later
    if own is not None:
        own(seed)


def saved_model(path: str, inputs: Optional[Sequence[str]] = None) -> SavedModel:
    """A SavedModel by its folder; `inputs` are names of its signature in the order of the data set's."""
    folder = Path(path).expanduser().absolute()
    graphs = [folder / name for name in SAVED if (folder / name).is_file()]
    if not graphs:
        raise UserError("%s is no SavedModel: it has no saved_model.pb" % folder)
    for part in (*graphs, *sorted((folder / "variables").glob("variables.*"))):
        existing(str(part), "the SavedModel's")
    return SavedModel(str(folder), tuple(map(str, inputs or ())))


def photographs(side: int = 224) -> Dataset:
    """The photographs of `efficientnet.photographs` as Keras' ResNet50 takes them: (N, side, side, 3)."""
    given = efficientnet.photographs(side)
    scored, calibration = (to_caffe_style(arrays["image"]) for arrays in (given.inputs, given.calibration))
    return given._replace(inputs={"image": scored}, calibration={"image": calibration})


def to_caffe_style(images: np.ndarray) -> np.ndarray:
    """(N, 3, H, W) red, green, blue in -1..1 to (N, H, W, 3) blue, green, red in 0..255 less their means."""
    pixels = (images.transpose(0, 2, 3, 1)[..., ::-1] + np.float32(1)) * np.float32(127.5)
    return np.ascontiguousarray(pixels - np.array(MEANS, np.float32))

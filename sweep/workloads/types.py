"""Types of numbers: the arrays of a data set in the types that a model declares for its inputs."""

from typing import Dict, Mapping, Tuple

import numpy as np

from sweep.spec import UserError
from sweep.workloads.base import Dataset, find_not_finite

KNOWN = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64")
DEFAULT = "float32"  # of floats for which a model declares nothing


def cast(dataset: Dataset, declared: Mapping[str, str], name: str) -> Tuple[Dataset, Dict[str, str]]:
    """The data set in the declared types, and by array what was cast, such as `float64 to float16`.

    Floats without a declared type become float32, of which nothing is said.

    Args:
        declared: array -> type of numpy.
        name: of the data set, for messages.

    Raises:
        UserError: for values that the declared type cannot hold.
    """
    inputs, calibration, changes = {}, {}, {}
    for key, array in dataset.inputs.items():
        wanted = np.dtype(declared.get(key) or (DEFAULT if array.dtype.kind == "f" else array.dtype))
        inputs[key] = _cast(array, wanted, "data %s: input %s" % (name, key))
        if key in dataset.calibration:
            calibration[key] = _cast(dataset.calibration[key], wanted, "data %s: calibration of %s" % (name, key))
        if declared.get(key) and array.dtype != wanted:
            changes[key] = "%s to %s" % (array.dtype, wanted)
    return dataset._replace(inputs=inputs, calibration=calibration), changes


def _cast(array: np.ndarray, wanted: "np.dtype[np.generic]", what: str) -> np.ndarray:
    if array.dtype == wanted:
        return array
    with np.errstate(over="ignore", invalid="ignore"):
        changed = array.astype(wanted)
    text = "%s is %s, the model takes %s, which cannot hold %s"
    if wanted.kind == "f":
        lost = find_not_finite(changed)
        if lost is not None:
            raise UserError(text % (what, array.dtype, wanted, array[lost]))
        return changed
    different = changed != array
    if different.any():
        raise UserError(text % (what, array.dtype, wanted, array[different][0]))
    return changed


def to_float32(array: np.ndarray) -> np.ndarray:
    """An answer with floats of any width as float32; other types stay."""
    return array.astype(np.float32, copy=False) if array.dtype.kind == "f" else array

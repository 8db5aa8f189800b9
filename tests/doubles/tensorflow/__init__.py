"""A stand-in for TensorFlow in numpy: the documented part of its interface that loading and running a model needs.

Which TensorFlow it is, 1.15 or 2.10, follows from the version of the installed wheel. What is not here is an
AttributeError, and an argument that is not here is a TypeError, so a caller cannot use what nobody looked up.
"""

from tensorflow import _version, compat, config, errors, keras, random, saved_model
from tensorflow._tensors import DTYPES as _DTYPES
from tensorflow._tensors import DType, Tensor, TensorShape, TensorSpec, constant, convert_to_tensor, function

__version__ = _version.VERSION
__all__ = ["DType", "Tensor", "TensorShape", "TensorSpec", "constant", "convert_to_tensor", "executing_eagerly"]
__all__ += ["bool", "float16", "float32", "float64", "function", "int8", "int32", "int64", "uint8"]
__all__ += ["compat", "config", "errors", "keras", "random", "saved_model"]
float16, float32, float64 = _DTYPES["float16"], _DTYPES["float32"], _DTYPES["float64"]
int8, uint8, int32, int64 = _DTYPES["int8"], _DTYPES["uint8"], _DTYPES["int32"], _DTYPES["int64"]
bool = _DTYPES["bool"]  # noqa: A001  # its name in TensorFlow

if _version.TF1:
    from tensorflow import contrib
    from tensorflow._session import Session
    from tensorflow._session import set_seed as set_random_seed

    __all__ += ["Session", "contrib", "set_random_seed"]


def executing_eagerly() -> "bool":
    """False in TensorFlow 1, where a session must run the graph."""
    return not _version.TF1

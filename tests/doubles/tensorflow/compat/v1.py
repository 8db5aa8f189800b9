"""`tf.compat.v1`: of use where the wheel is TensorFlow 1."""

from tensorflow._session import set_seed as set_random_seed
from tensorflow._version import TF1

__all__ = ["set_random_seed"]
if TF1:
    from tensorflow import keras, saved_model
    from tensorflow._session import Session

    __all__ += ["Session", "keras", "saved_model"]

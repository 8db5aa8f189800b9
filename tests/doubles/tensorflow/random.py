"""Random numbers: in TensorFlow 2 the seed is set here, in TensorFlow 1 by `tf.compat.v1.set_random_seed`."""

from tensorflow._session import set_seed as _set_seed
from tensorflow._version import TF1

if TF1:
    set_random_seed = _set_seed
else:
    set_seed = _set_seed

"""The interface of TensorFlow 1 under a name that both have."""

from tensorflow.compat import v1

__all__ = ["v1"]

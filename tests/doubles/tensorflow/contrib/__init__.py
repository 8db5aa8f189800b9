"""What TensorFlow 1 called contributed; TensorFlow 2 has no such module."""

from tensorflow._version import TF1

if not TF1:
    raise ModuleNotFoundError("No module named 'tensorflow.contrib'")
from tensorflow.contrib import predictor

__all__ = ["predictor"]

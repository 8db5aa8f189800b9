"""The part of Keras that builds, calls, saves and loads small models."""

from tensorflow.keras import applications, backend, layers, models
from tensorflow.keras.layers import Input
from tensorflow.keras.models import Model, Sequential

__all__ = ["Input", "Model", "Sequential", "applications", "backend", "layers", "models"]

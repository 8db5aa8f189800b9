"""Ready-made models."""

from tensorflow.keras.applications import resnet50
from tensorflow.keras.applications.resnet50 import ResNet50

__all__ = ["ResNet50", "resnet50"]

"""Settings of this process."""

from tensorflow.config import threading

__all__ = ["threading"]

"""A stand-in for tensorflow-neuron, which compiles TensorFlow models for Inf1."""

from importlib import metadata as _metadata

__version__ = _metadata.version("tensorflow-neuron")

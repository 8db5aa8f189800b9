"""Which TensorFlow this pretends to be: the version of the wheel that is installed."""

from importlib import metadata

VERSION = metadata.version("tensorflow")
TF1 = VERSION.startswith("1.")

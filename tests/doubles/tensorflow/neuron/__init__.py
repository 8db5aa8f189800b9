"""`tensorflow.neuron`, which the wheel tensorflow-neuron installs into TensorFlow's own folder."""

from importlib import util as _util

if _util.find_spec("tensorflow_neuron") is None:
    raise ModuleNotFoundError("No module named 'tensorflow.neuron'", name="tensorflow.neuron")
from tensorflow_neuron.api import *  # noqa: F403  # all of it, under two names

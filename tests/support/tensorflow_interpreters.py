"""Interpreters with the doubles of TensorFlow, and machines for them."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.support.forks import Forks, Ran
from tests.support.neuron_machine import NeuronHost

PRELUDE = """
import json, os
import numpy as np
import tensorflow as tf
def tell(value):
    print("told: " + json.dumps(value, default=str), flush=True)
def refused(call):
    try:
        call()
    except BaseException as error:
        tell([type(error).__name__, str(error)])
    else:
        tell(None)
def same(a, b):
    return bool(np.allclose(a, b, atol=0.02))
tf.random.set_random_seed(1) if hasattr(tf, "Session") else tf.random.set_seed(1)
layers = tf.keras.layers
def small(batch=None):
    return tf.keras.Sequential([
        layers.InputLayer((8,), batch), layers.Dense(16, "relu"), layers.Dense(4, "softmax")
    ])
def two(a=(3,), b=(3,)):
    first, second = layers.Input(a, name="a"), layers.Input(b, name="b")
    joined = layers.Concatenate()([first, second])
    return tf.keras.Model([first, second], layers.Dense(4)(joined))
x = np.random.RandomState(0).standard_normal((5, 8)).astype("float32")
"""
TF1 = (
    PRELUDE
    + """
import tensorflow.neuron as tfn
net = small()
def written(model=net, folder="original"):
    inputs = {symbol.name: symbol for symbol in model.inputs}
    tf.saved_model.simple_save(tf.keras.backend.get_session(), folder, inputs, {"answers": model.outputs[0]})
    return folder
def made(batch=5, model=net, folder="compiled", **more):
    return tfn.saved_model.compile(written(model), folder, batch_size=batch, **more)["OnNeuronRatio"]
def asked(array, folder="compiled"):
    predictor = tf.contrib.predictor.from_saved_model(folder)
    return predictor({name: array for name in predictor.feed_tensors})["answers"]
"""
)
TF2_BODY = """
net = small()
def made(model=net, example=x, flags="", **more):
    os.environ["NEURON_CC_FLAGS"] = flags
    return tfn.trace(model, tf.constant(example), **more)
"""
TF2 = PRELUDE + "import tensorflow.neuron as tfn\n" + TF2_BODY
TF2X = PRELUDE + "import tensorflow_neuronx as tfn\n" + TF2_BODY
WHEELS = {
    "tensorflow_neuron_1": (TF1, "inf1.xlarge"),
    "tensorflow_neuron": (TF2, "inf1.xlarge"),
    "tensorflow_neuronx": (TF2X, "inf2.xlarge"),
}
ONE, TWO, TWOX = WHEELS


class Lab:
    """The interpreters of the wheels, each started once, and machines for them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._forks, self._count = folder, {}, 0

    def host(self, wheel: str, instance_type: str | None = None) -> NeuronHost:
        self._count += 1
        return NeuronHost(self._folder / f"host{self._count}", (wheel,), instance_type or WHEELS[wheel][1])

    def run(self, wheel: str, host: NeuronHost | None, code: str, **env: str) -> Ran:
        """Run the snippet on that machine, in a folder of its own; None: on a computer without Neuron devices."""
        if wheel not in self._forks:
            home = self.host(wheel)
            modules = ("numpy", "tensorflow")
            forks = Forks(home.python, self._folder / f"{wheel}.runs", {**os.environ, **home.env}, modules, home.site)
            self._forks[wheel] = forks, home.env["PATH"]
        forks, path = self._forks[wheel]
        self._count += 1
        folder = self._folder / f"run{self._count}"
        folder.mkdir()
        given = {**os.environ, "PATH": path, **(host.env if host else {}), **env}
        start = f"import os\nos.chdir({str(folder)!r})\n"
        return forks.run(start + WHEELS[wheel][0] + code, given, host.site if host else None)

    def close(self) -> None:
        for forks, _ in self._forks.values():
            forks.close()


def started(host: NeuronHost, wheel: str, code: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The snippet in a new process of the machine's own interpreter."""
    command = [host.python, "-c", WHEELS[wheel][0] + code]
    given = {**os.environ, **host.env, **env}
    return subprocess.run(command, env=given, cwd=host.folder, capture_output=True, text=True, check=False)


def told(out: str) -> list[Any]:
    """What a snippet told. Compilers print to the same place."""
    return [json.loads(line.partition(" ")[2]) for line in out.splitlines() if line.startswith("told: ")]


def last(ran: Ran) -> Any:
    """The last thing that it told."""
    found = told(ran.out)
    assert found, ran.err
    return found[-1]

"""Backends by name: those of this project, and those that other distributions register.

Importing this package, or a backend's module, imports no framework. Imports files, spec, isolate and workloads.
"""

import functools
import importlib
from typing import Dict, Tuple, Type

from sweep.backends.base import Backend
from sweep.spec import UserError, meant
from sweep.spec.user_code import running

GROUP = "sweep.backends"
BUILT_IN = {
    "fake": "sweep.backends.fake:Fake",
    "inductor": "sweep.backends.pytorch.inductor:Inductor",
    "neuron": "sweep.backends.neuron.neuron:Neuron",
    "neuronx": "sweep.backends.neuron.neuronx:NeuronX",
    "onnxruntime": "sweep.backends.onnxruntime:OnnxRuntime",
    "openvino": "sweep.backends.openvino:OpenVino",
    "replay": "sweep.backends.replay.backend:Replay",
    "tensorflow_neuron": "sweep.backends.neuron.tensorflow_neuron:TensorFlowNeuronInf1",
    "tensorflow_neuronx": "sweep.backends.neuron.tensorflow_neuronx:TensorFlowNeuronX",
    "torch": "sweep.backends.pytorch.eager:TorchEager",
    "torchscript": "sweep.backends.pytorch.torchscript:TorchScript",
}
"""The backends of this project; other distributions register theirs as entry points of `GROUP`."""


def names() -> Tuple[str, ...]:
    """All backends that `get` knows, sorted."""
    return tuple(sorted(_table()))


@functools.lru_cache(maxsize=None)
def get(name: str) -> Type[Backend]:
    """The class of a backend.

    Raises:
        UserError: for a name that nobody registered.
    """
    table = _table()
    if name not in table:
        raise UserError("there is no backend %s: %s" % (name, meant(name, table)))
    module, _, attribute = table[name].partition(":")
    with running("backend %s" % name):
        backend: Type[Backend] = getattr(importlib.import_module(module), attribute)
    return backend


@functools.lru_cache(maxsize=None)
def _table() -> Dict[str, str]:
    """Name -> "module:class". What a distribution registers has precedence."""
    from importlib import metadata

    # The stubs are those of one Python; the call differs between 3.8 and 3.10.
    try:
        points = list(metadata.entry_points(group=GROUP))  # type: ignore[call-arg,unused-ignore]
    except TypeError:  # Python 3.8 and 3.9 return a table of all groups
        points = list(metadata.entry_points().get(GROUP, ()))  # type: ignore[attr-defined,unused-ignore]
    others = {point.name: point.value for point in points if not point.value.startswith("sweep.")}
    return {**BUILT_IN, **others}  # an installation of an earlier version still registers those of this project

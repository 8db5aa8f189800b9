"""dynamic_batch, lazy_load, async_load: flags that stay in the artifact."""

from typing import Any, List

import torch

from neuron_double import state
from neuron_double_torch import artifact
from torch_neuronx._rules import PACKAGE, broken


def traced(script: Any, function: str) -> List[Any]:
    """The compiled modules in it."""
    modules = artifact.compiled_in(script) if isinstance(script, torch.jit.ScriptModule) else []
    if not modules:
        raise broken("traced-module", "%s: this module was not traced for Neuron" % function, TypeError)
    return modules


def dynamic_batch(neuron_script: Any, enable: bool = True) -> Any:
    for module in traced(neuron_script, "dynamic_batch"):
        shapes = artifact.model_of(module).header["shapes"]
        if any(not shape for shape in shapes) or len({shape[0] for shape in shapes}) != 1:
            text = "dynamic_batch: the inputs %s have no common dim 0" % shapes
            raise broken("dynamic-batch-inputs", text, ValueError)
        artifact.set_flag(module, "dynamic", enable)
    state.record("dynamic_batch", package=PACKAGE, enable=enable)
    return neuron_script


def lazy_load(trace: Any, enable_lazy_load: bool = True) -> None:
    _set(trace, "lazy", enable_lazy_load)


def async_load(trace: Any, enable_async_load: bool = True) -> None:
    _set(trace, "async", enable_async_load)


def _set(script: Any, name: str, on: bool) -> None:
    for module in traced(script, name + "_load"):
        if artifact.flag(module, "from_file"):
            raise broken("load-flags-late", "%s_load: this module was read from a file" % name)
        artifact.set_flag(module, name, on)
    state.record(name + "_load", package=PACKAGE, enable=on)

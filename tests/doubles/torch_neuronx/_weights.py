"""replace_weights: for models whose weights are not in the compiled program."""

import warnings
from typing import Any

import torch

from neuron_double import state
from neuron_double_torch import artifact, program
from torch_neuronx._flags import traced
from torch_neuronx._rules import PACKAGE


def replace_weights(neuron_model: Any, weights: Any) -> None:
    given = weights.state_dict() if isinstance(weights, torch.nn.Module) else weights
    state.record("replace_weights", package=PACKAGE, names=sorted(given))
    for module in traced(neuron_model, "replace_weights"):
        header, content = artifact.split(module.neuron_bytes)
        if header["inline"]:
            warnings.warn("this model has no separated weights", stacklevel=2)
            continue
        loaded = program.loaded(content)
        loaded.load_state_dict(given)
        artifact.replace_program(module, program.saved(loaded))

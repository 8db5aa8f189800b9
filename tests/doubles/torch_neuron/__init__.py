"""A double of torch_neuron (Inf1): the documented surface, on the real torch, without a device."""

import sys as _sys
from importlib import metadata as _metadata

import torch as _torch

from neuron_double_torch import artifact as _artifact
from torch_neuron._analysis import analyze_model
from torch_neuron._parallel import DataParallel
from torch_neuron._trace import OPERATORS, Optimization, trace

__version__ = _metadata.version("torch-neuron")
__all__ = ["DataParallel", "Optimization", "analyze_model", "trace"]

for _operator in OPERATORS:
    _artifact.register(_operator)
_torch.neuron = _sys.modules[__name__]
_sys.modules["torch.neuron"] = _torch.neuron

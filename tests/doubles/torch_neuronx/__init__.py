"""A double of torch_neuronx: the documented surface, on the real torch, without a device."""

from importlib import metadata as _metadata
from types import SimpleNamespace as _SimpleNamespace

from neuron_double import state as _state
from neuron_double_torch import artifact as _artifact
from torch_neuronx._analysis import PartitionerConfig, analyze
from torch_neuronx._buckets import BucketModelConfig, bucket_model_trace
from torch_neuronx._flags import async_load, dynamic_batch, lazy_load
from torch_neuronx._parallel import DataParallel
from torch_neuronx._placement import (
    move_trace_to_device,
    multicore_context,
    neuron_cores_context,
    set_multicore,
    set_neuron_cores,
)
from torch_neuronx._trace import trace
from torch_neuronx._weights import replace_weights

__version__ = _metadata.version("torch-neuronx")
__all__ = [
    "BucketModelConfig",
    "DataParallel",
    "PartitionerConfig",
    "analyze",
    "async_load",
    "bucket_model_trace",
    "dynamic_batch",
    "lazy_load",
    "move_trace_to_device",
    "replace_weights",
    "trace",
]
_PLACEMENT = {
    "multicore_context": multicore_context,
    "neuron_cores_context": neuron_cores_context,
    "set_multicore": set_multicore,
    "set_neuron_cores": set_neuron_cores,
}
if _state.host().get("placement") == "experimental":
    experimental = _SimpleNamespace(**_PLACEMENT)
    for _name in _PLACEMENT:
        del globals()[_name]
else:
    __all__ += list(_PLACEMENT)
_artifact.register("forward_v2")

"""Models and data sets: what a worker loads, checked before anything is built from it.

A model or a data set is a `_target_` in a YAML file: any importable callable. It gets the remaining keys of its config,
except those in `RESERVED`, which speak to `sweep`. Nothing here imports a framework until a function is called.
Imports spec.
"""

from sweep.workloads.base import (
    FORMATS,
    RESERVED,
    Dataset,
    NumpyModel,
    OnnxFile,
    SavedModel,
    check_dataset,
    load_model,
    read_handling,
    refusal,
)
from sweep.workloads.binding import bind, bind_pieces, describe_weights, handle, load_original, wrap_call
from sweep.workloads.classes import find_class_axis
from sweep.workloads.identity import Identity, identify
from sweep.workloads.labels import check_labels
from sweep.workloads.pieces import cut, load_data, load_pieces
from sweep.workloads.reference import (
    Original,
    average_flops,
    count_flops_by_size,
    count_flops_per_item,
    find_changed_inputs,
    interpolate_flops,
    packages,
    run_reference,
)
from sweep.workloads.sizes import Dims, check_fit, group_by_size, take_samples

__all__ = [
    "FORMATS",
    "RESERVED",
    "Dataset",
    "Dims",
    "Identity",
    "NumpyModel",
    "OnnxFile",
    "Original",
    "SavedModel",
    "average_flops",
    "bind",
    "bind_pieces",
    "check_dataset",
    "check_fit",
    "check_labels",
    "count_flops_by_size",
    "count_flops_per_item",
    "cut",
    "describe_weights",
    "find_changed_inputs",
    "find_class_axis",
    "group_by_size",
    "handle",
    "identify",
    "interpolate_flops",
    "load_data",
    "load_model",
    "load_original",
    "load_pieces",
    "packages",
    "read_handling",
    "refusal",
    "run_reference",
    "take_samples",
    "wrap_call",
]

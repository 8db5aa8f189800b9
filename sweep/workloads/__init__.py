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
    checked,
    load_data,
    load_model,
    refusal,
)
from sweep.workloads.reference import (
    flops_at,
    flops_by_size,
    flops_per_item,
    mean_flops,
    model_digest,
    packages,
    run_reference,
)
from sweep.workloads.sizes import Dims, check_fit, groups

__all__ = [
    "FORMATS",
    "RESERVED",
    "Dataset",
    "Dims",
    "NumpyModel",
    "OnnxFile",
    "SavedModel",
    "check_fit",
    "checked",
    "flops_at",
    "flops_by_size",
    "flops_per_item",
    "groups",
    "load_data",
    "load_model",
    "mean_flops",
    "model_digest",
    "packages",
    "refusal",
    "run_reference",
]

"""Bring your own: models that are files, data in an `.npz`, and made-up data if there is none.

Paths that are not absolute are taken from the folder of the process that loads them; the sweep makes them absolute.
"""

import zipfile
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from sweep.spec import UserError
from sweep.workloads.base import Dataset, OnnxFile, existing

CALIBRATION_PREFIX = "calibration_"
APART = 0.1  # share of the samples that is set apart if no calibration samples are given
APART_MAX = 200


def onnx(path: str) -> OnnxFile:
    """A model in an ONNX file."""
    return OnnxFile(str(existing(path, "the ONNX file")))


def torchscript(path: str) -> Any:
    """A model that `torch.jit.save` wrote. The file can hold code of its own: `model.trust` must be set."""
    import torch

    load: Any = torch.jit.load  # has no types of its own
    return load(str(existing(path, "the TorchScript file")), map_location="cpu")


def exported(path: str) -> Any:
    """A model that `torch.export.save` wrote. Reading it unpickles: `model.trust` must be set.

    If it was exported for one batch size, the reference runs it in batches of that size.
    """
    import torch

    program = torch.export.load(str(existing(path, "the exported program")))
    model: Any = program.module()
    model.sweep_batch = _batch(program)
    return model


def _batch(program: Any) -> Optional[int]:
    """The size of the first dimension of the first input, None if it is free."""
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


def npz(
    path: str,
    inputs: Optional[Sequence[str]] = None,
    task: str = "classification",
    classes: Optional[int] = None,
) -> Dataset:
    """Arrays of an `.npz` file: one per input, in the order stored or as `inputs` lists them; `labels` if known.

    Arrays named `calibration_<input>` are used to calibrate. Without them the last tenth of the samples is set apart
    for it, at most 200, and not scored.
    """
    arrays = _read(path)
    labels = arrays.pop("labels", None)
    calibration = {
        name[len(CALIBRATION_PREFIX) :]: arrays.pop(name)
        for name in list(arrays)
        if name.startswith(CALIBRATION_PREFIX)
    }
    names = list(arrays) if inputs is None else [str(name) for name in inputs]
    absent = [name for name in names if name not in arrays]
    if absent or not names:
        given = ", ".join(arrays) or "no inputs"
        raise UserError("the data file %s has no %s: it has %s" % (path, ", ".join(absent) or "inputs", given))
    chosen = {name: arrays[name] for name in names}
    if calibration:
        return Dataset(chosen, labels, calibration, task, classes)
    return _set_apart(chosen, labels, task, classes)


def _read(path: str) -> Dict[str, np.ndarray]:
    """All arrays of the file."""
    file_path = existing(path, "the data file")
    with open(str(file_path), "rb") as file:
        if not zipfile.is_zipfile(file):
            raise UserError("the data file %s is no .npz: save it with np.savez(path, name=array)" % file_path)
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: stored[name] for name in stored.files}
        except ValueError as error:
            raise UserError("the data file %s holds objects, not numbers: %s" % (file_path, error)) from None


def _set_apart(inputs: Mapping[str, np.ndarray], labels: Any, task: str, classes: Optional[int]) -> Dataset:
    sizes = {len(array) for array in inputs.values() if array.ndim}
    count = min(sizes) if sizes else 0
    apart = min(APART_MAX, int(count * APART))
    if len(sizes) != 1 or not apart:
        return Dataset(dict(inputs), labels, {}, task, classes)  # nothing to share out, or lengths to complain about
    keep = count - apart
    if labels is not None and len(labels) == count:
        labels = labels[:keep]
    kept = {name: array[:keep] for name, array in inputs.items()}
    return Dataset(kept, labels, {name: array[keep:] for name, array in inputs.items()}, task, classes)


def synthetic(
    shapes: Mapping[str, Sequence[int]],
    count: int = 256,
    seed: int = 0,
    integers: Optional[Mapping[str, int]] = None,
) -> Dataset:
    """Normally distributed numbers, for speed alone: there are no labels, and only agreement can be judged.

    Args:
        shapes: shape of one sample per input, without the batch.
        count: samples to score; a tenth as many more are made to calibrate.
        integers: inputs that are whole numbers instead, from 0 to below the number given (token ids).
    """
    random = np.random.RandomState(seed)
    extra = max(1, count // 10)
    limits = dict(integers or {})
    arrays: Dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        full = (count + extra, *(int(size) for size in shape))
        if name in limits:
            arrays[name] = random.randint(0, int(limits[name]), full).astype(np.int64)
        else:
            arrays[name] = random.standard_normal(full).astype(np.float32)
    inputs = {name: array[:count] for name, array in arrays.items()}
    return Dataset(inputs, None, {name: array[count:] for name, array in arrays.items()}, "regression", None)

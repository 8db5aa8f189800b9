"""Data sets and reference answers as arrays in folders: written once by a worker, read by all others and by the parent.

    data/<digest>/        data.json, inputs/<name>.npy, calibration/<name>.npy, labels.npy where there are labels
    reference/<digest>/   reference.json, output_<n>.npy

Whoever measures needs nothing but numpy to read them, whatever package the data came from.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from sweep import workloads
from sweep.backends.base import Arrays
from sweep.spec import Json, digest

REFERENCE_BATCH_BYTES = 32 << 20
SELF_CHECK_ITEMS = 4


def read_data(folder: Path, kind: str = "inputs") -> Dict[str, np.ndarray]:
    """Arrays by input name, mapped and not loaded. `kind`: inputs or calibration."""
    names = json.loads((folder / "data.json").read_text())[kind]
    return {name: np.load(folder / kind / (name + ".npy"), mmap_mode="r") for name in names}


def read_labels(folder: Path) -> Tuple[Optional[np.ndarray], str]:
    """Labels, if the data set has any, and the task that it poses."""
    task = str(json.loads((folder / "data.json").read_text())["task"])
    labels = folder / "labels.npy"
    return np.load(labels) if labels.exists() else None, task


def write_data(dataset: "workloads.Dataset", folder: Path) -> None:
    for kind, arrays in (("inputs", dataset.inputs), ("calibration", dataset.calibration)):
        (folder / kind).mkdir(parents=True)
        for name, array in arrays.items():
            np.save(folder / kind / (name + ".npy"), np.ascontiguousarray(array))
    if dataset.labels is not None:
        np.save(folder / "labels.npy", dataset.labels)
    described = {"inputs": list(dataset.inputs), "calibration": list(dataset.calibration), "task": dataset.task}
    (folder / "data.json").write_text(json.dumps({**described, "classes": dataset.classes}))


def data_digest(dataset: "workloads.Dataset") -> str:
    """Identity of a data set's content: names, shapes, types and bytes of every array."""
    labels = {} if dataset.labels is None else {"labels": dataset.labels}
    groups = (("inputs", dataset.inputs), ("calibration", dataset.calibration), ("labels", labels))
    described = [
        [kind, name, list(array.shape), str(array.dtype), _sha256(array)]
        for kind, arrays in groups
        for name, array in arrays.items()
    ]
    return digest([dataset.task, described])


def read_reference(folder: Path) -> List[np.ndarray]:
    """Outputs of the original model over all samples, in the model's order of outputs."""
    count = int(json.loads((folder / "reference.json").read_text())["outputs"])
    return [np.load(folder / ("output_%d.npy" % number), mmap_mode="r") for number in range(count)]


def write_reference(model: Any, inputs: Arrays, folder: Path) -> Json:
    """Run the original model over all samples; what was learned on the way.

    Returns:
        self_difference (largest difference when a few samples are asked again; None if not finite), outputs (their
        number).
    """
    folder.mkdir()
    bytes_per_item = sum(array[:1].nbytes for array in inputs)
    batch = max(1, min(64, REFERENCE_BATCH_BYTES // max(1, bytes_per_item)))

    def run(begin: int) -> Arrays:
        return workloads.run_reference(model, tuple(array[begin : begin + batch] for array in inputs))

    parts = [run(begin) for begin in range(0, len(inputs[0]), batch)]
    few = workloads.run_reference(model, tuple(array[:SELF_CHECK_ITEMS] for array in inputs))
    for number, arrays in enumerate(zip(*parts)):
        np.save(folder / ("output_%d.npy" % number), np.concatenate(arrays))
    difference = max(float(np.abs(a[: len(b)] - b).max()) for a, b in zip(parts[0], few))
    facts = {
        "self_difference": difference if np.isfinite(difference) else None,
        "outputs": len(parts[0]),
    }
    (folder / "reference.json").write_text(json.dumps(facts))
    return facts


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()

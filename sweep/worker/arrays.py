"""Data sets and reference answers as arrays in folders: written once by a worker, read by all others and by the parent.

    data/<digest>/        data.json, inputs/<name>.npy, calibration/<name>.npy, labels.npy if there are labels
    reference/<digest>/   reference.json, output_<n>.npy, flops.json if operations were counted

`sizes.npy` and `calibration_sizes.npy` stand beside the arrays if samples differ in size.

Reading them needs nothing but numpy, whatever package the data came from.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from sweep import workloads
from sweep.backends.base import Arrays
from sweep.files import write_json
from sweep.spec import Json, UserError, digest

REFERENCE_BATCH_BYTES = 32 << 20
SELF_CHECK_ITEMS = 4
FILE_NAME_CHARACTERS = 200


def read_data(folder: Path, kind: str = "inputs") -> Dict[str, np.ndarray]:
    """Arrays by input name, mapped and not loaded. `kind`: inputs or calibration."""
    names = json.loads((folder / "data.json").read_text())[kind]
    return {name: np.load(_find_array(folder / kind, name), mmap_mode="r") for name in names}


def read_labels(folder: Path) -> Tuple[Optional[np.ndarray], str]:
    """Labels, if the data set has any, and its task."""
    task = str(json.loads((folder / "data.json").read_text())["task"])
    labels = folder / "labels.npy"
    return np.load(labels) if labels.exists() else None, task


def read_sizes(folder: Path, kind: str = "inputs") -> Optional[np.ndarray]:
    """(N, D): each sample's own size along the D bucket dimensions; None if all are as large as the arrays."""
    path = folder / ("sizes.npy" if kind == "inputs" else kind + "_sizes.npy")
    return np.load(path) if path.exists() else None


def name_file(name: str) -> str:
    """The file of an array: inputs may be called `serving/x:0`, or have names longer than those of files."""
    quoted = quote(name, safe="")
    return (quoted if len(quoted) <= FILE_NAME_CHARACTERS else digest(name)) + ".npy"


def _find_array(folder: Path, name: str) -> Path:
    """The file of an array; earlier versions wrote its name as it is."""
    path = folder / name_file(name)
    return path if path.is_file() else folder / (name + ".npy")


def write_data(dataset: "workloads.Dataset", folder: Path) -> None:
    for kind, arrays in (("inputs", dataset.inputs), ("calibration", dataset.calibration)):
        (folder / kind).mkdir(parents=True)
        for name, array in arrays.items():
            np.save(folder / kind / name_file(name), np.ascontiguousarray(array))
    if dataset.labels is not None:
        np.save(folder / "labels.npy", dataset.labels)
    if dataset.sizes is not None:
        np.save(folder / "sizes.npy", dataset.sizes)
    if dataset.calibration_sizes is not None:
        np.save(folder / "calibration_sizes.npy", dataset.calibration_sizes)
    described = {"inputs": list(dataset.inputs), "calibration": list(dataset.calibration), "task": dataset.task}
    (folder / "data.json").write_text(json.dumps({**described, "classes": dataset.classes}))


def data_digest(dataset: "workloads.Dataset") -> str:
    """Identity of a data set's content: names, shapes, types and bytes of every array."""
    labels = {} if dataset.labels is None else {"labels": dataset.labels}
    sizes = {} if dataset.sizes is None else {"sizes": dataset.sizes}
    apart = {} if dataset.calibration_sizes is None else {"calibration_sizes": dataset.calibration_sizes}
    groups = (
        ("inputs", dataset.inputs),
        ("calibration", dataset.calibration),
        ("labels", labels),
        ("sizes", sizes),
        ("calibration_sizes", apart),
    )
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


def write_reference(model: Any, dataset: "workloads.Dataset", dims: Optional[workloads.Dims], folder: Path) -> Json:
    """Run the original model over all samples, those of each size together and without padding.

    Args:
        dims: `bucket_dims` of the model's config.

    Returns:
        self_difference (largest difference when a few samples are run again; None if not finite), outputs (their
        number), warning (a line about the labels, or None).

    Raises:
        UserError: if the shape of an answer depends on the size of the sample, or the labels cannot be the model's.
    """
    folder.mkdir()
    answers: List[np.ndarray] = []
    most, difference = 0, 0.0
    for items, inputs in workloads.group_by_size(dataset.inputs, dataset.sizes, dims):
        parts = run_in_batches(model, inputs)
        if not answers:
            count = len(next(iter(dataset.inputs.values())))
            answers = [np.empty((count, *part.shape[1:]), part.dtype) for part in parts]
        _check_rows(answers, parts, inputs)
        for whole, part in zip(answers, parts):
            whole[items] = part
        if len(items) > most:  # the size that most samples have
            few = workloads.run_reference(model, tuple(array[:SELF_CHECK_ITEMS] for array in inputs))
            most, difference = len(items), max(_find_difference(a[: len(b)], b) for a, b in zip(parts, few))
    labels = dataset.labels if dataset.task == "classification" else None
    warning = None if labels is None else workloads.check_labels(labels, answers[0])
    for number, array in enumerate(answers):
        np.save(folder / ("output_%d.npy" % number), array)
    facts = {
        "self_difference": difference if np.isfinite(difference) else None,
        "outputs": len(answers),
        "warning": warning,
    }
    (folder / "reference.json").write_text(json.dumps(facts))
    return facts


def _find_difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference between two answers, of numbers of any type or of truth values."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).max())


def run_in_batches(model: Any, inputs: Arrays) -> List[np.ndarray]:
    """Answers of the original model to a few samples at a time."""
    bytes_per_item = sum(array[:1].nbytes for array in inputs)
    batch = max(1, min(64, REFERENCE_BATCH_BYTES // max(1, bytes_per_item)))
    starts = range(0, len(inputs[0]), batch)
    parts = [workloads.run_reference(model, tuple(array[at : at + batch] for array in inputs)) for at in starts]
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def name_outputs(index: np.ndarray, outputs: Sequence[np.ndarray]) -> Dict[str, np.ndarray]:
    """The arrays of an outputs file: index[n], and output_0[n, ...], ..."""
    return {"index": index, **{"output_%d" % number: array for number, array in enumerate(outputs)}}


def merge_outputs(parts: Sequence[Mapping[str, np.ndarray]]) -> Tuple[np.ndarray, List[np.ndarray]]:
    """Samples that are answered in any of these outputs, ascending, and the outputs of the first that has each."""
    index, first = np.unique(np.concatenate([part["index"] for part in parts]), return_index=True)
    count = sum(name.startswith("output_") for name in parts[0])
    names = ["output_%d" % number for number in range(count)]
    return index, [np.concatenate([part[name] for part in parts])[first] for name in names]


def read_or_write(path: Path, compute: Callable[[], Any]) -> Any:
    """The content of a JSON file; computed and written first if the file is missing."""
    if not path.is_file():
        write_json(path, compute())
    return json.loads(path.read_text())


def _check_rows(answers: List[np.ndarray], parts: List[np.ndarray], inputs: Arrays) -> None:
    for number, (a, b) in enumerate(zip(answers, parts)):
        if a.shape[1:] != b.shape[1:]:
            text = (
                "output %d of the model has a row of shape %s for some samples and %s for those of size %s: "
                "let the model pool over the dimensions that model.bucket_dims names"
            )
            raise UserError(text % (number, a.shape[1:], b.shape[1:], inputs[0].shape[1:]))


def _sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).view(np.uint8).data).hexdigest()

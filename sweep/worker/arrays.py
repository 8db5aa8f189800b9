"""Data sets and reference answers as arrays in folders: written once by a worker, read by all others and by the parent.

`data_sets` and `answers` write them. They are mapped and never loaded whole, since they may be larger than the memory.

    data/<digest>/        data.json, inputs/<name>.npy, calibration/<name>.npy, labels.npy if there are labels
    reference/<digest>/   reference.json, output_<n>.npy, nature.json, flops.json if operations were counted

`sizes.npy` and `calibration_sizes.npy` stand beside the arrays if samples differ in size.

Reading them needs nothing but numpy, whatever package the data came from.
"""

import json
import mmap
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple
from urllib.parse import quote

import numpy as np

from sweep import workloads
from sweep.files import write_json
from sweep.spec import digest

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


def open_data(folder: Path) -> workloads.Dataset:
    """The whole data set; its arrays are mapped."""
    described = json.loads((folder / "data.json").read_text())
    return workloads.Dataset(
        inputs=read_data(folder),
        labels=read_labels(folder)[0],
        calibration=read_data(folder, "calibration"),
        task=described["task"],
        classes=described["classes"],
        sizes=read_sizes(folder),
        calibration_sizes=read_sizes(folder, "calibration"),
    )


def release_pages(arrays: Iterable[np.ndarray]) -> None:
    """Give back the memory that mapped arrays take in this process; they are read again where they are needed."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def read_reference(folder: Path) -> List[np.ndarray]:
    """Outputs of the original model over all samples, in the model's order of outputs."""
    count = int(json.loads((folder / "reference.json").read_text())["outputs"])
    return [np.load(folder / ("output_%d.npy" % number), mmap_mode="r") for number in range(count)]


def read_output_names(folder: Path) -> List[Optional[str]]:
    """Of the original model's outputs; None where one has a place only. Earlier versions stored none."""
    names = json.loads((folder / "reference.json").read_text()).get("names") or ()
    return [None if str(name).isdigit() else str(name) for name in names]


def check_class_axis(folder: Path, data: Mapping[str, Any]) -> None:
    """Raises UserError where `data.class_axis` is no axis of the stored answers."""
    declared = data.get("class_axis")
    if declared is not None:
        first = read_reference(folder)[0]
        workloads.find_class_axis(first.shape, first.dtype.kind, declared)


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

"""What an ONNX file declares, read in one way for the reference and for every build.

Files write a dimension of any size as a name, as nothing, and some exporters as -1 or 0.
"""

import contextlib
import tempfile
from pathlib import Path
from typing import Any, Iterator, List, NamedTuple, Optional, Tuple

from sweep.workloads import types


class Entry(NamedTuple):
    """An input of a file."""

    name: str
    dtype: str  # of numpy; empty where numpy has none of it
    shape: Tuple[Optional[int], ...]  # None: any size


def list_inputs(path: str) -> List[Entry]:
    """The inputs that a caller has to give, in the order of the file."""
    return [
        Entry(entry.name, _name_dtype(entry), tuple(map(read_size, entry.type.tensor_type.shape.dim)))
        for entry in list_free_inputs(read_header(path))
    ]


def list_free_inputs(model: Any) -> List[Any]:
    """The graph's inputs without those that have a value in the file."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [entry for entry in model.graph.input if entry.name not in constants]


def read_header(path: str) -> Any:
    """The graph; weights that lie in files beside it are not read."""
    import onnx

    return onnx.load(path, load_external_data=False)


def read_size(dim: Any) -> Optional[int]:
    """A dimension as the file declares it, None for any size."""
    return int(dim.dim_value) if dim.dim_value > 0 else None


def list_weight_files(path: str) -> List[str]:
    """Files beside the model that hold its weights."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    graph, folder = read_header(path).graph, Path(path).parent
    names = {ExternalDataInfo(t).location for t in graph.initializer if uses_external_data(t)}
    return [str(folder / name) for name in sorted(names)]


def free_sizes(model: Any) -> None:
    """Write every dimension of any size as a name, in place: runtimes take -1 and 0 for sizes."""
    graph = model.graph
    for entry in (*graph.input, *graph.output, *graph.value_info):
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.dim_param = "size_%d_of_%s" % (axis, entry.name)


def _name_dtype(entry: Any) -> str:
    from onnx import helper

    name = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type).name
    return name if name in types.KNOWN else ""


def read(path: str) -> Any:
    """The whole model with its weights, and its sizes as `free_sizes` writes them."""
    import onnx

    model = onnx.load(path)
    free_sizes(model)
    return model


@contextlib.contextmanager
def on_disk(path: str) -> Iterator[str]:
    """A file that runtimes can read: the file itself, or a copy that lives as long as the context."""
    header = read_header(path)
    before = header.SerializeToString(deterministic=True)
    free_sizes(header)
    if header.SerializeToString(deterministic=True) == before:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "model.onnx")
        save(read(path), copy, beside=bool(list_weight_files(path)))
        yield copy


def save(model: Any, path: str, beside: bool) -> None:
    """Write a model.

    Args:
        beside: its weights into the file of its name with `.data` behind, as files above 2 GiB must have it.
    """
    import onnx

    location = Path(path).name + ".data" if beside else None
    onnx.save(model, path, save_as_external_data=beside, location=location)

"""What an ONNX file declares, read in one way for the reference and for every build.

Files write a dimension of any size as a name, as nothing, and some exporters as -1 or 0. Weights of half precision are
read as fp32, and a config may choose outputs, give inputs a value, or say where the batch is (`handling`).
"""

import contextlib
import math
import tempfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import numpy as np

from sweep.spec import UserError
from sweep.workloads import handling, onnx_graphs, types
from sweep.workloads.base import OnnxFile

WIDENED = {"FLOAT16": "fp16", "BFLOAT16": "bf16"}


class Entry(NamedTuple):
    """An input of a file."""

    name: str
    dtype: str  # of numpy; empty where numpy has none of it
    shape: Tuple[Optional[int], ...]  # None: any size


def list_inputs(model: OnnxFile) -> List[Entry]:
    """The inputs that a caller has to give, in the order of the file."""
    return [
        Entry(entry.name, _name_dtype(entry), tuple(map(read_size, entry.type.tensor_type.shape.dim)))
        for entry in list_free_inputs(_handle(read_header(model.path), model))
    ]


def list_free_inputs(graph_model: Any) -> List[Any]:
    """The graph's inputs without those that have a value in the file."""
    constants = {tensor.name for tensor in graph_model.graph.initializer}
    return [entry for entry in graph_model.graph.input if entry.name not in constants]


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

    folder = Path(path).parent
    names = {ExternalDataInfo(t).location for t in list_tensors(read_header(path)) if uses_external_data(t)}
    return [str(folder / name) for name in sorted(names)]


def list_tensors(message: Any) -> Iterator[Any]:
    """All tensors of a model: of its graph, of constants, branches, loops and functions, sparse or not."""
    if message.DESCRIPTOR.name == "TensorProto":
        yield message
        return
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for part in [value] if hasattr(value, "DESCRIPTOR") else value:
                yield from list_tensors(part)


def find_cut_weights(path: str) -> Optional[str]:
    """The file of weights beside a model that ends before a weight in it does; None if all are whole."""
    from onnx.external_data_helper import ExternalDataInfo, uses_external_data

    for tensor in list_tensors(read_header(path)):
        if uses_external_data(tensor):
            info = ExternalDataInfo(tensor)
            file = Path(path).parent / info.location
            if (info.offset or 0) + (info.length or 0) > file.stat().st_size:
                return str(file)
    return None


def describe_weights(path: str) -> str:
    """`fp16`, `bf16` or `int8` where a file computes with weights of it, or keeps most of them in it.

    Several are joined by a plus.
    """
    from onnx import TensorProto

    graph = read_header(path).graph
    counts: Dict[str, int] = {}  # numbers in its constants, by type
    for tensor in onnx_graphs.list_constants(graph):
        name = TensorProto.DataType.Name(tensor.data_type)
        counts[name] = counts.get(name, 0) + math.prod(tensor.dims)
    kinds = {WIDENED.get(name) for name in counts}
    in_bytes = counts.get("INT8", 0) + counts.get("UINT8", 0)
    computes = any(onnx_graphs.is_quantised(node.op_type) for node in onnx_graphs.list_nodes(graph))
    if computes or 2 * in_bytes > sum(counts.values()):
        kinds.add("int8")
    return "+".join(sorted(filter(None, kinds)))


def read(model: OnnxFile) -> Any:
    """The whole model with its weights, as it is called."""
    import onnx

    return _handle(onnx.load(model.path), model)


@contextlib.contextmanager
def on_disk(model: OnnxFile) -> Iterator[str]:
    """A file that runtimes can read: the model's own, or a copy that lives as long as the context."""
    header = read_header(model.path)
    before = header.SerializeToString(deterministic=True)
    if _handle(header, model).SerializeToString(deterministic=True) == before:
        yield model.path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = str(Path(folder) / "model.onnx")
        save(read(model), copy, beside=bool(list_weight_files(model.path)))
        yield copy


def save(graph_model: Any, path: str, beside: bool) -> None:
    """Write a model.

    Args:
        beside: its weights into the file of its name with `.data` behind, as files above 2 GiB must have it.
    """
    import onnx

    location = Path(path).name + ".data" if beside else None
    onnx.save(graph_model, path, save_as_external_data=beside, location=location)


def _handle(graph_model: Any, model: OnnxFile) -> Any:
    """Change a model in place to what is called: the handling of its config, free sizes by name, and fp32 for half."""
    graph, wanted = graph_model.graph, model.handling
    _free_sizes(graph)
    if wanted.widen and set(model.weights.split("+")) & set(WIDENED.values()):
        onnx_graphs.widen(graph)
    inputs = [entry.name for entry in list_free_inputs(graph_model)]
    unknown = [name for name in wanted.constants if name not in inputs]
    if unknown:
        raise UserError("model.constants names %s; the model takes %s" % (", ".join(unknown), ", ".join(inputs)))
    places = handling.find_outputs(wanted, [entry.name for entry in graph.output], inputs)
    onnx_graphs.keep_outputs(graph, places)
    for name, value in wanted.constants.items():
        onnx_graphs.fix_input(graph, name, np.asarray(value))
    for entry in list_free_inputs(graph_model):
        onnx_graphs.move_batch_of_input(graph, entry, wanted.input_axis(entry.name))
    for number, entry in enumerate(graph.output):
        onnx_graphs.move_batch_of_output(graph, entry, wanted.output_axis(number, entry.name))
    return graph_model


def _free_sizes(graph: Any) -> None:
    """Write every dimension of any size as a name, in place: runtimes take -1 and 0 for sizes."""
    for entry in (*graph.input, *graph.output, *graph.value_info):
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            if dim.HasField("dim_value") and dim.dim_value <= 0:
                dim.dim_param = "size_%d_of_%s" % (axis, entry.name)


def _name_dtype(entry: Any) -> str:
    from onnx import helper

    name = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type).name
    return name if name in types.KNOWN else ""

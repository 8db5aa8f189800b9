"""Changes of an ONNX graph in place: other ends, and fp32 for half."""

from typing import Any, Iterator, List, Sequence

import numpy as np

from sweep.spec import UserError

INNER = "__model"  # behind the name that an end has inside, where the end is moved


def is_quantised(operator: str) -> bool:
    """Whether an operator computes with int8, or stands around one that does."""
    return "Integer" in operator or operator.startswith(
        ("QLinear", "DynamicQuantize", "QGemm", "QAttention", "QuantizeLinear", "DequantizeLinear")
    )


def list_nodes(graph: Any) -> Iterator[Any]:
    """All nodes, also those of the graphs inside others (branches, loops)."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from list_nodes(inner)


def _list_graphs(graph: Any) -> List[Any]:
    inner = [a for node in list_nodes(graph) for a in node.attribute]
    return [graph, *(g for a in inner for g in ((a.g,) if a.HasField("g") else ()) + tuple(a.graphs))]


def list_constants(graph: Any) -> Iterator[Any]:
    """The tensors in a graph: initializers, and the attributes of nodes."""
    for part in _list_graphs(graph):
        yield from part.initializer
    for node in list_nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def widen(graph: Any) -> None:
    """Make fp32 of everything in half precision: constants, casts and declared types."""
    from onnx import TensorProto, numpy_helper

    half = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
    for tensor in list_constants(graph):
        if tensor.data_type in half and not tensor.external_data:
            values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for node in list_nodes(graph):
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in half:
                attribute.i = TensorProto.FLOAT
    for part in _list_graphs(graph):
        for entry in (*part.input, *part.output, *part.value_info):
            if entry.type.tensor_type.elem_type in half:
                entry.type.tensor_type.elem_type = TensorProto.FLOAT


def keep_outputs(graph: Any, places: Sequence[int]) -> None:
    """Keep these outputs alone, in this order."""
    kept = [graph.output[place] for place in places]
    del graph.output[:]
    graph.output.extend(kept)


def fix_input(graph: Any, name: str, value: np.ndarray) -> None:
    """Give an input a value, of its own type and, where its sizes are known, its own shape.

    Raises:
        UserError: if the value does not have that shape.
    """
    from onnx import helper, numpy_helper

    entry = next(entry for entry in graph.input if entry.name == name)
    kind = entry.type.tensor_type
    sizes = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in kind.shape.dim]
    try:
        whole = np.broadcast_to(value, sizes) if value.ndim < len(sizes) else value
    except ValueError:
        text = "model.constants: %s has the shape %s, the model takes %s"
        raise UserError(text % (name, value.shape, tuple(sizes))) from None
    graph.input.remove(entry)
    dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
    graph.initializer.append(numpy_helper.from_array(np.array(whole, dtype), name))


def _step_aside(graph: Any, entry: Any, axis: int) -> int:
    """Give the tensor of an input or output a name inside the graph, so that its own is free; its number of axes.

    Raises:
        UserError: it has no such axis.
    """
    rank = len(entry.type.tensor_type.shape.dim)
    _check_axis(entry.name, axis, rank)
    _rename(graph, entry.name, entry.name + INNER)
    return rank


def move_batch_of_input(graph: Any, entry: Any, axis: int) -> None:
    """Let an input have its batch first, where the graph has it on another axis."""
    from onnx import helper

    if not axis:
        return
    name, rank = entry.name, _step_aside(graph, entry, axis)
    order = [*range(1, axis + 1), 0, *range(axis + 1, rank)]  # the place of each of the graph's axes in the array
    graph.node.insert(0, helper.make_node("Transpose", [name], [name + INNER], perm=order))
    _reorder(entry, [axis, *(place for place in range(rank) if place != axis)])


def move_batch_of_output(graph: Any, entry: Any, axis: int) -> None:
    """Let an output have its batch first, where the graph has it on another axis."""
    from onnx import helper

    if not axis:
        return
    name, rank = entry.name, _step_aside(graph, entry, axis)
    order = [axis, *(place for place in range(rank) if place != axis)]
    graph.node.append(helper.make_node("Transpose", [name + INNER], [name], perm=order))
    _reorder(entry, order)


def _check_axis(name: str, axis: int, rank: int) -> None:
    if axis >= rank:
        raise UserError("model.batch_axis: %s has %d axes, so none of number %d" % (name, rank, axis))


def _reorder(entry: Any, order: Sequence[int]) -> None:
    """Declare the sizes of an end in another order."""
    dims = [type(dim)() for dim in entry.type.tensor_type.shape.dim]
    for dim, place in zip(dims, order):
        dim.CopyFrom(entry.type.tensor_type.shape.dim[place])
    del entry.type.tensor_type.shape.dim[:]
    entry.type.tensor_type.shape.dim.extend(dims)


def _rename(graph: Any, name: str, new: str) -> None:
    """Rename a value wherever nodes read or write it."""
    for node in list_nodes(graph):
        for names in (node.input, node.output):
            for at, own in enumerate(names):
                if own == name:
                    names[at] = new

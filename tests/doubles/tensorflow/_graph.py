"""Graphs of operators in numpy: what a SavedModel holds and what a compiler cuts up.

A graph is a list of nodes in an order in which they can be computed. A tensor is named like the node that makes it;
a node with several outputs names them itself. Every operator has a kernel and a rule for the shape of its answer.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from tensorflow import errors

Array = np.ndarray
Shape = Tuple[Optional[int], ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operator. `op` and `name` are what TensorFlow's NodeDef has: a builder function may look at them."""

    name: str
    op: str
    input: Tuple[str, ...] = ()
    attr: Mapping[str, Any] = field(default_factory=dict)
    value: Optional[Array] = None  # of a Const
    outputs: Tuple[str, ...] = ()  # names of the tensors; () is one tensor with the name of the node

    @property
    def tensors(self) -> Tuple[str, ...]:
        return self.outputs or (self.name,)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes, and the names under which callers feed and fetch its tensors, in order."""

    nodes: Tuple[Node, ...]
    inputs: Mapping[str, str]  # signature name -> tensor
    outputs: Mapping[str, str]
    name: str = "model"

    def node(self, tensor: str) -> "Node":
        """The node that makes this tensor."""
        return next(node for node in self.nodes if tensor in node.tensors)

    def input_shapes(self) -> Dict[str, Shape]:
        """By signature name; None is a dimension that is free."""
        return {key: tuple(self.node(tensor).attr["shape"]) for key, tensor in self.inputs.items()}

    def shapes(self, given: Optional[Mapping[str, Shape]] = None) -> Dict[str, Shape]:
        """The shape of every tensor, for these shapes of the placeholders (by tensor name) or the declared ones."""
        known: Dict[str, Shape] = {}
        for node in self.nodes:
            if node.op == "Placeholder":
                known[node.name] = tuple((given or {}).get(node.name, node.attr["shape"]))
                continue
            found = SHAPES[node.op](node, [known[name] for name in node.input])
            known.update(zip(node.tensors, found if node.outputs else [found]))
        return known


@dataclass(frozen=True)
class Numerics:
    """How a device rounds: the matrix multiplications, or everything, to a type with fewer bits."""

    everything: str = ""
    matmul: str = ""


def run(graph: Graph, feeds: Mapping[str, Array], numerics: Optional[Numerics] = None) -> Dict[str, Array]:
    """All tensors of the graph for these values of its placeholders (by tensor name)."""
    values: Dict[str, Array] = dict(feeds)
    for node in graph.nodes:
        if node.value is not None:
            values[node.name] = node.value
        elif node.op != "Placeholder":
            found = _kernel(node, [values[name] for name in node.input], numerics)
            values.update(zip(node.tensors, found if node.outputs else [found]))
        elif node.name not in values:
            text = f"You must feed a value for placeholder tensor '{node.name}' with dtype {node.attr['dtype']}"
            raise errors.InvalidArgumentError(None, None, text)
    return values


def _kernel(node: Node, given: List[Array], numerics: Optional[Numerics]) -> Any:
    if node.op not in KERNELS:
        raise errors.NotFoundError(None, None, f"Op type not registered '{node.op}' in binary")
    if numerics is None:
        return KERNELS[node.op](node, given)
    kind = numerics.matmul if node.op in ("MatMul", "Conv2D") else ""
    kind = kind or numerics.everything
    return rounded(KERNELS[node.op](node, [rounded(array, kind) for array in given]), kind)


def rounded(array: Array, kind: str) -> Array:
    """The same values as a type with fewer bits would keep them; "" keeps all."""
    if not kind or array.dtype != np.float32:
        return array
    if kind == "fp16":
        return array.astype(np.float16).astype(np.float32)
    bits = array.view(np.uint32)  # bf16 is the upper half of a float32, rounded to even
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def relaxed(graph: Graph) -> Graph:
    """The same graph with a free batch."""
    return _with_placeholders(graph, lambda node: (None, *node.attr["shape"][1:]))


def fixed(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """The same graph with placeholders (by tensor name) of exactly these shapes."""
    return _with_placeholders(graph, lambda node: tuple(shapes.get(node.name, node.attr["shape"])))


def _with_placeholders(graph: Graph, shape: Callable[[Node], Shape]) -> Graph:
    nodes = tuple(
        replace(node, attr={**node.attr, "shape": shape(node)}) if node.op == "Placeholder" else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


# --- kernels -----------------------------------------------------------------------------------------------------


def _grid(node: Node, given: List[Array]) -> Array:
    """Every so many pixels, so that `cells` x `cells` of them are left."""
    (array,), cells = given, int(node.attr["cells"])
    rows, columns = (size // cells for size in array.shape[1:3])
    return array[:, : rows * cells : rows, : columns * cells : columns]


def _convolve(node: Node, given: List[Array]) -> Array:
    array, weight = given
    height, width, channels, filters = weight.shape
    windows = np.lib.stride_tricks.sliding_window_view(array, (height, width), axis=(1, 2))
    windows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(*windows.shape[:3], height * width * channels)
    answer: Array = windows @ weight.reshape(-1, filters)
    return answer


def _softmax(node: Node, given: List[Array]) -> Array:
    shifted = np.exp(given[0] - given[0].max(axis=-1, keepdims=True))
    answer: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return answer


def _reshape(node: Node, given: List[Array]) -> Array:
    return given[0].reshape(len(given[0]), *[int(size) for size in given[1][1:]])


def _neuron(node: Node, given: List[Array]) -> Any:
    """The operator that the plug-in of the Neuron wheel registers."""
    try:
        from tensorflow_double.operator import execute
    except ImportError:
        raise errors.NotFoundError(None, None, "Op type not registered 'NeuronOp' in binary") from None
    return execute(node, given)


KERNELS: Dict[str, Callable[[Node, List[Array]], Any]] = {
    "Identity": lambda node, given: given[0],
    "IdentityN": lambda node, given: given[0],
    "AddV2": lambda node, given: given[0] + given[1],
    "BiasAdd": lambda node, given: given[0] + given[1],
    "MatMul": lambda node, given: given[0] @ given[1],
    "Relu": lambda node, given: np.maximum(given[0], 0),
    "Softmax": _softmax,
    "Mean": lambda node, given: given[0].mean(axis=tuple(int(axis) for axis in given[1]), dtype=np.float32),
    "Reshape": _reshape,
    "ConcatV2": lambda node, given: np.concatenate(given[:-1], axis=int(given[-1])),
    "Roll": lambda node, given: np.roll(given[0], 1, axis=-1),  # that no Neuron compiler lists: it stays on the host
    "StridedSlice": _grid,
    "Conv2D": _convolve,
    "NeuronOp": _neuron,
}


# --- shapes ------------------------------------------------------------------------------------------------------


def _window(node: Node, given: Sequence[Shape]) -> Shape:
    (count, height, width, _), (rows, columns, _, filters) = given
    return (count, _less(height, rows), _less(width, columns), filters)


def _less(size: Optional[int], window: Optional[int]) -> Optional[int]:
    return None if size is None or window is None else size - window + 1


def _joined(node: Node, given: Sequence[Shape]) -> Shape:
    sizes = [shape[-1] for shape in given[:-1]]
    return (*given[0][:-1], None if None in sizes else sum(size for size in sizes if size is not None))


def _neuron_shapes(node: Node, given: Sequence[Shape]) -> List[Shape]:
    shapes = zip(node.attr["output_shapes"], node.attr["output_batch_axis"])
    return [(None, *shape[1:]) if axis == 0 else tuple(shape) for shape, axis in shapes]


def _same(node: Node, given: Sequence[Shape]) -> Shape:
    return given[0]


SHAPES: Dict[str, Callable[[Node, Sequence[Shape]], Any]] = {
    "Const": lambda node, given: np.shape(node.value),
    "Identity": _same,
    "IdentityN": _same,
    "AddV2": _same,
    "BiasAdd": _same,
    "Relu": _same,
    "Softmax": _same,
    "Roll": _same,
    "MatMul": lambda node, given: (given[0][0], given[1][-1]),
    "Mean": lambda node, given: (given[0][0], given[0][-1]),
    "Reshape": lambda node, given: (given[0][0], *node.attr["shape"]),
    "ConcatV2": _joined,
    "StridedSlice": lambda node, given: (given[0][0], node.attr["cells"], node.attr["cells"], given[0][-1]),
    "Conv2D": _window,
    "NeuronOp": _neuron_shapes,
}


def elements(shape: Shape) -> int:
    """How many numbers an array of this fixed shape holds."""
    return math.prod(size for size in shape if size is not None)

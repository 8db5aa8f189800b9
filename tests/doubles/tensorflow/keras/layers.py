"""Layers: each adds its operators to the graph of the model that it is called for."""

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from tensorflow import _session
from tensorflow._graph import Graph, Node
from tensorflow._tensors import Symbol

_names = {}  # kind -> how many so far, for the names "dense", "dense_1", ...
_ACTIVATIONS = {None: None, "linear": None, "relu": "Relu", "softmax": "Softmax"}


def unique(kind: str) -> str:
    """`kind`, then `kind_1` and so on, as Keras names its layers."""
    count = _names.get(kind, 0)
    _names[kind] = count + 1
    return "%s_%d" % (kind, count) if count else kind


def grown(given: Sequence[Symbol], nodes: Sequence[Node]) -> Symbol:
    """The last of these nodes as a tensor, in the graph of the given tensors and these nodes."""
    merged = {}
    for symbol in given:
        merged.update((node.name, node) for node in symbol.graph.nodes)
    merged.update((node.name, node) for node in nodes)
    graph = Graph(tuple(merged.values()), {}, {})
    return Symbol(graph, nodes[-1].name, graph.shapes()[nodes[-1].name])


def Input(  # noqa: N802  # its name in Keras
    shape: Optional[Sequence[Optional[int]]] = None,
    batch_size: Optional[int] = None,
    name: Optional[str] = None,
    dtype: str = "float32",
    batch_shape: Optional[Sequence[Optional[int]]] = None,
) -> Symbol:
    """A place for the caller's array. `shape` is without the batch, which is free unless it is given."""
    full: Tuple[Optional[int], ...] = tuple(batch_shape) if batch_shape is not None else (batch_size, *(shape or ()))
    node = Node(name or _input_name(), "Placeholder", attr={"shape": full, "dtype": dtype})
    return Symbol(Graph((node,), {}, {}), node.name, full, dtype)


def _input_name() -> str:
    _names["input"] = _names.get("input", 0) + 1
    return "input_%d" % _names["input"]


class Layer:
    """Something that is called with tensors and gives one."""

    kind = "layer"

    def __init__(self, name: Optional[str] = None, input_shape: Optional[Sequence[int]] = None) -> None:
        self.name = name or unique(self.kind)
        self.input_shape_given = input_shape

    def __call__(self, inputs: Any) -> Symbol:
        given = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        for each in given:
            if not isinstance(each, Symbol):
                raise TypeError("layer %s takes the tensors of a model, not %s" % (self.name, type(each).__name__))
        return grown(given, self.nodes(given))

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        """The operators of this layer, the last of which is its answer."""
        raise NotImplementedError


class InputLayer(Layer):
    kind = "input"

    def __init__(
        self, input_shape: Optional[Sequence[int]] = None, batch_size: Optional[int] = None, name: Optional[str] = None
    ) -> None:
        super().__init__(name or _input_name(), input_shape)
        self.batch_size = batch_size


class Dense(Layer):
    """Matrix product, bias and activation. Its weights are drawn when it is first called."""

    kind = "dense"

    def __init__(
        self,
        units: int,
        activation: Optional[str] = None,
        name: Optional[str] = None,
        input_shape: Optional[Sequence[int]] = None,
    ) -> None:
        super().__init__(name, input_shape)
        if activation not in _ACTIVATIONS:
            raise ValueError("Unknown activation function: %s" % activation)
        self.units = units
        self.activation = activation

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        (symbol,) = given
        size = symbol.shape[-1]
        if len(symbol.shape) != 2 or size is None:
            raise ValueError("dense layers take (batch, features) here, not %r" % (symbol.shape,))
        limit = np.sqrt(6.0 / (size + self.units))
        kernel = _session.generator().uniform(-limit, limit, (size, self.units)).astype(np.float32)
        added = [
            Node(self.name + "/kernel", "Const", value=kernel),
            Node(self.name + "/MatMul", "MatMul", (symbol.tensor, self.name + "/kernel")),
            Node(self.name + "/bias", "Const", value=np.zeros(self.units, np.float32)),
            Node(self.name + "/BiasAdd", "BiasAdd", (self.name + "/MatMul", self.name + "/bias")),
        ]
        op = _ACTIVATIONS[self.activation]
        return added + ([Node("%s/%s" % (self.name, op), op, (self.name + "/BiasAdd",))] if op else [])


class ReLU(Layer):
    kind = "re_lu"

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        return [Node(self.name + "/Relu", "Relu", (given[0].tensor,))]


class Flatten(Layer):
    kind = "flatten"

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        sizes = given[0].shape.as_list()[1:]
        flat = int(np.prod([int(size or 0) for size in sizes]))
        shape = Node(self.name + "/Const", "Const", value=np.array([-1, flat], np.int32))
        return [shape, Node(self.name + "/Reshape", "Reshape", (given[0].tensor, shape.name), {"shape": [flat]})]


class Concatenate(Layer):
    kind = "concatenate"

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        axis = Node(self.name + "/axis", "Const", value=np.array(-1, np.int32))
        return [axis, Node(self.name + "/concat", "ConcatV2", (*(each.tensor for each in given), axis.name))]


class Add(Layer):
    kind = "add"

    def nodes(self, given: Sequence[Symbol]) -> List[Node]:
        return [Node(self.name + "/add", "AddV2", tuple(each.tensor for each in given))]

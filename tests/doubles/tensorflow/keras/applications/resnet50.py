"""A stand-in for ResNet-50: its interface, its number of operators, none of its cost.

Compiled by TensorFlow 1 it has 556 operators, 554 of them for the device, as published for the real one. It is not
the network: residual blocks of small matrix products over a grid of pixels.
"""

from typing import Any, Callable, List, Optional, Sequence, Tuple

import numpy as np

from tensorflow import _session
from tensorflow._graph import Graph, Node
from tensorflow._tensors import Symbol
from tensorflow._version import TF1
from tensorflow.keras.models import Model

GRID = 4
WIDTH = 24
BLOCKS = 4
CLEAR = 12  # classes that stand out, so that rounding seldom changes which one is first
OPERATORS = 554  # that a compiler takes
OUTPUT_OPERATORS = 5
_INPUT, _OUTPUT = "input_1", "probs" if TF1 else "predictions"  # renamed in TensorFlow 2
Draw = Callable[[Tuple[int, ...], float], np.ndarray]


def ResNet50(  # noqa: N802  # its name in Keras
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Optional[Sequence[int]] = None,
    pooling: Optional[str] = None,
    classes: int = 1000,
) -> Model:
    """Pictures (N, height, width, 3) to probabilities (N, classes).

    Args:
        weights: "imagenet": the same everywhere. None: drawn at random, in each process other ones unless
            `tf.random.set_seed` was called before, as in TensorFlow.
    """
    if weights not in (None, "imagenet"):
        raise ValueError("The `weights` argument should be either `None` (random initialization) or `imagenet`.")
    if not include_top or input_tensor is not None or pooling is not None:
        raise NotImplementedError("this double has the whole ResNet50 only")
    shape = tuple(input_shape or (224, 224, 3))
    if weights == "imagenet" and shape != (224, 224, 3):
        text = "When setting `include_top=True` and loading `imagenet` weights, `input_shape` should be (224, 224, 3)."
        raise ValueError(text)
    if weights == "imagenet" and classes != 1000:
        raise ValueError("If using `weights` as `'imagenet'` with `include_top` as true, `classes` should be 1000")
    if len(shape) != 3 or shape[2] != 3 or min(shape[:2]) < 32:
        raise ValueError("Input size must be at least 32x32; Received: input_shape=%r" % (input_shape,))
    random = _session.named_generator("imagenet") if weights else _session.generator()

    def draw(size: Tuple[int, ...], scale: float) -> np.ndarray:
        drawn: np.ndarray = (random.standard_normal(size) * scale).astype(np.float32)
        return drawn

    graph = _graph(shape, classes, draw)
    shapes, last = graph.shapes(), graph.outputs[_OUTPUT]
    return Model(Symbol(graph, _INPUT, shapes[_INPUT]), Symbol(graph, last, shapes[last]), graph.name)


def preprocess_input(x: Any, data_format: Optional[str] = None) -> np.ndarray:
    """Colours of 0 to 255 from RGB to BGR, less their means over ImageNet."""
    array = np.asarray(x, np.float32)[..., ::-1]
    return array - np.array([103.939, 116.779, 123.68], np.float32)


def _graph(shape: Tuple[int, ...], classes: int, draw: Draw) -> Graph:
    nodes = [
        Node(_INPUT, "Placeholder", attr={"shape": (None, *shape), "dtype": "float32"}),
        Node("pool1/StridedSlice", "StridedSlice", (_INPUT,), {"cells": GRID}),
        Node("conv1/kernel", "Const", value=draw((GRID, GRID, 3, WIDTH), (3 * GRID * GRID) ** -0.5)),
        Node("conv1/Conv2D", "Conv2D", ("pool1/StridedSlice", "conv1/kernel")),
        Node("avg_pool/axes", "Const", value=np.array([1, 2], np.int32)),
        Node("avg_pool/Mean", "Mean", ("conv1/Conv2D", "avg_pool/axes")),
    ]
    last = "avg_pool/Mean"
    for number in range(BLOCKS):
        nodes += _block("conv%d_block" % (number + 2), last, draw)
        last = nodes[-1].name
    nodes += _padding(len(nodes) - 1 + OUTPUT_OPERATORS, last)
    kernel = draw((WIDTH, classes), WIDTH**-0.5)
    kernel[:, :: max(1, classes // CLEAR)] *= 4
    nodes += [
        Node(_OUTPUT + "/kernel", "Const", value=kernel),
        Node(_OUTPUT + "/MatMul", "MatMul", (nodes[-1].name, _OUTPUT + "/kernel")),
        Node(_OUTPUT + "/bias", "Const", value=np.zeros(classes, np.float32)),
        Node(_OUTPUT + "/BiasAdd", "BiasAdd", (_OUTPUT + "/MatMul", _OUTPUT + "/bias")),
        Node(_OUTPUT + "/Softmax", "Softmax", (_OUTPUT + "/BiasAdd",)),
    ]
    return Graph(tuple(nodes), {_INPUT: _INPUT}, {_OUTPUT: _OUTPUT + "/Softmax"}, "resnet50")


def _block(name: str, given: str, draw: Draw) -> List[Node]:
    """given + relu(given @ kernel + bias)"""
    return [
        Node(name + "/kernel", "Const", value=draw((WIDTH, WIDTH), 0.3 * WIDTH**-0.5)),
        Node(name + "/MatMul", "MatMul", (given, name + "/kernel")),
        Node(name + "/bias", "Const", value=draw((WIDTH,), 0.01)),
        Node(name + "/BiasAdd", "BiasAdd", (name + "/MatMul", name + "/bias")),
        Node(name + "/Relu", "Relu", (name + "/BiasAdd",)),
        Node(name + "/add", "AddV2", (given, name + "/Relu")),
    ]


def _padding(count: int, given: str) -> List[Node]:
    """Additions of nothing, from `count` operators up to the number that is published."""
    added, last = [Node("padding/zero", "Const", value=np.zeros((1,), np.float32))], given
    for number in range(OPERATORS - count - 1):
        added.append(Node("padding/add_%d" % number, "AddV2", (last, added[0].name)))
        last = added[-1].name
    return added

"""Keras models: a graph with one or more inputs, to call, to ask in batches, to save and to load."""

import os
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from tensorflow import _session, _storage, errors
from tensorflow._graph import Graph, run
from tensorflow._rules import broken, tf_error
from tensorflow._tensors import EagerTensor, Symbol, TensorShape, convert_to_tensor
from tensorflow._version import TF1
from tensorflow.keras.layers import Input, InputLayer, Layer, unique


class Model:
    """A model from its input tensors to its output tensors."""

    storage_kind = "keras"

    def __init__(self, inputs: Any, outputs: Any, name: Optional[str] = None) -> None:
        given, found = _listed(inputs), _listed(outputs)
        for each in given + found:
            if not isinstance(each, Symbol):
                raise TypeError("a model is made of the tensors of its layers, not of %s" % type(each).__name__)
        names = {symbol.tensor.partition("/")[0]: symbol.tensor for symbol in found}
        nodes = {}
        for symbol in found:
            nodes.update((node.name, node) for node in symbol.graph.nodes)
        missing = [symbol.tensor for symbol in given if symbol.tensor not in nodes]
        if missing:
            raise ValueError("Graph disconnected: the outputs do not depend on %s" % ", ".join(missing))
        inputs_by_name = {symbol.tensor: symbol.tensor for symbol in given}
        self._set_graph(Graph(tuple(nodes.values()), inputs_by_name, names, name or unique("model")))

    def _set_graph(self, graph: Graph) -> None:
        self.graph = graph
        self.name = graph.name
        shapes = graph.shapes()
        self.inputs = [Symbol(graph, tensor, shapes[tensor]) for tensor in graph.inputs.values()]
        self.outputs = [Symbol(graph, tensor, shapes[tensor]) for tensor in graph.outputs.values()]

    @property
    def input_names(self) -> List[str]:
        return list(self.graph.inputs)

    @property
    def output_names(self) -> List[str]:
        return list(self.graph.outputs)

    @property
    def input_shape(self) -> Any:
        shapes = [tuple(symbol.shape) for symbol in self.inputs]
        return shapes[0] if len(shapes) == 1 else shapes

    def __call__(self, inputs: Any, training: bool = False) -> Any:
        """A tensor for a tensor or an array, in TensorFlow 2."""
        if TF1:
            raise NotImplementedError("in TensorFlow 1 this double runs models by Session.run, predict or a predictor")
        symbols = [each for each in _listed(inputs) if isinstance(each, Symbol)]
        if symbols:  # a function is being traced
            for number, symbol in enumerate(symbols):
                self._check(number, symbol.shape)
            return self.outputs[0] if len(self.outputs) == 1 else self.outputs
        found = self._run(self._arrays(inputs))
        return EagerTensor(found[0]) if len(found) == 1 else [EagerTensor(array) for array in found]

    def predict(self, x: Any, batch_size: Optional[int] = None, verbose: Any = 0, steps: Optional[int] = None) -> Any:
        """Arrays for arrays, in batches of `batch_size` (32)."""
        arrays = self._arrays(x)
        size = batch_size or 32
        parts = [self._run([each[first : first + size] for each in arrays]) for first in range(0, len(arrays[0]), size)]
        found = [np.concatenate(each) for each in zip(*parts)]
        return found[0] if len(found) == 1 else found

    def get_weights(self) -> List[np.ndarray]:
        return [node.value.copy() for node in self._weights()]

    def set_weights(self, weights: Sequence[np.ndarray]) -> None:
        """Raises ValueError unless the shapes are those of `get_weights`."""
        nodes = self._weights()
        if [np.shape(array) for array in weights] != [node.value.shape for node in nodes]:
            raise ValueError("You called `set_weights(weights)` with a weight list that does not fit the model.")
        for node, array in zip(nodes, weights):
            node.value[...] = array

    def save(
        self, filepath: Any, overwrite: bool = True, include_optimizer: bool = True, save_format: Any = None
    ) -> None:
        """As a SavedModel, in TensorFlow 2 by default."""
        by_default = "h5" if TF1 else "tf"
        if str(filepath).endswith((".h5", ".keras")) or (save_format or by_default) != "tf":
            raise NotImplementedError("this double has SavedModels only: save to a folder, with save_format='tf'")
        if not overwrite and os.path.exists(filepath):
            raise OSError("%s exists, and overwrite is False" % filepath)
        _storage.write(filepath, _storage.SavedModel(self.graph, self.storage_kind, more=self._more()))

    def _more(self) -> Any:
        return None

    def _weights(self) -> List[Any]:
        nodes = [node for node in self.graph.nodes if node.value is not None]
        return [node for node in nodes if node.name.endswith(("/kernel", "/bias"))]

    def _arrays(self, inputs: Any) -> List[np.ndarray]:
        """One array per input, of its type. Keras casts numbers to what its layers compute with."""
        if isinstance(inputs, dict):
            unknown = set(inputs) ^ set(self.graph.inputs)
            if unknown:
                raise ValueError("Missing or unexpected inputs: %s" % ", ".join(sorted(unknown)))
            inputs = [inputs[name] for name in self.graph.inputs]
        given = [np.asarray(getattr(each, "numpy", lambda each=each: each)()) for each in _listed(inputs)]
        if len(given) != len(self.inputs):
            text = "Layer %r expects %d input(s), but it received %d input tensors."
            raise ValueError(text % (self.name, len(self.inputs), len(given)))
        return [self._fitting(number, array) for number, array in enumerate(given)]

    def _fitting(self, number: int, array: np.ndarray) -> np.ndarray:
        self._check(number, array.shape)
        return array.astype(self.inputs[number].dtype.as_numpy_dtype, copy=False)

    def _check(self, number: int, shape: Any) -> None:
        wanted = self.inputs[number].shape
        if not wanted.is_compatible_with(shape):
            text = 'Input %d of layer "%s" is incompatible with the layer: expected shape=%r, found shape=%r'
            raise ValueError(text % (number, self.name, tuple(wanted), tuple(shape)))

    def _run(self, arrays: Sequence[np.ndarray]) -> List[np.ndarray]:
        _session.start()
        values = run(self.graph, dict(zip(self.graph.inputs.values(), arrays)))
        return [values[tensor] for tensor in self.graph.outputs.values()]


class Sequential(Model):
    """A model of layers, one after the other; the first one says what the input is."""

    def __init__(self, layers: Sequence[Any] = (), name: Optional[str] = None) -> None:
        steps = list(layers)
        if not steps:
            raise ValueError("this double has no empty Sequential: give it its layers")
        first = steps[0]
        if isinstance(first, InputLayer):
            start = Input(first.input_shape_given, first.batch_size, first.name)
            steps.pop(0)
        elif isinstance(first, Symbol):
            start = steps.pop(0)
        elif isinstance(first, Layer) and first.input_shape_given is not None:
            start = Input(first.input_shape_given)
        else:
            raise ValueError("the first layer needs an input_shape: this model has not yet been built")
        end = start
        for step in steps:
            end = step(end)
        super().__init__(start, end, name or unique("sequential"))


class TracedModel(Model):
    """What Neuron's trace returns and what loading such a model gives back: no casts, the shapes of the trace.

    Its operators run where the graph says; `on_neuron_ratio` is known to the process that traced it, not to the file.
    """

    storage_kind = "neuron"

    def __init__(self, graph: Graph, loaded: bool = False) -> None:
        self._set_graph(graph)
        self._loaded = loaded

    def __call__(self, inputs: Any, *more: Any) -> Any:
        if isinstance(inputs, dict) and not more and set(inputs) == set(self.graph.inputs):
            inputs = [inputs[name] for name in self.graph.inputs]
        given = [convert_to_tensor(each) for each in [*_listed(inputs), *more]]
        found = self._run([self._exactly(number, tensor) for number, tensor in enumerate(self._counted(given))])
        return EagerTensor(found[0]) if len(found) == 1 else [EagerTensor(array) for array in found]

    def predict(self, x: Any, batch_size: Optional[int] = None, verbose: Any = 0, steps: Optional[int] = None) -> Any:
        size = batch_size or 32
        arrays = [np.asarray(each) for each in _listed(x)]
        parts = [self([each[first : first + size] for each in arrays]) for first in range(0, len(arrays[0]), size)]
        found = [np.concatenate([tensor.numpy() for tensor in each]) for each in zip(*map(_listed, parts))]
        return found[0] if len(found) == 1 else found

    def _counted(self, given: List[Any]) -> List[Any]:
        if len(given) != len(self.inputs):
            text = "Signature mismatch: this function takes %d tensors, it was given %d."
            raise broken("tf-input-count", text % (len(self.inputs), len(given)), TypeError)
        return given

    def _exactly(self, number: int, tensor: Any) -> np.ndarray:
        """The array of a tensor of the type and shape of the trace."""
        wanted: Symbol = self.inputs[number]
        if tensor.dtype != wanted.dtype:
            names = {"float32": "float", "float64": "double"}
            shown = tuple(names.get(dtype.name, dtype.name) for dtype in (wanted.dtype, tensor.dtype))
            text = "cannot compute __inference_pruned as input #%d(zero-based) was expected to be a %s tensor "
            text = (text + "but is a %s tensor") % (number, *shown)
            raise broken("tf-fixed-dtype", text, tf_error(errors.InvalidArgumentError))
        if not wanted.shape.is_compatible_with(tensor.shape):
            raise broken("tf-fixed-shape", self._mismatch(wanted, tensor.shape), ValueError)
        array: np.ndarray = tensor.numpy()
        return array

    def _mismatch(self, wanted: Symbol, shape: TensorShape) -> str:
        if self._loaded:
            text = "Could not find matching concrete function to call loaded from the SavedModel. Got: %r Expected: %r"
            return text % (shape, wanted.shape)
        text = "The argument %r is not compatible with the shape this function was traced with. "
        text += "Expected shape %r, but got shape %r."
        return text % (wanted.tensor, wanted.shape, shape)

    def _weights(self) -> List[Any]:
        return []  # they are inside the compiled program


# The names are TensorFlow's.
def load_model(filepath: Any, custom_objects: Optional[Dict[str, Any]] = None, compile: bool = True) -> Model:  # noqa: A002
    """What `Model.save` wrote.

    Raises:
        OSError: there is nothing there.
        ValueError: something else wrote it.
    """
    if not os.path.exists(filepath):
        raise OSError("No file or directory found at %s" % filepath)
    stored = _storage.read(filepath)
    if stored.kind == "neuron":
        return TracedModel(stored.graph, loaded=True)
    if stored.kind != "keras":
        raise ValueError("Unable to create a Keras model from SavedModel at %s: it was not saved by Keras" % filepath)
    graph = stored.graph
    inputs = [_symbol(graph, each) for each in graph.inputs.values()]
    return Model(inputs, [_symbol(graph, each) for each in graph.outputs.values()], graph.name)


def _symbol(graph: Graph, tensor: str) -> Symbol:
    return Symbol(graph, tensor, graph.shapes()[tensor])


def _listed(given: Any) -> List[Any]:
    return list(given) if isinstance(given, (list, tuple)) else [given]

"""TensorFlow's models as originals: how they answer on the CPU, and what identifies them.

TensorFlow 1.15 and 2.x, whichever this interpreter has. Nothing here imports TensorFlow before it is called.
"""

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sweep.spec import UserError
from sweep.workloads import results, types
from sweep.workloads.base import SavedModel

Arrays = Tuple[np.ndarray, ...]
FORMATS = ("keras", "saved_model")
SIGNATURE = "serving_default"


def owns(model: Any) -> bool:
    """True for what a factory of one of the `FORMATS` returns."""
    return isinstance(model, SavedModel) or (hasattr(model, "get_weights") and hasattr(model, "predict"))


def is_tf1() -> bool:
    """True where this interpreter's TensorFlow is 1.x."""
    import tensorflow

    return str(tensorflow.__version__).startswith("1.")


def reference_call(model: Any) -> Tuple[Callable[[Arrays], results.Named], Optional[int]]:
    """The model as a function of arrays, run by TensorFlow on the CPU, and its batch size where that is fixed."""
    if isinstance(model, SavedModel):
        signature = Signature(model.path, model.inputs)
        return lambda given: name_arrays(signature.run(signature.prepare(given))), signature.batch

    def call(inputs: Arrays) -> results.Named:
        given = list(inputs)
        return name_arrays(model.predict(given if len(given) > 1 else given[0], batch_size=len(inputs[0]), verbose=0))

    inputs = getattr(model, "inputs", None)
    return call, _fixed_batch(inputs[0].shape) if inputs else None


def list_inputs(model: Any) -> Optional[Sequence[Tuple[str, str]]]:
    """Name and type of a model's inputs in the order in which it takes arrays; None for a Keras model without any yet.

    Types are those of numpy, empty where numpy has none of it.
    """
    if isinstance(model, SavedModel):
        signature = Signature(model.path, model.inputs)
        return [(name, _name_dtype(signature.dtypes[name])) for name in signature.inputs]
    inputs = getattr(model, "inputs", None)
    return [(str(t.name).partition(":")[0], _name_dtype(t.dtype)) for t in inputs] if inputs else None


def _name_dtype(dtype: Any) -> str:
    """A type of TensorFlow, or its name, as numpy names it."""
    name = str(getattr(dtype, "name", dtype))
    return name if name in types.KNOWN else ""


def _sort(raw: Any) -> Any:
    """What a model returned with dicts in the order of their names, as TensorFlow flattens them."""
    if isinstance(raw, Mapping):
        return {name: _sort(raw[name]) for name in sorted(raw)}
    return [_sort(part) for part in raw] if isinstance(raw, (tuple, list)) else raw


def name_arrays(raw: Any) -> results.Named:
    """Host arrays of what a model returned, with their names; floats of any width as float32."""
    return [(name, _host(leaf)) for name, leaf in results.list_arrays(_sort(raw))]


def arrays(raw: Any) -> Arrays:
    """The same without names."""
    return tuple(array for _, array in name_arrays(raw))


def _host(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf.numpy() if hasattr(leaf, "numpy") else leaf)
    wide = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
    return array.astype(np.float32, copy=False) if wide else array


class Signature:
    """The signature `serving_default` of a SavedModel as a function of arrays in a fixed order.

    Outputs come in the order of their names. `prepare` makes what `run` takes, ahead of time.
    """

    def __init__(self, path: str, inputs: Sequence[str] = ()) -> None:
        self._tf1 = is_tf1()
        # What was loaded is kept: the variables of a function live only as long as it
        self._loaded, self.function, specs = _predictor(path) if self._tf1 else _signature(path)
        shapes = {name: spec.shape for name, spec in specs.items()}
        self.dtypes = {name: spec.dtype for name, spec in specs.items()}
        self.inputs = tuple(inputs) or tuple(sorted(shapes))
        if sorted(self.inputs) != sorted(shapes):
            have, named = ", ".join(sorted(shapes)), ", ".join(self.inputs)
            raise UserError("the SavedModel %s has the inputs %s: model.inputs names %s" % (path, have, named))
        self.batch = _fixed_batch(shapes[self.inputs[0]])

    def prepare(self, given: Arrays) -> Dict[str, Any]:
        if len(given) != len(self.inputs):
            text = "the SavedModel has the inputs %s, the data has %d: choose data with as many"
            raise UserError(text % (", ".join(self.inputs), len(given)))
        named = dict(zip(self.inputs, given))
        return named if self._tf1 else {name: tensor(array) for name, array in named.items()}

    def run(self, request: Dict[str, Any]) -> Any:
        return self.function(request) if self._tf1 else self.function(**request)

    def __call__(self, given: Arrays) -> Arrays:
        return arrays(self.run(self.prepare(given)))


def traceable(model: Any, given: Arrays) -> Tuple[Any, List[Any]]:
    """What TensorFlow 2 traces, and its example tensors; a signature takes its inputs in the order of their names."""
    if not isinstance(model, SavedModel):
        return model, [tensor(array) for array in given]
    signature = Signature(model.path, model.inputs)
    request = signature.prepare(given)
    return signature.function, [request[name] for name in sorted(request)]


def tensor(array: np.ndarray) -> Any:
    """An eager tensor of TensorFlow 2, of the array's type."""
    import tensorflow

    return tensorflow.convert_to_tensor(array)


def _signature(path: str) -> Tuple[Any, Any, Dict[str, Any]]:
    """What TensorFlow 2 loads, its function, and what it says of each input: its shape and type."""
    import tensorflow

    loaded = tensorflow.saved_model.load(path)
    function = loaded.signatures[SIGNATURE]
    specs = function.structured_input_signature[1]
    return loaded, function, dict(specs)


def _predictor(path: str) -> Tuple[Any, Any, Dict[str, Any]]:
    """The predictor of TensorFlow 1, twice, and its symbol of each input, which has a shape and a type."""
    import tensorflow

    predictor = tensorflow.contrib.predictor.from_saved_model(path)
    return predictor, predictor, dict(predictor.feed_tensors)


def _fixed_batch(shape: Any) -> Optional[int]:
    """The first size of a TensorShape where it is known; TensorFlow 1 wraps its sizes."""
    sizes = shape.as_list() if shape.rank is not None else []
    return sizes[0] if sizes else None


def add_to_digest(model: Any, digest: Any) -> None:
    """Add a Keras model to a `Digest`: its weights, its layers, and the code of those that Keras does not have."""
    for array in model.get_weights():
        digest.put_array(np.asarray(array))
    digest.put("layers", _structure(model))
    flatten = getattr(model, "_flatten_layers", None)
    for layer in flatten() if flatten else getattr(model, "layers", ()):
        digest.add(type(layer))
        plain = (bool, int, float, str, tuple, type(None))
        digest.add_named({name: value for name, value in vars(layer).items() if isinstance(value, plain)}, layer.name)
        digest.add(getattr(layer, "function", None), layer.name)  # of a Lambda


def _structure(model: Any) -> str:
    """The layers with their settings as Keras writes them; the names of the ends for a model that it cannot write."""
    try:
        return str(model.to_json())
    except (AttributeError, NotImplementedError, TypeError):
        names = (getattr(model, "input_names", ()), getattr(model, "output_names", ()))
        return "%s %s" % (type(model).__name__, names)

"""Tensors: with numbers in TensorFlow 2, which is eager; names in a graph in TensorFlow 1, which is not."""

from typing import Any, Iterator, List, Optional, Sequence, Tuple

import numpy as np

from tensorflow import errors
from tensorflow._version import TF1


class DType:
    """A type of numbers. Equal to its numpy type and to its name, as TensorFlow's are."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.as_numpy_dtype = np.dtype(name).type
        self.size = np.dtype(name).itemsize

    def __eq__(self, other: Any) -> bool:
        try:
            return np.dtype(getattr(other, "name", other)) == np.dtype(self.name)
        except TypeError:
            return False

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return "tf.%s" % self.name


DTYPES = {name: DType(name) for name in ("float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool")}


def as_dtype(given: Any) -> DType:
    """Raises TypeError for what is no type of numbers."""
    name = getattr(given, "name", None) or np.dtype(given).name
    if name not in DTYPES:
        raise TypeError("Cannot convert %r to a TensorFlow DType." % (given,))
    return DTYPES[name]


class TensorShape:
    """Sizes; None is one that is free."""

    def __init__(self, dims: Sequence[Optional[int]]) -> None:
        self._dims: Tuple[Optional[int], ...] = tuple(None if size is None else int(size) for size in dims)

    @property
    def rank(self) -> int:
        return len(self._dims)

    def as_list(self) -> List[Optional[int]]:
        return list(self._dims)

    def is_fully_defined(self) -> bool:
        return None not in self._dims

    def is_compatible_with(self, other: Any) -> bool:
        theirs = tuple(other)
        return len(theirs) == len(self._dims) and all(
            mine is None or size is None or mine == size for mine, size in zip(self._dims, theirs)
        )

    def __iter__(self) -> Iterator[Optional[int]]:
        return iter(self._dims)

    def __len__(self) -> int:
        return len(self._dims)

    def __getitem__(self, key: Any) -> Any:
        found = self._dims[key]
        return TensorShape(found) if isinstance(key, slice) else found

    def __eq__(self, other: Any) -> bool:
        return tuple(self) == tuple(other)

    def __hash__(self) -> int:
        return hash(self._dims)

    def __repr__(self) -> str:
        return "(%s)" % ", ".join(map(str, self._dims)) if len(self._dims) != 1 else "(%s,)" % self._dims[0]


class TensorSpec:
    """Shape and type of a tensor that is still to come."""

    def __init__(self, shape: Any, dtype: Any = "float32", name: Optional[str] = None) -> None:
        self.shape = TensorShape(shape)
        self.dtype = as_dtype(dtype)
        self.name = name

    def __repr__(self) -> str:
        return "TensorSpec(shape=%r, dtype=%r, name=%r)" % (self.shape, self.dtype, self.name)


class Symbol:
    """A tensor of a graph: it has a name and a shape, and no numbers before a session runs it."""

    def __init__(self, graph: Any, tensor: str, shape: Sequence[Optional[int]], dtype: Any = "float32") -> None:
        self.graph = graph
        self.tensor = tensor  # name within the graph
        self.shape = TensorShape(shape)
        self.dtype = as_dtype(dtype)

    @property
    def name(self) -> str:
        return "%s:0" % self.tensor

    def __repr__(self) -> str:
        return "<tf.Tensor '%s' shape=%r dtype=%s>" % (self.name, self.shape, self.dtype.name)

    def __iter__(self) -> Iterator[Any]:
        raise errors.OperatorNotAllowedInGraphError("iterating over `tf.Tensor` is not allowed in Graph execution.")

    def __bool__(self) -> bool:
        raise errors.OperatorNotAllowedInGraphError("using a `tf.Tensor` as a Python `bool` is not allowed.")

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("Cannot convert a symbolic Tensor (%s) to a numpy array." % self.name)


class EagerTensor:
    """Numbers that cannot be changed."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.dtype = as_dtype(values.dtype)
        self.shape = TensorShape(values.shape)

    def numpy(self) -> np.ndarray:
        return self._values

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        return self._values if dtype is None else self._values.astype(dtype)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, key: Any) -> "EagerTensor":
        return EagerTensor(self._values[key])

    def __repr__(self) -> str:
        return "<tf.Tensor: shape=%r, dtype=%s>" % (self.shape, self.dtype.name)


Tensor: Any = Symbol if TF1 else EagerTensor


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str = "Const") -> Any:
    """A tensor of these numbers; Python's floats become float32, numpy's keep their type."""
    array = _array(value, dtype)
    return _made(array if shape is None else np.broadcast_to(array, shape), name)


def convert_to_tensor(value: Any, dtype: Any = None, dtype_hint: Any = None, name: str = "Const") -> Any:
    """The same numbers as a tensor; a tensor stays what it is.

    Raises:
        ValueError: a tensor of another type: TensorFlow never converts silently.
    """
    if isinstance(value, (Symbol, EagerTensor)):
        if dtype is not None and as_dtype(dtype) != value.dtype:
            text = "Tensor conversion requested dtype %s for Tensor with dtype %s: %r"
            raise ValueError(text % (as_dtype(dtype).name, value.dtype.name, value))
        return value
    return _made(_array(value, dtype), name)


def _array(value: Any, dtype: Any) -> np.ndarray:
    array = np.asarray(value)
    if dtype is None and not isinstance(value, (np.ndarray, np.generic)):
        dtype = {"float64": "float32", "int64": "int32"}.get(array.dtype.name)
    if dtype is not None:
        array = array.astype(as_dtype(dtype).as_numpy_dtype)
    as_dtype(array.dtype)  # refuses objects and text
    return np.array(array)  # a copy: the caller may go on to change its own


def _made(array: np.ndarray, name: str) -> Any:
    if not TF1:
        return EagerTensor(array)
    from tensorflow._graph import Graph, Node

    node = Node(name, "Const", value=array)
    return Symbol(Graph((node,), {}, {"output": name}), name, array.shape, array.dtype)


def function(func: Any = None, input_signature: Any = None, **options: Any) -> Any:
    """The same function: nothing is compiled here. Options that TensorFlow documents are taken and ignored."""
    known = {"autograph", "jit_compile", "reduce_retracing", "experimental_implements", "experimental_relax_shapes"}
    unknown = set(options) - known
    if unknown:
        raise TypeError("function() got an unexpected keyword argument %r" % sorted(unknown)[0])
    if func is None:
        return lambda given: function(given, input_signature, **options)
    return func

"""Sessions of TensorFlow 1: they run the graphs that hold the tensors which they are asked for."""

import os
import zlib
from typing import Any, Dict, List, Mapping, Optional

import numpy as np

from tensorflow import errors
from tensorflow._graph import Graph, run
from tensorflow._rules import broken
from tensorflow._tensors import Symbol

_state: Dict[str, Any] = {"session": None, "seed": None, "drawn": 0, "started": False}


def reset() -> None:
    _state.update(session=None, drawn=0)


def default() -> "Session":
    if _state["session"] is None:
        _state["session"] = Session()
    session: Session = _state["session"]
    return session


def set_seed(seed: int) -> None:
    """From here on, what is drawn is the same in every process that draws the same things in the same order."""
    _state.update(seed=int(seed), drawn=0)


def generator() -> np.random.Generator:
    """For one weight. Without a seed, as in TensorFlow, another process draws other numbers."""
    _state["drawn"] += 1
    if _state["seed"] is None:
        return np.random.default_rng(int.from_bytes(os.urandom(8), "little"))
    return np.random.default_rng([_state["seed"], _state["drawn"]])


def named_generator(name: str) -> np.random.Generator:
    """For weights that come from a file: the same everywhere."""
    return np.random.default_rng(zlib.crc32(name.encode("utf-8")))


def start() -> None:
    """From now on an operation has run, and the threads exist."""
    _state["started"] = True


def started() -> bool:
    return bool(_state["started"])


class Session:
    """Runs graphs. As in TensorFlow 1, it is closed by hand or by `with`."""

    def __init__(self, target: str = "", graph: Optional[Any] = None, config: Optional[Any] = None) -> None:
        self.graph = graph
        self._closed = False

    def run(self, fetches: Any, feed_dict: Optional[Mapping[Any, Any]] = None) -> Any:
        """Arrays of the same structure as `fetches`: a tensor, or a list or a dict of tensors.

        Raises:
            ValueError: an array does not fit the shape of the tensor that it is fed for.
            InvalidArgumentError: a placeholder is not fed.
        """
        if self._closed:
            raise RuntimeError("Attempted to use a closed Session.")
        tensors = _flat(fetches)
        graph = _graph_of(tensors)
        feeds = {symbol.tensor: fitting(symbol, value) for symbol, value in (feed_dict or {}).items()}
        start()
        values = run(graph, feeds)
        found = [values[symbol.tensor] for symbol in tensors]
        if isinstance(fetches, dict):
            return dict(zip(fetches, found))
        return found if isinstance(fetches, (list, tuple)) else found[0]

    def close(self) -> None:
        self._closed = True

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


def fitting(symbol: Symbol, value: Any) -> np.ndarray:
    """The array that is fed for a tensor, of its type and shape.

    Raises:
        ValueError: the shape is another.
    """
    array = np.asarray(value, dtype=symbol.dtype.as_numpy_dtype)
    if not symbol.shape.is_compatible_with(array.shape):
        text = "Cannot feed value of shape %r for Tensor %r, which has shape %r"
        shown = "(%s)" % ", ".join("?" if size is None else str(size) for size in symbol.shape)
        raise broken("tf-feed-shape", text % (array.shape, symbol.name, shown), ValueError)
    return array


def _flat(fetches: Any) -> List[Symbol]:
    if isinstance(fetches, dict):
        found = list(fetches.values())
    else:
        found = list(fetches) if isinstance(fetches, (list, tuple)) else [fetches]
    for each in found:
        if not isinstance(each, Symbol):
            raise TypeError("Fetch argument %r has invalid type %r, must be a Tensor" % (each, type(each)))
    return found


def _graph_of(tensors: List[Symbol]) -> Graph:
    graph: Graph = tensors[0].graph
    if any(symbol.graph is not graph for symbol in tensors):
        raise errors.InvalidArgumentError(None, None, "tensors of several models in one run: this double has no such")
    return graph

"""The operator NeuronOp: loads its program at its first call, splits what has a free batch, runs it on its cores."""

import itertools
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np

from neuron_double import faults
from neuron_double.cores import RUNTIME
from tensorflow import errors
from tensorflow._graph import Node, Numerics, Shape, elements, run
from tensorflow._rules import broken, tf_error
from tensorflow_double import nrt, placer

_INVALID = tf_error(errors.InvalidArgumentError)
_loaded: "weakref.WeakKeyDictionary[Node, Program]" = weakref.WeakKeyDictionary()
_guard = threading.Lock()


def execute(node: Node, given: List[np.ndarray]) -> Tuple[np.ndarray, ...]:
    """The answers of one NeuronOp, a call of the framework.

    Raises:
        OpError: whatever the runtime refused, as TensorFlow shows it.
    """
    package = str(node.attr["package"])
    placer.start(package)
    with _guard:
        program = _loaded.get(node)
        if program is None:
            program = _loaded[node] = Program(node, package)
    return program(given)


class Program:
    """A compiled program on its cores; calls go round over its copies."""

    def __init__(self, node: Node, package: str) -> None:
        self.attr = node.attr  # not the node, whose life is the program's
        self.name = node.name
        self.names = node.input
        self.package = package
        self.facts = dict(node.attr["executable"]["program"]["facts"])
        self.facts.pop("package", None)
        self.shapes: List[Shape] = [tuple(shape) for shape in node.attr["input_shapes"]]
        self.numerics = numerics(node.attr["executable"])
        self.ranges = placer.ranges(node, package)
        self._turns = itertools.cycle(self.ranges)
        handles: List[int] = []
        weakref.finalize(self, _unload, handles).atexit = False
        self._load(handles)

    def _load(self, handles: List[int]) -> None:
        size = sum(inner.value.nbytes for inner in self.attr["subgraph"].nodes if inner.value is not None)
        for first, count in self.ranges:
            handle = RUNTIME.load(
                self.name, size // count, first, self.package, count=count, error=nrt.load_failed, **self.facts
            )
            handles.append(handle)

    def __call__(self, given: List[np.ndarray]) -> Tuple[np.ndarray, ...]:
        if len(given) != len(self.shapes):
            text = "Incorrect number of input tensors: given %d, expect %d" % (len(given), len(self.shapes))
            raise broken("tf-input-count", text, _INVALID, self.package)
        batch = self._client_batch(given)
        if batch is None:
            return self._one(given)
        size = next(shape[0] for shape, axis in self._inputs() if axis == 0)
        shards = [slice(first, min(first + size, batch)) for first in range(0, max(batch, 1), size)]
        with ThreadPoolExecutor(2 * len(RUNTIME.cores)) as pool:
            runs = [pool.submit(self._one, self._sliced(given, each), each.stop - each.start) for each in shards]
            parts = [each.result() for each in runs]
        axes = self.attr["output_batch_axis"]
        return tuple(np.concatenate(each) if axis == 0 else each[0] for axis, each in zip(axes, zip(*parts)))

    def _inputs(self) -> Any:
        return zip(self.shapes, self.attr["input_batch_axis"])

    def _client_batch(self, given: Sequence[np.ndarray]) -> Optional[int]:
        """The caller's batch where it is not the compiled one and may differ, else None."""
        theirs, ours = set(), set()
        for number, (array, (shape, axis)) in enumerate(zip(given, self._inputs())):
            if axis > 0:
                text = "Input #%d has invalid batch axis %d" % (number, axis)
                raise broken("tf-batch-axis", text, _INVALID, self.package)
            if axis != 0 or array.shape == tuple(shape):
                continue
            if array.ndim < 2:
                text = "Input tensor #%d has dynamic batch axis 0, but it only has %d dimensions" % (number, array.ndim)
                raise broken("tf-batch-axis", text, _INVALID, self.package)
            theirs.add(array.shape[0])
            ours.add(shape[0])
        if len(theirs) > 1:
            raise broken("tf-batch-sizes", "Inconsistent client batch sizes", _INVALID, self.package)
        if len(ours) > 1:
            raise broken("tf-batch-sizes", "Inconsistent NEFF batch sizes", _INVALID, self.package)
        return theirs.pop() if theirs else None

    def _sliced(self, given: Sequence[np.ndarray], shard: slice) -> List[np.ndarray]:
        """The inputs of one shard. Those of the compiled batch beside others stay whole, as in the real operator."""
        whole = [array.shape == tuple(shape) or axis != 0 for array, (shape, axis) in zip(given, self._inputs())]
        return [array if keep else array[shard] for array, keep in zip(given, whole)]

    def _one(self, given: Sequence[np.ndarray], count: Optional[int] = None) -> Tuple[np.ndarray, ...]:
        """One run of the program. Without `count`, all rows of the compiled batch come back, whatever went in."""
        buffers = [self._buffer(array, shape) for array, shape in zip(given, self.shapes)]
        first, cores = next(self._turns)
        with RUNTIME.running(first, cores):
            number = RUNTIME.cores[first].number
            left = faults.strike("execute", self.package, nrt.execute_failed, core=number, **self.facts)
            values = run(self.attr["subgraph"], dict(zip(self.names, buffers)), self.numerics)
        found = [values[name] for name in self.attr["subgraph"].outputs.values()]
        axes = self.attr["output_batch_axis"]
        cut = [array[:count] if axis == 0 else array for array, axis in zip(found, axes)]
        return tuple(_spoilt(array, left) for array in cut)

    def _buffer(self, array: np.ndarray, shape: Shape) -> np.ndarray:
        """The compiled input buffer with these bytes in front and zeros behind: nothing looks at the shape.

        Raises:
            InvalidArgumentError: there are more bytes than the buffer has.
        """
        size = elements(shape) * 4
        if array.nbytes > size:
            shown = "Tensor<type: %s shape: %s>" % (array.dtype.name, list(array.shape))
            text = "Invalid input tensor size: given %s, expected size %d" % (shown, size)
            raise broken("tf-input-size", text, _INVALID, self.package)
        if array.shape == tuple(shape):
            return array
        buffer = np.zeros(elements(shape), np.float32)
        buffer[: array.size] = array.ravel()
        return buffer.reshape([int(each or 0) for each in shape])


def _unload(handles: Sequence[int]) -> None:
    for handle in handles:
        RUNTIME.unload(handle)


def _spoilt(array: np.ndarray, left: Dict[str, Any]) -> np.ndarray:
    if "wrong_answers" in left:
        return np.roll(array, 1, axis=-1)
    return np.full_like(array, np.nan) if "nan_outputs" in left else array


def numerics(neff: Dict[str, Any]) -> Numerics:
    """How a program rounds, from the flags that its compiler was given. --fp32-cast overrides --fast-math."""
    flags = neff["flags"]
    if neff["compiler"] == "neuronx-cc":
        where, kind = flags["--auto-cast"], flags["--auto-cast-type"]
        kind = "fp16" if kind == "fp16" else "bf16"
        return Numerics(everything=kind if where == "all" else "", matmul="" if where == "none" else kind)
    cast = flags["--fp32-cast"]
    for word in flags["--fast-math"]:
        if cast == "all" and word == "none":
            cast = "matmult-bf16"
        elif cast == "all" and word.startswith("fp32-cast-"):
            cast = word[len("fp32-cast-") :]
    where, _, kind = cast.partition("-")
    return Numerics(everything=(kind or "bf16") if where == "all" else "", matmul=kind or "bf16")

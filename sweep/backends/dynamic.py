"""Builds for any size along some axes: their shapes, and the check that they really take another size.

A trace can fix a size without saying so and give wrong numbers for others. So such a build is also run at a size that
it was not made from.
"""

import re
from typing import Any, Callable, List, Optional

import numpy as np

from sweep.backends.base import Arrays, Shape, Shapes, Source, format_shapes
from sweep.isolate import failures
from sweep.spec import FailureKind, TrialError

INSTEAD = "list buckets instead of dynamic, or use backend=torch"
TOLERANCE = 0.05  # of the largest number: rounding is far below, a size that was fixed far above
_CONSTANT = re.compile(r"your code specialized it to be a constant \((\d+)\)")


def find_shapes(source: Source) -> Shapes:
    """The shapes of a build's inputs, None along the axes that may have any size."""
    shapes = []
    for name, array in zip(source.input_names, source.example):
        free = source.dynamic.get(name, ())
        shapes.append(tuple(None if axis in free else size for axis, size in enumerate(array.shape)))
    return tuple(shapes)


def _halve(source: Source) -> Arrays:
    """The example at half its size along all free axes."""
    halves = []
    for name, array in zip(source.input_names, source.example):
        index: List[Any] = [slice(None)] * array.ndim
        for axis in source.dynamic.get(name, ()):
            index[axis] = slice(0, max(1, array.shape[axis] // 2))
        halves.append(np.ascontiguousarray(array[tuple(index)]))
    return tuple(halves)


def check(
    source: Source, built: Callable[[Arrays], Arrays], original: Optional[Callable[[Arrays], Arrays]] = None
) -> None:
    """Check that `built` takes a second size and answers as `original` does, if any axis is free.

    Raises:
        TrialError: of the kind dynamic_shape, if it does not.
    """
    if not source.dynamic:
        return
    inputs = _halve(source)
    at = format_shapes(tuple(array.shape for array in inputs))
    try:
        wanted = None if original is None else original(inputs)
    except Exception:
        return  # the model itself does not take this size, and the data need not have it
    try:
        answers = built(inputs)
    except MemoryError:
        raise
    except Exception as error:
        raise refuse("with inputs of %s it fails: %s" % (at, failures.shorten(str(error)))) from error
    if wanted is None:
        return
    for have, want in zip(answers, wanted):
        if have.shape != want.shape:
            given, right = format_shapes((have.shape,)), format_shapes((want.shape,))
            raise refuse("with inputs of %s it answers %s, not %s" % (at, given, right))
        scale = float(np.abs(want).max()) if want.size else 0.0
        if not np.allclose(have, want, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            raise refuse("with inputs of %s its answers are not those of the original" % at)


def check_free(name: str, fixed: Shape, wanted: Shape) -> None:
    """Check that a file's input fixes no axis that should be free.

    Raises:
        TrialError: of the kind dynamic_shape, if it does.
    """
    if any(have is not None and size is None for have, size in zip(fixed, wanted)):
        raise refuse("the file's input %s is %s, not %s" % (name, format_shapes((fixed,)), format_shapes((wanted,))))


def refuse(what: str) -> TrialError:
    """The error for a build that takes no other size, with the remedy."""
    return TrialError(FailureKind.DYNAMIC_SHAPE, "no build for any size: %s; %s" % (what, INSTEAD))


def explain(error: Exception) -> Exception:
    """What torch.export says about free sizes as a line with the remedy; any other error as it is."""
    kind, summary = failures.classify(error, "")
    if kind is not FailureKind.DYNAMIC_SHAPE:
        return error
    constant = _CONSTANT.search(str(error))
    return refuse("the model fixes a size to %s" % constant.group(1) if constant else summary)

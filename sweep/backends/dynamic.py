"""One build for any size along some axes: its shapes, and the proof that it really follows sizes.

A trace can fix a size without a word and go on with wrong numbers. So what is to take any size is asked, while it is
built, at a size that it was not made from.
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


def shapes(source: Source) -> Shapes:
    """Of the inputs of a build, None along the axes that may take any size."""
    found = []
    for name, array in zip(source.input_names, source.example):
        free = source.dynamic.get(name, ())
        found.append(tuple(None if axis in free else size for axis, size in enumerate(array.shape)))
    return tuple(found)


def smaller(source: Source) -> Arrays:
    """The example at half its size along every free axis."""
    found = []
    for name, array in zip(source.input_names, source.example):
        index: List[Any] = [slice(None)] * array.ndim
        for axis in source.dynamic.get(name, ()):
            index[axis] = slice(0, max(1, array.shape[axis] // 2))
        found.append(np.ascontiguousarray(array[tuple(index)]))
    return tuple(found)


def check(
    source: Source, built: Callable[[Arrays], Arrays], original: Optional[Callable[[Arrays], Arrays]] = None
) -> None:
    """Nothing where `built` takes a second size and answers as `original` does, or where no axis is free.

    Raises:
        TrialError: of the kind dynamic_shape, where it does not.
    """
    if not source.dynamic:
        return
    inputs = smaller(source)
    at = format_shapes(tuple(array.shape for array in inputs))
    try:
        wanted = None if original is None else original(inputs)
    except Exception:
        return  # the model itself does not take this size, and the data need not have it
    try:
        found = built(inputs)
    except MemoryError:
        raise
    except Exception as error:
        raise refused("with inputs of %s it fails: %s" % (at, failures.shorten(str(error)))) from error
    if wanted is None:
        return
    for have, want in zip(found, wanted):
        if have.shape != want.shape:
            answers = format_shapes((have.shape,)), format_shapes((want.shape,))
            raise refused("with inputs of %s it answers %s, not %s" % (at, *answers))
        scale = float(np.abs(want).max()) if want.size else 0.0
        if not np.allclose(have, want, rtol=0, atol=TOLERANCE * scale, equal_nan=True):
            raise refused("with inputs of %s its answers are not those of the original" % at)


def check_free(name: str, fixed: Shape, wanted: Shape) -> None:
    """Nothing where no axis of a file's input is fixed that is wanted free.

    Raises:
        TrialError: of the kind dynamic_shape, where one is.
    """
    if any(have is not None and size is None for have, size in zip(fixed, wanted)):
        raise refused("the file's input %s is %s, not %s" % (name, format_shapes((fixed,)), format_shapes((wanted,))))


def refused(what: str) -> TrialError:
    """That a build keeps the size that it was made from, and what to do."""
    return TrialError(FailureKind.DYNAMIC_SHAPE, "no build for any size: %s; %s" % (what, INSTEAD))


def explained(error: Exception) -> Exception:
    """What torch.export says of free sizes in one line with the remedy; any other error as it is."""
    kind, summary = failures.classify(error, "")
    if kind is not FailureKind.DYNAMIC_SHAPE:
        return error
    constant = _CONSTANT.search(str(error))
    return refused("the model fixes a size to %s" % constant.group(1) if constant else summary)

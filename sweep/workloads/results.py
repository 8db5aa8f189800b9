"""What a model returned, as named arrays or tensors, whatever it is packed in.

Tuples, named tuples, lists, dicts, dataclasses and what torch flattens itself are opened. Inside a model that is being
traced this is plain Python, so a trace follows it.
"""

import dataclasses
import sys
from typing import Any, Iterator, List, Mapping, Sequence, Tuple, Union

from sweep.spec import UserError

Named = List[Tuple[str, Any]]  # (name, array or tensor); a place in a tuple has its number as its name


def list_arrays(raw: Any) -> Named:
    """The arrays and tensors in what a model returned, in its order. None and what is no number are left out."""
    leaves = [(name or "0", leaf) for name, leaf in _open(raw, ())]
    return [(name, leaf) for name, leaf in leaves if hasattr(leaf, "shape") and hasattr(leaf, "dtype")]


def _open(raw: Any, path: Tuple[str, ...]) -> Iterator[Tuple[str, Any]]:
    parts = _list_parts(raw)
    if parts is None:
        yield ".".join(path), raw
        return
    for name, part in parts:
        yield from _open(part, (*path, str(name)))


def _list_parts(raw: Any) -> Any:
    """(name, part) of a container; None for anything else."""
    if raw is None:
        return []
    if isinstance(raw, Mapping):
        return list(raw.items())
    if isinstance(raw, tuple) and hasattr(raw, "_fields"):
        return list(zip(raw._fields, raw))
    if isinstance(raw, (tuple, list)):
        return list(enumerate(raw))
    if dataclasses.is_dataclass(raw) and not isinstance(raw, type):
        return [(entry.name, getattr(raw, entry.name)) for entry in dataclasses.fields(raw)]
    return None if hasattr(raw, "shape") else _flatten(raw)


def _flatten(raw: Any) -> Any:
    """What torch knows to flatten (a cache of keys and values); None for anything else."""
    if "torch" not in sys.modules:
        return None
    from torch.utils import _pytree

    leaves = _pytree.tree_leaves(raw)
    return None if len(leaves) == 1 and leaves[0] is raw else list(enumerate(leaves))


def find_output(wanted: Union[int, str], names: Sequence[str]) -> int:
    """The place of an output that `model.outputs` names, or numbers from 0.

    Raises:
        UserError: if there is none.
    """
    if isinstance(wanted, int) and wanted < len(names):
        return wanted
    if wanted in names:
        return list(names).index(str(wanted))
    have = ", ".join("%d" % at if name == str(at) else "%d %s" % (at, name) for at, name in enumerate(names))
    raise UserError("the model has no output %s; it has %s" % (wanted, have))


def check_rows(outputs: Named, count: int) -> None:
    """Check that every output is an array of numbers with one row a sample.

    Args:
        outputs: of `count` samples.

    Raises:
        UserError: if one is not, with the outputs that are.
    """
    good = [at for at, (_, leaf) in enumerate(outputs) if explain_rows(leaf, count) is None]
    if len(good) == len(outputs) and outputs:
        return
    lines = []
    for at, (name, leaf) in enumerate(outputs):
        if at not in good:
            label = "output %d" % at if name == str(at) else "output %d `%s`" % (at, name)
            lines.append("%s %s" % (label, explain_rows(leaf, count, at)))
    text = "; ".join(lines) or "it returned no array"
    if good:
        raise UserError("%s: choose the others, model.outputs=[%s]" % (text, ",".join(map(str, good))))
    raise UserError("%s: let the model return tensors with the batch as their first axis" % text)


def explain_rows(leaf: Any, count: int, at: int = 0) -> Any:
    """None, or why a result, which is the output of number `at`, cannot be compared sample by sample."""
    if not hasattr(leaf, "shape"):
        return "is a %s, not an array: an exporter of sklearn leaves it out with zipmap=False" % _describe_type(leaf)
    what = "%s of shape %s" % (str(leaf.dtype).replace("torch.", ""), tuple(leaf.shape))
    kind = getattr(leaf.dtype, "kind", "f")
    if kind not in "fiub" and str(leaf.dtype) != "bfloat16":
        return "is text or of other objects (%s), not numbers" % what
    if not len(leaf.shape) or leaf.shape[0] != count:
        on = [axis for axis, size in enumerate(leaf.shape) if size == count]
        hint = " (the batch may stand on axis %d: model.batch_axis={%s: %d})" % (on[0], at, on[0]) if on else ""
        return "has no row a sample: %s for %d samples%s" % (what, count, hint)
    if 0 in tuple(leaf.shape):
        return "is empty: %s" % what
    return None


def _describe_type(value: Any) -> str:
    if isinstance(value, (list, tuple)) and value:
        return "%s of %s" % (type(value).__name__, type(value[0]).__name__)
    return type(value).__name__

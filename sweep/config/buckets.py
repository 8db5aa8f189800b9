"""Buckets in a config: lists of sizes, and the axes of a model's inputs that have a size.

The order of a list and a bucket that stands twice mean nothing: lists are sorted, and a remark says so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.spec import AUTO, DYNAMIC, LARGEST, Buckets, UserError

SIDES = ("right", "left")


def check_list(path: str, value: Any) -> Buckets:
    """Check a list of buckets and sort it; each bucket is kept once.

    Raises:
        UserError: it is no list of sizes.
    """
    if value in ("auto", "dynamic"):
        return AUTO if value == "auto" else DYNAMIC
    if not isinstance(value, (list, tuple)):
        raise UserError(
            f"{path} must be a list like [128,224], auto or dynamic, not {value!r}; "
            f"lists as an axis: {path}='[64,128]','[128,224]'"
        )
    rows = _rows(value)
    for size in (size for row in rows for size in row):
        if not _whole(size) or size < 1:
            raise UserError(f"{path} must be an integer >= 1, not {size!r}")
        if size > LARGEST:
            raise UserError(f"{path} must be at most {LARGEST}, not {size}")
    if len({len(row) for row in rows}) > 1 or () in rows:
        raise UserError(f"{path} must all have the same number of dimensions, not {value!r}")
    return tuple(sorted(set(rows)))


def was_rewritten(value: Any, buckets: Buckets) -> bool:
    """Whether a list was written in another order, or with a bucket twice."""
    return isinstance(value, (list, tuple)) and tuple(_rows(value)) != buckets


def fit_to_model(buckets: Buckets, model: Mapping[str, Any]) -> Buckets:
    """The same list with a size for every bucket dimension of the model, so that equal shapes are equal buckets."""
    rank = count_dimensions(model)
    return tuple(bucket * rank if len(bucket) == 1 and rank and bucket != (0,) else bucket for bucket in buckets)


def count_dimensions(model: Mapping[str, Any]) -> int:
    """How many sizes a bucket of this model has; 0 where its inputs have one shape."""
    return max((len(axes) for axes in (model.get("bucket_dims") or {}).values()), default=0)


def refuse(buckets: Buckets, model: Mapping[str, Any]) -> str | None:
    """None, or why the model cannot have this list."""
    rank = count_dimensions(model)
    if not rank:
        return f"model {model['name']} declares no bucket dimension (model.bucket_dims): leave buckets=[]"
    wrong = next((bucket for bucket in buckets if len(bucket) != rank or min(bucket) < 1), None)
    if wrong is None:
        return None
    named = ", ".join(f"{name}: {list(axes)}" for name, axes in model["bucket_dims"].items())
    count = "1 bucket dimension" if rank == 1 else f"{rank} bucket dimensions"
    wanted = "one size of at least 1"
    wanted += "" if rank == 1 else f", or {rank} like {[64, 128, 256][:rank]}"
    return f"model {model['name']} has {count} ({named}): a bucket is {wanted}, not {list(wrong)}"


def check_model(path: str, model: Mapping[str, Any]) -> None:
    """`bucket_dims`, `pad_value` and `pad_side` of a model's config; data with other inputs are found when loaded.

    Raises:
        UserError: saying what is wrong and what would be right.
    """
    dims = model.get("bucket_dims")
    if dims is not None and not _is_dims(dims):
        wanted = "name the axes of inputs that a bucket sets, like {input_ids: [1]} (axis 0 is the batch)"
        raise UserError(f"{path}.bucket_dims must {wanted}, not {dims!r}")
    if len({len(axes) for axes in (dims or {}).values()}) > 1:
        raise UserError(f"{path}.bucket_dims must have as many axes for each input, not {dims!r}")
    side = model.get("pad_side")
    if side is not None and side not in SIDES:
        raise UserError(f"{path}.pad_side must be one of {', '.join(SIDES)}, not {side!r}")
    _check_pad_value(path, model.get("pad_value"), list(dims or {}))


def _check_pad_value(path: str, value: Any, names: Sequence[str]) -> None:
    values = value if isinstance(value, Mapping) else {"": value}
    for name, number in values.items():
        if name and name not in names:
            here = f"model.bucket_dims has {', '.join(names)}" if names else "model.bucket_dims has none"
            raise UserError(f"{path}.pad_value names {name}, which is not padded: {here}")
        if number is not None and (isinstance(number, bool) or not isinstance(number, (int, float))):
            raise UserError(f"{path}.pad_value must be a number, or one for each input like {{x: 0}}, not {value!r}")


def _is_dims(dims: Any) -> bool:
    if not isinstance(dims, Mapping):
        return False
    lists = list(dims.values())
    if not all(isinstance(axes, (list, tuple)) and axes for axes in lists):
        return False
    return all(_whole(axis) and axis >= 1 for axes in lists for axis in axes) and all(
        len(set(axes)) == len(axes) for axes in lists
    )


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _rows(value: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(row) if isinstance(row, (list, tuple)) else (row,) for row in value]

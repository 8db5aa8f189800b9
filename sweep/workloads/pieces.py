"""Data sets in pieces: what a factory returns or yields, checked and cut so that one piece at a time fits into memory.

A factory returns a `Dataset`, whose arrays may be memory maps, or yields several: pieces whose rows follow each other.
"""

import inspect
import math
from typing import Any, Dict, Iterator, List, Mapping, Optional

import numpy as np

from sweep.spec import UserError
from sweep.spec.user_code import running
from sweep.workloads.base import Dataset, call_factory, check_dataset, describe_kind, read_target

PIECE_BYTES = 32 << 20


def load_pieces(config: Mapping[str, Any]) -> Iterator[Dataset]:
    """The data set that a config names, checked, in pieces of about `PIECE_BYTES`; a yielded piece may be smaller.

    Raises:
        UserError: for a mistake in the config, or for data that nothing can be measured with.
    """
    raw, target = call_factory(config, "data"), read_target(config)
    name = str(config.get("name", target))
    first: Optional[Dataset] = None
    row = calibrated = 0
    for part in _listen(raw, name) if inspect.isgenerator(raw) else (raw,):
        if not isinstance(part, Dataset):
            raise UserError(
                "data %s must return a sweep.workloads.Dataset, it returned %s; it may yield several, piece by piece"
                % (target, describe_kind(part))
            )
        for piece in cut(part):
            checked = check_dataset(piece, name, row, calibrated, config.get("ignore_label"))
            _check_alike(first or checked, checked, name, row)
            first = first or checked
            row += _count_rows(checked.inputs)
            calibrated += _count_rows(checked.calibration)
            yield checked
    if first is None:
        raise UserError("data %s has no samples: %s yields nothing" % (name, target))


def _listen(parts: Iterator[Any], name: str) -> Iterator[Any]:
    """The same; a factory that ends the process is a mistake of the user."""
    while True:
        with running("data %s" % name):
            part = next(parts, None)
        if part is None:
            return
        yield part


def load_data(config: Mapping[str, Any]) -> Dataset:
    """The whole data set of a config in memory, checked: for small ones.

    Raises:
        UserError: as `load_pieces`.
    """
    return join(list(load_pieces(config)))


def cut(dataset: Dataset) -> Iterator[Dataset]:
    """A data set as views of its rows; one whose arrays differ in length as it is, for its error."""
    given = {name: np.asanyarray(array) for name, array in dataset.inputs.items()}
    groups = [given, dict(dataset.calibration)]
    counts = [{len(array) if np.ndim(array) else -1 for array in group.values()} for group in groups]
    beside = [(dataset.labels, 0), (dataset.sizes, 0), (dataset.calibration_sizes, 1)]
    fits = all(array is None or {len(array)} == counts[group] for array, group in beside)
    total = sum(np.asanyarray(array).nbytes for group in groups for array in group.values())
    if total <= PIECE_BYTES or len(counts[0]) != 1 or len(counts[1]) > 1 or not fits:
        yield dataset
        return
    rows, apart = max(counts[0]), max(counts[1] or {0})
    parts = min(max(1, rows), math.ceil(total / PIECE_BYTES))
    for part in range(parts):
        own = slice(rows * part // parts, rows * (part + 1) // parts)
        held = slice(apart * part // parts, apart * (part + 1) // parts)
        yield dataset._replace(
            inputs={name: array[own] for name, array in given.items()},
            calibration={name: array[held] for name, array in dataset.calibration.items()},
            labels=None if dataset.labels is None else dataset.labels[own],
            sizes=None if dataset.sizes is None else dataset.sizes[own],
            calibration_sizes=None if dataset.calibration_sizes is None else dataset.calibration_sizes[held],
        )


def join(pieces: List[Dataset]) -> Dataset:
    """Pieces as one data set in memory."""
    if len(pieces) == 1:
        return pieces[0]
    first = pieces[0]
    calibrated = [piece for piece in pieces if piece.calibration]
    return first._replace(
        inputs=_join_arrays([piece.inputs for piece in pieces]),
        calibration=_join_arrays([piece.calibration for piece in calibrated]),
        labels=_join_rows([piece.labels for piece in pieces]),
        sizes=_join_rows([piece.sizes for piece in pieces]),
        calibration_sizes=_join_rows([piece.calibration_sizes for piece in calibrated]),
    )


def _join_arrays(groups: List[Dict[str, np.ndarray]]) -> Dict[str, np.ndarray]:
    return {name: np.concatenate([group[name] for group in groups]) for name in (groups[0] if groups else ())}


def _join_rows(arrays: List[Optional[np.ndarray]]) -> Optional[np.ndarray]:
    known = [array for array in arrays if array is not None]
    return np.concatenate(known) if known else None


def _count_rows(arrays: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values()))) if arrays else 0


def _check_alike(first: Dataset, piece: Dataset, name: str, row: int) -> None:
    """Pieces must be parts of one data set.

    Raises:
        UserError: with the first sample of the piece that differs.
    """
    for field in ("inputs", "labels", "sizes", "task", "classes"):
        a, b = _describe(getattr(first, field)), _describe(getattr(piece, field))
        if a != b:
            text = "data %s: from sample %d on its %s are %s, before that %s: all pieces must be alike"
            raise UserError(text % (name, row, field, b, a))


def _describe(value: Any) -> str:
    """Names, types and the shape of one row."""
    if isinstance(value, dict):
        return ", ".join("%s %s" % (name, _describe(array)) for name, array in value.items())
    if isinstance(value, np.ndarray):
        return "%s %s" % (value.dtype, value.shape[1:])
    return "missing" if value is None else str(value)

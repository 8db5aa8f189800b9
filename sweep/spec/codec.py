"""Frozen values to JSON and back, and the hash of a value."""

import enum
import functools
import hashlib
import json
import math
import types
from dataclasses import fields, is_dataclass
from typing import Any, Callable, Dict, Mapping, Optional, Type, TypeVar, Union, get_args, get_origin, get_type_hints

Json = Dict[str, Any]
T = TypeVar("T")
_PLAIN = (str, int, bool, type(None))
_UNIONS = (Union, getattr(types, "UnionType", Union))  # of `X | None` too, where Python has it


def to_json(value: Any) -> Any:
    """Plain JSON values of a frozen value: enums become text, tuples lists.

    Raises:
        TypeError: for anything that JSON cannot hold.
        ValueError: for a NaN or an infinity. An unknown value is None.
    """
    kind = type(value)
    if kind in _PLAIN:  # most values, and planning asks this a million times
        return value
    if kind is dict:
        return {str(key): item if type(item) in _PLAIN else to_json(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number: %r" % value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError("not a JSON value: %r" % (value,))


def from_json(kind: Type[T], value: Any) -> T:
    """Read a frozen value of type `kind` from what `to_json` wrote. Unknown keys are ignored.

    A dataclass may have a static method `from_earlier_version`, which turns the JSON of earlier versions into today's.
    What these kept in `notes` under the name of a field becomes that field.
    """
    wanted: Any = kind
    decode = _decoder(wanted)
    return value if decode is None else decode(value)  # type: ignore[no-any-return]  # follows run-time types


@functools.lru_cache(maxsize=None)
def _decoder(kind: Any) -> Optional[Callable[[Any], Any]]:
    """A function from JSON to values of this type; None if JSON has the type. Cached: ledgers hold thousands."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple and Ellipsis not in arguments:
        items = [_decoder(argument) or _unchanged for argument in arguments]
        return lambda value: tuple(decode(item) for decode, item in zip(items, value))
    inner = _decoder(arguments[0]) if origin in (*_UNIONS, tuple) else None
    if origin in _UNIONS:  # Optional[X] is the only union used here
        return inner and (lambda value: None if value is None else inner(value))
    if origin is tuple:
        return tuple if inner is None else lambda value: tuple(inner(item) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = {f.name: _decoder(hints[f.name]) for f in fields(kind)}
        upgrade: Optional[Callable[[Any], Any]] = getattr(kind, "from_earlier_version", None)

        def decode_fields(value: Mapping[str, Any]) -> Any:
            value = value if upgrade is None else upgrade(value)
            if "notes" in parts and isinstance(value.get("notes"), dict):
                value = _take_from_notes(value, parts)
            known = {name: item for name, item in value.items() if name in parts}
            for name, decode in to_decode:
                if name in known:
                    known[name] = decode(known[name])
            return kind(**known)

        to_decode = [(name, decode) for name, decode in parts.items() if decode is not None]
        return decode_fields
    return kind if isinstance(kind, type) and issubclass(kind, enum.Enum) else None


def _take_from_notes(value: Mapping[str, Any], names: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill fields from notes of the same name. Such a note stays only if the field says something else."""
    whole = {**{name: note for name, note in value["notes"].items() if name in names}, **value}
    notes = {name: note for name, note in value["notes"].items() if name not in whole or whole[name] != note}
    return {**whole, "notes": notes}


def _unchanged(value: Any) -> Any:
    return value


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: keys are sorted, there are no spaces."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any) -> str:
    """128-bit hexadecimal hash of a value, the same in every process, interpreter and year."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()[:32]

"""A dataclass of settings from plain config values: names, types, ranges and choices checked by its declaration."""

import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar

from sweep.spec import UserError, meant, no_key
from sweep.spec.declared import Open, Rule, rule_of

T = TypeVar("T")
ANY = Rule()
_CONTAINERS = (Mapping, Sequence, dict, list, tuple)


def structure(kind: type[T], path: str, value: Any) -> T:
    """A dataclass from the mapping that stands at `path` of a config.

    Raises:
        UserError: saying what is wrong and what would be right.
    """
    mapping = as_mapping(path, value)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # only called with dataclasses
    for key in mapping:
        if key not in known and not issubclass(kind, Open):
            raise no_key(f"{path}.{key}", known)
    hints = typing.get_type_hints(kind)
    values = {}
    for name, field in known.items():
        if name in mapping:
            values[name] = check_value(f"{path}.{name}", mapping[name], hints[name], rule_of(field))
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{path} has no '{name}': its YAML must give it a value")
    return kind(**values)


def check_value(path: str, value: Any, kind: Any, rule: Rule = ANY) -> Any:
    """A value of a type, as a field with this rule takes it.

    Raises:
        UserError: saying what is wrong and what would be right.
    """
    members = _members(kind)
    if value is None and type(None) in members:
        return None
    for member in members:
        if _fits(value, member, rule):
            try:
                return _converted(path, value, member, rule)
            except UserError:
                if not rule.wanted:  # which speaks of the whole value
                    raise
    raise _refusal(path, value, members, rule)


def make_error(path: str, wanted: str, value: Any) -> UserError:
    """The error for a value that is something else than wanted."""
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return UserError(f"{path} must be {wanted}, not {shown}")


def as_mapping(path: str, value: Any) -> Mapping[str, Any]:
    """The same value; an error where it is no mapping."""
    if not isinstance(value, Mapping):
        raise make_error(path, "a mapping", value)
    return value


def _members(kind: Any) -> tuple[Any, ...]:
    union = typing.get_origin(kind) in (typing.Union, types.UnionType)
    return typing.get_args(kind) if union else (kind,)


def _plain(kind: Any) -> Any:
    """Without its type arguments: `Mapping[str, int]` is Mapping."""
    return typing.get_origin(kind) or kind


def _fits(value: Any, kind: Any, rule: Rule) -> bool:
    """Whether a value is of a type; what is inside it is not looked at."""
    kind = _plain(kind)
    if kind is Any or hasattr(kind, "parse"):
        return True
    if kind is bool:
        return isinstance(value, bool)
    choices = [choice for choice in rule.choices if type(choice) is kind]
    if choices and value not in choices:
        return False
    if kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            return False
        return math.isfinite(value) and rule.least <= value <= rule.most and (value > 0 or not rule.positive)
    if kind is str:
        return isinstance(value, str) and bool(value)
    if kind in (Mapping, dict) or is_dataclass(kind):
        return isinstance(value, Mapping)
    return kind in _CONTAINERS and isinstance(value, (list, tuple))


def _converted(path: str, value: Any, kind: Any, rule: Rule) -> Any:
    """The value with all that is inside it checked; integers as floats where the field is a float."""
    plain, arguments = _plain(kind), typing.get_args(kind)
    if hasattr(plain, "parse"):  # it reads its own text
        return plain.parse(value)
    if is_dataclass(plain):
        return structure(typing.cast(type[Any], plain), path, value)
    if plain in (Mapping, dict):
        for key in value:
            if rule.choices and key not in rule.choices:
                raise _refusal(f"{path} (its keys)", key, (str,), rule)
        item = rule._replace(choices=())
        return {key: check_value(f"{path}.{key}", value[key], arguments[1], item) for key in value}
    if plain in _CONTAINERS:
        return tuple(check_value(f"{path}.{index}", item, arguments[0], rule) for index, item in enumerate(value))
    return float(value) if plain is float else value


def _refusal(path: str, value: Any, members: Sequence[Any], rule: Rule) -> UserError:
    if rule.choices and not rule.wanted and any(member in (str, int) for member in members):
        words = [str(choice) for choice in rule.choices] + (["true", "false"] if bool in members else [])
        hint = meant(str(value), words, listed=False)
        near = f": {hint}" if hint.startswith("did") else ""
        return UserError(f"{path} must be one of {', '.join(words)}, not {value!r}{near}")
    kinds = [member for member in members if member is not type(None)]
    return make_error(path, rule.wanted or " or ".join(_wanted(kind, rule) for kind in kinds), value)


def _wanted(kind: Any, rule: Rule) -> str:
    kind = _plain(kind)
    if kind is bool:
        return "true or false"
    if kind is int:
        return f"an integer >= {rule.least:g}"
    if kind is float and rule.most != math.inf:
        return f"a number from {rule.least:g} to {rule.most:g}"
    if kind is float:
        return "a number above 0" if rule.positive else f"a number >= {rule.least:g}"
    if kind is str:
        return "text"
    if kind in (Mapping, dict) or is_dataclass(kind):
        return "a mapping"
    return f"a list like [{','.join(map(str, rule.choices[:2] or (1, 2)))}]"

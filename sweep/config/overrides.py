"""Plain config values: putting overrides into them, and following their interpolations.

A tree is never changed: what lies on the way to a change is copied, all else is shared between thousands of trials.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from sweep.config import schema
from sweep.spec import Json, UserError, no_key

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS = {"true", "false", "null", "nan", "inf"}  # what the override grammar reads as something else than text
REFERENCE = re.compile(r"\$\{([^${}]*)\}")  # an interpolation without another one inside


class Item(NamedTuple):
    """One parsed override."""

    line: str
    key: str  # without +, ++, ~
    section: str  # the first part of the key
    path: tuple[str, ...]
    value: Any
    mode: str  # change | add | force | delete
    group: bool  # chooses a file of a config group


def find_needs(tree: Json) -> dict[str, frozenset[str]]:
    """For each section, the sections whose overrides can change it: itself and, through interpolations, others."""
    direct: dict[str, set[str]] = {name: {name} for name in tree}
    for name, value in tree.items():
        for path, leaf in schema.leaves(value, name):
            if isinstance(leaf, str) and "${" in leaf:
                direct[name] |= _looked_at(leaf, path, frozenset(tree))
    for _ in direct:  # follow references of references
        for sections in direct.values():
            sections.update(*(direct.get(other, ()) for other in tuple(sections)))
    return {name: frozenset(sections) for name, sections in direct.items()}


def _looked_at(leaf: str, path: str, everything: frozenset[str]) -> set[str] | frozenset[str]:
    """The sections that one text with interpolations refers to; all of them if that is not known."""
    references = [reference.strip() for reference in REFERENCE.findall(leaf)]
    if leaf.count("${") != len(references):
        return everything  # one inside another
    sections = set()
    for reference in references:
        resolver, colon, _ = reference.partition(":")
        up = len(reference) - len(reference.lstrip("."))
        if colon and resolver not in ("oc.env", "hydra", "now"):
            return everything  # a resolver may look anywhere
        if not colon and up < len(path.split(".")):
            sections.add(path.split(".")[0] if up else re.split(r"[.\[]", reference)[0])
        elif not colon:
            sections.add(re.split(r"[.\[]", reference.lstrip("."))[0])
    return sections


def resolve(tree: Json, name: str) -> Any:
    """One section with its interpolations resolved by OmegaConf."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        value = OmegaConf.create(tree)[name]
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException as error:
        raise UserError(f"in '{name}': {str(error).splitlines()[0]}") from error


def put(tree: Json, item: Item) -> Json:
    """The tree with one override applied; what is on the way is copied, everything else is shared."""
    return dict(_put_at(tree, item, 0))


def _put_at(node: Any, item: Item, depth: int) -> Any:
    part, path = item.path[depth], ".".join(item.path[: depth + 1])
    if isinstance(node, list):
        return _put_in_list(node, item, depth)
    if not isinstance(node, Mapping):
        raise UserError(f"no key '{path}': {'.'.join(item.path[:depth])} is {node!r}, which has no parts")
    part = next((key for key in node if str(key) == part), part)  # keys of a YAML may be numbers
    optional = schema.OPTIONAL.get(item.path[0], ()) if depth == 1 else ()
    there = part in node or part in optional
    last = depth == len(item.path) - 1
    if not there and (item.mode in ("change", "delete") or (depth == 0 and part not in schema.KNOWN)):
        raise no_key(path, [*map(str, node), *optional], add=_is_open(item.path[:depth]))
    if item.mode == "delete" and last:
        return {key: value for key, value in node.items() if key != part}
    old = node.get(part)
    if not last:
        return {**node, part: _put_at({} if old is None else old, item, depth + 1)}
    if item.mode == "add" and old is not None and not isinstance(item.value, (dict, list)):
        raise UserError(f"{path} is there already: leave out the + to change it")
    if depth > 0 and item.section in schema.AXES and item.mode == "change":
        schema.same_kind(path, old, item.value)
    return {**node, part: _merged(old, item.value)}


def _is_open(place: tuple[str, ...]) -> bool:
    """Whether keys of any name may be added there: what takes them is not ours to know."""
    return bool(place) and place[0] in schema.AXES and place not in (("backend", "options"), ("process",))


def _put_in_list(node: list[Any], item: Item, depth: int) -> list[Any]:
    part, path = item.path[depth], ".".join(item.path[: depth + 1])
    if not part.isdigit() or int(part) >= len(node):
        raise UserError(f"no key '{path}': {'.'.join(item.path[:depth])} is a list of {len(node)}")
    items = list(node)
    last = depth == len(item.path) - 1
    items[int(part)] = item.value if last else _put_at(items[int(part)], item, depth + 1)
    return items


def _merged(old: Any, new: Any) -> Any:
    """Mappings are merged, as Hydra does; anything else replaces."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return {**old, **{key: _merged(old.get(key), value) for key, value in new.items()}}
    return new


def format_value(value: Any) -> str:
    """A value as the override grammar writes it, so that reading it gives the same value and the same type."""
    from sweep.config import hydra_api

    def quoted(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {quoted(key): quoted(part) for key, part in item.items()}
        if isinstance(item, (list, tuple)):
            return [quoted(part) for part in item]
        if isinstance(item, str) and (not PLAIN.fullmatch(item) or item.lower() in WORDS):
            return hydra_api.quote(item)
        return item

    return hydra_api.write_value(quoted(value))

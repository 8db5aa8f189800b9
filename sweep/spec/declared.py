"""A field that says which values it takes and what it means: `setting` declares it, everything else follows.

The check of a config, the errors, the split of a backend's options into compile-time and run-time ones and the tables
of the documentation all read the same declaration. Worker side, Python 3.8: hence metadata of the field and not
`typing.Annotated`, which is younger.
"""

import copy
import math
from dataclasses import Field, field, fields
from typing import Any, Dict, Mapping, NamedTuple, Tuple, Type

_RULE = "sweep"  # the key of a field's metadata


class Rule(NamedTuple):
    """What may stand in a field, beyond its type."""

    help: str = ""
    choices: Tuple[Any, ...] = ()  # of the values; of a mapping's keys
    least: float = 0.0  # of every number
    most: float = math.inf
    positive: bool = False  # numbers above 0, not 0 itself
    wanted: str = ""  # what an error says instead of what follows from the above
    compile_time: bool = True  # of a backend's option: it changes the artifact
    listed: bool = True  # False: a part of the config only where it is set


class Open:
    """A dataclass for a mapping that may hold other keys, too."""


def setting(default: Any, help: str = "", **rule: Any) -> Any:  # noqa: A002  # the word of argparse and click for it
    """A field of a dataclass with a default and a `Rule`; a list or a mapping as default is copied for each value."""
    metadata = within(help=help, **rule)
    if isinstance(default, (dict, list)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def within(**rule: Any) -> Mapping[str, Rule]:
    """The metadata of a field without a default."""
    return {_RULE: Rule(**rule)}


def rule_of(declared: "Field[Any]") -> Rule:
    """The rule of a field; of one that was declared without, a rule that lets all of its type pass."""
    rule: Rule = declared.metadata.get(_RULE, Rule())
    return rule


def rules_of(kind: Type[Any]) -> Dict[str, Rule]:
    """The rules of all fields of a dataclass, by name."""
    return {declared.name: rule_of(declared) for declared in fields(kind)}

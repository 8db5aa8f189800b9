"""The options of a backend: a dataclass beside its class, whose fields have a default and a line of help.

    @dataclass(frozen=True)
    class MineOptions(Options):
        level: str = setting("fast", "how far the graph is rewritten", choices=("fast", "small"))
        spin: bool = setting(True, "idle threads wait busily", compile_time=False)

A default stands here alone. Worker side, Python 3.8.
"""

from dataclasses import dataclass
from typing import Tuple, Type

from sweep.spec import Json, to_json
from sweep.spec.declared import rules_of


@dataclass(frozen=True)
class Options:
    """What may be set under `backend.options`; for a backend without options nothing."""


def list_defaults(kind: Type[Options]) -> Json:
    """The default options, as a config has them."""
    rules = rules_of(kind)
    return {name: value for name, value in to_json(kind()).items() if rules[name].listed}


def list_compile_time(kind: Type[Options]) -> Tuple[str, ...]:
    """The options that change the artifact; all others act at run time and cause no build."""
    return tuple(name for name, rule in rules_of(kind).items() if rule.compile_time)

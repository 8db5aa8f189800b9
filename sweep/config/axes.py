"""Which trials are declared: the product of the axes of the command line, of `axes` and of `combinations`."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sweep.config import schema
from sweep.config.compose import Composer
from sweep.config.naming import refuse_cut_path
from sweep.config.overrides import format_value
from sweep.spec import UserError, deployment, meant, no_key

if TYPE_CHECKING:
    from sweep.config.hydra_api import Override

MOST_JOBS = 100_000
_DECLARED = ("axes", "combinations", "deployment")


@dataclass(frozen=True)
class Space:
    """A product of axes. Each axis is the override lines of one key; an axis with one line is a fixed setting."""

    axes: Mapping[str, tuple[str, ...]]
    combinations: tuple[tuple[str, ...], ...] = ((),)  # each the lines of several keys
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)  # key -> bounds, for a search only
    members: int = 0  # trials that are measured together, for every combination; 0: each trial alone

    def __len__(self) -> int:
        return math.prod(map(len, self.axes.values())) * len(self.combinations) * max(1, self.members)

    def jobs(self) -> Iterator[list[str]]:
        """Every combination as a list of overrides; the last axis varies fastest, as in Hydra.

        Raises:
            UserError: for an interval, which has no end of values.
        """
        for key in self.intervals:
            raise UserError(
                f"{key}=interval(...) has no end of values: a grid needs a list like {key}=1,2,4 or {key}=range(1,8),"
                " or let hydra/sweeper=optuna search it"
            )
        for chosen in itertools.product(*self.axes.values(), self.combinations):
            lines = [*chosen[:-1], *chosen[-1]]
            yield from deployment.expand_members(lines, self.members)  # type: ignore[arg-type]  # the last is a tuple of lines


def expand(arguments: Sequence[str], composer: Composer) -> list[list[str]]:
    """The overrides of every declared trial.

    Raises:
        UserError: for an axis that cannot be one, has no values, or makes more than MOST_JOBS trials.
    """
    declared = spaces(arguments, composer)
    total = sum(map(len, declared))
    if total > MOST_JOBS:
        raise UserError(
            f"{total:,} trials are declared, more than {MOST_JOBS:,}: narrow the axes,"
            " or let hydra/sweeper=optuna search them"
        )
    return [job for space in declared for job in space.jobs()]


def spaces(arguments: Sequence[str], composer: Composer) -> list[Space]:
    """The spaces that the command line and the experiments declare; several experiments have a space each."""
    typed: dict[str, tuple[str, ...]] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for line in arguments:
        override = composer.parse(line)
        key = strip_sign(override.get_key_element())
        typed.pop(key, None)
        intervals.pop(key, None)  # the last one counts
        if override.is_interval_sweep():
            bounds: Any = override.value()
            intervals[key] = (float(bounds.start), float(bounds.end))
        else:
            typed[key] = _lines(override, composer)
        if len(typed.get(key, ())) > 1 or key in intervals:
            _may_vary(key, allow_experiment=True)
    experiments = typed.get("experiment", ("",))
    return [_space({**typed, "experiment": (line,)} if line else typed, intervals, composer) for line in experiments]


def strip_sign(key: str) -> str:
    """The key without what says how to apply it."""
    return key.lstrip("+~")


def _space(
    typed: Mapping[str, tuple[str, ...]], intervals: Mapping[str, tuple[float, float]], composer: Composer
) -> Space:
    first = [lines[0] for lines in typed.values()]  # the axes of an experiment are the same for every value of an axis
    declared = composer.config([line for line in first if _declares(composer, line)], _DECLARED)
    own = {key: lines for key, lines in typed.items() if key.partition(".")[0] not in ("axes", "combinations")}
    given = {strip_sign(key) for key in (*own, *intervals)}
    axes = dict(own)
    for key, values in _mapping("axes", declared["axes"]).items():
        _may_vary(strip_sign(key))
        if values is not None and strip_sign(key) not in given:
            axes[strip_sign(key)] = _axis(key, values, composer)
    by_hand = any(key.partition(".")[0] == "combinations" for key in typed)
    combinations = _combinations(declared["combinations"], given, by_hand)
    for key in axes:
        if key not in given and any(
            line.startswith((f"{key}=", f"+{key}=")) for lines in combinations for line in lines
        ):
            raise UserError(f"'{key}' stands both in axes and in combinations: leave out one")
    return Space(axes, combinations, dict(intervals), len(declared["deployment"]["members"]))


def _declares(composer: Composer, line: str) -> bool:
    item = composer.item(line)
    return item.group or item.section in _DECLARED


def _lines(override: "Override", composer: Composer) -> tuple[str, ...]:
    """One override as one line per value."""
    from sweep.config.hydra_api import Glob

    line = override.input_line or ""
    key = override.get_key_element()
    if key in ("+experiment", "++experiment"):
        key, line = "experiment", line.lstrip("+")
    if not override.is_sweep_override():
        return (line,)
    value: Any = override.value()
    if isinstance(value, Glob):
        names = composer.options(override.key_or_group)
        values = value.filter(names)
        if not values:
            raise UserError(f"no {override.key_or_group} matches {', '.join(value.include)}: {meant('', names)}")
    else:
        values = list(override.sweep_string_iterator())
        refuse_cut_path(line, values)
    if not values:
        raise UserError(f"{line} has no values")
    return tuple(f"{key}={text}" for text in values)


def _axis(key: str, values: Any, composer: Composer) -> tuple[str, ...]:
    """The lines of one entry of `axes`: a list of values, or text in sweep syntax like `range(1,6)`."""
    if isinstance(values, str):
        return _lines(composer.parse(f"{key}={values}"), composer)
    if not isinstance(values, list) or not values:
        raise UserError(f"axes.{key} must be a list of values like [1,2], not {values!r}")
    return tuple(f"{key}={format_value(value)}" for value in values)


def _combinations(declared: Any, given: set[str], by_hand: bool) -> tuple[tuple[str, ...], ...]:
    """The lines of every explicit combination, without the keys that the command line fixes."""
    if not isinstance(declared, list) or not all(isinstance(combination, Mapping) for combination in declared):
        raise UserError(f"combinations must be a list like [{{batch:1,cores:1}},{{batch:5,cores:4}}], not {declared!r}")
    lines = []
    for combination in declared:
        for key in combination:
            _may_vary(strip_sign(str(key)))
            if by_hand and strip_sign(str(key)) in given:
                raise UserError(f"'{key}' stands both in combinations and on its own: leave out one")
        kept = {key: value for key, value in combination.items() if strip_sign(str(key)) not in given}
        lines.append(tuple(f"{key}={format_value(value)}" for key, value in kept.items()))
    return tuple(dict.fromkeys(lines)) or ((),)


def _mapping(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{name} must map override keys to lists of values, not {value!r}")
    return {str(key): item for key, item in value.items()}


def _may_vary(key: str, *, allow_experiment: bool = False) -> None:
    section = re.split(r"[./@]", key)[0]
    if section in schema.AXES or (allow_experiment and key == "experiment"):
        return
    if section in schema.KNOWN or section == "hydra":
        raise UserError(f"{key} is set once a sweep; the axes are {', '.join(schema.AXES)} and anything under them")
    raise no_key(section, schema.KNOWN)

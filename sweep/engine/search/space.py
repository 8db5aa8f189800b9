"""The points that a search may choose from: every declared combination, coded by the axes that vary.

A space is finite, so all its points are judged before the search begins, and a point that the rules refuse is never
suggested. In a space too large for that, a point is judged when the search comes to it. Explicit combinations and
several experiments need nothing special: only declared points belong to the space, and an axis that a point does not
set has the value UNSET there.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweep.config import axes
from sweep.spec import Trial, UserError, digest

if TYPE_CHECKING:
    from sweep.config.compose import Composer
    from sweep.spec.plan import Plan

Value = str | int | float
Survey = Callable[[Sequence[Sequence[str]]], "Plan"]  # overrides of trials -> how the rules judge them

UNSET = "-"
PLANNED_AT_MOST = 5000  # larger spaces are judged point by point
DRAWS = 1000  # random points looked at before a large space counts as exhausted
INTEGERS = 64  # values of an interval of whole numbers, at most
STEPS = 33  # values of any other interval


@dataclass(frozen=True)
class Point:
    """One combination."""

    overrides: tuple[str, ...]
    values: tuple[Value, ...]  # one for each axis of the space
    key: str  # of the trial


class Exhausted(Exception):  # noqa: N818  # a search that is through is no error
    """No point that can run is left."""


class _Axes:
    """The axes of a space: every key that varies, and its values; numbers ascending, words sorted."""

    def __init__(self, axes: Mapping[str, tuple[Value, ...]], identity: str) -> None:
        self.axes = dict(axes)
        self.identity = identity  # equal for the same declared trials, model, data and hardware included
        self.taken: set[str] = set()  # keys of the trials that the search has chosen
        self._ranks = [{value: rank for rank, value in enumerate(values)} for values in self.axes.values()]
        self._ordered = [all(not isinstance(value, str) for value in values) for values in self.axes.values()]

    def distance(self, values: Sequence[Value], other: Sequence[Value]) -> float:
        """How many axes differ; two numbers on an axis count as the share of the axis between them."""
        total = 0.0
        for a, b, ranks, ordered in zip(values, other, self._ranks, self._ordered, strict=True):
            if a != b:
                total += abs(ranks[a] - ranks[b]) / len(ranks) if ordered else 1.0
        return total


class Planned(_Axes):
    """A space that was judged as a whole: the points that can run, and the plan, which says why others cannot."""

    def __init__(
        self, points: Sequence[Point], plan: "Plan", declared: int, axes: Mapping[str, tuple[Value, ...]]
    ) -> None:
        super().__init__(axes, digest(sorted(entry.trial.key for entry in plan.entries)))
        self.plan = plan
        self.declared = declared
        self._points = {point.key: point for point in points}

    @property
    def valid(self) -> tuple[Point, ...]:
        return tuple(self._points.values())

    def draw(self, rng: random.Random) -> Point:
        """A random point that can run and is not taken; all are equally likely. Raises Exhausted if there is none."""
        return rng.choice(self._free())

    def nearest(self, values: Sequence[Value], rng: random.Random) -> Point:
        """Of the points that `draw` may give, the one nearest to these values; a random one among equals."""
        free = self._free()
        far = [self.distance(point.values, values) for point in free]
        least = min(far)
        return rng.choice([point for point, distance in zip(free, far, strict=True) if distance <= least + 1e-9])

    def find(self, trial: Trial) -> Point | None:
        """The point of exactly this trial, taken or not."""
        return self._points.get(trial.key)

    def _free(self) -> list[Point]:
        free = [point for point in self._points.values() if point.key not in self.taken]
        if not free:
            raise Exhausted
        return free


class Lazy(_Axes):
    """A space too large to be judged as a whole: each point is judged when the search comes to it.

    Its methods are those of `Planned`; `nearest` looks at the points that differ on one axis only.
    """

    def __init__(
        self,
        spaces: Sequence[axes.Space],
        composer: "Composer",
        survey: Survey,
        axes: Mapping[str, tuple[Value, ...]],
        plan: "Plan",
    ) -> None:
        super().__init__(axes, digest([sorted(entry.trial.key for entry in plan.entries), sum(map(len, spaces))]))
        self.plan = plan  # of some points that have every value of every axis
        self.declared = sum(map(len, spaces))
        self._spaces = spaces
        self._composer = composer
        self._survey = survey
        self._judged: dict[tuple[Value, ...], Point | None] = {}

    def draw(self, rng: random.Random) -> Point:
        for _ in range(DRAWS):
            point = self._judge(self._any(rng))
            if point is not None and point.key not in self.taken:
                return point
        raise Exhausted

    def nearest(self, values: Sequence[Value], rng: random.Random) -> Point:
        neighbours = [
            (*values[:place], other, *values[place + 1 :])
            for place, choices in enumerate(self.axes.values())
            for other in choices
            if other != values[place]
        ]
        rng.shuffle(neighbours)
        neighbours.sort(key=lambda near: self.distance(near, values))
        for near in (tuple(values), *neighbours):
            point = self._at(near)
            if point is not None and point.key not in self.taken:
                return point
        return self.draw(rng)

    def find(self, trial: Trial) -> Point | None:
        given = encode(trial.overrides, self._composer)
        values = tuple(given.get(name, UNSET) for name in self.axes)
        known = all(value in choices for value, choices in zip(values, self.axes.values(), strict=True))
        point = self._at(values) if known else None
        return point if point is not None and point.key == trial.key else None

    def _any(self, rng: random.Random) -> list[str]:
        space = rng.choices(self._spaces, [len(space) for space in self._spaces])[0]
        chosen = [rng.choice(lines) for lines in space.axes.values()]
        return [*chosen, *rng.choice(space.combinations)]

    def _at(self, values: tuple[Value, ...]) -> Point | None:
        """The point with these values, if it was declared and can run."""
        if values not in self._judged:
            lines = next(filter(None, (self._lines(space, values) for space in self._spaces)), None)
            return None if lines is None else self._judge(lines)
        return self._judged[values]

    def _lines(self, space: axes.Space, values: tuple[Value, ...]) -> list[str] | None:
        wanted = dict(zip(self.axes, values, strict=True))

        def fits(lines: Sequence[str]) -> bool:
            return all(wanted.get(key, value) == value for key, value in encode(lines, self._composer).items())

        chosen = [next((line for line in lines if fits((line,))), None) for lines in space.axes.values()]
        rest = next((lines for lines in space.combinations if fits(lines)), None)
        if rest is None or None in chosen:
            return None
        lines = [*(line for line in chosen if line is not None), *rest]
        given = encode(lines, self._composer)
        return lines if all(given.get(key, UNSET) == value for key, value in wanted.items()) else None

    def _judge(self, lines: Sequence[str]) -> Point | None:
        given = encode(lines, self._composer)
        values = tuple(given.get(name, UNSET) for name in self.axes)
        if values not in self._judged:
            (entry,) = self._survey([lines]).entries
            self._judged[values] = Point(tuple(lines), values, entry.trial.key) if entry.status is None else None
        return self._judged[values]


SearchSpace = Planned | Lazy


def make_space(spaces: Sequence[axes.Space], composer: "Composer", survey: Survey) -> SearchSpace:
    """The space of a command line, judged by `survey`, which also opens the sweep.

    Raises:
        UserError: for a wrong key, type or value of any point.
    """
    finite = [expand_intervals(space, composer) for space in spaces]
    if sum(map(len, finite)) > PLANNED_AT_MOST:
        some = [lines for space in finite for lines in cover_values(space)]
        return Lazy(finite, composer, survey, find_axes([encode(lines, composer) for lines in some]), survey(some))
    jobs = [lines for space in finite for lines in space.jobs()]
    plan = survey(jobs)
    codes = [encode(entry.trial.overrides, composer) for entry in plan.valid]
    moving = find_axes(codes)  # a value that nothing can run with is no choice
    points = [
        Point(entry.trial.overrides, tuple(code.get(name, UNSET) for name in moving), entry.trial.key)
        for entry, code in zip(plan.valid, codes, strict=True)
    ]
    return Planned(points, plan, len(jobs), moving)


def encode(lines: Sequence[str], composer: "Composer") -> dict[str, Value]:
    """Override lines as values by key: numbers as numbers, everything else as it was typed."""
    values: dict[str, Value] = {}
    for line in lines:
        key, _, typed = line.partition("=")
        value = composer.item(line).value
        number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        values[axes.strip_sign(key)] = value if number else typed
    return values


def find_axes(codes: Sequence[Mapping[str, Value]]) -> dict[str, tuple[Value, ...]]:
    """The keys whose values differ, with all their values; words and numbers in one axis are all words to it."""
    values = {key: {code.get(key, UNSET) for code in codes} for key in dict.fromkeys(itertools.chain(*codes))}
    moving = {key: choices for key, choices in values.items() if len(choices) > 1}
    return {
        key: tuple(sorted(choices, key=lambda value: (isinstance(value, str), value)))
        for key, choices in moving.items()
    }


def cover_values(space: axes.Space) -> Iterator[list[str]]:
    """Few combinations that have every value of every axis between them."""
    parts: list[list[tuple[str, ...]]] = [[(line,) for line in lines] for lines in space.axes.values()]
    parts.append(list(space.combinations))
    for number in range(max(map(len, parts))):
        yield [line for part in parts for line in part[number % len(part)]]


def expand_intervals(space: axes.Space, composer: "Composer") -> axes.Space:
    """Replace each interval by a list of values: whole numbers if the setting's default is one, else even steps."""
    if not space.intervals:
        return space
    choices = dict(space.axes)
    for key, (low, high) in space.intervals.items():
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"{key}=interval({low:g},{high:g}) must go from a number to a larger one")
        default = _find_default(composer, list_first(space), key)
        whole = isinstance(default, int) and not isinstance(default, bool)
        choices[key] = tuple(
            f"{key}={value}" for value in (_list_integers(low, high) if whole else _list_steps(low, high))
        )
    return replace(space, axes=choices, intervals={})


def list_first(space: axes.Space) -> list[str]:
    """The overrides of the first declared point."""
    return [lines[0] for lines in space.axes.values()] + list(space.combinations[0])


def _find_default(composer: "Composer", lines: Sequence[str], key: str) -> object:
    section, *path = key.split(".")
    value = composer.config(lines, (section,))[section]
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _list_integers(low: float, high: float) -> list[int]:
    first, last = math.ceil(low), math.floor(high)
    if last - first < INTEGERS:
        return list(range(first, last + 1))
    if first < 1:
        return sorted({round(first + (last - first) * step / (INTEGERS - 1)) for step in range(INTEGERS)})
    return sorted({round(first * (last / first) ** (step / (INTEGERS - 1))) for step in range(INTEGERS)})


def _list_steps(low: float, high: float) -> list[float]:
    return [float(f"{low + (high - low) * step / (STEPS - 1):.6g}") for step in range(STEPS)]

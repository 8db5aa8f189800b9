"""What would change the choice: the prices and the limits on latency at which another trial leads.

A price moves all trials of a hardware together, and a limit admits trials one after the other. So the values at which
the leader changes follow from the numbers: where two costs are equal (break-even), and where the limit passes the
latency of a better trial. `select` then confirms each of them on both sides, 1 % away; those that it does not confirm
are left out. The leader is the best by the estimates: near a flip the verdict itself is a tie or undecided, and the
interval of a price says how near.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweep.spec import Record, metrics
from sweep.spec.metrics import COST, LATENCIES, Limit, Metric, Side
from sweep.spec.settings import Objective
from sweep.verdict import race
from sweep.verdict.costs import money
from sweep.verdict.stats import intervals
from sweep.verdict.whatif.answers import View, hardware_name

LIMITED = [metric for metric in reversed(LATENCIES) if hasattr(Objective, f"{metric.name}_max")]  # by a setting
AWAY = 0.01  # relative: how far from a flip select must confirm it
STEPS = 6  # leaders that are listed, those about the present value
HARDWARE = 6  # hardware types whose price is varied
BESIDE = 20  # of the best trials, ranked again with those that a flip names

Ends = tuple[float, float]


@dataclass(frozen=True)
class Steps:
    """Who leads as a number moves: `keys[i]` below `at[i]`, `keys[i + 1]` above it; None if no trial qualifies."""

    what: str  # "price of inf2_xlarge" or "latency_ms_p99"
    unit: str  # "USD/h" or "ms"
    now: float | None  # None: the price is not known, or there is no limit
    at: tuple[float, ...]
    keys: tuple[str | None, ...]
    ends: tuple[Ends | None, ...] = ()  # interval of each `at`; None: not known
    unconfirmed: int = 0  # flips that select did not confirm, which are left out

    def leader(self, value: float) -> str | None:
        return self.keys[sum(value >= edge for edge in self.at)]


Rank = Callable[[float], tuple[Record, ...]]  # the feasible trials at a value, best first


def find_flips(view: View) -> tuple[Steps, ...]:
    """The prices and limits that would change this choice; of several questions the choice of each."""
    views = view.split()
    if len(views) == 1:
        return _find_flips(view)
    return tuple(
        replace(steps, what=f"{name}: {steps.what}") for name, own in views.items() for steps in _find_flips(own)
    )


def _find_flips(view: View) -> tuple[Steps, ...]:
    """The flips of one question."""
    flips = [*_find_price_flips(view), *(_find_limit_flips(view, metric) for metric in LIMITED)]
    return tuple(steps for steps in flips if steps is not None and (steps.at or steps.unconfirmed))


# --- prices -----------------------------------------------------------------------------------------------------------


def _find_price_flips(view: View) -> list[Steps]:
    objective = view.objective
    if COST not in objective.deciding:
        return []
    if objective.metric != COST:
        free = replace(objective, usd_per_million_items_max=None)
        ranking = view.ranked(free)
        named = list(dict.fromkeys(hardware_name(record) for record in (*view.feasible[:2], *ranking)))
        return [steps for name in named[:HARDWARE] if (steps := _find_price_limit(view, name, ranking))]
    champions = _find_champions(view)
    known = [name for name in champions if view.book.price(champions[name])]
    unknown = [name for name in champions if name not in known]
    if len(champions) < 2 and objective.usd_per_million_items_max is None:
        return []
    named = [*known[:2], *unknown, *known[2:]]  # the choice, the runner-up, then what only lacks a price
    return [steps for name in named[:HARDWARE] if (steps := _find_break_even(view, name, champions))]


def _find_champions(view: View) -> dict[str, Record]:
    """The trial of each hardware that costs least, at any price of the hardware; cheapest first.

    A price moves all trials of a hardware alike, so its other trials never lead.
    """
    book = view.book
    for host in view.hosts:
        if host.price is None:
            book = book.with_price(host.name, 1.0)
    champions: dict[str, Record] = {}
    for record in view.ranked(replace(view.objective, usd_per_million_items_max=None), book):
        champions.setdefault(hardware_name(record), record)
    cost = {name: race.ranking_value(view.book.reprice(record), view.objective) for name, record in champions.items()}
    return dict(sorted(champions.items(), key=lambda item: cost[item[0]]))


def _find_break_even(view: View, name: str, champions: Mapping[str, Record]) -> Steps | None:
    """Below which price of a hardware its best trial leads, and who leads above it."""
    objective, limit = view.objective, view.objective.usd_per_million_items_max
    mine = view.book.with_price(name, 1.0).reprice(champions[name])
    others = [view.book.reprice(record) for other, record in champions.items() if other != name]
    others = [record for record in others if limit is None or _is_within(record.number(COST), limit)]
    rival = min(others, key=lambda record: race.ranking_value(record, objective), default=None)
    if rival is not None and race.ranking_value(rival, objective) < math.inf:
        at = race.ranking_value(rival, objective) / race.ranking_value(mine, objective)
        ends = _break_even_interval(mine, rival, at, objective)
    elif limit is not None:
        rival, at, ends = None, limit / (mine.number(COST) or math.inf), None
    else:
        return None
    price = view.book.price(champions[name])
    now = price.usd_per_hour if price else None
    steps = Steps(f"price of {name}", "USD/h", now, (at,), (mine.key, rival.key if rival else None), (ends,))
    return _confirm(steps, lambda value: _rank_at_price(view, name, value, champions.values()))


def _break_even_interval(mine: Record, rival: Record, at: float, objective: Objective) -> Ends | None:
    """The interval of the break-even price, which goes with the ratio of the rates."""
    ratio = intervals.ratio_interval(_list_rates(mine), _list_rates(rival), objective.confidence)
    if ratio is None or ratio.low is None or ratio.high is None:
        return None
    return at * ratio.low / ratio.estimate, at * ratio.high / ratio.estimate


def _list_rates(record: Record) -> list[float]:
    return intervals.drop_indexes(race.repeat_values(record, money.find_rate_metric(record.metrics or {})))


def _rank_at_price(view: View, name: str, value: float, needed: Iterable[Record]) -> tuple[Record, ...]:
    return view.choose_among(_keep_few(view, needed), view.objective, view.book.with_price(name, value))


def _find_price_limit(view: View, name: str, ranking: Sequence[Record]) -> Steps | None:
    """Up to which price of a hardware its trials keep to the limit of the cost, where something else is the objective.

    Args:
        ranking: what meets the other constraints, best first.
    """
    limit = view.objective.usd_per_million_items_max
    assert limit is not None
    most: list[tuple[Record, float]] = []
    for record in ranking:
        mine = hardware_name(record) == name
        rate, cost = money.find_rate(record.metrics or {}), record.number(COST)
        if mine and rate:
            most.append((record, money.break_even(rate, limit)))
        elif not mine and cost is not None and _is_within(cost, limit):
            most.append((record, math.inf))
    price = next((host.price for host in view.hosts if host.name == name), None)
    now = price.usd_per_hour if price else None
    steps = _keep_nearest(Steps(f"price of {name}", "USD/h", now, *_find_stairs(most, rising=False)))
    needed = [record for record in ranking if record.key in steps.keys]
    return _confirm(steps, lambda value: _rank_at_price(view, name, value, needed))


def _is_within(cost: float | None, limit: float) -> bool:
    return cost is not None and not Limit(metrics.find(COST), limit, Side.MAX).is_missed(cost)


# --- limits on latency ------------------------------------------------------------------------------------------------


def _find_limit_flips(view: View, metric: Metric) -> Steps | None:
    """Who leads as a limit on latency gets looser."""
    name = f"{metric.name}_max"
    now = getattr(view.objective, name)
    ranking = view.feasible if now is None else view.ranked(_set_limit(view.objective, name, None))
    known = [(record, value) for record in ranking if (value := record.number(metric.name)) is not None]
    steps = _keep_nearest(Steps(metric.name, "ms", now, *_find_stairs(known, rising=True)))
    needed = [record for record in ranking if record.key in steps.keys]

    def rank(value: float) -> tuple[Record, ...]:
        return view.choose_among(_keep_few(view, needed), _set_limit(view.objective, name, value))

    return _confirm(steps, rank)


def _set_limit(objective: Objective, name: str, value: float | None) -> Objective:
    changes: dict[str, Any] = {name: value}
    return replace(objective, **changes)


# --- both -------------------------------------------------------------------------------------------------------------


def _find_stairs(
    ranking: Sequence[tuple[Record, float]], rising: bool
) -> tuple[tuple[float, ...], tuple[str | None, ...]]:
    """Where the leader changes, ascending, and who leads between: the best ranked of those that a value admits.

    Args:
        ranking: best first, with the value from which (`rising`), or else up to which, a trial is admitted.
    """
    steps: list[tuple[float, str]] = []  # from the best to what only the tightest values leave
    for record, value in ranking:
        if not steps or (value < steps[-1][0] if rising else value > steps[-1][0]):
            steps.append((value, record.key))
    if rising:
        steps.reverse()
        return tuple(value for value, _ in steps), (None, *(key for _, key in steps))
    at = tuple(value for value, _ in steps if value < math.inf)
    return at, tuple(key for _, key in steps) + ((None,) if len(at) == len(steps) else ())


def _keep_nearest(steps: Steps) -> Steps:
    """The few leaders about the present value; without one, those of the loosest limits."""
    extra = len(steps.keys) - STEPS
    if extra <= 0:
        return steps
    here = len(steps.at) if steps.now is None else sum(steps.now >= edge for edge in steps.at)
    first = min(max(0, here - STEPS // 2), extra)
    return replace(steps, at=steps.at[first : first + STEPS - 1], keys=steps.keys[first : first + STEPS])


def _confirm(steps: Steps, rank: Rank) -> Steps:
    """The flips that select confirms on both sides."""
    kept = []
    for place, edge in enumerate(steps.at):
        sides = (edge * (1 - AWAY), edge * (1 + AWAY))
        seen = [next((record.key for record in rank(value)), None) for value in sides]
        if edge > 0 and seen == [steps.leader(value) for value in sides]:
            kept.append(place)
    if len(kept) == len(steps.at):
        return steps
    lost = len(steps.at) - len(kept)
    if not kept:
        return replace(steps, at=(), keys=steps.keys[:1], ends=(), unconfirmed=lost)
    ends = tuple(steps.ends[place] for place in kept) if steps.ends else ()
    # Between two flips that hold, who leads right above the lower one.
    keys = (steps.keys[kept[0]], *(steps.keys[place + 1] for place in kept))
    return replace(steps, at=tuple(steps.at[place] for place in kept), keys=keys, ends=ends, unconfirmed=lost)


def _keep_few(view: View, needed: Iterable[Record]) -> list[Record]:
    """The trials that a flip names and the best of the choice: who leads among them leads among all.

    Without their samples: what these prove of a limit changes no ranking, and reading them takes long.
    """
    records = {record.key: record for record in (*needed, *view.feasible[:BESIDE])}
    return [replace(r, repeats=tuple(replace(m, samples="") for m in r.repeats)) for r in records.values()]

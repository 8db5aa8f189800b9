"""How long a plan will take."""

import math
from collections.abc import Callable, Sequence
from statistics import median

from sweep import backends
from sweep.spec import BuildSpec, Trial, deployment
from sweep.spec.plan import Plan
from sweep.spec.settings import Effort
from sweep.text import duration
from sweep.worker.load import config as load_config

SecondsOf = Callable[[BuildSpec], float | None]


LOAD_SECONDS = 0.4  # a fresh worker, an artifact of some MB: only for the forecast


REPLAY_SECONDS = 0.1  # a worker that reads a row


def forecast(
    plan: Plan,
    effort: Effort,
    seconds_of: SecondsOf,
    parallel: int,
    start_seconds_of: Callable[[Trial], float | None] | None = None,
    price: str | None = None,
) -> tuple[float | None, str]:
    """Seconds that the plan will take, and what the figure rests on. Of a race: to its first look.

    Args:
        seconds_of: 0 for a build that is stored, the typical seconds of like builds, None where nothing is known.
        parallel: builds that go on at once.
        start_seconds_of: from starting a worker to its warm-up, as earlier sweeps saw it; None where none did.
        price: kind of price to tell the cost of this host's time by, where its hardware has one.
    """
    real = {key: spec for key, spec in plan.builds.items() if backends.get(spec.backend).origin.is_evidence}
    known = {key: seconds_of(spec) for key, spec in real.items()}
    figures = [seconds for seconds in known.values() if seconds is not None]
    unknown = len(known) - len(figures)
    together = {deployment.group(entry.trial): entry.trial for entry in plan.valid}
    measuring = effort.repeats * sum(_repeat_seconds(t, effort, start_seconds_of) for t in together.values())
    building = sum(figures) / max(1, parallel) + (len(plan.builds) - len(real)) * REPLAY_SECONDS
    if unknown and any(figures):
        building += unknown * median(seconds for seconds in figures if seconds) / max(1, parallel)
    most = building + measuring * max(effort.repeats, effort.repeats_max or 0) / effort.repeats
    first = min(building + measuring, effort.budget_seconds or math.inf)
    notes = [
        f"at least; {unknown} {'build' if unknown == 1 else 'builds'} of unknown duration" if unknown else "",
        _told([spec for key, spec in plan.builds.items() if key not in real]),
        _ending(effort, first, most),
        _costing(plan, first, min(most, effort.budget_seconds or math.inf), price),
    ]
    return first, "; ".join(filter(None, notes))


def _repeat_seconds(trial: Trial, effort: Effort, start_seconds_of: Callable[[Trial], float | None] | None) -> float:
    if not backends.get(str(trial.backend["name"])).origin.is_evidence:
        return REPLAY_SECONDS
    start = start_seconds_of(trial) if start_seconds_of else None
    windows = 1 + int(trial.load.get("probes", 0))  # load=capacity tries rates, then confirms the one that it found
    window = load_config.plan_seconds(trial.load, effort.window_seconds)
    return windows * window + 1.5 * effort.warmup_seconds + (LOAD_SECONDS if start is None else start)


def _ending(effort: Effort, first: float, most: float) -> str:
    """When it ends, where that depends on what is measured, or on the clock."""
    budget = effort.budget_seconds
    if effort.repeats_max is not None and most > first:
        until = f"to the first look; then trials that may still be chosen, up to {effort.repeats_max} repeats each"
        return f"{until}: at most {duration(min(most, budget or math.inf))}"
    return f"the budget ends it after {duration(budget)}" if budget is not None and most > budget else ""


def _costing(plan: Plan, least: float, most: float, price: str | None) -> str:
    """The cost of so many seconds of this host, where all trials are on hardware of one known price."""
    from sweep.verdict.costs import money

    prices = {money.price_of(entry.trial.hardware, price) for entry in plan.valid}
    known = next(iter(prices)) if len(prices) == 1 else None
    if known is None:
        return ""
    low, high = (f"${known.usd_per_hour * seconds / 3600:.2g}" for seconds in (least, most))
    return f"{low} of this host's time" if low == high else f"{low} to {high} of this host's time"


def _told(replayed: Sequence[BuildSpec]) -> str:
    """What builds that are only replayed took where they were made."""
    seconds = sum(float((spec.options.get("row") or {}).get("build_seconds") or 0.0) for spec in replayed)
    took = f"; the builds are reported to have taken {seconds:,.0f} s" if seconds else ""
    return f"replayed: nothing is run, repeats are draws, not evidence{took}" if replayed else ""

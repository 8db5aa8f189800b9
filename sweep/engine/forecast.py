"""Forecast how long a plan will take."""

import math
from collections.abc import Callable, Sequence
from statistics import median

from sweep import backends
from sweep.spec import BuildSpec, Trial, deployment
from sweep.spec.plan import Plan
from sweep.spec.settings import Effort
from sweep.text import duration
from sweep.worker.load import config as load_config

EstimateBuild = Callable[[BuildSpec], float | None]  # seconds
EstimateStart = Callable[[Trial], float | None]  # seconds

LOAD_SECONDS = 0.4  # to start a worker and to load an artifact of some MB
REPLAY_SECONDS = 0.1  # a worker that reads a row


def forecast(
    plan: Plan,
    effort: Effort,
    estimate_build: EstimateBuild,
    parallel: int,
    estimate_start: EstimateStart,
    price: str | None,
) -> tuple[float | None, str]:
    """Seconds that the plan will take (a race: to its first look), and notes on the figure.

    Args:
        estimate_build: 0 for a stored build, else the typical seconds of such builds, None if nothing is known.
        parallel: builds that run at once.
        estimate_start: seconds from starting a worker to its warm-up in earlier sweeps; None if there are none.
        price: kind of price for the cost of this host's time.
    """
    real = {key: spec for key, spec in plan.builds.items() if backends.get(spec.backend).origin.is_evidence}
    known = {key: estimate_build(spec) for key, spec in real.items()}
    figures = [seconds for seconds in known.values() if seconds is not None]
    unknown = len(known) - len(figures)
    together = {deployment.group_key(entry.trial): entry.trial for entry in plan.valid}
    measuring = effort.repeats * sum(_estimate_repeat(t, effort, estimate_start) for t in together.values())
    building = sum(figures) / max(1, parallel) + (len(plan.builds) - len(real)) * REPLAY_SECONDS
    if unknown and any(figures):
        building += unknown * median(seconds for seconds in figures if seconds) / max(1, parallel)
    most = building + measuring * max(effort.repeats, effort.repeats_max or 0) / effort.repeats
    first = min(building + measuring, effort.budget_seconds or math.inf)
    notes = [
        f"at least; {unknown} {'build' if unknown == 1 else 'builds'} of unknown duration" if unknown else "",
        _describe_replayed([spec for key, spec in plan.builds.items() if key not in real]),
        _describe_end(effort, first, most),
        _describe_cost(plan, first, min(most, effort.budget_seconds or math.inf), price),
    ]
    return first, "; ".join(filter(None, notes))


def _estimate_repeat(trial: Trial, effort: Effort, estimate_start: EstimateStart) -> float:
    if not backends.get(str(trial.backend["name"])).origin.is_evidence:
        return REPLAY_SECONDS
    start = estimate_start(trial)
    windows = 1 + int(trial.load.get("probes", 0))  # load=capacity tries rates, then confirms one
    window = load_config.plan_seconds(trial.load, effort.window_seconds)
    return windows * window + 1.5 * effort.warmup_seconds + (LOAD_SECONDS if start is None else start)


def _describe_end(effort: Effort, first: float, most: float) -> str:
    """When the sweep ends, if that depends on what is measured or on the budget; else empty."""
    budget = effort.budget_seconds
    if effort.repeats_max is not None and most > first:
        until = f"to the first look; then trials that may still be chosen, up to {effort.repeats_max} repeats each"
        return f"{until}: at most {duration(min(most, budget or math.inf))}"
    return f"the budget ends it after {duration(budget)}" if budget is not None and most > budget else ""


def _describe_cost(plan: Plan, least: float, most: float, price: str | None) -> str:
    """The cost of this host's time, if all trials are on hardware of one known price; else empty."""
    from sweep.verdict.costs import money

    prices = {money.find_price(entry.trial.hardware, price) for entry in plan.valid}
    known = next(iter(prices)) if len(prices) == 1 else None
    if known is None:
        return ""
    low, high = (f"${known.usd_per_hour * seconds / 3600:.2g}" for seconds in (least, most))
    return f"{low} of this host's time" if low == high else f"{low} to {high} of this host's time"


def _describe_replayed(replayed: Sequence[BuildSpec]) -> str:
    """The reported seconds of builds that are only replayed; empty if there are no such builds."""
    seconds = sum(float((spec.options.get("row") or {}).get("build_seconds") or 0.0) for spec in replayed)
    took = f"; the builds are reported to have taken {seconds:,.0f} s" if seconds else ""
    return f"replayed: nothing is run, published numbers are not evidence{took}" if replayed else ""

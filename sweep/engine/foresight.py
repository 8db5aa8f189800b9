"""What is known of a verdict before anything is built: limits, prices and metrics that trials of the plan cannot have.

The lines are shown after the plan. Where no valid trial can ever be chosen, the sweep ends there with one line.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sweep.engine.references import Reference
from sweep.spec import Trial, UserError, metrics
from sweep.spec.metrics import Limit, Side
from sweep.spec.settings import Effort, Objective
from sweep.text import count, list_some, number, quantity, share
from sweep.verdict import alternatives
from sweep.verdict.costs import money, prices
from sweep.verdict.stats import agreement, intervals
from sweep.worker import arrays
from sweep.worker.load import config as load_config
from sweep.worker.window import STRETCHED

LUCK = 1.05  # more than the offered rate by chance: random arrivals are not exactly as many as expected
ACCURACIES = ("accuracy", metrics.ACCURACY_DROP)


@dataclass(frozen=True)
class Obstacle:
    """Why some trials can never be chosen."""

    text: str  # with the fix
    trials: tuple[Trial, ...]


def examine(
    trials: Sequence[Trial],
    objective: Objective,
    effort: Effort,
    table: Sequence[prices.Row],
    goals: Sequence[str] = (),
) -> list[str]:
    """Lines on what valid trials cannot reach.

    Args:
        table: the user's own prices.
        goals: metrics that a search aims at, beside the objective's.

    Raises:
        UserError: none of the trials can be chosen.
    """
    obstacles = list(_find_obstacles(trials, objective, table, {*objective.deciding, *goals}))
    lost = {trial.key for obstacle in obstacles for trial in obstacle.trials}
    if trials and all(trial.key in lost for trial in trials):
        raise UserError(f"no trial could be chosen: {'; '.join(obstacle.text for obstacle in obstacles)}")
    lines = [f"{len(o.trials):,} of {count(len(trials), 'trial')} cannot be chosen: {o.text}" for o in obstacles]
    return [*lines, *_find_thin_percentiles(trials, objective, effort)]


def _find_obstacles(
    trials: Sequence[Trial], objective: Objective, table: Sequence[prices.Row], wanted: set[str]
) -> Iterator[Obstacle]:
    if metrics.COST in wanted:
        yield from _find_unpriced(trials, objective, table)
    if metrics.CAPACITY in wanted:
        others = tuple(trial for trial in trials if trial.load.get("name") != "capacity")
        if others:
            fix = "load=capacity load.slo_p99_ms=... measures it"
            yield Obstacle(f"{metrics.CAPACITY} is not measured with load={_name_load(others[0])}: {fix}", others)
    least = objective.throughput_items_per_s_min
    if least is not None:
        slow = tuple(trial for trial in trials if (trial.load.get("rate") or least) * LUCK < least)
        if slow:
            text = f"load.rate={slow[0].load['rate']:g} offers less than objective.throughput_items_per_s_min={least:g}"
            yield Obstacle(f"{text}: raise the one or lower the other", slow)


def _find_unpriced(trials: Sequence[Trial], objective: Objective, table: Sequence[prices.Row]) -> Iterator[Obstacle]:
    lacking = tuple(t for t in trials if money.find_price(prices.override(t.hardware, table), objective.price) is None)
    if lacking:
        names = list(dict.fromkeys(str(trial.hardware["name"]) for trial in lacking))
        kind = f"{objective.price} price" if objective.price else "price"
        row = f"{{usd_per_hour:0.5,kind:{objective.price}}}" if objective.price else "{usd_per_hour:0.5}"
        fix = f"hardware.price='[{row}]' gives one for this sweep, `python -m sweep prices` a table of them"
        yield Obstacle(f"no {kind} of {list_some(names, 4)} is known, so it has no cost: {fix}", lacking)


def _name_load(trial: Trial) -> str:
    return str(trial.load.get("name") or "saturate")


def refuse_several_questions(trials: Sequence[Trial]) -> None:
    """Raises UserError if a search is to choose what nobody can choose, like the rate that is offered."""
    demands = [alternatives.describe_demand(trial.settings, trial.overrides, trial.load) for trial in trials]
    for name in dict.fromkeys(name for demand in demands for name in demand):
        values = list(dict.fromkeys(demand.get(name, "none") for demand in demands))
        if len(values) > 1:
            raise UserError(
                f"{name} is {' or '.join(values[:3])} in this space, which nobody chooses, so there is no best of all: "
                "search with one of them, or leave out hydra/sweeper=optuna"
            )


# --- percentiles that the windows cannot carry ------------------------------------------------------------------------


def _find_thin_percentiles(trials: Sequence[Trial], objective: Objective, effort: Effort) -> Iterator[str]:
    """Limits on percentiles that a trial just within them cannot show, because it answers too few requests."""
    repeats = max(effort.repeats, effort.repeats_max or 0)
    for limit in objective.limits:
        if limit.metric.quantile is None or limit.side is not Side.MAX or limit.bound <= 0 or not trials:
            continue
        most = max(_count_samples(trial, limit, effort) for trial in trials) * repeats
        needed = intervals.samples_needed(limit.metric.quantile)
        if most < needed:
            window = number(effort.window_seconds * needed / max(most, 1e-9)).replace(",", "")
            yield (
                f"{limit.name}={limit.bound:g}: a trial that takes {quantity(limit.metric.name, limit.bound)} answers "
                f"about {count(round(most), 'request')} in {count(repeats, 'repeat')}, a {limit.metric.label} needs "
                f"{needed:,}; effort.window_seconds={window} carries it"
            )


def _count_samples(trial: Trial, limit: Limit, effort: Effort) -> float:
    """Latencies in one repeat of a trial whose requests take as long as the limit allows."""
    window, rate = effort.window_seconds, trial.load.get("rate")
    if rate is not None:
        return float(rate) * window
    if load_config.is_open_loop(trial.load):
        return float("inf")  # what arrives is not known here
    pace = 1e3 / limit.bound * trial.replicas * load_config.count_clients(trial.load)
    return min(STRETCHED * window * pace, max(window * pace, effort.min_requests))


# --- what the original model shows ------------------------------------------------------------------------------------


def refuse_unlabelled(trial: Trial, reference: Reference, objective: Objective) -> str | None:
    """Why a trial cannot keep to a limit on accuracy: its data has no labels; None if it can."""
    limit = next((limit for limit in objective.limits if limit.metric.name in ACCURACIES), None)
    if limit is None or not reference.data_folder.is_dir():  # what is replayed has no data
        return None
    labels, _ = arrays.read_labels(reference.data_folder)
    if labels is not None:
        return None
    return f"data {trial.data['name']} has no labels, so its accuracy is not known: leave out objective.{limit.name}"


def describe_high_accuracy(trial: Trial, reference: Reference, objective: Objective) -> str:
    """One line if more accuracy is demanded than the original model has; else empty."""
    least = objective.accuracy_min
    if least is None or not reference.data_folder.is_dir():
        return ""
    labels, task = arrays.read_labels(reference.data_folder)
    if labels is None or task != "classification":
        return ""
    reading = agreement.Reading.of(trial.data, reference.data_folder)
    own = agreement.measure_accuracy(arrays.read_reference(reference.folder)[0], labels, reading)
    if own is None or own >= least:
        return ""
    return (
        f"objective.accuracy_min={least:g}: the original {trial.model['name']} has an accuracy of {share(own)} itself, "
        "so a build could keep to it by chance only"
    )

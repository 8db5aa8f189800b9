"""The load of a trial over all its repeats: for records, tables and tracking. Python 3.8."""

from statistics import mean
from typing import Dict, Sequence

from sweep.spec import Json, Measurement


def metrics(repeats: Sequence[Measurement]) -> Dict[str, float]:
    """Metrics of an open load; empty for a closed loop.

    arrival_rate_items_per_s and batch_items_mean: means over the repeats; left_items: the sum of those that were
    never answered; overloaded_share: of the repeats; generator_lag_ms_p99: the largest.
    """
    loads = [repeat.load for repeat in repeats if repeat.load is not None]
    if not loads:
        return {}
    known = {
        "batch_items_mean": mean(load.batch_mean for load in loads),
        "left_items": float(sum(load.left for load in loads)),
        "overloaded_share": mean(float(load.overloaded) for load in loads),
        "generator_lag_ms_p99": max(load.lag_ms_p99 for load in loads),
    }
    rates = [load.rate for load in loads if load.rate is not None]
    return {**known, **({"arrival_rate_items_per_s": mean(rates)} if rates else {})}


def notes(repeats: Sequence[Measurement]) -> Json:
    """`overloaded` for a record's notes: one line if the queue grew in any repeat, else nothing."""
    grew = [repeat for repeat in repeats if repeat.load is not None and repeat.load.overloaded]
    if not grew:
        return {}
    arrived = mean(repeat.load.rate for repeat in grew if repeat.load is not None and repeat.load.rate is not None)
    answered = mean(repeat.throughput_items_per_s for repeat in grew)
    text = "the queue grew in %d of %d repeats: %.4g items/s arrived and %.4g were answered"
    return {"overloaded": text % (len(grew), len(repeats), arrived, answered)}

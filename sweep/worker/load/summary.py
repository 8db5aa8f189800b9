"""What the repeats of a trial say of their load together: for records, tables and tracking. Python 3.8."""

from statistics import mean
from typing import Dict, Sequence

from sweep.spec import Json, Measurement


def metrics(repeats: Sequence[Measurement]) -> Dict[str, float]:
    """Of an open load; empty for clients that wait.

    arrival_rate_items_per_s and batch_items_mean: means over the repeats; left_items: that arrived and were never
    answered, in all; overloaded_share: of the repeats; generator_lag_ms_p99: the largest.
    """
    told = [repeat.notes["load"] for repeat in repeats if repeat.notes.get("load")]
    if not told:
        return {}
    found = {
        "batch_items_mean": mean(each["batch_mean"] for each in told),
        "left_items": float(sum(each["left"] for each in told)),
        "overloaded_share": mean(float(each["overloaded"]) for each in told),
        "generator_lag_ms_p99": max(each["lag_ms_p99"] for each in told),
    }
    rates = [each["rate"] for each in told if each["rate"] is not None]
    return {**found, **({"arrival_rate_items_per_s": mean(rates)} if rates else {})}


def notes(repeats: Sequence[Measurement]) -> Json:
    """`overloaded` of a record's notes: a line, where the queue grew in any repeat."""
    grew = [repeat for repeat in repeats if (repeat.notes.get("load") or {}).get("overloaded")]
    if not grew:
        return {}
    arrived = mean(repeat.notes["load"]["rate"] for repeat in grew)
    answered = mean(repeat.throughput_items_per_s for repeat in grew)
    told = "the queue grew in %d of %d repeats: %.4g items/s arrived and %.4g were answered"
    return {"overloaded": told % (len(grew), len(repeats), arrived, answered)}

"""Results of a trial with buckets for given traffic: measured latencies, weighted with the traffic's shares."""

from dataclasses import fields, replace
from typing import Any

from sweep.spec import DYNAMIC, Record, Status, Trial, UserError
from sweep.verdict.buckets.cost import Curve, Point, as_shapes, share_out
from sweep.verdict.buckets.results import ListResult
from sweep.verdict.buckets.traffic import Traffic, units
from sweep.worker.batching import widen


def summarize_list(record: Record, trial: Trial, traffic: Traffic, own: bool) -> ListResult | None:
    """The result of a trial's list; None unless the trial is ok and was measured."""
    if record.status is not Status.OK or not record.metrics:
        return None
    metrics = record.metrics
    window = metrics.get("item_latency_ms_mean") or metrics.get("latency_ms_mean")
    weighted = window if trial.buckets == () else _weighted(record, trial, traffic, own)
    rate = metrics["throughput_items_per_s"]
    known: dict[str, Any] = {field.name: metrics.get(field.name, field.default) for field in fields(ListResult)}
    return replace(
        ListResult(**known),
        item_latency_ms_mean=weighted or window,
        weights="traffic" if weighted else "window",
        window_item_latency_ms_mean=window,
        traffic_items_per_s=rate * window / weighted if weighted and window else rate if own else None,
        buckets=record.buckets,
        sizes=record.sizes,
    )


def _weighted(record: Record, trial: Trial, traffic: Traffic, own: bool) -> float | None:
    """The mean latency of an item's request at the traffic's shares; None if a bucket that it needs was not hit."""
    if trial.buckets == DYNAMIC:
        return None if own else _dynamic_weighted(record, trial, traffic)
    seen = {widen(row.bucket, traffic.dimensions): row.latency_ms_mean for row in record.buckets}
    try:
        shares = share_out(traffic, trial.buckets)
    except UserError:
        return None
    total = 0.0
    for share, bucket in zip(shares, as_shapes(trial.buckets, traffic.dimensions).tolist(), strict=True):
        latency = seen.get(tuple(bucket))
        if share > 0 and latency is None:
            return None
        total += share * (latency or 0.0)
    return float(total)


def _dynamic_weighted(record: Record, trial: Trial, traffic: Traffic) -> float | None:
    """The same for any size; None for requests of several items, whose mix differs from traffic to traffic."""
    groups = [group for group in record.sizes if group.latency_ms_mean]
    if trial.request_items > 1 or not groups:
        return None
    curve = Curve([Point(group.size, group.latency_ms_mean / 1000) for group in groups])
    return float(traffic.weights @ curve.values("seconds", units(traffic.sizes)) / traffic.weights.sum()) * 1000

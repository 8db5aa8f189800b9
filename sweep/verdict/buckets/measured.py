"""What a trial with buckets took, for the traffic: measured latencies at the traffic's shares, not at the window's."""

from collections.abc import Sequence

from sweep.spec import DYNAMIC, Json, Record, Status, Trial, UserError
from sweep.verdict.buckets import bucketing
from sweep.verdict.buckets.bucketing import Curve, Point, Traffic
from sweep.verdict.buckets.cost import as_shapes
from sweep.worker.batching import widen


def buckets_of(record: Record) -> list[Json]:
    """What each bucket of a measured trial did, over all its repeats; empty where there are none."""
    return list(record.notes.get("buckets") or [])


def measured(record: Record, trial: Trial, traffic: Traffic, own: bool) -> Json | None:
    """What a trial's repeats say; None where they are not to be believed, or there are none."""
    if record.status is not Status.OK or not record.metrics:
        return None
    metrics, told = record.metrics, buckets_of(record)
    window = metrics.get("item_latency_ms_mean") or metrics.get("latency_ms_mean")
    weighted = window if trial.buckets == () else _weighted(record, trial, traffic, told, own)
    rate = metrics["throughput_items_per_s"]
    return {
        "item_latency_ms_mean": weighted or window,
        "weights": "traffic" if weighted else "window",
        "window_item_latency_ms_mean": window,
        "latency_ms_p50": metrics.get("latency_ms_p50"),
        "latency_ms_p99": metrics.get("latency_ms_p99"),
        "throughput_items_per_s": rate,
        "traffic_items_per_s": rate * window / weighted if weighted and window else rate if own else None,
        "padding": metrics.get("padding"),
        "padding_flops": metrics.get("padding_flops"),
        "build_seconds": metrics.get("build_seconds"),
        "artifact_mb": metrics.get("artifact_mb"),
        "loaded_mb": metrics.get("loaded_mb"),
        "buckets": told,
        "sizes": list(record.notes.get("sizes") or []),
    }


def _weighted(record: Record, trial: Trial, traffic: Traffic, told: Sequence[Json], own: bool) -> float | None:
    """The mean latency of an item's request at the traffic's shares; None where something needed was not seen."""
    import numpy as np

    if trial.buckets == DYNAMIC:
        return None if own else _dynamic_weighted(record, trial, traffic)
    seen = {widen(tuple(each["bucket"]), traffic.dimensions): each.get("latency_ms_mean") for each in told}
    try:
        served = bucketing.serve(traffic, trial.buckets)
    except UserError:
        return None
    wide = [tuple(shape) for shape in as_shapes(trial.buckets, traffic.dimensions).tolist()]
    shares = np.bincount(served, traffic.weights, len(wide)) / traffic.weights.sum()
    needed = [(share, seen.get(bucket)) for share, bucket in zip(shares, wide, strict=True) if share > 0]
    if any(latency is None for _, latency in needed):
        return None
    return float(sum(share * latency for share, latency in needed))


def _dynamic_weighted(record: Record, trial: Trial, traffic: Traffic) -> float | None:
    """Of a request of one item, whose size is the item's own; how larger ones mix differs from traffic to traffic."""
    from sweep.verdict.buckets.traffic import units

    told = [each for each in record.notes.get("sizes") or [] if each.get("latency_ms_mean")]
    if trial.request_items > 1 or not told:
        return None
    curve = Curve([Point(tuple(each["size"]), each["latency_ms_mean"] / 1000) for each in told])
    return float(traffic.weights @ curve.values("seconds", units(traffic.sizes)) / traffic.weights.sum()) * 1000

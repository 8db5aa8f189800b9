"""What a trial's repeats say together: its metrics, its buckets or sizes, and how it stood up to its load."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

from sweep.spec import Json, Measurement, Record
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.spec.metrics import LATENCIES, METRICS, QUANTILES, SAMPLES, Pooled
from sweep.store.samples import load_samples
from sweep.verdict.stats import intervals


def compute_metrics(record: Record) -> dict[str, float]:
    """All metrics that follow from the repeats of a trial, and from its buckets or sizes."""
    return {**summarize(record.repeats), **summarize_sizes(record), **summarize_load(record.repeats)}


def summarize(measurements: Sequence[Measurement]) -> dict[str, float]:
    """The metrics of one trial from its repeats, under the names that tables and tracking use.

    Latencies are pooled over all requests of all repeats and replicas; a percentile that their count does not support
    is absent, as is anything else that is not known. Throughput is the mean over repeats. `_low` and `_high` are
    Student's t intervals over repeats and absent where there is one repeat. The order of repeats does not matter.
    """
    import numpy as np

    repeats = sorted(measurements, key=lambda m: m.index)
    if not repeats:
        return {}
    metrics: dict[str, float] = {"repeats": float(len(repeats))}
    for metric in METRICS:
        values = [value for m in repeats if (value := m.number(metric.name)) is not None and math.isfinite(value)]
        if metric.pooled is Pooled.LARGEST and values and max(values) > 0:
            metrics[metric.name] = max(values)
        elif metric.pooled is Pooled.MEAN and values:
            spread = intervals.mean_interval(values)
            metrics[metric.name] = spread.estimate
            if metric.interval:
                intervals.add_ends(metrics, metric.name, spread)
    per_repeat = [load_samples(m.samples) for m in repeats]
    pooled = np.concatenate(per_repeat)
    metrics[SAMPLES] = float(pooled.size)
    if pooled.size:
        # Whole nanoseconds add up exactly, so the mean does not depend on the order.
        known = {"mean": int(pooled.sum()) / pooled.size, "max": float(pooled.max())}
        carried = {label: q for label, q in QUANTILES.items() if intervals.percentile_supported(pooled.size, q)}
        known |= {label: float(np.percentile(pooled, q)) for label, q in carried.items()}
        metrics |= {metric.name: known[metric.label] / 1e6 for metric in LATENCIES if metric.label in known}
    if "latency_ms_p50" in metrics:
        medians = [float(np.median(array)) / 1e6 for array in per_repeat if array.size]
        intervals.add_ends(metrics, "latency_ms_p50", intervals.mean_interval(medians))
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def summarize_sizes(record: Record) -> dict[str, float]:
    """The metrics that only a trial with buckets or varying sizes has; empty for others.

    padding, padding_flops: means over the repeats. item_latency_ms_mean: the latency of an item's request, mean over
    the items. artifact_mb, loaded_mb: of all builds together.
    """
    repeats = record.repeats
    padding = mean_known([repeat.padding for repeat in repeats])
    groups: Sequence[BucketFacts | SizeFacts | Measurement] = record.buckets or record.sizes
    if not groups and not padding:
        return {}
    groups = groups or repeats  # everything is padded to one size
    weighed = [(group.items, group.latency_ms_mean) for group in groups if group.latency_ms_mean is not None]
    items = sum(count for count, _ in weighed)
    on_disk: list[Any] = [build.get("artifact_mb") for build in record.builds]
    known = {
        "padding": padding,
        "padding_flops": mean_known([repeat.padding_flops for repeat in repeats]),
        "item_latency_ms_mean": sum(count * mean for count, mean in weighed) / items if items else None,
        "artifact_mb": None if None in on_disk else sum(on_disk),
        "loaded_mb": _middle([repeat.loaded_mb for repeat in repeats]),
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def summarize_load(repeats: Sequence[Measurement]) -> dict[str, float]:
    """Metrics of an open load; empty for a closed loop.

    arrival_rate_items_per_s and batch_items_mean: means over the repeats; left_items: the sum of those that were
    never answered; overloaded_share: of the repeats; generator_lag_ms_p99: the largest.
    """
    loads = [repeat.load for repeat in repeats if repeat.load is not None]
    if not loads:
        return {}
    known = {
        "batch_items_mean": fmean(load.batch_mean for load in loads),
        "left_items": float(sum(load.left for load in loads)),
        "overloaded_share": fmean(float(load.overloaded) for load in loads),
        "generator_lag_ms_p99": max(load.lag_ms_p99 for load in loads),
    }
    rates = [load.rate for load in loads if load.rate is not None]
    return {**known, **({"arrival_rate_items_per_s": fmean(rates)} if rates else {})}


def list_notes(repeats: Sequence[Measurement]) -> Json:
    """`overloaded` for a record's notes: one line if the queue grew in any repeat, else nothing."""
    grew = [repeat for repeat in repeats if repeat.load is not None and repeat.load.overloaded]
    if not grew:
        return {}
    arrived = fmean(repeat.load.rate for repeat in grew if repeat.load is not None and repeat.load.rate is not None)
    answered = fmean(repeat.throughput_items_per_s for repeat in grew)
    text = f"the queue grew in {len(grew)} of {len(repeats)} repeats: {arrived:.4g} items/s arrived and {answered:.4g} "
    return {"overloaded": text + "were answered"}


def pool_buckets(repeats: Sequence[Measurement], builds: Sequence[Mapping[str, Any]]) -> list[BucketFacts]:
    """Each bucket over all repeats; empty if there are none.

    Percentiles and memory are medians over the repeats. A percentile needs enough requests to support it.

    Args:
        builds: as in `Record.builds`, in the order of the buckets.
    """
    by_repeat = [repeat.buckets for repeat in repeats if repeat.buckets]
    total = sum(bucket.items for buckets in by_repeat for bucket in buckets)
    whole = []
    for place, same in enumerate(zip(*by_repeat, strict=True)):
        items = sum(bucket.items for bucket in same)
        build = builds[place] if place < len(builds) else {}
        facts = BucketFacts(
            same[0].bucket,
            sum(bucket.requests for bucket in same),
            items,
            memory_mb=_middle([bucket.memory_mb for bucket in same]),
            share=items / total if total else 0.0,
            build_seconds=build.get("seconds"),
            artifact_mb=build.get("artifact_mb"),
        )
        whole.append(_with_latency(facts, same))
    return whole


def pool_sizes(repeats: Sequence[Measurement]) -> list[SizeFacts]:
    """Each padded size over all repeats, smallest area first; empty unless one build takes any size."""
    from sweep.worker.by_size import pool_sizes

    return pool_sizes([group for repeat in repeats for group in repeat.sizes])


def _with_latency(facts: BucketFacts, same: Sequence[BucketFacts]) -> BucketFacts:
    """With the latency over all repeats; `same`: the bucket in each of them."""
    used = [(bucket, bucket.latency_ms_mean) for bucket in same if bucket.latency_ms_mean is not None]
    if not used:
        return facts
    requests = sum(bucket.requests for bucket, _ in used)
    mean = sum(bucket.requests * latency for bucket, latency in used) / requests
    carried = [name for name, q in QUANTILES.items() if intervals.percentile_supported(requests, q)]
    middles = {name: _middle([bucket.latency_ms.get(name) for bucket, _ in used]) for name in carried}
    return replace(facts, latency_ms_mean=mean, latency_ms={name: value for name, value in middles.items() if value})


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def mean_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None

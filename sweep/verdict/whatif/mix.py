"""A trial's numbers at another mix of lengths, from what was measured of each bucket or size.

In a closed loop every client waits for its answer. So a bucket's latency does not depend on how often the others are
used, and its requests are weighted with the share that it would have. The time of a client that an item takes, mean
over the buckets, gives the throughput of a repeat: items/s x (time of an item at the old mix) / (at the new one).
Percentiles come from the samples, weighted by their buckets; without samples there are none. How full the requests of a
bucket were stays as it was measured.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from sweep.spec import Measurement, Record, Trial, UserError
from sweep.spec.facts import BucketFacts
from sweep.spec.metrics import LATENCIES, QUANTILES, THROUGHPUT
from sweep.verdict.buckets.cost import Curve, Point, as_shapes, share_out, waste
from sweep.verdict.buckets.traffic import Traffic, units
from sweep.verdict.stats import intervals
from sweep.worker.batching import widen

if TYPE_CHECKING:
    import numpy as np

    from sweep.store.query import Stored

CLOSED = ("saturate", "single", "closed")  # loads whose clients wait for each answer


class _Unknown(Exception):  # noqa: N818  # no error: why the numbers of a trial cannot be known
    pass


def reweigh(stored: "Stored", traffic: Traffic) -> Record | str:
    """The record under this traffic, or in a few words why its numbers cannot be known."""
    record, trial = stored.record, stored.history.trials.get(stored.record.key)
    if trial is None or not stored.is_measured:
        return "they were not measured here"
    load = str(trial.load.get("name", CLOSED[0]))
    if load not in CLOSED:
        return f"how long items wait under load={load} changes with the mix: measure it"
    try:
        if record.buckets:
            return _reweigh_buckets(stored, trial, traffic)
        if record.sizes:
            return _reweigh_sizes(record, trial, traffic)
    except _Unknown as reason:
        return str(reason)
    return "they have one size of which nothing is stored: measure them with buckets=..."


def _reweigh_buckets(stored: "Stored", trial: Trial, traffic: Traffic) -> Record:
    import numpy as np

    record = stored.record
    whole = record.buckets
    shares = _bucket_shares(whole, traffic)
    order = [row.bucket for row in whole]
    repeats, latencies, weights = [], [], []
    if not record.repeats:
        raise _Unknown("their repeats are not stored")
    for repeat in record.repeats:
        if [row.bucket for row in repeat.buckets] != order:
            raise _Unknown("they do not say of every repeat what each bucket took")
        result, samples, weight = _reweigh_repeat(stored, repeat, shares)
        repeats.append(result)
        latencies.append(samples)
        weights.append(weight)
    buckets = tuple(replace(row, share=float(share)) for row, share in zip(whole, shares, strict=True))
    metrics = _replace_metrics(record, repeats)
    if "padding" in metrics:
        metrics["padding"] = waste(traffic, order)
    metrics.pop("padding_flops", None)
    means = np.array([row.latency_ms_mean or 0.0 for row in whole])
    metrics["item_latency_ms_mean"] = float(shares @ means)
    metrics["latency_ms_mean"] = fmean(repeat.latency_ms_mean for repeat in repeats)
    metrics |= _pool_latencies(np.concatenate(latencies), np.concatenate(weights))
    medians = [repeat.latency_ms["p50"] for repeat in repeats if "p50" in repeat.latency_ms]
    if "latency_ms_p50" in metrics and medians:
        intervals.add_ends(metrics, "latency_ms_p50", intervals.mean_interval(medians))
    return replace(record, metrics=metrics, repeats=tuple(repeats), buckets=buckets)


def _bucket_shares(rows: Sequence[BucketFacts], traffic: Traffic) -> "np.ndarray":
    """(n,): the share of the traffic's items that each bucket takes."""
    import numpy as np

    if any(len(row.bucket) not in (1, traffic.dimensions) for row in rows):
        raise _Unknown(f"their buckets have {len(rows[0].bucket)} dimensions, the traffic {traffic.dimensions}")
    wide = [widen(row.bucket, traffic.dimensions) for row in rows]
    try:
        shares = share_out(traffic, wide)
    except UserError:
        largest = "x".join(map(str, traffic.largest))
        raise _Unknown(f"a length of {largest} fits none of their buckets") from None
    ordered = [tuple(shape) for shape in as_shapes(wide, traffic.dimensions).tolist()]  # as `share_out` counts them
    return np.array([shares[ordered.index(shape)] for shape in wide])


def _reweigh_repeat(
    stored: "Stored", repeat: Measurement, shares: "np.ndarray"
) -> "tuple[Measurement, np.ndarray, np.ndarray]":
    """One repeat at the new mix, and the latency in ms and the weight of each of its samples."""
    import numpy as np

    rows = repeat.buckets
    items = np.array([row.items for row in rows], dtype=np.float64)
    requests = np.array([row.requests for row in rows], dtype=np.float64)
    if (items[shares > 0] == 0).any():
        lacking = next(row.bucket for row, share in zip(rows, shares, strict=True) if share > 0 and not row.items)
        raise _Unknown(f"no request of bucket {'x'.join(map(str, lacking))} was measured")
    means = np.array([row.latency_ms_mean or 0.0 for row in rows])
    item_ms = np.divide(requests * means, items, out=np.zeros_like(items), where=items > 0)  # ms of a client's time
    before, after = float(items @ item_ms / items.sum()), float(shares @ item_ms)
    weights = np.divide(shares * requests, items, out=np.zeros_like(items), where=items > 0)
    weights /= weights.sum()  # share of the requests
    samples, bucket = _load_samples(stored, repeat)
    weight = np.divide(weights, requests, out=np.zeros_like(weights), where=requests > 0)[bucket]
    result = replace(
        repeat,
        throughput_items_per_s=repeat.throughput_items_per_s * before / after,
        latency_ms_mean=float(weights @ means),
        latency_ms=_weighted_percentiles(samples, weight),
        samples="",  # they are of the mix that was measured: no claim can rest on them
    )
    return result, samples, weight


def _load_samples(stored: "Stored", repeat: Measurement) -> "tuple[np.ndarray, np.ndarray]":
    """Latency in ms and number of the bucket of every request; empty if the file is gone or names no buckets."""
    import numpy as np

    path = stored.file(repeat.samples)
    nothing = np.empty(0), np.empty(0, dtype=np.int64)
    if path is None:
        return nothing
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            if "bucket" not in file.files:
                return nothing
            return (file["end_ns"] - file["start_ns"]) / 1e6, np.asarray(file["bucket"], dtype=np.int64)
    except (OSError, EOFError, KeyError, ValueError):
        return nothing


def _reweigh_sizes(record: Record, trial: Trial, traffic: Traffic) -> Record:
    """One build for any size: a request of one item has the item's own size."""
    if trial.request_items > 1:
        raise _Unknown("requests of several items of any size are padded to the largest, which another mix changes")
    repeats = []
    for repeat in record.repeats:
        groups = [group for group in repeat.sizes if group.latency_ms_mean]
        if not groups or any(len(group.size) != traffic.dimensions for group in groups):
            raise _Unknown(f"their sizes are not told in {traffic.dimensions} dimensions")
        curve = Curve([Point(group.size, group.latency_ms_mean / 1e3) for group in groups])
        areas = units(traffic.sizes)
        known = [math.prod(point.size) for point in curve.points]
        if areas.min() < known[0] or areas.max() > known[-1]:
            raise _Unknown("lengths were measured that do not reach as far as the traffic's")
        after = 1e3 * float(traffic.weights @ curve.values("seconds", areas)) / float(traffic.weights.sum())
        items = sum(group.items for group in groups)
        before = sum(group.items * group.latency_ms_mean for group in groups) / items
        rate = repeat.throughput_items_per_s * before / after
        repeats.append(replace(repeat, throughput_items_per_s=rate, latency_ms_mean=after, latency_ms={}, samples=""))
    metrics = _replace_metrics(record, repeats)
    for name in ("padding", "padding_flops"):
        metrics.pop(name, None)
    metrics["latency_ms_mean"] = metrics["item_latency_ms_mean"] = fmean(repeat.latency_ms_mean for repeat in repeats)
    return replace(record, metrics=metrics, repeats=tuple(repeats))


def _replace_metrics(record: Record, repeats: Sequence[Measurement]) -> dict[str, float]:
    """The record's metrics with the new throughput and without its latencies."""
    latencies = {name for metric in LATENCIES for name in metric.names}
    known = {name: value for name, value in (record.metrics or {}).items() if name not in latencies}
    spread = intervals.mean_interval([repeat.throughput_items_per_s for repeat in repeats])
    known[THROUGHPUT] = spread.estimate
    intervals.add_ends(known, THROUGHPUT, spread)
    return known


def _pool_latencies(latency: "np.ndarray", weight: "np.ndarray") -> dict[str, float]:
    """Latencies over all repeats; percentiles that the effective number of samples carries (Kish 1965)."""
    if not weight.sum():
        return {}
    effective = weight.sum() ** 2 / (weight**2).sum()
    percentiles = _weighted_percentiles(latency, weight)
    kept = [name for name, q in QUANTILES.items() if intervals.percentile_supported(int(effective), q)]
    known: dict[str, Any] = {name: percentiles[name] for name in kept}
    known |= {"mean": float(latency @ weight / weight.sum()), "max": float(latency[weight > 0].max())}
    return {"latency_ms_" + name: value for name, value in known.items()}


def _weighted_percentiles(latency: "np.ndarray", weight: "np.ndarray") -> dict[str, float]:
    """Of weighted samples, between the middles of their weights; empty where there are none."""
    import numpy as np

    if not weight.sum():
        return {}
    order = np.argsort(latency, kind="stable")
    order = order[weight[order] > 0]
    middles = (np.cumsum(weight[order]) - weight[order] / 2) / weight[order].sum()
    return {name: float(np.interp(q / 100, middles, latency[order])) for name, q in QUANTILES.items()}

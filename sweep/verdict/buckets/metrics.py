"""A trial's buckets, or its sizes that vary, over all its repeats: for records, tables and MLflow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import Any

from sweep.spec import Measurement, Record
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.spec.metrics import QUANTILES
from sweep.text import number, share
from sweep.verdict.stats.intervals import percentile_supported


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


def compute_metrics(record: Record) -> dict[str, float]:
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


def flatten(record: Record) -> dict[str, float]:
    """The numbers of all buckets, with names like `bucket_128x224/latency_ms_p50`."""
    numbers: dict[str, float] = {}
    for bucket in record.buckets:
        start = f"bucket_{_size(bucket.bucket)}/"
        numbers |= {
            start + name: float(value) for name, value in vars(bucket).items() if isinstance(value, int | float)
        }
        numbers |= {f"{start}latency_ms_{name}": float(value) for name, value in bucket.latency_ms.items()}
    return numbers


def _with_latency(facts: BucketFacts, same: Sequence[BucketFacts]) -> BucketFacts:
    """With the latency over all repeats; `same`: the bucket in each of them."""
    used = [(bucket, bucket.latency_ms_mean) for bucket in same if bucket.latency_ms_mean is not None]
    if not used:
        return facts
    requests = sum(bucket.requests for bucket, _ in used)
    mean = sum(bucket.requests * latency for bucket, latency in used) / requests
    carried = [name for name, q in QUANTILES.items() if percentile_supported(requests, q)]
    middles = {name: _middle([bucket.latency_ms.get(name) for bucket, _ in used]) for name in carried}
    return replace(facts, latency_ms_mean=mean, latency_ms={name: value for name, value in middles.items() if value})


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def mean_known(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known; None if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def describe_buckets(record: Record) -> list[str]:
    """A trial's buckets for people, one line for each; of sizes that vary the smallest and the largest."""
    lines = [f"bucket   {_describe(bucket)}" for bucket in record.buckets]
    if groups := record.sizes:
        ends = groups[:1] if len(groups) == 1 else (groups[0], groups[-1])
        times = [f"{_size(group.size)} in {number(group.latency_ms_mean)} ms" for group in ends]
        lines.append(f"sizes    any, in one build; requests padded to {' and to '.join(times)} on average")
    metrics = record.metrics or {}
    if "padding" in metrics:
        flops = f", {share(metrics['padding_flops'])} of the operations" if "padding_flops" in metrics else ""
        mean = f"; the request of an item takes {number(metrics['item_latency_ms_mean'])} ms on average"
        lines.append(f"padding  {share(metrics['padding'])} of the elements{flops}{mean}")
    if len(record.builds) > 1 and "loaded_mb" in metrics:
        on_disk = f"{number(metrics['artifact_mb'])} MB on disk, " if "artifact_mb" in metrics else ""
        lines.append(f"builds   {len(record.builds)}: {on_disk}{number(metrics['loaded_mb'])} MB loaded in one replica")
    return lines


def _describe(bucket: BucketFacts) -> str:
    """`32: 61 % of the items, p50 12.3 ms, p99 14.1 ms; build 4.1 s, 87 MB on disk, 95 MB loaded`."""
    latency = bucket.latency_ms
    words = [f"{share(bucket.share)} of the items"]
    words += [f"{name} {number(latency[name])} ms" for name in ("p50", "p99") if name in latency]
    costs = (
        ("build {} s", bucket.build_seconds),
        ("{} MB on disk", bucket.artifact_mb),
        ("{} MB loaded", bucket.memory_mb),
    )
    build = [text.format(number(cost)) for text, cost in costs if cost is not None]
    return f"{_size(bucket.bucket)}: {', '.join(words)}" + (f"; {', '.join(build)}" if build else "")


def _size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))

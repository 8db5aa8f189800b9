"""What the repeats of a trial say of its buckets, or of sizes that vary, in one place: for records, tables and MLflow.

A repeat's notes have `buckets` ({bucket, requests, items, latency_ms_mean, latency_ms, memory_mb}), or `sizes` where
one build takes any ({size, requests, items, latency_ms_mean}), `padding` and `padding_flops` (shares of what was
computed) and `loaded_mb` (all builds of one replica).
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from sweep.spec import Json, Measurement, Record
from sweep.spec.metrics import QUANTILES
from sweep.text import number, share
from sweep.verdict.stats.intervals import percentile_supported


def of(repeats: Sequence[Measurement], builds: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Each bucket over all repeats; empty where there are none.

    bucket, share (of the items), requests, items, latency_ms_mean (over requests), latency_ms (medians of the repeats'
    percentiles, those that so many requests carry), memory_mb (median), build_seconds, artifact_mb. What is not known
    is absent.

    Args:
        builds: as in `Record.builds`, in the order of the buckets.
    """
    told = [repeat.notes["buckets"] for repeat in repeats if repeat.notes.get("buckets")]
    total = sum(each["items"] for buckets in told for each in buckets)
    found = []
    for place, each in enumerate(zip(*told, strict=True)):
        items = sum(one["items"] for one in each)
        build = builds[place] if place < len(builds) else {}
        row: Json = {
            "bucket": list(each[0]["bucket"]),
            "share": items / total if total else 0.0,
            "requests": sum(one["requests"] for one in each),
            "items": items,
            **_latency(each),
            "build_seconds": build.get("seconds"),
            "artifact_mb": build.get("artifact_mb"),
            "memory_mb": _middle([one.get("memory_mb") for one in each]),
        }
        found.append({name: value for name, value in row.items() if value is not None})
    return found


def sizes(repeats: Sequence[Measurement]) -> list[Json]:
    """Each padded size over all repeats, smallest area first; empty where one build does not take any size."""
    from sweep.worker.by_size import pooled

    return pooled([group for repeat in repeats for group in repeat.notes.get("sizes", ())])


def notes(repeats: Sequence[Measurement], builds: Sequence[Mapping[str, Any]]) -> Json:
    """`buckets` and `sizes` of a record's notes, where there are any."""
    found = {"buckets": of(repeats, builds), "sizes": sizes(repeats)}
    return {name: rows for name, rows in found.items() if rows}


def metrics(repeats: Sequence[Measurement], builds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What a trial with buckets or varying sizes has beside the metrics of all trials; empty for others.

    padding, padding_flops: means over the repeats. item_latency_ms_mean: over items, of the request that each was in.
    artifact_mb, loaded_mb: all builds.
    """
    told = notes(repeats, builds)
    padding = _mean([repeat.notes.get("padding") for repeat in repeats])
    if not told and not padding:
        return {}
    groups = [group for rows in told.values() for group in rows]
    if not groups:  # everything is padded to one size
        groups = [{"items": repeat.items, "latency_ms_mean": repeat.latency_ms_mean} for repeat in repeats]
    weighed = [(group["items"], group["latency_ms_mean"]) for group in groups if group["items"]]
    items = sum(count for count, _ in weighed)
    on_disk: list[Any] = [build.get("artifact_mb") for build in builds]
    known = {
        "padding": padding,
        "padding_flops": _mean([repeat.notes.get("padding_flops") for repeat in repeats]),
        "item_latency_ms_mean": sum(count * mean for count, mean in weighed) / items if items else None,
        "artifact_mb": None if None in on_disk else sum(on_disk),
        "loaded_mb": _middle([repeat.notes.get("loaded_mb") for repeat in repeats]),
    }
    return {name: float(value) for name, value in known.items() if value is not None}


def flat(record: Record) -> dict[str, float]:
    """Numbers of each bucket by one name, like `bucket_128x224/latency_ms_p50`."""
    found: dict[str, float] = {}
    for row in record.notes.get("buckets", ()):
        start = f"bucket_{_size(row['bucket'])}/"
        found |= {start + name: float(value) for name, value in row.items() if isinstance(value, int | float)}
        found |= {f"{start}latency_ms_{name}": float(value) for name, value in row.get("latency_ms", {}).items()}
    return found


def _latency(each: Sequence[Json]) -> Json:
    used = [one for one in each if one["requests"]]
    if not used:
        return {}
    requests = sum(one["requests"] for one in used)
    mean = sum(one["requests"] * one["latency_ms_mean"] for one in used) / requests
    carried = [name for name, q in QUANTILES.items() if percentile_supported(requests, q)]
    middles = {name: _middle([one["latency_ms"].get(name) for one in used]) for name in carried}
    return {"latency_ms_mean": mean, "latency_ms": {name: value for name, value in middles.items() if value}}


def _middle(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def lines(record: Record) -> list[str]:
    """A trial's buckets for people, a line each; of sizes that vary freely the smallest and the largest."""
    found = [f"bucket   {_told(row)}" for row in record.notes.get("buckets", ())]
    if told := record.notes.get("sizes", ()):
        ends = told[:1] if len(told) == 1 else (told[0], told[-1])
        each = [f"{_size(row['size'])} in {number(row['latency_ms_mean'])} ms" for row in ends]
        found.append(f"sizes    any, in one build; requests padded to {' and to '.join(each)} on average")
    metrics = record.metrics or {}
    if "padding" in metrics:
        flops = f", {share(metrics['padding_flops'])} of the operations" if "padding_flops" in metrics else ""
        mean = f"; the request of an item takes {number(metrics['item_latency_ms_mean'])} ms on average"
        found.append(f"padding  {share(metrics['padding'])} of the elements{flops}{mean}")
    if len(record.builds) > 1 and "loaded_mb" in metrics:
        on_disk = f"{number(metrics['artifact_mb'])} MB on disk, " if "artifact_mb" in metrics else ""
        found.append(f"builds   {len(record.builds)}: {on_disk}{number(metrics['loaded_mb'])} MB loaded in one replica")
    return found


def _told(row: Json) -> str:
    """`32: 61 % of the items, p50 12.3 ms, p99 14.1 ms; build 4.1 s, 87 MB on disk, 95 MB loaded`."""
    latency = row.get("latency_ms", {})
    words = [f"{share(row['share'])} of the items"]
    words += [f"{name} {number(latency[name])} ms" for name in ("p50", "p99") if name in latency]
    costs = {"build_seconds": "build {} s", "artifact_mb": "{} MB on disk", "memory_mb": "{} MB loaded"}
    build = [text.format(number(row[name])) for name, text in costs.items() if name in row]
    return f"{_size(row['bucket'])}: {', '.join(words)}" + (f"; {', '.join(build)}" if build else "")


def _size(size: Sequence[int]) -> str:
    return "x".join(map(str, size))

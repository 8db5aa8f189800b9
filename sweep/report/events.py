"""What happened on the way to a result: attempts, other options, neighbours, a warm-up that did not settle."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.spec import Record, Status
from sweep.spec.facts import BucketFacts
from sweep.text import axis_text, duration, number, share


def describe_events(record: Record) -> list[str]:
    """One line for each event; empty where nothing went differently than usual."""
    lines = []
    for build in record.builds:
        attempts = build.get("attempts") or ()
        names = _find_differing([build, *attempts]) if attempts else ()
        lines += [f"build    {_format_options(a, names)}: {a['failure']['summary']}" for a in attempts]
        if attempts and record.status is not Status.BUILD_FAILED:
            lines.append(f"build    {_format_options(build, names)}: used")
    for attempt in record.attempts:
        lines.append(f"attempt  {attempt.kind.value} after {attempt.seconds:.1f} s: {attempt.summary}")
    if record.binding is not None and record.binding.notable:
        lines.append(f"inputs   {record.binding.describe()}")
    if record.nature is not None:
        copied = "; each request copies its inputs first, inside its time" if record.nature.changed_inputs else ""
        lines.append(f"original {record.nature.describe()}{copied}")
    lines += describe_buckets(record)
    if (place := record.deployment) is not None:
        others = [member["label"] for number, member in enumerate(place.members) if number != place.member]
        gpus = ", ".join(map(str, place.gpus[place.member])) if place.gpus else ""
        where = f"it is on GPU {gpus}" if gpus else f"its first core is {place.first_core}"
        lines.append(f"beside   {', '.join(others)}; {where}")
    lines += _describe_rotation(record)
    if record.source is not None and record.source.mistakes:
        lines.append(f"source   {record.source.source}; known mistakes: {', '.join(record.source.mistakes)}")
    if record.reuse is not None:
        lines.append(f"reused   from sweep {record.reuse.sweep}, {duration(record.reuse.age_hours * 3600)} old")
    if record.unsteady_warmups:
        lines.append(f"warm-up  not steady in {record.unsteady_warmups} of {len(record.repeats)} repeats")
    return lines


def _describe_rotation(record: Record) -> list[str]:
    """How much of the data the requests went round, if that was a part."""
    seen = [(m.samples_rotated, m.samples_of_data, m.items) for m in record.repeats]
    parts = [(some, every) for some, every, items in seen if some and every and some < min(every, items)]
    return [f"samples  requests went round {max(parts)[0]:,} of {max(parts)[1]:,} samples"] if parts else []


def _find_differing(builds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options in which builds differ."""
    names = dict.fromkeys(name for build in builds for name in build["options"])
    return [name for name in names if len({repr(build["options"].get(name)) for build in builds}) > 1]


def _format_options(build: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(f"{name}={build['options'].get(name)}" for name in names)


def describe_buckets(record: Record) -> list[str]:
    """A trial's buckets for people, one line for each; of sizes that vary the smallest and the largest."""
    lines = [f"bucket   {_describe_bucket(bucket)}" for bucket in record.buckets]
    if groups := record.sizes:
        ends = groups[:1] if len(groups) == 1 else (groups[0], groups[-1])
        times = [f"{axis_text([group.size])} in {number(group.latency_ms_mean)} ms" for group in ends]
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


def _describe_bucket(bucket: BucketFacts) -> str:
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
    return f"{axis_text([bucket.bucket])}: {', '.join(words)}" + (f"; {', '.join(build)}" if build else "")

"""What happened on the way to a result: attempts, other options, neighbours, a warm-up that did not settle."""

from collections.abc import Mapping, Sequence
from typing import Any

from sweep.spec import Record, Status
from sweep.verdict.buckets import metrics as bucket_metrics


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
    lines += bucket_metrics.describe_buckets(record)
    if (place := record.deployment) is not None:
        others = [member["label"] for number, member in enumerate(place.members) if number != place.member]
        lines.append(f"beside   {', '.join(others)}; its first core is {place.first_core}")
    if record.unsteady_warmups:
        lines.append(f"warm-up  not steady in {record.unsteady_warmups} of {len(record.repeats)} repeats")
    return lines


def _find_differing(builds: Sequence[Mapping[str, Any]]) -> list[str]:
    """The options in which builds differ."""
    names = dict.fromkeys(name for build in builds for name in build["options"])
    return [name for name in names if len({repr(build["options"].get(name)) for build in builds}) > 1]


def _format_options(build: Mapping[str, Any], names: Sequence[str]) -> str:
    return " ".join(f"{name}={build['options'].get(name)}" for name in names)

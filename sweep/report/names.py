"""Names of trials and axes, order and groups of records: the same in every table, plot and page."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sweep.spec import REQUESTS, Record, Status
from sweep.spec.metrics import COLUMNS, Metric, find
from sweep.spec.trial import last_name
from sweep.text import axis_text, count, duration, status_text, to_single_line

AXES = ("model", "data", "hardware", "backend", "precision", "batch", "request_batch", "cores", "replicas", "buckets")
PLACES = ("python", "path", "_target_")  # settings that are long and usually follow from others
NUMBERS = ("batch", REQUESTS, "cores", "replicas", "buckets")  # axes whose values are shown with their names


def list_axes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every axis that the settings name: first ours, in our order, then those that backends declare."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in AXES if name in names] + [name for name in names if name not in AXES]


def list_columns(records: Iterable[Record]) -> list[Metric]:
    """The metrics that tables show: ours, then those that `data.metrics` asked for."""
    ours = [metric.name for metric in COLUMNS]
    own = dict.fromkeys(name for record in records for name in record.own_metrics if name not in ours)
    return [*COLUMNS, *map(find, own)]


def find_varying(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The axes in which the settings differ; empty for one trial."""
    moving = [name for name in list_axes(rows) if len({axis_text(row.get(name, "")) for row in rows}) > 1]
    moving = [name for name in moving if name != REQUESTS or not _requests_are_batches(rows)]
    short = [name for name in moving if last_name(name) not in PLACES]
    return [name for name in moving if name in short or not _follows(rows, name, short)]


def _follows(rows: Sequence[Mapping[str, Any]], name: str, others: Sequence[str]) -> bool:
    """Whether the other axes determine this one, as a backend its interpreter: then a column of it says nothing."""
    seen: dict[tuple[str, ...], str] = {}
    for row in rows:
        place = tuple(axis_text(row.get(other, "")) for other in others)
        if seen.setdefault(place, axis_text(row.get(name, ""))) != axis_text(row.get(name, "")):
            return False
    return True


def _requests_are_batches(rows: Iterable[Mapping[str, Any]]) -> bool:
    """Whether every request fills the batch that the model was built for: then its size says nothing new."""
    return all(row.get(REQUESTS) in (None, row.get("batch")) for row in rows)


def describe_common(rows: Sequence[Mapping[str, Any]]) -> str:
    """The settings that all rows share, in one line, without those that say nothing (one replica, no buckets)."""
    if not rows:
        return ""
    moving = set(find_varying(rows))
    shared = {name: rows[0][name] for name in list_axes(rows[:1]) if name not in moving}
    dull = {"replicas": 1, "buckets": []}
    words = []
    for name, value in shared.items():
        if last_name(name) in PLACES or (name == REQUESTS and _requests_are_batches(rows)):
            continue
        if name == "data" and value == shared.get("model"):
            continue
        if name in dull and value in (dull[name], ()):
            continue
        words.append(_describe_setting(name, value))
    return " · ".join(words)


def describe_scored(records: Sequence[Record]) -> str:
    """How many samples answers are judged by, like `1,500 of 50,000 samples scored`; empty if nothing was scored."""
    scores = [record.score for record in records if record.score is not None]
    if not scores:
        return ""
    fewest, most = min(score.items for score in scores), max(score.items for score in scores)
    totals = {score.of for score in scores}
    whole = "" if all(score.items == score.of for score in scores) or len(totals) > 1 else f" of {totals.pop():,}"
    return f"{fewest:,}{'' if fewest == most else f' to {most:,}'}{whole} samples scored"


def describe_score_seconds(records: Sequence[Record]) -> str:
    """How long scoring took in all; empty if nothing was scored. Trials of the same builds share a pass."""
    passes = {record.score.key: record.score.seconds for record in records if record.score is not None}
    if not passes:
        return ""
    return f"{count(len(passes), 'set')} of builds scored in {duration(sum(passes.values()))}"


def _describe_setting(name: str, value: Any) -> str:
    """One setting of such a line; groups and precisions need no name."""
    if name in NUMBERS:
        return f"{name} {axis_text(value)}"
    return str(value) if name in AXES else f"{name}={axis_text(value)}"


def short_name(settings: Mapping[str, Any], axes: Sequence[str]) -> str:
    """A trial's name by the axes that vary: `onnxruntime int8 b5 c1`."""
    prefixes = {"batch": "b", REQUESTS: "q", "cores": "c", "replicas": "r", "buckets": "k"}
    values = {name: axis_text(settings.get(name, "")).replace(" ", ",") for name in axes}
    return " ".join(prefixes.get(name, "") + value for name, value in values.items() if value)


def sort_ranked(records: Sequence[Record], ranking: Sequence[str]) -> list[Record]:
    """The ranked records; then those without a rank, by status with `ok` first, else in the order declared."""
    place = {key: position for position, key in enumerate(ranking)}
    order = [Status.OK, Status.REJECTED, Status.RUN_FAILED, Status.BUILD_FAILED, Status.STOPPED]
    order += [status for status in Status if status not in order]
    return sorted(records, key=lambda record: (place.get(record.key, len(place)), order.index(record.status)))


def count_statuses(records: Sequence[Record]) -> list[tuple[Status, int]]:
    """How many records have each status, without the statuses that none has."""
    counts = Counter(record.status for record in records)
    return [(status, counts[status]) for status in Status if counts[status]]


def describe_statuses(records: Sequence[Record]) -> str:
    """`2 rejected, 1 build failed`."""
    return ", ".join(f"{n:,} {status_text(status)}" for status, n in count_statuses(records))


def group_failures(records: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Records that are not `ok`, grouped by `describe_failure`, the largest group first."""
    groups: dict[tuple[Status, str], list[Record]] = {}
    for record in records:
        if record.status is not Status.OK:
            groups.setdefault((record.status, describe_failure(record)), []).append(record)
    return [(text, group) for (_, text), group in sorted(groups.items(), key=lambda item: -len(item[1]))]


def describe_failure(record: Record) -> str:
    """Say in one line why a trial did not end `ok`."""
    if record.failure is not None and record.status is not Status.INVALID:  # a rule has no kind
        return f"{record.failure.kind.value}: {to_single_line(record.reason or record.failure.summary)}"
    return to_single_line(record.reason) or status_text(record.status)

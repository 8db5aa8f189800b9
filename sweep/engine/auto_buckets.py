"""`buckets=auto`: measure a few shapes, find the best list for every number of buckets, measure the best of them.

Everything that is measured is an ordinary trial. First come powers of two up to the largest size, and the largest alone
(pad to maximum): what people guess, and at the same time the cost curve, since each bucket's latency is known
afterwards. From the curve and the traffic `bucketing.solve` finds the best list of k buckets for every k; the best
predicted are measured as trials, and prediction and measurement stand side by side.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from sweep import bucketing
from sweep.bucketing import Choice, Curve, Point, Traffic
from sweep.engine.context import write_json
from sweep.engine.references import Reference, sizes_of
from sweep.settings import Bucketing
from sweep.spec import AUTO, Json, Record, Status, Trial, UserError, to_json

if TYPE_CHECKING:
    from sweep.config import Job
    from sweep.engine.session import Sweep

FILE = "buckets.json"
GRID = 8  # shapes on the cost curve, at most


@dataclass(frozen=True)
class Search:
    """What was found for one trial that asked for `buckets=auto`."""

    trial: Trial
    traffic: Traffic
    curve: Curve
    choices: tuple[Choice, ...]


def run(sweep: "Sweep", jobs: Sequence["Job"]) -> list[Record]:
    """`Sweep.run` where some trials ask for `buckets=auto`: each becomes those that are worth measuring.

    The record of such a trial is that of the best predicted list that was measured.

    Raises:
        UserError: in a search, which would search within a search; or see `_traffic`.
    """
    if sweep.search:
        raise UserError("buckets=auto searches by itself: leave out hydra/sweeper=optuna, or list the buckets")
    asked = [job for job in jobs if job.trial.buckets == AUTO]
    plain = [job for job in jobs if job.trial.buckets != AUTO]
    if sweep.settings.plan == "only":
        return sweep.run([*plain, *(_with(job, ()) for job in asked)])
    traffics = {job.trial.key: _traffic(sweep, job.trial) for job in asked}
    guesses = [_with(job, buckets) for job in asked for buckets in _guesses(traffics[job.trial.key])]
    sweep.run([*plain, *guesses])
    found: dict[str, Search] = {}
    if not sweep.interrupted and sweep.settings.plan != "build":
        searches = {job.trial.key: _search(sweep, job, traffics[job.trial.key]) for job in asked}
        found = {key: search for key, search in searches.items() if search is not None}
    best = {key: _best(search.choices, sweep.settings.bucketing) for key, search in found.items()}
    wanted = [_with(job, choice.buckets) for job in asked for choice in best.get(job.trial.key, ())]
    if wanted:
        sweep.run(wanted)
        _report(sweep, list(found.values()))
    chosen = {key: choices[0].buckets for key, choices in best.items()}
    last = {key: chosen.get(key) or _guesses(traffic)[0] for key, traffic in traffics.items()}
    trials = [_with(job, last[job.trial.key]).trial if job in asked else job.trial for job in jobs]
    return [sweep.records[trial.key] for trial in trials]


def lines(folder: Path) -> list[str]:
    """The tables of a sweep's bucket lists, as text."""
    path = folder / FILE
    return [line for found in json.loads(path.read_text()) for line in _table(found)] if path.exists() else []


def _with(job: "Job", buckets: tuple[tuple[int, ...], ...]) -> "Job":
    from sweep.config import Job
    from sweep.tree import text

    own = [line for line in job.overrides if not line.startswith("buckets=")]
    lists = f"buckets={text([list(bucket) for bucket in buckets])}"
    return Job((*own, lists), replace(job.trial, buckets=tuple(buckets), overrides=(*own, lists)))


def _traffic(sweep: "Sweep", trial: Trial) -> Traffic:
    """The sizes that lists are chosen for.

    Raises:
        UserError: the model has no bucket dimension, its data cannot be loaded, or the file of traffic is wrong.
    """
    if sweep.settings.bucketing.traffic:
        return Traffic.read(sweep.settings.bucketing.traffic)
    if not trial.model.get("bucket_dims"):
        raise UserError(f"buckets=auto: model {trial.model['name']} declares no bucket dimension (model.bucket_dims)")
    reference = sweep.reference(trial)
    if not isinstance(reference, Reference):
        raise UserError(f"buckets=auto: {reference.failure.summary}")
    sizes = sizes_of(trial, reference)
    assert sizes is not None, "the model has bucket dimensions"
    return Traffic.of(sizes)


def _guesses(traffic: Traffic) -> list[tuple[tuple[int, ...], ...]]:
    """Powers of two that serve anything, and pad to maximum: the cost curve, and what to compare with."""
    powers = bucketing.powers_of_two(traffic.largest)
    used = sorted({int(number) for number in bucketing.serve(traffic, powers)})
    lists = [tuple(powers[number] for number in used[-GRID:]), bucketing.pad_to_max(traffic.largest)]
    return list(dict.fromkeys(lists))


def _search(sweep: "Sweep", job: "Job", traffic: Traffic) -> Search | None:
    """The best list for every number of buckets; None where nothing was measured, which its records say."""
    records = [sweep.records[_with(job, buckets).trial.key] for buckets in _guesses(traffic)]
    points = [point for record in records if record.status is Status.OK for point in points_of(record)]
    if not points:
        return None
    settings = sweep.settings.bucketing
    curve = Curve(points, job.trial.batch)
    choices = bucketing.solve(
        traffic,
        curve,
        settings.max,
        memory_mb=settings.memory_mb,
        build_seconds=settings.build_seconds,
        objective=settings.minimise,
    )
    return Search(job.trial, traffic, curve, choices)


def points_of(record: Record) -> list[Point]:
    """What each bucket of a measured trial cost: the mean latency of its requests over the repeats, its build."""
    points = []
    for number, build in enumerate(record.builds):
        told = [repeat.notes["buckets"][number] for repeat in record.repeats if repeat.notes.get("buckets")]
        seen = [each["latency_ms_mean"] for each in told if each.get("latency_ms_mean")]
        if seen:
            size = tuple(told[0]["bucket"])
            points.append(Point(size, mean(seen) / 1000, build.get("artifact_mb"), float(build["seconds"])))
    return points


def _best(choices: Sequence[Choice], settings: Bucketing) -> list[Choice]:
    """The best predicted, fewer buckets first among equals."""
    cost = {"mean": lambda c: c.expected_seconds, "p99": lambda c: (c.p99_seconds, c.expected_seconds)}
    return sorted(choices, key=cost[settings.minimise])[: settings.measure]


def _report(sweep: "Sweep", searches: Sequence[Search]) -> None:
    """The tables of what was predicted and what was measured, for people and programs."""
    found = [_told(search, sweep.records) for search in searches]
    write_json(sweep.folder / FILE, found)
    for told in found:
        for line in _table(told):
            sweep.display.note(line)


def _told(search: Search, records: Mapping[str, Record]) -> Json:
    rows = []
    guesses = dict(zip(_guesses(search.traffic), ("powers of two", "pad to max"), strict=False))
    lists = {choice.buckets: choice for choice in search.choices}
    for buckets in [*lists, *(guess for guess in guesses if guess not in lists)]:
        choice = lists.get(buckets) or bucketing.evaluate(search.traffic, search.curve, buckets)
        record = next((r for r in records.values() if _is(r, search.trial, buckets)), None)
        row = {**to_json(choice), "name": guesses.get(buckets, "best"), "best_for_k": buckets in lists}
        rows.append({**row, "measured": _measured(record), "key": record.key if record else None})
    points = [to_json(point) for point in search.curve.points]
    sizes = {"sizes": search.traffic.sizes.tolist(), "weights": search.traffic.weights.tolist()}
    return {"label": search.trial.label, "batch": search.trial.batch, "rows": rows, "curve": points, "traffic": sizes}


def _is(record: Record, trial: Trial, buckets: Sequence[tuple[int, ...]]) -> bool:
    return record.key == replace(trial, buckets=tuple(buckets)).key


def _measured(record: Record | None) -> Json | None:
    """Mean latency of the request that an item is in, and items per second; None where it was not measured."""
    if record is None or record.status is not Status.OK or not record.metrics:
        return None
    told = [bucket for repeat in record.repeats for bucket in repeat.notes.get("buckets", ()) if bucket["items"]]
    items = sum(bucket["items"] for bucket in told)
    latency = sum(bucket["items"] * bucket["latency_ms_mean"] for bucket in told) / items if items else None
    padding = [repeat.notes["padding"] for repeat in record.repeats if "padding" in repeat.notes]
    return {
        "request_ms_of_an_item": latency,
        "throughput_items_per_s": record.metrics["throughput_items_per_s"],
        "padding": mean(padding) if padding else None,
    }


def _table(found: Json) -> list[str]:
    """Each list with what was predicted and what was measured."""
    from sweep.report import number, share

    batch = found["batch"]
    lines = [
        f"bucket lists for {found['label']}: the latency of the request that an item is in, predicted and measured"
    ]
    head = ("k", "buckets", "predicted", "measured", "differs", "p99", "padding", "build s", "items/s")
    rows = [head]
    for row in sorted(found["rows"], key=lambda row: (row["k"], not row["best_for_k"])):
        measured = row["measured"] or {}
        predicted, seen = row["expected_seconds"] * 1000 * batch, measured.get("request_ms_of_an_item")
        differs = f"{seen / predicted - 1:+.1%}" if seen else ""
        name = " ".join("x".join(map(str, bucket)) for bucket in row["buckets"])
        mark = "*" if row["best_for_k"] else ""
        rows.append(
            (
                f"{row['k']}{mark}",
                name if row["name"] == "best" else f"{name} ({row['name']})",
                f"{number(predicted)} ms",
                f"{number(seen)} ms" if seen else "",
                differs,
                f"{number(row['p99_seconds'] * 1000)} ms",
                share(row["waste"]),
                number(row["build_seconds"]),
                number(measured.get("throughput_items_per_s")) if measured else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        lines.append("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return lines

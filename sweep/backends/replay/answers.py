"""Builds and measurements that are read from a row of a table instead of being made: what runs in a replay's workers.

No real time is spent: requests have a clock of their own that begins at 0. Their latencies are drawn from what the row
says of the distribution (`Quantiles`), the same ones for the same row, request size and repeat. Such repeats are draws
from what is claimed: they show what a sweep does with such results, and are no evidence for them.

Worker side, Python 3.8; the parent asks it what a row claims.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep import files
from sweep.backends.replay.tables import Row, row_of
from sweep.isolate import failures
from sweep.spec import (
    BuildInfo,
    FailureKind,
    Json,
    Measurement,
    Status,
    TrialError,
    digest,
    from_json,
)
from sweep.spec.facts import Timing
from sweep.spec.metrics import QUANTILES
from sweep.spec.requests import BuildRequest, MeasureRequest

KNOWN = (("min", 0.0), *((label, percent / 100) for label, percent in QUANTILES.items()), ("max", 1.0))
REQUESTS = 20000  # at most, in one repeat
BENDS = (0.1, 10.0)  # of the line between two known points, where a mean is to be met
FELL_BACK = 0.5  # a failed build of which less than this share is on the device returned a program that runs elsewhere
DRAWS = "repeats are draws from what was reported, not evidence"


class Quantiles:
    """The quantile function of a latency through the values that are known, in ms.

    Between two known points it follows q0 * (q1 / q0) ** (t ** bend), t from 0 to 1: a straight line on a logarithmic
    scale for bend 1. Where the mean is known too, the bend is the one that gives it, as nearly as BENDS allow. Outside
    of what is known it is flat: nothing is made up beyond the smallest and the largest value that were reported.
    """

    def __init__(self, points: Sequence[Tuple[float, float]], mean: Optional[float] = None) -> None:
        self._at = np.array([at for at, _ in points])
        self._values = np.maximum.accumulate(np.array([value for _, value in points]))
        self._bend = 1.0
        self._grid = (np.arange(4000) + 0.5) / 4000
        if mean is not None:
            low, high = BENDS
            for _ in range(40):
                self._bend = float(np.sqrt(low * high))
                low, high = (self._bend, high) if self.mean > mean else (low, self._bend)

    @property
    def mean(self) -> float:
        return float(self(self._grid).mean())

    def __call__(self, shares: np.ndarray) -> np.ndarray:
        """Latency in ms below which this share of the requests stays."""
        place = np.clip(np.searchsorted(self._at, shares, side="right") - 1, 0, len(self._at) - 2)
        begin, end = self._at[place], self._at[place + 1]
        way = np.clip((shares - begin) / (end - begin), 0.0, 1.0) ** self._bend
        low, high = np.maximum(self._values[place], 1e-9), np.maximum(self._values[place + 1], 1e-9)
        return np.asarray(low * (high / low) ** way)


class Claim(NamedTuple):
    """What a row says about a run, with what follows from it by Little's law. None: not known."""

    items: Optional[int]  # in one request
    rate: Optional[float]  # items/s
    mean_ms: Optional[float]
    in_flight: Optional[float]  # requests at the same time
    points: Tuple[Tuple[float, float], ...]  # (share of the requests, ms)
    notes: Tuple[str, ...]  # what was derived, and what could not be

    @property
    def drawable(self) -> bool:
        """Whether requests can be drawn: two points of the distribution at least, and how they follow each other."""
        return len(self.points) > 1 and None not in (self.items, self.rate, self.mean_ms, self.in_flight)


def claim(row: Row) -> Claim:
    """What is claimed, and by Little's law what goes with it: requests in flight = requests/s x mean latency."""
    values = ((share, getattr(row, "latency_ms_" + name)) for name, share in KNOWN)
    points = tuple((share, value) for share, value in values if value is not None)
    notes: List[str] = []
    mean, rate, lanes, items = row.latency_ms_mean, row.throughput_items_per_s, row.in_flight, row.request_batch
    if mean is None and points:
        mean = Quantiles(points).mean if len(points) > 1 else row.latency_ms_p50
    law = "by Little's law"
    if items and rate and mean and not lanes:
        lanes = rate / items * mean / 1000.0
        notes.append("requests in flight are not stated: %.3g %s" % (lanes, law))
    elif items and lanes and mean and not rate:
        rate = lanes * items * 1000.0 / mean
        notes.append("only latencies are reported: %.4g items/s %s with %g requests in flight" % (rate, law, lanes))
    elif items and lanes and rate and not mean:
        mean = lanes * items * 1000.0 / rate
        notes.append("only a throughput is reported: mean latency %.4g ms %s with %g in flight" % (mean, law, lanes))
    elif (rate or mean) and not (rate and mean):
        missing, known = ("latency", "throughput") if rate else ("throughput", "latency")
        lacking = "the requests in flight are" if items else "the items of a request are"
        notes.append("only a %s is reported, and %s not stated: no %s can be derived" % (known, lacking, missing))
    elif not (rate or mean):
        notes.append("the row has no timing: nothing to measure")
    if (rate or mean) and len(points) < 2:
        notes.append("no distribution is reported: no samples, no repeats")
    return Claim(items, rate, mean, lanes, points, tuple(notes))


def row_from(value: Json) -> Row:
    """The row of `Row.to_json`, without its line."""
    return from_json(Row, {"line": 0, **value})


def build(request: Json, folder: Path) -> BuildInfo:
    """Answer a `BuildRequest` as the row says; the artifact is the row."""
    wanted = from_json(BuildRequest, request)
    spec = wanted.spec
    row = row_from(row_of(spec))
    _note_versions(folder, row)
    _print(row)
    if row.status is Status.BUILD_FAILED:
        raise TrialError(*_why(row))
    (Path(wanted.artifact) / "row.json").write_text(json.dumps(row_of(spec), indent=1))
    placement = 1.0 if row.placement is None else row.placement
    versions = {"reported": row.versions} if row.versions else {}
    notes = {"replayed": True, "table": spec.options.get("found_in"), "source": row.source}
    return BuildInfo(row.precision or spec.precision, placement, versions, notes)


def measure(request: Json, folder: Path) -> Measurement:
    """Answer a `MeasureRequest` as the row says. Leaves samples.npz, and no outputs."""
    wanted = from_json(MeasureRequest, request)
    row = row_from(row_of(wanted.builds[0].spec))
    _note_versions(folder, row)
    if row.status is Status.RUN_FAILED:
        _print(row)
        raise TrialError(*_why(row))
    said = claim(row)
    if not (said.items and said.rate and said.mean_ms and said.in_flight):
        raise TrialError(FailureKind.UNKNOWN, "nothing can be drawn: %s" % "; ".join(said.notes))
    function = Quantiles(said.points, row.latency_ms_mean)
    count = int(min(max(wanted.effort.window_seconds * said.rate / said.items, wanted.effort.min_requests), REQUESTS))
    seed = int(digest([row.to_json(), wanted.repeat])[:8], 16)
    latency = function(np.random.RandomState(seed).random_sample(count))
    lanes = max(1, round(said.in_flight))
    stretch = lanes * said.items * 1000.0 / said.rate / function.mean  # of a lane's time between two starts
    _save(folder / "samples.npz", latency, lanes, stretch)
    rate = said.rate * function.mean / float(latency.mean())
    quantiles = dict(zip(QUANTILES, np.percentile(latency, list(QUANTILES.values())).tolist()))
    items = count * said.items
    timing = Timing(rate, items / rate, count, items, float(latency.mean()), said.in_flight)
    repeat = Measurement.of(wanted.repeat, timing, {**quantiles, "max": float(latency.max())}, folder)
    return replace(repeat, first_request_ms=row.first_request_ms or 0.0, notes={"replayed": DRAWS})


def _save(path: Path, latency: np.ndarray, lanes: int, stretch: float) -> None:
    """Requests in turn over the lanes, each lane on the clock of the replay."""
    lane = np.arange(len(latency)) % lanes
    starts = np.zeros(len(latency))
    for number in range(lanes):
        mine = lane == number
        starts[mine] = np.concatenate([[0.0], np.cumsum(latency[mine] * stretch)[:-1]])
    begin = (starts * 1e6).astype(np.int64)
    end = begin + np.maximum(1, np.round(latency * 1e6)).astype(np.int64)
    files.save_arrays(path, {"start_ns": begin, "end_ns": end, "replica": lane})


def _why(row: Row) -> Tuple[FailureKind, str]:
    """Kind and line of a reported failure: as it would be classified if it happened here."""
    reason = row.reason or "failed, and no reason was reported"
    if row.status is Status.BUILD_FAILED and row.placement is not None and row.placement < FELL_BACK:
        return FailureKind.PARTIAL_PLACEMENT, "%.0f %% of the operators run on the target: %s" % (
            100 * row.placement,
            reason,
        )
    told = failures.classify(None, _lines(row))[0]
    return row.failure_kind or told, reason


def _lines(row: Row) -> str:
    return "\n".join((row.log or row.reason or "").split(" | "))


def _print(row: Row) -> None:
    print("replayed: %s reported this, nothing is run" % row.source)
    if row.log or row.reason:
        print(_lines(row), flush=True)


def _note_versions(folder: Path, row: Row) -> None:
    if row.versions:
        (folder / "versions.json").write_text(json.dumps({"reported": row.versions}))

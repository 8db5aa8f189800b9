"""What a row of a table answers: a build and a failed run in a replay's workers, numbers in the parent.

Nothing is timed. A row with numbers needs no worker to run it: the record has the numbers of the row. Worker side,
Python 3.8.
"""

import json
from pathlib import Path
from typing import List, NamedTuple, NoReturn, Optional, Tuple

from sweep.backends.replay.tables import Row, read_row
from sweep.isolate import failures
from sweep.spec import BuildInfo, FailureKind, Json, Status, TrialError, from_json
from sweep.spec.requests import BuildRequest, MeasureRequest

FELL_BACK = 0.5  # a failed build of which less than this share is on the device returned a program that runs elsewhere


class Claim(NamedTuple):
    """What a row says about the speed of a run, with what follows from it by Little's law. None: not known."""

    rate: Optional[float]  # items/s
    mean_ms: Optional[float]
    notes: Tuple[str, ...]  # what was derived, and what could not be


def derive_claim(row: Row) -> Claim:
    """Complete what a row states by Little's law: requests in flight = requests/s x latency, the mean or the median."""
    rate, mean, lanes, items = row.throughput_items_per_s, row.latency_ms_mean, row.in_flight, row.request_batch
    latency = mean or row.latency_ms_p50
    notes: List[str] = []
    law = "by Little's law"
    if items and rate and latency and not lanes:
        notes.append("requests in flight are not stated: %.3g %s" % (rate / items * latency / 1000.0, law))
    elif items and lanes and latency and not rate:
        rate = lanes * items * 1000.0 / latency
        notes.append("only latencies are reported: %.4g items/s %s with %g requests in flight" % (rate, law, lanes))
    elif items and lanes and rate and not latency:
        mean = lanes * items * 1000.0 / rate
        notes.append("only a throughput is reported: mean latency %.4g ms %s with %g in flight" % (mean, law, lanes))
    elif not (rate or latency):
        notes.append("the row has no timing: nothing to measure")
    elif not (rate and latency):
        known, missing = ("throughput", "latency") if rate else ("latency", "throughput")
        lacking = "the requests in flight are" if items else "the items of a request are"
        notes.append("only a %s is reported, and %s not stated: no %s can be derived" % (known, lacking, missing))
    return Claim(rate, mean, tuple(notes))


def build(request: Json, folder: Path) -> BuildInfo:
    """Answer a `BuildRequest` as the row says; the artifact is the row."""
    task = from_json(BuildRequest, request)
    row = read_row(task.spec)
    _announce(row, folder)
    if row.status is Status.BUILD_FAILED:
        raise TrialError(*_classify(row))
    (Path(task.artifact) / "row.json").write_text(json.dumps(row.to_json(), indent=1))
    placement = 1.0 if row.placement is None else row.placement
    versions = {"reported": row.versions} if row.versions else {}
    notes = {"replayed": True, "table": task.spec.options.get("found_in"), "source": row.source}
    return BuildInfo(row.precision or task.spec.precision, placement, versions, notes)


def measure(request: Json, folder: Path) -> NoReturn:
    """Answer a `MeasureRequest` of a row that reports a failed run: fail in the same way."""
    row = read_row(from_json(MeasureRequest, request).builds[0].spec)
    _announce(row, folder)
    raise TrialError(*_classify(row))


def _classify(row: Row) -> Tuple[FailureKind, str]:
    """Kind and line of a reported failure: as it would be classified if it happened here."""
    reason = row.reason or "failed, and no reason was reported"
    if row.status is Status.BUILD_FAILED and row.placement is not None and row.placement < FELL_BACK:
        summary = "%.0f %% of the operators run on the target: %s" % (100 * row.placement, reason)
        return FailureKind.PARTIAL_PLACEMENT, summary
    return row.failure_kind or failures.classify(None, _format_log(row))[0], reason


def _format_log(row: Row) -> str:
    return "\n".join((row.log or row.reason or "").split(" | "))


def _announce(row: Row, folder: Path) -> None:
    """Print what the row's tool printed, and leave its versions where those of a failed worker are read."""
    print("replayed: %s reported this, nothing is run\n%s" % (row.source, _format_log(row)), flush=True)
    if row.versions:
        (folder / "versions.json").write_text(json.dumps({"reported": row.versions}))

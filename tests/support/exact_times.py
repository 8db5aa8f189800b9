"""Times as on a machine that does nothing else, for sweeps on one that does: what is tested is what becomes of them."""

from dataclasses import replace

import pytest

from sweep.backends.fake import Fake
from sweep.engine import repeats
from sweep.spec import BuildSpec, Json, Measurement, Outcome, Placement, Trial

EFFORT = ["effort.window_seconds=0.1", "effort.min_requests=60"]  # every bucket is hit, however little CPU there is


def of_fake_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of every bucket took what the fake device was asked to take, not longer.

    Only lists of buckets, one request at a time, in this process: which requests there were is as it was measured.
    """
    real = repeats._measurement

    def measured(trial: Trial, repeat: int, outcome: Outcome, own: str) -> Measurement:
        made = real(trial, repeat, outcome, own)
        told = [_bucket(trial, each) for each in made.notes["buckets"]]
        took = sum(each["requests"] * each["latency_ms_mean"] for each in told if each["requests"])
        return replace(
            made,
            throughput_items_per_s=1000.0 * made.items / took,
            latency_ms_mean=took / made.requests,
            window_seconds=took / 1000.0,
            notes={**made.notes, "buckets": told},
        )

    monkeypatch.setattr(repeats, "_measurement", measured)


def _bucket(trial: Trial, told: Json) -> Json:
    options, bucket = trial.backend["options"], tuple(told["bucket"])
    spec = BuildSpec({}, {}, "fake", {}, trial.precision, trial.batch, bucket)
    milliseconds = 1000.0 * Fake(options)._seconds(spec, Placement())
    if not told["requests"]:
        return told
    return {**told, "latency_ms_mean": milliseconds, "latency_ms": dict.fromkeys(told["latency_ms"], milliseconds)}

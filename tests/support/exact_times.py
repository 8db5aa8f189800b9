"""Times as on a machine that does nothing else, for sweeps on one that does: what is tested is what becomes of them."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from sweep.backends.fake import Fake
from sweep.engine import repeats, tasks
from sweep.spec import BuildSpec, Measurement, Outcome, Placement, Trial
from sweep.spec.facts import BucketFacts

EFFORT = ["effort.window_seconds=0.1", "effort.min_requests=60"]  # every bucket is hit, however little CPU there is


def of_fake_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request of every bucket took what the fake device was asked to take, not longer.

    Only lists of buckets, one request at a time, in this process: which requests there were is as it was measured.
    """
    real = repeats._measurements

    def measured(together: Sequence[tasks.Candidate], outcome: Outcome) -> list[Measurement]:
        (made,) = real(together, outcome)
        buckets = tuple(_bucket(together[0].trial, bucket) for bucket in made.buckets)
        took = sum(bucket.requests * (bucket.latency_ms_mean or 0.0) for bucket in buckets)
        exact = replace(
            made,
            throughput_items_per_s=1000.0 * made.items / took,
            latency_ms_mean=took / made.requests,
            window_seconds=took / 1000.0,
            buckets=buckets,
        )
        return [exact]

    monkeypatch.setattr(repeats, "_measurements", measured)


def _bucket(trial: Trial, facts: BucketFacts) -> BucketFacts:
    spec = BuildSpec({}, {}, "fake", {}, trial.precision, trial.batch, facts.bucket)
    milliseconds = 1000.0 * Fake(trial.backend["options"])._seconds(spec, Placement())
    if not facts.requests:
        return facts
    return replace(facts, latency_ms_mean=milliseconds, latency_ms=dict.fromkeys(facts.latency_ms, milliseconds))

"""The words of the project as frozen values, and their JSON. Imports nothing of ours; runs on Python 3.8."""

from sweep.spec.codec import Json, canonical, digest, from_json, to_json
from sweep.spec.errors import TrialError, UserError, meant, nearest, no_key
from sweep.spec.failure import Failure, FailureKind
from sweep.spec.record import BuildInfo, Measurement, Measurements, Origin, Outcome, Record, Status, StopReason
from sweep.spec.trial import AUTO, DYNAMIC, LARGEST, REQUESTS, Buckets, BuildSpec, Placement, Trial

__all__ = [
    "AUTO",
    "DYNAMIC",
    "LARGEST",
    "REQUESTS",
    "Buckets",
    "BuildInfo",
    "BuildSpec",
    "Failure",
    "FailureKind",
    "Json",
    "Measurement",
    "Measurements",
    "Origin",
    "Outcome",
    "Placement",
    "Record",
    "Status",
    "StopReason",
    "Trial",
    "TrialError",
    "UserError",
    "canonical",
    "digest",
    "from_json",
    "meant",
    "nearest",
    "no_key",
    "to_json",
]

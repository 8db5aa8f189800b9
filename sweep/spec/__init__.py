"""The words of the project as frozen values, and their JSON. Imports nothing of ours; Python 3.8."""

from sweep.spec.codec import Json, canonical, digest, from_json, to_json
from sweep.spec.errors import TrialError, UserError, meant, nearest, no_key
from sweep.spec.failure import Failure, FailureKind
from sweep.spec.record import BuildInfo, Measurement, Outcome, Record, Status, metrics_of, number
from sweep.spec.trial import AUTO, DYNAMIC, LARGEST, REQUESTS, Buckets, BuildSpec, Placement, Trial

__all__ = [
    "AUTO",
    "Buckets",
    "BuildInfo",
    "BuildSpec",
    "DYNAMIC",
    "Failure",
    "FailureKind",
    "Json",
    "LARGEST",
    "Measurement",
    "Outcome",
    "Placement",
    "REQUESTS",
    "Record",
    "Status",
    "Trial",
    "TrialError",
    "UserError",
    "canonical",
    "digest",
    "from_json",
    "meant",
    "metrics_of",
    "nearest",
    "no_key",
    "number",
    "to_json",
]

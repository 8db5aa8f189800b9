"""What came out: of a build, of a worker, of a repeat, of a trial."""

import enum
import functools
import math
from dataclasses import dataclass, field
from typing import Any, List, Mapping, Optional, Tuple

from sweep.spec import metrics
from sweep.spec.codec import Json
from sweep.spec.failure import Failure


class Status(str, enum.Enum):
    """Every declared trial ends in exactly one of these."""

    OK = "ok"
    INVALID = "invalid"  # a rule says that it cannot work
    UNAVAILABLE = "unavailable"  # the backend or the hardware is not here
    BUILD_FAILED = "build_failed"
    RUN_FAILED = "run_failed"
    REJECTED = "rejected"  # it ran, but its numbers or its answers cannot be believed
    STOPPED = "stopped"  # dominated, budget spent, interrupted


@dataclass(frozen=True)
class BuildInfo:
    """What a build reports about itself. `precision` is read back from what was built, not copied from the request."""

    precision: str
    placement: float = 1.0  # share of the operators that run on the target
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """How one worker ended: a result, or a failure, never both."""

    result: Optional[Json]
    failure: Optional[Failure]
    log: str  # path of the captured output
    seconds: float  # wall time from start to exit
    peak_memory_mb: float = 0.0  # largest resident set of the whole process tree that was seen
    user_error: bool = False  # the failure is a UserError of the worker: the input is at fault
    cpu_seconds: Optional[float] = None  # CPU time of the whole process tree

    @property
    def ok(self) -> bool:
        return self.failure is None


@dataclass(frozen=True)
class Measurement:
    """One repeat of one trial: a fresh process, or one per replica, and one common window."""

    index: int
    throughput_items_per_s: float
    window_seconds: float
    requests: int
    items: int
    latency_ms_mean: float
    latency_ms: Mapping[str, float]  # "p50", "p90", "p95", "p99", "max": percentiles of this repeat's requests
    load_seconds: float
    first_request_ms: float
    warmup: Mapping[str, Any]  # {"requests", "seconds", "stable"}
    peak_memory_mb: float
    in_flight: float  # replicas x concurrency, for Little's law
    samples: str  # .npz with start_ns and end_ns of every request, per replica
    outputs: str  # .npz with the outputs of the timed run: index[n] and output_0[n, ...], ...
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capacity_items_per_s(self) -> Optional[float]:
        """The highest rate that met the service level, where it was looked for."""
        value = (self.notes.get("capacity") or {}).get("items_per_s")
        return float(value) if isinstance(value, (int, float)) else None

    def number(self, metric: str) -> Optional[float]:
        """A metric of this repeat; None where repeats do not have it."""
        known = metrics.find(metric)
        value = self.latency_ms.get(known.label) if known.pooled is metrics.Pooled.REQUESTS else None
        value = getattr(self, metric, None) if value is None else value
        return float(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True)
class Record:
    """How one trial ended: what a person, the ledger and the tracker are told about it."""

    key: str
    label: str
    settings: Mapping[str, Any]
    overrides: Tuple[str, ...]
    status: Status
    reason: str = ""  # one line for every status but ok
    origin: str = "measured"  # measured | reused | reported | replayed
    failure: Optional[Failure] = None
    metrics: Optional[Mapping[str, float]] = None
    agreement: Optional[Mapping[str, Any]] = None
    repeats: Tuple[Measurement, ...] = ()
    builds: Tuple[Mapping[str, Any], ...] = ()  # {"key", "seconds", "reused", "folder", "precision", "versions"}
    identity: str = ""  # trial, builds' content, host type and code: equal means comparable
    sweep: str = ""
    started: float = 0.0  # seconds since the epoch
    seconds: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    load: Mapping[str, Any] = field(default_factory=dict)  # the trial's; `settings` name what is not usual of it

    @functools.cached_property
    def numbers(self) -> Mapping[str, float]:
        """Every number that is known of the trial, by its full name; what is not finite is not known.

        Those of its answers and the seconds of its builds are among them, also where it failed later.
        """
        known: Json = dict(self.metrics or {})
        seconds: List[Any] = [build.get("seconds") for build in self.builds]
        if seconds and None not in seconds:
            known.setdefault("build_seconds", sum(map(float, seconds)))
        for name in metrics.OF_ANSWERS:
            known.setdefault(name, (self.agreement or {}).get(name))
        return {
            name: float(value)
            for name, value in known.items()
            if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        }

    def number(self, metric: str) -> Optional[float]:
        """A number of the trial, or what follows from two of them; None where it is not known."""
        if metric == metrics.ACCURACY_DROP:
            before, after = self.number("reference_accuracy"), self.number("accuracy")
            return None if before is None or after is None else before - after
        return self.numbers.get(metric)

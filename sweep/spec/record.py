"""Results: of a build, a worker, a repeat and a trial."""

import enum
import functools
import math
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, List, Mapping, Optional, Tuple

from sweep.spec import metrics
from sweep.spec.codec import Json
from sweep.spec.facts import (
    BindingFacts,
    BucketFacts,
    CapacityFacts,
    DeploymentFacts,
    FreshFacts,
    HostFacts,
    LadderFacts,
    LoadFacts,
    NatureFacts,
    Price,
    ProcessFacts,
    ReuseFacts,
    ScoreFacts,
    SizeFacts,
    SourceFacts,
    Timing,
    WitnessFacts,
)
from sweep.spec.failure import Failure


class Status(str, enum.Enum):
    """Every declared trial ends in exactly one of these."""

    OK = "ok"
    INVALID = "invalid"  # a rule says that it cannot work
    UNAVAILABLE = "unavailable"  # the backend or the hardware is not here
    BUILD_FAILED = "build_failed"
    RUN_FAILED = "run_failed"
    REJECTED = "rejected"  # it ran, but its numbers or its answers cannot be believed
    STOPPED = "stopped"  # dominated, budget spent, interrupted: see `StopReason`

    @property
    def was_tried(self) -> bool:
        """It was allowed to begin."""
        return self not in (Status.INVALID, Status.UNAVAILABLE)

    @property
    def was_run(self) -> bool:
        """It was measured to its end, whether or not the numbers are believed."""
        return self in (Status.OK, Status.REJECTED)

    @property
    def is_failure(self) -> bool:
        """It was tried and gave nothing that can be used."""
        return self in (Status.BUILD_FAILED, Status.RUN_FAILED, Status.REJECTED)

    @property
    def is_finished(self) -> bool:
        """Nobody stopped it, so the same trial would end like this again."""
        return self is not Status.STOPPED


class StopReason(str, enum.Enum):
    """Why a trial with the status `stopped` was stopped."""

    DOMINATED = "dominated"  # surely worse than another trial
    INFEASIBLE = "infeasible"  # it surely misses a constraint
    BUDGET = "budget"  # the budget of time was spent before its turn came
    INTERRUPTED = "interrupted"  # somebody stopped the sweep
    BUILT = "built"  # it was to be built only
    INCOMPLETE = "incomplete"  # another member of its deployment cannot run
    PREEMPTED = "preempted"  # its worker was stopped from outside
    UNFINISHED = "unfinished"  # the sweep was killed, or is still running

    @property
    def is_elimination(self) -> bool:
        """A race left it out; what it measured until then is kept."""
        return self in (StopReason.DOMINATED, StopReason.INFEASIBLE)


class Origin(str, enum.Enum):
    """Where the numbers of a record come from."""

    MEASURED = "measured"
    REUSED = "reused"  # measured by an earlier sweep
    REPORTED = "reported"  # imported from a table
    REPLAYED = "replayed"  # a table answered in the place of a device

    @property
    def is_evidence(self) -> bool:
        """We measured the numbers. Those of a table have no samples."""
        return self in (Origin.MEASURED, Origin.REUSED)


@dataclass(frozen=True)
class BuildInfo:
    """What a build reports about itself. `precision` is read back from the artifact, not copied from the request."""

    precision: str
    placement: float = 1.0  # share of the operators that run on the target
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)  # what a backend has to say to people
    fallback: str = ""  # why operators run elsewhere, where the compiler says it
    left_behind: Tuple[str, ...] = ()  # processes that the compiler did not end


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
    left_behind: Tuple[str, ...] = ()  # processes that it did not end, which were killed
    host: HostFacts = field(default_factory=HostFacts)  # what the machine was like meanwhile, where somebody looked


@dataclass(frozen=True)
class Measurement:
    """One repeat of one trial: a fresh process for each replica, and one window for all."""

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
    outputs: str  # .npz with outputs of the window: index[n] and output_0[n, ...], ...
    notes: Mapping[str, Any] = field(default_factory=dict)  # what a backend has to say to people
    precision: str = ""  # that ran, read back
    device_memory_mb: float = 0.0
    work_ratio: Optional[float] = None  # time of twice the requests, where the device runs on its own
    wall_seconds: Optional[float] = None  # of the worker, from start to exit
    level: float = 1.0  # speed of the machine, relative to its usual one
    loaded_mb: Optional[float] = None  # that loading all builds of one replica took
    padding: Optional[float] = None  # share of the elements that were computed
    padding_flops: Optional[float] = None  # likewise of the operations
    buckets: Tuple[BucketFacts, ...] = ()
    sizes: Tuple[SizeFacts, ...] = ()  # where one build takes any size
    load: Optional[LoadFacts] = None  # where items arrive by themselves
    capacity: Optional[CapacityFacts] = None
    host: HostFacts = field(default_factory=HostFacts)
    samples_rotated: Optional[int] = None  # distinct ones in the requests of the window
    samples_of_data: Optional[int] = None
    own_seconds: Optional[float] = None  # of the worker by its own clock, from its request to its result
    cpu_seconds: Optional[float] = None  # of the worker and all that it started, where it measures one trial
    witnesses: Tuple[WitnessFacts, ...] = ()  # of each replica
    fresh: Optional[FreshFacts] = None
    process: Optional[ProcessFacts] = None  # of the first replica

    @staticmethod
    def of(index: int, timing: Timing, latency_ms: Mapping[str, float], folder: Path) -> "Measurement":
        """A repeat with its timing alone: no loading, no warm-up. Its arrays lie in `folder`."""
        return Measurement(
            index=index,
            **vars(timing),
            latency_ms=latency_ms,
            load_seconds=0.0,
            first_request_ms=0.0,
            warmup={"requests": 0, "seconds": 0.0, "stable": True},
            peak_memory_mb=0.0,
            samples=str(folder / "samples.npz"),
            outputs=str(folder / "outputs.npz"),
        )

    @property
    def timing(self) -> Timing:
        return Timing(**{part.name: getattr(self, part.name) for part in fields(Timing)})

    @property
    def capacity_items_per_s(self) -> Optional[float]:
        """The highest rate that met the service level, where it was looked for."""
        return self.capacity.items_per_s if self.capacity else None

    def number(self, metric: str) -> Optional[float]:
        """A metric of this repeat; None where repeats do not have it."""
        known = metrics.find(metric)
        value = self.latency_ms.get(known.label) if known.pooled is metrics.Pooled.REQUESTS else None
        value = getattr(self, metric, None) if value is None else value
        return float(value) if isinstance(value, (int, float)) else None


@dataclass(frozen=True)
class Measurements:
    """One repeat of each of several trials that were measured side by side."""

    members: Tuple[Measurement, ...]


@dataclass(frozen=True)
class Record:
    """How one trial ended, for people, the ledger and the tracker."""

    key: str
    label: str
    settings: Mapping[str, Any]
    overrides: Tuple[str, ...]
    status: Status
    reason: str = ""  # one line for every status but ok
    origin: Origin = Origin.MEASURED
    failure: Optional[Failure] = None
    metrics: Optional[Mapping[str, float]] = None
    agreement: Optional[Mapping[str, Any]] = None
    repeats: Tuple[Measurement, ...] = ()
    builds: Tuple[Mapping[str, Any], ...] = ()  # {"key", "seconds", "reused", "folder", "precision", "versions"}
    identity: str = ""  # trial, builds' content, host type and code: equal means comparable
    sweep: str = ""
    started: float = 0.0  # seconds since the epoch
    seconds: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)  # for people
    load: Mapping[str, Any] = field(default_factory=dict)  # the trial's; `settings` name what is not usual of it
    process: Mapping[str, str] = field(default_factory=dict)  # the trial's, what is not the default
    attempts: Tuple[Failure, ...] = ()  # transient failures of repeats that were tried again
    ladder: Tuple[LadderFacts, ...] = ()
    buckets: Tuple[BucketFacts, ...] = ()  # over all repeats
    sizes: Tuple[SizeFacts, ...] = ()  # over all repeats
    deployment: Optional[DeploymentFacts] = None
    binding: Optional[BindingFacts] = None
    score: Optional[ScoreFacts] = None  # None in what earlier versions stored: outputs of windows were compared
    nature: Optional[NatureFacts] = None  # of the original model, where it does anything that is told of
    price: Optional[Price] = None  # that the cost comes from
    source: Optional[SourceFacts] = None  # of what somebody else reported
    reuse: Optional[ReuseFacts] = None
    measured_together: Optional[float] = None  # start of the repeats that were interleaved with these; same clock
    measured_before: int = 0  # how often it was measured in this sweep before
    look: int = 0  # of a race at which it was judged last, from 1; 0: there was none
    stop: Optional[StopReason] = None  # for the status `stopped`: `reason` as a value
    dominated_by: Optional[str] = None  # key of the trial that a race found surely better
    min_requests: int = 0  # in all repeats, before it can be chosen: `effort.min_requests` when it was measured
    machine: str = ""  # on which it was measured, in words: equal for machines of one type

    @property
    def unsteady_warmups(self) -> int:
        """Repeats whose latency had not settled when their window began."""
        return sum(not repeat.warmup.get("stable", True) for repeat in self.repeats)

    @staticmethod
    def from_earlier_version(value: Json) -> Json:
        return _group_notes(_add_stop(value))

    @functools.cached_property
    def numbers(self) -> Mapping[str, float]:
        """Every finite number that is known of the trial, by its full name.

        A trial that failed has the numbers of its answers and the seconds of its builds too.
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

    @property
    def own_metrics(self) -> Tuple[str, ...]:
        """Names of the numbers that `data.metrics` asked for, without the package of a function."""
        values = ((self.agreement or {}).get("metrics") or {}).get("build") or {}
        return tuple(name.rpartition(".")[2] for name in values)

    def number(self, metric: str) -> Optional[float]:
        """A number of the trial, also one that follows from two others; None if it is not known."""
        if metric == metrics.ACCURACY_DROP:
            before, after = self.number("reference_accuracy"), self.number("accuracy")
            return None if before is None or after is None else before - after
        return self.numbers.get(metric)


# How the reasons of stopped trials began in records without `stop`
_EARLIER_REASONS = (
    ("budget spent", StopReason.BUDGET),
    ("interrupted", StopReason.INTERRUPTED),
    ("built", StopReason.BUILT),
    ("its deployment is not whole", StopReason.INCOMPLETE),
)


def _add_stop(value: Json) -> Json:
    """The JSON of a record with `stop`, which earlier versions wrote as text only."""
    if value["status"] != Status.STOPPED.value or value.get("stop"):
        return value
    eliminated = ((value.get("notes") or {}).get("stopped") or {}).get("why")
    text = value.get("reason") or ""
    stop = eliminated or next((stop.value for start, stop in _EARLIER_REASONS if text.startswith(start)), None)
    return {**value, "stop": stop or StopReason.PREEMPTED.value}


def _group_notes(value: Json) -> Json:
    """The JSON of a record whose notes name facts as its fields do; earlier versions wrote some of them in parts."""
    notes = dict(value.get("notes") or {})
    if isinstance(notes.get("source"), str):
        names = ("source", "date", "mistakes", "table", "row")
        notes["source"] = {name: notes.pop(name) for name in names if name in notes}
    if isinstance(notes.get("stopped"), Mapping):
        notes["dominated_by"] = notes.pop("stopped").get("by")
    if "reused_from" in notes:
        parts = {name: notes.pop(name) for name in ("age_hours", "run") if name in notes}
        notes["reuse"] = {"sweep": notes.pop("reused_from"), **parts}
    return {**value, "notes": notes}

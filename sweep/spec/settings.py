"""What a person decides once a sweep, not once a trial: effort, objective, limits, gates, where things go."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Optional, Set, Tuple

from sweep.spec import metrics
from sweep.spec.codec import Json, from_json, to_json
from sweep.spec.metrics import Limit, Side

_BOUNDS = {f"{metric.name}_{side.value}": (metric, side) for metric in metrics.METRICS for side in Side}
PRICES = ("on_demand", "reserved", "spot")


@dataclass(frozen=True)
class Effort:
    """How much is measured. `conf/effort/*.yaml`."""

    name: str
    repeats: int  # fresh processes per trial
    window_seconds: float  # the timed window of one repeat
    min_requests: int  # a window is stretched until it holds this many, up to three times its length
    warmup_seconds: float  # at least this long before the steadiness test may pass
    warmup_seconds_max: float  # give up waiting for steadiness, and say so in the notes
    repeats_max: Optional[int] = None  # None: exactly `repeats`; else more where the verdict is open, up to this many
    budget_seconds: Optional[float] = None  # of the whole sweep, builds included; None: no limit
    control_every_seconds: float = 60.0  # the control trial is measured again after this long; 0: never


@dataclass(frozen=True)
class Objective:
    """What is best, and what is not acceptable. `conf/objective/*.yaml`; a limit of None is not set."""

    name: str  # max_throughput | min_latency | min_cost
    metric: str  # throughput_items_per_s | capacity_items_per_s | latency_ms_p50 | usd_per_million_items
    maximize: bool
    tie_break: str = "build_seconds"  # metric, smaller is better, among trials that tie
    margin: float = 0.02  # relative difference that nobody cares about
    confidence: float = 0.95
    claim_confidence: float = 0.99  # that a limit on latency is proved or refuted
    price: Optional[str] = None  # on_demand | reserved | spot; None: the first that is listed for the hardware
    latency_ms_p50_max: Optional[float] = None
    latency_ms_p99_max: Optional[float] = None
    throughput_items_per_s_min: Optional[float] = None
    agreement_min: Optional[float] = None
    accuracy_drop_max: Optional[float] = None
    peak_memory_mb_max: Optional[float] = None
    usd_per_million_items_max: Optional[float] = None

    @property
    def limits(self) -> Tuple[Limit, ...]:
        """The limits that are set."""
        bounds = {field.name: getattr(self, field.name) for field in fields(self) if field.name in _BOUNDS}
        return tuple(
            Limit(_BOUNDS[name][0], bound, _BOUNDS[name][1]) for name, bound in bounds.items() if bound is not None
        )

    @property
    def deciding(self) -> Set[str]:
        """The metrics that the choice depends on."""
        names = {self.metric, *(limit.metric.name for limit in self.limits)}
        return names | {"accuracy"} if metrics.ACCURACY_DROP in names else names


@dataclass(frozen=True)
class Limits:
    """When a worker is ended, and how many builds run at once."""

    build_seconds: float = 1800.0
    build_memory_mb: Optional[float] = None  # None: 90 % of the host's memory
    measure_seconds: float = 600.0
    measure_memory_mb: Optional[float] = None
    reference_seconds: float = 600.0
    parallel_builds: Optional[int] = None  # None: by cores and memory
    transient_retries: int = 2


@dataclass(frozen=True)
class Gates:
    """What must hold before a trial is `ok`; limits of agreement are per precision, against Wilson's upper bound."""

    agreement_min: Dict[str, float] = field(default_factory=dict)
    cosine_min: Dict[str, float] = field(default_factory=dict)
    little_tolerance: float = 0.12
    generator_tolerance: float = 0.05  # of an open load: share of the latency, and of the time in which work waits
    placement_min: float = 0.9


@dataclass(frozen=True)
class Bucketing:
    """How `buckets=auto` looks for lists of buckets."""

    max: int = 6  # buckets in a list, at most
    measure: int = 3  # lists that are measured, the best predicted first
    rounds: int = 2  # of choosing lists, each with what the lists before it showed
    minimise: str = "mean"  # mean | p99: of the latency of the request that an item is in
    traffic: Optional[str] = None  # a CSV of sizes with counts, or of arrivals; None: the data's own sizes
    memory_mb: Optional[float] = None  # that all builds of a list may take, by the size of their artifacts
    build_seconds: Optional[float] = None  # that all builds of a list may take


@dataclass(frozen=True)
class Fleet:
    """How many hosts a declared load takes."""

    items_per_s: Optional[float] = None  # None: no question
    headroom: float = 0.3  # share of every host that is kept free
    spare_hosts: int = 1  # that may be lost


@dataclass(frozen=True)
class Settings:
    """One sweep."""

    name: str  # the MLflow experiment
    effort: Effort
    objective: Objective
    limits: Limits
    gates: Gates
    tracking: Dict[str, Any]  # conf/tracking/*.yaml: {"name": "local"|"server"|"none", "uri": str|None}
    outputs: str  # absolute path of the outputs folder
    plan: str = "run"  # run | only | build | measure
    report: str = "html"  # html | none: neither the page nor the pictures at the end of a sweep
    reuse: bool = False  # take finished results of identical trials from earlier sweeps
    retry_failed: bool = False  # build again what is remembered as failed
    seed: int = 0
    bucketing: Bucketing = field(default_factory=Bucketing)
    fleet: Fleet = field(default_factory=Fleet)

    @property
    def outputs_path(self) -> Path:
        return Path(self.outputs)

    def to_json(self) -> Json:
        return dict(to_json(self))

    @staticmethod
    def from_json(value: Json) -> "Settings":
        return from_json(Settings, value)

"""What a person decides once a sweep, not once a trial: effort, objective, limits, gates, where things go."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Optional, Set, Tuple

from sweep.spec import metrics
from sweep.spec.declared import setting, within
from sweep.spec.errors import UserError
from sweep.spec.metrics import Limit, Side

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
PRICES = ("on_demand", "reserved", "spot")
GOALS = tuple(metric.name for metric in metrics.GOALS)
_BOUNDS = {f"{metric.name}_{side.value}": (metric, side) for metric in metrics.METRICS for side in Side}


@dataclass(frozen=True)
class Effort:
    """How much is measured. `conf/effort/*.yaml`."""

    name: str
    repeats: int = field(metadata=within(least=1))  # fresh processes per trial
    window_seconds: float = field(metadata=within(least=0.01))  # the timed window of one repeat
    min_requests: int = field(metadata=within(least=1))  # a window grows up to three times for so many
    warmup_seconds: float  # at least this long before the steadiness test may pass
    warmup_seconds_max: float  # give up waiting for steadiness, and say so in the notes
    repeats_max: Optional[int] = setting(None, least=1)  # None: `repeats`; else more where the verdict is open
    budget_seconds: Optional[float] = setting(None, least=1)  # of the whole sweep, builds included; None: no limit
    control_every_seconds: float = 60.0  # the control trial is measured again after this long; 0: never


@dataclass(frozen=True)
class Objective:
    """What is best, and what is not acceptable. `conf/objective/*.yaml`; a limit of None is not set."""

    name: str  # max_throughput | min_latency | min_cost
    metric: str = field(metadata=within(choices=GOALS))
    maximize: bool
    tie_break: str = setting("build_seconds", choices=GOALS)  # metric that chooses among trials that tie
    margin: float = setting(0.02, most=1)  # relative difference that nobody cares about
    confidence: float = setting(0.95, least=0.5, most=0.9999)
    claim_confidence: float = setting(0.99, least=0.5, most=0.9999)  # that a limit on latency is proved or refuted
    price: Optional[str] = setting(None, choices=PRICES)  # None: the first that is listed for the hardware
    latency_ms_p50_max: Optional[float] = None
    latency_ms_p99_max: Optional[float] = None
    throughput_items_per_s_min: Optional[float] = None
    latency_total_ms: Optional[float] = setting(None, least=0)  # of application, network and model: p99 of the model
    application_ms: float = setting(0.0, least=0)  # of `latency_total_ms`
    network_ms: float = setting(0.0, least=0)  # likewise
    agreement_min: Optional[float] = setting(None, most=1)
    accuracy_min: Optional[float] = setting(None, most=1)
    accuracy_drop_max: Optional[float] = setting(None, most=1)
    peak_memory_mb_max: Optional[float] = None
    usd_per_million_items_max: Optional[float] = None

    def __post_init__(self) -> None:
        """Raises UserError where nothing of the whole latency is left for the model."""
        beside, total = self.application_ms + self.network_ms, self.latency_total_ms
        if total is None and beside:
            raise UserError("objective.application_ms and objective.network_ms are parts of objective.latency_total_ms")
        if total is not None and total <= beside:
            raise UserError(
                f"objective.latency_total_ms={total:g} leaves nothing for the model: application and network take "
                f"{beside:g} ms of it"
            )

    @property
    def limits(self) -> Tuple[Limit, ...]:
        """The limits that are set; what is left of the whole latency limits the model's."""
        bounds = {field.name: getattr(self, field.name) for field in fields(self) if field.name in _BOUNDS}
        if self.latency_total_ms is not None:
            left, own = self.latency_total_ms - self.application_ms - self.network_ms, self.latency_ms_p99_max
            bounds["latency_ms_p99_max"] = left if own is None else min(left, own)
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

    build_seconds: float = setting(1800.0, least=0.1)
    build_memory_mb: Optional[float] = None  # None: 90 % of the host's memory
    measure_seconds: float = setting(600.0, least=0.1)
    measure_memory_mb: Optional[float] = None
    reference_seconds: float = setting(600.0, least=0.1)
    parallel_builds: Optional[int] = setting(None, least=1)  # None: by cores and memory
    transient_retries: int = 2


@dataclass(frozen=True)
class Gates:
    """What must hold before a trial is `ok`; limits of agreement are per precision, against Wilson's upper bound."""

    agreement_min: Dict[str, float] = setting({}, choices=PRECISIONS, most=1)
    cosine_min: Dict[str, float] = setting({}, choices=PRECISIONS, least=-1, most=1)
    relative_error_max: Dict[str, float] = setting({}, choices=PRECISIONS)  # of each output, at the 99th percentile
    little_tolerance: float = setting(0.12, most=1)
    generator_tolerance: float = setting(0.05, most=1)  # of an open load: of the latency, and of the time work waits
    placement_min: float = setting(0.9, most=1)


@dataclass(frozen=True)
class Bucketing:
    """How `buckets=auto` looks for lists of buckets."""

    max: int = setting(6, least=1)  # buckets in a list, at most
    measure: int = setting(3, least=1)  # lists that are measured, the best predicted first
    rounds: int = setting(2, least=1)  # of choosing lists, each with what the lists before it showed
    minimise: str = setting("mean", choices=("mean", "p99"))  # of the latency of the request that an item is in
    traffic: Optional[str] = None  # a CSV of sizes with counts, or of arrivals; None: the data's own sizes
    memory_mb: Optional[float] = setting(None, least=0.001)  # that all builds of a list may take, by their artifacts
    build_seconds: Optional[float] = setting(None, least=0.001)  # that all builds of a list may take


@dataclass(frozen=True)
class Fleet:
    """How many hosts a declared load takes."""

    items_per_s: Optional[float] = setting(None, least=0.001)  # None: no question
    headroom: float = setting(0.3, most=0.95)  # share of every host that is kept free
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
    plan: str = setting("run", choices=("run", "only", "build", "measure"))
    report: str = setting("html", choices=("html", "none"))  # none: no page and no pictures at the end of a sweep
    reuse: bool = False  # take finished results of identical trials from earlier sweeps
    retry_failed: bool = False  # build again what is remembered as failed
    seed: int = 0
    bucketing: Bucketing = field(default_factory=Bucketing)
    fleet: Fleet = field(default_factory=Fleet)

    @property
    def outputs_path(self) -> Path:
        return Path(self.outputs)

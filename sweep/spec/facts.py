"""Facts about a repeat or a trial beside its numbers, one frozen value for each kind of fact.

A worker, the engine or a table states them; tables, pages, gates and races read them. An unknown fact is None or
empty. Python 3.8, standard library alone, nothing of ours.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Optional, Tuple


@dataclass(frozen=True)
class Timing:
    """How fast requests were answered in one window."""

    throughput_items_per_s: float
    window_seconds: float
    requests: int
    items: int
    latency_ms_mean: float
    in_flight: float  # requests, for Little's law


@dataclass(frozen=True)
class BindingFacts:
    """Which array of a data set went to which input of a model."""

    by: str  # "name"; "position", where no name matches; "list", where a config has a list `inputs`
    inputs: Mapping[str, str]  # array -> input, in the model's order; to itself where the inputs have no names
    casts: Mapping[str, str] = field(default_factory=dict)  # array -> `float64 to float16`, where the model declares it

    def describe(self) -> str:
        """The pairs on one line, and what decided them: `a -> left, b -> right (by position)`."""
        pairs = []
        for name, own in self.inputs.items():
            pair = name if name == own else "%s -> %s" % (name, own)
            pairs.append(pair + (" [%s]" % self.casts[name] if name in self.casts else ""))
        return "%s (%s)" % (", ".join(pairs), {"list": "as listed"}.get(self.by, "by " + self.by))

    @property
    def notable(self) -> bool:
        """Whether a person has to see it: with several inputs, or where values were cast."""
        return len(self.inputs) > 1 or bool(self.casts)


@dataclass(frozen=True)
class NatureFacts:
    """What the original model itself does, so that no build is to blame for it. A difference of None is not finite."""

    repeat_difference: Optional[float] = 0.0  # largest, between two answers to the same batch; 0: within tolerance
    by_chance: bool = False  # with the same seed there is no such difference
    batch_difference: Optional[float] = 0.0  # largest, of the same samples alone and in a batch; 0: within tolerance
    batch: int = 1  # items in it
    changed_inputs: Tuple[str, ...] = ()  # that it changes in place
    nan_share: float = 0.0  # of the samples, that it answers with NaN somewhere
    infinite_share: float = 0.0  # likewise with infinite numbers

    def describe(self) -> str:
        """What a person has to know, on one line; empty for a model that does nothing of the kind."""
        words = []
        if self.repeat_difference != 0.0:
            cause = "by chance" if self.by_chance else "by its earlier calls or a chance of its own"
            text = "answers the same samples otherwise each time, %s (answers differ %s)"
            words.append(text % (cause, _format_difference(self.repeat_difference)))
        if self.batch_difference != 0.0:
            text = "depends on the rest of the batch (answers differ %s alone and in a batch of %d)"
            words.append(text % (_format_difference(self.batch_difference), self.batch))
        if self.changed_inputs:
            words.append("changes its input %s in place" % ", ".join(self.changed_inputs))
        for share, kind in ((self.nan_share, "NaN"), (self.infinite_share, "infinite numbers")):
            if share:
                words.append("answers %.2g %% of the samples with %s" % (100 * share, kind))
        return "; ".join(words)


def _format_difference(difference: Optional[float]) -> str:
    return "in what is finite" if difference is None else "by up to %.3g" % difference


@dataclass(frozen=True)
class ReferenceInfo:
    """A data set and the original model's answers to it. The first three fields are digests."""

    model: str
    data: str
    reference: str
    items: int
    inputs: Mapping[str, Any]  # name -> {"shape", "dtype"}
    versions: Mapping[str, Optional[str]]
    self_difference: Optional[float] = None  # in what earlier versions stored; `nature` has it now
    outputs: int = 1
    binding: Optional[BindingFacts] = None  # None in what earlier versions stored
    nature: NatureFacts = field(default_factory=NatureFacts)
    opaque: Tuple[str, ...] = ()  # parts of the model that its identity does not cover
    changed: bool = False  # stored answers of a model of this identity are not those of the model any more
    warning: str = ""  # about the labels
    weights: str = ""  # type of the original's, where it is not fp32; half precision is read as fp32, int8 stays
    batch: Optional[int] = None  # the only number of samples that the model takes at once
    flops_per_item: Optional[float] = None
    flops_by_size: Tuple[Tuple[Tuple[int, ...], float], ...] = ()  # see `workloads.count_flops_by_size`
    seconds_per_item: Optional[float] = None  # CPU time of the original; None in what earlier versions stored


@dataclass(frozen=True)
class ScoreFacts:
    """One pass over the data with the builds of a trial while nothing else runs: its answers decide accuracy."""

    items: int  # that were answered
    of: int  # samples in the data
    seconds: float = 0.0  # of the worker, with loading
    key: str = ""  # in the store of scores
    processor: str = ""  # model and features of the CPU, on which int8 answers depend
    precision: str = ""  # that ran, read back


@dataclass(frozen=True)
class LoadFacts:
    """One repeat of a load in which items arrive by themselves."""

    scenario: str
    rate: Optional[float]  # items/s that arrive; None: all are there at once
    arrived: int
    finished: int
    left: int  # arrived, and never answered
    batch_mean: float  # items in a request
    busy_share: float  # of the replicas' time
    lag_ms_mean: float  # between the moment at which a batch might have left and the moment at which it did
    lag_ms_p50: float  # of the requests that an idle replica took
    lag_ms_p99: float
    own_share: float  # of the time in which work waited, that the load generator took for itself
    overloaded: bool  # the queue grew as long as items arrived


@dataclass(frozen=True)
class ProbeFacts:
    """One window of arrivals in a search for the capacity."""

    rate: float  # items/s
    items: int  # that arrived
    late_share: float
    throughput_items_per_s: float
    overloaded: bool = False
    counted: bool = True  # the fit looks at it
    fitted: Optional[float] = None  # late share at this rate, by all probes together
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # min, p50, p90, p99 of the items


@dataclass(frozen=True)
class CapacityFacts:
    """The highest rate of arrivals that meets a service level, by one repeat."""

    slo_p99_ms: float
    items_per_s: float  # 0: no rate meets it
    converged: bool
    curve: Tuple[ProbeFacts, ...] = ()  # in the order in which they were measured
    note: str = ""  # one line: what a person has to know about it


@dataclass(frozen=True)
class BucketFacts:
    """The requests of one bucket, in one repeat or over all repeats of a trial."""

    bucket: Tuple[int, ...]
    requests: int
    items: int
    latency_ms_mean: Optional[float] = None  # over requests; None: there were none
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    memory_mb: Optional[float] = None  # that loading its build took
    share: Optional[float] = None  # of the items; of a trial
    build_seconds: Optional[float] = None  # of a trial
    artifact_mb: Optional[float] = None  # of a trial


@dataclass(frozen=True)
class SizeFacts:
    """The requests that were padded to one size, where one build takes any size."""

    size: Tuple[int, ...]
    requests: int
    items: int
    latency_ms_mean: float


@dataclass(frozen=True)
class HostFacts:
    """What the machine was like around a measurement."""

    steal_share: Optional[float] = None  # of its CPU time, taken by the hypervisor for other guests
    foreign_cpu_share: Optional[float] = None  # of its CPU time, used by processes that are not ours
    load_1min: Optional[float] = None  # before
    mhz: Optional[float] = None  # after it: clocks rise with the work
    celsius: Optional[float] = None
    gpu_mhz: Optional[float] = None
    gpu_celsius: Optional[float] = None

    def known(self) -> Dict[str, float]:
        """What the machine could tell, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class WitnessFacts:
    """What was seen of a replica's window beside the clock that it was timed with."""

    own_seconds: float  # by that clock
    system_seconds: Optional[float]  # by the kernel's; None where it does not say
    cpu_seconds: float  # of the replica and of all that it started
    cores: int  # that it had; 0: it was not bound to any


@dataclass(frozen=True)
class FreshFacts:
    """Inputs that were never sent before beside those of the window, in turns after it."""

    pairs: int = 0
    ratio: Optional[float] = None  # median time of fresh ones over that of others
    slower_share: Optional[float] = None  # of the pairs: the fresh one took longer
    skipped: str = ""  # why there are none
    seen_ms: Optional[float] = None
    fresh_ms: Optional[float] = None


@dataclass(frozen=True)
class ProcessFacts:
    """What the process of a replica was really set to, read back after its window."""

    threads: Mapping[str, int] = field(default_factory=dict)  # "runtime", "inter_op", "openmp", "openblas", "mkl"
    changed: Tuple[str, ...] = ()  # what the model's own code changed: `name: before -> after`


@dataclass(frozen=True)
class ReplicaFacts:
    """What one replica reports about its part of a repeat."""

    load_seconds: float
    first_request_ms: float
    warmup: Mapping[str, Any]  # {"requests", "seconds", "stable", "chunk_ms_p50"}
    precision: str  # that ran, read back
    peak_memory_mb: float
    device_memory_mb: float
    work_ratio: Optional[float] = None  # time of twice the requests, where the device runs on its own
    elements: Tuple[float, float] = (0.0, 0.0)  # size units of its items, and of what was computed for them
    flops: Tuple[float, float] = (0.0, 0.0)  # likewise operations, where they are known
    memory_mb: Tuple[Optional[float], ...] = ()  # that loading each build took; None where it cannot be known
    samples_of_data: Optional[int] = None
    capacity: Optional[CapacityFacts] = None
    witness: Optional[WitnessFacts] = None
    fresh: Optional[FreshFacts] = None  # of the first replica
    process: Optional[ProcessFacts] = None


@dataclass(frozen=True)
class SourceFacts:
    """Where a result comes from that somebody else reported."""

    source: str
    date: str = "not stated"
    mistakes: Tuple[str, ...] = ()  # that are known of the source, by name
    table: str = ""  # file and line
    row: Mapping[str, Any] = field(default_factory=dict)  # as it stands in the table


@dataclass(frozen=True)
class ReuseFacts:
    """The earlier sweep that a result was taken from."""

    sweep: str
    age_hours: float
    run: Optional[str] = None  # of MLflow


@dataclass(frozen=True)
class DeploymentFacts:
    """A trial's place among those that were measured together."""

    group: str
    member: int
    first_core: int
    members: Tuple[Mapping[str, Any], ...]  # {"label", "key", "cores", "replicas"}, in the order of loading
    gpus: Tuple[Tuple[int, ...], ...] = ()  # of each member's copies, where they share GPUs or declare them


@dataclass(frozen=True)
class LadderFacts:
    """A build that needed other options than those that were tried first."""

    used: Mapping[str, Any]
    failed_before: int


@dataclass(frozen=True)
class Price:
    """One row of a hardware's prices."""

    usd_per_hour: float
    kind: Optional[str] = None  # on_demand | reserved | spot
    region: Optional[str] = None
    date: Optional[str] = None  # of the price, YYYY-MM-DD
    source: Optional[str] = None

"""The words of the project as frozen values: what is asked for, what came out, why it did not.

Everything else imports this module and it imports nothing of ours. It runs on Python 3.8 with the standard library
alone, because workers inside another interpreter import it too.
"""

import enum
import functools
import hashlib
import json
import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import (
    Any,
    Callable,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Type,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

Json = Dict[str, Any]
T = TypeVar("T")
_PLAIN = (str, int, bool, type(None))
_NOT_IN_LABELS = ("_target_", "path", "file", "name", "table", "where", "python")
_USUAL_LOADS = (None, "saturate", "closed")  # the last is what earlier versions called it
_OPTIONS_IN_LABELS = 60  # characters of options; of more the shortest are named, and a hash stands for the rest
_WITHIN_GROUPS = ("model.", "data.", "hardware.", "backend.", "load.")

AUTO: Tuple[Tuple[int, ...], ...] = ((0,),)  # buckets=auto: lists are chosen from the traffic and a cost curve
DYNAMIC: Tuple[Tuple[int, ...], ...] = ((),)  # buckets=dynamic: one build for any size


class UserError(Exception):
    """Bad input: shown as one line with the fix in it, never as a traceback."""


class Status(str, enum.Enum):
    """Every declared trial ends in exactly one of these."""

    OK = "ok"
    INVALID = "invalid"  # a rule says that it cannot work
    UNAVAILABLE = "unavailable"  # the backend or the hardware is not here
    BUILD_FAILED = "build_failed"
    RUN_FAILED = "run_failed"
    REJECTED = "rejected"  # it ran, but its numbers or its answers cannot be believed
    STOPPED = "stopped"  # dominated, budget spent, interrupted


class FailureKind(str, enum.Enum):
    """What went wrong, in words that a person can act on."""

    UNSUPPORTED_OPERATOR = "unsupported_operator"
    UNSUPPORTED_DTYPE = "unsupported_dtype"
    DYNAMIC_SHAPE = "dynamic_shape"
    MODEL_TOO_LARGE = "model_too_large"
    GRAPH_TOO_LARGE = "graph_too_large"
    COMPILER_CRASH = "compiler_crash"
    HOST_OOM = "host_oom"
    DEVICE_OOM = "device_oom"
    TIMEOUT = "timeout"
    TOOLCHAIN_MISSING = "toolchain_missing"
    PARTIAL_PLACEMENT = "partial_placement"
    ARTIFACT_INCOMPATIBLE = "artifact_incompatible"
    CORE_UNAVAILABLE = "core_unavailable"
    SHAPE_MISMATCH = "shape_mismatch"
    NUMERICAL_ERROR = "numerical_error"
    HARDWARE_ERROR = "hardware_error"
    CRASH = "crash"
    WRONG_OUTPUT = "wrong_output"
    IMPLAUSIBLE_TIMING = "implausible_timing"
    PREEMPTED = "preempted"
    UNKNOWN = "unknown"


class TrialError(Exception):
    """Raised inside a worker when the reason of a failure is known; becomes a `Failure` of that kind."""

    def __init__(self, kind: FailureKind, summary: str) -> None:
        super().__init__(summary)
        self.kind = kind


@dataclass(frozen=True)
class Failure:
    """Why a build or a run did not work."""

    kind: FailureKind
    summary: str  # one line
    log: Optional[str] = None  # path of the captured output
    exit_code: Optional[int] = None
    signal: Optional[str] = None  # "SIGSEGV"
    seconds: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""  # runs the same worker again by hand


@dataclass(frozen=True)
class Trial:
    """One combination of all settings. Groups are resolved configs: plain JSON values with at least a `name`."""

    model: Mapping[str, Any]
    data: Mapping[str, Any]
    hardware: Mapping[str, Any]
    backend: Mapping[str, Any]
    precision: str
    batch: int
    cores: int  # of one replica
    replicas: int
    buckets: Tuple[
        Tuple[int, ...], ...
    ] = ()  # each a size per bucket dimension of the model; () = the data's own shape
    load: Mapping[str, Any] = field(default_factory=dict)
    overrides: Tuple[str, ...] = ()  # as typed; not part of the identity
    request_batch: Optional[int] = None  # items that a client sends at once; None: the compiled batch
    deployment: Mapping[str, Any] = field(default_factory=dict)  # measured together with others: see `deployments`

    @functools.cached_property
    def key(self) -> str:
        """Identity: equal for trials that ask for the same thing, whatever they were called on the command line."""
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "overrides"}
        if self.request_batch in (None, self.batch):
            del asked["request_batch"]
        if not self.deployment:
            del asked["deployment"]
        return digest(asked)

    @property
    def request_items(self) -> int:
        """Items in one request: what a client sends, which only dynamic batching makes another number than `batch`."""
        return self.request_batch or self.batch

    @property
    def label(self) -> str:
        """Readable name, like `digits-onnxruntime-fp32-b5-c1`; `-r2`, `-q50` (request_batch) and `-k128x224` only where
        they say something."""
        parts = [str(self.model["name"]), str(self.backend["name"]), self.precision]
        parts += ["b%d" % self.batch, "c%d" % self.cores]
        if self.replicas != 1:
            parts.append("r%d" % self.replicas)
        if self.request_items != self.batch:
            parts.append("q%d" % self.request_items)
        if self._other_load:
            parts.append(self._other_load)
        if self.deployment:
            parts.append("d%dof%d" % (self.deployment["member"] + 1, len(self.deployment["members"])))
        if self.buckets:
            named = self.bucket_word or "_".join("x".join(map(str, bucket)) for bucket in self.buckets)
            parts.append("k" + named)
        told = ["%s=%s" % item for item in self._options.items() if item[0] not in _NOT_IN_LABELS]
        return "-".join(parts + _shortened(told))

    @property
    def bucket_word(self) -> str:
        """`auto` or `dynamic`, empty for a list of buckets."""
        return {AUTO: "auto", DYNAMIC: "dynamic"}.get(self.buckets, "")

    @property
    def _other_load(self) -> str:
        """The name of the load, empty for the usual one: clients that wait."""
        name = self.load.get("name")
        return "" if name in _USUAL_LOADS else str(name)

    @property
    def _options(self) -> Json:
        """What was set inside a group, like `backend.options.allow_spinning=false`, by its last name."""
        pairs = (override.lstrip("+").partition("=") for override in self.overrides)
        return {key.rpartition(".")[2]: value for key, _, value in pairs if key.startswith(_WITHIN_GROUPS)}

    @property
    def settings(self) -> Json:
        """The axes as short values, for tables and tracking."""
        return {
            "model": self.model["name"],
            "data": self.data["name"],
            "hardware": self.hardware["name"],
            "backend": self.backend["name"],
            "precision": self.precision,
            "batch": self.batch,
            "request_batch": self.request_items,
            "cores": self.cores,
            "replicas": self.replicas,
            "buckets": self.bucket_word or [list(bucket) for bucket in self.buckets],
            **({"load": self._other_load} if self._other_load else {}),
            **self._options,
        }


@dataclass(frozen=True)
class BuildSpec:
    """Everything that changes the artifact, and nothing else: trials with equal specs share one build."""

    model: Mapping[str, Any]
    data: Mapping[str, Any]  # gives input names, shapes, dtypes and calibration samples
    backend: str
    options: Mapping[str, Any]  # compile-time options of the backend
    precision: str
    batch: int
    bucket: Optional[Tuple[int, ...]] = None  # None: the arrays' own shape; (): any size
    device: str = "cpu"
    cores: Optional[int] = None  # only where the compiler fixes the number of cores
    python: Optional[str] = None  # another interpreter, or None for our own

    @functools.cached_property
    def key(self) -> str:
        """Identity within a plan; the store adds the toolchain versions and the model's content."""
        return digest(self)


@dataclass(frozen=True)
class Placement:
    """Where one replica runs."""

    device: str = "cpu"
    cores: Tuple[int, ...] = ()  # host CPU numbers, or device core numbers; () = not pinned
    threads: int = 1


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


def to_json(value: Any) -> Any:
    """Plain JSON values of a frozen value: enums become text, tuples lists.

    Raises:
        TypeError: for anything that JSON cannot hold.
        ValueError: for a NaN or an infinity; a value that is not known is None.
    """
    kind = type(value)
    if kind in _PLAIN:  # most values, and planning asks this a million times
        return value
    if kind is dict:
        return {str(key): item if type(item) in _PLAIN else to_json(item) for key, item in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number: %r" % value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise TypeError("not a JSON value: %r" % (value,))


def from_json(kind: Type[T], value: Any) -> T:
    """The frozen value of type `kind` that `to_json` wrote; keys that this version does not know are left out."""
    wanted: Any = kind
    decode = _decoder(wanted)
    return value if decode is None else decode(value)  # type: ignore[no-any-return]  # follows run-time types


@functools.lru_cache(maxsize=None)
def _decoder(kind: Any) -> Optional[Callable[[Any], Any]]:
    """How values of a type are made from JSON; None: they are what JSON has. Made once: ledgers hold thousands."""
    origin, arguments = get_origin(kind), get_args(kind)
    inner = _decoder(arguments[0]) if origin in (Union, tuple) else None
    if origin is Union:  # Optional[X] is the only union used here
        return inner and (lambda value: None if value is None else inner(value))
    if origin is tuple:
        return tuple if inner is None else lambda value: tuple(inner(item) for item in value)
    if isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        parts = {f.name: _decoder(hints[f.name]) for f in fields(kind)}

        def made(value: Mapping[str, Any]) -> Any:
            known = {name: item for name, item in value.items() if name in parts}
            for name, decode in to_decode:
                if name in known:
                    known[name] = decode(known[name])
            return kind(**known)

        to_decode = [(name, decode) for name, decode in parts.items() if decode is not None]
        return made
    return kind if isinstance(kind, type) and issubclass(kind, enum.Enum) else None


def canonical(value: Any) -> str:
    """One text for equal values: keys sorted, no spaces."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _shortened(options: Sequence[str]) -> List[str]:
    """Options of a label, those that fit; with a custom model they would be 150 characters."""
    if len("-".join(options)) <= _OPTIONS_IN_LABELS:
        return list(options)
    kept: List[str] = []
    for option in sorted(options, key=len):
        if len("-".join([*kept, option])) <= _OPTIONS_IN_LABELS - len("12more.abcd"):
            kept.append(option)
    rest = "%dmore.%s" % (len(options) - len(kept), digest(list(options))[:4])
    return [option for option in options if option in kept] + [rest]


def digest(value: Any) -> str:
    """128-bit hexadecimal hash of a value, the same in every process, interpreter and year."""
    return hashlib.sha256(canonical(value).encode("ascii")).hexdigest()[:32]

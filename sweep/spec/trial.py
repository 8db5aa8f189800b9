"""A trial, its builds, and where it runs."""

import functools
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from sweep.spec.codec import Json, digest
from sweep.spec.process import Process

NO_IDENTITY = ("overrides", "model_name")
_NOT_IN_LABELS = ("_target_", "path", "file", "name", "table", "where", "python")
_USUAL_LOADS = (None, "saturate", "closed")  # the last is what earlier versions called it
_OPTIONS_IN_LABELS = 60  # characters; of longer options the shortest are named, and a hash stands for the rest
_WITHIN_GROUPS = ("model.", "data.", "hardware.", "backend.", "load.", "process.")

Buckets = Tuple[Tuple[int, ...], ...]  # each a size per bucket dimension of the model
AUTO: Buckets = ((0,),)  # buckets=auto: lists are chosen from the traffic and a cost curve
DYNAMIC: Buckets = ((),)  # buckets=dynamic: one build for any size
LARGEST = 2**31 - 1  # of one dimension; above that somebody gave bytes, or a time
REQUESTS = "request_batch"
_AXES = ("model", "data", "hardware", "backend", "precision", "batch", REQUESTS, "cores", "replicas", "buckets", "load")


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
    buckets: Buckets = ()  # () = the data's own shape
    load: Mapping[str, Any] = field(default_factory=dict)
    overrides: Tuple[str, ...] = ()  # as typed; not part of the identity
    request_batch: Optional[int] = None  # items that a client sends at once; None: the compiled batch
    deployment: Mapping[str, Any] = field(default_factory=dict)  # measured together with others: see `spec.deployment`
    process: Process = field(default_factory=Process)
    model_name: str = ""  # in labels; empty: that of its config. Not part of the identity

    @functools.cached_property
    def key(self) -> str:
        """Identity: equal for equal trials, however they were written on the command line."""
        identity = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in NO_IDENTITY}
        if self.request_batch in (None, self.batch):
            del identity["request_batch"]
        if not self.deployment:
            del identity["deployment"]
        if self.process == Process():
            del identity["process"]
        return digest(identity)

    @functools.cached_property
    def pair_key(self) -> str:
        """Equal for trials of the same model and data, which have a reference in common."""
        return digest([self.model, self.data])

    @property
    def request_items(self) -> int:
        """Items in one request: what a client sends, which only dynamic batching makes another number than `batch`."""
        return self.request_batch or self.batch

    @property
    def label(self) -> str:
        """Readable name, like `digits-onnxruntime-fp32-b5-c1`. `-r2` (replicas), `-q50` (request_batch) and `-k128x224`
        (buckets) appear only if they are not the usual ones."""
        parts = [self.model_name or str(self.model["name"]), str(self.backend["name"]), self.precision]
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
        options = ["%s=%s" % item for item in self._options.items() if last_name(item[0]) not in _NOT_IN_LABELS]
        return "-".join(parts + _shorten_options(options))

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
        """Settings inside a group, like `backend.options.allow_spinning=false`.

        By their last name, or by the full one where two settings have the same last name, or an axis has it.
        """
        pairs = (override.lstrip("+").partition("=") for override in self.overrides)
        given = {key: value for key, _, value in pairs if key.startswith(_WITHIN_GROUPS)}
        counts = Counter(map(last_name, given))
        shared = {name for name, count in counts.items() if count > 1 or name in _AXES}
        return {key if last_name(key) in shared else last_name(key): value for key, value in given.items()}

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


def last_name(key: str) -> str:
    """`path` of `model.path`."""
    return key.rpartition(".")[2]


def _shorten_options(options: Sequence[str]) -> List[str]:
    """The options of a label that fit: all options of a custom model would take 150 characters."""
    if len("-".join(options)) <= _OPTIONS_IN_LABELS:
        return list(options)
    kept: List[str] = []
    for option in sorted(options, key=len):
        if len("-".join([*kept, option])) <= _OPTIONS_IN_LABELS - len("12more.abcd"):
            kept.append(option)
    rest = "%dmore.%s" % (len(options) - len(kept), digest(list(options))[:4])
    return [option for option in options if option in kept] + [rest]

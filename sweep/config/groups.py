"""What the groups and the axes of a config may hold, as far as sweep itself reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.spec.declared import Open, setting, within
from sweep.spec.settings import PRECISIONS, PRICES
from sweep.workloads import FORMATS


@dataclass(frozen=True)
class Axes:
    """The axes that are plain values."""

    precision: str = field(metadata=within(choices=(*PRECISIONS, "auto")))
    batch: int = field(metadata=within(least=1))
    cores: int = field(metadata=within(least=1))
    replicas: int | str = field(metadata=within(least=1, choices=("auto",), wanted="an integer >= 1 or auto"))
    request_batch: int | None = setting(None, least=1)


@dataclass(frozen=True)
class Model(Open):
    """All other keys are arguments of what `_target_` names."""

    name: str
    data: Any = None
    format: str = setting("module", choices=FORMATS)
    requires: Any = ()
    extra: Any = ""
    bucket_dims: Any = None
    pad_value: Any = None
    pad_side: Any = None
    outputs: Any = None
    constants: Any = None
    batch_axis: Any = None
    trust: bool = False
    python: Any = None


@dataclass(frozen=True)
class Data(Open):
    """All other keys are arguments of what `_target_` names."""

    name: str
    requires: Any = ()
    extra: Any = ""
    score_items: int | str = setting("auto", least=1, choices=("auto", "all"), wanted="auto, all or an integer >= 1")
    class_axis: int | None = setting(None, least=-8)
    agree_on: str | None = setting(None, choices=("sample", "step"))
    ignore_label: int | None = setting(None, least=-(2**31))
    metrics: tuple[str, ...] | None = setting(None, wanted="a list of names like [top5_accuracy,f1_macro]")


@dataclass(frozen=True)
class Price(Open):
    usd_per_hour: float
    kind: str = field(metadata=within(choices=PRICES))


@dataclass(frozen=True)
class Hardware(Open):
    name: str
    instance_type: str | None = None
    device: str | None = None
    cores: int | None = setting(None, least=1)
    cpus: int | None = setting(None, least=1)
    memory_mb: float | None = None
    device_memory_mb: float | None = None
    neuron_cores: int | None = None
    cores_per_chip: int | None = None
    core_memory_mb: float | None = None
    exclusive: bool | None = None
    target: str | None = None
    withdrawn: str | None = None
    precisions: tuple[str, ...] | None = setting(None, choices=PRECISIONS)
    peak_flops: dict[str, Any] | None = setting(None, choices=PRECISIONS)
    price: tuple[Price, ...] | None = None


@dataclass(frozen=True)
class Backend(Open):
    name: str
    device: str = "cpu"
    python: str | None = None
    options: Mapping[str, Any] | None = None
    ladder: tuple[Mapping[str, Any], ...] | None = setting(None, wanted="a list of options to try like [{optlevel:1}]")


@dataclass(frozen=True)
class Deployment:
    members: tuple[Mapping[str, Any], ...] = setting((), wanted="a list like [{cores:2},{cores:1,replicas:2}]")
    member: int | None = None


@dataclass(frozen=True)
class Tracking(Open):
    name: str
    uri: Any = None

"""What a resolved config may hold: names, types and values, and one clear line for whatever is wrong.

The checks run on plain values, after the merge, because checking through OmegaConf costs milliseconds a trial.
Groups that take anything (model, data, backend options) are guarded by what their YAML has.
"""

import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sweep.config import buckets as bucket_config
from sweep.spec import UserError, metrics, no_key
from sweep.spec.settings import PRICES, Bucketing, Effort, Fleet, Gates, Limits, Objective
from sweep.worker.load import config as load_config

T = TypeVar("T")

AXES = (
    "model",
    "data",
    "hardware",
    "backend",
    "precision",
    "batch",
    "cores",
    "request_batch",
    "replicas",
    "buckets",
    "load",
)
ONCE = (
    "effort",
    "objective",
    "limits",
    "gates",
    "bucketing",
    "fleet",
    "tracking",
    "outputs",
    "plan",
    "report",
    "reuse",
    "retry_failed",
    "seed",
    "name",
)
OTHERS = ("experiment", "axes", "combinations", "deployment", "search")
PLANS = ("run", "only", "build", "measure")
REPORTS = ("html", "none")
KNOWN = AXES + ONCE + OTHERS

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
FORMATS = ("module", "onnx", "torchscript", "exported", "keras", "saved_model", "numpy")
GOALS = tuple(metric.name for metric in metrics.GOALS)
# Keys that a YAML may leave out and the command line may still set without a plus.
OPTIONAL = {
    "model": ("data", "format", "requires", "extra", "bucket_dims", "pad_value", "pad_side", "trust", "python"),
    "data": ("requires", "extra"),
    "backend": ("device", "python", "options", "ladder"),
    "hardware": (
        *("instance_type", "device", "cores", "cpus", "memory_mb", "device_memory_mb"),
        *("neuron_cores", "cores_per_chip", "core_memory_mb", "target", "withdrawn"),
    ),
    "tracking": ("uri",),
}
# Smallest and largest value of a number; the least is 0 for every other number of the settings.
RANGES: dict[str, tuple[float, float]] = {
    "effort.repeats": (1, math.inf),
    "effort.repeats_max": (1, math.inf),
    "effort.budget_seconds": (1.0, math.inf),
    "effort.window_seconds": (0.01, math.inf),
    "effort.min_requests": (1, math.inf),
    "objective.confidence": (0.5, 0.9999),
    "objective.claim_confidence": (0.5, 0.9999),
    "objective.margin": (0.0, 1.0),
    "objective.agreement_min": (0.0, 1.0),
    "objective.accuracy_drop_max": (0.0, 1.0),
    "limits.build_seconds": (0.1, math.inf),
    "limits.measure_seconds": (0.1, math.inf),
    "limits.reference_seconds": (0.1, math.inf),
    "limits.parallel_builds": (1, math.inf),
    "gates.agreement_min": (0.0, 1.0),
    "gates.cosine_min": (-1.0, 1.0),
    "gates.little_tolerance": (0.0, 1.0),
    "gates.generator_tolerance": (0.0, 1.0),
    "gates.placement_min": (0.0, 1.0),
    "fleet.items_per_s": (0.001, math.inf),
    "fleet.headroom": (0.0, 0.95),
    "bucketing.max": (1, math.inf),
    "bucketing.measure": (1, math.inf),
    "bucketing.rounds": (1, math.inf),
    "bucketing.memory_mb": (0.001, math.inf),
    "bucketing.build_seconds": (0.001, math.inf),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "objective.metric": GOALS,
    "objective.tie_break": GOALS,
    "objective.price": PRICES,
    "bucketing.minimise": ("mean", "p99"),
    "gates.agreement_min": PRECISIONS,
    "gates.cosine_min": PRECISIONS,
}


def check(section: str, value: Any) -> Any:
    """The checked value of one section of a resolved config.

    Plain JSON, but for `effort`, `objective`, `limits` and `gates`, which become their dataclasses, and `buckets`,
    which become tuples.

    Raises:
        UserError: saying what is wrong and what would be right.
    """
    checker = _CHECKS.get(section)
    return checker(section, value) if checker else value


def structure(kind: type[T], path: str, value: Any) -> T:
    """A settings dataclass from a mapping, every key and type checked."""
    mapping = _mapping(path, value)
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]  # only called with dataclasses
    for key in mapping:
        if key not in known:
            raise no_key(f"{path}.{key}", known)
    hints = typing.get_type_hints(kind)
    made = {}
    for name, field in known.items():
        if name in mapping:
            made[name] = _typed(f"{path}.{name}", mapping[name], hints[name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise UserError(f"{path} has no '{name}': its YAML must give it a value")
    return kind(**made)


def same_kind(path: str, old: Any, new: Any) -> None:
    """An override under a group that takes anything must be of the kind that the YAML has; null, auto and ??? fit all.

    Raises:
        UserError: for a number, a switch, a list or a mapping that is replaced by something else.
    """
    anything = (None, "auto", "???")
    if path == "model.pad_value":  # a number, or one for each input: it has a check of its own
        return
    if old in anything or new in anything or (isinstance(new, str) and "${" in new):
        return
    for kinds, text in (
        ((bool,), "true or false"),
        ((int, float), "a number"),
        ((list,), "a list like [1,2]"),
        ((dict,), "a mapping like {a:1}"),
    ):
        fits = isinstance(new, kinds) and not (isinstance(new, bool) and bool not in kinds)
        if isinstance(old, kinds):
            if not fits:
                raise _wrong(path, text, new)
            return
    if isinstance(old, str) and isinstance(new, (list, dict)):
        raise _wrong(path, "text", new)


def _wrong(path: str, wanted: str, value: Any) -> UserError:
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    return UserError(f"{path} must be {wanted}, not {shown}")


def _mapping(path: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(path, "a mapping", value)
    return value


def _typed(path: str, value: Any, kind: Any) -> Any:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) in (types.UnionType, typing.Union):
        return None if value is None else _typed(path, value, arguments[0])
    if typing.get_origin(kind) is dict:
        items = _mapping(path, value)
        return {
            _one_of(f"{path} (its keys)", key, CHOICES[path]): _number(path, f"{path}.{key}", item)
            for key, item in items.items()
        }
    if kind is int:
        return _integer(path, value, int(RANGES.get(path, (0, 0))[0]))
    if kind is float:
        return _number(path, path, value)
    if kind is bool:
        return _switch(path, value)
    return _one_of(path, value, CHOICES[path]) if path in CHOICES else _text(path, value)


def _integer(path: str, value: Any, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise _wrong(path, f"an integer >= {least}", value)
    return value


def _number(rule: str, path: str, value: Any) -> float:
    low, high = RANGES.get(rule, (0.0, math.inf))
    wanted = f"a number >= {low:g}" if high == math.inf else f"a number from {low:g} to {high:g}"
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        raise _wrong(path, wanted, value)
    return float(value)


def _switch(path: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(path, "true or false", value)
    return value


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(path, "text", value)
    return value


def _one_of(path: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        close = difflib.get_close_matches(str(value), choices, n=1)
        hint = f": did you mean '{close[0]}'?" if close else ""
        raise UserError(f"{path} must be one of {', '.join(choices)}, not {value!r}{hint}")
    return str(value)


def _replicas(path: str, value: Any) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(path, "an integer >= 1 or auto", value)
    return value


def _group(section: str, value: Any) -> dict[str, Any]:
    """A config group: a mapping with a name; what else it holds is up to its YAML."""
    if value is None:
        raise UserError(f"no {section} is chosen: say {section}=...")
    made = dict(_mapping(section, value))
    for path, leaf in leaves(made, section):
        if leaf == "???":
            raise UserError(f"{path} has no value: say {path}=...")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise _wrong(path, "a finite number", leaf)
    _text(f"{section}.name", made.get("name"))
    return made


def _workload(section: str, value: Any) -> dict[str, Any]:
    made = _group(section, value)
    if not isinstance(made.get("_target_"), str):
        raise UserError(
            f"{section} '{made['name']}' has no _target_: name what makes it, like _target_: package.module.function"
        )
    if "format" in made:
        _one_of(f"{section}.format", made["format"], FORMATS)
    if isinstance(made.get("path"), str):  # workers run elsewhere, and a trial must mean the same from every folder
        made["path"] = str(Path(made["path"]).expanduser().absolute())
    if "trust" in made:
        _switch(f"{section}.trust", made["trust"])
    bucket_config.check_model(section, made)
    return made


def _hardware(section: str, value: Any) -> dict[str, Any]:
    made = _group(section, value)
    for key in ("cores", "cpus"):
        if made.get(key) is not None:
            _integer(f"{section}.{key}", made[key])
    if made.get("neuron_cores") is not None:
        _integer(f"{section}.neuron_cores", made["neuron_cores"], 0)
    if made.get("withdrawn") is not None:
        _text(f"{section}.withdrawn", made["withdrawn"])
    for precision in made.get("precisions") or ():
        _one_of(f"{section}.precisions", precision, PRECISIONS)
    for precision in made.get("peak_flops") or ():
        _one_of(f"{section}.peak_flops (its keys)", precision, PRECISIONS)
    for price in made.get("price") or ():
        _number("", f"{section}.price.usd_per_hour", _mapping(f"{section}.price", price).get("usd_per_hour"))
        _one_of(f"{section}.price.kind", price.get("kind"), PRICES)
    return made


def _backend(section: str, value: Any) -> dict[str, Any]:
    made = {"device": "cpu", "python": None, "options": {}, **_group(section, value)}
    made["options"] = dict(_mapping(f"{section}.options", made["options"] or {}))
    _text(f"{section}.device", made["device"])
    if made.get("ladder"):
        made["ladder"] = _ladder(f"{section}.ladder", made["ladder"])
    if made["python"] is not None:
        _text(f"{section}.python", made["python"])
    return made


def _ladder(path: str, value: Any) -> list[dict[str, Any]]:
    """Compile-time options to try, one set after the other, when a build fails."""
    if not isinstance(value, list) or not all(isinstance(rung, Mapping) and rung for rung in value):
        raise UserError(f"{path} must be a list of options to try like [{{optlevel:1}}], not {value!r}")
    return [dict(rung) for rung in value]


def _deployment(section: str, value: Any) -> dict[str, Any]:
    """Trials that are measured together, and which of them this is."""
    made = {"members": [], "member": None, **_mapping(section, value)}
    for key in made:
        if key not in ("members", "member"):
            raise no_key(f"{section}.{key}", ("members", "member"))
    members = made["members"]
    if not isinstance(members, list) or not all(isinstance(one, Mapping) for one in members):
        raise UserError(f"{section}.members must be a list like [{{cores:2}},{{cores:1,replicas:2}}], not {members!r}")
    if len(members) == 1:
        raise UserError(f"{section}.members has one member: a trial alone needs no deployment")
    if made["member"] is not None and not 0 <= _integer(f"{section}.member", made["member"], 0) < len(members):
        raise UserError(f"{section}.member={made['member']}: there are {len(members)} members, counted from 0")
    return made


def _load(section: str, value: Any) -> dict[str, Any]:
    return load_config.check(section, _group(section, value))


def _name(path: str, value: Any) -> str | None:
    return None if value is None else _text(path, value)


def leaves(value: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    """Every value that is not a mapping or a list, with its dotted path."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}.{index}")
    else:
        yield path, value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "model": _workload,
    "data": _workload,
    "hardware": _hardware,
    "backend": _backend,
    "load": _load,
    "tracking": _group,
    "precision": lambda path, value: _one_of(path, value, PRECISIONS),
    "batch": _integer,
    "cores": _integer,
    "replicas": _replicas,
    "request_batch": lambda path, value: None if value is None else _integer(path, value),
    "deployment": _deployment,
    "buckets": bucket_config.checked,
    "effort": partial(structure, Effort),
    "objective": partial(structure, Objective),
    "limits": partial(structure, Limits),
    "gates": partial(structure, Gates),
    "bucketing": partial(structure, Bucketing),
    "fleet": partial(structure, Fleet),
    "name": _name,
    "outputs": lambda path, value: str(Path(_text(path, value)).expanduser().absolute()),
    "plan": lambda path, value: _one_of(path, value, PLANS),
    "report": lambda path, value: _one_of(path, value, REPORTS),
    "reuse": _switch,
    "retry_failed": _switch,
    "seed": lambda path, value: _integer(path, value, 0),
}

"""What a resolved config may hold: names, types and values, and one clear line for whatever is wrong.

The checks run on plain values, after the merge, because checking through OmegaConf costs milliseconds a trial.
Groups that take anything (model, data, backend options) are guarded by what their YAML has.
"""

import math
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from sweep import backends
from sweep.config import buckets as bucket_config
from sweep.config.groups import Axes, Backend, Data, Deployment, Hardware, Model, Tracking
from sweep.config.structure import as_mapping, check_value, make_error, structure
from sweep.spec import Json, Trial, UserError, meant, metrics, to_json
from sweep.spec.declared import rules_of
from sweep.spec.process import Process
from sweep.spec.settings import Bucketing, Effort, Fleet, Gates, Limits, Objective, Settings
from sweep.spec.trial import NO_IDENTITY
from sweep.worker.load import trace
from sweep.worker.load.config import LOADS
from sweep.workloads.metrics import check_names

AXES = tuple(axis.name for axis in fields(Trial) if axis.name not in ("deployment", *NO_IDENTITY))
ONCE = tuple(section.name for section in fields(Settings))
OTHERS = ("experiment", "axes", "combinations", "deployment", "search")
KNOWN = AXES + ONCE + OTHERS

GROUPS = {"model": Model, "data": Data, "hardware": Hardware, "backend": Backend, "tracking": Tracking}
# Keys that a YAML may leave out and the command line may still set without a plus.
OPTIONAL = {section: tuple(field.name for field in fields(kind)) for section, kind in GROUPS.items()}
_OF_TRACE = ("sha256", "arrivals", "seconds")  # what is in the file of a trace is a part of what a trial is


def check(section: str, value: Any) -> Any:
    """The checked value of one section of a resolved config.

    Plain JSON, but for sections of settings, which become their dataclasses, and `buckets`, which become tuples.

    Raises:
        UserError: saying what is wrong and what would be right.
    """
    checker = _CHECKS.get(section)
    return checker(section, value) if checker else value


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
                raise make_error(path, text, new)
            return
    if isinstance(old, str) and isinstance(new, (list, dict)):
        raise make_error(path, "text", new)


def _group(section: str, value: Any) -> dict[str, Any]:
    """A config group: a mapping with a name; what else it holds is up to its YAML, as far as no field says more."""
    if value is None:
        raise UserError(f"no {section} is chosen: say {section}=...")
    group = dict(as_mapping(section, value))
    for path, leaf in leaves(group, section):
        if leaf == "???":
            raise UserError(f"{path} has no value: say {path}=...")
        if isinstance(leaf, float) and not math.isfinite(leaf):
            raise make_error(path, "a finite number", leaf)
    check_value(f"{section}.name", group.get("name"), str)
    if section in GROUPS:
        structure(GROUPS[section], section, group)
    return group


def _workload(section: str, value: Any) -> dict[str, Any]:
    group = _group(section, value)
    if not isinstance(group.get("_target_"), str):
        raise UserError(
            f"{section} '{group['name']}' has no _target_: name what makes it, like _target_: package.module.function"
        )
    if isinstance(group.get("path"), str):  # workers run elsewhere, and a trial must mean the same from every folder
        group["path"] = str(Path(group["path"]).expanduser().absolute())
    bucket_config.check_model(section, group)
    if section == "data":
        check_names(group.get("metrics") or ())
    return group


def _backend(section: str, value: Any) -> dict[str, Any]:
    group = {"device": "cpu", "python": None, **_group(section, value)}
    group["options"] = dict(group.get("options") or {})
    kind = backends.get(str(group["name"])).options_type
    structure(kind, f"{section}.options", group["options"])
    for rung in group.get("ladder") or ():
        structure(kind, f"{section}.ladder", rung)
    return group


def _deployment(section: str, value: Any) -> Json:
    """Trials that are measured together, and which of them this is."""
    deployment = {"members": [], "member": None, **as_mapping(section, value)}
    structure(Deployment, section, deployment)
    members, member = deployment["members"], deployment["member"]
    if len(members) == 1:
        raise UserError(f"{section}.members has one member: a trial alone needs no deployment")
    if member is not None and member >= len(members):
        raise UserError(f"{section}.member={member}: there are {len(members)} members, counted from 0")
    return deployment


def _load(section: str, value: Any) -> Json:
    group = _group(section, value)
    name = group.pop("name")
    if name not in LOADS:
        raise UserError(f"{section}.name: there is no load '{name}': {meant(name, LOADS)}")
    given = {key: item for key, item in group.items() if name != "trace" or key not in _OF_TRACE}
    for field in fields(LOADS[name]):
        if field.name not in given:
            raise UserError(f"load {name} has no {field.name}: say {section}.{field.name}=...")
    load = {"name": name, **to_json(structure(LOADS[name], section, given))}
    if name == "trace":
        recorded = trace.read(load["file"])
        facts = (recorded.sha256, len(recorded.times_s), recorded.seconds)
        load.update(zip(_OF_TRACE, facts, strict=True), file=recorded.path)
    return load


def _field(kind: type) -> Callable[[str, Any], Any]:
    """The check of a section that is a field of a dataclass."""
    hints, rules = typing.get_type_hints(kind), rules_of(kind)
    return lambda section, value: check_value(section, value, hints[section], rules[section])


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
    "hardware": _group,
    "backend": _backend,
    "load": _load,
    "tracking": _group,
    "deployment": _deployment,
    "buckets": bucket_config.check_list,
    "process": partial(structure, Process),
    "effort": partial(structure, Effort),
    "objective": partial(structure, Objective),
    "limits": partial(structure, Limits),
    "gates": partial(structure, Gates),
    "bucketing": partial(structure, Bucketing),
    "fleet": partial(structure, Fleet),
    "name": lambda path, value: check_value(path, value, str | None),
    "outputs": lambda path, value: str(Path(check_value(path, value, str)).expanduser().absolute()),
    **{name: _field(Axes) for name in ("precision", "batch", "cores", "replicas", "request_batch")},
    **{name: _field(Settings) for name in ("plan", "report", "reuse", "retry_failed", "seed")},
}


def check_direction(objective: Objective) -> None:
    """Raises UserError if the objective wants more of what should be small, or less of what should be large."""
    higher = metrics.find(objective.metric).better is metrics.Better.HIGHER
    if objective.maximize is not higher:
        raise UserError(
            f"objective.metric={objective.metric}: {'more' if higher else 'less'} of it is better, but objective="
            f"{objective.name} wants {'less' if higher else 'more'}: add objective.maximize={str(higher).lower()}"
        )

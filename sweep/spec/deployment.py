"""Several trials measured together on one host: each with its own cores and copies, side by side in one window.

A config declares the members in the order in which they are loaded. Each member becomes a trial that knows the others.
Cores are handed out in the same order, so every member has a fixed range and no scheduler decides it. GPUs are handed
out too while there are enough of them; otherwise members share them, or as their `device` says.
"""

import itertools
from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence

from sweep.spec.codec import Json, digest, from_json, to_json
from sweep.spec.facts import DeploymentFacts
from sweep.spec.trial import Trial

MEMBER = "deployment.member"
_PLAIN = Trial({}, {}, {}, {}, "", 0, 0, 0)
DEVICE = "device"  # of a member: the GPU of its first copy
GPU = "cuda"


def expand_members(overrides: Sequence[str], members: int) -> List[List[str]]:
    """One list of overrides for each member of a deployment; without members, the overrides as they are."""
    return [[*overrides, f"{MEMBER}={number}"] for number in range(members)] or [list(overrides)]


def drop_member(overrides: Sequence[str]) -> List[str]:
    """Remove the choice of a member from overrides."""
    return [line for line in overrides if not line.startswith(f"{MEMBER}=")]


def make_member(
    together: Sequence[Trial], number: int, overrides: Sequence[str], devices: Sequence[Optional[int]] = ()
) -> Trial:
    """Give trial `number` of a deployment its place among the members.

    Args:
        devices: GPU of each member's first copy; None where the member leaves it to the order. (): all do.
    """
    pool = _find_pool(together[number])
    gpus = _assign_gpus(together, devices or [None] * len(together))
    place: Mapping[str, Any] = {
        "member": number,
        "first_core": sum(count_cores(trial) for trial in together[:number] if _find_pool(trial) == pool),
        "members": [{"label": t.label, "key": t.key, "cores": t.cores, "replicas": t.replicas} for t in together],
        "trials": [_store(trial) for trial in together],  # so that each can say how to run them all again
        **({"gpus": gpus, "devices": list(devices)} if gpus != _count_up(together) else {}),
    }
    return replace(together[number], deployment=place, overrides=tuple(overrides))


def _store(trial: Trial) -> Json:
    """The JSON of a member, without what earlier versions did not have and is not set: it is part of an identity."""
    unset = [name for name in ("process", "model_name") if getattr(trial, name) == getattr(_PLAIN, name)]
    return {name: value for name, value in to_json(trial).items() if name not in unset}


def restore_group(trial: Trial, moved: Callable[[Trial], Trial]) -> List[Trial]:
    """All members of a stored trial's deployment, the trial among them. `moved` adapts a trial to this host."""
    if not trial.deployment:
        return [moved(trial)]
    together = [moved(from_json(Trial, stored)) for stored in trial.deployment["trials"]]
    base, devices = drop_member(trial.overrides), trial.deployment.get("devices") or ()
    return [make_member(together, number, [*base, f"{MEMBER}={number}"], devices) for number in range(len(together))]


def describe(trial: Trial) -> DeploymentFacts:
    """The facts about a deployment that a record keeps."""
    return from_json(DeploymentFacts, {"group": group_key(trial), **trial.deployment})


def count_cores(trial: Trial) -> int:
    """Cores for all copies of a trial."""
    return trial.cores * trial.replicas


def count_all_cores(trial: Trial) -> int:
    """Cores for a trial and for all that are measured beside it on the same cores."""
    return sum(count_cores(other) for other in list_members(trial) if _find_pool(other) == _find_pool(trial))


def find_first_core(trial: Trial) -> int:
    """Number of the first core of a trial's first copy."""
    return int(trial.deployment.get("first_core", 0))


def list_members(trial: Trial) -> List[Trial]:
    """All trials of a deployment, without their places in it; the trial itself if it is measured alone."""
    return [from_json(Trial, stored) for stored in trial.deployment.get("trials") or ()] or [trial]


def list_gpus(trial: Trial) -> List[List[int]]:
    """Numbers of the GPUs on which the copies of each member are; empty for a member that needs none."""
    stored = trial.deployment.get("gpus")
    return [list(gpus) for gpus in stored] if stored else _count_up(list_members(trial))


def list_own_gpus(trial: Trial) -> List[int]:
    """The GPU of each copy of a trial."""
    return list_gpus(trial)[int(trial.deployment.get("member", 0))]


def count_gpus(hardware: Mapping[str, Any]) -> int:
    """GPUs of a hardware, at least one."""
    gpus = hardware.get("gpus")
    return max(1, len(gpus) if gpus is not None else int(hardware.get("cores") or 1))


def _find_device(trial: Trial) -> str:
    return str(trial.backend.get("device") or "cpu")


def _find_pool(trial: Trial) -> str:
    """What a trial's `cores` are taken from: a GPU's threads are CPUs too."""
    device = _find_device(trial)
    return "cpu" if device == GPU else device


def _count_up(together: Sequence[Trial]) -> List[List[int]]:
    """A GPU for each copy, in the order of loading."""
    numbers = itertools.count()
    return [[next(numbers) for _ in range(t.replicas)] if _find_device(t) == GPU else [] for t in together]


def _assign_gpus(together: Sequence[Trial], devices: Sequence[Optional[int]]) -> List[List[int]]:
    """The GPUs of each member's copies: those that it declares, else GPUs of their own, else shared in turn."""
    whole = range(count_gpus(together[0].hardware))
    declared = [
        [] if first is None else [first + copy for copy in range(trial.replicas)]
        for trial, first in zip(together, devices)
    ]
    free = [number for number in whole if not any(number in gpus for gpus in declared)]
    open_members = [t if first is None else replace(t, replicas=0) for t, first in zip(together, devices)]
    order = _count_up(open_members)
    pool = free if len(free) >= sum(map(len, order)) else list(whole)
    shared = [[pool[copy % len(pool)] for copy in copies] for copies in order]
    return [own or given for own, given in zip(shared, declared)]


def group_key(trial: Trial) -> str:
    """A key that trials have in common only if they are measured together."""
    return digest([member["key"] for member in trial.deployment["members"]]) if trial.deployment else trial.key


def group_trials(trials: Iterable[Trial]) -> Dict[str, List[Trial]]:
    """Group trials by `group_key`; the members of a group stand in the order in which they are loaded."""
    groups: Dict[str, List[Trial]] = {}
    for trial in trials:
        groups.setdefault(group_key(trial), []).append(trial)
    for together in groups.values():
        together.sort(key=lambda trial: int(trial.deployment.get("member", 0)))
    return groups

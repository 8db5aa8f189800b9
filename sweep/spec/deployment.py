"""Several trials measured together on one host: each with its own cores and copies, side by side in one window.

A config declares the members in the order in which they are loaded. Each member becomes a trial that knows the others.
Cores are handed out in the same order, so every member has a fixed range and no scheduler decides it.
"""

from dataclasses import replace
from typing import Any, Callable, Dict, Iterable, List, Mapping, Sequence

from sweep.spec.codec import digest, from_json, to_json
from sweep.spec.facts import DeploymentFacts
from sweep.spec.trial import Trial

MEMBER = "deployment.member"


def expand_members(overrides: Sequence[str], members: int) -> List[List[str]]:
    """One list of overrides for each member of a deployment; without members, the overrides as they are."""
    return [[*overrides, f"{MEMBER}={number}"] for number in range(members)] or [list(overrides)]


def drop_member(overrides: Sequence[str]) -> List[str]:
    """Remove the choice of a member from overrides."""
    return [line for line in overrides if not line.startswith(f"{MEMBER}=")]


def make_member(together: Sequence[Trial], number: int, overrides: Sequence[str]) -> Trial:
    """Give trial `number` of a deployment its place among the members."""
    place: Mapping[str, Any] = {
        "member": number,
        "first_core": sum(count_cores(trial) for trial in together[:number]),
        "members": [{"label": t.label, "key": t.key, "cores": t.cores, "replicas": t.replicas} for t in together],
        "trials": [to_json(trial) for trial in together],  # so that each can say how to run them all again
    }
    return replace(together[number], deployment=place, overrides=tuple(overrides))


def restore_group(trial: Trial, moved: Callable[[Trial], Trial]) -> List[Trial]:
    """All members of a stored trial's deployment, the trial among them. `moved` adapts a trial to this host."""
    if not trial.deployment:
        return [moved(trial)]
    together = [moved(from_json(Trial, stored)) for stored in trial.deployment["trials"]]
    base = drop_member(trial.overrides)
    return [make_member(together, number, [*base, f"{MEMBER}={number}"]) for number in range(len(together))]


def describe(trial: Trial) -> DeploymentFacts:
    """The facts about a deployment that a record keeps."""
    return from_json(DeploymentFacts, {"group": group_key(trial), **trial.deployment})


def count_cores(trial: Trial) -> int:
    """Cores for all copies of a trial."""
    return trial.cores * trial.replicas


def count_all_cores(trial: Trial) -> int:
    """Cores for a trial and for all that are measured beside it."""
    members = trial.deployment.get("members")
    return sum(member["cores"] * member["replicas"] for member in members) if members else count_cores(trial)


def find_first_core(trial: Trial) -> int:
    """Number of the first core of a trial's first copy."""
    return int(trial.deployment.get("first_core", 0))


def find_first_copy(trial: Trial) -> int:
    """Number of the first copy of a trial, counted over the whole deployment; for devices that hold one copy each."""
    return sum(
        member["replicas"] for member in trial.deployment.get("members", ())[: trial.deployment.get("member", 0)]
    )


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

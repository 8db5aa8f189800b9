"""The rules that a trial must pass before anything is built."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from sweep import DISTRIBUTION, backends, workloads
from sweep.backends.base import Backend
from sweep.backends.options import list_compile_time
from sweep.config import buckets as bucket_config
from sweep.engine.plan import Installed, _required, list_build_specs, list_packages
from sweep.spec import DYNAMIC, Status, Trial, deployment
from sweep.spec.plan import Entry, Plan
from sweep.worker.load import config as load_config

if TYPE_CHECKING:
    from sweep.hardware.host import Host


Verdict = tuple[Status, str]


def make_plan(trials: Iterable[Trial], host: "Host", installed: Installed, mode: str = "run") -> Plan:
    """Judge every trial by the rules, before anything is built.

    Args:
        mode: `settings.plan`. What is only built needs no device here, and what is only measured no compiler.
    """
    distinct: dict[str, Trial] = {}
    count = 0
    for trial in trials:
        distinct.setdefault(trial.key, trial)
        count += 1
    entries = []
    for trial in distinct.values():
        verdict = next(_broken_rules(trial, host, installed, mode), None)
        status, reason = verdict or (None, "")
        entries.append(Entry(trial, list_build_specs(trial), status, reason))
    return Plan(tuple(entries), count - len(entries))


def _broken_rules(trial: Trial, host: "Host", installed: Installed, mode: str) -> Iterator[Verdict]:
    """Every rule that the trial breaks, cheapest first."""
    from sweep.hardware import rules

    yield from _deployment_rules(
        trial, rules.count_available(trial.hardware, str(trial.backend.get("device") or "cpu"))
    )
    status, reason = rules.check_trial(host, trial, run=mode != "build")
    if status is not None:
        yield status, reason
    backend = backends.get(str(trial.backend["name"]))
    yield from _bucket_rules(trial, backend)
    yield from _ladder_rules(trial, backend)
    yield from _load_rules(trial, backend)
    yield from _process_rules(trial, backend)
    for spec in list_build_specs(trial):
        refused = backend.supports(spec)
        if refused:
            yield Status.INVALID, refused
    for refused in (backend.runs(trial), workloads.refusal(dict(trial.model))):
        if refused:
            yield Status.INVALID, refused
    absent = backend.unavailable(trial)
    if absent:
        yield Status.UNAVAILABLE, absent
    yield from _find_missing(trial, backend, installed, () if mode != "measure" else backend.build_packages)
    lacking = None if trial.backend.get("python") or mode == "measure" else backend.missing()
    if lacking:
        yield Status.UNAVAILABLE, lacking


def _bucket_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    if not trial.buckets:
        return
    refused = bucket_config.refuse(() if trial.buckets == DYNAMIC else trial.buckets, trial.model)
    if refused:
        yield Status.INVALID, refused
    elif trial.buckets == DYNAMIC and not backend.dynamic_sizes:
        yield Status.INVALID, f"{backend.name} builds for fixed shapes: list buckets, or use buckets=auto"


def _load_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    name, clients = trial.load.get("name", "saturate"), load_config.count_clients(trial.load)
    if clients > 1 and not backend.concurrent:
        advice = "answers one request at a time: use replicas=... for requests side by side, and load.concurrency=1"
        yield Status.INVALID, f"{backend.name} {advice}"
    if name == "single" and trial.replicas > 1:
        yield Status.INVALID, "load=single has one client, whom one replica answers: use replicas=1"


def _process_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    """A setting without effect would be a row that claims something."""
    on_cpu = str(trial.backend.get("device") or "cpu") == "cpu"
    for name in trial.process.list_unusual():
        if name not in backend.obeys:
            known = ", ".join(f"process.{other}" for other in backend.obeys) or "no setting of the process"
            yield Status.INVALID, f"process.{name} changes nothing for {backend.name}, which has {known}: leave it out"
        elif name in ("omp_wait_policy", "denormals") and not on_cpu:
            yield Status.INVALID, f"process.{name} is for what runs on CPUs: leave it out"
    if trial.process.copies == "threads":
        yield from _thread_rules(trial)
    others = [part.get("process") or {} for part in trial.deployment.get("trials", ())]
    if any(other.get("omp_wait_policy", "default") != trial.process.omp_wait_policy for other in others):
        yield Status.INVALID, "members of a deployment share one process.omp_wait_policy: set it for all"


def _thread_rules(trial: Trial) -> Iterator[Verdict]:
    """Whether all copies of a trial can lie in one process."""
    name = str(trial.load.get("name", "saturate"))
    reasons = {
        "with replicas=2 or more": trial.replicas < 2,
        "for what runs on CPUs": str(trial.backend.get("device") or "cpu") != "cpu",
        "for a trial alone, since members of a deployment are processes": bool(trial.deployment),
        f"for clients that wait, and load={name} has none": load_config.is_open_loop(trial.load),
    }
    for wanted, broken in reasons.items():
        if broken:
            yield Status.INVALID, f"process.copies=threads is {wanted}: leave it out"


def _deployment_rules(trial: Trial, have: int | None) -> Iterator[Verdict]:
    yield from _gpu_rules(trial)
    if trial.deployment and have is not None and deployment.count_all_cores(trial) > have:
        shares = " + ".join(f"{member['replicas']} x {member['cores']}" for member in trial.deployment["members"])
        total = deployment.count_all_cores(trial)
        reason = f"the deployment asks for {shares} = {total} cores, there are {have}: use fewer cores or replicas"
        yield Status.INVALID, reason


def _gpu_rules(trial: Trial) -> Iterator[Verdict]:
    """Whether the members of a deployment can be on the GPUs that they have been given."""
    if not trial.deployment or trial.backend.get("device") != deployment.GPU:
        return
    name, count = trial.hardware.get("name"), deployment.count_gpus(trial.hardware)
    own, everyone = deployment.list_own_gpus(trial), [gpu for gpus in deployment.list_gpus(trial) for gpu in gpus]
    if max(own) >= count:
        reason = f"the deployment has a copy of this member on GPU {max(own)}, {name} has {count}, counted from 0: use"
        yield Status.INVALID, f"{reason} a smaller device or fewer replicas"
    shared = [gpu for gpu in own if everyone.count(gpu) > 1]
    if shared and trial.hardware.get("exclusive"):
        reason = f"the deployment has {everyone.count(shared[0])} copies on GPU {shared[0]} of {name}, which takes one"
        yield Status.INVALID, f"{reason} process at a time: use fewer members, or nvidia-smi --compute-mode=DEFAULT"


def _ladder_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    for rung in trial.backend.get("ladder") or ():
        for name in rung:
            if name not in list_compile_time(backend.options_type):
                known = ", ".join(list_compile_time(backend.options_type)) or "none"
                reason = f"backend.ladder: {name} is no compile-time option of {backend.name}, which has {known}"
                yield Status.INVALID, reason


def _find_missing(
    trial: Trial, backend: type[Backend], installed: Installed, dispensable: Sequence[str]
) -> Iterator[Verdict]:
    """Distributions that are not installed, with the line that installs them."""
    python, own = trial.backend.get("python"), trial.model.get("python")
    needed = [name for name in list_packages(backend, trial.precision) if name not in dispensable]
    needs: list[tuple[str | None, Sequence[str], str]] = [
        (python, needed, backend.extra),
        (own, trial.model.get("requires") or (), str(trial.model.get("extra") or "")),
        (own, _required(trial.data), str(trial.data.get("extra") or "")),
    ]
    for interpreter, packages, extra in needs:
        missing = [name for name, version in installed(interpreter, packages).items() if version is None]
        if missing:
            what = f"'{DISTRIBUTION}[{extra}]'" if extra and not interpreter else " ".join(missing)
            yield (
                Status.UNAVAILABLE,
                f"not installed: {', '.join(missing)}; {interpreter or 'python'} -m pip install {what}",
            )

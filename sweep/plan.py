"""From declared trials to a plan: what can work, what cannot and why, and which builds are really needed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from sweep import backends, deployments, workloads
from sweep.backends.base import Backend
from sweep.buckets import config as bucket_config
from sweep.settings import Effort
from sweep.spec import DYNAMIC, BuildSpec, Status, Trial

if TYPE_CHECKING:
    from sweep.hardware import Host

Verdict = tuple[Status, str]
# (interpreter or None for our own, distributions) -> version of each, None where it is missing
Installed = Callable[[str | None, Sequence[str]], Mapping[str, str | None]]
SecondsOf = Callable[[BuildSpec], float | None]
LOAD_SECONDS = 0.4  # a fresh worker, an artifact of some MB: only for the forecast
REPLAY_SECONDS = 0.1  # a worker that reads a row


@dataclass(frozen=True)
class Entry:
    """One declared trial in a plan."""

    trial: Trial
    builds: tuple[BuildSpec, ...]
    status: Status | None = None  # None: valid; otherwise INVALID or UNAVAILABLE
    reason: str = ""  # the rule's text, or what is missing and how to get it


@dataclass(frozen=True)
class Plan:
    """Every declared trial once, in the order declared; trials asked for twice are folded into one."""

    entries: tuple[Entry, ...]
    duplicates: int = 0
    forecast_seconds: float | None = None  # None: unknown
    forecast_note: str = ""

    @property
    def valid(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status is None)

    @property
    def builds(self) -> Mapping[str, BuildSpec]:
        """The distinct builds that the valid trials need, by key, in order of first need."""
        return {spec.key: spec for entry in self.valid for spec in entry.builds}

    def trials_of(self, build_key: str) -> Sequence[Trial]:
        return [entry.trial for entry in self.valid if any(spec.key == build_key for spec in entry.builds)]


def make(trials: Iterable[Trial], host: "Host", installed: Installed, mode: str = "run") -> Plan:
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
        entries.append(Entry(trial, build_specs(trial), status, reason))
    return Plan(tuple(entries), count - len(entries))


def build_specs(trial: Trial) -> tuple[BuildSpec, ...]:
    """The builds of a trial: one per bucket, or one of the data's own shape."""
    backend = backends.get(str(trial.backend["name"]))
    shared: dict[str, Any] = {
        "model": _content(trial.model),
        "data": _content(trial.data),
        "backend": str(trial.backend["name"]),
        "options": backend.build_options(trial),
        "precision": trial.precision,
        "batch": trial.batch,
        "device": str(trial.backend.get("device") or "cpu"),
        "cores": trial.cores if backend.compiles_cores else None,
        "python": trial.backend.get("python"),
    }
    return tuple(BuildSpec(bucket=bucket, **shared) for bucket in trial.buckets or (None,))


def toolchain(spec: BuildSpec, installed: Installed) -> dict[str, str]:
    """Versions of the distributions that a build depends on; what is missing is left out."""
    found = installed(spec.python, _packages(backends.get(spec.backend), spec.precision))
    return {name: version for name, version in sorted(found.items()) if version is not None}


def forecast(plan: Plan, effort: Effort, seconds_of: SecondsOf, parallel: int) -> tuple[float | None, str]:
    """Seconds that the plan will take, and what the figure rests on.

    Args:
        seconds_of: 0 for a build that is stored, the typical seconds of like builds, None where nothing is known.
        parallel: builds that go on at once.
    """
    real = {key: spec for key, spec in plan.builds.items() if not backends.get(spec.backend).replays}
    known = {key: seconds_of(spec) for key, spec in real.items()}
    figures = [seconds for seconds in known.values() if seconds is not None]
    unknown = len(known) - len(figures)
    repeat = effort.window_seconds + 1.5 * effort.warmup_seconds + LOAD_SECONDS
    replayed = len(plan.builds) - len(real)
    runs = sum(not backends.get(str(entry.trial.backend["name"])).replays for entry in plan.valid)
    measuring = runs * effort.repeats * repeat + (len(plan.valid) - runs) * effort.repeats * REPLAY_SECONDS
    measuring += replayed * REPLAY_SECONDS
    building = sum(figures) / max(1, parallel)
    told = _told([spec for key, spec in plan.builds.items() if key not in real])
    if not unknown:
        return measuring + building, told
    if figures and any(figures):
        building += unknown * median(seconds for seconds in figures if seconds) / max(1, parallel)
    note = f"{unknown} {'build' if unknown == 1 else 'builds'} of unknown duration"
    return measuring + building, "; ".join(filter(None, (f"at least; {note}", told)))


def _told(replayed: Sequence[BuildSpec]) -> str:
    """What builds that are only replayed took where they were made."""
    seconds = sum(float((spec.options.get("row") or {}).get("build_seconds") or 0.0) for spec in replayed)
    took = f"; the builds are reported to have taken {seconds:,.0f} s" if seconds else ""
    return f"replayed: nothing is run, repeats are draws, not evidence{took}" if replayed else ""


def _broken_rules(trial: Trial, host: "Host", installed: Installed, mode: str) -> Iterator[Verdict]:
    """Every rule that the trial breaks, cheapest first."""
    from sweep import hardware

    yield from _deployment_rules(trial, hardware.available(trial.hardware, str(trial.backend.get("device") or "cpu")))
    status, reason = hardware.rules(host, trial, run=mode != "build")
    if status is not None:
        yield status, reason
    backend = backends.get(str(trial.backend["name"]))
    yield from _bucket_rules(trial, backend)
    yield from _ladder_rules(trial, backend)
    if int(trial.load.get("concurrency", 1)) != 1:
        yield Status.INVALID, "load.concurrency above 1 is not supported: use replicas=... for requests side by side"
    for spec in build_specs(trial):
        refused = backend.supports(spec)
        if refused:
            yield Status.INVALID, refused
    for refused in (backend.runs(trial), workloads.refusal(dict(trial.model))):
        if refused:
            yield Status.INVALID, refused
    absent = backend.unavailable(trial)
    if absent:
        yield Status.UNAVAILABLE, absent
    yield from _missing(trial, backend, installed, () if mode != "measure" else backend.build_packages)
    lacking = None if trial.backend.get("python") or mode == "measure" else backend.missing()
    if lacking:
        yield Status.UNAVAILABLE, lacking


def _bucket_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    if not trial.buckets:
        return
    refused = bucket_config.refusal(() if trial.buckets == DYNAMIC else trial.buckets, trial.model)
    if refused:
        yield Status.INVALID, refused
    elif trial.buckets == DYNAMIC and not backend.dynamic_sizes:
        yield Status.INVALID, f"{backend.name} builds for fixed shapes: list buckets, or use buckets=auto"


def _deployment_rules(trial: Trial, have: int | None) -> Iterator[Verdict]:
    if trial.deployment and have is not None and deployments.total(trial) > have:
        asked = " + ".join(f"{each['replicas']} x {each['cores']}" for each in trial.deployment["members"])
        total = deployments.total(trial)
        reason = f"the deployment asks for {asked} = {total} cores, there are {have}: use fewer cores or replicas"
        yield Status.INVALID, reason


def _ladder_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    for rung in trial.backend.get("ladder") or ():
        for name in rung:
            if name not in backend.compile_options:
                known = ", ".join(backend.compile_options) or "none"
                reason = f"backend.ladder: {name} is no compile-time option of {backend.name}, which has {known}"
                yield Status.INVALID, reason


def _missing(
    trial: Trial, backend: type[Backend], installed: Installed, dispensable: Sequence[str]
) -> Iterator[Verdict]:
    """Distributions that are not installed, with the line that installs them."""
    python, own = trial.backend.get("python"), trial.model.get("python")
    needed = [name for name in _packages(backend, trial.precision) if name not in dispensable]
    needs: list[tuple[str | None, Sequence[str], str]] = [
        (python, needed, backend.extra),
        (own, trial.model.get("requires") or (), str(trial.model.get("extra") or "")),
        (own, trial.data.get("requires") or (), str(trial.data.get("extra") or "")),
    ]
    for interpreter, packages, extra in needs:
        missing = [name for name, version in installed(interpreter, packages).items() if version is None]
        if missing:
            what = f"'sweep[{extra}]'" if extra and not interpreter else " ".join(missing)
            yield (
                Status.UNAVAILABLE,
                f"not installed: {', '.join(missing)}; {interpreter or 'python'} -m pip install {what}",
            )


def _packages(backend: type[Backend], precision: str) -> tuple[str, ...]:
    return tuple(backend.packages) + tuple(backend.optional_packages.get(precision, ()))


def _content(group: Mapping[str, object]) -> dict[str, object]:
    """A model's or data set's config without the keys that do not change what it is."""
    return {key: value for key, value in group.items() if key not in ("requires", "extra", "data", "python")}

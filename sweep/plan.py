"""From declared trials to a plan: what can work, what cannot and why, and which builds are really needed."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from sweep import backends, deployments, workloads
from sweep.backends.base import Backend
from sweep.buckets import config as bucket_config
from sweep.load import config as load_config
from sweep.report import duration
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


def forecast(
    plan: Plan,
    effort: Effort,
    seconds_of: SecondsOf,
    parallel: int,
    start_seconds_of: Callable[[Trial], float | None] | None = None,
    price: str | None = None,
) -> tuple[float | None, str]:
    """Seconds that the plan will take, and what the figure rests on. Of a race: to its first look.

    Args:
        seconds_of: 0 for a build that is stored, the typical seconds of like builds, None where nothing is known.
        parallel: builds that go on at once.
        start_seconds_of: from starting a worker to its warm-up, as earlier sweeps saw it; None where none did.
        price: kind of price to tell the cost of this host's time by, where its hardware has one.
    """
    real = {key: spec for key, spec in plan.builds.items() if not backends.get(spec.backend).replays}
    known = {key: seconds_of(spec) for key, spec in real.items()}
    figures = [seconds for seconds in known.values() if seconds is not None]
    unknown = len(known) - len(figures)
    together = {deployments.group(entry.trial): entry.trial for entry in plan.valid}
    measuring = effort.repeats * sum(_repeat_seconds(t, effort, start_seconds_of) for t in together.values())
    building = sum(figures) / max(1, parallel) + (len(plan.builds) - len(real)) * REPLAY_SECONDS
    if unknown and any(figures):
        building += unknown * median(seconds for seconds in figures if seconds) / max(1, parallel)
    most = building + measuring * max(effort.repeats, effort.repeats_max or 0) / effort.repeats
    first = min(building + measuring, effort.budget_seconds or math.inf)
    notes = [
        f"at least; {unknown} {'build' if unknown == 1 else 'builds'} of unknown duration" if unknown else "",
        _told([spec for key, spec in plan.builds.items() if key not in real]),
        _ending(effort, first, most),
        _costing(plan, first, min(most, effort.budget_seconds or math.inf), price),
    ]
    return first, "; ".join(filter(None, notes))


def _repeat_seconds(trial: Trial, effort: Effort, start_seconds_of: Callable[[Trial], float | None] | None) -> float:
    if backends.get(str(trial.backend["name"])).replays:
        return REPLAY_SECONDS
    start = start_seconds_of(trial) if start_seconds_of else None
    windows = 1 + int(trial.load.get("probes", 0))  # load=capacity tries rates, then confirms the one that it found
    window = load_config.seconds(trial.load, effort.window_seconds)
    return windows * window + 1.5 * effort.warmup_seconds + (LOAD_SECONDS if start is None else start)


def _ending(effort: Effort, first: float, most: float) -> str:
    """When it ends, where that depends on what is measured, or on the clock."""
    budget = effort.budget_seconds
    if effort.repeats_max is not None and most > first:
        until = f"to the first look; then trials that may still be chosen, up to {effort.repeats_max} repeats each"
        return f"{until}: at most {duration(min(most, budget or math.inf))}"
    return f"the budget ends it after {duration(budget)}" if budget is not None and most > budget else ""


def _costing(plan: Plan, least: float, most: float, price: str | None) -> str:
    """The cost of so many seconds of this host, where all trials are on hardware of one known price."""
    from sweep.costs import money

    prices = {money.price_of(entry.trial.hardware, price) for entry in plan.valid}
    known = next(iter(prices)) if len(prices) == 1 else None
    if known is None:
        return ""
    low, high = (f"${known.usd_per_hour * seconds / 3600:.2g}" for seconds in (least, most))
    return f"{low} of this host's time" if low == high else f"{low} to {high} of this host's time"


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
    yield from _load_rules(trial, backend)
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


def _load_rules(trial: Trial, backend: type[Backend]) -> Iterator[Verdict]:
    name, clients = trial.load.get("name", "saturate"), load_config.clients(trial.load)
    if backend.replays and (clients > 1 or name != "saturate"):
        yield Status.INVALID, f"{backend.name} answers from a table that has no other load: use load=saturate"
    elif clients > 1 and not backend.concurrent:
        told = "answers one request at a time: use replicas=... for requests side by side, and load.concurrency=1"
        yield Status.INVALID, f"{backend.name} {told}"
    if name == "single" and trial.replicas > 1:
        yield Status.INVALID, "load=single has one client, whom one replica answers: use replicas=1"


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

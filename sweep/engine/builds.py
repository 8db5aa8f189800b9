"""Second phase: take every distinct build from the store, or build it, in parallel as cores and memory allow."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from sweep import backends
from sweep.engine import plan
from sweep.engine.context import Context, retry_transient
from sweep.engine.tasks import BuildTask, Built
from sweep.isolate.pool import format_rerun
from sweep.spec import BuildInfo, BuildSpec, Failure, FailureKind, Json, Outcome, StopReason, Trial, from_json, to_json
from sweep.spec.requests import BuildRequest, Padding
from sweep.store.builds import Entry

T = TypeVar("T")
Run = Callable[[Context, BuildTask, Path, Mapping[str, str]], Outcome]  # builds into a folder, with such tools
BUILDING = 0.5  # share of the budget of time in which builds may begin; the rest is for measuring
TYPICAL_BUILD_MB = 1500.0  # assumed until a build of the same backend has been measured


def build_all(context: Context, tasks: Sequence[BuildTask], run: Run) -> dict[tuple[str, str], Built]:
    """Build all tasks; the results by (spec key, model digest). The parent sleeps while workers build."""
    guard = MemoryGuard(context)
    context.display.begin("build", len(tasks))
    results = run_in_parallel(tasks, lambda task: _build(context, task, guard, run), count_parallel_builds(context))
    context.display.end()
    return {(task.spec.key, task.reference.model): built for task, built in zip(tasks, results, strict=True)}


def name_build(trial: Trial, spec: BuildSpec) -> str:
    """Readable name of a build, like `digits-onnxruntime-int8-b5`."""
    parts = [str(trial.model["name"]), spec.backend, spec.precision, f"b{spec.batch}"]
    parts += [f"c{spec.cores}"] if spec.cores else []
    parts += ["k" + "x".join(map(str, spec.bucket))] if spec.bucket else []
    chosen = trial.backend.get("options") or {}
    parts += [f"{name}={value}" for name, value in trial.settings.items() if name in spec.options]
    parts += [f"{name}={value}" for name, value in spec.options.items() if name in chosen and value != chosen[name]]
    return "-".join(parts)


def count_parallel_builds(context: Context) -> int:
    """How many builds run at once: the setting, else half the usable cores, because compilers have threads."""
    declared = context.settings.limits.parallel_builds
    return declared if declared else max(1, (context.host.cores + 1) // 2)


def run_in_parallel(items: Sequence[Json | BuildTask], work: Callable[..., T], width: int) -> list[T]:
    """Apply `work` to all items; results in their order. After an exception (an interrupt, a bug) no item is begun."""
    with ThreadPoolExecutor(max(1, width)) as pool:
        futures = [pool.submit(work, item) for item in items]
        pending = set(futures)
        try:
            while pending:
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
        except BaseException:
            for future in pending:
                future.cancel()
            raise
        return [future.result() for future in futures]


class MemoryGuard:
    """Lets a build start if its expected memory fits beside the running builds. A build alone may always start."""

    def __init__(self, context: Context) -> None:
        self._room = 0.9 * context.host.memory_mb
        self._peaks = _read_peaks(context)
        self._running: dict[int, float] = {}
        self._change = threading.Condition()

    def enter(self, spec: BuildSpec) -> int:
        """Wait for room. Returns a ticket for `leave`."""
        need = self._peaks.get(spec.backend, TYPICAL_BUILD_MB)
        with self._change:
            self._change.wait_for(lambda: not self._running or sum(self._running.values()) + need <= self._room)
            ticket = max(self._running, default=0) + 1
            self._running[ticket] = need
        return ticket

    def leave(self, ticket: int, spec: BuildSpec, peak_memory_mb: float) -> None:
        with self._change:
            del self._running[ticket]
            self._peaks[spec.backend] = max(self._peaks.get(spec.backend, 0.0), peak_memory_mb)
            self._change.notify_all()


def _read_peaks(context: Context) -> dict[str, float]:
    peaks: dict[str, float] = {}
    for entry in context.store.entries():
        backend, peak = entry.info.get("backend"), entry.info.get("peak_memory_mb", 0.0)
        if backend:
            peaks[backend] = max(peaks.get(backend, 0.0), peak)
    return peaks


def _build(context: Context, task: BuildTask, guard: MemoryGuard, run: Run) -> Built:
    if context.settings.plan == "measure":
        return _find_copied(context, task)
    spec, reference = task.spec, task.reference
    tools = plan.find_toolchain(spec, context.installed)
    key = context.store.key(spec, toolchain=tools, model=reference.model, data=reference.data)
    stored = _find_stored(context, task, key)
    if stored is not None:
        context.display.advance(
            f"{task.name}: {'remembered failure' if stored.failure else 'stored'}", bool(stored.failure)
        )
        return stored
    if context.is_overdue(BUILDING):
        return _refuse_late(context, task, key)
    return _build_new(context, task, guard, run, key, tools)


def _build_new(
    context: Context, task: BuildTask, guard: MemoryGuard, run: Run, key: str, tools: Mapping[str, str]
) -> Built:
    """Build, and keep the artifact or the failure in the store under `key`."""
    spec, reference, limits = task.spec, task.reference, context.settings.limits
    with context.store.building(key) as draft:
        if draft.existing is not None:  # another sweep finished it while this one waited for the lock
            return _read_entry(task, draft.existing)
        ticket, peak = guard.enter(spec), 0.0
        try:
            outcome, before = retry_transient(lambda: run(context, task, draft.folder, tools), limits.transient_retries)
            peak = outcome.peak_memory_mb
        finally:
            guard.leave(ticket, spec, peak)
        for passing in before:
            context.ledger.append("build", key=key, name=task.name, seconds=passing.seconds, failure=passing)
        facts = {"backend": spec.backend, "spec": to_json(spec), "toolchain": tools, "name": task.name}
        facts |= {"model": reference.model, "data": reference.data}
        failure = _find_failure(context, outcome, tools, spec.python)
        _keep_log(outcome.log, draft.folder)
        if failure is not None:
            facts |= {"peak_memory_mb": peak, "limits": to_json(limits), "user_error": outcome.user_error}
            entry = draft.fail(failure, facts, remember=not outcome.user_error)
        else:
            info = to_json(replace(from_json(BuildInfo, outcome.result), left_behind=outcome.left_behind))
            entry = draft.commit({**facts, "info": info, "peak_memory_mb": peak, "seconds": outcome.seconds})
    built = _read_entry(task, entry, reused=False)
    context.ledger.append("build", key=key, name=task.name, seconds=outcome.seconds, failure=built.failure)
    context.display.advance(
        f"{task.name}: {built.failure.kind.value if built.failure else f'{outcome.seconds:.1f} s'}", bool(built.failure)
    )
    return built


def run(context: Context, task: BuildTask, artifact: Path, tools: Mapping[str, str]) -> Outcome:
    """One build in a worker."""
    spec, limits = task.spec, context.settings.limits
    request = BuildRequest(
        spec,
        str(task.reference.data_folder),
        str(artifact),
        Padding.of(spec.model),
        tools,
        entry=backends.get(spec.backend).build_entry,
    )
    return context.run(
        request,
        "builds",
        task.name,
        seconds=limits.build_seconds,
        memory_mb=limits.build_memory_mb or 0.9 * context.host.memory_mb,
        python=spec.python,
        preload=backends.get(spec.backend).preload_build,
    )


def _refuse_late(context: Context, task: BuildTask, key: str) -> Built:
    """The result of a build that is not begun because its share of the budget is spent; the store does not keep it."""
    context.display.advance(f"{task.name}: budget spent", failed=True)
    summary = "budget spent before it was built: `python -m sweep resume last` goes on, with as much again"
    failure = Failure(FailureKind.PREEMPTED, summary)
    return Built(task.spec, key, context.store.root, None, failure, 0.0, reused=False, stop=StopReason.BUDGET)


def _find_copied(context: Context, task: BuildTask) -> Built:
    """For `plan=measure`: the newest stored build of this spec, model and data, by any compiler version.

    The interpreter is not compared either: it has another path on the host with the compiler.
    """
    wanted = {**to_json(task.spec), "python": None}
    for entry in reversed(context.store.entries()):
        info = entry.info
        same = (info.get("model"), info.get("data")) == (task.reference.model, task.reference.data)
        if entry.failure is None and same and {**info.get("spec", {}), "python": None} == wanted:
            whole = context.store.get(entry.key)
            if whole is not None:
                context.display.advance(f"{task.name}: stored")
                return _read_entry(task, whole)
    context.display.advance(f"{task.name}: not stored", failed=True)
    summary = "no stored build: run it with plan=build where the compiler is, and copy outputs/store here"
    failure = Failure(FailureKind.TOOLCHAIN_MISSING, summary)
    return Built(task.spec, task.spec.key, context.store.root, None, failure, 0.0, reused=False)


def _keep_log(log: str, artifact: Path) -> None:
    """Copy the log beside the artifact, so that a later sweep that uses the build has its log too."""
    try:
        shutil.copyfile(log, artifact / "log.txt")
    except OSError:
        pass  # the log is a help, not a part


def _find_stored(context: Context, task: BuildTask, key: str) -> Built | None:
    entry = context.store.get(key)
    if entry is None:
        return None
    if entry.failure is not None and (
        context.settings.retry_failed or _has_limit_grown(context, entry.info, entry.failure)
    ):
        return None
    return _read_entry(task, entry)


def _has_limit_grown(context: Context, info: Json, failure: Failure) -> bool:
    """Whether a build that lacked time or memory may have more of it now."""
    had, now = info.get("limits") or {}, context.settings.limits
    if failure.kind is FailureKind.TIMEOUT:
        return now.build_seconds > (had.get("build_seconds") or 0.0)
    if failure.kind is FailureKind.HOST_OOM:
        return (now.build_memory_mb or float("inf")) > (had.get("build_memory_mb") or float("inf"))
    return False


def _read_entry(task: BuildTask, entry: Entry, reused: bool = True) -> Built:
    info = from_json(BuildInfo, entry.info["info"]) if entry.failure is None else None
    at_fault = bool(entry.info.get("user_error"))
    return Built(task.spec, entry.key, entry.folder, info, entry.failure, entry.seconds, reused, at_fault)


def _find_failure(context: Context, outcome: Outcome, tools: Mapping[str, str], python: str | None) -> Failure | None:
    """Why there is no usable artifact; None if there is one.

    A process that ended without a result is a crash of the compiler. A compiler has also failed if its program does not
    run on the target.
    """
    failure = outcome.failure
    if failure is not None:
        ended = failure.signal is not None or failure.exit_code is not None
        crashed = failure.kind is FailureKind.CRASH and ended
        kind = FailureKind.COMPILER_CRASH if crashed else failure.kind
        return replace(failure, kind=kind, versions=failure.versions or tools)
    info, limit = from_json(BuildInfo, outcome.result), context.settings.gates.placement_min
    if info.placement >= limit:
        return None
    return Failure(
        FailureKind.PARTIAL_PLACEMENT,
        f"only {info.placement:.0%} of the operators run on the target (limit {limit:.0%}): "
        f"{info.fallback or 'the compiler fell back'}",
        log=outcome.log,
        exit_code=0,
        seconds=outcome.seconds,
        versions=dict(tools),
        command=format_rerun(Path(outcome.log).parent, python=python),
    )

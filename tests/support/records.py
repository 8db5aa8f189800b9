"""Records as a sweep would leave them, without running one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sweep.spec import BuildSpec, Failure, FailureKind, Measurement, Origin, Record, Status, Trial
from sweep.spec.facts import LoadFacts
from sweep.spec.plan import Entry, Plan
from sweep.spec.settings import Effort, Gates, Limits, Objective, Settings
from sweep.verdict.select import Verdict

REFUSED = (Status.INVALID, Status.UNAVAILABLE)
EFFORT = Effort("quick", 2, 0.5, 10, 0.1, 1.0)
THROUGHPUT = Objective("max_throughput", "throughput_items_per_s", True)


def make_settings(outputs: object, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "name": "digits",
        "effort": EFFORT,
        "objective": THROUGHPUT,
        "limits": Limits(),
        "gates": Gates(),
        "tracking": {"name": "local", "uri": None},
        "outputs": str(outputs),
    }
    return Settings(**{**values, **changes})


def make_effort(window_seconds: float, min_requests: int) -> Effort:
    """One short repeat."""
    return Effort("test", 1, window_seconds, min_requests, warmup_seconds=0.01, warmup_seconds_max=0.05)


def make_trial(
    backend: str = "onnxruntime",
    precision: str = "fp32",
    batch: int = 1,
    cores: int = 1,
    replicas: int = 1,
    model: str = "digits",
    buckets: tuple[tuple[int, ...], ...] = (),
) -> Trial:
    named = [{"name": name} for name in (model, "digits", "local", backend)]
    overrides = (f"backend={backend}", f"precision={precision}", f"batch={batch}", f"cores={cores}")
    return Trial(*named, precision, batch, cores, replicas, buckets, overrides=overrides)


def make_measurement(index: int = 0, throughput: float = 1000.0, latency_ms: float = 1.0) -> Measurement:
    tails = {"p50": latency_ms, "p90": latency_ms * 1.1, "p95": latency_ms * 1.2, "p99": latency_ms * 1.5}
    return Measurement(
        index, throughput, 0.5, 500, 500, latency_ms, tails, 0.2, 3.0, {"requests": 10}, 120.0, 1.0, "", ""
    )


def make_load(**changes: Any) -> LoadFacts:
    """Arrivals that the server keeps up with, but for the changes."""
    calm = LoadFacts("poisson", 500.0, 900, 900, 0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0, overloaded=False)
    return replace(calm, **changes)


def make_record(
    status: Status | str = Status.OK,
    *,
    throughput: float | None = None,
    latency_ms: float | None = None,
    spread: float = 0.02,
    kind: FailureKind = FailureKind.CRASH,
    reason: str = "",
    log: str | None = None,
    origin: Origin = Origin.MEASURED,
    metrics: dict[str, float] | None = None,
    sweep: str = "20260102-030405-abcd",
    repeats: int = 2,
    build_seconds: float = 2.5,
    **axes: Any,
) -> Record:
    """A record of one trial; `axes` go to `make_trial`. Numbers follow from batch and cores unless they are given."""
    status = Status(status)
    trial = make_trial(**axes)
    ran = status in (Status.OK, Status.REJECTED)
    slower = 2 if trial.backend["name"] == "torch" else 1
    latency = latency_ms or slower * (0.2 + 0.8 * trial.batch / trial.cores**0.7)
    value = throughput or 1000 * trial.batch * trial.replicas / latency
    failure = None
    if status in (Status.BUILD_FAILED, Status.RUN_FAILED, Status.REJECTED):
        failure = Failure(kind, reason or f"the {status.value.split('_')[0]} did not work", log=log, seconds=1.5)
    known = {
        "throughput_items_per_s": value,
        "throughput_items_per_s_low": value * (1 - spread),
        "throughput_items_per_s_high": value * (1 + spread),
        "latency_ms_mean": latency * 1.05,
        "latency_ms_p50": latency,
        "latency_ms_p90": latency * 1.1,
        "latency_ms_p95": latency * 1.2,
        "latency_ms_p99": latency * 1.5,
        "latency_ms_max": latency * 3,
        "load_seconds": 0.2,
        "first_request_ms": 3.0,
        "peak_memory_mb": 120.0,
        "build_seconds": build_seconds,
    }
    agreement = {
        "agreement": 0.998,
        "agreement_low": 0.991,
        "agreement_high": 1.0,
        "accuracy": 0.954,
        "reference_accuracy": 0.955,
        "max_abs_error": 1e-4,
        "mcnemar_p": None,
        "who_was_right": {"both": 950, "only_reference": 1, "only_candidate": 1, "neither": 48},
    }
    return Record(
        key=trial.key,
        label=trial.label,
        settings=trial.settings,
        overrides=trial.overrides,
        status=status,
        reason=reason or ("" if status is Status.OK else failure.summary if failure else f"it is {status.value}"),
        origin=origin,
        failure=failure,
        metrics={**known, **(metrics or {})} if ran else None,
        agreement=agreement if ran else None,
        repeats=tuple(make_measurement(n, value, latency) for n in range(repeats)) if ran else (),
        builds=({"key": "b" * 32, "seconds": build_seconds, "reused": False},) if status not in REFUSED else (),
        sweep=sweep,
        started=1_760_000_000.0,
        seconds=4.0,
    )


def make_records() -> list[Record]:
    """Nine trials: five good, one of each way to fail, one invalid."""
    return [
        make_record(batch=1, cores=1),
        make_record(batch=1, cores=4),
        make_record(batch=5, cores=1),
        make_record(batch=5, cores=4, kind=FailureKind.TIMEOUT, status="run_failed", reason="no answer for 60 s"),
        make_record(backend="torch", batch=1, cores=1),
        make_record(backend="torch", batch=1, cores=4),
        make_record("build_failed", backend="torch", batch=5, cores=1, reason="the compiler died (SIGSEGV)"),
        make_record("rejected", backend="torch", batch=5, cores=4, kind=FailureKind.WRONG_OUTPUT, reason="constant"),
        make_record("invalid", backend="torch", batch=5, cores=8, reason="8 cores asked for, this machine has 4"),
    ]


def make_verdict(records: Sequence[Record], kind: str = "winner", sentence: str = "") -> Verdict:
    """Ranks by throughput alone."""
    good = sorted(
        (record for record in records if record.status is Status.OK),
        key=lambda record: -(record.metrics or {})["throughput_items_per_s"],
    )
    ranking = tuple(record.key for record in good)
    winner = ranking[0] if ranking else None
    return Verdict(
        kind=kind if winner else "none",
        winner=winner,
        tied=(),
        sentence=sentence or (f"Choose {good[0].label}." if good else "Nothing could be measured."),
        ranking=ranking,
        reasons={record.key: "slower" for record in good[1:]},
        front=ranking[:2],
    )


def make_plan(records: Sequence[Record], forecast_seconds: float | None = 42.0) -> Plan:
    """The plan that would have led to the records."""
    entries = []
    for record in records:
        settings = record.settings
        trial = make_trial(
            settings["backend"], settings["precision"], settings["batch"], settings["cores"], settings["replicas"]
        )
        build = BuildSpec(trial.model, trial.data, settings["backend"], {}, settings["precision"], settings["batch"])
        refused = record.status in REFUSED
        entries.append(Entry(trial, (build,), record.status if refused else None, record.reason if refused else ""))
    return Plan(tuple(entries), 0, forecast_seconds, "2 repeats of 0.5 s")

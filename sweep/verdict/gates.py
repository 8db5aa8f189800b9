"""What must hold before a trial counts as `ok`. A gate is a function of the evidence; the first that fails decides.

To add one, write a function `Evidence -> Failure | None` and put it in `GATES`. Its sentence holds the numbers and
what to do about them.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from sweep.spec import BuildInfo, Failure, FailureKind, Measurement
from sweep.spec.facts import LoadFacts, Timing
from sweep.spec.settings import Gates
from sweep.text import percent
from sweep.verdict import answer_gates, honesty
from sweep.verdict.answer_gates import ANSWERS
from sweep.verdict.evidence import Evidence, Gate

WORK_RATIO_MIN, WORK_RATIO_MAX = 1.5, 3.0


def check(
    measurements: Sequence[Measurement],
    comparison: Mapping[str, Any] | None,
    builds: Sequence[Mapping[str, Any] | BuildInfo],
    precision: str,
    gates: Gates,
    flops_per_item: float | None = None,
    peak_flops: float | None = None,
    original: str = "",
    windows: Sequence[Mapping[str, Any]] = (),
) -> Failure | None:
    """The reason to reject a measured trial, or None: it can be believed.

    Args:
        comparison: `agreement.compare` of the scoring pass with the original. None is no evidence, so it does not pass.
        builds: at least `precision`, as read back from what was built, and `placement` where it is known.
        flops_per_item, peak_flops: unknown (None) skips the gate on FLOP/s; they are never guessed.
        original: precision of the original model where it is not fp32: a model of int8 stays so.
        windows: `agreement.compare` of the outputs of each timed window with those of the scoring pass; empty where
            they have no sample in common.
    """
    plain = [vars(build) if isinstance(build, BuildInfo) else build for build in builds]
    evidence = Evidence(
        *(measurements, comparison or {}, plain, precision, gates, flops_per_item, peak_flops),
        original=original,
        windows=windows,
    )
    return next((failure for gate in GATES if (failure := gate(evidence)) is not None), None)


def answers(comparison: Mapping[str, Any], precision: str, gates: Gates, instead_of_advice: str = "") -> Failure | None:
    """The failure that `check` returns if answers are wrong; None if they pass or nothing was compared.

    Args:
        instead_of_advice: follows the numbers where the cause is known.
    """
    evidence = Evidence((), comparison, (), precision, gates, None, None, instead_of_advice)
    if not evidence.samples or comparison.get("mismatch"):
        return None
    return next((failure for gate in ANSWERS if (failure := gate(evidence)) is not None), None)


def measured(evidence: Evidence) -> Failure | None:
    """An empty, zero or non-finite metric is never a result."""
    kind, advice = FailureKind.IMPLAUSIBLE_TIMING, "see the log of the measurement"
    if not evidence.measurements:
        return Failure(kind, f"nothing was measured: {advice}")
    for m in evidence.measurements:
        for name in ("throughput_items_per_s", "latency_ms_mean", "window_seconds", "requests", "items", "in_flight"):
            value = getattr(m, name)
            if not (math.isfinite(value) and value > 0):
                return Failure(kind, f"repeat {m.index} reports {name} = {value}, which no working trial can: {advice}")
    return None


def compared(evidence: Evidence) -> Failure | None:
    """Outputs must have been compared, in the shapes of the original model."""
    mismatch = evidence.comparison.get("mismatch")
    if evidence.samples and mismatch:
        text = f"{mismatch}: compare how the model was exported with what it returns itself"
        return Failure(FailureKind.SHAPE_MISMATCH, text)
    if not evidence.samples:
        text = "no outputs were compared with the original model: see the log of the scoring pass"
        return Failure(FailureKind.WRONG_OUTPUT, text)
    return answer_gates.numbers(evidence)


def consistent(evidence: Evidence) -> Failure | None:
    """A build must answer in its timed windows as in the scoring pass, where nothing else runs.

    Not to the last bit, because other numbers of threads round otherwise: the limits of the precision hold.
    """
    for number, window in enumerate(evidence.windows):
        if not window:
            continue
        failure = answers(window, evidence.precision, evidence.gates)
        if failure is None and not window.get("mismatch"):
            continue
        share = "" if window.get("agreement") is None else f"{percent(window['agreement'], 4)} the same, "
        text = window.get("mismatch") or f"{share}relative error {_or_unknown(window.get('relative_error'))}"
        which = _name_repeat(evidence, evidence.measurements[number])
        return Failure(
            FailureKind.WRONG_OUTPUT if failure is None else failure.kind,
            f"{which}the build answers {window['samples']} samples of its timed window otherwise than in the scoring "
            f"pass ({text}): its answers depend on the load, on calls before or on the rest of the batch",
        )
    return None


def _or_unknown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.3g}"


GENERATOR_MS = 0.002  # between two requests, at most: see tests/benchmarks


def little(evidence: Evidence) -> Failure | None:
    """Little's law (Little 1961, Operations Research 9:383-387): requests in flight = request rate x mean latency.

    Lanes do not begin together, so a window may hold one request a lane more than the law says; short requests may
    also be off by the generator's own time between two of them. The median repeat decides: the host may take the
    processor away between two requests of one repeat. In an open load the number in flight is a result, so there is
    nothing to check.
    """
    closed = [m for m in evidence.measurements if m.load is None]
    judged = sorted(((Little(m.timing, evidence.gates), m.index) for m in closed), key=lambda pair: pair[0].excess)
    if not judged:
        return None
    law, index = judged[len(judged) // 2]
    which = _name_repeat(evidence, evidence.measurements[0]) and f"repeat {index}: "
    return None if law.excess <= 0 else Failure(FailureKind.IMPLAUSIBLE_TIMING, which + law.text)


def _name_repeat(evidence: Evidence, m: Measurement) -> str:
    """Which repeat a reason is about; empty if there is only one."""
    return f"repeat {m.index}: " if len(evidence.measurements) > 1 else ""


class Little:
    """How far one repeat, or a published result, is from Little's law."""

    def __init__(self, timing: Timing, gates: Gates) -> None:
        self.timing = timing
        per_request = timing.items / timing.requests
        self.seen = timing.throughput_items_per_s / per_request * timing.latency_ms_mean / 1000.0  # by the law
        self.off = abs(self.seen - timing.in_flight) / timing.in_flight
        generator = GENERATOR_MS / timing.latency_ms_mean
        self.allowed = gates.little_tolerance + timing.in_flight / timing.requests + generator

    @property
    def excess(self) -> float:
        """Above 0: the numbers cannot be true."""
        return self.off - self.allowed

    @property
    def text(self) -> str:
        """The numbers, and what may be wrong with them."""
        t = self.timing
        why = (
            "the clock covers more than one request"
            if self.seen > t.in_flight
            else "the clock misses part of a request (is the device waited for?), requests came with gaps, or replicas "
            "did not run at the same time"
        )
        return (
            f"{t.throughput_items_per_s:.4g} items/s x {t.latency_ms_mean:.4g} ms / "
            f"{t.items / t.requests:.4g} items a request = {self.seen:.3g} in flight, but {t.in_flight:g} were: "
            f"{100 * self.off:.0f} % off, {100 * self.allowed:.0f} % allowed (Little's law); {why}"
        )


def generator(evidence: Evidence) -> Failure | None:
    """In an open load the generator of requests must not be the bottleneck; see `load.account` for both numbers.

    The median repeat decides, as for Little's law.
    """
    judged = sorted(
        ((_generator_share(m, m.load), m.index, m, m.load) for m in evidence.measurements if m.load is not None),
        key=lambda row: row[:2],
    )
    if not judged:
        return None
    share, _, m, load = judged[len(judged) // 2]
    allowed = evidence.gates.generator_tolerance
    if share <= allowed:
        return None
    text = (
        f"{_name_repeat(evidence, m)}the load generator was the bottleneck: batches left {load.lag_ms_mean:.2g} ms "
        f"late on average where items take {m.latency_ms_mean:.3g} ms, and it took {percent(load.own_share, 4)} of the "
        f"time in which work waited; {percent(allowed, 4)} is allowed: keep other work off this machine, give each "
        "replica cores of its own, or use a larger batch or load=saturate"
    )
    return Failure(FailureKind.IMPLAUSIBLE_TIMING, text)


def _generator_share(m: Measurement, load: LoadFacts) -> float:
    """The larger of its two shares: of the latency, and of the time in which work waits."""
    return max(load.lag_ms_mean / m.latency_ms_mean, load.own_share)


def peak(evidence: Evidence) -> Failure | None:
    """Nothing computes faster than its device can."""
    best = max(m.throughput_items_per_s for m in evidence.measurements)
    return above_peak(best, evidence.flops_per_item, evidence.peak_flops, evidence.precision)


def above_peak(
    items_per_s: float, flops_per_item: float | None, peak_flops: float | None, precision: str
) -> Failure | None:
    """The reason not to believe a throughput; None where it can be, or where something is not known."""
    if not flops_per_item or not peak_flops or items_per_s * flops_per_item <= peak_flops:
        return None
    rate = items_per_s * flops_per_item
    text = (
        f"{rate:.3g} FLOP/s is {rate / peak_flops:.3g}x the device's peak of {peak_flops:.3g} at {precision}: answers "
        "may be cached or the device not waited for; if not, correct the hardware's peak_flops"
    )
    return Failure(FailureKind.IMPLAUSIBLE_TIMING, text)


def scales(evidence: Evidence) -> Failure | None:
    """Twice the requests must take about twice the time where the device runs on its own: else nobody waited for it.

    The median over repeats decides: one hiccup in the shorter run must not reject a trial.
    """
    ratios = [m.work_ratio for m in evidence.measurements if m.work_ratio is not None]
    if not ratios or WORK_RATIO_MIN <= median(ratios) <= WORK_RATIO_MAX:
        return None
    text = (
        f"twice the requests take {median(ratios):.2f}x the time, between {WORK_RATIO_MIN} and "
        f"{WORK_RATIO_MAX} is plausible: the device is not waited for, or its clock changes; check synchronize()"
    )
    return Failure(FailureKind.IMPLAUSIBLE_TIMING, text)


def placed(evidence: Evidence) -> Failure | None:
    """Operators that fell back to the host make another trial than the one declared."""
    shares = [build["placement"] for build in evidence.builds if build.get("placement") is not None]
    return placement(min(shares), evidence.gates) if shares else None


def precision(evidence: Evidence) -> Failure | None:
    """The precision asked for is the one that ran, by what the build and the runner read back, not by the request."""
    read_back = [build.get("precision") for build in evidence.builds]
    read_back += [m.precision for m in evidence.measurements if m.precision]
    for ran in read_back:
        if ran not in (evidence.precision, evidence.original):
            what = f"{ran} runs" if ran else "the build does not say what runs"
            text = (
                f"{evidence.precision} was asked for and {what}: choose another precision, or set the backend's options"
            )
            return Failure(FailureKind.UNSUPPORTED_DTYPE, text)
    return None


def placement(share: float, gates: Gates) -> Failure | None:
    """Too small a share of the operators on the target; the engine asks this right after a build, to fail it."""
    if share >= gates.placement_min:
        return None
    text = (
        f"only {percent(share, 4)} of the operators run on the target and {percent(gates.placement_min, 4)} must, "
        "the rest falls back to the host: replace the unsupported operators, or lower gates.placement_min to allow it"
    )
    return Failure(FailureKind.PARTIAL_PLACEMENT, text)


def clock(evidence: Evidence) -> Failure | None:
    """The worker's clock is the kernel's."""
    return honesty.check_clock(evidence.measurements)


def cores(evidence: Evidence) -> Failure | None:
    """The CPU time used is that of the trial's cores."""
    return honesty.check_cores(evidence.measurements)


def fresh(evidence: Evidence) -> Failure | None:
    """Inputs that were never sent before are as fast as others."""
    return honesty.check_fresh(evidence.measurements)


# `measured` and `compared` stand first: the others divide by what they make sure of.
GATES: tuple[Gate, ...] = (
    measured,
    compared,
    *ANSWERS,
    consistent,
    clock,
    cores,
    fresh,
    little,
    generator,
    peak,
    scales,
    placed,
    precision,
)

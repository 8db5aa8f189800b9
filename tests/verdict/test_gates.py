import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sweep.spec import BuildInfo, Failure, FailureKind, Measurement
from sweep.spec.settings import Gates
from sweep.verdict import gates
from sweep.verdict.stats import agreement

LIMITS = Gates(agreement_min={"fp32": 0.99, "int8": 0.95}, cosine_min={"fp32": 0.999}, placement_min=0.9)
ERRORS = Gates(
    agreement_min={"fp32": 0.99, "int8": 0.8},
    cosine_min={"fp32": 0.999, "int8": 0.95},
    relative_error_max={"fp32": 0.05, "int8": 0.75},
)
# 4 requests in flight of 5 items, 8 ms each: 500 requests/s.
GOOD = Measurement(0, 2500.0, 2.0, 1000, 5000, 8.0, {"p50": 8.0}, 0.1, 9.0, {}, 100.0, 4.0, "", "", precision="fp32")
BUILDS = (BuildInfo("fp32"),)
REFERENCE = np.random.default_rng(0).normal(size=(1000, 10))


def check(
    measurements: tuple[Measurement, ...] = (GOOD,),
    outputs: Any = REFERENCE,
    builds: Any = BUILDS,
    precision: str = "fp32",
    **more: Any,
) -> Failure | None:
    comparison = agreement.compare([REFERENCE], [np.asarray(outputs)])
    return gates.check(measurements, comparison, builds, precision, more.pop("limits", LIMITS), **more)


def rejected(failure: Failure | None, kind: FailureKind, *said: str) -> None:
    assert failure is not None
    assert failure.kind is kind
    for text in said:
        assert text in failure.summary
    assert "\n" not in failure.summary


def test_a_good_trial_passes() -> None:
    assert check() is None
    assert check(builds=({"precision": "fp32", "key": "k"},), flops_per_item=1e6, peak_flops=1e12) is None
    assert check(limits=Gates()) is None


@pytest.mark.parametrize("name", ["throughput_items_per_s", "latency_ms_mean", "window_seconds", "requests", "items"])
@pytest.mark.parametrize("value", [0, -1.0, math.nan, math.inf])
def test_empty_and_impossible_metrics_never_pass(name: str, value: float) -> None:
    rejected(check((GOOD, replace(GOOD, index=1, **{name: value}))), FailureKind.IMPLAUSIBLE_TIMING, "repeat 1", name)


def test_nothing_measured_or_nothing_compared_never_passes() -> None:
    rejected(check(()), FailureKind.IMPLAUSIBLE_TIMING, "nothing was measured")
    for empty in (None, {}, agreement.compare([], [])):
        failure = gates.check((GOOD,), empty, (BuildInfo("fp32"),), "fp32", LIMITS)
        rejected(failure, FailureKind.WRONG_OUTPUT, "no outputs")


def test_another_shape_is_a_shape_mismatch() -> None:
    rejected(check(outputs=REFERENCE[:, :9]), FailureKind.SHAPE_MISMATCH, "(1000, 9)", "(1000, 10)")


def test_nan_comes_before_disagreement() -> None:
    rejected(check(outputs=np.full_like(REFERENCE, np.nan)), FailureKind.NUMERICAL_ERROR, "fp32", "1000 samples")


def test_constant_outputs() -> None:
    constant = np.tile(REFERENCE[:1], (1000, 1))
    rejected(check(outputs=constant), FailureKind.WRONG_OUTPUT, "outputs do not depend on the inputs")


def shuffled_classes(share: float) -> np.ndarray[Any, Any]:
    outputs = REFERENCE.copy()
    count = int(share * len(outputs))
    outputs[:count] = np.roll(outputs[:count], 1, axis=1)
    return outputs


def test_agreement_below_the_limit_of_the_precision() -> None:
    outputs = shuffled_classes(0.1)
    rejected(
        check(outputs=outputs), FailureKind.WRONG_OUTPUT, "90 %", "1000 samples", "99 %", "gates.agreement_min.fp32"
    )
    rejected(check(outputs=outputs, precision="int8", builds=(BuildInfo("int8"),)), FailureKind.WRONG_OUTPUT, "95 %")
    assert check(outputs=outputs, limits=Gates(agreement_min={"bf16": 0.99})) is None


def test_agreement_that_chance_explains_passes() -> None:
    outputs = shuffled_classes(0.012)  # 98.8 % seen; up to 99.3 % possible
    assert check(outputs=outputs, limits=Gates(agreement_min={"fp32": 0.99})) is None


def test_cosine_below_its_limit() -> None:
    turned = REFERENCE + np.sort(REFERENCE, axis=1) * 0.3
    limits = Gates(cosine_min={"fp32": 0.999})
    rejected(check(outputs=turned, limits=limits), FailureKind.WRONG_OUTPUT, "mean cosine 0.9", "gates.cosine_min.fp32")


# --- each output by itself, and the numbers of the rejection ----------------------------------------------------------


def check_answers(
    reference: list[Any], build: list[Any], task: str = "regression", precision: str = "fp32", **more: Any
) -> Failure | None:
    return gates.answers(agreement.compare(reference, build, task=task, **more), precision, ERRORS)


def test_answers_232_times_too_large() -> None:
    """All top classes and all directions are the original's."""
    failure = check_answers([REFERENCE], [232 * REFERENCE], "classification")
    rejected(
        failure,
        FailureKind.WRONG_OUTPUT,
        "the output is off by 3",
        "all values are 232 times as large",
        "gates.relative_error_max",
    )
    assert check_answers([REFERENCE], [1.001 * REFERENCE], "classification") is None


def test_second_output_with_the_wrong_sign_for_half_of_the_samples() -> None:
    """One number beside logits: one mean cosine over all outputs would hide it."""
    score = np.random.default_rng(1).normal(3, 1, size=(1000, 1))
    wrong = np.where(np.arange(1000)[:, None] % 2, -score, score)
    names = agreement.Reading(names=("logits", "score"))
    failure = check_answers([REFERENCE, score], [REFERENCE, wrong], "classification", reading=names)
    rejected(failure, FailureKind.WRONG_OUTPUT, "output 1 (score) is off by", "fp32 must stay within 0.0500")
    comparison = agreement.compare([REFERENCE, score], [REFERENCE, wrong])
    limits = Gates(cosine_min={"fp32": 0.999})
    rejected(gates.answers(comparison, "fp32", limits), FailureKind.WRONG_OUTPUT, "output 1 points elsewhere")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_29_kelvin_off_where_15_vary(precision: str) -> None:
    kelvin = 300 + np.random.default_rng(1).uniform(-15, 15, size=(1000, 1))
    failure = check_answers([kelvin], [kelvin + 29], precision=precision)
    rejected(failure, FailureKind.WRONG_OUTPUT, "the output is off by 3", "largest difference 29.0", precision)


def test_other_outputs_of_ids_are_held_to_agreement() -> None:
    tokens = np.random.default_rng(1).integers(0, 500, size=(1000, 6))
    other = tokens.copy()
    other[:300, 2] += 1
    for reference, build in (([REFERENCE, tokens], [REFERENCE, other]), ([tokens], [other])):
        failure = check_answers(reference, build, precision="int8")
        rejected(
            failure, FailureKind.WRONG_OUTPUT, "is equal to the original model's for 70 % of 1,000 samples", "80 %"
        )
    assert check_answers([tokens], [tokens]) is None
    positive = REFERENCE > 0
    assert check_answers([REFERENCE, positive], [REFERENCE, positive.copy()], "classification") is None


def test_nan_where_the_original_has_nan_passes() -> None:
    blank = REFERENCE.copy()
    blank[:80] = np.nan
    assert check_answers([blank], [blank.copy()], "classification") is None
    rejected(check_answers([REFERENCE], [blank], "classification"), FailureKind.NUMERICAL_ERROR, "NaN or infinity")
    failure = check_answers([REFERENCE, REFERENCE], [REFERENCE, blank], "classification")
    rejected(failure, FailureKind.NUMERICAL_ERROR, "output 1 holds NaN")


def test_nothing_but_nan_of_the_original_is_its_own_fault() -> None:
    nothing = np.full_like(REFERENCE, np.nan)
    failure = gates.check((GOOD,), agreement.compare([nothing], [nothing]), BUILDS, "fp32", ERRORS)
    rejected(failure, FailureKind.NUMERICAL_ERROR, "the original model itself answers NaN", "1,000 samples")


def test_lines_that_are_read_differently() -> None:
    """25 of 44 lines have one other letter: nearly all steps agree, and most lines do not."""
    random = np.random.default_rng(1)
    lines = random.normal(size=(44, 40, 90))
    build = lines.copy()
    build[:25, 7] = np.roll(build[:25, 7], 1, axis=-1)
    failure = check_answers([lines], [build], "classification", "int8")
    rejected(
        failure,
        FailureKind.WRONG_OUTPUT,
        "same whole answer as the original model for 43.18 % of 44 samples, and for 98.58 % of their steps",
        "int8 must reach 80 %",
        "data.agree_on",
    )
    steps = agreement.Reading(unit="step")
    comparison = agreement.compare([lines], [build], reading=steps)
    assert gates.answers(comparison, "int8", Gates(agreement_min={"int8": 0.8})) is None


@pytest.mark.parametrize(("factor", "why"), [(0.8, "clock misses"), (1.25, "more than one request")])
def test_littles_law(factor: float, why: str) -> None:
    off = replace(GOOD, latency_ms_mean=8.0 * factor)
    rejected(check((GOOD, off)), FailureKind.IMPLAUSIBLE_TIMING, "Little", why, f"{abs(factor - 1):.0%}".rstrip("%"))
    assert check((off,), limits=replace(LIMITS, little_tolerance=0.3)) is None


@pytest.mark.parametrize("factor", [0.89, 1.11])
def test_littles_law_within_its_tolerance(factor: float) -> None:
    assert check((replace(GOOD, latency_ms_mean=8.0 * factor),)) is None


def test_littles_law_allows_for_the_ends_of_a_short_window() -> None:
    few = replace(GOOD, requests=20, items=100, latency_ms_mean=8.0 * 1.25)
    assert check((few,)) is None
    rejected(check((replace(few, requests=2000, items=10000),)), FailureKind.IMPLAUSIBLE_TIMING)


def test_faster_than_the_device_can() -> None:
    failure = check(flops_per_item=1e9, peak_flops=1e12)
    rejected(failure, FailureKind.IMPLAUSIBLE_TIMING, "2.5e+12 FLOP/s", "2.5x", "peak_flops")
    assert check(flops_per_item=1e9) is None
    assert check(peak_flops=1.0) is None


def test_twice_the_work_in_the_same_time() -> None:
    hasty = replace(GOOD, work_ratio=1.02)
    true = replace(GOOD, work_ratio=1.98)
    rejected(check((hasty, hasty, true)), FailureKind.IMPLAUSIBLE_TIMING, "1.02x")
    assert check((hasty, true, true)) is None


def test_partial_placement() -> None:
    builds = (BuildInfo("fp32"), {"precision": "fp32", "placement": 0.4})
    rejected(check(builds=builds), FailureKind.PARTIAL_PLACEMENT, "40 %", "90 %", "placement_min")
    rejected(gates.placement(0.4, LIMITS), FailureKind.PARTIAL_PLACEMENT)
    assert gates.placement(0.9, LIMITS) is None


def test_the_precision_asked_for_must_run() -> None:
    rejected(check(builds=(BuildInfo("bf16"),)), FailureKind.UNSUPPORTED_DTYPE, "fp32 was asked for and bf16 runs")
    rejected(check(builds=({"key": "k"},)), FailureKind.UNSUPPORTED_DTYPE, "does not say")
    runs = replace(GOOD, precision="bf16")
    rejected(check((runs,)), FailureKind.UNSUPPORTED_DTYPE, "bf16 runs")


def test_every_gate_is_in_the_list_once() -> None:
    assert len(set(gates.GATES)) == len(gates.GATES)
    assert gates.GATES[:2] == (gates.measured, gates.compared)

"""Whether a published number can be true, judged from the numbers of its row alone.

The gates of our own measurements (`gates`) are used where a row states what they need. The checks here look at what our
own measurements cannot get wrong: percentiles out of order, a share above 1. Other knowledge about a source
(`Row.mistakes`) plays no part.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sweep.backends.replay.tables import NUMBERS, Row
from sweep.spec import Failure, FailureKind, Status
from sweep.spec.facts import Timing
from sweep.spec.metrics import QUANTILES
from sweep.spec.settings import Gates
from sweep.verdict import answer_gates, gates
from sweep.verdict.evidence import Evidence
from sweep.verdict.stats import intervals

MANY = 10**9  # requests, where their number is not stated: a window so long that its ends do not matter
ROUNDING = 1e-3  # relative: published numbers are rounded
_SHARES = ("placement", "accuracy", "reference_accuracy", "agreement", "top1_probability")
_ORDER = ("min", *QUANTILES, "max")


def judge(row: Row, types: Sequence[Mapping[str, Any]], limits: Gates) -> list[Failure]:
    """Every reason not to believe a row; empty if it may be true, or says nothing about a run.

    Args:
        types: the declared hardware types, for the peak of the row's instance.
    """
    if row.status is not Status.OK:
        return []
    failures = [*_check_order(row), *_check_shares(row), *_check_zeros(row)]
    evidence = _evidence(row, limits)
    failures += _check_timing(row, types, limits)
    for gate in (gates.placed, answer_gates.agreement):
        failure = gate(evidence)
        failures += [failure] if failure else []
    return failures


def peak_flops(row: Row, types: Sequence[Mapping[str, Any]]) -> float | None:
    """The peak of the row's instance at its precision in FLOP/s; None: not known.

    An instance without a size stands for its whole family: the largest peak that is declared in it.
    """
    whole = [hardware for hardware in types if hardware["name"] == row.hardware]
    family = [hardware for hardware in types if str(hardware["name"]).startswith(row.hardware + "_")]
    peaks = [(hardware.get("peak_flops") or {}).get(row.precision) for hardware in whole or family]
    known = [float(peak) for peak in peaks if peak is not None]
    return max(known) if known and len(known) == len(peaks) else None


def _evidence(row: Row, limits: Gates) -> Evidence:
    comparison: dict[str, Any] = {}
    if row.agreement is not None and row.items and row.agreement <= 1:
        high = intervals.wilson(round(row.agreement * row.items), row.items).high
        comparison = {"samples": row.items, "agreement": row.agreement, "agreement_high": high}
    builds = [] if row.placement is None or row.placement > 1 else [{"placement": row.placement}]
    return Evidence((), comparison, builds, row.precision or "", limits, None, None)


def _check_timing(row: Row, types: Sequence[Mapping[str, Any]], limits: Gates) -> Iterator[Failure]:
    rate = row.throughput_items_per_s
    if not rate:
        return
    latency = row.latency_ms_mean or row.latency_ms_p50  # the median stands for a mean that is not stated
    if latency and row.request_batch and row.in_flight:
        requests = max(1, row.items // row.request_batch) if row.items else MANY
        items = requests * row.request_batch
        law = gates.Little(Timing(rate, items / rate, requests, items, latency, row.in_flight), limits)
        if law.excess > 0:
            text = law.text + ("" if row.latency_ms_mean else " (by the median, no mean is stated)")
            if row.throughput_recomputed_items_per_s:
                text += f"; items over prediction time are {row.throughput_recomputed_items_per_s:.4g} a second"
            yield Failure(FailureKind.IMPLAUSIBLE_TIMING, text)
    failure = gates.above_peak(rate, row.flops_per_item, peak_flops(row, types), row.precision or "")
    if failure is not None:
        yield failure


def _check_order(row: Row) -> Iterator[Failure]:
    """Smallest, percentiles and largest ascend, and the mean lies between the ends."""
    known = [(name, value) for name in _ORDER if (value := getattr(row, f"latency_ms_{name}")) is not None]
    pairs = list(itertools.pairwise(known))
    if row.latency_ms_mean is not None:
        mean = ("mean", row.latency_ms_mean)
        pairs += [(end, mean) for end in known if end[0] == "min"]
        pairs += [(mean, end) for end in known if end[0] in ("p99", "max")]
    for (low, small), (high, large) in pairs:
        if small > large * (1 + ROUNDING):
            text = f"latency {low} of {small:.4g} ms is above {high} of {large:.4g} ms: "
            giant = (low, high) == ("mean", "p99")
            text += "a giant request or two, as without warm-up" if giant else "that cannot be, look at the source"
            yield Failure(FailureKind.IMPLAUSIBLE_TIMING, text)


def _check_shares(row: Row) -> Iterator[Failure]:
    for name in _SHARES:
        value = getattr(row, name)
        if value is not None and value > 1:
            percent = f", write a percentage as {value / 100:g}" if value <= 100 else ""
            yield Failure(FailureKind.WRONG_OUTPUT, f"{name} {value:g} is no share of one{percent}")


def _check_zeros(row: Row) -> Iterator[Failure]:
    timed = (name for name in NUMBERS if name.startswith(("throughput_items", "latency_ms")))
    for name in timed:
        if getattr(row, name) == 0:
            yield Failure(FailureKind.IMPLAUSIBLE_TIMING, f"{name} is 0, which no working trial has")

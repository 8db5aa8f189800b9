"""Numbers, units, durations, counts and paths as people read them, the same in every table, plot and page."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep.spec import Record, Status, StopReason, metrics
from sweep.spec.metrics import Metric, Unit

UNKNOWN = "–"


def number(value: float | None) -> str:
    """Three significant digits, and never fewer than the integer part has: 0.0123, 1.23, 12.3, 1,234."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0"
    decimals = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, min(decimals, 9))}f}"


def plus_minus(value: float | None, low: float | None, high: float | None) -> str:
    """`1,234 ± 12`: the value and half of its interval, without digits that the interval makes meaningless."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)) or high <= low:
        return number(value)
    half = (high - low) / 2
    decimals = max(0, min(1 - math.floor(math.log10(half)), 9))
    if value:
        decimals = min(decimals, max(0, 3 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{decimals}f} ± {half:,.{decimals}f}"


def share(value: float | None, decimals: int = 1) -> str:
    """A share of one as a percentage: 100 %, 99.2 %, 0.05 %. A share below one is never rounded up to 100 %.

    Args:
        decimals: of the percentage, up to three; zeros at the end are left out.
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    for digits in range(decimals, 4):
        text = f"{100 * value:.{digits}f}"
        if value >= 1 or float(text) < 100:
            return f"{float(text):g} %"
    return "<100 %"


def percent(share: float, digits: int = 2) -> str:
    """A share of one as a percentage with `digits` significant digits: `24 %`, `0.08 %`; above 999 `>999 %`."""
    return f"{_hundredfold(share, digits)} %"


def percent_range(low: float, high: float) -> str:
    """`22 to 26 %`."""
    return f"{_hundredfold(low)} to {_hundredfold(high)} %"


def _hundredfold(share: float, digits: int = 2) -> str:
    """A share times 100, never with fewer digits than the integer part has."""
    value = 100 * share
    if abs(value) > 999:
        return ">999" if value > 0 else "<-999"
    decimals = digits if value == 0 else digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, max(0, decimals)):.10g}"


def signed_percent(share: float) -> str:
    """A change as a percentage: `-12.0 %`; above 999 `>+999 %`."""
    value = 100 * share
    return ">+999 %" if value > 999 else f"{value:+.1f} %"


def duration(seconds: float | None) -> str:
    """A time that a person waits for: 0.4 s, 12 s, 1 min 20 s, 2 h 5 min."""
    if seconds is None or not math.isfinite(seconds):
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"


def count(n: int, what: str) -> str:
    """`1 trial`, `4 trials`."""
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def count_range(numbers: Iterable[int], what: str) -> str:
    """`4 repeats` if the numbers are equal, else `2 to 4 repeats`; empty without numbers."""
    ordered = sorted(set(numbers))
    if len(ordered) < 2:
        return count(ordered[0], what) if ordered else ""
    return f"{ordered[0]:,} to {count(ordered[-1], what)}"


def list_some(names: Sequence[str], most: int) -> str:
    """`a, b and 3 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def plain(value: float) -> str:
    """Four significant digits, thousands separated, no exponent in the usual range."""
    if abs(value) >= 1000:
        digits = max(0, math.floor(math.log10(abs(value))) - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.4g}"


def quantity(metric: str, value: float) -> str:
    """A value with its unit, in a sentence: `23,410 items/s`, `0.231 ms`, `$0.42 per million items`, `99.2 %`."""
    known = metrics.find(metric)
    if known.unit is Unit.SHARE:
        return percent(value, 4)
    if known.unit is Unit.USD:
        return f"${plain(value)} per million items"
    return f"{plain(value)} {known.unit.value or known.label}"


def cell(metric: Metric, numbers: Mapping[str, float]) -> str:
    """The value of a metric for a column that names its unit; a rate with half of its interval over repeats."""
    value = numbers.get(metric.name)
    if value is None:
        return UNKNOWN
    if metric.unit is Unit.SHARE:
        return share(value)
    if metric.unit is Unit.ITEMS_PER_S:
        return plus_minus(value, numbers.get(metric.low), numbers.get(metric.high))
    if metric.decimals is not None:
        return f"{value:,.{metric.decimals}f}"
    return f"{value:.3g}" if metric.unit in (Unit.USD, Unit.NONE) else number(value)


def describe_numbers(numbers: Mapping[str, float], without: str = "") -> dict[str, str]:
    """The numbers of a trial that a person asks for first, by their labels; unknown ones are left out.

    Args:
        without: a metric that is shown elsewhere.
    """
    texts = {}
    for metric in metrics.METRICS:
        if metric in metrics.LATENCIES:
            texts["latency"] = _latencies(numbers)
        elif metric.shown is not metrics.Shown.NOWHERE and metric.name in numbers and metric.name != without:
            texts[metric.label] = _with_unit(metric, numbers)
    return {label: text for label, text in texts.items() if text}


def _with_unit(metric: Metric, numbers: Mapping[str, float]) -> str:
    text, value = cell(metric, numbers), numbers[metric.name]
    if metric.unit is Unit.SECONDS:
        return duration(value)
    if metric.unit is Unit.USD:
        return f"${text} per million items"
    if metric.unit is Unit.SHARE:
        low, high = numbers.get(metric.low), numbers.get(metric.high)
        return text if low is None or high is None else f"{text} ({share(low)} to {share(high)})"
    return f"{text} {metric.unit.value}".rstrip()


def _latencies(numbers: Mapping[str, float]) -> str:
    """`p50 0.52 · p90 0.61 · p95 0.70 ms (1,234 requests; too few for a p99)`."""
    known = [metric for metric in metrics.LATENCIES if metric.quantile]
    texts = [f"{metric.label} {number(numbers[metric.name])}" for metric in known if metric.name in numbers]
    samples = int(numbers.get(metrics.SAMPLES, 0))
    if not texts or not samples:
        return " · ".join(texts) + " ms" if texts else ""
    lacking = "" if known[-1].name in numbers else f"; too few for a {known[-1].label}"
    return f"{' · '.join(texts)} ms ({count(samples, 'request')}{lacking})"


def axis_text(value: Any) -> str:
    """The value of an axis as text: buckets become `64x128 128x224`."""
    if isinstance(value, (list, tuple)):
        return " ".join("x".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v) for v in value) or "own"
    return str(value)


STOPS = {
    StopReason.DOMINATED: "dominated",
    StopReason.INFEASIBLE: "infeasible",
    StopReason.BUDGET: "budget spent",
    StopReason.INTERRUPTED: "interrupted",
}


def status_text(status: Status) -> str:
    return status.value.replace("_", " ")


def stop_text(record: Record) -> str:
    """Why a trial was stopped, in a word or two."""
    return STOPS.get(record.stop, status_text(record.status)) if record.stop else status_text(record.status)


def to_single_line(text: str) -> str:
    """The text with every run of spaces and line breaks as a space."""
    return " ".join(text.split())


def relative(path: str | None) -> str:
    """A path as one types it here: relative if it lies below the current folder."""
    if not path:
        return ""
    try:
        inside = os.path.relpath(path)
    except (OSError, ValueError):
        return path
    return path if inside.startswith("..") and Path(path).is_absolute() else inside

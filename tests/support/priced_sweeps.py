"""Stored sweeps over hosts with prices, and what a person would reckon from the same lines with a spreadsheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweep.spec import Record, Trial
from sweep.store import ledger, query
from tests.support.records import make_record, make_settings, make_trial

NAME = "20260102-030405-abcd"
Rows = Mapping[str, Sequence[tuple[str, float]]]  # hardware -> its prices, (kind, USD/h), in its order


@dataclass(frozen=True)
class Line:
    """One trial: what a person has in a spreadsheet."""

    hardware: str
    rate: float
    p50: float
    p99: float
    accuracy: float = 0.954
    capacity: float | None = None
    noise: float = 0.0  # relative, between repeats
    status: str = "ok"


def trial_of(place: int, line: Line, rows: Rows) -> Trial:
    prices = [{"usd_per_hour": usd, "kind": kind, "region": "us-east-1"} for kind, usd in rows[line.hardware]]
    hardware = {"name": line.hardware, "device": "cpu", "cores": 8, "cpus": 16, "price": prices}
    return replace(make_trial(batch=place + 1), hardware=hardware, load={"name": "saturate"})


def record_of(trial: Trial, line: Line, price: float | None) -> Record:
    """As the sweep has left it, with the cost at its first price."""
    made = make_record(line.status, throughput=line.rate, latency_ms=line.p50, repeats=5, batch=trial.batch)
    paid = line.capacity if line.capacity is not None else line.rate
    known: dict[str, float] = {"latency_ms_p99": line.p99, "accuracy": line.accuracy, "reference_accuracy": 0.955}
    if line.capacity is not None:
        known["capacity_items_per_s"] = line.capacity
    if price is not None and paid:
        known["usd_per_million_items"] = price / 3600 / paid * 1e6
    around = np.random.default_rng(trial.batch).normal(0.0, 1.0, 5)
    repeats = tuple(
        replace(one, throughput_items_per_s=line.rate * (1 + line.noise * float(off)))
        for one, off in zip(made.repeats, around, strict=False)
    )
    if made.metrics is None:
        return replace(made, key=trial.key, settings=trial.settings, label=trial.label, sweep=NAME)
    metrics = {**made.metrics, **known}
    return replace(
        made, key=trial.key, settings=trial.settings, label=trial.label, metrics=metrics, repeats=repeats, sweep=NAME
    )


def store(outputs: Path, lines: Sequence[Line], rows: Rows, **changes: Any) -> list[Trial]:
    """The sweep on disk; its trials in the order of the lines."""
    trials = [trial_of(place, line, rows) for place, line in enumerate(lines)]
    book = ledger.Ledger(outputs / "sweeps" / NAME)
    with book.together():
        settings = make_settings(outputs, **changes)
        book.append("sweep", id=NAME, settings=settings, command="python -m sweep -m batch=1,5", version="0")
        for trial, line in zip(trials, lines, strict=True):
            price = next((usd for _, usd in rows[line.hardware]), None)
            book.append("trial", trial=trial)
            book.append("record", record=record_of(trial, line, price))
        book.append("finish", verdict=None, interrupted=False)
    book.close()
    return trials


def found(outputs: Path) -> list[query.Stored]:
    history = query.history(outputs, NAME)
    return [query.Stored(history, record) for record in query.records(history)]


# --- the spreadsheet --------------------------------------------------------------------------------------------------


def cost_of(line: Line, usd_per_hour: float | None) -> float | None:
    """Dollars for a million items: how long a host takes for them, in hours, times the price of an hour."""
    paid = line.rate if line.capacity is None else line.capacity
    if usd_per_hour is None or not paid:
        return None
    hours = 1_000_000 / paid / 60 / 60
    return hours * usd_per_hour


def sheet(
    lines: Sequence[Line],
    prices: Mapping[str, float | None],
    *,
    by: str = "cost",
    p50_max: float = math.inf,
    p99_max: float = math.inf,
    drop_max: float = math.inf,
    cost_max: float = math.inf,
) -> list[int]:
    """The lines that will do, best first, by their numbers from 0."""
    kept = []
    for place, line in enumerate(lines):
        cost = cost_of(line, prices[line.hardware])
        if line.status != "ok" or line.p50 > p50_max or line.p99 > p99_max or 0.955 - line.accuracy > drop_max:
            continue
        if (by == "cost" or cost_max < math.inf) and (cost is None or cost > cost_max):
            continue
        value = {"cost": cost, "rate": -line.rate, "p50": line.p50}[by]
        kept.append((value, place))
    return [place for _, place in sorted(kept)]


def random_lines(random: np.random.Generator, count: int = 14, noise: float = 0.0) -> tuple[list[Line], dict[str, Any]]:
    """Lines on four hosts, one of which has no price."""
    rows: dict[str, Any] = {
        "small": [("on_demand", float(random.uniform(0.05, 0.5))), ("spot", float(random.uniform(0.01, 0.2)))],
        "large": [("on_demand", float(random.uniform(0.5, 5.0))), ("reserved", float(random.uniform(0.2, 2.0)))],
        "odd": [("reserved", float(random.uniform(0.1, 3.0)))],
        "unknown": [],
    }
    scale = {"small": 1.0, "large": 8.0, "odd": 3.0, "unknown": 4.0}
    lines = []
    for _ in range(count):
        hardware = str(random.choice(list(rows)))
        p50 = float(random.lognormal(1.0, 0.8))
        lines.append(
            Line(
                hardware=hardware,
                rate=float(scale[hardware] * random.lognormal(6.0, 0.7)),
                p50=p50,
                p99=p50 * float(random.uniform(1.1, 4.0)),
                accuracy=float(random.uniform(0.92, 0.955)),
                noise=noise,
            )
        )
    return lines, rows

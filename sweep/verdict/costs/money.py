"""What a result costs: dollars for a million items, hosts for a load, and the price at which two setups cost the same.

Pure numbers: `prices` knows the prices, `whatif` tries others. What is not known is None, never a guess. A host is paid
for as a whole: how many more copies might fit beside those that were measured is not guessed.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sweep.hardware import rules
from sweep.spec import Trial, deployment
from sweep.spec.facts import Price
from sweep.spec.metrics import CAPACITY, THROUGHPUT

HOURS_A_MONTH = 730.0  # 365 days x 24 / 12
_WHOLE = 1e-9  # relative: 4.000000001 hosts are four


def list_prices(declared: Mapping[str, Any]) -> tuple[Price, ...]:
    """The prices that a hardware names, in its order."""
    return tuple(
        Price(float(row["usd_per_hour"]), *(_text(row.get(name)) for name in ("kind", "region", "date", "source")))
        for row in declared.get("price") or ()
    )


def find_price(declared: Mapping[str, Any], kind: str | None = None) -> Price | None:
    """The first price of this kind that a hardware names; without a kind the first of all; None if there is none."""
    return next((price for price in list_prices(declared) if kind in (None, price.kind)), None)


def find_rate(metrics: Mapping[str, Any]) -> float | None:
    """Items/s that a host is paid for: with `load=capacity` those that meet the service level, else the throughput.

    None: not known, or zero.
    """
    rate = metrics.get(CAPACITY, metrics.get(THROUGHPUT))
    return float(rate) if isinstance(rate, (int, float)) and math.isfinite(rate) and rate > 0 else None


def find_rate_metric(metrics: Mapping[str, Any]) -> str:
    """The metric that `find_rate` takes."""
    return CAPACITY if CAPACITY in metrics else THROUGHPUT


def usd_per_million_items(items_per_s: float | None, usd_per_hour: float | None) -> float | None:
    """usd_per_hour / 3600 / items_per_s x 10^6; None if either is not known, or the rate is zero."""
    if usd_per_hour is None or items_per_s is None or items_per_s <= 0:
        return None
    return usd_per_hour / 3600.0 / items_per_s * 1e6


def break_even(items_per_s: float, usd_per_million: float) -> float:
    """USD/h at which a host with this rate costs `usd_per_million` for a million items; below it, it is cheaper."""
    return usd_per_million * 1e-6 * items_per_s * 3600.0


@dataclass(frozen=True)
class Hosts:
    """The hosts that a load needs, all of one kind."""

    hosts: int  # spare ones among them
    spare: int
    load: float  # share of what all can do that the load takes while none is lost
    usd_per_hour: float | None  # of all; None: the price is not known
    usd_per_month: float | None  # of 730 hours
    usd_per_million_items: float | None  # of the load, with what stands idle


def size_fleet(
    items_per_s: float,
    capacity_per_host: float,
    usd_per_hour: float | None = None,
    headroom: float = 0.0,
    spare_hosts: int = 0,
) -> Hosts:
    """The hosts for a load: as many as carry it with `headroom` of each kept free, and `spare_hosts` more to lose.

    Args:
        items_per_s: of the load, above 0.
        capacity_per_host: items/s that one host does, above 0.
        usd_per_hour: of one host.
        headroom: share of every host, below 1.
    """
    needed = items_per_s / (capacity_per_host * (1.0 - headroom))
    hosts = max(1, math.ceil(needed * (1.0 - _WHOLE))) + spare_hosts
    hourly = None if usd_per_hour is None else hosts * usd_per_hour
    monthly = None if hourly is None else hourly * HOURS_A_MONTH
    share = items_per_s / (hosts * capacity_per_host)
    return Hosts(hosts, spare_hosts, share, hourly, monthly, usd_per_million_items(items_per_s, hourly))


def describe_idle(trial: Trial) -> str:
    """What a trial leaves unused of its host; empty if it fills the host, or that is not known."""
    device = str(trial.backend.get("device") or "cpu")
    if not trial.hardware.get("cores"):
        return ""
    have = rules.count_replicas(trial.hardware, device, 1)
    unit = {"cuda": "GPUs", "neuron": "NeuronCores"}.get(device, "cores")
    gpus = {number for numbers in deployment.list_gpus(trial) for number in numbers}
    used = len(gpus) if device == "cuda" else deployment.count_all_cores(trial)
    return f"uses {used} of {have} {unit}" if used < have else ""


def _text(value: Any) -> str | None:
    return None if value is None else str(value)

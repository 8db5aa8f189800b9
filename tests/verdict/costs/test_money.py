"""Costs, hosts and break-even prices, against what a person would reckon."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.spec.facts import Price
from sweep.verdict.costs import money
from tests.support.records import make_trial

RATES = st.floats(1e-3, 1e7)
PRICES = st.floats(1e-3, 1e3)


def test_a_million_items() -> None:
    # 1,000 items/s are 3.6 million an hour: at 3.60 USD/h a million costs one dollar.
    assert money.usd_per_million_items(1000.0, 3.6) == pytest.approx(1.0)
    assert money.usd_per_million_items(1000.0, 0.0) == 0.0


@pytest.mark.parametrize(("rate", "hourly"), [(None, 1.0), (1000.0, None), (0.0, 1.0), (None, None)])
def test_what_is_not_known_stays_so(rate: float | None, hourly: float | None) -> None:
    assert money.usd_per_million_items(rate, hourly) is None


@given(rate=RATES, other=RATES, hourly=PRICES)
def test_at_the_break_even_price_both_cost_the_same(rate: float, other: float, hourly: float) -> None:
    cost = money.usd_per_million_items(other, hourly)
    assert cost is not None
    at = money.break_even(rate, cost)
    assert money.usd_per_million_items(rate, at) == pytest.approx(cost)
    assert at == pytest.approx(hourly * rate / other)


def test_the_rate_that_is_paid_for() -> None:
    assert money.find_rate({"throughput_items_per_s": 900.0}) == 900.0
    both = {"throughput_items_per_s": 900.0, "capacity_items_per_s": 700.0}
    assert (money.find_rate(both), money.find_rate_metric(both)) == (700.0, "capacity_items_per_s")
    nothing = {"throughput_items_per_s": 900.0, "capacity_items_per_s": 0.0}
    assert money.find_rate(nothing) is None, "no rate meets the service level: the throughput is no answer"
    assert money.find_rate({}) is None


def test_prices_by_kind() -> None:
    rows = [
        {"usd_per_hour": 0.76, "kind": "on_demand", "region": "us-east-1", "date": None, "source": "a"},
        {"usd_per_hour": 0.33, "kind": "reserved", "region": None},
        {"usd_per_hour": 0.9, "kind": "on_demand", "region": "eu-west-1"},
    ]
    declared = {"name": "x", "price": rows}
    assert money.find_price(declared) == Price(0.76, "on_demand", "us-east-1", None, "a")
    assert money.find_price(declared, "reserved") == Price(0.33, "reserved")
    assert money.find_price(declared, "spot") is None
    assert money.find_price({"name": "x", "price": []}) is None
    assert money.find_price({"name": "x", "price": None}) is None


def carried(hosts: int, lost: int, rate: float, headroom: float) -> float:
    """Items/s that the hosts that are left do with the headroom of each kept free."""
    return sum(rate * (1 - headroom) for _ in range(hosts - lost))


@given(load=st.floats(1.0, 1e5), rate=st.floats(100.0, 1e5), headroom=st.floats(0.0, 0.9), spare=st.integers(0, 3))
def test_hosts_carry_the_load_when_the_spare_ones_are_lost_and_no_fewer_would(
    load: float, rate: float, headroom: float, spare: int
) -> None:
    found = money.size_fleet(load, rate, 0.5, headroom, spare)
    assert carried(found.hosts, spare, rate, headroom) >= load * (1 - 1e-8)
    if found.hosts - spare > 1:
        assert carried(found.hosts - 1, spare, rate, headroom) < load
    assert found.usd_per_hour == pytest.approx(0.5 * found.hosts)
    assert found.usd_per_month == pytest.approx(0.5 * found.hosts * 730)
    assert found.usd_per_million_items == pytest.approx(0.5 * found.hosts / 3600 / load * 1e6)
    assert found.load == pytest.approx(load / (rate * found.hosts))


@pytest.mark.parametrize(
    ("load", "rate", "headroom", "spare", "hosts"),
    [
        (1000, 1000, 0.0, 0, 1),
        (1001, 1000, 0.0, 0, 2),
        (1000, 1000, 0.3, 1, 3),  # 700 usable: two, and one to lose
        (700, 1000, 0.3, 1, 2),  # exactly one, though 1000 x (1 - 0.3) is not exactly 700
        (2100, 1000, 0.3, 0, 3),
        (1, 1000, 0.3, 1, 2),
        (1, 1000, 0.0, 0, 1),
    ],
)
def test_hosts_by_hand(load: float, rate: float, headroom: float, spare: int, hosts: int) -> None:
    assert money.size_fleet(load, rate, None, headroom, spare).hosts == hosts


def test_a_fleet_of_unknown_price_has_hosts_and_no_cost() -> None:
    found = money.size_fleet(5000, 1000, None, 0.0, 1)
    assert (found.hosts, found.spare) == (6, 1)
    assert (found.usd_per_hour, found.usd_per_month, found.usd_per_million_items) == (None, None, None)


@pytest.mark.parametrize(
    ("hardware", "backend", "cores", "replicas", "told"),
    [
        ({"device": "cpu", "cores": 8, "cpus": 16}, "cpu", 2, 1, "uses 2 of 8 cores"),
        ({"device": "cpu", "cores": 8, "cpus": 16}, "cpu", 2, 4, ""),
        ({"device": "cpu", "cores": 8, "cpus": 16}, "cpu", 16, 1, ""),  # hyper-threads: more than all
        ({"device": "neuron", "cores": 4, "cpus": 16}, "neuron", 1, 2, "uses 2 of 4 NeuronCores"),
        ({"device": "neuron", "cores": 2, "cpus": 8}, "cpu", 2, 1, "uses 2 of 8 cores"),
        ({"device": "cuda", "cores": 4, "cpus": 16}, "cuda", 2, 1, "uses 1 of 4 GPUs"),
        ({"device": "cpu", "cores": None, "cpus": None}, "cpu", 1, 1, ""),
    ],
)
def test_what_a_trial_leaves_unused(
    hardware: dict[str, object], backend: str, cores: int, replicas: int, told: str
) -> None:
    from dataclasses import replace

    trial = replace(
        make_trial(cores=cores, replicas=replicas),
        hardware={"name": "x", **hardware},
        backend={"name": "b", "device": backend},
    )
    assert money.describe_idle(trial) == told

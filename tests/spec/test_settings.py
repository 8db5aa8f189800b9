"""The limits of an objective."""

from dataclasses import replace

import pytest

from sweep.spec import UserError
from sweep.spec.settings import Objective

GOAL = Objective("min_cost", "usd_per_million_items", False)


def bounds(objective: Objective) -> dict[str, float]:
    return {limit.name: limit.bound for limit in objective.limits}


def test_model_has_what_application_and_network_leave_of_the_whole_latency() -> None:
    whole = replace(GOAL, latency_total_ms=200.0, application_ms=50.0, network_ms=30.0)
    assert bounds(whole) == {"latency_ms_p99_max": 120.0}
    assert bounds(replace(whole, latency_ms_p99_max=100.0)) == {"latency_ms_p99_max": 100.0}
    assert bounds(replace(whole, latency_ms_p99_max=150.0)) == {"latency_ms_p99_max": 120.0}
    assert bounds(replace(GOAL, latency_total_ms=200.0)) == {"latency_ms_p99_max": 200.0}


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"latency_total_ms": 80.0, "application_ms": 50.0, "network_ms": 30.0}, "leaves nothing for the model"),
        ({"application_ms": 50.0}, "are parts of objective.latency_total_ms"),
    ],
)
def test_latency_without_room_for_the_model_is_refused(parts: dict[str, float], text: str) -> None:
    with pytest.raises(UserError, match=text):
        replace(GOAL, **parts)


def test_accuracy_has_a_floor_of_its_own() -> None:
    assert bounds(replace(GOAL, accuracy_min=0.9)) == {"accuracy_min": 0.9}

"""The exit status of a sweep says whether anything was measured, and whether anything meets the limits."""

from dataclasses import replace
from pathlib import Path

import pytest

from sweep.engine import summary
from sweep.spec import Origin, Record, Status, StopReason, exits
from sweep.spec.settings import Objective
from sweep.verdict import select
from tests.support.rates import THROUGHPUT, around, trial

FAST = replace(THROUGHPUT, latency_ms_p50_max=0.001)  # no trial is so fast
FAILED = Record("f", "net-f", {}, (), Status.BUILD_FAILED, "no")
BUILT = Record("b", "net-b", {}, (), Status.STOPPED, "built", stop=StopReason.BUILT)
MEASURED = trial("a", around(1000))
SMALL = replace(MEASURED, key="s", min_requests=10**6)
EARLY = replace(MEASURED, key="e", status=Status.STOPPED, stop=StopReason.INFEASIBLE, reason="infeasible: too slow")
REPLAYED = replace(MEASURED, key="r", origin=Origin.REPLAYED, repeats=())


@pytest.mark.parametrize(
    ("records", "objective", "status"),
    [
        ([MEASURED, FAILED], THROUGHPUT, exits.OK),
        ([FAILED], THROUGHPUT, exits.NOTHING_MEASURED),
        ([], THROUGHPUT, exits.NOTHING_MEASURED),
        ([BUILT], FAST, exits.OK),
        ([MEASURED, FAILED], FAST, exits.NO),
        ([EARLY], FAST, exits.NO),
        ([REPLAYED], THROUGHPUT, exits.OK),
        ([REPLAYED], FAST, exits.NO),
        ([SMALL], THROUGHPUT, exits.OK),  # not enough data is no answer
    ],
)
def test_exit_status(records: list[Record], objective: Objective, status: int) -> None:
    assert summary.find_exit_status(records, select.choose(records, objective)) == status


def test_one_question_with_an_answer_is_enough() -> None:
    rates = [replace(trial(str(rate), around(rate)), load={"name": "poisson", "rate": rate}) for rate in (50, 5000)]
    limited = replace(THROUGHPUT, throughput_items_per_s_min=1000.0)
    verdict = select.choose(rates, limited)
    assert [part.kind for part in verdict.parts] == ["none", "winner"]
    assert summary.find_exit_status(rates, verdict) == exits.OK
    strict = replace(limited, throughput_items_per_s_min=10000.0)
    assert summary.find_exit_status(rates, select.choose(rates, strict)) == exits.NO


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ([{"backend": "torch", "batch": 1}, {"backend": "torch", "batch": 4}], "why batch="),
        ([{"backend": "torch", "load": "offline"}, {"backend": "torch"}], "why load=offline"),
        ([{"backend": "torch"}], "why backend=torch"),
    ],
)
def test_question_to_ask_next_names_settings_that_a_trial_has(
    settings: list[dict[str, object]], line: str, tmp_path: Path
) -> None:
    """A trial with the default of an axis has no setting of that name, and a sweep may have one trial alone."""
    failed = [replace(FAILED, key=str(number), settings=known) for number, known in enumerate(settings)]
    steps = summary.list_next_steps(tmp_path / "sweeps" / "1", select.choose(failed, THROUGHPUT), failed, {})
    (question,) = (step for step in steps if step.startswith("ask"))
    assert line in question
    assert "None" not in question

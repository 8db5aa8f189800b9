"""Every verb ends with one of the exit statuses of docs/reference/statuses.md."""

from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.spec import exits
from sweep.store import ledger
from tests.support.pool import FakePool
from tests.support.priced_sweeps import NAME, Line, store
from tests.support.running import TINY, sweep

LINES = [Line("small", 1000.0, 2.0, 5.0), Line("large", 6000.0, 4.0, 8.0)]
PRICES = {"small": [("on_demand", 0.20)], "large": [("on_demand", 1.00)]}
NEVER = "objective.latency_ms_p50_max=1e-6"


def test_a_sweep_in_which_nobody_meets_the_limits(tmp_path: Path, fake_pool: FakePool) -> None:
    status, history = sweep(tmp_path, "batch=1,2", NEVER)
    assert status == exits.NO
    assert run(["resume", "--outputs", str(tmp_path)]) == exits.NO  # it is complete, and says the same
    assert run(["best", "objective.latency_ms_p50_max=null", "--outputs", str(tmp_path)]) == exits.OK
    assert all(record.min_requests == 5 for record in history.records.values())
    assert all(record.machine for record in history.records.values())


def test_a_race_in_which_nobody_meets_the_limits(tmp_path: Path, fake_pool: FakePool) -> None:
    assert sweep(tmp_path, "batch=1,2", NEVER, "effort.repeats_max=5")[0] == exits.NO


def test_a_search_in_which_nobody_meets_the_limits(tmp_path: Path, fake_pool: FakePool) -> None:
    words = ("hydra/sweeper=optuna", "search.budget=2 trials", "batch=1,2", NEVER)
    assert sweep(tmp_path, *words)[0] == exits.NO


@pytest.mark.parametrize("words", [[], ["hydra/sweeper=optuna", "search.budget=2 trials"], ["plan=only"]])
def test_without_prices_nothing_is_built_for_the_cost(
    tmp_path: Path, fake_pool: FakePool, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*TINY, f"outputs={tmp_path}", "batch=1,2", "objective=min_cost", *words]) == exits.USER_ERROR
    assert "no price of local is known" in capsys.readouterr().err
    assert not {"build", "measure"} & set(fake_pool.entries)
    assert ledger.sweeps(tmp_path) == []


def test_plan_build_asks_no_price(tmp_path: Path, fake_pool: FakePool) -> None:
    assert sweep(tmp_path, "objective=min_cost", "plan=build")[0] == exits.OK


def test_best_in_a_stored_sweep(tmp_path: Path) -> None:
    store(tmp_path, LINES, PRICES)
    asked = ["best", "--sweep", NAME, "--outputs", str(tmp_path)]
    assert run([*asked, "objective=min_cost"]) == exits.OK
    assert run([*asked, NEVER]) == exits.NO
    assert run([*asked, NEVER, "--json"]) == exits.NO
    assert run([*asked, "objective.nonsense=1"]) == exits.USER_ERROR

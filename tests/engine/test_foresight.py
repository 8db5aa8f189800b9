"""What no trial can reach is said before anything is built."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.engine import foresight
from sweep.engine.references import Reference
from sweep.files import write_json
from sweep.spec import Trial, UserError
from sweep.spec.settings import Objective
from tests.support.records import EFFORT, THROUGHPUT, make_trial

COST = Objective("min_cost", "usd_per_million_items", False)


def priced(trial: Trial, kind: str = "on_demand") -> Trial:
    return replace(trial, hardware={"name": "inf1", "price": [{"usd_per_hour": 0.2, "kind": kind}]})


def loaded(name: str, **settings: Any) -> Trial:
    return replace(make_trial(), load={"name": name, **settings})


def test_no_price_at_all_is_an_error_with_the_fix() -> None:
    with pytest.raises(UserError, match=r"no price of local is known.*hardware\.price=.*sweep prices"):
        foresight.examine([make_trial(), make_trial(batch=5)], COST, EFFORT, ())


def test_some_prices_that_are_missing_are_a_line() -> None:
    lines = foresight.examine([make_trial(), priced(make_trial(batch=5))], COST, EFFORT, ())
    assert len(lines) == 1
    assert lines[0].startswith("1 of 2 trials cannot be chosen: no price of local is known")
    limited = replace(THROUGHPUT, usd_per_million_items_max=1.0)
    assert foresight.examine([make_trial(), priced(make_trial(batch=5))], limited, EFFORT, ()) == lines


def test_a_kind_of_price_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(UserError, match=r"no spot price of inf1 is known.*usd_per_hour:0\.5,kind:spot"):
        foresight.examine([priced(make_trial())], replace(COST, price="spot"), EFFORT, ())


def test_without_cost_no_price_is_needed() -> None:
    assert foresight.examine([make_trial()], THROUGHPUT, EFFORT, ()) == []


def test_a_goal_of_a_search_counts_too() -> None:
    with pytest.raises(UserError, match="capacity_items_per_s is not measured with load=saturate"):
        foresight.examine([make_trial()], THROUGHPUT, EFFORT, (), ("capacity_items_per_s",))


def test_a_capacity_needs_its_load() -> None:
    goal = Objective("max_capacity", "capacity_items_per_s", True)
    found = foresight.examine([make_trial(), loaded("capacity", slo_p99_ms=20.0)], goal, EFFORT, ())
    assert "1 of 2 trials cannot be chosen: capacity_items_per_s is not measured" in found[0]


def test_less_than_the_limit_is_offered() -> None:
    limited = replace(THROUGHPUT, throughput_items_per_s_min=100.0)
    with pytest.raises(UserError, match="offers less than objective"):
        foresight.examine([loaded("poisson", rate=50.0)], limited, EFFORT, ())
    assert foresight.examine([loaded("poisson", rate=100.0)], limited, EFFORT, ()) == []


def test_a_percentile_that_the_windows_cannot_carry_is_said() -> None:
    limited = replace(THROUGHPUT, latency_ms_p99_max=200.0)
    (line,) = foresight.examine([make_trial()], limited, EFFORT, ())
    # 2 repeats of 0.5 s, stretched until they hold 10 requests, but not beyond three times: 7.5 requests of 200 ms
    assert "about 15 requests in 2 repeats, a p99 needs 500" in line
    assert "effort.window_seconds=16.7 carries it" in line
    assert foresight.examine([make_trial()], replace(limited, latency_ms_p99_max=1.0), EFFORT, ()) == []


def test_an_empty_plan_has_nothing_to_foresee() -> None:
    assert foresight.examine([], COST, EFFORT, ()) == []


def reference(folder: Path, labels: np.ndarray | None) -> Reference:
    """The original says 0, 1, 0, 1."""
    for part in ("data", "reference"):
        (folder / part).mkdir(parents=True)
    write_json(folder / "data" / "data.json", {"task": "classification", "inputs": []})
    write_json(folder / "reference" / "reference.json", {"outputs": 1})
    np.save(folder / "reference" / "output_0.npy", np.eye(2)[[0, 1, 0, 1]])
    if labels is not None:
        np.save(folder / "data" / "labels.npy", labels)
    return Reference("m", "d", "k", folder / "data", folder / "reference")


def test_more_accuracy_than_the_original_has_is_said(tmp_path: Path) -> None:
    known = reference(tmp_path, np.array([0, 1, 0, 0]))
    strict, loose = (replace(THROUGHPUT, accuracy_min=least) for least in (0.9, 0.7))
    assert "the original digits has an accuracy of 75 % itself" in foresight.describe_high_accuracy(
        make_trial(), known, strict
    )
    assert foresight.describe_high_accuracy(make_trial(), known, loose) == ""
    assert foresight.refuse_unlabelled(make_trial(), known, strict) is None


def test_accuracy_without_labels_is_refused(tmp_path: Path) -> None:
    known = reference(tmp_path, None)
    reason = foresight.refuse_unlabelled(make_trial(), known, replace(THROUGHPUT, accuracy_drop_max=0.01))
    assert reason == "data digits has no labels, so its accuracy is not known: leave out objective.accuracy_drop_max"
    assert foresight.refuse_unlabelled(make_trial(), known, THROUGHPUT) is None


def test_a_search_does_not_choose_the_rate_that_is_offered() -> None:
    trials = [loaded("poisson", rate=rate, max_wait_ms=wait) for rate, wait in ((50.0, 1.0), (150.0, 5.0))]
    with pytest.raises(UserError, match=r"load\.rate is 50 or 150 in this space, which nobody chooses"):
        foresight.refuse_several_questions(trials)
    foresight.refuse_several_questions([replace(trial, load={**trial.load, "rate": 50.0}) for trial in trials])

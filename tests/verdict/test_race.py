"""A race: who is left out and why, when it is over, and how often it is wrong."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweep.spec import Record, Status, StopReason
from sweep.spec.facts import CapacityFacts
from sweep.spec.settings import Effort, Objective
from sweep.verdict import constraints, elimination, race, select
from sweep.verdict.constraints import Standing
from sweep.verdict.elimination import Out
from sweep.verdict.stats import intervals
from tests.support.rates import LAWS, RACE, THROUGHPUT, around, log_normal, run_race, trial

LATENCY = Objective("min_latency", "latency_ms_p50", False)
CLEAR = 0.9999  # a confidence that a trial left out has


def look(records: Sequence[Record], objective: Objective = THROUGHPUT, number: int = 1) -> elimination.Look:
    return elimination.look(records, objective, number, len(records))


def stopped(record: Record, out: Out) -> Record:
    """As the engine leaves a trial that a race stopped."""
    return replace(record, status=Status.STOPPED, reason=out.reason, stop=out.why, dominated_by=out.by, look=1)


def level(record: Record, index: int, value: float) -> Record:
    repeats = [replace(m, level=value) if m.index == index else m for m in record.repeats]
    return replace(record, repeats=tuple(repeats))


def test_looks_are_half_as_many_repeats_again_apart() -> None:
    assert race.plan_looks(RACE) == [3, 5, 8, 12, 18, 27, 40]
    assert race.plan_looks(replace(RACE, repeats_max=None)) == [3]
    assert race.plan_looks(replace(RACE, repeats_max=2)) == [3]
    assert race.plan_looks(replace(RACE, repeats=1, repeats_max=4)) == [1, 2, 3, 4]


@pytest.mark.parametrize("claims", [1, 40])
def test_looks_together_spend_the_allowed_error(claims: int) -> None:
    """Half of it for each of the two kinds of claims."""
    spent = sum(claims * (1 - race.confidence_at(0.95, number, claims)) for number in range(1, 1000))
    assert 0.0249 < spent <= 0.025


def test_verdict_after_a_race_has_the_confidence_left_by_its_looks() -> None:
    records = [trial("a", around(1000, 0.02)), trial("b", around(960, 0.02, shift=1))]
    plain = select.choose(records, THROUGHPUT)
    ratio = race.compare(records[0], records[1], THROUGHPUT)
    assert race.lower_end(ratio, 0.95) > 0 > race.lower_end(ratio, race.confidence_at(0.95, 3))
    raced = select.choose([replace(r, look=3) for r in records], THROUGHPUT)
    assert (plain.kind, plain.confidence) == ("winner", 0.95)
    assert (raced.kind, raced.confidence) == ("undecided", pytest.approx(1 - 0.05 / 24))
    assert "99.79 % interval" in raced.sentence


def test_dominated_trial_is_left_out_with_its_factor() -> None:
    records = [
        trial("a", around(1000, 0.02)),
        trial("b", around(1002, 0.02, shift=1)),
        trial("c", around(700, 0.01, shift=2)),
    ]
    found = look(records)
    assert not found.decided
    assert set(found.out) == {"c"}
    assert found.out["c"].by == "b"
    assert found.out["c"].reason.startswith("dominated by net-b: 0.699x [0.")
    assert found.out["c"].reason.endswith("] its throughput_items_per_s after 5 repeats")
    assert found.verdict.tied == ("b", "a")


def test_factor_of_a_latency_is_that_of_the_time() -> None:
    records = [
        trial(k, around(rate, 0.02, shift=n)) for n, (k, rate) in enumerate((("a", 1e3), ("b", 1e3), ("c", 500)))
    ]
    assert look(records, LATENCY).out["c"].reason.split(": ")[1].startswith("2x [1.")


def test_decided_race_leaves_nothing_out() -> None:
    found = look([trial("a", around(1000)), trial("b", around(500, shift=1)), trial("c", around(600, shift=2))])
    assert (found.decided, found.verdict.winner, found.out) == (True, "a", {})


def test_tie_break_keeps_trials_within_margin() -> None:
    rates = {
        key: around(rate, 0.0005, shift=n)
        for n, (key, rate) in enumerate({"a": 1005, "b": 1000, "d": 500, "e": 400}.items())
    }
    rates["c"] = [1000.0, 1100.0, 900.0, 900.0, 1090.0]
    found = look([trial(key, each) for key, each in rates.items()])
    assert not found.decided
    assert set(found.out) == {"d", "e"}


def test_repeats_that_agree_by_chance_prove_nothing() -> None:
    """Processes are fast or slow by their memory layout: three slow ones do not make a slow trial."""
    lucky = [[1000.0, 1000.1, 1000.2], [700.0, 700.1, 700.3]]
    mixed = [[1000.0, 700.0, 1000.0], [700.0, 1000.0, 1000.0], [1000.0, 1000.0, 700.0], [700.0, 1000.0, 700.0]]
    records = [trial(f"t{number}", rates) for number, rates in enumerate([*lucky, *mixed])]
    ratio = race.compare(records[0], records[1], THROUGHPUT)
    assert race.lower_end(ratio, CLEAR) > 0
    assert "t1" not in look(records).out


def test_single_repeat_leaves_nobody_out() -> None:
    found = look([trial("a", [1000.0]), trial("b", [10.0])])
    assert (found.decided, found.out) == (False, {})


def test_race_of_one_is_over() -> None:
    found = look([trial("a", [1000.0])])
    assert (found.decided, found.verdict.winner) == (True, "a")


def test_race_of_none_is_over() -> None:
    failed = replace(trial("a", [1000.0]), status=Status.REJECTED, reason="wrong answers")
    assert look([failed]).decided
    assert look([]).verdict.kind == "none"


def test_equal_configs_with_constant_times_tie() -> None:
    records = [trial(key, [1000.0] * 3) for key in "ab"]
    assert look(records).verdict.kind == "tie"
    assert look(records).decided


@pytest.mark.parametrize(
    ("limits", "metrics", "expected"),
    [
        ({}, {}, Standing.MET),
        ({"peak_memory_mb_max": 100.0}, {"peak_memory_mb": 101.0}, Standing.MISSED),
        ({"peak_memory_mb_max": 100.0}, {"peak_memory_mb": 99.0}, Standing.MET),
        ({"usd_per_million_items_max": 1.0}, {}, Standing.MISSED),
        ({"latency_ms_p99_max": 5.0}, {}, Standing.OPEN),
        ({"agreement_min": 0.99}, {"agreement": 0.98, "agreement_high": 0.985}, Standing.MISSED),
        ({"agreement_min": 0.99}, {"agreement": 0.98, "agreement_high": 0.995}, Standing.MISSED),
        ({"accuracy_min": 0.9}, {"accuracy": 0.6}, Standing.MISSED),
        ({"accuracy_min": 0.9}, {"accuracy": 0.91, "accuracy_low": 0.88}, Standing.MET),
        ({"accuracy_min": 0.9}, {}, Standing.MISSED),
        ({"accuracy_drop_max": 0.01}, {"reference_accuracy": 0.9, "accuracy": 0.8}, Standing.MISSED),
        ({"throughput_items_per_s_min": 900.0}, {}, Standing.MET),
        ({"throughput_items_per_s_min": 1003.0}, {}, Standing.OPEN),
        ({"throughput_items_per_s_min": 1100.0}, {}, Standing.MISSED),
        ({"latency_ms_p50_max": 0.5}, {}, Standing.MISSED),
        ({"latency_ms_p50_max": 1.001}, {}, Standing.OPEN),
    ],
)
def test_more_repeats_can_change_an_open_standing_only(
    limits: dict[str, float], metrics: dict[str, float], expected: Standing
) -> None:
    objective = replace(THROUGHPUT, **limits)  # type: ignore[arg-type]  # fields by name
    standing, text = constraints.find_standing(trial("a", around(1000), **metrics), objective, CLEAR)
    assert standing is expected
    assert bool(text) is (expected is Standing.MISSED)


def test_trial_that_misses_a_limit_is_left_out() -> None:
    records = [
        trial("a", around(2000, shift=1), peak_memory_mb=900.0),
        trial("b", around(1000, 0.02), peak_memory_mb=90.0),
        trial("c", around(1001, 0.02, shift=2), peak_memory_mb=90.0),
    ]
    found = look(records, replace(THROUGHPUT, peak_memory_mb_max=100.0))
    assert found.out["a"] == Out(
        StopReason.INFEASIBLE, "infeasible: peak_memory_mb 900 MB is 800 % over the limit of 100 MB"
    )
    assert found.verdict.tied == ("c", "b")


def test_trial_that_may_miss_a_limit_dominates_nobody() -> None:
    objective = replace(THROUGHPUT, latency_ms_p50_max=1.001)
    fast = [
        trial(k, around(r, 0.02, shift=n), latency_ms_p50=1.0) for n, (k, r) in enumerate((("a", 2000), ("d", 2003)))
    ]
    fast = [
        replace(r, repeats=tuple(replace(m, latency_ms={"p50": 0.99 + 0.01 * m.index}) for m in r.repeats))
        for r in fast
    ]
    slow = trial("b", around(1000, shift=1), latency_ms=0.5)
    assert {constraints.find_standing(r, objective, CLEAR)[0] for r in fast} == {Standing.OPEN}
    found = look([*fast, slow, trial("c", around(2001, shift=2), latency_ms=9.0)], objective)
    assert set(found.out) == {"c"}


def test_faster_trial_with_an_open_limit_continues() -> None:
    objective = replace(THROUGHPUT, latency_ms_p99_max=5.0)
    records = [trial("a", around(1000), latency_ms_p99=2.0), trial("b", around(2000, shift=1))]
    assert not look(records, objective).decided
    slower = [trial("a", around(1000), latency_ms_p99=2.0), trial("b", around(200, shift=1))]
    assert look(slower, objective).decided


def test_verdict_names_the_best_of_the_stopped() -> None:
    first = trial("a", around(1000))
    others = [
        stopped(trial(k, around(r, n=3)), Out(StopReason.DOMINATED, "because", "a"))
        for k, r in (("b", 600), ("c", 500))
    ]
    found = select.choose([first, *others], THROUGHPUT)
    assert (found.kind, found.winner, found.ranking) == ("winner", "a", ("a",))
    assert "1.67x the next (net-b, stopped early; 98.8 % interval 1.64x to 1.69x). 2 of 3 trials" in found.sentence
    assert found.reasons["b"] == "stopped: because"


def test_stopped_trial_counts_for_another_question() -> None:
    first = replace(trial("a", around(1000), latency_ms=5.0, usd_per_million_items=1.0), look=2)
    second = trial("b", around(600), latency_ms=1.0, usd_per_million_items=3.0)
    records = [first, stopped(second, Out(StopReason.DOMINATED, "because", "a"))]
    assert select.choose(records, LATENCY).winner == "b"
    assert select.choose(records, Objective("min_cost", "usd_per_million_items", False)).winner == "a"
    cheaper = [first, replace(records[1], metrics={**(second.metrics or {}), "usd_per_million_items": 0.1})]
    assert select.choose(cheaper, Objective("min_cost", "usd_per_million_items", False)).winner == "b"
    assert select.choose(records, replace(THROUGHPUT, latency_ms_p50_max=2.0)).winner == "b"
    assert select.choose(records, THROUGHPUT).ranking == ("a",)


def test_trial_that_missed_a_limit_counts_under_another_limit() -> None:
    objective = replace(THROUGHPUT, peak_memory_mb_max=100.0)
    records = [
        trial("a", around(1000), peak_memory_mb=90.0),
        stopped(trial("b", around(2000), peak_memory_mb=900.0), Out(StopReason.INFEASIBLE, "infeasible: too large")),
    ]
    assert select.choose(records, objective).winner == "a"
    assert select.choose(records, THROUGHPUT).winner == "b"


def test_trial_dominated_by_one_that_failed_later_counts() -> None:
    failed = replace(trial("a", around(1000)), status=Status.RUN_FAILED, reason="it died")
    records = [failed, stopped(trial("b", around(600)), Out(StopReason.DOMINATED, "because", "a"))]
    assert select.choose(records, THROUGHPUT).winner == "b"


def test_nearest_to_a_missed_limit_is_named_even_if_stopped() -> None:
    objective = replace(THROUGHPUT, peak_memory_mb_max=100.0)
    records = [
        stopped(trial(key, around(1000), peak_memory_mb=size), Out(StopReason.INFEASIBLE, "infeasible: too large"))
        for key, size in (("a", 900.0), ("b", 110.0))
    ]
    found = select.choose(records, objective)
    assert found.kind == "none"
    assert "the nearest is net-b: peak_memory_mb 110 MB is 10 % over" in found.sentence


def test_machine_level_is_divided_out_of_values_and_ranks() -> None:
    steady, hit = trial("a", [1000.0, 1001.0, 1002.0, 1000.0]), trial("b", [1030.0, 1031.0, 930.0, 928.0])
    for index in (2, 3):
        hit = level(hit, index, 0.9)
    assert race.repeat_values(hit, "throughput_items_per_s") == pytest.approx(
        {0: 1030, 1: 1031, 2: 1033.3, 3: 1031.1}, 1e-3
    )
    assert race.repeat_values(hit, "latency_ms_p50") == pytest.approx(
        {0: 0.9709, 1: 0.9699, 2: 0.9677, 3: 0.9698}, 1e-3
    )
    assert race.ranking_value(hit, THROUGHPUT) == pytest.approx(-1031.4, rel=1e-3)
    found = select.choose([steady, hit], THROUGHPUT)
    assert (found.kind, found.winner) == ("winner", "b")


def test_missing_capacity_is_a_miss_and_no_tie() -> None:
    objective = Objective("max_capacity", "capacity_items_per_s", True)

    def at(key: str, rates: Sequence[float]) -> Record:
        made = trial(key, around(1000, n=len(rates)), capacity_items_per_s=sum(rates) / len(rates))
        found = [CapacityFacts(20.0, rate, converged=True) for rate in rates]
        return replace(made, repeats=tuple(replace(m, capacity=c) for m, c in zip(made.repeats, found, strict=True)))

    found = select.choose([at("a", around(500, n=3)), at("b", [0.0] * 3), at("c", around(300, n=3))], objective)
    assert (found.kind, found.winner) == ("winner", "a")
    assert found.reasons["b"] == "no rate meets the service level"
    assert "500 items/s" in found.sentence
    assert look([at("a", around(500, n=3)), at("b", [0.0] * 3)], objective).decided


def test_undecided_verdict_says_how_many_minutes() -> None:
    def timed(record: Record, seconds: float) -> Record:
        return replace(record, repeats=tuple(replace(m, wall_seconds=seconds) for m in record.repeats))

    records = [trial("a", [1000.0, 900.0, 1150.0]), trial("b", [1020.0, 1100.0, 890.0])]
    assert select.choose(records, THROUGHPUT).more_seconds is None
    found = select.choose([timed(records[0], 2.0), timed(records[1], 4.0)], THROUGHPUT)
    assert found.more_seconds == pytest.approx(2.0 * found.more_repeats["a"] + 4.0 * found.more_repeats["b"])
    easier = [trial("a", [1040.0, 1030.0, 1047.0]), trial("b", [1002.0, 1030.0, 1000.0])]
    told = select.choose([timed(r, 2.0) for r in easier], THROUGHPUT)
    assert told.kind == "undecided"
    assert "more repeats of net-a and net-b (about " in told.sentence


def test_common_blocks_are_paired_where_one_trial_stopped_sooner() -> None:
    drift = [1.0, 0.7, 1.3, 0.9, 1.2, 0.8]
    a = trial("a", [1000 * d * e for d, e in zip(drift, around(1.0, n=6), strict=True)])
    b = trial("b", [900 * d for d in drift])
    assert select.choose([a, replace(b, repeats=b.repeats[:5])], THROUGHPUT).kind == "winner"
    assert select.choose([a, replace(b, repeats=b.repeats[:2])], THROUGHPUT).kind == "undecided"


def test_latency_claims_are_described_and_counted(tmp_path: Path) -> None:
    """3 late requests of 3,000: proved; 45: not even in the estimate; 28: unproved."""
    objective = replace(THROUGHPUT, latency_ms_p99_max=20.0)

    def measured(key: str, rates: Sequence[float], late: int) -> Record:
        random, repeats = np.random.default_rng(late), []
        made = trial(key, rates)
        latency = np.full(3000, 10.0)
        latency[random.permutation(3000)[:late]] = 30.0
        for m, some in zip(made.repeats, np.split(latency, 3), strict=True):
            path = tmp_path / f"{key}-{m.index}.npz"
            start = np.arange(some.size, dtype=np.int64) * 10_000_000
            np.savez(path, start_ns=start, end_ns=start + (some * 1e6).astype(np.int64))
            repeats.append(replace(m, samples=str(path), window_seconds=10.0))
        p99 = float(np.percentile(latency, 99))
        return replace(made, repeats=tuple(repeats), metrics={**(made.metrics or {}), "latency_ms_p99": p99})

    good, near = measured("a", around(1000, 0.05, 3), 3), measured("c", around(1001, 0.05, 3, 1), 26)
    bad = measured("b", around(3000, 0.05, 3, 2), 75)
    found = select.choose([good, bad], objective)
    assert found.winner == "a"
    assert found.claims["a"]["latency_ms_p99_max"].verdict == "proved"
    assert found.claims["b"]["latency_ms_p99_max"].verdict == "refuted"
    assert "p99 <= 20.0 ms is proved: 3 of 3,000 requests" in found.sentence
    assert "latency_ms_p99 30 ms is 50 % over the limit" in found.reasons["b"]
    assert "unproved" in select.choose([near], objective).sentence
    raced = look([good, bad, near], objective)
    assert raced.out["b"].why == "infeasible"
    assert "a" not in raced.out


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("trials", [2, 4])
def test_equal_trials_have_a_winner_in_one_race_of_twenty_at_most(law: str, trials: int) -> None:
    random, short = np.random.default_rng(trials), replace(RACE, repeats_max=12)
    found = [run_race(1000.0 * LAWS[law](random, trials, 12, 0.03), effort=short)[0] for _ in range(25)]
    wins = intervals.wilson(sum(each.kind == "winner" for each in found), len(found))
    assert wins.low is not None
    assert wins.low <= 0.05


def test_race_finds_twice_the_margin_and_spares_the_dominated() -> None:
    random, medians = np.random.default_rng(3), np.array([1040.0, 1000.0, 700.0, 500.0, 400.0])[:, None]
    right = 0
    for _ in range(20):
        found, taken = run_race(medians * log_normal(random, 5, 40, 0.01))
        right += found.kind == "winner" and found.winner == "t00"
        assert [taken[key] for key in ("t02", "t03", "t04")] == [3, 3, 3]
    assert right >= 19


def test_undecidable_race_ends_before_its_repeats_do() -> None:
    """A spread of 30 % hides a difference of 3 % from a hundred repeats; one of 1 % does not from forty."""
    random, medians = np.random.default_rng(4), np.array([1030.0, 1000.0, 1000.0])[:, None]
    for spread, early in ((0.3, True), (0.01, False)):
        for _ in range(5):
            found, taken = run_race(medians * log_normal(random, 3, 40, spread))
            if early:
                assert found.kind == "undecided"
                assert 8 <= max(taken.values()) <= 27
            else:
                assert found.kind == "winner" or max(taken.values()) == 40


def test_race_that_may_not_continue_is_undecided() -> None:
    rates = np.array([[1000.0, 900.0, 1150.0], [1020.0, 1100.0, 890.0]])
    found, taken = run_race(rates, effort=Effort("short", 3, 0.5, 20, 0.1, 2.0, repeats_max=3))
    assert (found.kind, taken) == ("undecided", {"t00": 3, "t01": 3})

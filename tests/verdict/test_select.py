import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.spec import Failure, FailureKind, Origin, Record, Status, canonical, from_json, to_json
from sweep.spec.settings import Objective
from sweep.text import quantity
from sweep.verdict import select
from sweep.verdict.stats import intervals
from tests.support.rates import THROUGHPUT, around, trial

LATENCY = Objective("min_latency", "latency_ms_p50", False)
COST = Objective("min_cost", "usd_per_million_items", False)
FAILED = Record(
    "f", "net-f", {}, (), Status.BUILD_FAILED, "took too long", failure=Failure(FailureKind.TIMEOUT, "no end")
)
INVALID = Record("i", "net-i", {}, (), Status.INVALID, "4 cores asked for, 2 here")


def check_whole(records: Sequence[Record], verdict: select.Verdict) -> None:
    """What holds for every verdict."""
    chosen = {verdict.winner} - {None}
    assert set(verdict.reasons) == {r.key for r in records} - chosen
    assert all(reason and "\n" not in reason for reason in verdict.reasons.values())
    assert set(verdict.ranking) == {r.key for r in records if r.status is Status.OK}
    assert set(verdict.front) <= set(verdict.ranking)
    assert (verdict.winner is None) == (verdict.kind in ("undecided", "none"))
    assert verdict.sentence
    assert "\n" not in verdict.sentence
    assert from_json(select.Verdict, to_json(verdict)) == verdict


def test_a_clear_winner_and_a_reason_for_each_of_the_others() -> None:
    records = [trial("b", around(18000, shift=2)), trial("a", around(23400)), FAILED, INVALID]
    found = select.choose(records, THROUGHPUT)
    check_whole(records, found)
    assert (found.kind, found.winner, found.ranking) == ("winner", "a", ("a", "b"))
    assert found.sentence == (
        "net-a wins: 23,400 items/s (95 % interval 22,930 to 23,870), 1.3x the next "
        "(net-b; 95 % interval 1.29x to 1.31x)."
    )
    assert found.reasons["b"].startswith("23 % slower than net-a (95 % interval 2")
    assert found.reasons["b"].endswith("dominated by net-a (throughput and latency)")
    assert found.reasons["f"] == "build failed: timeout: no end"
    assert found.reasons["i"] == "invalid: 4 cores asked for, 2 here"


def test_latency_and_cost_have_their_own_words() -> None:
    records = [trial("a", around(2000), usd_per_million_items=0.5), trial("b", around(1000), usd_per_million_items=1.0)]
    latency, cost = select.choose(records, LATENCY), select.choose(records, COST)
    assert (latency.winner, cost.winner) == ("a", "a")
    assert "0.5 ms" in latency.sentence
    assert "the next (net-b) takes 2x as long" in latency.sentence
    assert latency.reasons["b"].startswith("100 % slower")
    assert "$0.5 per million items (95 % interval 0.49" in cost.sentence
    assert "the next (net-b) costs 2x as much" in cost.sentence
    assert cost.reasons["b"].startswith("100 % dearer")


def test_the_only_trial_wins() -> None:
    found = select.choose([trial("a", [100.0]), FAILED], THROUGHPUT)
    assert (found.kind, found.winner) == ("winner", "a")
    assert "no other trial qualifies" in found.sentence


def test_a_tie_goes_to_the_tie_break() -> None:
    records = [
        trial("a", around(1001, 0.002), build_seconds=60.0),
        trial("b", around(1000, 0.002, shift=1), build_seconds=3.0),
        trial("c", around(700, 0.002)),
    ]
    found = select.choose(records, THROUGHPUT)
    check_whole(records, found)
    assert (found.kind, found.winner, found.tied) == ("tie", "b", ("a", "b"))
    assert found.ranking == ("a", "b", "c")
    assert "smaller build_seconds: 3 s against 60 s" in found.sentence
    assert "tied with net-b" in found.reasons["a"]
    assert "build_seconds is 60 s against 3 s" in found.reasons["a"]
    assert "slower than net-b" in found.reasons["c"]


def test_a_tie_without_tie_break_values_goes_to_the_leader() -> None:
    records = [trial(k, around(r, 0.002), build_seconds=None) for k, r in (("a", 1000), ("b", 1000.5))]
    found = select.choose(records, THROUGHPUT)
    assert (found.kind, found.winner) == ("tie", "b")
    assert "build_seconds does not tell them apart" in found.sentence


def test_a_significant_difference_that_nobody_cares_about_is_a_tie() -> None:
    records = [
        trial("a", around(1005, 0.0005), build_seconds=60.0),
        trial("b", around(1000, 0.0005), build_seconds=3.0),
    ]
    assert select.choose(records, THROUGHPUT).winner == "b"
    assert select.choose(records, replace(THROUGHPUT, margin=0.001)).kind == "winner"


def test_a_leader_that_can_only_be_better_is_chosen_without_tie_break() -> None:
    # The difference lies between about -1 % and +10 %: choosing the leader costs at most the margin.
    ahead = trial("a", [1000.0, 1100.0, 1000.0, 1100.0, 1050.0], build_seconds=60.0)
    behind = trial("b", [1010.0, 1005.0, 1000.0, 1000.0, 1000.0], build_seconds=3.0)
    found = select.choose([ahead, behind], THROUGHPUT)
    assert (found.kind, found.winner) == ("tie", "a")
    assert "nothing can be better by more than 2 %" in found.sentence
    assert "not surely within 2 %" in found.reasons["b"]


def test_noise_is_not_a_verdict() -> None:
    a = trial("a", [1000.0, 900.0, 1150.0, 1010.0, 950.0])
    b = trial("b", [1020.0, 1100.0, 890.0, 960.0, 1000.0])
    records = [a, b, trial("c", around(300))]
    found = select.choose(records, THROUGHPUT)
    check_whole(records, found)
    assert found.kind == "undecided"
    assert found.tied == ("a", "b")
    assert set(found.more_repeats) == {"a", "b"}
    assert found.sentence.startswith("Not enough data: net-a leads with 1,002 items/s")
    assert found.reasons["b"].startswith("not told apart from net-a")
    assert found.reasons["c"].startswith("70 % slower than net-a")


def test_one_repeat_decides_nothing() -> None:
    found = select.choose([trial("a", [100.0]), trial("b", [10.0])], THROUGHPUT)
    assert found.kind == "undecided"
    assert found.more_repeats == {"a": 2, "b": 2}
    assert "at least 2 more repeats of net-a and net-b" in found.sentence


def test_the_repeats_asked_for_usually_decide() -> None:
    random = np.random.default_rng(5)
    first = [trial(k, (m * random.lognormal(0, 0.02, 3)).tolist()) for k, m in (("a", 1030), ("b", 1000))]
    found = select.choose(first, THROUGHPUT)
    assert found.kind == "undecided"
    n = 3 + max(found.more_repeats.values())
    kinds = []
    for _ in range(40):
        again = [trial(k, (m * random.lognormal(0, 0.02, 2 * n)).tolist()) for k, m in (("a", 1030), ("b", 1000))]
        kinds.append(select.choose(again, THROUGHPUT).kind)
    assert kinds.count("undecided") <= 10


def test_drift_cancels_between_interleaved_repeats_of_one_sweep_only() -> None:
    drift = [1.0, 0.7, 1.3, 0.9, 1.2]
    a = trial("a", [1000 * d * e for d, e in zip(drift, around(1.0, shift=1), strict=True)])
    b = trial("b", [900 * d for d in drift])
    assert select.choose([a, b], THROUGHPUT).kind == "winner"
    for elsewhere in (replace(b, sweep="another"), replace(b, origin=Origin.REUSED)):
        assert select.choose([a, elsewhere], THROUGHPUT).kind == "undecided"
    assert select.choose([a, replace(b, repeats=b.repeats[:3])], THROUGHPUT).kind == "undecided"


def test_constraints_come_before_the_objective() -> None:
    fast = trial("a", around(2000), latency_ms=30.0, agreement=0.98)
    slow = trial("b", around(1000), latency_ms=10.0, agreement=0.999)
    objective = replace(THROUGHPUT, latency_ms_p50_max=20.0, agreement_min=0.99)
    found = select.choose([fast, slow], objective)
    check_whole([fast, slow], found)
    assert (found.kind, found.winner, found.ranking) == ("winner", "b", ("b", "a"))
    assert found.reasons["a"] == (
        "latency_ms_p50 30 ms is 50 % over the limit of 20 ms; agreement 98 % is 1 points under the limit of 99 %"
    )


@pytest.mark.parametrize(
    ("setting", "limit", "metrics"),
    [
        ("latency_ms_p50_max", 1.0, {"latency_ms_p50": 1.0 + 1e-6}),
        ("latency_ms_p99_max", 1.0, {"latency_ms_p99": 1.1}),
        ("throughput_items_per_s_min", 1000.0, {"throughput_items_per_s": 999.0}),
        ("agreement_min", 0.99, {"agreement": 0.98}),
        ("accuracy_drop_max", 0.01, {"accuracy": 0.9, "reference_accuracy": 0.92}),
        ("accuracy_min", 0.9, {"accuracy": 0.6}),
        ("peak_memory_mb_max", 100.0, {"peak_memory_mb": 101.0}),
        ("usd_per_million_items_max", 0.1, {"usd_per_million_items": 0.2}),
    ],
)
def test_every_constraint_keeps_a_trial_out(setting: str, limit: float, metrics: dict[str, float]) -> None:
    bad, good = trial("a", around(1000), **metrics), trial("b", around(1000))
    found = select.choose([bad], replace(THROUGHPUT, **{setting: limit}))  # type: ignore[arg-type]  # fields by name
    assert found.kind == "none"
    assert setting[:-4] in found.reasons["a"]
    assert found.sentence.startswith("No trial meets the constraints; the nearest is net-a")
    assert select.choose([good], THROUGHPUT).kind == "winner"


def test_a_limit_met_exactly_is_met_in_spite_of_rounding() -> None:
    exact = trial("a", around(1000), reference_accuracy=0.97, accuracy=0.96)
    assert 0.97 - 0.96 > 0.01
    assert select.choose([exact], replace(THROUGHPUT, accuracy_drop_max=0.01)).winner == "a"
    assert select.choose([exact], replace(THROUGHPUT, accuracy_drop_max=0.0)).winner is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"latency_ms_p99_max": 50.0}, "not enough samples for p99: 400 more requests"),
        ({"agreement_min": 0.9}, "agreement is not known"),
        ({"accuracy_drop_max": 0.1}, "accuracy is not known"),
        ({"usd_per_million_items_max": 1.0}, "price unknown"),
        ({"peak_memory_mb_max": 1.0}, "peak_memory_mb is not known"),
    ],
)
def test_a_limit_on_what_is_not_known_is_not_met(changes: dict[str, Any], reason: str) -> None:
    found = select.choose([trial("a", around(1000))], replace(THROUGHPUT, **changes))
    assert found.kind == "none"
    assert found.reasons["a"].startswith(reason)


def test_an_unknown_objective_is_a_reason() -> None:
    priced = trial("b", around(500), usd_per_million_items=2.0)
    found = select.choose([trial("a", around(1000)), priced], COST)
    assert found.winner == "b"
    assert found.reasons["a"].startswith("price unknown")
    short = trial("a", around(1000), latency_ms_p50=None, sample_count=4.0)
    assert select.choose([short], LATENCY).reasons["a"] == "not enough samples for p50: 6 more requests"


def test_the_nearest_miss_is_named() -> None:
    records = [trial("a", around(1000), latency_ms=30.0), trial("b", around(100), latency_ms=22.0)]
    found = select.choose(records, replace(THROUGHPUT, latency_ms_p50_max=20.0))
    check_whole(records, found)
    assert "nearest is net-b: latency_ms_p50 22 ms is 10 % over the limit of 20 ms" in found.sentence


def test_a_limit_kept_by_the_estimate_only_is_mentioned() -> None:
    record = trial("a", around(1000), latency_ms=19.0, latency_ms_p50_high=23.0)
    found = select.choose([record], replace(THROUGHPUT, latency_ms_p50_max=20.0))
    assert found.winner == "a"
    assert "by its estimate only: the interval reaches 23 ms" in found.sentence


@pytest.mark.parametrize(
    ("records", "said"),
    [([], "there are no trials"), ([FAILED, INVALID], "1 invalid, 1 build failed"), ([FAILED], "1 build failed")],
)
def test_nothing_ran(records: list[Record], said: str) -> None:
    found = select.choose(records, THROUGHPUT)
    check_whole(records, found)
    assert found.kind == "none"
    assert said in found.sentence


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.OK])
def test_only_ok_trials_are_ranked(status: Status) -> None:
    other = replace(trial("z", around(9999)), status=status, reason="because")
    found = select.choose([trial("a", around(1000)), other], THROUGHPUT)
    assert found.ranking == found.front == ("a",)
    assert found.reasons["z"] == f"{status.value.replace('_', ' ')}: because"


def test_ok_without_metrics_is_not_ranked() -> None:
    for empty in (None, {}):
        found = select.choose([replace(trial("a", around(1000)), metrics=empty)], THROUGHPUT)
        assert (found.kind, found.ranking) == ("none", ())
        assert found.reasons["a"] == "no metrics were recorded"


def test_front_holds_what_nothing_beats_both_ways() -> None:
    points = {"a": (100, 5.0), "b": (200, 9.0), "c": (150, 9.0), "d": (150, 6.0), "e": (90, 5.0), "f": (200, 9.0)}
    records = [trial(k, around(rate), latency_ms=latency) for k, (rate, latency) in points.items()]
    found = select.choose([*records, trial("g", around(500), latency_ms_p50=None)], THROUGHPUT)
    assert found.front == ("b", "f", "d", "a")


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_front_agrees_with_its_definition(points: list[tuple[int, int]]) -> None:
    records = [trial(f"{i:02}", [rate], latency_ms=latency) for i, (rate, latency) in enumerate(points)]
    expected = {
        f"{i:02}"
        for i, (rate, latency) in enumerate(points)
        if not any((r >= rate and m <= latency) and (r > rate or m < latency) for r, m in points)
    }
    assert set(select.choose(records, THROUGHPUT).front) == expected


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.floats(900, 1100), min_size=1, max_size=4), min_size=1, max_size=6),
    st.sampled_from([THROUGHPUT, LATENCY, COST, replace(THROUGHPUT, latency_ms_p50_max=1.0)]),
    st.randoms(),
)
def test_any_order_of_records_and_repeats_gives_the_same_verdict(
    rates: list[list[float]], objective: Objective, random: Any
) -> None:
    records = [trial(f"t{i}", each, build_seconds=float(i % 3)) for i, each in enumerate(rates)] + [FAILED, INVALID]
    found = select.choose(records, objective)
    check_whole(records, found)
    shuffled = [replace(r, repeats=tuple(random.sample(r.repeats, len(r.repeats)))) for r in records]
    random.shuffle(shuffled)
    assert canonical(select.choose(shuffled, objective)) == canonical(found)


def test_equal_metrics_are_ranked_by_key() -> None:
    records = [trial(key, around(1000)) for key in "cab"]
    for order in itertools.permutations(records):
        assert select.choose(order, THROUGHPUT).ranking == ("a", "b", "c")


def test_trials_with_one_label_are_told_apart() -> None:
    records = [replace(trial(key * 8, around(rate)), label="net") for key, rate in (("a", 2000), ("b", 1000))]
    found = select.choose(records, THROUGHPUT)
    assert "net [aaaaaa] wins" in found.sentence
    assert "net [bbbbbb]" in found.sentence


def simulate(medians: Sequence[float], spread: float, repeats: int, runs: int, seed: int) -> list[select.Verdict]:
    """Verdicts on log-normal rates with these medians, whose blocks drift together by 5 %."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(runs):
        drift = random.lognormal(0.0, 0.05, repeats)
        noise = random.lognormal(0.0, spread, (len(medians), repeats))
        records = [trial(f"t{i}", (m * drift * noise[i]).tolist()) for i, m in enumerate(medians)]
        found.append(select.choose(records, THROUGHPUT))
    return found


@pytest.mark.parametrize(("trials", "spread", "repeats"), [(3, 0.05, 5), (4, 0.02, 3), (8, 0.03, 5)])
def test_equal_trials_have_a_winner_in_at_most_one_sweep_of_twenty(trials: int, spread: float, repeats: int) -> None:
    found = simulate([1000.0] * trials, spread, repeats, runs=200, seed=trials)
    assert sum(v.kind == "winner" for v in found) <= 0.05 * 200


@pytest.mark.parametrize(("spread", "repeats"), [(0.01, 5), (0.03, 3)])
def test_two_equal_trials_have_a_winner_no_more_often_than_promised(spread: float, repeats: int) -> None:
    # With two trials the rate is only just below 5 %, so it is allowed to be above by as much as chance explains.
    found = simulate([1000.0] * 2, spread, repeats, runs=600, seed=7)
    wins = sum(v.kind == "winner" for v in found)
    low = intervals.wilson(wins, len(found)).low
    assert low is not None
    assert low <= 0.05


@pytest.mark.parametrize("medians", [(1000.0, 1100.0), (1000.0, 1000.0, 1100.0, 900.0)])
def test_a_tenth_more_is_found_with_five_repeats(medians: tuple[float, ...]) -> None:
    found = simulate(medians, 0.015, repeats=5, runs=200, seed=1)
    best = f"t{medians.index(1100.0)}"
    assert sum(v.kind == "winner" and v.winner == best for v in found) >= 0.95 * 200


@pytest.mark.parametrize("spread", [0.005, 0.02])
def test_a_choice_is_within_the_margin_of_the_best(spread: float) -> None:
    medians = [1000.0, 1000.0, 975.0, 975.0, 970.0]
    found = simulate(medians, spread, repeats=8, runs=150, seed=2)
    poor = sum(v.winner not in (None, "t0", "t1") for v in found)
    assert poor <= 0.05 * 150


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("throughput_items_per_s", 23411.7, "23,410 items/s"),
        ("throughput_items_per_s", 1234567.0, "1,235,000 items/s"),
        ("throughput_items_per_s", 0.01234, "0.01234 items/s"),
        ("throughput_items_per_s", 999.96, "1000 items/s"),
        ("latency_ms_p99", 0.23111, "0.2311 ms"),
        ("peak_memory_mb", 512.0, "512 MB"),
        ("agreement", 0.9925, "99.25 %"),
        ("score", 3.0, "3 score"),
    ],
)
def test_quantities_carry_their_unit(metric: str, value: float, text: str) -> None:
    assert quantity(metric, value) == text

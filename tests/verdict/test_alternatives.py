"""A verdict compares what a person could choose between, under all limits, and says what it rests on."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sweep.report import events, story
from sweep.spec import Origin, Record, Status, from_json, to_json
from sweep.spec.facts import DeploymentFacts, Price, ReuseFacts, SourceFacts
from sweep.spec.settings import Objective
from sweep.verdict import alternatives, constraints, elimination, select
from tests.support.rates import THROUGHPUT, around, trial
from tests.support.records import make_settings

COST = Objective("min_cost", "usd_per_million_items", False)
CAPACITY = Objective("max_capacity", "capacity_items_per_s", True)


def offered(key: str, rate: float, **metrics: float) -> Record:
    """A trial that keeps up with the rate that is offered."""
    return replace(trial(key, around(rate, 0.001), **metrics), load={"name": "poisson", "rate": rate, "seed": 0})


def member(key: str, number: int, rates: Sequence[float], group: str, **metrics: Any) -> Record:
    facts = DeploymentFacts(group, number, number, ({"label": "x"}, {"label": "y"}))
    return replace(trial(key, rates, **metrics), deployment=facts)


# --- questions --------------------------------------------------------------------------------------------------------


def test_trials_of_other_offered_rates_are_no_alternatives() -> None:
    found = select.choose([offered("a", 50.0), offered("b", 150.0)], THROUGHPUT)
    assert (found.kind, found.winner) == ("several", None)
    assert [(part.question, part.winner) for part in found.parts] == [("load.rate=50", "a"), ("load.rate=150", "b")]
    assert found.chosen == ("a", "b")
    assert "load.rate=50: net-a wins" in found.sentence
    assert "the next" not in found.sentence
    assert from_json(select.Verdict, to_json(found)) == found


def test_questions_stand_in_the_order_of_their_numbers() -> None:
    found = select.choose([offered("a", 1000.0), offered("b", 50.0), offered("c", 150.0)], THROUGHPUT)
    assert [part.winner for part in found.parts] == ["b", "c", "a"]


def test_trials_of_one_offered_rate_are_compared() -> None:
    found = select.choose([offered("a", 50.0), offered("b", 50.0), offered("c", 150.0)], THROUGHPUT)
    assert [part.kind for part in found.parts] == ["tie", "winner"]
    assert set(found.reasons) == {"b"} or set(found.reasons) == {"a"}


@pytest.mark.parametrize("setting", ["concurrency", "max_wait_ms", "seed", "probes"])
def test_what_a_person_can_choose_of_a_load_is_compared(setting: str) -> None:
    records = [
        replace(trial(key, around(rate)), load={"name": "saturate", setting: value})
        for key, rate, value in (("a", 1000, 1), ("b", 500, 4))
    ]
    assert select.choose(records, THROUGHPUT).kind == "winner"


def test_items_of_other_data_are_not_compared() -> None:
    records = [
        replace(trial(key, around(rate)), settings={"data": data, "model": "m"})
        for key, rate, data in (("a", 1000, "digits"), ("b", 10, "photos"), ("c", 5, "photos"))
    ]
    found = select.choose(records, THROUGHPUT)
    assert [(part.question, part.winner) for part in found.parts] == [("data=digits", "a"), ("data=photos", "b")]
    assert found.ranking == ("a", "b", "c")


def test_samples_of_one_data_set_are_another_question_too() -> None:
    records = [
        replace(trial(key, around(rate)), settings={"data": "files"}, overrides=(f"data.path={key}.npz",))
        for key, rate in (("a", 1000), ("b", 10))
    ]
    assert select.choose(records, THROUGHPUT).kind == "several"


def test_what_could_not_run_asks_no_question() -> None:
    refused = replace(offered("c", 9000.0), status=Status.INVALID, metrics=None, repeats=(), reason="too fast")
    found = select.choose([offered("a", 50.0), refused], THROUGHPUT)
    assert (found.kind, found.winner) == ("winner", "a")
    assert found.reasons["c"] == "invalid: too fast"


def test_what_was_rejected_asks_no_question() -> None:
    wrong = [
        replace(offered(key, rate), status=Status.REJECTED, reason="no") for key, rate in (("a", 50.0), ("b", 9.0))
    ]
    found = select.choose(wrong, THROUGHPUT)
    assert (found.kind, found.sentence) == ("none", "Nothing to choose from: 2 rejected.")


def test_lines_beneath_a_verdict_name_their_question() -> None:
    records = [offered("a", 50.0), offered("b", 150.0)]
    found = select.choose(records, THROUGHPUT)
    lines = [line.text for line in story.describe(records, found, make_settings("/tmp"))]
    assert any(text.startswith("load.rate=150: 3,000 requests in 5 repeats") for text in lines)
    assert [story.describe_state(record, found) for record in records] == ["best", "best"]


def test_a_race_leaves_nobody_out_for_a_trial_of_another_question() -> None:
    fast, slow = offered("a", 1000.0), offered("b", 50.0)
    assert elimination.look([fast, slow], THROUGHPUT, 1, 2).out == {}
    alike = replace(slow, load=fast.load)
    assert set(elimination.look([fast, alike, offered("c", 999.0)], THROUGHPUT, 1, 3).out) <= {"b"}


def test_published_numbers_stand_beside_measurements_of_their_model_only() -> None:
    mine = replace(trial("a", around(100)), settings={"data": "d", "model": "m"})
    same = replace(trial("p", [200.0]), origin=Origin.REPORTED, repeats=(), settings={"model": "m"})
    other = replace(same, key="q", label="net-q", settings={"model": "n"})
    found = select.choose([mine, same, other], THROUGHPUT)
    assert [(part.winner, set(part.keys)) for part in found.parts] == [("a", {"a", "p"}), (None, {"q"})]
    assert "Reported as better, but not run here: net-p" in found.parts[0].sentence


# --- deployments ------------------------------------------------------------------------------------------------------


def test_deployments_are_compared_as_a_whole() -> None:
    # The fastest member of all stands in the slower deployment.
    records = [
        member("a0", 0, around(900), "A", build_seconds=1.0),
        member("a1", 1, around(100, shift=1), "A"),
        member("b0", 0, around(600), "B"),
        member("b1", 1, around(600, shift=1), "B"),
    ]
    found = select.choose(records, THROUGHPUT)
    assert (found.kind, found.winner, found.chosen) == ("winner", "b0", ("b0", "b1"))
    assert found.sentence.startswith("net-b0 + net-b1 wins: 1,200 items/s")
    assert "1.2x the next (net-a0 + net-a1;" in found.sentence
    assert found.ranking == ("b0", "b1", "a0", "a1")
    assert set(found.reasons) == {"a0", "a1"}
    assert [story.describe_state(record, found) for record in records] == ["ok", "ok", "best", "best"]
    assert story.find_runner_up(records, found) is records[0]


def test_members_may_answer_different_data() -> None:
    records = [
        replace(member(f"{group}{place}", place, around(rate), group), settings={"data": data, "model": data})
        for group, rate in (("A", 900), ("B", 600))
        for place, data in enumerate(("digits", "photos"))
    ]
    found = select.choose(records, THROUGHPUT)
    assert (found.kind, found.chosen, found.parts) == ("winner", ("A0", "A1"), ())
    assert elimination.look(records, THROUGHPUT, 1, 4).decided


def test_members_of_the_only_deployment_are_no_rivals() -> None:
    records = [member("a0", 0, around(900), "A"), member("a1", 1, around(100, shift=1), "A")]
    found = select.choose(records, THROUGHPUT)
    assert (found.kind, found.chosen, dict(found.reasons)) == ("winner", ("a0", "a1"), {})
    assert "no other trial qualifies" in found.sentence
    assert elimination.look(records, THROUGHPUT, 1, 2).out == {}


def test_every_member_keeps_to_the_limits_and_the_slowest_latency_counts() -> None:
    objective = replace(THROUGHPUT, latency_ms_p50_max=5.0)
    records = [
        member("a0", 0, around(900), "A", latency_ms=1.0),
        member("a1", 1, around(900), "A", latency_ms=9.0),
        member("b0", 0, around(100), "B", latency_ms=2.0),
        member("b1", 1, around(100), "B", latency_ms=3.0),
    ]
    found = select.choose(records, objective)
    assert found.winner == "b0"
    assert found.reasons["a0"].startswith("net-a1: latency_ms_p50 9 ms is 80 % over")
    whole = alternatives.unite_deployments(records)[1]
    assert whole.number("latency_ms_p50") == 3.0
    assert whole.number("throughput_items_per_s") == pytest.approx(200.0)


def test_costs_of_members_add_up_over_one_host() -> None:
    records = [
        member("a0", 0, around(300), "A", usd_per_million_items=1.0),
        member("a1", 1, around(100), "A", usd_per_million_items=3.0),
    ]
    (whole,) = alternatives.unite_deployments(records)
    assert whole.number("usd_per_million_items") == pytest.approx(0.75)  # the host's price over 400 items/s


def test_a_deployment_that_is_not_whole_is_no_alternative() -> None:
    lost = replace(member("a1", 1, around(100), "A"), status=Status.REJECTED, reason="wrong")
    found = select.choose([member("a0", 0, around(900), "A"), lost, trial("c", around(10))], THROUGHPUT)
    assert found.winner == "c"
    assert "its deployment is not whole: net-a1 rejected" in found.reasons["a0"]


# --- limits that the load sets ----------------------------------------------------------------------------------------


def capacity(key: str, rates: Sequence[float], p99: float) -> Record:
    record = trial(key, rates, capacity_items_per_s=sum(rates) / len(rates), latency_ms_p99=p99)
    return replace(record, load={"name": "capacity", "slo_p99_ms": 20.0})


def test_a_capacity_whose_windows_miss_the_service_level_does_not_win() -> None:
    found = select.choose([capacity("a", around(1000), 524.0), capacity("b", around(500), 19.0)], CAPACITY)
    assert found.winner == "b"
    assert "its windows at 1,000 items/s have a p99 of 524 ms, load.slo_p99_ms is 20" in found.reasons["a"]


def test_a_service_level_that_is_missed_by_a_little_is_said() -> None:
    found = select.choose([capacity("a", around(1000), 22.0)], CAPACITY)
    assert found.winner == "a"
    assert "Mind that its windows at this rate have a p99 of 22 ms, over the 20 ms." in found.sentence


def test_what_cannot_serve_the_offered_rate_does_not_win() -> None:
    full = offered("a", 150.0, overloaded_share=1.0, arrival_rate_items_per_s=300.0)
    found = select.choose([full], THROUGHPUT)
    assert found.kind == "none"
    assert found.is_missed_by_all
    assert "it cannot serve the 300 items/s that arrive: the queue grows" in found.sentence


# --- enough requests --------------------------------------------------------------------------------------------------


def few(key: str, rates: Sequence[float], requests: int, least: int = 20) -> Record:
    record = trial(key, rates)
    repeats = tuple(replace(repeat, requests=requests) for repeat in record.repeats)
    return replace(record, repeats=repeats, min_requests=least)


def test_too_few_requests_do_not_win() -> None:
    records = [few("a", around(35800, n=3), 1), few("b", around(1000, n=3), 500)]
    found = select.choose(records, THROUGHPUT)
    assert (found.kind, found.winner) == ("winner", "b")
    assert found.reasons["a"] == (
        "3 requests in 3 repeats, and effort.min_requests=20 are needed to be chosen: effort.window_seconds=14 or a "
        "smaller batch gives them"
    )
    assert "Not counted: net-a, 35,800 items/s, has 3 requests" in found.sentence
    assert "a" in found.outside


def test_if_all_have_too_few_requests_it_is_undecided() -> None:
    found = select.choose([few("a", around(35800, n=3), 1)], THROUGHPUT)
    assert (found.kind, found.winner, found.tied) == ("undecided", None, ("a",))
    assert found.sentence.startswith("Not enough data: net-a leads with 35,800 items/s")
    assert not found.is_missed_by_all
    assert not elimination.look([few("a", around(35800, n=3), 1)], THROUGHPUT, 1, 1).decided


@pytest.mark.parametrize("load", ["offline", "trace"])
def test_a_pass_over_all_there_is_counts_whatever_requests_it_takes(load: str) -> None:
    once = replace(few("a", around(35800, n=3), 1), load={"name": load})
    assert constraints.find_misses(once, THROUGHPUT) == []


def test_what_earlier_versions_stored_has_no_such_limit() -> None:
    assert alternatives.count_lacking_requests(few("a", around(10), 1, least=0)) == 0


# --- what it rests on -------------------------------------------------------------------------------------------------


def test_an_interval_that_reaches_below_zero_is_not_shown_as_zero() -> None:
    wide = trial("a", around(35800), throughput_items_per_s_low=0.0, throughput_items_per_s_high=176000.0)
    found = select.choose([wide, trial("b", around(1000))], THROUGHPUT)
    assert "35,800 items/s (95 % interval up to 176,000: the repeats scatter), 35.8x the next" in found.sentence


def test_a_reused_winner_is_marked_with_its_age() -> None:
    old = replace(trial("a", around(1000)), origin=Origin.REUSED, reuse=ReuseFacts("20260101-1", 50.0))
    records = [old, trial("b", around(500))]
    found = select.choose(records, THROUGHPUT)
    assert "Mind that net-a was not measured now: it was reused from sweep 20260101-1, 50 h old" in found.sentence
    assert "reused from sweep 20260101-1" in found.rests
    assert story.describe_state(old, found) == "best, reused"


def test_rests_names_requests_repeats_items_and_machine() -> None:
    record = replace(trial("a", around(1000)), agreement={"samples": 540}, machine="AMD EPYC, 2 CPUs")
    assert select.choose([record], THROUGHPUT).rests == (
        "3,000 requests in 5 repeats; answers to 540 items; measured in this sweep, on AMD EPYC, 2 CPUs"
    )


def test_two_machines_under_one_name_are_said() -> None:
    records = [
        replace(trial(key, around(rate)), machine=machine, settings={"hardware": "local"})
        for key, rate, machine in (("a", 1000, "one"), ("b", 500, "two"))
    ]
    assert (
        "Mind that they were not measured on one machine: one and two." in select.choose(records, THROUGHPUT).sentence
    )


def test_a_faster_model_that_is_right_less_often_is_said() -> None:
    records = [
        replace(trial(key, around(rate), accuracy=accuracy), settings={"model": key})
        for key, rate, accuracy in (("small", 1000, 0.6), ("large", 500, 1.0))
    ]
    found = select.choose(records, THROUGHPUT)
    assert "Mind that the accuracy of small is 60 % and that of large 100 %: objective.accuracy_min" in found.sentence
    unknown = [replace(record, metrics={**(record.metrics or {}), "accuracy": None}) for record in records]
    assert "no labels say which is right more often" in select.choose(unknown, THROUGHPUT).sentence


def test_prices_of_two_kinds_are_said() -> None:
    records = [
        replace(
            trial(key, around(1000), usd_per_million_items=cost),
            settings={"hardware": key},
            price=Price(1.0, kind),
        )
        for key, cost, kind in (("inf1", 1.0, "spot"), ("inf2", 2.0, "on_demand"))
    ]
    sentence = select.choose(records, COST).sentence
    assert "Mind that the prices are not of one kind (inf1 spot, inf2 on_demand)" in sentence


def test_known_mistakes_of_what_is_replayed_stand_in_the_verdict() -> None:
    source = SourceFacts("a blog", mistakes=("one_latency_for_all",))
    record = replace(trial("p", [200.0]), origin=Origin.REPLAYED, repeats=(), source=source)
    found = select.choose([record], THROUGHPUT)
    assert "known mistakes: one_latency_for_all" in found.sentence
    assert "known mistakes: one_latency_for_all" in found.reasons["p"]
    (line,) = story.describe([record], found, make_settings("/tmp"))
    assert line.text == "known of the sources of the published rows: one_latency_for_all (1 of 1)"
    assert events.describe_events(record) == ["source   a blog; known mistakes: one_latency_for_all"]


def test_a_tie_goes_to_more_where_more_is_better() -> None:
    objective = replace(THROUGHPUT, metric="latency_ms_p50", maximize=False, tie_break="throughput_items_per_s")
    records = [
        replace(
            trial(key, around(1000, 0.002, shift=turn)), metrics={"latency_ms_p50": 1.0, "throughput_items_per_s": rate}
        )
        for key, rate, turn in (("a", 10.0, 0), ("b", 90.0, 1))
    ]
    found = select.choose(records, objective)
    assert (found.kind, found.winner) == ("tie", "b")
    assert "for its larger throughput_items_per_s: 90 items/s against 10 items/s" in found.sentence


def test_lists_of_buckets_in_another_order_by_latency_are_said() -> None:
    records = [
        trial("a", around(1000), item_latency_ms_mean=3.4),
        trial("b", around(500), item_latency_ms_mean=3.0),
        replace(trial("c", around(400), item_latency_ms_mean=1.0), settings={"batch": 1}),
    ]
    sentence = select.choose(records, THROUGHPUT).sentence
    assert (
        "By the mean latency of an item, and not by throughput_items_per_s, net-b is ahead: 3 ms against 3.4 ms."
        in (sentence)
    )
    assert "By the mean" not in select.choose(records[:1], THROUGHPUT).sentence


def test_a_comparison_names_the_loads_that_differ() -> None:
    assert alternatives.describe_load(offered("a", 50.0)) == "load=poisson load.rate=50"
    assert alternatives.describe_load(trial("a", [1.0])) == "load=saturate"

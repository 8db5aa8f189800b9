"""What would be chosen if, against a spreadsheet; and what would change the choice, against a scan of everything."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import verbs
from sweep.__main__ import run
from sweep.spec import UserError
from sweep.spec.facts import Price
from sweep.spec.settings import Fleet, Objective, Settings
from sweep.store.query import Stored
from sweep.verdict.costs import prices
from sweep.verdict.whatif import answers, flips
from sweep.verdict.whatif.answers import Question, View
from sweep.verdict.whatif.flips import Steps
from tests.support.priced_sweeps import NAME, Line, cost_of, found, random_lines, sheet, store
from tests.support.records import make_settings

CHEAP = Objective("min_cost", "usd_per_million_items", False)
FAST = Objective("max_throughput", "throughput_items_per_s", True)
SOON = Objective("min_latency", "latency_ms_p50", False)
ONE = [Line("small", 1000.0, 2.0, 5.0), Line("large", 6000.0, 4.0, 8.0), Line("small", 1500.0, 9.0, 30.0)]
PRICES: Mapping[str, Any] = {"small": [("on_demand", 0.20), ("spot", 0.05)], "large": [("on_demand", 1.00)]}


def view_of(outputs: Path, question: Question, known: Sequence[Stored] | None = None) -> View:
    return View(known or found(outputs), question, prices.read(outputs))


def places(view: View, trials: list[Any]) -> list[int]:
    """The feasible trials, best first, by their line."""
    by_key = {trial.key: place for place, trial in enumerate(trials)}
    return [by_key[record.key] for record in view.feasible]


def first_prices(rows: Mapping[str, Any], kind: str | None = None) -> dict[str, float | None]:
    return {name: next((usd for k, usd in each if kind in (None, k)), None) for name, each in rows.items()}


# --- twenty cases against a spreadsheet -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_a_spreadsheet_says_the_same(seed: int, tmp_path: Path) -> None:
    random = np.random.default_rng(seed)
    lines, rows = random_lines(random)
    trials = store(tmp_path, lines, rows)
    kind = [None, "on_demand", "spot", "reserved"][seed % 4]
    asked = {"large": float(random.uniform(0.1, 4.0))} if seed % 3 == 0 else {}
    if seed % 5 == 0:
        asked["unknown"] = float(random.uniform(0.1, 4.0))
    limits: dict[str, float] = {}
    if seed % 2:
        limits["p99_max"] = 1.000001 * float(np.quantile([line.p99 for line in lines], 0.6, method="lower"))
    if seed % 3 == 1:
        limits["drop_max"] = 0.02
    known = {**first_prices(rows, kind), **asked}
    if seed % 4 == 3:
        costs = [cost for line in lines if (cost := cost_of(line, known[line.hardware])) is not None]
        limits["cost_max"] = 1.000001 * float(np.quantile(costs, 0.7, method="lower"))
    by, objective = [("cost", CHEAP), ("rate", FAST), ("p50", SOON)][seed % 7 % 3]
    names = {"p99_max": "latency_ms_p99_max", "drop_max": "accuracy_drop_max", "cost_max": "usd_per_million_items_max"}
    objective = replace(objective, price=kind, **{names[name]: value for name, value in limits.items()})  # type: ignore[arg-type]  # by name
    load = float(random.uniform(100, 50_000))
    question = Question(objective, Fleet(load, 0.25, 1), asked)

    view = view_of(tmp_path, question)
    expected = sheet(lines, known, by=by, **limits)
    assert places(view, trials) == expected
    for record, line in zip(view.records, lines, strict=True):
        cost = cost_of(line, known[line.hardware])
        assert (record.metrics or {}).get("usd_per_million_items") == (None if cost is None else pytest.approx(cost))
    answer = view.answer()
    if expected:
        assert answer.verdict.winner in {trials[place].key for place in expected}
    fleets = {}
    for place in expected:
        line, hosts = lines[place], 0
        while hosts * line.rate * 0.75 < load:
            hosts += 1
        price = known[line.hardware]
        fleets[trials[place].key] = (hosts + 1, None if price is None else price * (hosts + 1) * 730)
    assert {each.record.key: each.hosts.hosts for each in answer.fleets} == {key: n for key, (n, _) in fleets.items()}
    for each in answer.fleets:
        month = fleets[each.record.key][1]
        assert each.hosts.usd_per_month == (None if month is None else pytest.approx(month))
    bills = [month for _, month in fleets.values() if month is not None]
    if bills:
        assert answer.fleets[0].hosts.usd_per_month == pytest.approx(min(bills))


# --- what would change the choice -------------------------------------------------------------------------------------


def scanned(leader: Callable[[float], int | None], low: float, high: float) -> list[tuple[float, int | None]]:
    """(value, leader from there on) wherever it changes between two values, to two parts in a thousand."""
    grid = np.geomspace(low, high, 1 + int(math.log(high / low) / 2e-3))
    seen: list[tuple[float, int | None]] = [(0.0, leader(float(grid[0])))]
    for value in grid[1:]:
        now = leader(float(value))
        if now != seen[-1][1]:
            seen.append((float(value), now))
    return seen


def told(steps: Steps, trials: list[Any], low: float, high: float) -> list[tuple[float, int | None]]:
    by_key: dict[str | None, int | None] = {trial.key: place for place, trial in enumerate(trials)}
    by_key[None] = None
    edges = [(0.0, steps.leader(low)), *((at, key) for at, key in zip(steps.at, steps.keys[1:], strict=True))]
    return [(edge, by_key[key]) for edge, key in edges if edge < high]


@pytest.mark.parametrize("seed", range(8))
def test_prices_at_which_another_leads_are_those_that_a_scan_finds(seed: int, tmp_path: Path) -> None:
    lines, rows = random_lines(np.random.default_rng(100 + seed))
    trials = store(tmp_path, lines, rows)
    known = first_prices(rows)
    limits = (
        {}
        if seed % 2
        else {"p99_max": 1.000001 * float(np.quantile([line.p99 for line in lines], 0.7, method="lower"))}
    )
    objective = replace(CHEAP, latency_ms_p99_max=limits.get("p99_max"))
    steps = {each.what: each for each in flips.find_flips(view_of(tmp_path, Question(objective)))}
    looked = 0
    for name in {
        line.hardware for place, line in enumerate(lines) if place in sheet(lines, known, by="rate", **limits)
    }:

        def leader(price: float, name: str = name) -> int | None:
            return next(iter(sheet(lines, {**known, name: price}, **limits)), None)

        expected = scanned(leader, 1e-3, 1e2)
        if len(expected) < 2:
            continue
        made = steps[f"price of {name}"]
        assert made.unconfirmed == 0
        assert (made.now is None) == (known[name] is None)
        seen = told(made, trials, 1e-3, 1e2)
        assert [place for _, place in seen] == [place for _, place in expected]
        assert [edge for edge, _ in seen] == pytest.approx([edge for edge, _ in expected], rel=4e-3)
        looked += 1
    assert looked >= 2


@pytest.mark.parametrize("seed", range(8))
def test_limits_at_which_another_leads_are_those_that_a_scan_finds(seed: int, tmp_path: Path) -> None:
    lines, rows = random_lines(np.random.default_rng(200 + seed), 8)
    trials = store(tmp_path, lines, rows)
    known = first_prices(rows)
    by, objective = [("cost", CHEAP), ("rate", FAST)][seed % 2]
    drop = 0.03 if seed % 3 else math.inf
    now = float(np.median([line.p99 for line in lines])) if seed % 4 == 0 else None
    objective = replace(objective, latency_ms_p99_max=now, accuracy_drop_max=None if drop == math.inf else drop)
    steps = {each.what: each for each in flips.find_flips(view_of(tmp_path, Question(objective)))}
    for what, name in (("latency_ms_p99", "p99_max"), ("latency_ms_p50", "p50_max")):
        other = {"p99_max": now} if name == "p50_max" and now is not None else {}

        def leader(limit: float, name: str = name, other: dict[str, float] = other) -> int | None:
            return next(iter(sheet(lines, known, by=by, drop_max=drop, **{**other, name: limit})), None)

        expected = scanned(leader, 1e-1, 1e3)
        if len(expected) < 2 or len(expected) > flips.STEPS:
            continue
        made = steps[what]
        assert made.unconfirmed == 0
        seen = told(made, trials, 1e-1, 1e3)
        assert [place for _, place in seen] == [place for _, place in expected]
        assert [edge for edge, _ in seen] == pytest.approx([edge for edge, _ in expected], rel=4e-3)
        assert made.now == (now if name == "p99_max" else None)
    assert "latency_ms_p99" in steps


@pytest.mark.parametrize("seed", range(8))
def test_a_limit_on_the_cost_is_kept_up_to_a_price(seed: int, tmp_path: Path) -> None:
    lines, rows = random_lines(np.random.default_rng(300 + seed), 10)
    trials = store(tmp_path, lines, rows)
    known = first_prices(rows)
    costs = [cost for line in lines if (cost := cost_of(line, known[line.hardware])) is not None]
    limit = float(np.mean(sorted(costs)[len(costs) // 2 - 1 : len(costs) // 2 + 1]))
    view = view_of(tmp_path, Question(replace(FAST, usd_per_million_items_max=limit)))
    assert places(view, trials) == sheet(lines, known, by="rate", cost_max=limit)
    found_steps = [each for each in flips.find_flips(view) if each.unit == "USD/h"]
    assert found_steps
    for made in found_steps:
        name = made.what.removeprefix("price of ")

        def leader(price: float, name: str = name) -> int | None:
            return next(iter(sheet(lines, {**known, name: price}, by="rate", cost_max=limit)), None)

        assert made.unconfirmed == 0
        expected = scanned(leader, 1e-3, 1e3)
        if len(expected) <= flips.STEPS:
            seen = told(made, trials, 1e-3, 1e3)
            assert [place for _, place in seen] == [place for _, place in expected]
            assert [edge for edge, _ in seen] == pytest.approx([edge for edge, _ in expected], rel=4e-3)


@pytest.mark.parametrize("way", [CHEAP, FAST])
def test_every_flip_is_one_by_select_itself(way: Objective, tmp_path: Path) -> None:
    """As a person would try it: `best` with a price or a limit 1 % to either side, over all trials."""
    lines, rows = random_lines(np.random.default_rng(7), 40, noise=0.01)
    store(tmp_path, lines, rows)
    known = found(tmp_path)
    tried = 0
    for steps in flips.find_flips(view_of(tmp_path, Question(way))):
        for edge in steps.at:
            for value in (0.99 * edge, 1.01 * edge):
                if steps.unit == "USD/h":
                    question = Question(way, prices={steps.what.removeprefix("price of "): value})
                else:
                    question = Question(replace(way, **{steps.what + "_max": value}))
                leading = next((record.key for record in view_of(tmp_path, question, known).feasible), None)
                assert leading == steps.leader(value)
                tried += 1
    assert tried >= 8


def test_the_words_of_the_issue(tmp_path: Path) -> None:
    """B beats A when the spot price of A rises above so much."""
    trials = store(tmp_path, ONE, PRICES)
    view = view_of(tmp_path, Question(replace(CHEAP, price="spot", latency_ms_p99_max=20.0), prices={"large": 1.0}))
    a, b = trials[0].key, trials[1].key
    assert view.feasible[0].key == a
    steps = next(each for each in flips.find_flips(view) if each.what == "price of small")
    assert steps.at == pytest.approx((1.0 / 6,))  # 1,000 items/s at 6,000 items/s for one dollar
    assert (steps.keys, steps.now) == ((a, b), 0.05)
    at = [Question(view.objective, prices={"large": 1.0, "small": price}) for price in (0.165, 0.169)]
    assert [view_of(tmp_path, each).verdict.winner for each in at] == [a, b]


def test_a_break_even_price_is_as_sure_as_the_rates(tmp_path: Path) -> None:
    noisy = [replace(line, noise=0.05) for line in ONE]
    store(tmp_path, noisy, PRICES)
    quiet = tmp_path / "quiet"
    store(quiet, ONE, PRICES)
    ends = {}
    for outputs in (tmp_path, quiet):
        steps = next(
            each for each in flips.find_flips(view_of(outputs, Question(CHEAP))) if each.what == "price of large"
        )
        ((low, high),) = [each for each in steps.ends if each]
        assert low <= steps.at[0] <= high
        ends[outputs] = high / low
    assert 1.0 <= ends[quiet] < 1.0001 < ends[tmp_path] < 1.5


# --- what is not known ------------------------------------------------------------------------------------------------


def test_an_unknown_price_stays_unknown_and_the_price_that_would_do_is_told(tmp_path: Path) -> None:
    trials = store(tmp_path, ONE, {**PRICES, "large": []})
    view = view_of(tmp_path, Question(CHEAP))
    assert places(view, trials) == [2, 0]
    assert "price unknown" in view.verdict.reasons[trials[1].key]
    assert [(host.name, host.price is None) for host in view.hosts] == [("large", True), ("small", False)]
    steps = {each.what: each for each in flips.find_flips(view)}["price of large"]
    assert steps.now is None
    assert steps.at == pytest.approx((0.20 * 6000 / 1500,))
    assert steps.keys == (trials[1].key, trials[2].key)
    asked = view_of(tmp_path, Question(CHEAP, prices={"large": 0.5}))
    assert places(asked, trials)[0] == 1


def test_no_price_of_the_kind_that_is_asked_for(tmp_path: Path) -> None:
    trials = store(tmp_path, ONE, PRICES)
    assert places(view_of(tmp_path, Question(replace(CHEAP, price="spot"))), trials) == [2, 0]
    assert places(view_of(tmp_path, Question(replace(CHEAP, price="reserved"))), trials) == []
    by_rate = view_of(tmp_path, Question(replace(FAST, price="reserved")))
    assert places(by_rate, trials) == [1, 2, 0]
    assert all("usd_per_million_items" not in (record.metrics or {}) for record in by_rate.records)


def test_the_table_of_the_user_stands_over_the_price_that_the_sweep_knew(tmp_path: Path) -> None:
    trials = store(tmp_path, ONE, PRICES)
    assert places(view_of(tmp_path, Question(CHEAP)), trials)[0] == 2
    prices.write(tmp_path, [prices.Row("large", "", Price(0.5, "on_demand", "us-east-1", "2026-11-22", "mine"))])
    view = view_of(tmp_path, Question(CHEAP))
    assert places(view, trials)[0] == 1
    assert {host.name: host.price.source for host in view.hosts if host.price} == {"large": "mine", "small": None}


def test_the_capacity_is_what_is_paid_for(tmp_path: Path) -> None:
    lines = [replace(ONE[0], capacity=900.0), replace(ONE[1], capacity=1000.0), replace(ONE[2], capacity=0.0)]
    trials = store(tmp_path, lines, PRICES)
    view = view_of(tmp_path, Question(CHEAP, Fleet(2000.0, 0.0, 0)))
    assert places(view, trials) == [0, 1], "no rate of the third meets the service level"
    assert [each.hosts.hosts for each in view.fleets] == [3, 2]
    assert (view.records[0].metrics or {})["usd_per_million_items"] == pytest.approx(0.20 / 3600 / 900 * 1e6)


def test_a_limit_that_nobody_meets(tmp_path: Path) -> None:
    trials = store(tmp_path, ONE, PRICES)
    view = view_of(tmp_path, Question(replace(CHEAP, latency_ms_p99_max=1.0), Fleet(100.0)))
    assert (view.verdict.kind, view.fleets) == ("none", ())
    assert "nearest" in view.verdict.sentence
    steps = next(each for each in flips.find_flips(view) if each.what == "latency_ms_p99")
    assert steps.at == (5.0, 8.0, 30.0)
    assert steps.keys == (None, trials[0].key, trials[1].key, trials[2].key)


def test_one_trial_or_none_that_ran(tmp_path: Path) -> None:
    store(tmp_path / "one", ONE[:1], PRICES)
    (limit,) = [
        each for each in flips.find_flips(view_of(tmp_path / "one", Question(CHEAP))) if each.what.endswith("p99")
    ]
    assert limit.at == (5.0,)
    store(tmp_path / "none", [replace(ONE[0], status="run_failed")], PRICES)
    view = view_of(tmp_path / "none", Question(CHEAP, Fleet(100.0)))
    assert (flips.find_flips(view), view.hosts, view.fleets) == ((), (), ())


# --- words ------------------------------------------------------------------------------------------------------------


def settings_of(outputs: Path) -> Settings:
    return make_settings(outputs, objective=CHEAP, fleet=Fleet(500.0, 0.5, 2))


def test_words_change_what_they_name_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "mix.csv").write_text("size,count\n8,3\n16,1\n")
    words = ["objective.latency_ms_p99_max=20", "price.small=0.31", "fleet.items_per_s=1000"]
    question = answers.parse_question(
        [*words, f"traffic={tmp_path / 'mix.csv'}"], settings_of(tmp_path), ["small", "large"]
    )
    assert question.objective == replace(CHEAP, latency_ms_p99_max=20.0)
    assert question.fleet == Fleet(1000.0, 0.5, 2)
    assert question.prices == {"small": 0.31}
    assert question.traffic is not None
    assert question.traffic.largest == (16,)
    assert answers.parse_question([], settings_of(tmp_path), []) == Question(CHEAP, Fleet(500.0, 0.5, 2))
    assert answers.parse_question(
        ["objective=max_throughput", "objective.price=spot"], settings_of(tmp_path), []
    ).objective == (
        replace(answers.parse_question(["objective=max_throughput"], settings_of(tmp_path), []).objective, price="spot")
    )


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("price.smal=0.3", "no hardware 'smal' in this sweep: did you mean 'small'"),
        ("price.small=cheap", "price.small=cheap is not a price: give USD/h"),
        ("price.small=-1", "price.small=-1 is not a price"),
        ("price.small=nan", "price.small=nan is not a price"),
        ("price=spot", "say objective.price=... or price.<hardware>=..."),
        ("latency_ms_p99_max=20", "say objective.latency_ms_p99_max=..."),
        ("latency_ms_p99=20", "say objective.latency_ms_p99_max=..."),
        ("batch=5", "'batch' is nothing that `best` can change"),
        ("objective.prise=spot", "no key 'objective.prise'"),
        ("objective.price=cheap", "objective.price must be one of on_demand, reserved, spot"),
        ("fleet.items_per_s=0", "fleet.items_per_s must be a number >= 0.001"),
        ("fleet.headroom=1", "fleet.headroom must be a number from 0 to 0.95"),
        ("spot", "'spot' is not like objective.latency_ms_p99_max=20"),
        ("traffic=nowhere.csv", "cannot read nowhere.csv"),
    ],
)
def test_wrong_words(word: str, error: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as said:
        answers.parse_question([word], settings_of(tmp_path), ["small", "large"])
    assert error in str(said.value)
    assert "\n" not in str(said.value)


# --- the verb ---------------------------------------------------------------------------------------------------------


def best(outputs: Path, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert verbs.run(["best", *words, "--outputs", str(outputs)]) == 0
    return capsys.readouterr().out


def test_the_verb_shows_prices_hosts_and_what_would_change_the_choice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    store(tmp_path, ONE, PRICES, objective=CHEAP)
    shown = best(tmp_path, "fleet.items_per_s=5000", "price.large=1.5", capsys=capsys)
    assert "price      large: 1.5 USD/h as asked" in shown
    assert "price      small: 0.2 USD/h on_demand us-east-1" in shown
    title = "hosts for 5,000 items/s, 30 % of each kept free, 1 host may be lost"
    assert title in shown
    table = shown.partition(title)[2]
    (line,) = [each for each in table.splitlines() if each.startswith("→")]
    assert line.split()[1:3] == ["small", "b3"]
    assert line.split()[4:9] == ["6", "56", "%", "1.2", "876"]
    assert "uses 1 of 8 cores" in line
    flip = shown.partition("what would change the choice")[2]
    assert "price of small, now 0.2" in " ".join(flip.split())
    assert "from 0.375 USD/h" in flip
    assert "no trial" in flip
    assert max(map(len, shown.partition("\nprice ")[2].splitlines())) <= 120


def test_hosts_as_whole_ones_may_make_another_fleet_the_cheapest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path, ONE, PRICES, objective=CHEAP)
    words = ("fleet.items_per_s=6000", "fleet.headroom=0", "fleet.spare_hosts=0", "price.large=0.7")  # four small hosts
    shown = best(tmp_path, *words, capsys=capsys)
    assert "the cheapest fleet is" not in shown
    words = ("fleet.items_per_s=1000", "fleet.headroom=0", "fleet.spare_hosts=0", "price.large=0.7")
    shown = best(tmp_path, *words, capsys=capsys)
    assert "the cheapest fleet is small b3" in " ".join(shown.split())  # one small host for part of a large


def test_the_verb_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trials = store(tmp_path, ONE, PRICES, objective=CHEAP)
    said = json.loads(best(tmp_path, "--json", "fleet.items_per_s=5000", capsys=capsys))
    assert said["verdict"]["winner"] == trials[2].key
    assert said["prices"]["small"]["usd_per_hour"] == 0.2
    assert [each["hosts"] for each in said["fleets"]] == [6, 9, 3]
    assert {each["what"] for each in said["flips"]} == {
        "price of small",
        "price of large",
        "latency_ms_p99",
        "latency_ms_p50",
    }
    assert said["left_out"] == {}


def test_nothing_about_money_where_nobody_asked_and_nobody_knows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store(tmp_path, ONE, {"small": [], "large": []})
    shown = best(tmp_path, capsys=capsys)
    assert "price" not in shown
    assert "hosts for" not in shown
    assert "latency_ms_p99 limit, now none" in shown


def test_a_user_error_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(tmp_path, ONE, PRICES)
    assert run(["best", "price.smal=1", "--sweep", NAME, "--outputs", str(tmp_path)]) == 1
    assert (
        capsys.readouterr().err
        == "error: no hardware 'smal' in this sweep: did you mean 'small'? (here: large, small)\n"
    )


def test_limits_of_the_sweep_stay_under_another_objective(tmp_path: Path) -> None:
    limited = replace(
        CHEAP, name="min_latency", metric="latency_ms_p50", latency_ms_p99_max=20.0, accuracy_min=0.9, margin=0.1
    )
    settings = make_settings(tmp_path, objective=limited)
    asked = answers.parse_question(["objective=max_throughput"], settings, []).objective
    assert (asked.name, asked.metric, asked.maximize) == ("max_throughput", "throughput_items_per_s", True)
    assert (asked.latency_ms_p99_max, asked.accuracy_min, asked.margin) == (20.0, 0.9, 0.1)
    kept = answers.describe_kept_limits(limited, asked)
    assert kept.startswith("the limits of the sweep hold: latency_ms_p99_max=20, accuracy_min=0.9 (objective.latency")
    free = answers.parse_question(["objective=max_throughput", "objective.latency_ms_p99_max=null"], settings, [])
    assert (free.objective.latency_ms_p99_max, free.objective.accuracy_min) == (None, 0.9)


def test_less_of_what_should_be_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"objective\.metric=latency_ms_p99: less of it is better"):
        answers.parse_question(
            ["objective.metric=latency_ms_p99", "objective.maximize=true"], settings_of(tmp_path), []
        )


def test_what_would_change_the_choice_is_looked_for_within_each_question(tmp_path: Path) -> None:
    store(tmp_path, ONE * 2, PRICES)
    known = [
        Stored(stored.history, replace(stored.record, load={"name": "poisson", "rate": 50.0 if place < 3 else 90.0}))
        for place, stored in enumerate(found(tmp_path))
    ]
    view = view_of(tmp_path, Question(CHEAP), known)
    assert [part.question for part in view.verdict.parts] == ["load.rate=50", "load.rate=90"]
    steps = flips.find_flips(view)
    assert steps
    assert {step.what.partition(": ")[0] for step in steps} == {"load.rate=50", "load.rate=90"}
    for step in steps:
        (part,) = [part for part in view.verdict.parts if step.what.startswith(part.question)]
        assert {key for key in step.keys if key} <= set(part.keys)

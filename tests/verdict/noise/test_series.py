"""The series of a sweep from its ledger, and what is told of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import files
from sweep.spec import Json, to_json
from sweep.spec.facts import HostFacts
from sweep.verdict.noise import series
from sweep.verdict.noise.drift import Finding, Point
from tests.support.machine_laws import log_normal, simulated, speed
from tests.support.records import make_measurement, make_trial

ONE, TWO = make_trial(batch=1), make_trial(batch=2)


def trial(of: Any = ONE) -> Json:
    return {"kind": "trial", "time": 0.0, "trial": to_json(of)}


def repeat(index: int, rate: float = 100.0, of: Any = ONE, time: float = 0.0, **changes: Any) -> Json:
    measured = replace(make_measurement(index, rate), samples=f"{of.key}/{index}{changes}", host=HostFacts(mhz=9.0))
    values = {"trial": of.key, "identity": f"i{of.batch}", "measurement": to_json(measured)}
    return {"kind": "repeat", "time": time, **values, **changes}


def control(block: int, rate: float, **changes: Any) -> Json:
    return {**repeat(block, rate, **changes), "kind": "control", "at": 0.0, "block": block, "failure": None}


def test_points_are_in_order_of_measurement_despite_the_clock() -> None:
    entries = [trial(), trial(TWO), repeat(0, time=50.0), repeat(0, of=TWO, time=40.0), repeat(1, time=30.0)]
    points = series.read(entries).points
    assert [(p.trial, p.block, p.position, p.time) for p in points] == [
        (ONE.key, 0, 0, 50.0),
        (TWO.key, 0, 1, 40.0),
        (ONE.key, 1, 0, 30.0),
    ]
    assert points[0].host == HostFacts(mhz=9.0)


def test_control_is_a_point_of_its_trial_unless_it_failed() -> None:
    failed = {**control(1, 0.0), "measurement": None, "failure": {"kind": "crash"}}
    found = series.read([trial(), repeat(0), control(0, 99.0), failed])
    assert [(p.repeat, p.group, p.value) for p in found.points] == [(0, "i1", 100.0), (None, "i1", 99.0)]
    assert found.control == ONE.key


def test_repeated_measurement_belongs_to_the_same_group() -> None:
    again = repeat(0, identity="i1-again2")
    assert {p.group for p in series.read([trial(), repeat(0), again]).points} == {"i1"}


def test_rates_without_information_are_left_out() -> None:
    paced = replace(ONE, load={"name": "poisson", "rate": 5.0})
    replayed = replace(TWO, backend={"name": "replay"})
    entries = [trial(paced), trial(replayed), repeat(0, of=paced), repeat(0, of=replayed), control(0, 7.0, of=paced)]
    assert [(p.repeat, p.value) for p in series.read(entries).points] == [(None, 7.0)]
    assert series.read([trial(), repeat(0, 0.0), repeat(1, 5.0)]).points[0].value == 5.0


def test_later_blocks_are_left_out_unless_on_record() -> None:
    entries = [trial(), repeat(0), repeat(1), repeat(2)]
    assert [p.block for p in series.read(entries, blocks=2).points] == [0, 1]
    settled = {**entries[3]["measurement"], "level": 0.9}
    record = {"kind": "record", "time": 0.0, "record": {"repeats": [settled]}}
    found = series.read([*entries, record], blocks=1)
    assert [p.block for p in found.points] == [0, 2]
    assert found.settled == {1: 0.9}


def slow_sweep() -> series.Series:
    points = simulated(np.random.default_rng(2), log_normal(0.005), speeds=speed(0.6))
    return series.Series(tuple(points), {"0": "first"}, "0")


@pytest.mark.parametrize(
    ("ratio", "low", "high", "words"),
    [
        (0.8, 0.75, 0.85, "20 % slower (95 % interval 15 to 25 %)"),
        (0.97, 0.92, 1.03, "3 % slower (95 % interval 3 % faster to 8 % slower)"),
        (1.03, 0.98, 1.08, "3 % faster (95 % interval 2 % slower to 8 % faster)"),
    ],
)
def test_the_interval_of_a_change_keeps_its_sign(ratio: float, low: float, high: float, words: str) -> None:
    change = Finding("trend", 0, 0, 0, ratio, low, high, 0.01)
    assert words in series.describe_finding(change, ())


def test_the_document_and_its_sentence(tmp_path: Path) -> None:
    slow = slow_sweep()
    drift, levels = series.judge(slow, 0.01, 0)
    made = series.build_document(slow, drift, levels)
    assert made["findings"][0]["block"] == 3
    (said,) = made["sentences"]
    assert said.startswith("The machine became 9")
    assert "slower (95 % interval " in said
    assert "in block 4, from its measurement 1 of 8 on" in said
    assert made["labels"]["0"] == "first"
    assert made["control"] == "0"
    assert len(made["points"]) == 40
    usual = [p["relative"] for p in made["points"] if p["level"] == 1.0]
    slower = [p["relative"] for p in made["points"] if p["level"] < 1.0]
    assert np.mean(usual) == pytest.approx(1.0, abs=0.01)
    assert np.mean(slower) == pytest.approx(1 / 1.1, abs=0.01)
    files.write_json(tmp_path / "drift.json", made)
    assert files.read_json(tmp_path / "drift.json")["sentences"] == [said]


def test_document_that_is_missing_or_cut_off_is_empty(tmp_path: Path) -> None:
    assert files.read_json(tmp_path / "drift.json") == {}
    for cut in ("{", "[1]"):
        (tmp_path / "drift.json").write_text(cut)
        assert files.read_json(tmp_path / "drift.json") == {}


def test_trend_has_a_sentence() -> None:
    gradual = simulated(np.random.default_rng(2), log_normal(0.005), speeds=lambda done: np.exp(0.1 * done))
    drift, levels = series.judge(series.Series(tuple(gradual)), 0.01, 0)
    (said,) = series.build_document(series.Series(tuple(gradual)), drift, levels)["sentences"]
    assert said.startswith(("The machine became 10 % faster", "The machine became 11 % faster"))
    assert "little by little" in said


def test_measurements_on_a_busy_machine_are_marked() -> None:
    hosts: list[Json] = [{"mhz": 3000.0, "steal_share": 0.0, "foreign_cpu_share": 0.01}] * 5
    hosts = [*hosts, {"mhz": 2000.0, "steal_share": 0.1}, {"foreign_cpu_share": 0.3}, {"foreign_cpu_share": 0.2}, {}]
    points = [Point("one", 100.0, host=HostFacts(**host)) for host in hosts]
    found = series.find_marks(points)
    assert [(mark["number"], mark["what"]) for mark in found] == [
        (5, "steal_share"),
        (5, "mhz"),
        (6, "foreign_cpu_share"),
        (7, "foreign_cpu_share"),
    ]
    assert series.describe_marks(found, points) == [
        "During 1 of 9 measurements the hypervisor gave 10 % of the CPU time to other guests.",
        "During 2 of 9 measurements other programs used 30 % of the CPU time at worst.",
        "During 1 of 9 measurements the CPUs ran at 2,000 MHz.",
    ]

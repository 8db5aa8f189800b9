"""The short story beneath a verdict, and what the tables of results show of capacity, early stops and percentiles."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep.report import story
from sweep.report.mlflow.markdown import RUN, describe, describe_trial
from sweep.report.terminal.display import Display
from sweep.spec import Record, Status, StopReason
from sweep.spec.facts import HostFacts
from sweep.spec.settings import Effort, Fleet, Settings
from sweep.verdict import select
from sweep.verdict.select import Verdict
from tests.support.records import THROUGHPUT, make_load, make_record, make_records, make_settings


def told(records: list[Record], settings: Settings) -> dict[str, str]:
    verdict = select.choose(records, settings.objective)
    return {line.name: line.text for line in story.describe(records, verdict, settings)}


def screen(records: list[Record], settings: Settings, width: int, verdict: Verdict | None = None) -> str:
    stream = io.StringIO()
    verdict = verdict or select.choose(records, settings.objective)
    Display(plain=True, stream=stream, width=width).results(records, verdict, settings, ["browse     python"])
    return stream.getvalue()


def noted(record: Record, **facts: Any) -> Record:
    """The record with these facts in each of its repeats."""
    return replace(record, repeats=tuple(replace(r, **facts) for r in record.repeats))


def stopped(reason: str, **axes: Any) -> Record:
    why = StopReason(reason.partition(" ")[0].rstrip(":"))
    better = make_record(batch=8).key
    return replace(make_record(**axes), status=Status.STOPPED, reason=reason, stop=why, dominated_by=better)


# --- the story --------------------------------------------------------------------------------------------------------


def test_story_names_the_next_trial_confidence_and_cost(tmp_path: Path) -> None:
    records = [
        make_record(batch=n, throughput=1000.0 * n, metrics={"usd_per_million_items": 0.5 / n}) for n in (1, 2, 4)
    ]
    lines = told(records, make_settings(tmp_path, fleet=Fleet(10_000.0, 0.2, 1)))
    assert lines["next"].startswith("digits-onnxruntime-fp32-b2-c1: 50 % slower than digits-onnxruntime-fp32-b4-c1")
    assert lines["sure"].startswith("95 %, over all 3 trials that qualify; 2 repeats each")
    # 4,000 items/s at $0.125 a million is $1.80 an hour; 10,000 / (4,000 x 0.8) = 3.125: four hosts and one to lose.
    assert lines["cost"].startswith("$0.125 per million items at $1.80 an hour; 10,000 items/s take 5 hosts")
    assert lines["cost"].endswith("$6,570 a month")
    assert "noise" not in lines
    assert "load" not in lines


def test_unknown_price_is_left_out(tmp_path: Path) -> None:
    lines = told([make_record(batch=1), make_record(batch=4)], make_settings(tmp_path, fleet=Fleet(100.0)))
    assert "$" not in lines["cost"]
    assert "hosts" in lines["cost"]
    assert "cost" not in told([make_record()], make_settings(tmp_path))


def test_story_of_one_trial_and_of_none(tmp_path: Path) -> None:
    lines = told([make_record()], make_settings(tmp_path))
    assert "next" not in lines
    assert lines["sure"].startswith("one trial that qualifies")
    assert told([make_record("build_failed")], make_settings(tmp_path)) == {}
    assert told([], make_settings(tmp_path)) == {}


def test_undecided_verdict_says_how_to_continue_unless_it_did(tmp_path: Path) -> None:
    records = [make_record(batch=n, throughput=1000.0, repeats=1) for n in (1, 2)]
    settings = make_settings(tmp_path)
    assert told(records, settings)["sure"].endswith("effort=until_decided measures them until it is decided")
    raced = replace(settings, effort=Effort("until_decided", 3, 0.5, 10, 0.1, 1.0, 40))
    assert "until_decided" not in told(records, raced)["sure"]


def test_behaviour_of_the_machine_is_described(tmp_path: Path) -> None:
    host = HostFacts(foreign_cpu_share=0.31, steal_share=0.01)
    records = [noted(make_record(batch=n), level=0.9, host=host) for n in (1, 2)]
    text = told(records, make_settings(tmp_path))["noise"]
    assert text.startswith("the machine ran at 0.90x of its usual speed in 4 of 4 repeats: corrected for")
    assert "other programs took 31 % of the CPU time" in text
    assert "hypervisor" not in text


def test_overloaded_open_load_is_described(tmp_path: Path) -> None:
    load = make_load(left=40, overloaded=True)
    assert "more than it can serve" in told([noted(make_record(), load=load)], make_settings(tmp_path))["load"]
    calm = replace(load, overloaded=False)
    assert "80 still waited" in told([noted(make_record(), load=calm)], make_settings(tmp_path))["load"]
    at_once = make_load(scenario="offline", rate=None)
    assert "load" not in told([noted(make_record(), load=at_once)], make_settings(tmp_path))


def test_runner_up_misses_no_limit(tmp_path: Path) -> None:
    records = [make_record(batch=n, throughput=1000.0 * n, latency_ms=float(n)) for n in (1, 2, 4, 8)]
    settings = make_settings(tmp_path, objective=replace(THROUGHPUT, latency_ms_p50_max=5.0))
    verdict = select.choose(records, settings.objective)
    second = story.find_runner_up(records, verdict)
    assert second is not None
    assert second.settings["batch"] == 2


# --- the tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [80, 120])
def test_full_story_fits_the_width(tmp_path: Path, width: int) -> None:
    rates = {"capacity_items_per_s": 900.0, "capacity_items_per_s_low": 880.0, "capacity_items_per_s_high": 920.0}
    records = [
        noted(make_record(batch=n, metrics={**rates, "sample_count": 900.0, "usd_per_million_items": 0.3}), level=1.1)
        for n in range(1, 9)
    ]
    records += [stopped(f"dominated by x: 0.{n}x", batch=10 + n, throughput=10.0 * n) for n in range(1, 6)]
    text = screen(records, make_settings(tmp_path), width)
    assert max(map(len, text.splitlines())) <= width
    assert "900 ± 20" in text
    assert "\n  next " in text
    assert "5 trials stopped early: 5 dominated" in text


def test_percentile_of_too_few_samples_is_not_printed(tmp_path: Path) -> None:
    few = make_record(batch=1, metrics={"sample_count": 71.0})
    few = replace(few, metrics={name: v for name, v in (few.metrics or {}).items() if name != "latency_ms_p99"})
    many = make_record(batch=2, metrics={"sample_count": 5000.0})
    text = screen([few, many], make_settings(tmp_path), 120)
    assert "percentiles: of 71 to 5,000 latencies a trial; p99 is not shown below 500" in text
    row = next(line for line in text.splitlines() if re.match(r"\d +1 ", line))
    assert "1.50" not in row  # its p99
    page = describe_trial(few, 2, None)
    assert "p50 1.00 " in page
    assert "too few for a p99" in page


def test_trials_stopped_early_keep_their_numbers_and_status(tmp_path: Path) -> None:
    records = [
        make_record(batch=8, throughput=9000.0, latency_ms=1.0),
        stopped("dominated by digits-b8: 0.3x [0.2, 0.4]", batch=1, throughput=2000.0),
        stopped("infeasible: p50 too long", batch=2, throughput=3000.0, latency_ms=9.0),
        make_record("build_failed", batch=4),
    ]
    text = screen(records, make_settings(tmp_path, objective=replace(THROUGHPUT, latency_ms_p50_max=1.5)), 120)
    assert re.search(r"^ +1 +2,000 ± 40 .* dominated$", text, flags=re.MULTILINE)
    assert re.search(r"^ +2 +3,000 ± 60 .* infeasible$", text, flags=re.MULTILINE)
    assert text.index("3,000 ± 60") < text.index("build failed")
    assert text.count("dominated by") == 1  # as the runner-up: its reason is no failure to list
    assert "over all 2 trials that qualify" in text


def test_hundred_early_stops_take_one_line(tmp_path: Path) -> None:
    records = [make_record(batch=8, throughput=90000.0)]
    records += [stopped(f"dominated by x: 0.{n}x", batch=100 + n, throughput=float(n)) for n in range(1, 101)]
    text = screen(records, make_settings(tmp_path), 100)
    assert "100 trials stopped early: 100 dominated" in text
    assert len(text.splitlines()) < 40


# --- MLflow's pages ---------------------------------------------------------------------------------------------------


def test_sweep_description_begins_with_verdict_and_story(tmp_path: Path) -> None:
    records = make_records()
    settings = make_settings(tmp_path)
    verdict = select.choose(records, settings.objective)
    text = describe(settings, None, records, verdict)
    head, story_lines, *_ = text.split("\n\n")
    assert head.startswith("**digits-onnxruntime-fp32-b1-c4 wins")
    assert story_lines.startswith("- next: ")
    assert "2 repeats of 0.5 s each" in text


def test_trial_description_gives_result_and_evidence() -> None:
    records = make_records()
    verdict = select.choose(records, THROUGHPUT)
    pages = [describe_trial(record, len(records), verdict) for record in records]
    first = next(page for page, r in zip(pages, records, strict=True) if r.key == verdict.winner)
    assert first.startswith("**Chosen among 9 trials. ")
    assert "| throughput | 1,988 ± 40 items/s |" in first
    assert f"python -m sweep reproduce {RUN}" in first
    ranked = next(page for page, r in zip(pages, records, strict=True) if r.key == verdict.ranking[2])
    assert ranked.startswith("**Rank 3 of 9 trials: ")
    failed = pages[[r.status for r in records].index(Status.BUILD_FAILED)]
    assert failed.startswith("**build failed: crash: the compiler died (SIGSEGV)**")
    assert "throughput" not in failed


def test_markup_in_a_reason_is_escaped() -> None:
    page = describe_trial(make_record("build_failed", reason="<b>a | b</b> [x](y)"), 1, None)
    assert "&lt;b&gt;a \\| b&lt;/b&gt;" in page

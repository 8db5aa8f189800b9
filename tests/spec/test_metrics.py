"""One table of metrics: whatever stands in it is shown, sent, limited and searched for, without another list."""

from __future__ import annotations

import csv
import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from sweep.config import schema
from sweep.engine.search.options import Options
from sweep.report import tables
from sweep.report.mlflow import markdown
from sweep.report.mlflow import store as tracking_store
from sweep.report.mlflow.links import make_shared_view
from sweep.report.page import gather, trials
from sweep.report.terminal.display import Display
from sweep.spec import Origin, Record, from_json, metrics, to_json
from sweep.spec.metrics import Better, Limit, Metric, Of, Pooled, Shown, Side, Unit
from sweep.spec.settings import Objective
from sweep.text import describe_numbers, quantity
from sweep.verdict import constraints, race
from tests.support.page_sweeps import stored
from tests.support.records import THROUGHPUT, make_measurement, make_record, make_settings

EVERY = pytest.mark.parametrize("metric", metrics.METRICS, ids=lambda metric: metric.name)
STORED = [metric for metric in metrics.METRICS if metric.name != metrics.ACCURACY_DROP]  # which follows from two others
NUMBERS = {name: 0.25 + place for place, metric in enumerate(STORED) for name in metric.names}


def full_record() -> Record:
    """A trial that has every number that there is."""
    return make_record(metrics=NUMBERS, batch=5)


def test_results_and_mlflow_have_every_metric_and_the_ends_of_its_interval() -> None:
    record = full_record()
    (row,) = csv.DictReader(io.StringIO(tables.results_csv([record])))
    sent = tracking_store._headline_first(record.numbers)
    for metric in STORED:
        for name in metric.names:
            assert float(row[name]) == NUMBERS[name]
            assert dict(sent)[name] == NUMBERS[name]
    assert len(sent) == len(record.numbers)
    head = [name for metric in metrics.COLUMNS for name in metric.names]
    assert [name for name, _ in sent[: len(head)]] == head


def test_every_ranked_table_has_every_column(tmp_path: Path) -> None:
    records = [full_record(), make_record(metrics=NUMBERS, batch=1)]
    stream = io.StringIO()
    Display(plain=True, stream=stream, width=300).results(records, None, make_settings(tmp_path))
    terminal = next(line for line in stream.getvalue().splitlines() if "items/s" in line)
    told = gather.read(stored(tmp_path, metrics=NUMBERS, agreement={}))
    page = [column.name for _, column in trials._columns(told)]
    described = markdown.describe(make_settings(tmp_path), None, records, None)
    view = make_shared_view(THROUGHPUT, "a sweep", [], set(NUMBERS))[1]
    for metric in metrics.COLUMNS:
        assert f"{metric.column}  " in terminal
        assert metric.column in page
        assert f" {metric.column} |" in described or f" {metric.label} |" in described
        assert f"metrics.`{metric.name}`" in view
    places = [terminal.index(f"{metric.column}  ") for metric in metrics.COLUMNS if metric.column != "items/s"]
    assert places == sorted(places)


def test_the_list_of_a_trial_has_every_metric_that_is_shown_of_one() -> None:
    texts = describe_numbers(full_record().numbers)
    for metric in metrics.METRICS:
        if metric.shown is not Shown.NOWHERE and metric not in metrics.LATENCIES:
            assert texts[metric.label]
    for metric in metrics.LATENCIES:
        assert (metric.quantile is None) or f"{metric.label} " in texts["latency"]
    assert metrics.find(metrics.COST).label not in describe_numbers(full_record().numbers, without=metrics.COST)


@EVERY
def test_a_sentence_names_the_unit(metric: Metric) -> None:
    text = quantity(metric.name, 0.5)
    assert text == ("$0.5 per million items" if metric.unit is Unit.USD else text)
    assert text.endswith(metric.unit.value.lstrip("$ ") or metric.label)
    assert text.startswith("50 %" if metric.unit is Unit.SHARE else ("0.5 ", "$0.5 "))


def test_an_unknown_metric_of_a_published_table_is_shown_by_its_name() -> None:
    assert metrics.find("ttft_ms_p50") == Metric("ttft_ms_p50", "ttft_ms_p50")
    assert quantity("score", 3.0) == "3 score"


@EVERY
def test_what_has_a_direction_can_be_searched_for(metric: Metric) -> None:
    other = {"batch": 4, "sampler": "tpe", "warm_start": False, "storage": None, "resume": None}
    section: dict[str, Any] = {"budget": "4 trials", "objectives": [metric.name], **other}
    if metric.better is None:
        with pytest.raises(Exception, match=r"search\.objectives\.0 must be one of "):
            Options.read(section)
    else:
        assert Options.read(section).objectives == (metric.name,)


def test_goals_are_metrics_of_repeats_builds_and_prices() -> None:
    for metric in metrics.METRICS:
        mapping = {**to_json(THROUGHPUT), "metric": metric.name}
        if metric in metrics.GOALS:
            assert schema.check("objective", mapping).metric == metric.name
        else:
            with pytest.raises(Exception, match=r"objective\.metric must be one of"):
                schema.check("objective", mapping)
    # These names stand in people's configs.
    assert {"throughput_items_per_s", "capacity_items_per_s", "latency_ms_mean", "latency_ms_max", "build_seconds"} <= {
        metric.name for metric in metrics.GOALS
    }


def test_config_limits_stand_at_worse_side_of_a_metric() -> None:
    names = [field.name for field in fields(Objective) if field.name.endswith(("_min", "_max"))]
    objective = Objective("x", metrics.THROUGHPUT, True, **dict.fromkeys(names, 0.5))
    assert [limit.name for limit in objective.limits] == names
    for limit in objective.limits:
        assert limit.metric in metrics.METRICS
        assert limit.side is (Side.MIN if limit.metric.better is Better.HIGHER else Side.MAX)
    assert Objective("x", metrics.THROUGHPUT, True).limits == ()
    assert objective.deciding >= {metrics.THROUGHPUT, "accuracy", *(limit.metric.name for limit in objective.limits)}


@pytest.mark.parametrize(("side", "beyond"), [(Side.MAX, 11.0), (Side.MIN, 9.0)])
def test_a_limit_is_missed_beyond_its_bound_and_not_by_a_rounding_error(side: Side, beyond: float) -> None:
    limit = Limit(metrics.find("latency_ms_p99"), 10.0, side)
    assert limit.name == f"latency_ms_p99_{side.value}"
    assert limit.excess(beyond) == 1.0
    assert limit.relative(beyond) == pytest.approx(0.1)
    assert limit.is_missed(beyond)
    assert not limit.is_missed(10.0 + (1e-10 if side is Side.MAX else -1e-10))
    assert not limit.is_missed(20.0 - beyond)


def test_every_limit_has_a_text_for_its_miss() -> None:
    names = [field.name for field in fields(Objective) if field.name.endswith(("_min", "_max"))]
    bounds = {name: -1.0 if name.endswith("_max") else 1e9 for name in names}
    record = make_record(metrics={**NUMBERS, "reference_accuracy": 1.0, "accuracy": 0.5}, origin=Origin.REPORTED)
    missed = constraints.find_misses(record, Objective("x", metrics.THROUGHPUT, True, **bounds))
    assert [miss.text.split()[0] for miss in missed] == [name.rpartition("_")[0] for name in names]
    assert all(miss.size > 0 for miss in missed)


@EVERY
def test_repeats_have_metrics_of_table(metric: Metric) -> None:
    repeat = make_measurement()
    latency = {**repeat.latency_ms, "max": 9.0}
    plain = {
        **to_json(repeat),
        "latency_ms": latency,
        "capacity": {"slo_p99_ms": 20.0, "items_per_s": 70.0, "converged": True},
    }
    value = from_json(type(repeat), plain).number(metric.name)
    assert (value is not None) == (metric.of is Of.REPEAT and metric.pooled is not None)


@pytest.mark.parametrize("metric", metrics.GOALS, ids=lambda metric: metric.name)
def test_speed_of_machine_is_taken_out_of_paced_metrics(metric: Metric) -> None:
    repeat = make_measurement()
    levels = [from_json(type(repeat), {**to_json(repeat), "level": level}) for level in (1.0, 2.0)]
    record = make_record(metrics={metrics.COST: 1.0})
    usual, fast = (race._value_at_level(record, each, metric.name) for each in levels)
    if usual is None or fast is None or not metric.paced:
        assert usual == fast
    else:
        assert fast == pytest.approx(usual / 2 if metric.better is Better.HIGHER else usual * 2)


def test_pooled_latencies_are_the_quantiles_that_workers_report() -> None:
    assert metrics.QUANTILES == {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0}
    assert [metric.label for metric in metrics.LATENCIES] == ["p50", "p90", "p95", "p99", "mean", "max"]
    assert all(metric.pooled is Pooled.REQUESTS for metric in metrics.LATENCIES)

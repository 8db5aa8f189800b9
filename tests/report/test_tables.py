"""Rows of results, numbers as text, and the Markdown description."""

import csv
import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.report import tables
from sweep.report.mlflow.markdown import describe
from sweep.report.names import describe_common, find_varying, group_failures, short_name, sort_ranked
from sweep.spec import Status
from sweep.text import axis_text, duration, number, plus_minus, relative, share
from tests.support.records import make_plan, make_record, make_records, make_settings, make_verdict


def test_every_declared_trial_has_a_row_with_documented_keys():
    records = make_records()
    rows = tables.trial_rows(records, {records[0].key: "run0"})
    agreed = {"key", "overrides", "status", "origin", "failure", "metrics", "mlflow_run_id"}
    assert [row["key"] for row in rows] == [record.key for record in records]
    assert all(agreed <= set(row) for row in rows)
    assert rows[0]["mlflow_run_id"] == "run0"
    assert rows[1]["mlflow_run_id"] is None
    assert rows[0]["failure"] is None
    assert rows[0]["metrics"]["throughput_items_per_s"] == pytest.approx(1000)
    failed = next(row for row in rows if row["status"] == "build_failed")
    assert failed["failure"] == {"kind": "crash", "summary": "the compiler died (SIGSEGV)", "log": None}
    assert failed["metrics"] is None


def test_csv_has_one_line_per_trial_failed_ones_too():
    records = [*make_records(), make_record("run_failed", batch=9, reason='two\nlines, a "quote"')]
    rows = list(csv.DictReader(io.StringIO(tables.results_csv(records))))
    assert [row["status"] for row in rows] == [record.status.value for record in records]
    assert rows[-1]["reason"] == 'two lines, a "quote"'
    assert rows[-1]["failure_summary"] == 'two lines, a "quote"'
    assert float(rows[0]["latency_ms_p99"]) == pytest.approx(1.5)
    assert rows[-1]["latency_ms_p99"] == ""
    assert rows[0]["batch"] == "1"


def test_tables_without_trials_are_empty(tmp_path):
    assert [path.name for path in tables.write([], tmp_path)] == ["results.json", "results.csv"]
    assert json.loads((tmp_path / "results.json").read_text()) == []


def test_metrics_are_finite_numbers_only():
    record = make_record(metrics={"a": math.nan, "b": math.inf, "c": 2.0})
    metrics = record.numbers
    assert "a" not in metrics
    assert "b" not in metrics
    assert metrics["c"] == 2.0
    assert metrics["agreement"] == 0.998
    assert "who_was_right" not in metrics


def test_build_seconds_are_known_for_a_trial_that_failed_later():
    assert make_record("run_failed", build_seconds=7.0).numbers == {"build_seconds": 7.0}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (math.nan, "–"), (0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (12.34, "12.3"), (1234.6, "1,235")],
)
def test_number_has_three_significant_digits(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((1234.5, 1222.5, 1246.5), "1,234 ± 12"),
        ((1.2345, 1.2335, 1.2355), "1.234 ± 0.001"),
        ((12.0, None, None), "12.0"),
        ((5.0, 5.0, 5.0), "5.00"),
        ((2.0, 1.0, 3.0), "2.0 ± 1.0"),
    ],
)
def test_interval_decides_the_digits(interval, text):
    assert plus_minus(*interval) == text


@given(st.floats(1e-6, 1e9), st.floats(0, 1))
def test_shown_value_equals_the_value(value, spread):
    shown = plus_minus(value, value * (1 - spread), value * (1 + spread)).split(" ± ")[0].replace(",", "")
    assert float(shown) == pytest.approx(value, abs=max(value * spread, value * 0.006))


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, "100 %"), (0.9923, "99.2 %"), (0.99996, "99.996 %"), (0.9999999, "<100 %"), (None, "–")]
)
def test_share_is_never_rounded_up_to_all(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.44, "0.4 s"), (9.96, "10 s"), (59.7, "1 min"), (80, "1 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_durations_are_readable(seconds, text):
    assert duration(seconds) == text


def test_interpreter_of_the_backend_takes_no_column() -> None:
    rows = [{"backend": "a", "python": "/x"}, {"backend": "b", "python": "/y"}, {"backend": "c"}]
    assert find_varying(rows) == ["backend"]
    two_toolchains_of_one_backend = [*rows, {"backend": "a", "python": "/z"}]
    assert find_varying(two_toolchains_of_one_backend) == ["backend", "python"]


def test_names_show_what_varies():
    rows = [record.settings for record in (make_record(batch=1), make_record(batch=5, buckets=((64, 128), (224,))))]
    assert find_varying(rows) == ["batch", "buckets"]
    assert describe_common(rows) == "digits · local · onnxruntime · fp32 · cores 1"
    assert short_name(rows[1], find_varying(rows)) == "b5 k64x128,224"
    assert axis_text([]) == "own"
    assert find_varying([]) == []
    assert describe_common([]) == ""


def test_ranking_puts_measured_trials_first_and_loses_none():
    records = make_records()
    order = sort_ranked(records, make_verdict(records).ranking)
    assert [r.status for r in order[:5]] == [Status.OK] * 5
    assert order[0].metrics["throughput_items_per_s"] == max(r.metrics["throughput_items_per_s"] for r in order[:5])
    assert sorted(r.key for r in order) == sorted(r.key for r in records)


def test_failures_are_grouped_by_reason():
    records = [make_record("build_failed", batch=n, reason="no such operator") for n in range(1, 4)]
    groups = group_failures([*records, make_record("invalid", reason="8 cores"), make_record()])
    assert [(text, len(group)) for text, group in groups] == [("crash: no such operator", 3), ("8 cores", 1)]


def test_paths_are_relative_below_the_working_directory_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert relative(str(tmp_path / "a" / "log.txt")) == "a/log.txt"
    assert relative("/elsewhere/log.txt") == "/elsewhere/log.txt"
    assert relative(None) == ""


def test_description_has_verdict_best_and_failures(tmp_path):
    records = make_records()
    text = describe(make_settings(tmp_path), make_plan(records), records, make_verdict(records), ["python -m sweep ui"])
    assert text.startswith("**Choose digits-onnxruntime-fp32-b1-c4.**")
    assert "9 trials (5 ok, 1 invalid, 1 build failed, 1 run failed, 1 rejected) · 4 distinct builds" in text
    assert "| 1 | **onnxruntime b1 c4** | 1,988 ± 40 |" in text
    assert "- run failed: timeout: no answer for 60 s" in text
    assert "```\npython -m sweep ui\n```" in text


def test_description_shows_ten_at_most_and_survives_markup(tmp_path):
    records = [make_record(batch=n) for n in range(1, 31)]
    records += [make_record("build_failed", batch=99, reason="a | b <script> _x_")]
    text = describe(make_settings(tmp_path), None, records, make_verdict(records))
    assert text.count("\n| ") == 11  # a head and ten rows
    assert "and 20 more" in text
    assert "a \\| b &lt;script&gt; \\_x\\_" in text


def test_description_of_nothing(tmp_path):
    assert "no trials" in describe(make_settings(tmp_path), None, [], None)

"""`data.metrics` in whole sweeps without processes: where its numbers stand, and what a mistake in it does."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.report.names import list_columns
from sweep.spec import Status
from tests.support.running import BUSY, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
OWN = f"{__name__}.count_hits"


def count_hits(outputs: list[Any], labels: Any) -> int:
    return int((np.asarray(outputs[0]).argmax(1) == labels).sum())


def fail_on_builds(outputs: list[Any], labels: Any) -> float:
    if not hasattr(fail_on_builds, "calls"):
        fail_on_builds.calls = 1  # type: ignore[attr-defined]  # the original is asked first, and passes
        return 0.0
    raise ValueError("no such luck")


def test_metrics_of_the_data_stand_in_tables_and_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, history = sweep(tmp_path, "batch=1,4", f"data.metrics=[f1_macro,{OWN}]", "effort.repeats=1", *BUSY)
    assert status == 0
    for record in history.records.values():
        assert record.status is Status.OK, record.reason
        assert record.own_metrics == ("f1_macro", "count_hits")
        assert record.metrics is not None
        assert record.metrics["count_hits"] == record.metrics["reference_count_hits"]
        assert record.metrics["count_hits"] == round(64 * record.metrics["accuracy"])
    assert [metric.name for metric in list_columns(history.records.values())][-2:] == ["f1_macro", "count_hits"]
    assert "count_hits" in capsys.readouterr().out
    rows = list(csv.DictReader((history.folder / "results.csv").read_text().splitlines()))
    assert float(rows[0]["count_hits"]) == record.metrics["count_hits"]


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ("[f1_macros]", "there is no metric 'f1_macros'"),
        ("[rmse]", "targets of shape"),
        ("[no.such.score]", "data.metrics: no.such.score cannot be imported"),
    ],
)
def test_a_mistake_shows_before_anything_is_built(
    tmp_path: Path, metrics: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sweep.__main__ import run
    from tests.support.running import TINY

    run([*TINY, f"outputs={tmp_path}", f"data.metrics={metrics}"])
    printed = capsys.readouterr()
    assert text in " ".join((printed.out + printed.err).split())
    assert not list(tmp_path.glob("store/builds/*"))


def test_a_metric_that_fails_costs_no_trial(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, f"data.metrics=[{__name__}.fail_on_builds]", "effort.repeats=1", *BUSY)
    (record,) = history.records.values()
    assert record.status is Status.OK, record.reason
    assert record.agreement is not None
    assert "no such luck" in record.agreement["metrics_failure"]

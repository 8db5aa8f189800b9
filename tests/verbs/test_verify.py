"""Measured trials beside published rows: which row is comparable, what is inside the tolerance, the exit status."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweep import verbs
from sweep.backends.replay.tables import Row, same_model
from sweep.spec import Origin, Record, Status, Trial, UserError
from sweep.spec.settings import Settings
from sweep.store import ledger
from sweep.verbs import verify
from tests.support.records import make_record, make_settings, make_trial

HEADER = (
    "model,instance,stack,status,source,precision,batch,cores,replicas,request_batch,in_flight,"
    "throughput_items_per_s,throughput_recomputed_items_per_s,latency_ms_p50,latency_ms_p99,date,note"
)
ROW = "ResNet-50,inf1.xlarge,tensorflow_neuron,ok,a page,bf16,5,1,1,5,1,{},{},{},,2020-10,{}"
KNOWN: dict[str, Any] = {
    "model": "resnet50",
    "instance": "inf1.xlarge",
    "stack": "tensorflow_neuron",
    "precision": "bf16",
    "batch": 5,
    "cores": 1,
    "replicas": 1,
    "request_batch": 5,
    "in_flight": 1.0,
}


def row(**changes: Any) -> Row:
    values = {**KNOWN, "line": 2, "status": Status.OK, "source": "a page", "date": "2020-10-18", **changes}
    return Row(**values)


# --- which row is comparable ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["model", "instance", "precision", "batch", "request_batch", "cores"])
def test_compared_rows_agree_in_the_required_settings(name: str) -> None:
    other = {"model": "resnet18", "instance": "inf1.2xlarge", "precision": "fp16"}.get(name, 7)
    assert verify.find_nearest(KNOWN, [row(**{name: other})]) == (None, [])


def test_differences_name_what_a_row_does_not_state() -> None:
    found, differs = verify.find_nearest(KNOWN, [row(batch=None, precision=None)])
    assert found is not None
    assert differs == ["precision not stated", "batch not stated"]


def test_nearest_row_differs_least_and_is_newest() -> None:
    rows = [
        row(source="other stack", stack="neuron"),
        row(source="old", date="2020-10-17"),
        row(source="new", date="2020-10-18"),
        row(source="undated", date=None),
        row(source="more in flight", in_flight=8.0, replicas=4),
    ]
    assert verify.find_nearest(KNOWN, rows) == (rows[2], [])
    assert verify.find_nearest(KNOWN, rows[:1]) == (rows[0], ["stack neuron, here tensorflow_neuron"])
    told = ["replicas 4, here 1", "in_flight 8.0, here 1.0"]
    assert verify.find_nearest(KNOWN, rows[-1:]) == (rows[-1], told)


@pytest.mark.parametrize(
    ("ours", "same"),
    [("resnet50", True), ("ResNet_50", True), ("resnet50_keras", True), ("resnet501", False), ("my_resnet50", False)],
)
def test_names_of_one_model(ours: str, same: bool) -> None:
    assert same_model("ResNet-50", ours) is same


def test_differences_name_a_model_variant() -> None:
    found, differs = verify.find_nearest({**KNOWN, "model": "resnet50_keras"}, [row()])
    assert found is not None
    assert differs == ["model resnet50, here resnet50_keras"]


# --- a sweep against a table ------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path


def trial(instance: str | None) -> Trial:
    made = make_trial("tensorflow_neuron", "bf16", 5, 1, model="resnet50")
    return replace(made, hardware={"name": "local", "instance_type": instance})


def measured(outputs: Path, instance: str | None = "inf1.xlarge", **changes: Any) -> None:
    """A sweep of one trial that measured 760 items/s, 65 ms, with an interval of 2 %."""
    made = trial(instance)
    record = make_record(
        throughput=760.0, latency_ms=6.5, backend="tensorflow_neuron", precision="bf16", batch=5, model="resnet50"
    )
    record = replace(record, key=made.key, settings=made.settings, **changes)
    settings: Settings = make_settings(outputs)
    write(outputs, settings, made, record)


def write(outputs: Path, settings: Settings, made: Trial, record: Record) -> None:
    folder = outputs / "sweeps" / "20200101-000000"
    book = ledger.Ledger(folder)
    book.append("sweep", id=folder.name, settings=settings)
    book.append("trial", trial=made)
    book.append("record", record=record)
    book.append("finish", verdict=None)
    book.close()


def table(outputs: Path, *lines: str) -> str:
    path = outputs / "mine.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return str(path)


def run(outputs: Path, path: str, *more: str) -> int:
    return verbs.run(["verify", "--table", path, "--outputs", str(outputs), *more])


def test_numbers_within_the_tolerance_exit_0(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs)
    assert run(outputs, table(outputs, ROW.format(756, "", 6.6, ""))) == 0
    shown = capsys.readouterr().out
    assert "published: a page (2020-10)" in shown
    assert "measured      760, published      756: 1.01x (0.99 to 1.03), inside 20 %" in shown
    assert "2 of 2 numbers inside 20 %" in shown


def test_numbers_outside_the_tolerance_exit_3(outputs: Path) -> None:
    measured(outputs)
    for rate in (690, 850):
        path = table(outputs, ROW.format(rate, "", "", ""))
        assert run(outputs, path) == 0
        assert run(outputs, path, "--tolerance", "0.05") == 3


def test_latencies_are_compared_too(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs)
    assert run(outputs, table(outputs, ROW.format("", "", 4.0, ""))) == 3
    assert "OUTSIDE 20 %" in capsys.readouterr().out


def test_the_right_definition_of_a_rate_is_compared(outputs: Path) -> None:
    measured(outputs)
    assert run(outputs, table(outputs, ROW.format(1200, 756, "", ""))) == 0


def test_implausible_rows_are_left_out(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs)
    lie = ROW.format(760, "", 65, "")  # 760 items/s x 65 ms / 5 are ten requests in flight, not one
    assert run(outputs, table(outputs, lie)) == 4
    assert "1 published row left out: flagged implausible" in capsys.readouterr().out


def test_without_comparable_rows_exit_4(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs, instance=None)
    assert run(outputs, table(outputs, ROW.format(756, "", "", ""))) == 4
    assert "resnet50 on a host that is no EC2 instance" in capsys.readouterr().out


def test_replayed_trials_are_not_compared_with_their_source(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs, origin=Origin.REPLAYED)
    assert run(outputs, table(outputs, ROW.format(756, "", "", ""))) == 4
    assert "no trial was measured (replayed only)" in capsys.readouterr().out


def test_without_table_all_shipped_tables_are_compared(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(outputs)
    assert verbs.run(["verify", "--outputs", str(outputs)]) == 3
    shown = capsys.readouterr().out
    assert "published rows left out: flagged implausible" in shown
    assert "about-neuron/benchmarks/inf1" in shown
    assert "differs: stack neuron, here tensorflow_neuron; replicas 4, here 1" in shown


def test_wrong_arguments_are_user_errors(outputs: Path) -> None:
    measured(outputs)
    path = table(outputs, ROW.format(756, "", "", ""))
    with pytest.raises(UserError, match="--tolerance 0: a share above 0"):
        run(outputs, path, "--tolerance", "0")
    with pytest.raises(UserError, match=r"mine\.csv:2: throughput_items_per_s 'fast' is not a number"):
        run(outputs, table(outputs, ROW.format("fast", "", "", "")))
    with pytest.raises(UserError, match="no table nowhere"):
        run(outputs, "nowhere")

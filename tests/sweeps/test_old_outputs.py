"""What version 0.1 wrote stays readable: every verb reads a folder of it."""

import json
import shutil
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.spec import Status
from sweep.store import ledger
from tests.support import old_outputs
from tests.support.old_outputs import BUCKETS, FOUR_OK, INTERRUPTED, OPEN_LOAD, REPLAYED, SWEEPS, THREE_FAILURES

STATUSES = {
    FOUR_OK: ["ok"] * 4,
    THREE_FAILURES: ["build_failed", "run_failed", "rejected"],
    old_outputs.ONE_INVALID: ["invalid", "ok"],
    REPLAYED: ["ok"] * 3,
    OPEN_LOAD: ["ok"],
    BUCKETS: ["ok"] * 2,
    INTERRUPTED: ["stopped"] * 8,
}


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_outputs.copy_outputs(tmp_path_factory.mktemp("old"))


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """For verbs that write."""
    return old_outputs.copy_outputs(tmp_path)


def do(outputs: Path, *words: str) -> int:
    return run([*words, "--outputs", str(outputs)])


@pytest.mark.parametrize("sweep", SWEEPS)
def test_trials_and_their_json(sweep: str, pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert do(pristine, "trials", sweep) == 0
    assert capsys.readouterr().out
    assert do(pristine, "trials", sweep, "--json") == 0
    trials = json.loads(capsys.readouterr().out)
    assert [trial["status"] for trial in trials] == STATUSES[sweep]
    for trial in trials:
        assert {"key", "overrides", "status", "origin", "failure", "metrics", "mlflow_run_id"} <= set(trial)
        if trial["status"] == "ok":
            assert trial["metrics"]["throughput_items_per_s"] > 0
            assert trial["origin"] in ("measured", "replayed")


def test_failures_keep_kind_log_and_the_line_that_runs_them_again(pristine: Path) -> None:
    history = ledger.History(pristine / "sweeps" / THREE_FAILURES)
    records = {record.status: record for record in history.records.values()}
    kinds = {status: record.failure.kind.value for status, record in records.items() if record.failure}
    assert kinds == {
        Status.BUILD_FAILED: "unknown",
        Status.RUN_FAILED: "crash",
        Status.REJECTED: "wrong_output",
    }
    failure = records[Status.RUN_FAILED].failure
    assert failure is not None
    assert failure.signal == "SIGSEGV"
    assert " -m sweep.isolate.server --cores 0 --once " in failure.command


@pytest.mark.parametrize("query", ["batch=1 cores=1", "batch=2 cores=2"])
def test_why(query: str, pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["why", *query.split(), "--sweep", FOUR_OK, "--outputs", str(pristine)]) == 0
    assert "tiny-fake-fp32" in capsys.readouterr().out


@pytest.mark.parametrize("sweep", SWEEPS)
def test_best(sweep: str, pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = {THREE_FAILURES, INTERRUPTED}
    assert run(["best", "objective=min_latency", "--sweep", sweep, "--outputs", str(pristine)]) in (0, 2)
    assert ("Nothing to choose" in capsys.readouterr().out) == (sweep in nothing)


@pytest.mark.parametrize("sweep", SWEEPS)
def test_report_is_one_page(sweep: str, outputs: Path) -> None:
    assert do(outputs, "report", sweep) == 0
    assert (outputs / "sweeps" / sweep / "report.html").stat().st_size > 10_000


def test_report_of_two_sweeps(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert do(outputs, "report", FOUR_OK, old_outputs.ONE_INVALID) in (0, 3)
    assert "tiny-fake-fp32-b1-c1" in capsys.readouterr().out


@pytest.mark.parametrize("picture", ["bars", "box"])
def test_plots(picture: str, outputs: Path) -> None:
    assert run(["plot", picture, FOUR_OK, "--outputs", str(outputs)]) == 0
    assert list((outputs / "sweeps" / FOUR_OK).glob("plots/*.png"))


def test_bucket_lists(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert do(outputs, "buckets", BUCKETS) == 0
    assert "32" in capsys.readouterr().out


def test_compare(pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [record.key for record in ledger.History(pristine / "sweeps" / FOUR_OK).records.values()]
    assert run(["compare", keys[0], keys[3], "--sweep", FOUR_OK, "--outputs", str(pristine)]) == 0
    assert "over 3 and 3 repeats" in capsys.readouterr().out


def test_builds_and_their_failures(pristine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert do(pristine, "builds", "list") == 0
    assert "fake" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_pool")
def test_resume_measures_what_the_interruption_left(outputs: Path) -> None:
    others = set(SWEEPS) - {INTERRUPTED}
    for sweep in others:
        shutil.rmtree(outputs / "sweeps" / sweep)
    before = ledger.History(outputs / "sweeps" / INTERRUPTED)
    assert do(outputs, "resume", INTERRUPTED) == 0
    after = ledger.History(outputs / "sweeps" / INTERRUPTED)
    assert {record.status for record in after.records.values()} <= {Status.OK, Status.REJECTED}
    assert set(after.records) == set(before.records)


@pytest.mark.usefixtures("fake_pool")
def test_reproduce(outputs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = next(iter(ledger.History(outputs / "sweeps" / FOUR_OK).records))
    assert do(outputs, "reproduce", key) in (0, 3)
    assert "reproduced" in (text := capsys.readouterr().out) or "drifted" in text or "judge" in text


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of MLflow's own packages
def test_sync_sends_it(outputs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    address = f"sqlite:///{outputs}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert do(outputs, "sync", FOUR_OK) == 0
    client = MlflowClient(address)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = client.search_runs(experiments, f"tags.`sweep.id` = '{FOUR_OK}'")
    assert len(runs) == 5

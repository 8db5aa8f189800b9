"""The scoring pass: once for every set of builds, shared, stored, held against the timed windows."""

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.__main__ import run
from sweep.backends import fake
from sweep.engine import scoring
from sweep.engine.context import Context
from sweep.spec import FailureKind, Record, Status, StopReason
from sweep.store import ledger
from tests.support.pool import Ended, FakePool
from tests.support.running import sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
SHARED = ["batch=1,2", "load=saturate,single"]  # two builds, four trials


def scores(folder: Path) -> list[Path]:
    return sorted((folder / "store" / "scores").iterdir())


def test_every_set_of_builds_is_scored_once_and_shared(tmp_path: Path, fake_pool: FakePool) -> None:
    _, history = sweep(tmp_path, *SHARED)
    assert fake_pool.entries.count("score") == 2
    records = list(history.records.values())
    assert [record.status for record in records] == [Status.OK] * 4
    keys = {(record.settings["batch"], record.score.key) for record in records if record.score}
    assert len(keys) == 2
    for record in records:
        assert record.score is not None
        assert (record.score.items, record.score.of) == (64, 64)
        assert record.numbers["scored_items"] == 64
        assert record.numbers["score_seconds"] == record.score.seconds > 0
        assert record.agreement == records[0].agreement  # two builds of one model, exact here


def test_later_sweeps_and_resumes_use_stored_scores(tmp_path: Path, fake_pool: FakePool) -> None:
    _, history = sweep(tmp_path, "batch=1")
    _, again = sweep(tmp_path, "batch=1,2")
    assert fake_pool.entries.count("score") == 2
    book = again.folder / ledger.LEDGER
    lines = book.read_text().splitlines(keepends=True)
    book.write_text("".join(line for line in lines if '"kind":"record"' not in line))
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    assert fake_pool.entries.count("score") == 2
    first, second = (
        next(r for r in h.records.values() if r.settings["batch"] == 1) for h in (history, ledger.History(again.folder))
    )
    assert first.score == second.score


def test_damaged_answers_are_scored_again(tmp_path: Path, fake_pool: FakePool) -> None:
    sweep(tmp_path)
    (folder,) = scores(tmp_path)
    output = folder / "output_0.npy"
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    status, _ = sweep(tmp_path)
    assert status == 0
    assert fake_pool.entries.count("score") == 2
    assert output.read_bytes() == whole


def test_answers_of_another_processor_are_not_used(
    tmp_path: Path, fake_pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, history = sweep(tmp_path)
    monkeypatch.setattr(scoring, "name_processor", lambda host: "Old Xeon (avx2)")
    monkeypatch.setattr("sweep.engine.judging.name_processor", lambda host: "Old Xeon (avx2)")
    _, other = sweep(tmp_path, "reuse=true")
    assert fake_pool.entries.count("score") == 2
    before, after = (next(iter(h.records.values())) for h in (history, other))
    assert before.score is not None
    assert after.score is not None
    assert after.score.processor == "Old Xeon (avx2)"
    assert after.score.key != before.score.key
    assert after.identity != before.identity  # so nothing was reused
    assert after.reuse is None


def test_failed_pass_fails_all_its_trials_and_nothing_is_measured(tmp_path: Path, fake_pool: FakePool) -> None:
    def die(entry: str) -> None:
        if entry == "score":
            raise Ended(-signal.SIGSEGV)

    fake_pool.before = die
    _, history = sweep(tmp_path, "load=saturate,single")
    assert fake_pool.entries.count("score") == 1
    assert "measure" not in fake_pool.entries
    for record in history.records.values():
        assert record.status is Status.RUN_FAILED
        assert record.failure is not None
        assert record.failure.kind is FailureKind.CRASH
        assert Path(record.failure.log or "").is_relative_to(history.folder / "scores")
    assert not (tmp_path / "store" / "scores").exists()  # a failure is not remembered


def test_members_of_a_deployment_fail_together(tmp_path: Path, fake_pool: FakePool) -> None:
    asked = []

    def die(entry: str) -> None:
        asked.append(entry)
        if asked.count("score") == 2 and entry == "score":
            raise Ended(-signal.SIGSEGV)

    fake_pool.before = die
    _, history = sweep(tmp_path, "deployment.members=[{batch:1},{batch:2}]")
    assert {record.status for record in history.records.values()} == {Status.RUN_FAILED}
    assert "measure" not in fake_pool.entries


def test_build_that_answers_otherwise_under_load_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Right in the scoring pass, and in the windows of the first repeat."""
    plain = fake.FakeRunner._spoil

    def spoil(self: fake.FakeRunner, array: np.ndarray) -> np.ndarray:
        later = os.environ.get("SWEEP_REPEAT") == "1"
        return np.roll(array, 1, axis=-1) if later else plain(self, array)

    monkeypatch.setattr(fake.FakeRunner, "_spoil", spoil)
    _, history = sweep(tmp_path)
    (record,) = history.records.values()
    assert record.status is Status.REJECTED
    assert record.failure is not None
    assert record.failure.kind is FailureKind.WRONG_OUTPUT
    assert record.reason.startswith("repeat 1: the build answers ")
    assert "of its timed window otherwise than in the scoring pass (0 % the same" in record.reason
    assert (record.agreement or {})["agreement"] == 1.0


def test_chosen_samples_are_the_same_for_all_and_fill_the_windows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, history = sweep(tmp_path, "batch=1,2", "data.score_items=16")
    printed = capsys.readouterr().out
    assert "are those of 16 of its 64 samples" in printed
    assert "16 of 64 samples scored" in printed
    indexes = [np.load(folder / "index.npy").tolist() for folder in scores(tmp_path)]
    assert len(indexes) == 2
    assert indexes[0] == indexes[1]
    assert len(indexes[0]) == 16
    for record in history.records.values():
        assert record.numbers["scored_items"] == 16
        assert (record.agreement or {})["samples"] == 16
        answered = {int(item) for repeat in record.repeats for item in np.load(repeat.outputs)["index"]}
        assert answered >= set(indexes[0])


def test_bad_numbers_of_samples_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model=tiny", "backend=fake", f"outputs={tmp_path}", "data.score_items=0"]) == 1
    assert "data.score_items must be auto, all or an integer >= 1, not 0" in capsys.readouterr().err


def test_nothing_is_scored_where_nothing_is_measured(tmp_path: Path, fake_pool: FakePool) -> None:
    sweep(tmp_path, "plan=build")
    assert "score" not in fake_pool.entries


def test_spent_budget_leaves_the_rest_unscored(
    tmp_path: Path, fake_pool: FakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spent(context: Context, share: float = 1.0) -> bool:
        return share == 1.0 and "score" in fake_pool.entries

    monkeypatch.setattr(Context, "is_overdue", spent)
    _, history = sweep(tmp_path, "batch=1,2", "effort.budget_seconds=1000")
    assert fake_pool.entries.count("score") == 1
    stops: list[Any] = [record.stop for record in history.records.values()]
    assert stops == [StopReason.BUDGET] * 2


def accuracies(records: list[Record]) -> set[tuple[float, float]]:
    return {(record.numbers["agreement"], record.numbers["accuracy"]) for record in records}


def test_slow_and_fast_trials_of_one_build_show_the_same_numbers(tmp_path: Path) -> None:
    """A trial that answers a handful of samples in its windows is judged by all of them."""
    slow = ["backend.options.latency_ms=0.2,40", "effort.min_requests=1", "effort.window_seconds=0.1"]
    _, history = sweep(tmp_path, *slow, "gates.little_tolerance=1")
    records = list(history.records.values())
    assert {record.status for record in records} == {Status.OK}
    assert min(repeat.items for record in records for repeat in record.repeats) < 10
    assert len(accuracies(records)) == 1

"""The control trial: when it is measured again, what that leaves behind, and what drift does to a real sweep."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.__main__ import run
from sweep.engine import control, repeats
from sweep.engine.control import Control
from sweep.engine.tasks import Candidate
from sweep.spec import Failure, FailureKind, Json, Measurement, Outcome, Status, from_json
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.noise import series
from tests.support.machine_laws import slowed
from tests.support.records import EFFORT, make_measurement, make_settings, make_trial
from tests.support.running import entries, sweep

# A control is due between any two repeats; a busy machine is no reason to reject a trial here.
SHORT = ("batch=1,2", "effort.control_every_seconds=0.3", "effort.window_seconds=0.3", "gates.little_tolerance=1.0")


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1.7e9 - self.now  # the wall clock goes backwards


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(control, "time", made)
    return made


class Stage:
    """Two trials, the second cheaper, and a control over them."""

    def __init__(self, folder: Path, every: float = 60.0, **trial: Any) -> None:
        effort = replace(EFFORT, control_every_seconds=every)
        self.book = ledger.Ledger(folder)
        self.context = SimpleNamespace(settings=make_settings(folder, effort=effort), ledger=self.book, folder=folder)
        trials = [replace(make_trial(backend="fake", batch=batch), **trial) for batch in (1, 2)]
        self.tasks = [Candidate(one, f"i{one.batch}", (), None) for one in trials]  # type: ignore[arg-type]  # no reference is asked for
        self.answer: Measurement | Failure = make_measurement(1, 900.0)
        self.asked: list[Candidate] = []
        self.control = Control(self.context, self.tasks, self.measure)  # type: ignore[arg-type]  # what it needs of a context

    def measure(self, task: Candidate, block: int) -> Measurement | Failure:
        self.asked.append(task)
        return self.answer

    def repeat(self, number: int, clock: Clock) -> None:
        task = self.tasks[number]
        seconds = (3.0, 1.0)[number]
        task.done[len(task.done)] = replace(make_measurement(len(task.done)), wall_seconds=seconds)
        task.measured_at = clock.now


@pytest.fixture
def staged(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., Stage]]:
    """Makes stages, and closes their ledgers."""
    made: list[Stage] = []

    def make(**asked: Any) -> Stage:
        made.append(Stage(tmp_path / str(len(made)), **asked))
        return made[-1]

    yield make
    for stage in made:
        stage.book.close()


def test_control_is_due_only_after_a_pause_in_measuring(staged: Callable[..., Stage], clock: Clock) -> None:
    stage = staged()
    assert not stage.control.is_due()
    clock.now += 61.0
    assert not stage.control.is_due()  # nothing was measured yet
    stage.repeat(0, clock)
    stage.repeat(1, clock)
    assert not stage.control.is_due()  # just now
    clock.now += 59.0
    assert not stage.control.is_due()
    clock.now += 1.0
    assert stage.control.is_due()
    stage.control.measure(0)
    assert [task.trial.batch for task in stage.asked] == [2]  # the cheaper one
    assert not stage.control.is_due()
    clock.now += 30.0
    stage.repeat(1, clock)  # its ordinary repeat counts
    clock.now += 40.0
    assert not stage.control.is_due()
    assert all(len(task.done) in (1, 2) and task.failure is None for task in stage.tasks)


def test_control_interval_of_zero_means_never(staged: Callable[..., Stage], clock: Clock) -> None:
    never = staged(every=0.0)
    never.repeat(0, clock)
    clock.now += 1e6
    assert not never.control.is_due()


def read_controls(folder: Path) -> list[Json]:
    return [entry for entry in ledger.entries(folder) if entry["kind"] == "control"]


def test_failed_control_is_recorded_and_replaced(staged: Callable[..., Stage], clock: Clock) -> None:
    stage = staged()
    stage.repeat(0, clock)
    stage.repeat(1, clock)
    clock.now += 100.0
    assert stage.control.is_due()
    stage.answer = Failure(FailureKind.CRASH, "it fell over")
    stage.control.measure(3)
    assert all(task.failure is None for task in stage.tasks)
    clock.now += 100.0
    assert stage.control.is_due()
    stage.answer = make_measurement(4, 800.0)
    stage.control.measure(4)
    assert [task.trial.batch for task in stage.asked] == [2, 1]
    controls = read_controls(stage.context.folder)
    assert [(control["block"], control["trial"]) for control in controls] == [
        (3, stage.tasks[1].trial.key),
        (4, stage.tasks[0].trial.key),
    ]
    assert controls[0]["measurement"] is None
    assert controls[0]["failure"]["summary"] == "it fell over"
    assert [p.value for p in series.read(ledger.entries(stage.context.folder)).points] == [800.0]


def test_control_replaces_a_load_of_fixed_rate(staged: Callable[..., Stage], clock: Clock) -> None:
    stage = staged(load={"name": "poisson", "rate": 10.0})
    stage.repeat(1, clock)
    clock.now += 100.0
    assert stage.control.is_due()
    stage.control.measure(0)
    assert stage.asked[0].trial.load == {"name": "saturate", "concurrency": 1}
    assert read_controls(stage.context.folder)[0]["identity"] == "i2-control"


def test_deployment_members_and_replays_are_never_the_control(staged: Callable[..., Stage], clock: Clock) -> None:
    together = staged(deployment={"member": 0, "members": [{"key": "x"}]})
    replayed = staged(backend={"name": "replay"})
    for stage in (together, replayed):
        stage.repeat(0, clock)
        clock.now += 100.0
        assert not stage.control.is_due()


@pytest.mark.usefixtures("warm_pool")
def test_real_sweep_measures_its_control_and_resumes(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, *SHORT)
    assert status == 0
    controls = read_controls(history.folder)
    assert controls
    measurements = [from_json(Measurement, entry["measurement"]) for entry in controls]
    assert all(measurement.host.steal_share is not None for measurement in measurements)
    assert all(len(record.repeats) == 3 for record in history.records.values())
    document = json.loads(SweepFolder(history.folder).drift.read_text())
    assert document["control"] == controls[0]["trial"]
    assert len(document["points"]) == 6 + len(controls)
    repeats = [repeat for record in history.records.values() for repeat in record.repeats]
    assert all(0 <= repeat.host.known()["foreign_cpu_share"] <= 1 for repeat in repeats)
    book = history.folder / ledger.LEDGER
    lines = book.read_text().splitlines(keepends=True)
    kept = next(number for number, line in enumerate(lines) if '"kind":"control"' in line) + 1
    book.write_text("".join(lines[:kept]))  # killed right after its first control
    assert run(["resume", history.folder.name, "--outputs", str(tmp_path)]) == 0
    again = ledger.History(history.folder)
    assert read_controls(again.folder)[0] == controls[0]
    measured = [(entry["trial"], entry["measurement"]["index"]) for entry in entries(again, "repeat")]
    assert len(measured) == len(set(measured)) == 6
    assert {record.status for record in again.records.values()} == {Status.OK}


def timed_exactly(monkeypatch: pytest.MonkeyPatch, slow: Path) -> None:
    """Rates as on a machine that does nothing else, for tests on one that does: slower while the file is there."""
    real = repeats._read_measurements

    def measured(together: Sequence[Candidate], outcome: Outcome) -> list[Measurement]:
        (made,) = real(together, outcome)
        latency = float(together[0].trial.backend["options"]["latency_ms"])
        noise = 1.0 + 0.002 * ((7 * made.index + int(10 * latency)) % 5)
        milliseconds = latency * noise * (1.3 if slow.exists() else 1.0)
        return [replace(made, throughput_items_per_s=1000.0 / milliseconds, latency_ms_mean=milliseconds)]

    monkeypatch.setattr(repeats, "_read_measurements", measured)


@pytest.mark.usefixtures("fake_pool")
def test_slow_down_within_a_sweep_is_found_and_changes_no_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "slow"
    timed_exactly(monkeypatch, mark)
    with slowed(mark, after=11):  # of 20: in the third block
        status, history = sweep(tmp_path, "backend.options.latency_ms=3.0,3.1,3.2,3.3", "effort.repeats=5")
    assert status == 0
    document = json.loads(SweepFolder(history.folder).drift.read_text())
    assert [(f["kind"], f["block"], f["position"]) for f in document["findings"]] == [("shift", 2, 3)]
    assert document["findings"][0]["ratio"] == pytest.approx(1 / 1.3, rel=0.01)
    assert "The machine became 23 % slower" in capsys.readouterr().out
    records = sorted(history.records.values(), key=lambda record: float(record.settings["latency_ms"]))
    for record in records:
        levels = {repeat.index: repeat.level for repeat in record.repeats}
        assert levels[0] == levels[1] == 1.0
        assert levels[3] == levels[4] == pytest.approx(1 / 1.3, rel=0.01)
    assert history.verdict is not None
    assert history.verdict["ranking"] == [record.key for record in records]
    assert history.verdict["kind"] == "winner"


@pytest.mark.usefixtures("fake_pool")
def test_single_trial_is_watched_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = tmp_path / "slow"
    timed_exactly(monkeypatch, mark)
    with slowed(mark, after=4):
        _, history = sweep(tmp_path, "effort.repeats=8")
    assert json.loads(SweepFolder(history.folder).drift.read_text())["tested"]["points"] == 8

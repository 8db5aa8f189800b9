"""Where repeats go: rounds, looks, deployments, the budget of time, and a sweep that is resumed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import pytest

from sweep.engine import earlier, forecast, plan
from sweep.engine.context import Context
from sweep.engine.deciding import Decider
from sweep.engine.tasks import Candidate
from sweep.spec import Failure, FailureKind, Measurement, Record, Status, StopReason, Trial, deployment
from sweep.spec.plan import Entry, Plan
from sweep.spec.settings import Effort
from sweep.store.ledger import History
from sweep.verbs import run as verb
from sweep.verdict.elimination import Out
from tests.support.rates import RACE, around, trial
from tests.support.records import make_settings, make_trial
from tests.support.running import TINY, entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
RACING = [*TINY, "effort=until_decided", "effort.window_seconds=0.05", "effort.warmup_seconds=0.02"]
RACING += ["effort.warmup_seconds_max=0.3", "effort.min_requests=5"]


def task(made: Trial, rates: Sequence[float]) -> Candidate:
    measured: dict[int, Measurement] = {m.index: m for m in trial(made.key, rates).repeats}
    return Candidate(made, made.key, (), None, done=measured)  # type: ignore[arg-type]  # builds and references are not asked


def judge(each: Candidate) -> Record:
    rates = [m.throughput_items_per_s for _, m in sorted(each.done.items())]
    return replace(trial(each.trial.key, rates), label=each.trial.label, look=each.look)


def decider(effort: Effort = RACE) -> tuple[Decider, list[str], list[dict[str, Any]]]:
    """With what it tells people, and what it writes down."""
    told: list[str] = []
    written: list[dict[str, Any]] = []
    context: Any = SimpleNamespace(
        settings=make_settings("/nonexistent", effort=effort),
        display=SimpleNamespace(note=told.append),
        ledger=SimpleNamespace(append=lambda kind, **values: written.append({"kind": kind, **values})),
        seconds_left=lambda: None,
    )
    return Decider(context, judge), told, written


def test_repeats_continue_for_trials_that_may_still_win() -> None:
    made = [make_trial("fake", batch=batch) for batch in (1, 2, 3)]
    rates = [around(1000, 0.01, 3), around(1001, 0.01, 3, shift=1), around(100, 0.002, 3, shift=2)]
    tasks = [task(each, values) for each, values in zip(made, rates, strict=True)]
    asked, told, written = decider()
    assert asked.go_on(tasks, 3) == 5
    assert [each.is_open for each in tasks] == [True, True, False]
    assert [each.look for each in tasks] == [1, 1, 1]
    assert tasks[2].out is not None
    assert tasks[2].out.by == made[1].key
    assert told[0].startswith("look 1, after 3 repeats: 2 trials of 3 may still be chosen; 2 more of each, about ")
    assert written[0]["kind"] == "look"
    assert written[0]["out"][made[2].key]["why"] == "dominated"


def test_race_ends_with_a_verdict_and_stops_nobody() -> None:
    made = [make_trial("fake", batch=batch) for batch in (1, 2, 3)]
    rates = [around(1000, 0.001, 3), around(300, 0.001, 3, shift=1), around(100, 0.001, 3, shift=2)]
    tasks = [task(each, values) for each, values in zip(made, rates, strict=True)]
    asked, told, _ = decider()
    assert asked.go_on(tasks, 3) == 3
    assert all(each.is_open and each.look == 1 for each in tasks)
    assert told == []


def test_last_look_ends_the_race() -> None:
    tasks = [task(make_trial("fake", batch=batch), around(1000, 0.1, 3, shift=batch)) for batch in (1, 2)]
    asked, *_ = decider(replace(RACE, repeats_max=3))
    assert asked.go_on(tasks, 3) == 3
    assert all(each.out is None for each in tasks)


def test_race_gives_up_where_no_repeat_would_decide() -> None:
    rates = ([900, 1500, 700, 1100, 1400, 800, 1200, 1000], [1100, 800, 1300, 900, 1000, 1500, 700, 1250])
    tasks = [task(make_trial("fake", batch=batch), each) for batch, each in zip((1, 2), rates, strict=True)]
    asked, told, _ = decider()
    assert [asked.go_on(tasks, repeats) for repeats in (3, 5, 8)] == [5, 8, 8]
    assert all(each.out is None for each in tasks)
    assert told[2].startswith("look 3, after 8 repeats: 2 trials of 2 cannot be told apart: about ")
    assert told[2].endswith(" more of each would be needed, and effort.repeats_max leaves 32. It ends here")


def test_look_sees_whole_blocks_only() -> None:
    """As before a kill, whatever was measured by then beyond the look."""
    made = [make_trial("fake", batch=batch) for batch in (1, 2)]
    tasks = [task(made[0], around(1000, 0.01, 8)), task(made[1], [*around(1001, 0.01, 3, shift=1), *[10.0] * 5])]
    asked, *_ = decider()
    assert asked.go_on(tasks, 3) == 5
    assert all(each.is_open for each in tasks)
    assert len(tasks[0].done) == 8


def test_trial_returns_when_the_one_that_dominated_it_fails() -> None:
    made = [make_trial("fake", batch=batch) for batch in (1, 2, 3)]
    rates = [around(1000, 0.01, 5), around(1001, 0.01, 5, shift=1), around(100, 0.002, 3, shift=2)]
    tasks = [task(each, values) for each, values in zip(made, rates, strict=True)]
    tasks[2].out = Out(StopReason.DOMINATED, "because", made[1].key)
    tasks[1].failure = Failure(FailureKind.CRASH, "it died")
    asked, *_ = decider()
    asked.go_on(tasks, 5)
    assert tasks[2].out is None


def test_deployment_members_stop_together_or_not_at_all() -> None:
    pair = [make_trial("fake", batch=batch) for batch in (2, 3)]
    together = [deployment.make_member(pair, number, ()) for number in (0, 1)]
    alone = [make_trial("fake", batch=batch) for batch in (1, 4)]
    rates = [around(1000, 0.01, 3), around(1001, 0.01, 3, shift=1), around(990, 0.01, 3, shift=2), around(10, 0.001, 3)]
    tasks = [task(each, values) for each, values in zip([*alone, *together], rates, strict=True)]
    asked, _, written = decider()
    asked.go_on(tasks, 3)
    assert all(each.is_open for each in tasks)
    assert written[0]["out"] == {}


def test_sweep_until_decided_spares_what_is_far_behind(tmp_path: Path) -> None:
    """The noise of the two fast trials is opposite: three repeats do not tell which is faster."""
    latency, noise = "backend.options.latency_ms", "backend.options.noise"
    fast = f"{{{latency}:1.0,{noise}:0.05}},{{{latency}:1.01,{noise}:-0.05}}"
    slow = f"{{{latency}:8.0}},{{{latency}:9.0}}"
    status, history = sweep(tmp_path, f"combinations=[{fast},{slow}]", "effort.repeats_max=5", base=RACING)
    assert status == 0
    records = sorted(history.records.values(), key=lambda record: float(record.settings["latency_ms"]))
    assert [record.status for record in records] == [Status.OK, Status.OK, Status.STOPPED, Status.STOPPED]
    assert [len(record.repeats) for record in records] == [5, 5, 3, 3]
    assert len(entries(history, "repeat")) == 16
    assert all(r.metrics and r.metrics["throughput_items_per_s"] > 0 for r in records)
    assert [record.look for record in records] == [2, 2, 1, 1]
    assert all(r.reason.startswith("dominated by tiny-fake-fp32-b1-c1-latency_ms=1.") for r in records[2:])
    verdict = history.verdict
    assert verdict is not None
    assert set(verdict["ranking"][:2]) == {record.key for record in records[:2]}
    assert verdict["confidence"] >= 0.95 + 0.0125


@pytest.mark.usefixtures("warm_pool")
def test_finished_race_has_nothing_to_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep(tmp_path, "backend.options.latency_ms=1.0,9.0", "effort.repeats_max=5", base=RACING)
    assert verb(["resume", "--outputs", str(tmp_path)]) == 0
    assert "is complete: nothing to do" in capsys.readouterr().out


def _overdue_after(monkeypatch: pytest.MonkeyPatch, asked: int) -> None:
    """The budget of time is spent when it is asked about so often, of scoring passes and measurements."""
    count = iter(range(10_000))
    monkeypatch.setattr(Context, "is_overdue", lambda self, share=1.0: share == 1.0 and next(count) >= asked)


@pytest.mark.parametrize("effort", [[], ["effort.repeats_max=8"]])
def test_spent_budget_judges_trials_by_the_repeats_they_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, effort: list[str]
) -> None:
    with monkeypatch.context() as patch:
        _overdue_after(patch, 5)
        status, history = sweep(tmp_path, "batch=1,2,3", "effort.budget_seconds=1000", *effort)
    assert status == 0
    by_count = {len(r.repeats): r for r in history.records.values()}
    assert sorted(len(r.repeats) for r in history.records.values()) == [0, 1, 1]
    assert by_count[1].status is Status.OK
    assert by_count[0].status is Status.STOPPED
    assert by_count[0].reason.startswith("budget spent before it was measured")
    assert by_count[0].metrics is None
    assert verb(["resume", "--outputs", str(tmp_path)]) == 0
    after = History(history.folder).records.values()
    assert {r.status for r in after} == {Status.OK}
    assert sorted(len(r.repeats) for r in after)[:2] == [1, 1]


def test_no_build_starts_after_half_of_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path, "batch=1")
    monkeypatch.setattr(Context, "is_overdue", lambda self, share=1.0: share < 1.0)
    _, history = sweep(tmp_path, "batch=1,2", "effort.budget_seconds=1000")
    built = {r.settings["batch"]: r for r in history.records.values()}
    assert built[1].status is Status.OK
    assert (built[2].status, built[2].failure and built[2].failure.kind) == (Status.STOPPED, FailureKind.PREEMPTED)
    assert built[2].reason.startswith("budget spent before it was built")


def test_budget_counts_from_the_start_of_the_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("sweep.engine.context.time.monotonic", lambda: now[0])
    nothing: Any = None
    settings = make_settings("/nonexistent", effort=replace(RACE, budget_seconds=60.0))
    made = Context(settings, Path("/nonexistent"), nothing, nothing, nothing, nothing, nothing, begun=100.0)
    assert (made.seconds_left(), made.is_overdue(), made.is_overdue(0.5)) == (60.0, False, False)
    now[0] = 130.0
    assert (made.seconds_left(), made.is_overdue(), made.is_overdue(0.5)) == (30.0, False, True)
    now[0] = 200.0
    assert (made.seconds_left(), made.is_overdue()) == (0.0, True)
    endless = replace(made, settings=make_settings("/nonexistent"))
    assert (endless.seconds_left(), endless.is_overdue()) == (None, False)


@pytest.mark.parametrize(
    ("effort", "price", "seconds", "said"),
    [
        (RACE, None, 2 * 3 * 1.05, "to the first look; then trials that may still be chosen, up to 40 repeats each"),
        (replace(RACE, budget_seconds=60.0), None, 6.3, "at most 1 min"),
        (replace(RACE, budget_seconds=5.0), None, 5.0, ""),
        (replace(RACE, repeats_max=None, budget_seconds=5.0), None, 5.0, "the budget ends it after 5.0 s"),
        (replace(RACE, repeats_max=None), 3.6, 6.3, "$0.0063 of this host's time"),
        (replace(RACE, budget_seconds=63.0), 3.6, 6.3, "$0.0063 to $0.063 of this host's time"),
    ],
)
def test_forecast_states_end_and_cost(effort: Effort, price: float | None, seconds: float, said: str) -> None:
    hardware = {"name": "local", "price": [{"usd_per_hour": price}] if price else []}
    trials = [replace(make_trial("fake", batch=batch), hardware=hardware) for batch in (1, 2)]
    made = Plan(tuple(Entry(each, plan.list_build_specs(each)) for each in trials))
    found, note = forecast.forecast(made, effort, lambda spec: 0.0, 1, lambda trial: None, None)
    assert found == pytest.approx(seconds)
    assert said in note


def test_forecast_uses_measured_start_times(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=1")
    (record,) = history.records.values()
    took = [(m.wall_seconds or 0) - m.window_seconds - m.warmup["seconds"] for m in record.repeats]
    nothing: Any = SimpleNamespace(settings=make_settings(tmp_path), folder=tmp_path)
    known = earlier.learn_start_seconds(nothing)
    assert known(next(iter(history.trials.values()))) == pytest.approx(median(took))
    assert known(make_trial("fake", model="another")) is None

"""Searching: what is asked, what is never asked, what the sampler is told, when it ends, how it goes on."""

import itertools
import math
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweep.__main__ import run
from sweep.config import axes, command_line
from sweep.config.compose import Composer
from sweep.engine import rules
from sweep.engine.search import loop as search
from sweep.engine.search import space as search_space
from sweep.engine.search.options import SAMPLERS, Budget, Options
from sweep.engine.search.space import Exhausted, Planned, Point
from sweep.engine.search.study import FAILED, Guide, measure_overshoots
from sweep.spec import Failure, FailureKind, Record, Status, Trial, UserError
from sweep.spec.plan import Plan
from sweep.spec.settings import Objective, Settings
from sweep.store import ledger
from tests.support.planning import shared_composer
from tests.support.records import THROUGHPUT
from tests.support.running import ROOT, TINY, entries, kill_group, read_until, start, sweep

SEARCH = ["hydra/sweeper=optuna", "effort.repeats=1"]
FAKE = ["model=tiny", "backend=fake", "tracking=none"]
Values = dict[str, Any]


# --- a laboratory: the whole search but the engine -------------------------------------------------------------------


class Screen:
    """A display that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.plans: list[Plan] = []

    def plan(self, made: Plan, of: Settings) -> None:
        self.plans.append(made)

    def note(self, text: str) -> None:
        self.lines.append(text)

    def said(self, words: str) -> bool:
        return any(words in line for line in self.lines)


class Laboratory:
    """A launcher whose trials end as `result` says: metrics, or a status, or a failure's kind."""

    def __init__(self, composer: Composer, result: Callable[[Trial], Any]) -> None:
        self.search = False
        self.history: ledger.History | None = None
        self.sweep: Any = None
        self.batches: list[list[Trial]] = []
        self.finished = False
        self._composer = composer
        self._result = result

    @property
    def asked(self) -> list[Trial]:
        return [trial for batch in self.batches for trial in batch]

    def survey(self, job_overrides: Sequence[Sequence[str]]) -> Plan:
        from sweep.hardware.host import detect

        trials = self._composer.trials(job_overrides)
        if self.sweep is None:
            made = self._composer.settings(job_overrides)
            folder = made.outputs_path / "sweeps" / f"lab-{len(ledger.sweeps(made.outputs_path))}"
            if made.plan != "only":
                book = ledger.Ledger(folder)
                book.append("sweep", id=folder.name, settings=made)
                book.close()
            self.sweep = SimpleNamespace(
                settings=made, records={}, interrupted=False, folder=folder, display=Screen(), foresee=self._foresee
            )
        return rules.make_plan(trials, detect(), lambda _, names: dict.fromkeys(names, "1"))

    def _foresee(self, plan: Plan, goals: Sequence[str]) -> None:
        """Nothing is looked at ahead: here results are made up."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        trials = self._composer.trials(job_overrides)
        self.batches.append(trials)
        records = [self._record(trial, self._result(trial)) for trial in trials]
        book = ledger.Ledger(self.sweep.folder)
        for trial, record in zip(trials, records, strict=True):
            self.sweep.records[trial.key] = record
            book.append("trial", trial=trial)
            book.append("record", record=record)
        book.close()
        return [SimpleNamespace(return_value=record) for record in records]

    def _record(self, trial: Trial, result: Any) -> Record:
        named: Values = {"sweep": self.sweep.folder.name, "started": 1.0}
        about = (trial.key, trial.label, trial.settings, trial.overrides)
        if isinstance(result, dict):
            return Record(*about, Status.OK, metrics=result, **named)
        if isinstance(result, FailureKind):
            return Record(*about, Status.RUN_FAILED, "it failed", failure=Failure(result, "it failed"), **named)
        return Record(*about, result, "it did not work", **named)

    def finish(self) -> int:
        self.finished = True
        return 0


STORAGES: dict[str, Any] = {}  # URL -> a storage in memory: the tables of a database cost more than a search


def storage_in_memory(url: str) -> Any:
    import optuna

    return STORAGES.setdefault(url, optuna.storages.InMemoryStorage())


def explore(outputs: Path, result: Callable[[Trial], Any], *overrides: str, database: bool = False) -> Laboratory:
    """A search without the engine, whose study lies in memory, or in a database as a person's does."""
    laboratory = Laboratory(shared_composer(), result)
    search_in(laboratory, [*FAKE, f"outputs={outputs}", *overrides], database)
    return laboratory


def search_in(laboratory: Laboratory, arguments: list[str], database: bool = False) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if not database:
            patch.setattr("sweep.engine.search.study._open_storage", storage_in_memory)
        search.run(arguments, shared_composer(), laboratory)


def rate(trial: Trial) -> Values:
    """Best at batch 8 and fp16, smooth around it."""
    options = trial.backend["options"]
    items = 1000.0 - 100 * abs(math.log2(trial.batch) - 3) + 50 * (trial.precision == "fp16")
    items -= 10 * float(options["overhead_ms"])
    return {"throughput_items_per_s": items, "latency_ms_p50": float(trial.batch), "build_seconds": 1.0}


SPACE = ["batch=1,2,4,8,16,32", "precision=fp32,fp16,int8,bf16", "backend.options.overhead_ms=1,2,3,4"]  # half invalid


def studies(outputs: Path) -> list[Any]:
    import optuna

    url = f"sqlite:///{outputs / 'search.db'}"
    storage = STORAGES.get(url, url)
    return [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("20 trials", Budget(trials=20)),
        ("1 trial", Budget(trials=1)),
        ("10 minutes", Budget(seconds=600)),
        ("2 Hours", Budget(seconds=7200)),
        ("90 s", Budget(seconds=90)),
        ("1.5h", Budget(seconds=5400)),
        (" 5 min ", Budget(seconds=300)),
    ],
)
def test_budget_reads_usual_spellings(text: str, wanted: Budget) -> None:
    assert Budget.parse(text) == wanted


@pytest.mark.parametrize(
    "text", ["20", 20, None, "", "trials", "0 trials", "1.5 trials", "-3 s", "0 s", "3 days", "x s"]
)
def test_budget_refuses_nonsense(text: Any) -> None:
    with pytest.raises(UserError, match=r"search\.budget must be like '20 trials', '10 minutes'"):
        Budget.parse(text)


@given(
    trials=st.one_of(st.none(), st.integers(1, 100)),
    seconds=st.floats(0.1, 1e5),
    batch=st.integers(1, 20),
    each=st.floats(1e-3, 1e4),
)
def test_budget_is_spent_and_not_overdrawn(trials: int | None, seconds: float, batch: int, each: float) -> None:
    budget = Budget(trials=trials) if trials else Budget(seconds=seconds)
    done, last = 0, 0
    while (room := budget.room(batch, done, done * each)) > 0 and done < 1000:
        assert room <= batch
        done, last = done + room, room
    if trials:
        assert done == trials
    elif done < 1000:
        assert done * each >= seconds - each  # not a trial less than would fit, rounded
        assert (done - last) * each < seconds  # and no batch begun after the end


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("search.budget=20", "search.budget must be like"),
        ("search.batch=0", "search.batch must be an integer >= 1, not 0"),
        ("search.sampler=tpee", "search.sampler must be one of tpe, random, nsga2, not 'tpee': did you mean 'tpe'?"),
        ("search.objectives=[latency_ms_p9]", "not 'latency_ms_p9': did you mean 'latency_ms_p"),
        ("search.objectives=[accuracy,accuracy]", "search.objectives must be a list of different metrics"),
        ("search.objectives=latency_ms_p99", "search.objectives must be a list like [capacity_items_per_s,"),
        ("search.warm_start=1", "search.warm_start must be true or false, not 1"),
        ("search.bugdet=3", "no key 'search.bugdet': did you mean 'search.budget'?"),
        ("search.storage=nonsense", "cannot use search.storage=nonsense: "),
        ("search.resume=last", "no sweep in "),
        ("search.budget='3 trials','4 trials'", "search.budget is set once a sweep"),
        ("precision=fp31,fp32", "precision must be one of"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, line: str, words: str) -> None:
    with pytest.raises(UserError) as caught:
        explore(tmp_path, rate, line, database=line.startswith("search.storage"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert ledger.sweeps(tmp_path) == []


def test_options_name_a_wrong_key_of_an_experiment() -> None:
    with pytest.raises(UserError, match=r"no key 'search\.bugdet'"):
        Options.read({"budget": "3 trials", "bugdet": 1})


# --- the space --------------------------------------------------------------------------------------------------------


def space_of(tmp_path: Path, *overrides: str) -> tuple[Any, Laboratory]:
    composer = shared_composer()
    laboratory = Laboratory(composer, rate)
    arguments = [*FAKE, f"outputs={tmp_path}", *overrides]
    return search_space.make_space(axes.spaces(arguments, composer), composer, laboratory.survey), laboratory


def test_space_has_the_axes_that_vary(tmp_path: Path) -> None:
    space, _ = space_of(tmp_path, "batch=8,1,4", "precision=fp32,fp16,int8", "cores=1")
    assert space.axes == {"batch": (1, 4, 8), "precision": ("fp16", "fp32")}  # int8 cannot run at all
    assert {point.values for point in space.valid} == set(itertools.product((1, 4, 8), ("fp16", "fp32")))
    assert space.declared == 9


def test_space_of_combinations_has_their_points_alone(tmp_path: Path) -> None:
    space, _ = space_of(tmp_path, "precision=fp32,fp16", "combinations=[{batch:1,cores:1},{batch:8}]")
    assert space.axes == {"precision": ("fp16", "fp32"), "batch": (1, 8), "cores": (1, search_space.UNSET)}
    assert len(space.valid) == 4
    assert {point.values[1:] for point in space.valid} == {(1, 1), (8, search_space.UNSET)}


def test_space_holds_equal_points_once(tmp_path: Path) -> None:
    space, _ = space_of(
        tmp_path, "batch=1,2", "hardware=local", "load=saturate", "cores=1", "combinations=[{},{replicas:1}]"
    )
    assert space.declared == 4
    assert len(space.valid) == 2


def test_space_is_the_same_in_any_order_and_another_with_other_values(tmp_path: Path) -> None:
    names = [
        space_of(tmp_path, *lines)[0].identity
        for lines in (["batch=1,2", "precision=fp32,fp16"], ["precision=fp16,fp32", "batch=2,1"], ["batch=1,3"])
    ]
    assert names[0] == names[1] != names[2]


def test_space_turns_intervals_into_values_of_the_setting(tmp_path: Path) -> None:
    space, _ = space_of(tmp_path, "batch=interval(3,6)", "backend.options.overhead_ms=interval(0,1)")
    assert space.axes["batch"] == (3, 4, 5, 6)
    steps = space.axes["backend.options.overhead_ms"]
    assert (steps[0], steps[-1], len(steps)) == (0.0, 1.0, search_space.STEPS)
    wide, _ = space_of(tmp_path, "batch=interval(1,4096)")
    assert wide.axes["batch"][0] == 1
    assert wide.axes["batch"][-1] == 4096
    assert len(wide.axes["batch"]) <= search_space.INTEGERS
    with pytest.raises(UserError, match="from a number to a larger one"):
        space_of(tmp_path, "batch=interval(4,4)")


Point_ = tuple[search_space.Value, ...]
AXES: dict[str, tuple[search_space.Value, ...]] = {"a": (1, 2, 4, 8), "b": ("x", "y", "z"), "c": (0.5, 1.0)}
WIDE: dict[str, tuple[search_space.Value, ...]] = {
    "batch": (1, 2, 4, 8, 16, 32),
    "backend": ("u", "v", "w", "x"),
    "cores": (1, 2, 3, 4),
}
EVERY = list(itertools.product(*AXES.values()))


def paper_space(valid: Sequence[Point_], of: dict[str, tuple[search_space.Value, ...]] = AXES) -> Planned:
    """A space without configs behind it; the rest of the product cannot run."""
    plan_: Any = SimpleNamespace(entries=(), valid=())
    return Planned([Point((), values, str(values)) for values in valid], plan_, len(valid), of)


def paper_search(result: Callable[[Point_], Any], budget: int, seed: int) -> list[Point_]:
    """What a search of the wide space asks, in batches of four."""
    space = paper_space(list(itertools.product(*WIDE.values())), WIDE)
    guide = Guide(space, {"throughput_items_per_s": True}, THROUGHPUT, sampler="tpe", seed=seed, startup=8)
    asked: list[Point_] = []
    while len(asked) < budget:
        for trial, point in guide.ask(4):
            asked.append(point.values)
            guide.tell(trial, paper_record(point, result(point.values)))
    return asked


def smooth(values: Point_) -> float:
    """Best at batch 8, backend v, four cores."""
    batch, backend, cores = float(values[0]), values[1], float(values[2])
    return 1000.0 - 100 * abs(math.log2(batch) - 3) + 200 * (backend == "v") + 50 * cores


def paper_record(point: Point, result: float | Status) -> Record:
    metrics = {"throughput_items_per_s": result, "latency_ms_p50": 1.0} if isinstance(result, float) else None
    status = result if isinstance(result, Status) else Status.OK
    return Record(point.key, point.key, {}, (), status, metrics=metrics)


@settings(max_examples=30, deadline=None)
@given(
    valid=st.lists(st.sampled_from(EVERY), min_size=1, unique=True),
    sampler=st.sampled_from(SAMPLERS),
    batch=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_guide_chooses_every_valid_point_once_and_no_other(
    valid: list[Point_], sampler: str, batch: int, seed: int
) -> None:
    space = paper_space(valid)
    guide = Guide(space, {"throughput_items_per_s": True}, THROUGHPUT, sampler=sampler, seed=seed, startup=4)
    asked: list[Point] = []
    while new := guide.ask(batch):
        for trial, point in new:
            asked.append(point)
            guide.tell(trial, paper_record(point, Status.BUILD_FAILED if "y" in point.values else 5.0))
    assert sorted(map(str, (point.values for point in asked))) == sorted(map(str, valid))


@given(valid=st.lists(st.sampled_from(EVERY), min_size=1, unique=True), wish=st.sampled_from(EVERY), data=st.data())
def test_space_finds_the_nearest_free_point(valid: list[Point_], wish: Point_, data: st.DataObject) -> None:
    space = paper_space(valid)
    space.taken = {str(values) for values in data.draw(st.lists(st.sampled_from(EVERY)))}
    free = [values for values in valid if str(values) not in space.taken]
    if not free:
        with pytest.raises(Exhausted):
            space.nearest(wish, random.Random(0))
        return
    found = space.nearest(wish, random.Random(0))
    assert found.values in free
    assert space.distance(found.values, wish) <= min(space.distance(values, wish) for values in free) + 1e-9
    assert wish not in free or found.values == wish


# --- asking and telling -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_search_runs_no_invalid_point_and_none_twice(tmp_path: Path, sampler: str) -> None:
    done = explore(tmp_path, rate, *SPACE, f"search.sampler={sampler}", "search.budget=40 trials", "search.batch=5")
    assert [len(batch) for batch in done.batches] == [5] * 8
    assert len({trial.key for trial in done.asked}) == 40
    assert {trial.precision for trial in done.asked} <= {"fp32", "fp16"}
    assert done.search
    assert done.finished


def test_search_without_end_tries_every_point_once(tmp_path: Path) -> None:
    done = explore(tmp_path, rate, *SPACE, "search.budget=1000 trials", "search.batch=7")
    assert len(done.asked) == len({trial.key for trial in done.asked}) == 48
    assert done.sweep.display.said("every point that can run was tried")


def test_search_finds_the_best_early() -> None:
    """The best two of 96 points within 20 trials, far more often than by luck (both in 20 of 96: 4 %)."""
    best = {(8, "v", 4), (8, "v", 3)}
    assert sum(best <= set(paper_search(smooth, 20, seed)) for seed in range(8)) >= 4


def test_search_asks_the_same_points_with_the_same_seed(tmp_path: Path) -> None:
    asked = [
        [t.label for t in explore(tmp_path / name, rate, *SPACE, "search.budget=12 trials", f"seed={seed}").asked]
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    ]
    assert asked[0] == asked[1] != asked[2]


def test_search_can_have_one_point(tmp_path: Path) -> None:
    done = explore(tmp_path, rate, "batch=4")
    assert [trial.batch for trial in done.asked] == [4]


def test_search_avoids_failures() -> None:
    """Half of the points fail. After a warm-up of 8, far less than the half that chance would ask are failing ones:
    of a value that fails, even where its neighbours are the best."""

    def result(values: Point_) -> Any:
        return Status.BUILD_FAILED if values[1] in ("v", "w") else smooth(values)

    later = [values for seed in range(6) for values in paper_search(result, 32, seed)[8:]]
    share = sum(values[1] in ("v", "w") for values in later) / len(later)
    assert share < 0.25


def test_study_is_told_results_constraints_and_failures(tmp_path: Path) -> None:
    """Results with their constraints; failures complete, worst and infeasible; the machine's faults as FAIL."""
    results: dict[int, Any] = {
        1: {"throughput_items_per_s": 10.0, "latency_ms_p50": 30.0},
        2: {"throughput_items_per_s": 20.0, "latency_ms_p50": 10.0},
        4: Status.BUILD_FAILED,
        8: FailureKind.CRASH,
        16: FailureKind.HARDWARE_ERROR,
        32: {"latency_ms_p50": 3.0},
    }
    lines = ["batch=1,2,4,8,16,32", "objective.latency_ms_p50_max=20", "search.batch=1"]
    done = explore(tmp_path, lambda trial: results[trial.batch], *lines, database=True)
    (study,) = studies(tmp_path)
    told = {trial.params["batch"]: trial for trial in study.get_trials()}
    assert [str(told[batch].state.name) for batch in results] == [*["COMPLETE"] * 4, "FAIL", "COMPLETE"]
    assert told[1].constraints == {"failed": 0.0, "latency_ms_p50_max": 0.5}
    assert told[2].constraints == {"failed": 0.0, "latency_ms_p50_max": -0.5}
    for batch in (4, 8, 32):
        assert told[batch].constraints["failed"] == FAILED
        assert told[batch].values == [0.0]
    assert study.best_trial.params == {"batch": 2}
    assert told[4].user_attrs["sweep"] == done.sweep.folder.name
    assert done.sweep.display.said("6/20, 3 failed: best so far tiny-fake-fp32-b2-c1 with 20 items/s")


def test_failure_costs_as_much_as_the_worst_result(tmp_path: Path) -> None:
    space = paper_space(EVERY)
    guide = Guide(space, {"latency_ms_p50": False}, THROUGHPUT, sampler="random", seed=0, startup=4)
    first, second = guide.ask(2)
    guide.tell(first[0], Record("a", "a", {}, (), Status.OK, metrics={"latency_ms_p50": 7.0}))
    assert guide.tell(second[0], Record("b", "b", {}, (), Status.RUN_FAILED)).values == [7.0]


def test_unknown_limits_are_not_met() -> None:
    objective = Objective("x", "throughput_items_per_s", True, latency_ms_p99_max=10.0, agreement_min=0.9)
    known = Record("a", "a", {}, (), Status.OK, metrics={"latency_ms_p99": 5.0, "agreement": 0.99})
    unknown = Record("a", "a", {}, (), Status.OK, metrics={})
    assert measure_overshoots(known, objective) == {"latency_ms_p99_max": -0.5, "agreement_min": pytest.approx(-0.1)}
    assert measure_overshoots(unknown, objective) == {"latency_ms_p99_max": 1.0, "agreement_min": 1.0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=12))
def test_front_has_exactly_the_undominated_records(pairs: list[tuple[int, int]]) -> None:
    goals = {"throughput_items_per_s": True, "latency_ms_p99": False}
    guide = Guide(paper_space(EVERY), goals, THROUGHPUT, sampler="random", seed=0, startup=4)
    records = [
        Record(str(n), str(n), {}, (), Status.OK, metrics={"throughput_items_per_s": up, "latency_ms_p99": down})
        for n, (up, down) in enumerate(pairs)
    ]
    beaten = {
        record.key
        for record, (up, down) in zip(records, pairs, strict=True)
        if any(a >= up and b <= down and (a, b) != (up, down) for a, b in pairs)
    }
    assert {record.key for record in guide.best(records)} == {record.key for record in records} - beaten


def test_a_second_objective_has_the_direction_of_its_metric(tmp_path: Path) -> None:
    goals = "search.objectives=[latency_ms_p50,capacity_items_per_s,peak_memory_mb]"
    explore(tmp_path, rate, *SPACE, goals, "search.budget=1 trials")
    (study,) = STORAGES[f"sqlite:///{tmp_path / 'search.db'}"].get_all_studies()
    assert [direction.name for direction in study.directions] == ["MINIMIZE", "MAXIMIZE", "MINIMIZE"]


def test_search_with_several_objectives_ends_in_a_front(tmp_path: Path) -> None:
    goals = "search.objectives=[throughput_items_per_s,latency_ms_p50]"
    done = explore(tmp_path, rate, *SPACE[:1], goals, "search.budget=6 trials")
    (last,) = [line for line in done.sweep.display.lines if "study" in line]
    assert "4 that nothing else beats: tiny-fake-fp32-b8-c1" in last  # batches 1 to 8; more only costs latency
    (study,) = studies(tmp_path)
    assert {trial.params["batch"] for trial in study.best_trials} == {1, 2, 4, 8}


# --- budgets, ends ----------------------------------------------------------------------------------------------------


def test_search_keeps_to_a_budget_of_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(search, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def slow(trial: Trial) -> Values:
        clock[0] += 6.0
        return rate(trial)

    done = explore(tmp_path, slow, *SPACE, "search.budget=1 minutes", "search.batch=4")
    assert [len(batch) for batch in done.batches] == [4, 4, 2]
    assert done.sweep.display.said("search 10 trials in 1 min: best so far")
    assert done.sweep.display.said("the budget of 1 min is spent")


def test_interrupt_ends_the_search_and_its_trials_fail_unjudged(tmp_path: Path) -> None:
    labs: list[Laboratory] = []

    def stopped(trial: Trial) -> Any:
        if len(labs[0].batches) == 2:
            labs[0].sweep.interrupted = True
            return Status.STOPPED
        return rate(trial)

    labs.append(Laboratory(shared_composer(), stopped))
    search_in(labs[0], [*FAKE, f"outputs={tmp_path}", *SPACE])
    assert [len(batch) for batch in labs[0].batches] == [4, 4]
    assert labs[0].finished
    states = [trial.state.name for trial in studies(tmp_path)[0].get_trials()]
    assert states == ["COMPLETE"] * 4 + ["FAIL"] * 4


def test_ctrl_c_between_batches_is_an_interrupt(tmp_path: Path) -> None:
    def pressed(trial: Trial) -> Any:
        raise KeyboardInterrupt

    done = explore(tmp_path, pressed, *SPACE)
    assert done.sweep.interrupted
    assert done.finished


def test_dry_run_shows_the_space_and_asks_nothing(tmp_path: Path) -> None:
    done = explore(tmp_path, rate, *SPACE, "plan=only")
    assert done.batches == []
    assert [len(made.valid) for made in done.sweep.display.plans] == [48]
    assert done.sweep.display.said(
        "maximize throughput_items_per_s; 20 trials of 48 points, 4 at a time, tpe with seed 0"
    )
    assert list(tmp_path.iterdir()) == []


def test_reasons_are_recorded_where_nothing_can_run(tmp_path: Path) -> None:
    done = explore(tmp_path, lambda _: Status.INVALID, "precision=int8,bf16")
    assert len(done.asked) == len(done.sweep.records) == 2


def test_lost_storage_costs_the_copy_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep.engine.search.study import Mirror

    made: list[Mirror] = []
    opened = Mirror.__init__

    def remember(self: Mirror, *arguments: Any) -> None:
        opened(self, *arguments)
        made.append(self)

    def result(trial: Trial) -> Values:
        made[0].study = SimpleNamespace()  # type: ignore[assignment]  # whatever a lost connection raises
        return rate(trial)

    monkeypatch.setattr(Mirror, "__init__", remember)
    done = explore(tmp_path, result, *SPACE, "search.budget=12 trials")
    assert len(done.asked) == 12
    assert sum("the study is no longer copied to sqlite:///" in line for line in done.sweep.display.lines) == 1


# --- large spaces -----------------------------------------------------------------------------------------------------


def test_large_space_is_judged_point_by_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "PLANNED_AT_MOST", 10)
    done = explore(tmp_path, rate, *SPACE, "search.budget=30 trials")
    assert done.sweep.display.said("too large to be judged as a whole")
    assert len({trial.key for trial in done.asked}) == len(done.asked) == 30
    assert {trial.precision for trial in done.asked} <= {"fp32", "fp16"}
    every = explore(tmp_path / "all", rate, *SPACE[:2], "search.budget=1000 trials")
    assert len(every.asked) == 12


def test_large_space_of_combinations_has_their_points_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_space, "PLANNED_AT_MOST", 2)
    lines = ["precision=fp32,fp16,int8", "combinations=[{batch:1,cores:1},{batch:8}]"]
    space, _ = space_of(tmp_path, *lines)
    source, found = random.Random(1), set()
    while True:
        try:
            point = space.nearest(tuple(source.choice(values) for values in space.axes.values()), source)
        except Exhausted:
            break
        space.taken.add(point.key)
        found.add(point.values)
    planned, _ = space_of(tmp_path, "precision=fp32,fp16", lines[1])
    monkeypatch.setattr(search_space, "PLANNED_AT_MOST", 100)
    planned, _ = space_of(tmp_path, *lines)
    assert found == {point.values for point in planned.valid}
    assert space.axes == {**planned.axes, "precision": ("fp16", "fp32", "int8")}  # not known to be impossible
    some = planned.valid[0]
    assert space.find(shared_composer().trial(some.overrides)) == some


# --- going on ---------------------------------------------------------------------------------------------------------


def test_warm_start_passes_on_results_of_earlier_sweeps(tmp_path: Path) -> None:
    first = explore(tmp_path, rate, *SPACE, "search.budget=48 trials")
    again = explore(tmp_path, rate, *SPACE, "search.warm_start=true", "search.budget=4 trials")
    assert again.sweep.display.said("warm start: 48 trials of earlier sweeps told to the sampler")
    best = max(rate(trial)["throughput_items_per_s"] for trial in first.asked)
    assert max(rate(trial)["throughput_items_per_s"] for trial in again.asked) >= best - 20
    cold = explore(tmp_path, rate, *SPACE, "search.budget=4 trials")
    assert not cold.sweep.display.said("warm start")
    other = explore(tmp_path, rate, *SPACE, "search.warm_start=true", "data.seed=5", "search.budget=1 trials")
    assert other.sweep.display.said("warm start: 0 trials")  # other data: another trial
    elsewhere = f"search.storage=sqlite:///{tmp_path / 'search.db'}"
    far = explore(tmp_path / "far", rate, *SPACE, elsewhere, "search.warm_start=true", "search.budget=1 trials")
    assert far.sweep.display.said("warm start: 48 trials")


def test_resume_refuses_what_was_no_search(tmp_path: Path) -> None:
    book = ledger.Ledger(tmp_path / "sweeps" / "20260101-000000")
    book.append("sweep", id="20260101-000000", settings={})
    book.close()
    with pytest.raises(UserError, match="was no search: finish it with `python -m sweep resume 20260101-000000`"):
        explore(tmp_path, rate, *SPACE, "search.resume=last")


def test_resume_refuses_another_space_or_effort(tmp_path: Path) -> None:
    explore(tmp_path, rate, *SPACE, "search.budget=1 trials")
    with pytest.raises(UserError, match="searched another space"):
        explore(tmp_path, rate, *SPACE[:2], "search.resume=last")
    with pytest.raises(UserError, match="measured with another effort"):
        explore(tmp_path, rate, *SPACE, "search.resume=last", "effort=thorough")


# --- with the engine --------------------------------------------------------------------------------------------------


def records_of(history: ledger.History) -> list[Record]:
    return list(history.records.values())


@pytest.mark.usefixtures("warm_pool")
def test_whole_search_with_failures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = ["batch=1,2,3,5", "precision=fp32,fp16,int8", "backend.options.fault_when={batch:5}"]
    budget = ["backend.options.fault=build_raise", "search.budget=6 trials", "search.batch=3"]
    status, history = sweep(tmp_path, *SEARCH, *lines, *budget)
    assert status == 0
    assert len(history.records) == len(history.trials) == 6
    assert {record.settings["precision"] for record in records_of(history)} == {"fp32", "fp16"}
    failed = [record for record in records_of(history) if record.status is Status.BUILD_FAILED]
    assert {record.settings["batch"] for record in failed} <= {5}
    assert history.finished
    shown = capsys.readouterr().out
    assert "12 trials, 8 can run, 4 invalid" in shown
    assert "search: maximize throughput_items_per_s; 6 trials of 8 points, 3 at a time, tpe with seed 0" in shown
    assert shown.count("sweep tiny: ") == 1  # the plan is shown once
    assert "search 3/6" in shown
    assert "search: the budget of 6 trials is spent; study tiny-" in shown


@pytest.mark.process
@pytest.mark.usefixtures("warm_pool")
def test_killed_search_goes_on(tmp_path: Path) -> None:
    """Killed in its second batch: what was measured stands, what was asked is finished, the budget is spent."""
    lines = [*SEARCH, "batch=1,2,3,4", "precision=fp32,fp16,int8", "search.budget=6 trials", "search.batch=2"]
    process = start(tmp_path, *lines)
    read_until(process, lambda line: line.startswith("search 2/6"))
    read_until(process, lambda line: line.startswith("measure 1/2"))
    kill_group(process)
    before = [entry["trial"] for entry in entries(ledger.History(ledger.find(tmp_path, "last")), "repeat")]
    assert 3 <= len(before) <= 4
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    (folder,) = ledger.sweeps(tmp_path)
    history = ledger.History(folder)
    repeats = [entry["trial"] for entry in entries(history, "repeat")]
    assert repeats[: len(before)] == before
    assert len(repeats) == len(set(repeats)) == len(history.records) == len(history.trials) == 6
    assert {record.status for record in records_of(history)} == {Status.OK}
    assert {trial.state.name for trial in studies(tmp_path)[0].get_trials()} == {"COMPLETE"}
    assert len(studies(tmp_path)[0].get_trials()) == 6
    assert history.finished
    more = [*TINY, f"outputs={tmp_path}", *lines[:-2], "search.budget=7 trials", "search.resume=last"]
    assert run(more) == 0  # a larger budget goes on from there
    history = ledger.History(ledger.find(tmp_path, "last"))
    assert len(ledger.sweeps(tmp_path)) == 1
    assert len(history.records) == 7


@pytest.mark.usefixtures("fake_pool")
def test_search_reuses_known_results_at_no_cost(tmp_path: Path) -> None:
    """A grid first, then a search over more with reuse and a warm start: nothing of the grid is measured again."""
    sweep(tmp_path, "batch=1,2", "effort.repeats=1")
    lines = ["batch=1,2,4", "reuse=true", "search.warm_start=true", "search.budget=3 trials", "search.batch=1"]
    _, history = sweep(tmp_path, *SEARCH, *lines)
    assert sorted((r.settings["batch"], r.origin) for r in records_of(history)) == [
        (1, "reused"),
        (2, "reused"),
        (4, "measured"),
    ]
    assert len(entries(history, "repeat")) == 1


@pytest.mark.usefixtures("fake_pool")
def test_whole_search_where_nothing_can_run(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, *SEARCH, "precision=int8,bf16")
    assert status == 2
    assert {record.status for record in records_of(history)} == {Status.INVALID}
    assert all("fake has no" in record.reason for record in records_of(history))


@pytest.mark.process
def test_optuna_is_imported_by_a_search_alone() -> None:
    code = (
        "import sys, sweep.engine.search.loop, hydra_plugins.sweep_plugins.optuna_sweeper;"
        "print([name for name in ('optuna', 'sqlalchemy', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_search_refuses_a_launcher_that_cannot_plan(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot plan, which a search needs: say hydra/launcher=local"):
        command_line.run([*FAKE, f"outputs={tmp_path}", "hydra/sweeper=optuna", "hydra/launcher=basic"])

"""The grid sweeper and the local launcher, through the entry, with an engine that only takes notes."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from sweep.config import command_line, compose
from sweep.spec import Trial, UserError


class Engine:
    """Has a `Sweep` that remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[list[Trial]] = []
        self.sweeps: list[dict[str, Any]] = []
        self.status = 0
        engine = self

        class Sweep:
            def __init__(self, settings: Any, *, command: str, search: bool = False) -> None:
                engine.sweeps.append({"settings": settings, "command": command, "search": search, "finished": False})

            def run(self, trials: Sequence[Trial]) -> list[str]:
                engine.batches.append(list(trials))
                only = engine.sweeps[-1]["settings"].plan == "only"
                return [] if only else [f"record of {trial.label}" for trial in trials]

            def finish(self) -> int:
                engine.sweeps[-1]["finished"] = True
                return engine.status

        self.Sweep = Sweep


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    made = Engine()
    monkeypatch.setattr("sweep.engine.session.Sweep", made.Sweep)
    monkeypatch.chdir(tmp_path)
    return made


FAKE = ["model=tiny", "backend=fake"]


@pytest.mark.parametrize("place", [0, 1, 2, None])
def test_one_batch_of_all_trials_wherever_the_flag_stands(engine: Engine, tmp_path: Path, place: int | None) -> None:
    arguments = [*FAKE, "batch=1,5", "cores=1,4"]
    if place is not None:
        arguments.insert(place, "-m")
    assert command_line.run(arguments) == 0
    assert len(engine.batches) == len(engine.sweeps) == 1
    assert [(trial.batch, trial.cores) for trial in engine.batches[0]] == [(1, 1), (1, 4), (5, 1), (5, 4)]
    assert engine.batches[0][1].overrides == (*FAKE, "batch=1", "cores=4")
    assert engine.sweeps[0]["finished"]
    assert engine.sweeps[0]["search"] is False
    assert engine.sweeps[0]["command"].startswith("python -m sweep")
    assert list(tmp_path.iterdir()) == []  # Hydra writes nothing of its own


def test_the_status_of_the_engine_is_returned(engine: Engine) -> None:
    engine.status = 2
    assert command_line.run([*FAKE]) == 2


def test_a_single_trial_is_a_sweep_of_one(engine: Engine) -> None:
    command_line.run([*FAKE, "plan=only", "name=mine"])
    assert [len(batch) for batch in engine.batches] == [1]
    assert (engine.sweeps[0]["settings"].plan, engine.sweeps[0]["settings"].name) == ("only", "mine")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bathc=1"], "no key 'bathc': did you mean 'batch'?"),
        (["model=tinny"], "no model 'tinny': did you mean 'tiny'?"),
        (["experiment=nope"], "no experiment 'nope'"),
        (["hydra/sweeper=gird"], "no hydra/sweeper 'gird': did you mean 'grid'?"),
        (["hydra.nope=1"], "Could not override 'hydra.nope'"),
        (["hydra.searchpath=[/no/such/folder]"], "hydra.searchpath: "),
        (["--config-dir", "/no/such/folder"], "there is no such folder"),
        (["batch=0"], "batch must be an integer >= 1, not 0"),
        (["--cfg", "job", "bathc=1"], "no key 'bathc': did you mean 'batch'?"),
    ],
)
def test_bad_input_never_reaches_the_engine(engine: Engine, arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        command_line.run(arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert engine.sweeps == []


def test_a_folder_of_the_users_own(engine: Engine, tmp_path: Path) -> None:
    for name, text in {
        "model/mine": "_target_: sweep.workloads.tiny.linear\nfeatures: 16\nclasses: 4\nformat: numpy\ndata: tiny\n",
        "experiment/try": "# @package _global_\ndefaults:\n  - override /model: mine\naxes: {batch: [1, 2, 3]}\n",
    }.items():
        path = tmp_path / "my" / "conf" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command_line.run(["backend=fake", "--config-dir", "my/conf", "experiment=try"])
    assert [trial.label for trial in engine.batches[0]] == [f"mine-fake-fp32-b{n}-c1" for n in (1, 2, 3)]
    command_line.run(["backend=fake", "model=mine", f"hydra.searchpath=[file://{tmp_path}/my/conf]"])
    assert engine.batches[1][0].model["name"] == "mine"


def test_show_config_prints_the_data_of_the_model(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    before = list(sys.argv)
    assert command_line.run(["batch=3", "--cfg", "job", *FAKE, "data.count=7"]) == 0
    shown = capsys.readouterr().out
    assert "batch: 3" in shown
    assert "count: 7" in shown
    assert sys.argv == before
    assert engine.sweeps == []


def test_help_is_hydras(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command_line.run(["--help"])
    assert not caught.value.code
    assert "declare how a model could be deployed" in capsys.readouterr().out


@pytest.fixture
def launcher(engine: Engine) -> Callable[..., Any]:
    """A launcher as a sweeper gets it."""
    from hydra.core.plugins import Plugins
    from hydra.types import HydraContext, RunMode

    def made() -> Any:
        loader = compose.make_loader()
        master = loader.load_configuration("config", [*FAKE], RunMode.MULTIRUN)
        context = HydraContext(config_loader=loader, callbacks=None)  # type: ignore[arg-type]  # not used by launching
        return Plugins.instance().instantiate_launcher(
            hydra_context=context, task_function=lambda _: None, config=master
        )

    return made


def test_a_search_launches_many_times_in_one_sweep(engine: Engine, launcher: Callable[..., Any]) -> None:
    it = launcher()
    it.search = True
    first = it.launch([[*FAKE, "batch=1"], [*FAKE, "batch=2"]], initial_job_idx=0)
    second = it.launch([[*FAKE, "batch=3"]], initial_job_idx=2)
    assert [done.return_value for done in (*first, *second)] == [f"record of tiny-fake-fp32-b{n}-c1" for n in (1, 2, 3)]
    assert len(engine.sweeps) == 1
    assert engine.sweeps[0]["search"] is True
    assert it.finish() == 0
    assert engine.sweeps[0]["finished"]


def test_with_plan_only_there_are_no_results(engine: Engine, launcher: Callable[..., Any]) -> None:
    assert launcher().launch([[*FAKE, "plan=only"]], initial_job_idx=0) == []

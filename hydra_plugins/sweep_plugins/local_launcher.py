"""`hydra/launcher=local`: the trials run on this machine, planned as a whole by the engine."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from sweep.config.hydra_api import JobReturn
    from sweep.engine.session import Sweep
    from sweep.spec import Trial
    from sweep.spec.plan import Plan
    from sweep.store.ledger import History


class LocalLauncher(Launcher):
    """Runs trials here. A search calls `survey` for its space, `launch` for each batch of trials, then `finish`."""

    search = False  # a sweeper that decides as it goes sets this before anything else
    history: "History | None" = None  # and this, if it goes on with an earlier sweep

    def __init__(self) -> None:
        self.sweep: Sweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> "Sequence[JobReturn]":
        """Run these trials. Returns their results in order, with the `Record` as the value; none with `plan=only`."""
        from sweep.config.hydra_api import JobReturn, JobStatus
        from sweep.engine.search import buckets

        sweep, trials = self._open(job_overrides)
        records = buckets.run(sweep, trials)
        returns = []
        for trial, record in zip(trials, records):  # noqa: B905  # with plan=only there are no records
            done = JobReturn(overrides=trial.overrides, task_name="sweep", status=JobStatus.COMPLETED)
            done.return_value = record
            returns.append(done)
        return returns

    def survey(self, job_overrides: Sequence[Sequence[str]]) -> "Plan":
        """Judge these trials without declaring them. The first call settles what the sweep is called."""
        sweep, trials = self._open(job_overrides)
        return sweep.survey(trials)

    def _open(self, job_overrides: Sequence[Sequence[str]]) -> "tuple[Sweep, list[Trial]]":
        from sweep.config import compose
        from sweep.engine import session

        composer = compose.find_composer(self.hydra_context.config_loader, self.config)
        trials = composer.trials(job_overrides)
        if self.sweep is None:
            command = shlex.join(["python", "-m", "sweep", *sys.argv[1:]])
            more: dict[str, Any] = {} if self.history is None else {"history": self.history}
            self.sweep = session.Sweep(composer.settings(job_overrides), command=command, search=self.search, **more)
        for line in composer.remarks():
            self.sweep.display.note(line)
        return self.sweep, trials

    def finish(self) -> int:
        """End the sweep. Returns the exit status, see `Sweep.finish`."""
        return self.sweep.finish() if self.sweep is not None else 0

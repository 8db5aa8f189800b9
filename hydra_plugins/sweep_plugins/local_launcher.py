"""`hydra/launcher=local`: the trials run on this machine, planned as a whole by the engine."""

import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from sweep.engine import Sweep


class LocalLauncher(Launcher):
    """Where trials run. A search may call `launch` many times and ends with `finish`."""

    search = False  # a sweeper that decides as it goes sets this before the first launch

    def __init__(self) -> None:
        self.sweep: Sweep | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config = config
        self.hydra_context = hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run these trials; one result for each, in order, with its `Record` as the value (none with `plan=only`)."""
        from sweep import config, engine

        composer = config.composer_of(self.hydra_context.config_loader, self.config)
        jobs = composer.jobs(job_overrides)
        if self.sweep is None:
            command = shlex.join(["python", "-m", "sweep", *sys.argv[1:]])
            self.sweep = engine.Sweep(composer.settings(job_overrides), command=command, search=self.search)
        records = self.sweep.run(jobs)
        returns = []
        for job, record in zip(jobs, records):  # noqa: B905  # with plan=only there are no records
            done = JobReturn(overrides=job.overrides, task_name="sweep", status=JobStatus.COMPLETED)
            done.return_value = record
            returns.append(done)
        return returns

    def finish(self) -> int:
        """End the sweep: the exit status (0, or 2 if nothing could be measured)."""
        return self.sweep.finish() if self.sweep is not None else 0

"""`hydra/sweeper=grid`: every combination of the axes, handed to the launcher in one piece."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(Sweeper):
    """Chooses the full product of the axes. `sweep` returns the exit status."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from sweep.config import hydra_api

        self.config = config
        self.hydra_context = hydra_context
        self.launcher = hydra_api.launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        from sweep.config import axes, compose

        assert self.hydra_context is not None, "setup comes first"
        assert self.launcher is not None, "setup comes first"
        composer = compose.find_composer(self.hydra_context.config_loader, self.config)
        self.launcher.launch(axes.expand(arguments, composer), initial_job_idx=0)
        finish = getattr(self.launcher, "finish", None)  # launchers of other projects have none
        return finish() if finish else 0

"""`hydra/sweeper=optuna`: the axes of the grid, a few trials at a time, chosen by the results so far."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Chooses trials by a search; `sweep.engine.search.loop` does the work. `sweep` returns the exit status."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from sweep.config import hydra_api

        self.config = config
        self.hydra_context = hydra_context
        self.launcher = hydra_api.launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        from sweep.config import compose
        from sweep.engine.search import loop as search
        from sweep.spec import UserError

        assert self.hydra_context is not None, "setup comes first"
        launcher: Any = self.launcher
        if not hasattr(launcher, "survey"):
            raise UserError(f"{type(launcher).__name__} cannot plan, which a search needs: say hydra/launcher=local")
        return search.run(arguments, compose.find_composer(self.hydra_context.config_loader, self.config), launcher)

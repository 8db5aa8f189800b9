"""The `search` section of the config: what each setting means stands in `search`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.config.structure import structure
from sweep.spec import UserError, metrics
from sweep.spec.declared import within
from sweep.text import count, duration

SAMPLERS = ("tpe", "random", "nsga2")
METRICS = tuple(metric.name for metric in metrics.METRICS if metric.better)
BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
UNITS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


@dataclass(frozen=True)
class Budget:
    """Trials or seconds; the other one is None."""

    trials: int | None = None
    seconds: float | None = None

    @staticmethod
    def parse(text: Any) -> "Budget":
        """Raises UserError for anything that is not like "20 trials" or "10 minutes"."""
        found = BUDGET.fullmatch(str(text).strip().lower())
        amount, unit = (float(found[1]), found[2]) if found else (0.0, "")
        if unit in ("trial", "trials") and amount >= 1 and amount == int(amount):
            return Budget(trials=int(amount))
        scale = UNITS.get(unit) or UNITS.get(unit.removesuffix("s"))
        if scale and amount > 0:
            return Budget(seconds=amount * scale)
        raise UserError(f"search.budget must be like '20 trials', '10 minutes', '2 hours' or '90 s', not {text!r}")

    def __str__(self) -> str:
        return count(self.trials, "trial") if self.trials is not None else duration(self.seconds)

    def room(self, batch: int, trials: int, seconds: float) -> int:
        """How many trials to ask next, after so many took so long. No batch is begun that would mostly be overtime."""
        if self.trials is not None:
            return max(0, min(batch, self.trials - trials))
        left, each = (self.seconds or 0.0) - seconds, seconds / trials if trials else 0.0
        if left <= each / 2:
            return 0
        return batch if not each else max(1, min(batch, round(left / each)))


@dataclass(frozen=True)
class Options:
    """The `search` section of the config."""

    budget: Budget
    batch: int = field(metadata=within(least=1))
    sampler: str = field(metadata=within(choices=SAMPLERS))
    objectives: tuple[str, ...] = field(metadata=within(choices=METRICS))
    warm_start: bool
    storage: str | None
    resume: str | None

    @staticmethod
    def read(section: Mapping[str, Any]) -> "Options":
        """Raises UserError for a wrong key, type or value."""
        options = structure(Options, "search", section)
        if len(set(options.objectives)) < len(options.objectives):
            raise UserError(f"search.objectives must be a list of different metrics, not {section['objectives']!r}")
        return options

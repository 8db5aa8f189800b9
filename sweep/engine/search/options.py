"""The `search` section of the config. `search.loop` explains the settings."""

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
        parts = BUDGET.fullmatch(str(text).strip().lower())
        amount, unit = (float(parts[1]), parts[2]) if parts else (0.0, "")
        if unit in ("trial", "trials") and amount >= 1 and amount == int(amount):
            return Budget(trials=int(amount))
        scale = UNITS.get(unit) or UNITS.get(unit.removesuffix("s"))
        if scale and amount > 0:
            return Budget(seconds=amount * scale)
        raise UserError(f"search.budget must be like '20 trials', '10 minutes', '2 hours' or '90 s', not {text!r}")

    def __str__(self) -> str:
        return count(self.trials, "trial") if self.trials is not None else duration(self.seconds)

    def room(self, batch: int, trials: int, seconds: float) -> int:
        """Size of the next batch, after `trials` trials in `seconds`. 0 if most of it would be over the budget."""
        if self.trials is not None:
            return max(0, min(batch, self.trials - trials))
        left, typical = (self.seconds or 0.0) - seconds, seconds / trials if trials else 0.0
        if left <= typical / 2:
            return 0
        return batch if not typical else max(1, min(batch, round(left / typical)))


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

"""The `search` section of the config. `search.loop` explains the settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from sweep.spec import UserError, meant, metrics, no_key
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
    batch: int = 4
    sampler: str = "tpe"
    objectives: tuple[str, ...] = ()
    warm_start: bool = False
    storage: str | None = None
    resume: str | None = None

    @staticmethod
    def read(section: Mapping[str, Any]) -> "Options":
        """Raises UserError for a wrong key, type or value."""
        known = [field.name for field in fields(Options)]
        for key in section:
            if key not in known:
                raise no_key(f"search.{key}", known)
        values = {"batch": 4, "sampler": "tpe", "objectives": [], "warm_start": False, **section}
        batch, sampler, names, warm = (values[key] for key in ("batch", "sampler", "objectives", "warm_start"))
        if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
            raise UserError(f"search.batch must be an integer >= 1, not {batch!r}")
        if sampler not in SAMPLERS:
            raise UserError(f"no search.sampler '{sampler}': {meant(str(sampler), SAMPLERS)}")
        if not isinstance(names, list) or len(set(map(str, names))) < len(names):
            raise UserError(f"search.objectives must be a list of different metrics, not {names!r}")
        for name in names:
            if name not in METRICS:
                raise UserError(f"no metric '{name}' for search.objectives: {meant(str(name), METRICS)}")
        if not isinstance(warm, bool):
            raise UserError(f"search.warm_start must be true or false, not {warm!r}")
        storage, resume = (None if values.get(key) is None else str(values[key]) for key in ("storage", "resume"))
        return Options(Budget.parse(values.get("budget")), batch, sampler, tuple(names), warm, storage, resume)

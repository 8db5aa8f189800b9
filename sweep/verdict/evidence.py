"""What a gate may look at."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweep.spec import Failure, Measurement
from sweep.spec.settings import Gates


@dataclass(frozen=True)
class Evidence:
    """Everything that a gate may look at."""

    measurements: Sequence[Measurement]
    comparison: Mapping[str, Any]  # of `agreement.compare`; empty: nothing was compared
    builds: Sequence[Mapping[str, Any]]
    precision: str  # what was asked for
    gates: Gates
    flops_per_item: float | None
    peak_flops: float | None  # of the whole device at this precision, FLOP/s
    instead_of_advice: str = ""  # follows the numbers of a wrong answer, where its cause is known
    original: str = ""  # see `gates.check`
    windows: Sequence[Mapping[str, Any]] = ()  # `agreement.compare` of each window with the scoring pass

    @property
    def samples(self) -> int:
        return int(self.comparison.get("samples") or 0)

    @property
    def outputs(self) -> Sequence[Mapping[str, Any]]:
        """Each output by itself; empty in what earlier versions stored."""
        return self.comparison.get("outputs") or ()

    def number(self, name: str) -> float | None:
        value = self.comparison.get(name)
        return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


Gate = Callable[[Evidence], Failure | None]

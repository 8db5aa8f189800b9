"""A plan: every declared trial, whether it can work, and the builds that it needs."""

from dataclasses import dataclass
from typing import Mapping, Optional, Tuple

from sweep.spec.record import Status
from sweep.spec.trial import BuildSpec, Trial


@dataclass(frozen=True)
class Entry:
    """One declared trial in a plan."""

    trial: Trial
    builds: Tuple[BuildSpec, ...]
    status: Optional[Status] = None  # None: valid; otherwise INVALID or UNAVAILABLE
    reason: str = ""  # the rule's text, or what is missing and how to get it


@dataclass(frozen=True)
class Plan:
    """Every declared trial once, in the order of declaration; a trial that is declared twice is one entry."""

    entries: Tuple[Entry, ...]
    duplicates: int = 0
    forecast_seconds: Optional[float] = None  # None: unknown
    forecast_note: str = ""

    @property
    def valid(self) -> Tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status is None)

    @property
    def builds(self) -> Mapping[str, BuildSpec]:
        """The distinct builds that the valid trials need, by key, in order of first need."""
        return {spec.key: spec for entry in self.valid for spec in entry.builds}

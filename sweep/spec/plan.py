"""A plan: every declared trial, whether it can work, and the builds that it needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweep.spec.record import Status
from sweep.spec.trial import BuildSpec, Trial


@dataclass(frozen=True)
class Entry:
    """One declared trial in a plan."""

    trial: Trial
    builds: tuple[BuildSpec, ...]
    status: Status | None = None  # None: valid; otherwise INVALID or UNAVAILABLE
    reason: str = ""  # the rule's text, or what is missing and how to get it


@dataclass(frozen=True)
class Plan:
    """Every declared trial once, in the order declared; trials asked for twice are folded into one."""

    entries: tuple[Entry, ...]
    duplicates: int = 0
    forecast_seconds: float | None = None  # None: unknown
    forecast_note: str = ""

    @property
    def valid(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.status is None)

    @property
    def builds(self) -> Mapping[str, BuildSpec]:
        """The distinct builds that the valid trials need, by key, in order of first need."""
        return {spec.key: spec for entry in self.valid for spec in entry.builds}

    def trials_of(self, build_key: str) -> Sequence[Trial]:
        return [entry.trial for entry in self.valid if any(spec.key == build_key for spec in entry.builds)]

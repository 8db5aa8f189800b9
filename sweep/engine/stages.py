"""What a sweep keeps from one `run` to the next, when earlier results decide which trials come later."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sweep.spec import Record, Status, Trial
from sweep.verdict.noise.series import AGAIN
from sweep.verdict.select import is_stopped_early

if TYPE_CHECKING:
    from sweep.verdict.buckets.lists import Search


@dataclass
class Stages:
    """The stages of a sweep, and the trials that are measured in more than one of them."""

    several: bool  # what one `run` measures is not interleaved with the next
    searches: dict[str, "Search"] = field(default_factory=dict)  # of `buckets=auto`, by the key of its trial
    # The record of a trial that is measured once more beside those of a later `run`, by key: the newer one counts
    again: dict[str, Record] = field(default_factory=dict)

    def list_again(self, trials: Mapping[str, Trial], records: Mapping[str, Record]) -> list[Trial]:
        """The trials to measure once more in this `run`."""
        return [trials[key] for key, first in self.again.items() if records[key] is first]

    def identity(self, key: str, name: str) -> str:
        """The identity of a measurement: the trial's identity, and how often it was measured before."""
        first = self.again.get(key)
        return name if first is None else f"{name}{AGAIN}{_times(first)}"

    def merge(self, record: Record, begun: float) -> Record | None:
        """Add to a new record which measurements it belongs with.

        None if it failed and an earlier record of the same trial stays.

        Args:
            begun: when the measurements of this `run` began, in seconds since the epoch.
        """
        first = self.again.get(record.key)
        if first is not None:
            if record.status is not Status.OK:
                return None
            record = replace(record, identity=first.identity, measured_before=_times(first))
        return replace(record, measured_together=begun) if self.several else record


def _times(first: Record) -> int:
    """How often a trial has been measured in this sweep."""
    return 1 + first.measured_before


def select_settled(records: Iterable[Record]) -> dict[str, Record]:
    """The records that an earlier process finished, by key. A trial that a race stopped is finished too."""
    return {record.key: record for record in records if record.status.is_finished or is_stopped_early(record)}

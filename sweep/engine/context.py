"""The context that all phases of a sweep share."""

import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import files
from sweep.engine import watching
from sweep.isolate.pool import Limits, Request, Workers
from sweep.spec import Failure, Outcome, UserError, installed
from sweep.spec.facts import Price
from sweep.spec.metrics import COST
from sweep.spec.requests import VersionsRequest
from sweep.spec.settings import Settings
from sweep.store.builds import Store
from sweep.store.ledger import Ledger
from sweep.verdict.costs import money, prices

if TYPE_CHECKING:
    from sweep.hardware.host import Host
    from sweep.report.terminal.display import Display


AGAIN = "; then `python -m sweep resume last`"
UNWRITABLE = (*files.FULL, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EIO, errno.ESTALE)

OURS = ("sweep.worker.entries",)  # imported by every server of our own interpreter: else each worker would do it again


@dataclass
class Context:
    """One running sweep: its folder, its ledger and the processes that work for it."""

    settings: Settings
    folder: Path
    host: "Host"
    display: "Display"
    store: Store
    workers: Workers
    ledger: Ledger
    begun: float = field(default_factory=time.monotonic)
    price_table: Sequence[prices.Row] = ()  # the user's own
    _versions: dict[tuple[str | None, str], str | None] = field(default_factory=dict)
    _noted: set[str] = field(default_factory=set)

    def seconds_left(self) -> float | None:
        """Seconds left of `effort.budget_seconds`, counted from the start of this process; None if unlimited."""
        budget = self.settings.effort.budget_seconds
        return None if budget is None else max(0.0, self.begun + budget - time.monotonic())

    def is_overdue(self, share: float = 1.0) -> bool:
        """Whether this share of the budget of time is spent."""
        left, budget = self.seconds_left(), self.settings.effort.budget_seconds
        return left is not None and budget is not None and left <= (1.0 - share) * budget

    def compute_cost(
        self, declared: Mapping[str, Any], metrics: Mapping[str, float]
    ) -> tuple[dict[str, float], Price | None]:
        """The cost of a million items on this hardware as a metric, and the price behind it; empty if not known."""
        price = money.find_price(prices.override(declared, self.price_table), self.settings.objective.price)
        cost = None if price is None else money.usd_per_million_items(money.find_rate(metrics), price.usd_per_hour)
        return ({}, None) if cost is None else ({COST: cost}, price)

    def installed(self, python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
        """Version of each distribution in an interpreter; None if it is missing. Looked up once a sweep."""
        unknown = [package for package in packages if (python, package) not in self._versions]
        if unknown:
            versions: Mapping[str, str | None] = installed.versions(unknown)
            if python is not None:
                outcome = self.run(VersionsRequest(tuple(unknown)), "probe", python, seconds=60, python=python)
                versions = (outcome.result or {}).get("versions", {})
            self._versions.update({(python, package): versions.get(package) for package in unknown})
        return {package: self._versions[python, package] for package in packages}

    def note_once(self, text: str) -> None:
        """Show a note that many trials may have reason for."""
        if text not in self._noted:
            self._noted.add(text)
            self.display.note(text)

    def warm(self, preload: Sequence[str]) -> None:
        """Start the server that preloads these modules, so that it is ready when the first worker is needed."""
        self.workers.warm((*preload, *OURS))

    def run(
        self,
        request: Request,
        phase: str,
        name: str,
        *,
        seconds: float,
        memory_mb: float | None = None,
        python: str | None = None,
        preload: Sequence[str] = (),
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
        watched: bool = False,
    ) -> Outcome:
        """Run one worker in a folder of its own, `<phase>/<name>`, with a number added if that name is taken.

        Args:
            preload: modules that the server imports ahead; that of another interpreter imports none.
            env: variables to set before anything is imported.
            watched: show its progress meanwhile. Not while anything is timed: this process wakes up every second.
        """
        folder = make_fresh_folder(self.folder / phase, name)
        with watching.show_progress(self.display, folder, name) if watched else nullcontext():
            return self.workers.run(
                request,
                folder,
                limits=Limits(seconds, memory_mb),
                python=python,
                preload=() if python else (*preload, *OURS),
                cores=cores,
                env=env,
            )


def retry_transient(run: Callable[[], Outcome], retries: int) -> tuple[Outcome, list[Failure]]:
    """Run, and try again after transient failures, like a core that its last owner is slow to give back.

    Waits one second before the second try, and twice as long before each further one.

    Returns:
        The last outcome, and the failures before it.
    """
    outcome, before = run(), []
    for attempt in range(retries):
        if outcome.failure is None or not outcome.failure.kind.is_transient:
            break
        before.append(outcome.failure)
        time.sleep(2.0**attempt)
        outcome = run()
    if outcome.failure is not None and outcome.failure.kind.is_transient:
        outcome = replace(outcome, failure=_add_holders(outcome.failure))
    return outcome, before


def _add_holders(failure: Failure) -> Failure:
    """Add to a failure who holds the cores, if the host can tell."""
    from sweep.hardware import neuron

    held = neuron.format_holders(neuron.look().holders)
    return replace(failure, summary=f"{failure.summary}; {held}") if held else failure


@contextmanager
def writable(outputs: Path, stack: ExitStack) -> Iterator[None]:
    """End a sweep at once when its records cannot be written, with one line that says how to go on.

    Raises:
        UserError: the disk is full, or a folder became read-only; `stack` is closed then.
    """
    try:
        yield
    except UserError as error:
        stack.close()
        if not _is_unwritable(error.__cause__):
            raise
        raise UserError(f"{error}{AGAIN}") from error.__cause__
    except OSError as error:
        if not _is_unwritable(error):
            raise
        stack.close()
        raise UserError(f"{files.describe_write_error(error, outputs)}{AGAIN}") from error


def _is_unwritable(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in UNWRITABLE


def make_fresh_folder(parent: Path, name: str) -> Path:
    """Make `parent/name`, or `parent/name.2`, ... if that exists: no attempt overwrites an earlier one."""
    safe = re.sub(r"[^A-Za-z0-9_.x-]+", "_", name).strip("._")[:120] or "task"
    number = 1
    while True:
        folder = parent / (safe if number == 1 else f"{safe}.{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder

"""What the phases of one sweep share."""

import errno
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import files
from sweep.backends.base import installed
from sweep.isolate.pool import Limits, Request, Workers
from sweep.spec import Failure, Json, Outcome, UserError
from sweep.spec.facts import Price
from sweep.spec.metrics import COST
from sweep.spec.requests import VersionsRequest
from sweep.spec.settings import Settings
from sweep.store.builds import Store
from sweep.store.ledger import Ledger
from sweep.verdict.costs import money, prices

if TYPE_CHECKING:
    from sweep.hardware.rules import Host
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

    def seconds_left(self) -> float | None:
        """Of the budget of time, which from when this process began the sweep; None: no limit."""
        budget = self.settings.effort.budget_seconds
        return None if budget is None else max(0.0, self.begun + budget - time.monotonic())

    def is_overdue(self, share: float = 1.0) -> bool:
        """Whether this share of the budget of time is spent."""
        left, budget = self.seconds_left(), self.settings.effort.budget_seconds
        return left is not None and budget is not None and left <= (1.0 - share) * budget

    def cost(self, declared: Mapping[str, Any], metrics: Mapping[str, float]) -> tuple[dict[str, float], Price | None]:
        """What a million items cost on a hardware, as a metric, and the price that it comes from; empty: not known."""
        price = money.find_price(prices.override(declared, self.price_table), self.settings.objective.price)
        cost = None if price is None else money.usd_per_million_items(money.find_rate(metrics), price.usd_per_hour)
        return ({}, None) if cost is None else ({COST: cost}, price)

    def installed(self, python: str | None, packages: Sequence[str]) -> Mapping[str, str | None]:
        """Version of each distribution in an interpreter, None where it is missing; every one is looked up once."""
        unknown = [package for package in packages if (python, package) not in self._versions]
        if unknown and python is None:
            self._versions.update({(None, name): version for name, version in installed(unknown).items()})
        elif unknown:
            outcome = self.run(VersionsRequest(tuple(unknown)), "probe", python, seconds=60, python=python)
            found: Json = (outcome.result or {}).get("versions", {})
            self._versions.update({(python, package): found.get(package) for package in unknown})
        return {package: self._versions[python, package] for package in packages}

    def warm(self, preload: Sequence[str]) -> None:
        """Start the server of such workers, so that its imports are done when the first of them is needed."""
        self.workers.warm((*preload, *OURS))

    def run(
        self,
        request: Request,
        phase: str,
        name: str | None,
        *,
        seconds: float,
        memory_mb: float | None = None,
        python: str | None = None,
        preload: Sequence[str] = (),
        cores: Sequence[int] = (),
        env: Mapping[str, str] | None = None,
    ) -> Outcome:
        """Run one worker in a folder of its own, `<phase>/<name>`; a number is added where that is taken."""
        folder = fresh_folder(self.folder / phase, name or "own")
        return self.workers.run(
            request,
            folder,
            limits=Limits(seconds, memory_mb),
            python=python,
            preload=preload if python else (*preload, *OURS),
            cores=cores,
            env=env or {},
        )


def patiently(run: Callable[[], Outcome], retries: int) -> tuple[Outcome, list[Failure]]:
    """An outcome, and the failures before it that pass by themselves: a core's last owner is slow to give it back.

    Each try waits twice as long as the one before, from one second.
    """
    outcome, before = run(), []
    for attempt in range(retries):
        if outcome.failure is None or not outcome.failure.kind.is_transient:
            break
        before.append(outcome.failure)
        time.sleep(2.0**attempt)
        outcome = run()
    if outcome.failure is not None and outcome.failure.kind.is_transient:
        outcome = replace(outcome, failure=_with_holders(outcome.failure))
    return outcome, before


def _with_holders(failure: Failure) -> Failure:
    """Who holds the cores, where the host can tell."""
    from sweep.hardware import neuron

    held = neuron.format_holders(neuron.look().holders)
    return replace(failure, summary=f"{failure.summary}; {held}") if held else failure


@contextmanager
def writable(outputs: Path, stack: ExitStack) -> Iterator[None]:
    """Around a sweep: where its records cannot be written it ends at once, with one line that says how to go on.

    Raises:
        UserError: a disk that is full, or a folder that became read-only; `stack` is closed.
    """
    try:
        yield
    except UserError as error:
        stack.close()
        if not _unwritable(error.__cause__):
            raise
        raise UserError(f"{error}{AGAIN}") from error.__cause__
    except OSError as error:
        if not _unwritable(error):
            raise
        stack.close()
        raise UserError(f"{files.cannot_write(error, outputs)}{AGAIN}") from error


def _unwritable(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in UNWRITABLE


def fresh_folder(parent: Path, name: str) -> Path:
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

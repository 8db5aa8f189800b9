"""Watching the machine while repeats run: a control trial measured again and again, and what its changes mean.

The control is a cheap trial of the sweep itself. Its ordinary repeats count, so it is measured once more only where it
was not for `effort.control_every_seconds`: a short sweep pays nothing, a long one a percent or two. Nothing that
happens to it touches the trial that it belongs to.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.engine.context import Context
from sweep.files import write_json
from sweep.spec import Failure, Measurement
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.noise import series

if TYPE_CHECKING:
    from sweep.engine.tasks import Candidate

CLOSED = {"name": "saturate", "concurrency": 1}  # shows the speed of the machine, whatever load was asked for
SAME = 1e-6  # levels closer than this to 1 are not noted


class Control:
    """Knows when the machine was looked at last, and looks again."""

    def __init__(
        self,
        context: Context,
        tasks: Sequence["Candidate"],
        measure: "Callable[[Candidate, int], Measurement | Failure]",
    ) -> None:
        """
        Args:
            measure: one measurement of a trial in a block, which is neither kept with the trial nor counted for it.
        """
        self._context = context
        self._able = [task for task in tasks if not task.trial.deployment and task.origin.is_evidence]
        self._measure = measure
        self._chosen: Candidate | None = None
        self._begun = self._last = time.monotonic()

    def due(self) -> bool:
        """Whether it was too long ago. The first time, the cheapest trial that has been measured by then is chosen."""
        every = self._context.settings.effort.control_every_seconds
        now = time.monotonic()
        if every <= 0 or now - self._begun < every or now - self._last < every:
            return False
        if self._chosen is None or self._chosen.failure is not None:
            measured = [task for task in self._able if task.done and task.failure is None]
            self._chosen = min(measured, key=_seconds, default=None)
        return self._chosen is not None and now - self._chosen.measured_at >= every

    def measure(self, block: int) -> None:
        """Measure the control once more. If it fails, that is on record, and another trial takes its place."""
        task = self._chosen
        assert task is not None, "it was not due"
        begun = time.time()
        closed = task if _tells(task) else replace(task, trial=replace(task.trial, load=CLOSED))
        found = self._measure(closed, block)
        failed = isinstance(found, Failure)
        self._context.ledger.append(
            "control",
            trial=task.trial.key,
            identity=task.identity + ("" if _tells(task) else "-control"),
            at=begun,
            block=block,
            measurement=None if failed else found,
            failure=found if failed else None,
        )
        self._last = time.monotonic()
        if failed:
            self._able = [other for other in self._able if other is not task]
            self._chosen = None


def mark(context: Context, tasks: Sequence["Candidate"], blocks: int | None = None) -> None:
    """Look for drift in all that this sweep has measured by now, and put it on record: nothing is ever left out for it.

    Every repeat that did not run at the usual speed of the machine gets its `level`: rates are compared
    after division by it, times after multiplication. `drift.json` has the findings, and a line says each new one.
    May be called again when there is more.

    Args:
        blocks: look at the first so many only: who resumes a sweep that was killed later sees then what it saw.
    """
    found = series.read(ledger.entries(context.folder), blocks)
    if not found.points:
        return
    settings = context.settings
    drift, levels = series.judge(found, settings.objective.margin / 2, settings.seed)
    by_samples = {point.samples: level for point, level in zip(found.points, levels, strict=True)}
    for task in tasks:
        for index, repeat in task.done.items():
            task.done[index] = _at_level(repeat, by_samples.get(repeat.samples, 1.0))
    known = {(each["kind"], each["block"]) for each in series.load_document(context.folder).get("findings", ())}
    write_json(SweepFolder(context.folder).drift, series.build_document(found, drift, levels))
    for finding in drift.findings:
        if (finding.kind, finding.block) not in known:
            context.display.note(series.describe_finding(finding, found.points))


def _at_level(repeat: Measurement, level: float) -> Measurement:
    return replace(repeat, level=level if abs(level - 1.0) > SAME else 1.0)


def _seconds(task: "Candidate") -> float:
    """What one repeat of a trial takes at worst, so far."""
    return max((repeat.wall_seconds or math.inf for repeat in task.done.values()), default=math.inf)


def _tells(task: "Candidate") -> bool:
    """Whether its ordinary repeats tell how fast the machine is, and can be compared with those of the control."""
    return task.trial.load.get("name") not in series.FIXED_RATE

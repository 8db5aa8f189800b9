"""Watch the machine while repeats run: measure a control trial again and again, and find drift in what it shows.

The control is a cheap trial of the sweep itself. Its ordinary repeats count too, so it is measured extra only when it
was not measured for `effort.control_every_seconds`: a short sweep pays nothing, a long sweep a percent or two. Extra
measurements never change the trial itself.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweep.engine.context import Context
from sweep.files import read_json, write_json
from sweep.spec import Failure, Measurement
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.noise import series

if TYPE_CHECKING:
    from sweep.engine.tasks import Candidate

CLOSED = {"name": "saturate", "concurrency": 1}  # shows the speed of the machine, whatever the trial's own load
SAME = 1e-6  # levels closer than this to 1 are not noted


class Control:
    """Knows when the control was measured last, and measures it again."""

    def __init__(
        self,
        context: Context,
        tasks: Sequence["Candidate"],
        measure: "Callable[[Candidate, int], Measurement | Failure]",
    ) -> None:
        """
        Args:
            measure: measures a trial in a block; the result is neither kept with the trial nor counted for it.
        """
        self._context = context
        self._able = [task for task in tasks if not task.trial.deployment and task.origin.is_evidence]
        self._measure = measure
        self._chosen: Candidate | None = None
        self._begun = self._last = time.monotonic()

    def is_due(self) -> bool:
        """Whether the last measurement is too old. The first time, this chooses the cheapest trial measured so far."""
        every = self._context.settings.effort.control_every_seconds
        now = time.monotonic()
        if every <= 0 or now - self._begun < every or now - self._last < every:
            return False
        if self._chosen is None or self._chosen.failure is not None:
            measured = [task for task in self._able if task.done and task.failure is None]
            self._chosen = min(measured, key=_seconds, default=None)
        return self._chosen is not None and now - self._chosen.measured_at >= every

    def measure(self, block: int) -> None:
        """Measure the control once more. If it fails, that goes on record and another trial takes its place."""
        task = self._chosen
        assert task is not None, "ask `is_due` first"
        begun = time.time()
        closed = task if _shows_speed(task) else replace(task, trial=replace(task.trial, load=CLOSED))
        result = self._measure(closed, block)
        failed = isinstance(result, Failure)
        self._context.ledger.append(
            "control",
            trial=task.trial.key,
            identity=task.identity + ("" if _shows_speed(task) else "-control"),
            at=begun,
            block=block,
            measurement=None if failed else result,
            failure=result if failed else None,
        )
        self._last = time.monotonic()
        if failed:
            self._able = [other for other in self._able if other is not task]
            self._chosen = None


def mark_drift(context: Context, tasks: Sequence["Candidate"], blocks: int | None = None) -> None:
    """Look for drift in everything that this sweep has measured, and put it on record. No repeat is left out for it.

    A repeat that did not run at the usual speed of the machine gets its `level`: rates are compared after division by
    it, times after multiplication. `drift.json` has the findings, and every new finding is shown. May be called again.

    Args:
        blocks: look at the first blocks only, so that a resumed sweep sees what the killed sweep saw.
    """
    control = series.read(ledger.entries(context.folder), blocks)
    if not control.points:
        return
    settings = context.settings
    drift, levels = series.judge(control, settings.objective.margin / 2, settings.seed)
    by_samples = {point.samples: level for point, level in zip(control.points, levels, strict=True)}
    for task in tasks:
        for index, repeat in task.done.items():
            level = by_samples.get(repeat.samples, 1.0)
            task.done[index] = replace(repeat, level=level if abs(level - 1.0) > SAME else 1.0)
    findings = read_json(SweepFolder(context.folder).drift).get("findings", ())
    known = {(finding["kind"], finding["block"]) for finding in findings}
    write_json(SweepFolder(context.folder).drift, series.build_document(control, drift, levels))
    for finding in drift.findings:
        if (finding.kind, finding.block) not in known:
            context.display.note(series.describe_finding(finding, control.points))


def _seconds(task: "Candidate") -> float:
    """The longest repeat of a trial so far."""
    return max((repeat.wall_seconds or math.inf for repeat in task.done.values()), default=math.inf)


def _shows_speed(task: "Candidate") -> bool:
    """Whether the ordinary repeats of a task show the speed of the machine, so that they compare with the control's."""
    return task.trial.load.get("name") not in series.FIXED_RATE

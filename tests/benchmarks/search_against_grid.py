"""Optuna against the full grid: how soon a search finds what the grid calls best, and at what share of its time.

    python -m tests.benchmarks.search_against_grid [--seeds 20] [--budget 20] [--grid SWEEP_FOLDER] [OVERRIDES]

The grid is run once for real, or a finished one is taken (`--grid outputs/sweeps/...`). Then searches are replayed on
its records, one for each seed: the whole search runs, only its trials are answered by the grid, and each costs what it
had cost there, with each distinct build paid once. Last, one search runs for real, in a folder of its own with an empty
store; what it chose is judged by the grid's measurement of the same trial, so that luck in measuring does not count.
"""

import argparse
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from sweep.config import compose
from sweep.config.compose import Composer
from sweep.engine import rules
from sweep.engine.search import loop as search
from sweep.engine.search import study as search_study
from sweep.hardware.host import detect
from sweep.spec import Record, Status
from sweep.spec.plan import Plan
from sweep.spec.settings import Objective
from sweep.store import ledger
from sweep.worker import entries

SPACE = [
    "model=digits",
    "effort=quick",
    "backend=torch,torchscript,onnxruntime,openvino",
    "precision=fp32,bf16,int8",
    "batch=1,8,32",
    "cores=1,2",
]
CLOSE = 0.97  # of the grid's best


class Replay:
    """A launcher that answers from the records of a grid."""

    def __init__(self, composer: Composer, grid: dict[str, Record], folder: Path) -> None:
        self.search = False
        self.history: ledger.History | None = None
        self.sweep: Any = None
        self.asked: list[str] = []
        self._composer, self._grid, self._folder = composer, grid, folder

    def survey(self, job_overrides: Sequence[Sequence[str]]) -> Plan:
        trials = self._composer.trials(job_overrides)
        if self.sweep is None:
            settings = self._composer.settings(job_overrides)
            display = SimpleNamespace(plan=lambda *_: None, note=lambda _: None)
            self.sweep = SimpleNamespace(
                settings=settings, records={}, interrupted=False, folder=self._folder, display=display
            )
        return rules.make_plan(trials, detect(), lambda _, names: entries.installed(names))

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        keys = [trial.key for trial in self._composer.trials(job_overrides)]
        self.asked += keys
        self.sweep.records.update({key: self._grid[key] for key in keys})
        return [SimpleNamespace(return_value=self._grid[key]) for key in keys]

    def finish(self) -> int:
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--budget", type=int, default=20, help="trials of the real search")
    parser.add_argument("--grid", type=Path, help="the folder of a finished sweep over the same space")
    parser.add_argument("--replay-only", action="store_true", help="no real search")
    parser.add_argument("overrides", nargs="*", default=SPACE)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        overrides, grid, wall = obtain(asked.grid, asked.overrides, Path(scratch))
        objective = Composer(compose.make_loader()).settings([first(overrides)]).objective
        best = describe(grid, objective, wall)
        for sampler in ("tpe", "random", "nsga2"):
            replays = [replay(overrides, grid, sampler, seed, Path(scratch)) for seed in range(asked.seeds)]
            report(sampler, replays, grid, objective, best, asked.budget)
        if not asked.replay_only:
            real(overrides, grid, objective, best, wall, asked.budget, Path(scratch))


def obtain(folder: Path | None, overrides: list[str], scratch: Path) -> tuple[list[str], dict[str, Record], float]:
    """The overrides, the grid's records by key and its wall seconds; the grid is run where none is given."""
    if folder is not None:
        history = ledger.History(folder)
        words = shlex.split(history.header["command"])[3:]
        overrides = [word for word in words if not word.startswith("-")]
    else:
        history = ledger.History(launch([*overrides], scratch / "grid"))
    times = [entry["time"] for entry in ledger.entries(history.folder)]
    ours = [line for line in overrides if line.partition("=")[0] not in ("outputs", "tracking", "hydra/sweeper")]
    return ours, history.records, max(times) - min(times)


def launch(overrides: list[str], outputs: Path) -> Path:
    """Run a sweep for real; its folder."""
    line = [sys.executable, "-m", "sweep", *overrides, f"outputs={outputs}", "tracking=none"]
    print("$ " + shlex.join(["python", *line[1:]]), flush=True)
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    return ledger.find(outputs, "last")


def first(overrides: list[str]) -> list[str]:
    """What is set once, of these overrides."""
    composer = Composer(compose.make_loader())
    return [line for line in overrides if not composer.parse(line).is_sweep_override()]


def describe(grid: dict[str, Record], objective: Objective, wall: float) -> float:
    """Print what the grid found; its best value, as a score."""
    good = {record.label: score(record, objective) for record in grid.values() if score(record, objective) > 0}
    best = max(good, key=lambda label: good[label])
    states = {status: sum(record.status is status for record in grid.values()) for status in Status}
    shown = ", ".join(f"{count} {status.value}" for status, count in states.items() if count)
    print(f"grid: {len(grid)} declared ({shown}), {wall:.0f} s; best {best} with {objective.metric} ", end="")
    print(f"{next(r for r in grid.values() if r.label == best).number(objective.metric):.6g}")
    close = sum(value >= CLOSE * good[best] for value in good.values())
    print(f"      {close} of {len(good)} acceptable trials are within {1 - CLOSE:.0%} of the best", flush=True)
    return good[best]


def score(record: Record, objective: Objective) -> float:
    """Larger is better; 0 for what is not acceptable."""
    value = record.number(objective.metric)
    missed = any(size > 0 for size in search_study.measure_overshoots(record, objective).values())
    if record.status is not Status.OK or value is None or value <= 0 or missed:
        return 0.0
    return value if objective.maximize else 1 / value


def replay(overrides: list[str], grid: dict[str, Record], sampler: str, seed: int, scratch: Path) -> Replay:
    """One search over the whole space, answered by the grid."""
    folder = scratch / f"{sampler}-{seed}"
    folder.mkdir()
    composer = Composer(compose.make_loader())
    made = Replay(composer, grid, folder)
    lines = [*overrides, f"outputs={folder}", f"search.budget={len(grid)} trials", f"search.sampler={sampler}"]
    search.run([*lines, f"seed={seed}"], composer, made)
    return made


def costs(asked: Sequence[str], grid: dict[str, Record]) -> Iterator[float]:
    """Seconds spent up to and with each trial: its workers, and its builds where no earlier trial has paid for them."""
    paid: set[str] = set()
    spent = 0.0
    for key in asked:
        record = grid[key]
        new = {str(build["key"]): float(build["seconds"]) for build in record.builds if build["key"] not in paid}
        paid |= set(new)
        spent += record.seconds + sum(new.values())
        yield spent


def report(
    sampler: str, replays: Sequence[Replay], grid: dict[str, Record], objective: Objective, best: float, budget: int
) -> None:
    """One paragraph over all seeds: when the best so far came close, what had been asked that cannot run."""
    *_, whole = costs([key for key, record in grid.items() if record.status not in REFUSED], grid)
    trials, shares, within = [], [], []
    for each in replays:
        scores = [score(grid[key], objective) for key in each.asked]
        hit = next(number for number, value in enumerate(scores, 1) if value >= CLOSE * best)
        trials.append(hit)
        shares.append(list(costs(each.asked[:hit], grid))[-1] / whole)
        within.append(max(scores[:budget]) / best)
    invalid = sum(grid[key].status in REFUSED for each in replays for key in each.asked)
    total = sum(len(each.asked) for each in replays)
    print(f"{sampler}: {len(replays)} searches replayed")
    print(f"      within {1 - CLOSE:.0%} of the best after {spread(trials, '.0f')} trials,", end="")
    print(f" {spread([100 * share for share in shares], '.0f')} % of the grid's time")
    reached = sum(value >= CLOSE for value in within)
    print(f"      after {budget} trials: {100 * statistics.median(within):.1f} % of the best [least", end="")
    print(f" {100 * min(within):.1f} %], {reached} of {len(within)} within {1 - CLOSE:.0%}")
    print(f"      asked that cannot run: {invalid} of {total}", flush=True)


REFUSED = (Status.INVALID, Status.UNAVAILABLE)


def spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):{form}} [{min(values):{form}} to {max(values):{form}}]"


def real(
    overrides: list[str],
    grid: dict[str, Record],
    objective: Objective,
    best: float,
    wall: float,
    budget: int,
    scratch: Path,
) -> None:
    """One search for real, judged by what the grid measured."""
    begin = time.monotonic()
    lines = [*overrides, "hydra/sweeper=optuna", f"search.budget={budget} trials"]
    records = ledger.History(launch(lines, scratch / "search")).records
    seconds = time.monotonic() - begin
    chosen = max(records.values(), key=lambda record: score(record, objective))
    refused = sum(record.status in REFUSED for record in records.values())
    print(
        f"real: {len(records)} trials in {seconds:.0f} s ({100 * seconds / wall:.0f} % of the grid's {wall:.0f} s),",
        end="",
    )
    print(
        f" chose {chosen.label}, {100 * score(grid[chosen.key], objective) / best:.1f} % of the best by the grid's",
        end="",
    )
    print(f" own measurement; asked that cannot run: {refused}")


if __name__ == "__main__":
    main()

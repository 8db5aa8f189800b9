"""`best` on 1,000 stored trials: seconds of the whole process, and of each part inside one.

python -m tests.benchmarks.whatif [--trials 1000] [--runs 5]

The sweep is made up: five repeats a trial, four hosts with prices, every trial with samples of 600 requests a repeat on
disk, because limits on latency are judged by them. Beside it the start of the interpreter with the program's imports
(`trials --help`), which every verb takes. What is told is also compared with a plain reckoning over the same numbers.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from sweep.spec import Record, Trial
from sweep.store import ledger, query
from sweep.verdict.whatif import answers, flips
from tests.support.priced_sweeps import NAME, Line, random_lines, record_of, sheet, trial_of
from tests.support.records import make_settings
from tests.verdict.whatif.test_answers import CHEAP, first_prices

QUESTIONS = {
    "as it was": [],
    "another limit": ["objective.latency_ms_p99_max=20"],
    "another price": ["price.small=0.31"],
    "another load": ["fleet.items_per_s=100000"],
    "another objective": ["objective=max_throughput"],
}


def made(outputs: Path, count: int) -> tuple[list[Line], Any, list[Trial]]:
    """The sweep on disk, as a real one would lie there."""
    lines, rows = random_lines(np.random.default_rng(0), count, noise=0.01)
    trials = [trial_of(place, line, rows) for place, line in enumerate(lines)]
    features = [f"feature_{n}" for n in range(40)]  # what `hardware=local` writes into every trial
    trials = [replace(trial, hardware={**trial.hardware, "features": features}) for trial in trials]
    folder = outputs / "sweeps" / NAME
    book = ledger.Ledger(folder)
    random = np.random.default_rng(1)
    with book.together():
        settings = make_settings(outputs, objective=CHEAP)
        book.append("sweep", id=NAME, settings=settings, command="python -m sweep", version="0")
        for trial in trials:
            book.append("trial", trial=trial)
        for trial, line in zip(trials, lines, strict=True):
            record = _with_samples(
                record_of(trial, line, next((u for _, u in rows[line.hardware]), None)), folder, random
            )
            for repeat in record.repeats:
                book.append("repeat", identity=trial.key, measurement=repeat)
            book.append("record", record=record)
        book.append("finish", verdict=None, interrupted=False)
    book.close()
    return lines, rows, trials


def _with_samples(record: Record, folder: Path, random: np.random.Generator) -> Record:
    median = (record.metrics or {})["latency_ms_p50"]
    repeats = []
    for repeat in record.repeats:
        path = folder / "repeats" / f"{record.key[:8]}-{repeat.index}" / "samples.npz"
        path.parent.mkdir(parents=True)
        start = np.arange(600, dtype=np.int64) * 10**9
        taken = median * random.lognormal(0.0, 0.3, 600)
        np.savez(path, start_ns=start, end_ns=start + (taken * 1e6).astype(np.int64))
        repeats.append(replace(repeat, samples=str(path)))
    return replace(record, repeats=tuple(repeats))


def process(words: list[str]) -> tuple[float, float]:
    """Seconds on the wall, and of CPU, which other programs disturb less."""
    begin = time.perf_counter()
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # as installed
    done = subprocess.Popen([sys.executable, "-m", "sweep", *words], stdout=subprocess.DEVNULL, env=env)
    _, status, usage = os.wait4(done.pid, 0)
    done.returncode = os.waitstatus_to_exitcode(status)
    assert done.returncode == 0, words
    return time.perf_counter() - begin, usage.ru_utime + usage.ru_stime


def shown(name: str, values: list[float]) -> None:
    print(f"{name:<34} {statistics.median(values):6.3f} s [{min(values):.3f}, {max(values):.3f}]", flush=True)


def both(name: str, runs: list[tuple[float, float]]) -> None:
    shown(name, [wall for wall, _ in runs])
    shown("    of CPU", [cpu for _, cpu in runs])


def timed(runs: int, work: Callable[[], Any]) -> tuple[list[float], Any]:
    seconds, last = [], None
    for _ in range(runs):
        begin = time.perf_counter()
        last = work()
        seconds.append(time.perf_counter() - begin)
    return seconds, last


def parts(outputs: Path, runs: int) -> answers.View:
    """Inside one process."""
    seconds, history = timed(runs, lambda: query.history(outputs, NAME))
    shown("  reading the ledger", seconds)
    found = [query.Stored(history, record) for record in query.records(history)]
    question = answers.Question(CHEAP)
    seconds, view = timed(runs, lambda: _asked(found, question))
    shown("  costs and verdict", seconds)
    seconds, _ = timed(runs, lambda: flips.find_flips(view))
    shown("  what would change it, confirmed", seconds)
    return view  # type: ignore[no-any-return]  # of a lambda


def _asked(found: list[query.Stored], question: answers.Question) -> answers.View:
    view = answers.View(found, question)
    view.answer()
    return view


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        outputs = Path(name)
        lines, rows, trials = made(outputs, asked.trials)
        size = (outputs / "sweeps" / NAME / ledger.LEDGER).stat().st_size
        print(f"{asked.trials:,} trials, ledger of {size / 2**20:.1f} MB")
        process(["trials", "--help"])  # byte code is compiled
        both("start alone (trials --help)", [process(["trials", "--help"]) for _ in range(asked.runs)])
        for what, words in QUESTIONS.items():
            both(f"best, {what}", [process(["best", *words, "--outputs", name]) for _ in range(asked.runs)])
        view = parts(outputs, asked.runs)
        expected = sheet(lines, first_prices(rows))
        assert [record.key for record in view.feasible] == [trials[place].key for place in expected]
        edges = [(steps.what, len(steps.at), steps.unconfirmed) for steps in flips.find_flips(view)]
        print("the ranking is that of a plain reckoning; (what, flips confirmed, not confirmed):", edges)


if __name__ == "__main__":
    main()

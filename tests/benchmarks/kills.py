"""Kill -9 of a whole sweep at random moments, resume, and count what was lost, doubled or half read.

    python tests/benchmarks/kills.py [--kills 30] [--seed 0]

A sweep of 6 trials x 3 repeats of the tiny model is killed (its whole process group) after a random time, resumed,
killed again, and so on; when one comes through, the next begins, until there were enough kills.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from sweep.spec import Status
from sweep.store import ledger

TRIALS, REPEATS = 6, 3
SWEEP = ["model=tiny", "backend=fake", "batch=1,2,3", "cores=1,2", "effort=quick", "effort.window_seconds=0.15"]
SWEEP += ["effort.warmup_seconds=0.02", "effort.min_requests=5", "backend.options.build_seconds=0.3", "tracking=none"]


def run_for(arguments: list[str], seconds: float) -> int | None:
    """Start a sweep and kill its process group after `seconds`; its exit status if it ended before."""
    line = [sys.executable, "-m", "sweep", *arguments]
    process = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def repeats(outputs: Path) -> list[tuple[str, int]]:
    found = [e for folder in ledger.sweeps(outputs) for e in ledger.entries(folder) if e["kind"] == "repeat"]
    return [(entry["trial"], entry["measurement"]["index"]) for entry in found]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    source = random.Random(options.seed)
    kills = lost = doubled = half = sweeps = torn = 0
    while kills < options.kills:
        with tempfile.TemporaryDirectory() as folder:
            outputs = Path(folder)
            status = run_for([*SWEEP, f"outputs={outputs}"], source.uniform(0.5, 8.0))
            while status is None:
                kills += 1
                before = repeats(outputs)
                arguments = ["resume", "last", "--outputs", str(outputs)]
                if not ledger.sweeps(outputs):  # killed before there was anything to resume
                    arguments = [*SWEEP, f"outputs={outputs}"]
                else:
                    torn += ledger.History(ledger.find(outputs, "last")).torn
                more = source.uniform(0.5, 8.0) if kills < options.kills else 300.0
                status = run_for(arguments, more)
                lost += len(set(before) - set(repeats(outputs)))
            assert status == 0, status
            sweeps += 1
            history = ledger.History(ledger.find(outputs, "last"))
            count = Counter(repeats(outputs))
            doubled += sum(number - 1 for number in count.values())
            lost += TRIALS * REPEATS - len(count)
            half += history.torn + sum(len(record.repeats) != REPEATS for record in history.records.values())
            assert len(history.records) == TRIALS
            assert {record.status for record in history.records.values()} == {Status.OK}
        print(
            f"{kills} kills in {sweeps} sweeps: lost {lost}, doubled {doubled}, half read {half}"
            f" (torn lines dropped: {torn})",
            flush=True,
        )


if __name__ == "__main__":
    main()

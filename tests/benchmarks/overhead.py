"""Wall time of a whole sweep over what nobody can avoid: distinct builds, load, warm-up and the measured windows.

    python tests/benchmarks/overhead.py [--runs 3] [overrides ...]

By default 4 trials of efficientnet_lite0 with eager torch at effort=normal. Run it with nothing else on the machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep.spec import Measurement, from_json
from sweep.store import ledger

DEFAULT = ["model=efficientnet_lite0", "backend=torch", "batch=1,4", "cores=1,2", "effort=normal"]


def unavoidable(history: ledger.History) -> float:
    """Seconds: builds one after the other as they were, and every repeat's load, first request, warm-up and window."""
    total = 0.0
    for entry in ledger.entries(history.folder):
        if entry["kind"] == "build":
            total += entry["seconds"]
        elif entry["kind"] == "repeat":
            repeat = from_json(Measurement, entry["measurement"])
            total += repeat.load_seconds + repeat.first_request_ms / 1e3
            total += repeat.warmup["seconds"] + repeat.window_seconds
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("overrides", nargs="*", default=DEFAULT)
    options = parser.parse_args()
    ratios, added = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.runs):
            outputs = Path(folder) / str(number)
            line = [sys.executable, "-m", "sweep", *options.overrides, f"outputs={outputs}"]
            begin = time.perf_counter()
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            wall = time.perf_counter() - begin
            history = ledger.History(ledger.find(outputs, "last"))
            work = unavoidable(history)
            ratios.append(wall / work)
            added.append((wall - work) / len(history.records))
            print(f"run {number}: {wall:.1f} s wall, {work:.1f} s unavoidable, ratio {wall / work:.3f}", flush=True)
    print(f"ratio median {statistics.median(ratios):.3f} [{min(ratios):.3f}, {max(ratios):.3f}]")
    print(f"added s a trial median {statistics.median(added):.2f} [{min(added):.2f}, {max(added):.2f}]")


if __name__ == "__main__":
    main()

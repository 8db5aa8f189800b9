"""What a fresh worker costs: `python tests/benchmarks/worker_cost.py [N]`.

The first worker of a server pays for its imports; each later one is two forks. Printed beside what starting the same
interpreter with the same imports costs every time.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from sweep.isolate.pool import Limits, Workers  # noqa: E402  # found on the path since the line above

SETS: tuple[tuple[str, ...], ...] = ((), ("numpy",), ("numpy", "onnxruntime"), ("numpy", "torch"))


def main(count: int) -> None:
    print(f"{'preloaded':20} {'first':>8} {'median':>8} {'p90':>8} {'cold start':>11}   (ms, {count} workers each)")
    with tempfile.TemporaryDirectory() as folder, Workers() as workers:
        for modules in SETS:
            times = [_worker(workers, Path(folder), modules) for _ in range(count + 1)]
            later = sorted(times[1:])
            row = (times[0], statistics.median(later), later[int(0.9 * (count - 1))], _cold(modules))
            print(f"{' '.join(modules) or '-':20} " + " ".join(f"{1000 * value:8.1f}" for value in row))
        _asleep(workers, Path(folder))


def _worker(workers: Workers, folder: Path, modules: tuple[str, ...]) -> float:
    begun = time.perf_counter()
    outcome = workers.run(
        {"entry": "tests.support.worker_entries:echo"}, folder / "task", limits=Limits(60.0), preload=modules
    )
    assert outcome.failure is None, outcome.failure
    return time.perf_counter() - begun


def _cold(modules: tuple[str, ...]) -> float:
    code = "import json, " + ", ".join(modules) if modules else "import json"
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def _asleep(workers: Workers, folder: Path) -> None:
    begun, cpu = time.perf_counter(), time.process_time()
    workers.run({"entry": "tests.support.worker_entries:sleep", "seconds": 2.0}, folder / "sleep", limits=Limits(60.0))
    share = (time.process_time() - cpu) / (time.perf_counter() - begun)
    print(f"CPU of the parent while a worker runs for 2 s: {100 * share:.2f} % of the wall time")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 30)

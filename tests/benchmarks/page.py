"""The page of a large sweep: seconds to write it, its size, seconds until Chromium shows it, what the console says.

python tests/benchmarks/page.py [--trials 1000] [--runs 3] [--keep FOLDER]
"""

import argparse
import gzip
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from sweep.report import page  # run as a script, the project's folder is not on the path
from sweep.report.page import gather
from sweep.store.layout import SweepFolder
from tests.support import browser
from tests.support.page_sweeps import latencies, stored
from tests.support.stored_sweeps import Member

BACKENDS = ("onnxruntime", "openvino", "torch", "inductor")
ENDINGS = {
    7: {"status": "build_failed", "more": {"reason": "unsupported operator: grid_sampler"}},
    11: {"status": "run_failed", "more": {"reason": "no answer for 60 s"}},
    13: {"status": "invalid", "more": {"reason": "16 cores asked for, this machine has 8"}},
}


def members(trials: int) -> list[Member]:
    """Backends x precisions x cores x as many batch sizes as it takes; a fifth of them end without numbers."""
    found: list[Member] = []
    for place in range(trials):
        rest, backend = divmod(place, len(BACKENDS))
        rest, precision = divmod(rest, 2)
        batch, cores = divmod(rest, 4)
        axes = {"backend": BACKENDS[backend], "precision": ("fp32", "int8")[precision]}
        axes |= {"batch": batch + 1, "cores": 2**cores}
        ending = next((how for step, how in ENDINGS.items() if place % step == step - 1), None)
        measured = {"latencies_ms": latencies(place, 0.2 + 0.01 * place), "more": {"repeats": 3}}
        found.append(Member(axes, **(ending or measured)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="where the page goes, to look at it")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as outputs:
        folder = stored(Path(outputs), members(given.trials))
        path = SweepFolder(folder).page
        seconds, reading = [], []
        for _ in range(given.runs):
            begin = time.perf_counter()
            told = gather.read(folder)
            reading.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            page.write(folder)
            seconds.append(time.perf_counter() - begin)
        size = path.stat().st_size / 1e6
        packed = len(gzip.compress(path.read_bytes())) / 1e6
        print(f"{len(told.records):,} trials, {len(told.times.repeats):,} repeats")
        print(f"write   {min(seconds):.2f} to {max(seconds):.2f} s, of which reading {min(reading):.2f} s")
        print(f"size    {size:.2f} MB, {packed:.2f} MB packed")
        if browser.CHROMIUM:
            begin = time.perf_counter()
            seen = browser.load(path)
            print(
                f"browser {time.perf_counter() - begin:.1f} s to start, show and end; {len(seen.console)} console lines"
            )
            print("\n".join(seen.console))
        if given.keep:
            given.keep.mkdir(parents=True, exist_ok=True)
            SweepFolder(given.keep).page.write_bytes(path.read_bytes())


if __name__ == "__main__":
    main()

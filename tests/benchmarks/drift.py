"""Drift of the machine: false alarms on quiet sweeps, what is found of a slow-down, and what it does to a ranking.

    python tests/benchmarks/drift.py [--sweeps 1000] [--real 20]

Simulated sweeps of several shapes under several laws of noise; then real ones of the fake backend, quiet and slowed
down by 10 % in the middle.
"""

import argparse
import contextlib
import io
import json
import random as plain
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sweep.__main__ import run
from sweep.hardware import telemetry
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.noise.drift import compute_levels, find
from sweep.verdict.stats.intervals import wilson
from tests.support.machine_laws import LAWS, Law, ranking, simulated, slowed, speed

SHAPES = ((4, 3), (8, 3), (8, 5), (20, 5), (8, 10))
REAL = ["model=tiny", "backend=fake", "tracking=none", "effort=quick", "effort.repeats=5", "effort.window_seconds=0.2"]
REAL += [
    "effort.warmup_seconds=0.02",
    "effort.warmup_seconds_max=0.3",
    "effort.min_requests=5",
    "backend.options.busy=true",
    "gates.little_tolerance=1.0",
]
LATENCIES = (3.0, 3.15, 3.3, 3.5, 3.7, 3.9)


def rate(hits: int, count: int) -> str:
    low, high = wilson(hits, count)[1:]
    return f"{100 * hits / count:5.1f} % [{100 * (low or 0):.1f}, {100 * (high or 0):.1f}]"


def quiet(law: Law, shape: tuple[int, int], sweeps: int) -> str:
    random = np.random.default_rng(0)
    alarms = 0
    for seed in range(sweeps):
        alarms += bool(find(simulated(random, law, *shape, spreads=True), seed=seed).findings)
    return rate(alarms, sweeps)


def disturbed(law: Law, shape: tuple[int, int], sweeps: int, lasts: float) -> str:
    """A slow-down of 10 % that begins anywhere in the middle third, or earlier where it does not stay."""
    random = np.random.default_rng(1)
    block = ranked = plainly = covered = found_some = 0
    for seed in range(sweeps):
        begin = random.uniform(1 / 3, 2 / 3) if lasts == 1.0 else random.uniform(0.2, 0.8 - lasts)
        points = simulated(random, law, *shape, speeds=speed(begin, begin + lasts))
        done = np.arange(len(points)) / len(points)
        slow = (done >= begin) & (done < begin + lasts)
        first = int(np.argmax(slow))
        drift = find(points, seed=seed)
        shifts = [each for each in drift.findings if each.kind == "shift"]
        block += any(each.block == points[first].block for each in shifts)
        found_some += bool(drift.findings)
        covered += bool(shifts) and shifts[0].low <= 1 / 1.1 <= shifts[0].high
        truth = ranking(points, list(np.where(slow, 1 / 1.1, 1.0)))  # what the same noise gives without the slow-down
        ranked += ranking(points, compute_levels(drift, points)) == truth
        plainly += ranking(points, [1.0] * len(points)) == truth
    texts = (rate(n, sweeps) for n in (found_some, block, ranked, plainly))
    return "  ".join(texts) + f"  interval holds it {100 * covered / max(1, found_some):.0f} %"


def real(after: int | None, where: Path) -> tuple[list[dict[str, float]], list[str], int]:
    """Findings of one real sweep, its ranking by latency_ms, and the block of measurement number `after`."""
    mark = where / f"slow-{after}"
    asked = [f"outputs={where}", f"backend.options.latency_ms={','.join(map(str, LATENCIES))}"]
    asked += [f"+backend.options.slow={{file: {mark}, factor: 1.1}}", f"seed={after or 0}"]
    with contextlib.redirect_stdout(io.StringIO()), slowed(mark, after or 10**9):
        status = run([*REAL, *asked])
    assert status == 0
    history = ledger.History(ledger.find(where, "last"))
    found = json.loads(SweepFolder(history.folder).drift.read_text())
    assert history.verdict is not None
    order = [str(history.records[key].settings["latency_ms"]) for key in history.verdict["ranking"]]
    return found["findings"], order, (after or 0) // len(LATENCIES)


def real_sweeps(count: int) -> None:
    source = plain.Random(0)
    best = [str(latency) for latency in LATENCIES]
    alarms = kept = block = kept_slow = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            findings, order, _ = real(None, Path(folder) / f"quiet-{number}")
            alarms, kept = alarms + bool(findings), kept + (order == best)
            findings, order, at = real(source.randint(10, 19), Path(folder) / f"slow-{number}")
            block += any(each["kind"] == "shift" and each["block"] == at for each in findings)
            kept_slow += order == best
            print(f"  {number + 1} of {count}: {[(f['block'], round(f['ratio'], 3)) for f in findings]}", flush=True)
    print(f"real, quiet:  false alarms {rate(alarms, count)}, true ranking {rate(kept, count)}")
    print(f"real, slowed: right block  {rate(block, count)}, true ranking {rate(kept_slow, count)}")


def cost() -> None:
    looks: Callable[[], object] = telemetry.look
    begun = time.perf_counter()
    for _ in range(200):
        looks()
    print(f"one look at the machine: {(time.perf_counter() - begun) / 200 * 1e3:.2f} ms")
    for trials, repeats in ((8, 5), (40, 5), (200, 5), (1000, 5)):
        points = simulated(np.random.default_rng(0), LAWS["log-normal"], trials, repeats)
        begun = time.perf_counter()
        find(points)
        print(f"find, {trials} trials x {repeats} repeats: {time.perf_counter() - begun:.2f} s")


def simulations(sweeps: int) -> None:
    print(f"\nfalse alarms, {sweeps} quiet sweeps each [95 %]")
    for name, law in LAWS.items():
        for shape in SHAPES:
            print(f"  {name:20} {shape[0]:3} trials x {shape[1]:2} {quiet(law, shape, sweeps)}", flush=True)
    for title, lasts in (("from the middle on", 1.0), ("for a third of the sweep", 1 / 3)):
        print(f"\n10 % slower {title}: found, right block, ranking as without it, the same without levels")
        for name, law in LAWS.items():
            for shape in SHAPES:
                found = disturbed(law, shape, sweeps // 2, lasts)
                print(f"  {name:20} {shape[0]:3} trials x {shape[1]:2} {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated, of each kind; 0: none")
    parser.add_argument("--real", type=int, default=0, help="pairs of real sweeps, about 15 s each")
    options = parser.parse_args()
    if options.sweeps:
        cost()
        simulations(options.sweeps)
    if options.real:
        real_sweeps(options.real)


if __name__ == "__main__":
    main()

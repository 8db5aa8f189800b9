"""How often the verdict is wrong, and how often it is right, beside "the largest mean wins" on the same data.

    python -m tests.benchmarks.verdicts [--runs 1000] [--grid SWEEP_FOLDER ...] [--real 40]

1. A/A: equal trials on laws of noise (`tests.support.rates`), so that any winner is a false one; with `--real N` also N
   sweeps of one trial four times over on this machine.
2. Power: one trial is better than the others by twice the margin.
3. Grids whose truth is known: made ones of 40 trials, and with `--grid` finished sweeps, whose mean over all their
   repeats is taken for the truth and whose blocks are drawn again. Right is a choice within the margin of the best.

Every share comes with its 95 % interval (Wilson).
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from sweep.spec import Status
from sweep.store import ledger, query
from sweep.verdict import race, select
from sweep.verdict.stats.intervals import wilson
from tests.support.rates import LAWS, RACE, THROUGHPUT, records_of, run_race

BETTER = 2 * THROUGHPUT.margin
# Settings that change nothing with fp32 on one core.
COPIES = ["backend.options.int8_convolutions=true,false", "backend.options.allow_spinning=true,false"]
REAL = ["model=digits", "backend=onnxruntime", "batch=1", "cores=1", "effort=quick", "tracking=none"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--grid", type=Path, nargs="*", default=[], help="folders of finished sweeps")
    parser.add_argument("--real", type=int, default=0, metavar="N", help="sweeps of duplicates to run here")
    asked = parser.parse_args()
    equal_trials(asked.runs)
    power(asked.runs)
    made_grids(max(20, asked.runs // 10))
    for folder in asked.grid:
        recorded_grid(folder, asked.runs)
    if asked.real:
        real(asked.real)


def share(hits: int, n: int) -> str:
    found = wilson(hits, n)
    return f"{100 * found.estimate:5.1f} % [{100 * (found.low or 0):.1f}, {100 * (found.high or 1):.1f}]"


def verdicts(law: str, medians: np.ndarray, repeats: int, spread: float, runs: int) -> Iterator[select.Verdict]:
    random = np.random.default_rng(repeats)
    for _ in range(runs):
        rates = medians[:, None] * LAWS[law](random, len(medians), repeats, spread)
        yield select.choose(records_of(rates), THROUGHPUT)


def races(law: str, medians: np.ndarray, spread: float, runs: int) -> Iterator[tuple[select.Verdict, dict[str, int]]]:
    random, most = np.random.default_rng(1), RACE.repeats_max or 0
    for _ in range(runs):
        yield run_race(medians[:, None] * LAWS[law](random, len(medians), most, spread))


def equal_trials(runs: int) -> None:
    print("1. Equal trials: false winners (at most 5 % promised; the largest mean names one in 100 %)")
    LAWS["AR(1) in each trial (not promised)"] = _each_autocorrelated
    for law in LAWS:
        for trials in (2, 8):
            medians, told = np.full(trials, 1000.0), []
            for repeats in (3, 5, 10):
                won = sum(v.kind == "winner" for v in verdicts(law, medians, repeats, 0.03, runs))
                told.append(f"{repeats} repeats {share(won, runs)}")
            few = max(20, runs // 5)
            raced = [found for found, _ in races(law, medians, 0.03, few)]
            told.append(f"until_decided {share(sum(v.kind == 'winner' for v in raced), few)}")
            print(f"   {law:<34} {trials} trials: {'; '.join(told)}", flush=True)
    del LAWS["AR(1) in each trial (not promised)"]


def _each_autocorrelated(random: np.random.Generator, trials: int, repeats: int, spread: float) -> np.ndarray:
    """What randomised blocks cannot take out: a trial that remembers its own last repeat, by 0.3."""
    state, rows = random.standard_normal(trials), []
    for _ in range(repeats):
        state = 0.3 * state + np.sqrt(1 - 0.3**2) * random.standard_normal(trials)
        rows.append(state)
    return np.exp(spread * np.array(rows).T)


def power(runs: int) -> None:
    print(f"2. One of four trials is better by {100 * BETTER:.0f} %, twice the margin: it is named the winner")
    medians = np.array([1000.0 * (1 + BETTER), 1000.0, 1000.0, 1000.0])
    for spread in (0.005, 0.01, 0.02):
        told = []
        for repeats in (3, 5, 10):
            found = sum(
                v.winner == "t00" and v.kind == "winner" for v in verdicts("log-normal", medians, repeats, spread, runs)
            )
            told.append(f"{repeats} repeats {share(found, runs)}")
        few = max(20, runs // 5)
        raced = list(races("log-normal", medians, spread, few))
        found = sum(v.winner == "t00" and v.kind == "winner" for v, _ in raced)
        mean = np.mean([max(taken.values()) for _, taken in raced])
        told.append(f"until_decided {share(found, few)} with {mean:.1f} repeats of the leader on average")
        print(f"   noise {100 * spread:.1f} %: {'; '.join(told)}", flush=True)


def made_grids(runs: int) -> None:
    print("3. Made grids of 40 trials (a backend, a batch and a core factor each, some near the best): right choices")
    random = np.random.default_rng(5)
    for law in LAWS:
        for spread in (0.01, 0.03):
            grids = [grid_of(random) for _ in range(runs)]
            drawn = [medians[:, None] * LAWS[law](random, 40, RACE.repeats_max or 0, spread) for medians in grids]
            compare(f"   {law}, noise {100 * spread:.0f} %", grids, drawn)


def grid_of(random: np.random.Generator) -> np.ndarray:
    """True rates of 5 backends x 4 batches x 2 core counts."""
    factors = [random.lognormal(0.0, sigma, size) for sigma, size in ((0.06, 5), (0.05, 4), (0.05, 2))]
    rates = 1000.0 * factors[0][:, None, None] * factors[1][None, :, None] * factors[2][None, None, :]
    return np.asarray((rates * random.lognormal(0.0, 0.02, rates.shape)).ravel())


def compare(name: str, truths: Sequence[np.ndarray], drawn: Sequence[np.ndarray]) -> None:
    """Print how often each way to choose is right. `drawn`: rates of shape (trials, most repeats) each."""
    most = min(rates.shape[1] for rates in drawn)
    few = [n for n in (3, 5, 10) if n <= most]
    ways: dict[str, Callable[[np.ndarray], tuple[int | None, int]]] = {}
    for n in few:
        ways[f"largest mean of {n}"] = lambda rates, n=n: (int(rates[:, :n].mean(axis=1).argmax()), rates[:, :n].size)
        ways[f"verdict of {n}"] = lambda rates, n=n: (_chosen(_verdict(rates[:, :n])), rates[:, :n].size)
    if most >= (RACE.repeats_max or 0):
        ways["until_decided"] = _raced
    for way, choose in ways.items():
        found = [choose(rates) for rates in drawn]
        good = [t >= t.max() / (1 + THROUGHPUT.margin) for t in truths]
        named = [(fine[choice]) for (choice, _), fine in zip(found, good, strict=True) if choice is not None]
        right = share(sum(named), len(named)) if named else "none named"
        open_ones = f", {100 * (1 - len(named) / len(found)):.0f} % undecided" if len(named) < len(found) else ""
        print(f"{name}: {way:<18} right {right}{open_ones}, {np.mean([n for _, n in found]):.0f} repeats", flush=True)


def _verdict(rates: np.ndarray) -> select.Verdict:
    return select.choose(records_of(rates), THROUGHPUT)


def _chosen(verdict: select.Verdict) -> int | None:
    return None if verdict.winner is None else int(verdict.winner[1:])


def _raced(rates: np.ndarray) -> tuple[int | None, int]:
    verdict, taken = run_race(rates)
    return _chosen(verdict), sum(taken.values())


def recorded_grid(folder: Path, runs: int) -> None:
    """Blocks of a finished sweep, drawn with replacement: noise as it was, with all that trials of a block share."""
    records = [r for r in query.records(ledger.History(folder)) if r.status is Status.OK and r.origin == "measured"]
    values = [race.repeat_values(r, THROUGHPUT.metric) for r in records]
    blocks = sorted(set.intersection(*(set(v) for v in values if isinstance(v, dict))))
    rates = np.array([[v[b] for b in blocks] for v in values if isinstance(v, dict)])
    if len(rates) < 2 or len(blocks) < 8:
        print(f"4. {folder.name}: {len(rates)} trials with {len(blocks)} common blocks: too few to draw from")
        return
    print(f"4. {folder.name}: {len(rates)} trials, {len(blocks)} blocks drawn again {runs} times: right choices")
    random = np.random.default_rng(9)
    drawn = [rates[:, random.integers(0, len(blocks), RACE.repeats_max or 0)] for _ in range(runs)]
    compare("   ", [rates.mean(axis=1)] * runs, drawn)


def real(sweeps: int) -> None:
    """One trial four times over, told apart by settings that change nothing with fp32 on one core."""
    print(f"5. {sweeps} sweeps of four equal trials on this machine ({' '.join(REAL)})")
    kinds: list[str] = []
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(sweeps):
            line = [sys.executable, "-m", "sweep", *REAL, *COPIES, f"seed={number}", f"outputs={scratch}"]
            subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
            history = ledger.History(ledger.find(Path(scratch), "last"))
            kinds.append(str((history.verdict or {}).get("kind")))
    counts = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    seconds = time.monotonic() - begun
    print(f"   false winners {share(kinds.count('winner'), sweeps)} ({counts}; {seconds:.0f} s)")


if __name__ == "__main__":
    main()

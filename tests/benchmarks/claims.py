"""How often a claim about a service level is wrongly proved or refuted, on laws of latency with a known p99.

    python -m tests.benchmarks.claims [--seeds 4000] [--sizes 3x500,5x2000,10x5000]

The limit is the law's own p99, to the digit: exactly 1 % of the requests are late, where a wrong answer is likeliest
either way. Two more columns say how often the claim is proved where 0.2 % are late, and refuted where 2.5 % are. Beside
it what an exact binomial bound says that takes all requests for independent, as MLPerf LoadGen's early stopping does,
and what a plain reading of the measured p99 would "prove".

Bursts that are longer than a sample can show (marked *) are the limit of any method: a sample without a burst looks the
same as one of a law that has none. A proof says how many late requests at a time it holds for: n / 459 at most.
"""

import argparse
import time

import numpy as np
from scipy.stats import binomtest

from sweep.verdict import claims
from tests.support import latency_laws as laws

LAWS = [
    laws.log_normal(),
    laws.bimodal(),
    laws.pareto(),
    laws.modulated(0.5),
    laws.modulated(0.9),
    laws.modulated(0.99),
    laws.modulated(0.999),
    laws.queue(0.8),
    laws.bursts(3.0),
    laws.bursts(10.0),
    laws.bursts(50.0),
    laws.bursts(200.0),
]
CONFIDENCE = 0.99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4000)
    parser.add_argument("--sizes", default="3x500,5x2000,10x5000", help="repeats x requests of each")
    options = parser.parse_args()
    titles = ("proved", "refuted", "binomial", "p99 read", "0.2 % late", "2.5 % late", "unit", "ms a claim")
    worst = 0.0
    for size in options.sizes.split(","):
        repeats, n = (int(number) for number in size.split("x"))
        print(f"\n{repeats} repeats of {n:,} requests, {options.seeds:,} seeds: % of claims")
        print(f"{'':28}" + "".join(f"{title:>12}" for title in titles), flush=True)
        for law in LAWS:
            wrong, row = judged(law, repeats, n, options.seeds)
            hidden = law.name.startswith("bursts") and law.bunch / 2 > repeats * n / 459
            print(f"{law.name + (' *' if hidden else ''):28}" + "".join(f"{cell:>12}" for cell in row), flush=True)
            if not hidden:
                worst = max(worst, wrong)
    print(f"\nworst rate of wrong proofs, but for those marked *: {100 * worst:.2f} %")


def judged(law: laws.Law, repeats: int, n: int, seeds: int) -> tuple[float, list[str]]:
    random = np.random.default_rng([repeats, n])
    limits = [law.quantile(q) for q in (0.99, 0.998, 0.975)]
    proved = refuted = binomial = read = easy = hopeless = 0
    units, seconds = [], 0.0
    for _ in range(seeds):
        series = [law.draw(random, n) for _ in range(repeats)]
        begin = time.perf_counter()
        found = claims.judge_latency(series, limits[0], confidence=CONFIDENCE)
        seconds += time.perf_counter() - begin
        proved += found.verdict == "proved"
        refuted += found.verdict == "refuted"
        binomial += claims.share_bounds(found.late, found.n, CONFIDENCE)[1] <= 0.01
        read += float(np.percentile(np.concatenate(series), 99)) <= limits[0]
        easy += claims.judge_latency(series, limits[1], confidence=CONFIDENCE).verdict == "proved"
        hopeless += claims.judge_latency(series, limits[2], confidence=CONFIDENCE).verdict == "refuted"
        units.append(found.n / found.effective_n)
    high = binomtest(proved, seeds).proportion_ci(0.95, "wilson").high
    row = [f"{100 * proved / seeds:.2f} <{100 * high:.2f}", f"{100 * refuted / seeds:.2f}"]
    row += [f"{100 * count / seeds:.1f}" for count in (binomial, read, easy, hopeless)]
    return proved / seeds, [*row, f"{np.median(units):.1f}", f"{1e3 * seconds / seeds:.2f}"]


if __name__ == "__main__":
    main()

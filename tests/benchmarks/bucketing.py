"""Choosing buckets: seconds of `solve` by the number of distinct sizes, without and with limits, one thread.

python tests/benchmarks/bucketing.py [--buckets 8] [--runs 3] [sizes ...]
"""

import argparse
import os
import statistics
import time

os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"))

import numpy as np

from sweep.verdict.buckets.bucketing import solve
from sweep.verdict.buckets.cost import Choice, Curve, Point, powers_of_two, waste
from sweep.verdict.buckets.traffic import Traffic

KINDS: dict[str, dict[str, float]] = {
    "no limit": {},
    "memory": {"memory_mb": 800},
    "build": {"build_seconds": 90},
    "both": {"memory_mb": 1050, "build_seconds": 103},
}


def traffic(sizes: int) -> Traffic:
    """As many distinct sizes, their weights like those of a log-normal with much noise."""
    rng = np.random.default_rng(0)
    at = np.arange(1, sizes + 1)
    shape = np.exp(-(np.log(at / (0.2 * sizes)) ** 2))
    return Traffic.of(at, 1 + rng.integers(0, 1000, sizes) * shape)


def curve(sizes: int) -> Curve:
    """Seconds with a part that grows with the square; memory and build in which a bucket costs much by itself."""
    shares = [(max(1, round(x * sizes)), x) for x in (0, 0.03, 0.1, 0.3, 1)]
    return Curve([Point((s,), 1e-3 + 0.1 * x + 0.05 * x * x, 100 + 100 * x, 10 + 10 * x) for s, x in shares])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--buckets", type=int, default=8)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    options = parser.parse_args()
    for sizes in options.sizes:
        given, cost = traffic(sizes), curve(sizes)
        for kind, limits in KINDS.items():
            taken = []
            choices: tuple[Choice, ...] = ()
            for _ in range(options.runs):
                begin = time.perf_counter()
                choices = solve(given, cost, options.buckets, **limits)
                taken.append(time.perf_counter() - begin)
            best = choices[-1]
            padding = waste(given, powers_of_two((sizes,))[-best.k :])
            print(
                f"{sizes:>7,} sizes, {kind:8}: {statistics.median(taken):.2f} s [{min(taken):.2f}, {max(taken):.2f}], "
                f"{best.k} buckets, {'exact' if best.exact else 'not proven'}, waste {best.waste:.3f} "
                f"(powers of two {padding:.3f})",
                flush=True,
            )


if __name__ == "__main__":
    main()

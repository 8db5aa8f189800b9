"""The open loop in real time against theory, and what a closed loop does not see.

Run it with nothing else on the machine.

    python -m tests.benchmarks.open_loop [--seconds 60] [--service-ms 2] [--servers 1 2]

Theory     A fake model that takes exactly `service-ms`, under random arrivals: M/D/c. Of each percentile: what was
           measured; what the very same arrivals give by recursion when every request takes as long as it did (the
           difference is the generator's own, whoever else had the processor) and when every request takes exactly
           `service-ms`; and what theory gives for ever so many arrivals, with the spread of so many over 200 seeds.
           The share of time that the hypervisor took says whether the last two can be expected.
Stalls     The same model, held up for 1 s every 10 s, measured by a closed loop and by an open one at a tenth of the
           rate that the model can do. Theory: who arrives u seconds after a stall began waits for the rest of it and
           for those before him, 1 - 0.9 u in all.
"""

import argparse
import contextlib
import heapq
import io
import tempfile
from pathlib import Path

import numpy as np

from sweep.__main__ import run
from sweep.spec import Record
from sweep.store import ledger, samples
from sweep.worker.load import arrivals
from tests.support import queueing_theory

PERCENTILES = (50, 90, 95, 99)
BASE = ["model=tiny", "backend=fake", "backend.options.busy=true", "tracking=none", "effort.repeats=1"]
SEEDS = 200
BUSY = 0.1  # of the open loop with stalls


def measure(outputs: Path, service_ms: float, seconds: float, *overrides: str) -> Record:
    options = [f"backend.options.latency_ms={service_ms}", f"effort.window_seconds={seconds}", f"outputs={outputs}"]
    with contextlib.redirect_stdout(io.StringIO()):
        run([*BASE, *options, "effort.warmup_seconds=0.3", *overrides])
    (record,) = ledger.History(ledger.find(outputs, "last")).records.values()
    return record


def percentiles(latency: np.ndarray) -> np.ndarray:
    return np.percentile(latency, PERCENTILES)


def theory(outputs: Path, service_ms: float, seconds: float, servers: int, busy_share: float) -> None:
    """One load: measured, recursion and theory side by side."""
    service, rate = round(service_ms * 1e6), busy_share * servers * 1e3 / service_ms
    load = ["load=poisson", f"load.rate={rate}", "load.max_wait_ms=0", f"replicas={servers}"]
    record = measure(outputs, service_ms, seconds, *load)
    (repeat,) = record.repeats
    seen = percentiles(samples.load_samples(repeat.samples) / 1e6)
    own = percentiles(as_served(repeat.samples, servers) / 1e6)
    same = percentiles(queueing_theory.latencies(arrivals.draw_poisson(rate, seconds, (0, 0)), service, servers) / 1e6)
    spread = [
        percentiles(queueing_theory.latencies(arrivals.draw_poisson(rate, seconds, (1, seed)), service, servers) / 1e6)
        for seed in range(SEEDS)
    ]
    known = queueing_theory.Theory(busy_share, servers)
    load = repeat.load
    assert load is not None
    print(
        f"\nM/D/{servers} at {busy_share:.0%} of {servers * 1e3 / service_ms:g} items/s, {repeat.items} items, "
        f"{record.status.value} {record.reason}; lag p50 {load.lag_ms_p50 * 1e3:.1f} us, p99 "
        f"{load.lag_ms_p99 * 1e3:.1f} us, own share {load.own_share:.2%}, "
        f"hypervisor {repeat.host.steal_share or 0.0:.1%}"
    )
    print("        measured   services as they were    all equal               theory       spread of so many arrivals")
    for place, percentile in enumerate(PERCENTILES):
        exact = known.latency(percentile) * service_ms
        print(
            f"  p{percentile:<3} {seen[place]:9.3f} ms {own[place]:9.3f} ms {seen[place] / own[place] - 1:+7.2%} "
            f"{same[place]:9.3f} ms {seen[place] / same[place] - 1:+7.2%} "
            f"{exact:9.3f} ms {seen[place] / exact - 1:+6.2%}   +-{np.std(spread, axis=0)[place] / exact:.2%}"
        )


def as_served(samples: str, servers: int) -> np.ndarray:
    """Latencies in ns, (items,), of the recorded arrivals where each takes the time that it took, batch 1."""
    with np.load(samples) as file:
        due = np.sort(file["due_ns"].ravel())
        begin, end = file["start_ns"].ravel(), file["end_ns"].ravel()
    taken = (end - begin)[np.argsort(begin, kind="stable")]
    assert len(taken) == len(due), "one item a request"
    free, done = [0] * servers, np.empty_like(due)
    for place, (arrived, needed) in enumerate(zip(due.tolist(), taken.tolist(), strict=True)):
        done[place] = max(arrived, heapq.heappop(free)) + needed
        heapq.heappush(free, int(done[place]))
    return np.asarray(done - due)


def stalls(outputs: Path, service_ms: float, seconds: float) -> None:
    held_up = ["backend.options.stall_ms=1000", "backend.options.stall_every_ms=10000"]
    rate = BUSY * 1e3 / service_ms
    arriving = ["load=poisson", f"load.rate={rate}", "load.max_wait_ms=0"]
    seen = []
    for load in ([], arriving):
        record = measure(outputs, service_ms, seconds, *held_up, *load)
        assert record.repeats, f"{record.status.value} {record.reason}"
        seen.append(samples.load_samples(record.repeats[0].samples) / 1e6)
    print(f"\nstalls of 1 s every 10 s, service {service_ms:g} ms, {seconds:g} s")
    print("          closed loop       open loop          theory")
    for percentile in (*PERCENTILES, 99.9):
        hidden, shown = (float(np.percentile(latency, percentile)) for latency in seen)
        theory_ms = max(service_ms, 1000 * (1 - (1 - BUSY) * 10 * (1 - percentile / 100)))
        print(f"  p{percentile:<5g} {hidden:9.3f} ms {shown:12.3f} ms {theory_ms:12.3f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--service-ms", type=float, default=2.0)
    parser.add_argument("--servers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--busy", type=float, nargs="*", default=[0.5, 0.7, 0.8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for servers in options.servers:
            for busy_share in options.busy:
                theory(Path(folder), options.service_ms, options.seconds, servers, busy_share)
        stalls(Path(folder), options.service_ms, options.seconds)


if __name__ == "__main__":
    main()

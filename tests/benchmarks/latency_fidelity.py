"""Latency that a sweep reports over the latency of the thinnest possible loop on the same model, at 1 and at 2 threads.

    python tests/benchmarks/latency_fidelity.py [--rounds 7]

Each round runs the raw loop and a one-repeat sweep for each thread count, interleaved, in fresh processes. Ratios are
taken within a round, so that drift of the machine cancels. Run it with nothing else on the machine.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sweep import ledger

SECONDS = 3.0
RAW = """
import os, sys, time
threads, seconds = int(sys.argv[1]), float(sys.argv[2])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import torch
from sweep import workloads
from sweep.config import conf_dir
from omegaconf import OmegaConf
torch.set_num_threads(threads)
config = lambda path: {"name": "x", **OmegaConf.to_container(OmegaConf.load(conf_dir() / path))}
model = workloads.load_model(config("model/efficientnet_lite0.yaml"))
data = workloads.load_data(config("data/photographs.yaml"))
inputs = [torch.from_numpy(image[None].copy()) for image in next(iter(data.inputs.values()))]
times = []
with torch.inference_mode():
    end = time.perf_counter() + 1.0
    number = 0
    while time.perf_counter() < end:
        model(inputs[number % len(inputs)]); number += 1
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        begin = time.perf_counter()
        model(inputs[number % len(inputs)]); number += 1
        times.append(time.perf_counter() - begin)
print(sorted(times)[len(times) // 2] * 1e3)
"""


def raw_ms(threads: int) -> float:
    line = [sys.executable, "-c", RAW, str(threads), str(SECONDS)]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()[-1])


def sweep_ms(threads: int, outputs: Path) -> float:
    effort = ["effort.repeats=1", f"effort.window_seconds={SECONDS}", "effort.warmup_seconds=1.0"]
    line = ["model=efficientnet_lite0", "backend=torch", f"cores={threads}", *effort, "tracking=none"]
    subprocess.run([sys.executable, "-m", "sweep", *line, f"outputs={outputs}"], check=True, stdout=subprocess.DEVNULL)
    (record,) = ledger.History(ledger.find(outputs, "last")).records.values()
    return record.repeats[0].latency_ms["p50"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    ratios: dict[int, list[float]] = {1: [], 2: []}
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(rounds):
            raw, ours = {}, {}
            for threads in (1, 2):
                order = [("raw", raw), ("ours", ours)] if number % 2 else [("ours", ours), ("raw", raw)]
                for name, found in order:
                    found[threads] = raw_ms(threads) if name == "raw" else sweep_ms(threads, Path(folder))
                ratios[threads].append(ours[threads] / raw[threads])
            right += (raw[1] > raw[2]) == (ours[1] > ours[2])
            shown = ", ".join(f"{t} thread: raw {raw[t]:.2f} ms, sweep {ours[t]:.2f} ms" for t in (1, 2))
            print(f"round {number}: {shown}", flush=True)
    for threads, values in ratios.items():
        spread = f"[{min(values):.3f}, {max(values):.3f}]"
        print(f"{threads} thread(s): sweep / raw p50 median {statistics.median(values):.3f} {spread}")
    print(f"ranking of 1 against 2 threads as in the raw loop: {right} of {rounds} rounds")


if __name__ == "__main__":
    main()

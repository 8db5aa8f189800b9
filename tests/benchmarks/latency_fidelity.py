"""Latency that a sweep reports over the latency of the thinnest possible loop on the same model, at 1 and at 2 threads.

    python tests/benchmarks/latency_fidelity.py [--rounds 7] [--slices 40]

Two comparisons, both of eager torch on efficientnet_lite0 at batch 1; run them with nothing else on the machine.

same process    the program's timed loop and a bare loop take turns every 12 requests, so that drift of the machine
                cancels: what the loop itself adds.
own processes   a bare script and a one-repeat sweep take turns, each in fresh processes: what everything around the
                loop does. The ratio is that of the medians of each round, as noisy as the machine is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sweep.store import ledger

SECONDS = 2.0
SETTINGS = ["model=efficientnet_lite0", "backend=torch", "tracking=none", "effort.repeats=1"]
SETTINGS += [f"effort.window_seconds={SECONDS}", "effort.warmup_seconds=1.0"]
RAW = """
import os, sys, time
threads, seconds = int(sys.argv[1]), float(sys.argv[2])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import torch
from sweep import workloads
from sweep.config.compose import find_conf_dir
from omegaconf import OmegaConf
torch.set_num_threads(threads)
config = lambda path: {"name": "x", **OmegaConf.to_container(OmegaConf.load(find_conf_dir() / path))}
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
TURNS = """
import json, os, statistics, sys, time
from pathlib import Path
threads, slices = int(sys.argv[2]), int(sys.argv[3])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import torch
from sweep.isolate import procfs as processes
from sweep.worker import requests as sources
from sweep.worker import window as measure
from sweep.spec.requests import MeasureRequest
from sweep.spec import Placement, from_json
request = from_json(MeasureRequest, json.loads(Path(sys.argv[1]).read_text()))
processes.keep_freed_memory()
server = sources.load_server(request, Placement("cpu", tuple(range(threads)), threads))
requests = list(server.form_requests(0.0))
model, tensors = requests[0].runner.call, [entry.inputs[0] for entry in requests]
clock, size = time.perf_counter_ns, 12

def bare():
    times = []
    with torch.inference_mode():
        for tensor in tensors[:size]:
            begin = clock(); model(tensor); times.append(clock() - begin)
    return statistics.median(times)

def ours():
    # A window that is over at once and stretched to so many requests
    window = measure.run_timed_window(requests[:size], clock() - 10**9, 1.0, size, size)
    return statistics.median((window.end_ns - window.start_ns)[:size].tolist())

for _ in range(4):
    bare(); ours()
pairs = [(ours(), bare()) if number % 2 else (bare(), ours())[::-1] for number in range(slices)]
print(json.dumps([mine / its for mine, its in pairs]))
"""


def raw_ms(threads: int) -> float:
    line = [sys.executable, "-c", RAW, str(threads), str(SECONDS)]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()[-1])


def sweep_ms(threads: int, outputs: Path) -> float:
    line = [sys.executable, "-m", "sweep", *SETTINGS, f"cores={threads}", f"outputs={outputs}"]
    subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    (record,) = ledger.History(ledger.find(outputs, "last")).records.values()
    return record.repeats[0].latency_ms["p50"]


def turns(threads: int, slices: int, outputs: Path) -> list[float]:
    """Ratios of the loop's latency to the bare one, one a pair of neighbouring slices in one process."""
    request = next((ledger.find(outputs, "last") / "repeats").glob("*/request.json"))
    line = [sys.executable, "-c", TURNS, str(request), str(threads), str(slices)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return [float(ratio) for ratio in json.loads(done.stdout.splitlines()[-1])]


def show(what: str, ratios: list[float]) -> None:
    low, high = statistics.quantiles(ratios, n=10)[0], statistics.quantiles(ratios, n=10)[-1]
    half = 1.253 * statistics.stdev(ratios) / len(ratios) ** 0.5 * 1.96  # of a median, if ratios are about normal
    print(f"{what}: median {statistics.median(ratios):.3f} +- {half:.3f}, 10 % to 90 %: {low:.3f} to {high:.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slices", type=int, default=40)
    options = parser.parse_args()
    ratios: dict[int, list[float]] = {1: [], 2: []}
    right = 0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.rounds):
            raw, ours = {}, {}
            for threads in (1, 2):
                order = [("raw", raw), ("ours", ours)] if number % 2 else [("ours", ours), ("raw", raw)]
                for name, found in order:
                    found[threads] = raw_ms(threads) if name == "raw" else sweep_ms(threads, Path(folder))
                ratios[threads].append(ours[threads] / raw[threads])
            right += (raw[1] > raw[2]) == (ours[1] > ours[2])
            shown = ", ".join(f"{t} thread: raw {raw[t]:.2f} ms, sweep {ours[t]:.2f} ms" for t in (1, 2))
            print(f"round {number}: {shown}", flush=True)
        for threads in (1, 2):
            show(f"{threads} thread, same process ", turns(threads, options.slices, Path(folder)))
    for threads, values in ratios.items():
        show(f"{threads} thread, own processes", values)
    print(f"ranking of 1 against 2 threads as in the bare loop: {right} of {options.rounds} rounds")


if __name__ == "__main__":
    main()

"""Does a trial measure what a plain Python script gives? Latency of a worker over that of a script on the same model.

    python -m tests.benchmarks.latency_fidelity [--rounds 20] [--models efficientnet,minilm,digits] [--cores 1,2]

Run it with nothing else on the machine: 20 rounds take half an hour. Two comparisons.

own processes   a worker, as a sweep starts it, and a bare script take turns, each in a fresh process, for both settings
                of `process.allocator` (for `keep` the script calls mallopt itself): what everything around the model
                does. Printed are the median ratio of the rounds and its interval, whose ends are values of rounds
                (at least 95 % by the binomial law of ranks); the median has to lie from 0.98 to 1.02.
same process    the timed loop of a worker and a bare loop take turns every 12 requests, so that drift of the machine
                cancels: what the loop itself adds. Eager torch on efficientnet_lite0.
"""

import argparse
import itertools
import json
import math
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sweep import backends
from sweep.engine.context import OURS
from sweep.isolate.pool import Limits, Workers
from sweep.spec import from_json, to_json
from sweep.spec.process import Process
from sweep.spec.requests import MeasureRequest

SECONDS = 2.0
WITHIN = (0.98, 1.02)
EFFORT = ["effort=quick", "effort.repeats=1", f"effort.window_seconds={SECONDS}", "effort.warmup_seconds=1.0"]
MODELS = {
    "efficientnet": ["model=efficientnet_lite0", "backend=torch", "batch=4"],
    "minilm": ["model=minilm", "backend=torch"],
    "digits": ["model=digits", "backend=onnxruntime"],
}
SCRIPT = """
import ctypes, json, os, sys, time
from pathlib import Path
spec = json.loads(sys.argv[1])
os.sched_setaffinity(0, spec["cores"])
if spec["keep"]:
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 32 << 20)
    libc.mallopt(-1, (1 << 31) - 1)
import numpy
data, batch = Path(spec["data"]), spec["batch"]
names = json.loads((data / "data.json").read_text())["inputs"]
arrays = {name: numpy.load(data / "inputs" / (name + ".npy")) for name in names}
count = len(next(iter(arrays.values()))) // batch
batches = [{name: array[n * batch : (n + 1) * batch].copy() for name, array in arrays.items()} for n in range(count)]
if spec["backend"] == "torch":
    import torch
    from sweep import workloads
    torch.set_num_threads(len(spec["cores"]))
    model = workloads.load_model(spec["model"])
    inputs = [tuple(torch.from_numpy(array) for array in batch.values()) for batch in batches]
    def call(tensors):
        with torch.inference_mode():
            return model(*tensors)
else:
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(spec["cores"])
    path = spec["artifact"] + "/model.onnx"
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [entry.name for entry in session.get_inputs()]
    inputs = [dict(zip(names, batch.values())) for batch in batches]
    def call(feed):
        return session.run(None, feed)
times = []
for seconds in (1.0, spec["seconds"]):
    times.clear()
    number, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end or number < 20:
        entry = inputs[number % count]
        begin = time.perf_counter()
        call(entry)
        times.append(time.perf_counter() - begin)
        number += 1
print(sorted(times)[len(times) // 2] * 1e3)
"""
TURNS = """
import json, os, statistics, sys, time
from pathlib import Path
threads, slices = int(sys.argv[2]), int(sys.argv[3])
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
import torch
from sweep.worker import requests as sources
from sweep.worker import window as measure
from sweep.spec.requests import MeasureRequest
from sweep.spec import Placement, from_json
request = from_json(MeasureRequest, json.loads(Path(sys.argv[1]).read_text()))
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


def make_request(model: str, cores: int, outputs: Path) -> MeasureRequest:
    """What a sweep asks a worker for; the sweep is run for it once."""
    line = [sys.executable, "-m", "sweep", *MODELS[model], f"cores={cores}", *EFFORT, "tracking=none", "report=none"]
    subprocess.run([*line, f"outputs={outputs}"], check=True, stdout=subprocess.DEVNULL)
    return from_json(MeasureRequest, json.loads(next(outputs.glob("sweeps/*/repeats/*/request.json")).read_text()))


def run_worker(workers: Workers, request: MeasureRequest, folder: Path) -> float:
    """The median latency in ms that a fresh worker reports."""
    preload = (*backends.get(request.builds[0].spec.backend).preload_run, *OURS)
    cores = request.placements[0].cores
    outcome = workers.run(request, folder, limits=Limits(600.0), preload=preload, cores=cores)
    assert outcome.result is not None, outcome.failure
    return float(outcome.result["latency_ms"]["p50"])


def run_script(request: MeasureRequest) -> float:
    """The median latency in ms of a script that knows nothing of workers."""
    build = request.builds[0]
    spec = {
        "cores": list(request.placements[0].cores),
        "keep": request.process.allocator == "keep",
        "data": request.data_folder,
        "batch": request.batch,
        "backend": build.spec.backend,
        "model": to_json(build.spec.model),
        "artifact": build.folder,
        "seconds": SECONDS,
    }
    line = [sys.executable, "-c", SCRIPT, json.dumps(spec)]
    return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()[-1])


def find_interval(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an interval for the median that holds it in at least 95 % of samples, from the smallest value on.

    Two order statistics: Conover, Practical Nonparametric Statistics, 3rd edition, 3.2. Under 6 values, their range.
    """
    ordered, count = sorted(values), len(values)
    below, cut = 0.0, 0
    while (below := below + math.comb(count, cut) / 2**count) <= 0.025:
        cut += 1
    return ordered[max(0, cut - 1)], ordered[min(count - 1, count - cut)]


def compare(workers: Workers, requests: dict[str, MeasureRequest], rounds: int, folder: Path) -> dict[str, list[float]]:
    """Ratios of worker to script by case, one a round; all cases take turns, and both sides begin in turn."""
    ratios: dict[str, list[float]] = {name: [] for name in requests}
    for number in range(rounds):
        for name, request in requests.items():
            sides = {"worker": 0.0, "script": 0.0}
            for side in sorted(sides, reverse=bool(number % 2)):
                sides[side] = run_script(request) if side == "script" else run_worker(workers, request, folder)
            ratios[name].append(sides["worker"] / sides["script"])
            print(
                f"round {number}, {name}: worker {sides['worker']:.4g} ms, script {sides['script']:.4g} ms", flush=True
            )
    return ratios


def run_turns(request: MeasureRequest, slices: int, folder: Path) -> list[float]:
    """Ratios of the loop's latency to the bare one, one a pair of neighbouring slices in one process."""
    path = folder / "turns.json"
    path.write_text(json.dumps(to_json(request)))
    line = [sys.executable, "-c", TURNS, str(path), str(len(request.placements[0].cores)), str(slices)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return [float(ratio) for ratio in json.loads(done.stdout.splitlines()[-1])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--slices", type=int, default=40)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--cores", default="1,2")
    options = parser.parse_args()
    models, counts = options.models.split(","), [int(cores) for cores in options.cores.split(",")]
    with tempfile.TemporaryDirectory() as name, Workers() as workers:
        folder, requests, turns = Path(name), {}, {}
        for model, cores in itertools.product(models, counts):
            plain = make_request(model, cores, folder / f"{model}-{cores}")
            for allocator in ("default", "keep"):
                process = Process(allocator=allocator)
                requests[f"{model:12}  {cores}  {allocator:9}"] = replace(plain, process=process)
            if model == "efficientnet":
                turns[f"{model:12}  {cores}  same process"] = run_turns(plain, options.slices, folder)
        ratios = compare(workers, requests, options.rounds, folder / "task")
    print(f"\n{'model':12}  cores  allocator   median ratio  interval         {WITHIN[0]} to {WITHIN[1]}")
    for case, values in {**ratios, **turns}.items():
        middle, (low, high) = statistics.median(values), find_interval(values)
        verdict = "yes" if WITHIN[0] <= middle <= WITHIN[1] else "NO"
        print(f"{case:30}  {middle:12.3f}  {low:.3f} to {high:.3f}   {verdict}")


if __name__ == "__main__":
    main()

"""One repeat of one trial: each replica from load to the end of its window, and the result of all together.

Worker side, Python 3.8.
"""

import itertools
import os
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from sweep import files
from sweep.backends.base import Runner
from sweep.spec import FailureKind, Measurement, TrialError
from sweep.spec.facts import CapacityFacts, FreshFacts, ProcessFacts, ReplicaFacts, Timing
from sweep.spec.requests import MeasureRequest
from sweep.worker import arrays as materials
from sweep.worker import by_size, fresh, process, requests, threads
from sweep.worker import window as measuring
from sweep.worker.load import account, clients, generator, probing
from sweep.worker.load import config as load_config
from sweep.worker.load.queue import Shared
from sweep.worker.progress import Progress
from sweep.worker.replicas import Copy
from sweep.worker.resources import check_resources
from sweep.worker.window import Request, Totals, Warm, Window
from sweep.worker.witness import Witness

Arrays = Dict[str, np.ndarray]
OF_REQUESTS = ("start_ns", "end_ns", "items", "bucket", "size", "client")
WARM = 64  # requests that an open load warms up with


def make_shared(request: MeasureRequest) -> Optional[Shared]:
    """Memory that the replicas of a trial share in an open load, else None; made before they are forked."""
    load, buckets = request.load, len(request.builds)
    if load.get("name") == "capacity":
        return Shared(probing.count_cells(load["probes"], buckets))
    return Shared(buckets + 1) if load_config.is_open_loop(load) else None


class _Closed:
    """Clients that wait for their answers."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.arrays: Arrays = {}  # saved beside those of the requests
        self.capacity: Optional[CapacityFacts] = None

    def load(self) -> Sequence[Request]:
        self.server = requests.load_server(self.copy.request, self.copy.placement, self.copy.doing)
        return self.prepare()

    def prepare(self) -> Sequence[Request]:
        request = self.copy.request
        return list(self.server.form_requests(request.share + self.copy.number / max(1, len(request.placements))))

    def drive(self, warm: Warm) -> Window:
        request = self.copy.request
        return clients.run_window(warm, request.effort, load_config.count_clients(request.load))


class _Open(_Closed):
    """Items that arrive by themselves, for all replicas together."""

    def prepare(self) -> Sequence[Request]:
        share = self.copy.request.share
        progress, pieces = Progress(self.copy.task or self.copy.folder), itertools.count(2)
        self.stock = self.server.stock(share, lambda: progress("pieces of the data", next(pieces)))
        return list(itertools.islice(self.server.form_requests(share), WARM))

    def drive(self, warm: Warm) -> Window:
        request, common = self.copy.request, self.copy.shared
        assert common is not None
        how = (warm, self.stock, request.load, request.effort, request.repeat)
        if request.load["name"] == "capacity":
            result, self.capacity = probing.run_search(*how, probing.Team(common, len(request.placements)))
        else:
            result = generator.run_window(*how, common)
        window, self.arrays = result
        return window


def measure_replica(copy: Copy, loaded: Callable[[], None], barrier: Optional[measuring.Barrier]) -> ReplicaFacts:
    """One replica from load to the end of its window; leaves its arrays in the folder."""
    request, placement = copy.request, copy.placement
    if placement.cores and placement.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, placement.cores)
    process.set_up(request.process)
    how = _Open(copy) if load_config.is_open_loop(request.load) else _Closed(copy)

    ready: List[Request] = []
    before = process.observe()

    def load() -> Sequence[Request]:
        ready.extend(how.load())
        process.hold(request.process, placement)
        loaded()
        return ready

    watch = Witness(placement)
    collects = request.process.gc == "default"
    facts, window = measuring.run_replica(load, request.effort, watch.watch(how.drive), barrier, collects)
    check_resources(placement, ready[0].runner.count_threads())
    facts = replace(facts, witness=watch.facts, process=_describe_process(ready[0].runner, before))
    if copy.number == 0 and placement.device.partition(":")[0] in ("cpu", "cuda") and len(window.start_ns):
        facts = replace(facts, fresh=_compare_fresh(how, ready, window))
    work = by_size.sum_work(window)
    of_requests = {"start_ns": window.start_ns, "end_ns": window.end_ns, "client": window.client, **work.arrays}
    arrays = {**of_requests, **how.arrays}
    if len(window.start_ns):  # in an open load one replica may have served nothing
        used = [window.requests[number].items for number in np.unique(window.number).tolist()]
        arrays["rotated"] = np.unique(np.concatenate(used))
        arrays.update(materials.name_outputs(*measuring.collect_outputs(window)))
    files.save_arrays(_arrays_path(copy.folder, copy.number), arrays)
    memory = tuple(how.server.memory_mb)
    return replace(
        facts,
        elements=work.elements,
        flops=work.flops,
        memory_mb=memory,
        capacity=how.capacity,
        samples_of_data=how.server.data.count,
    )


def _describe_process(runner: Runner, before: Mapping[str, str]) -> ProcessFacts:
    """Threads as read back, and what differs from before the model was loaded."""
    counts = {"runtime": runner.count_threads(), "inter_op": runner.count_parallel_operators()}
    known = {name: count for name, count in counts.items() if count is not None}
    changes = process.list_changes(before, process.observe())
    if known.get("inter_op", 1) > 1:
        changes.append("operators that may run at once: 1 -> %d" % known["inter_op"])
    return ProcessFacts({**known, **threads.read_threads()}, tuple(changes))


def _compare_fresh(how: _Closed, ready: Sequence[Request], window: Window) -> FreshFacts:
    """The probe with fresh inputs, for the requests that were prepared ahead."""
    seconds = float(np.median(window.end_ns - window.start_ns)) / 1e9
    return fresh.compare(ready, how.server.fit, seconds, how.copy.request.repeat)


def _arrays_path(folder: Path, number: int) -> Path:
    return folder / ("replica-%d.npz" % number)


def _sum_up(load: Mapping[str, Any], parts: Sequence[Arrays], of_requests: Arrays) -> Totals:
    if load_config.is_open_loop(load):
        return account.sum_up(load, parts)
    client = of_requests["replica"] * load_config.count_clients(load) + of_requests["client"]
    starts, ends = of_requests["start_ns"], of_requests["end_ns"]
    return measuring.measure_common_window(starts, ends, client, of_requests["items"])


def combine(
    request: MeasureRequest, folder: Path, replicas: Sequence[ReplicaFacts], device: Mapping[str, Any]
) -> Measurement:
    """The repeat, from the facts and the files of its replicas, which samples.npz and outputs.npz replace.

    Args:
        device: what the device's own tools reported meanwhile.

    Raises:
        TrialError: if no request was answered.
    """
    left = [files.load_arrays(_arrays_path(folder, number)) for number in range(len(replicas))]
    serving = [number for number, arrays in enumerate(left) if len(arrays["start_ns"])]
    if not serving:
        raise TrialError(FailureKind.IMPLAUSIBLE_TIMING, "the timed window holds no request")
    whole = {name: np.concatenate([left[number][name] for number in serving]) for name in OF_REQUESTS}
    whole["replica"] = np.concatenate([np.full(len(left[number]["start_ns"]), number) for number in serving])
    served = _sum_up(request.load, left, whole)
    counted = {name: array[served.counts] for name, array in whole.items()}
    samples = {name: counted[name] for name in ("start_ns", "end_ns", "items", "bucket", "replica")}
    files.save_arrays(folder / "samples.npz", {**samples, **served.items})
    outputs = materials.merge_outputs([left[number] for number in serving])
    files.save_arrays(folder / "outputs.npz", materials.name_outputs(*outputs))
    for number in range(len(replicas)):
        _arrays_path(folder, number).unlink()
    counted["latency_ms"] = (counted["end_ns"] - counted["start_ns"]) / 1e6  # of requests, whatever the load
    repeat = _merge_facts(request, folder, replicas, served, counted)
    rotated = np.unique(np.concatenate([left[number]["rotated"] for number in serving]))
    repeat = replace(repeat, samples_rotated=len(rotated), samples_of_data=replicas[0].samples_of_data)
    repeat = replace(repeat, notes={"device": device} if device else {})
    return by_size.add_sizes(repeat, [build.spec.bucket for build in request.builds], replicas, counted)


def _merge_facts(
    request: MeasureRequest, folder: Path, replicas: Sequence[ReplicaFacts], served: Totals, counted: Arrays
) -> Measurement:
    timing = Timing(
        served.rate,
        served.seconds,
        len(counted["items"]),
        int(counted["items"].sum()),
        served.mean_ms,
        float(len(request.placements) * load_config.count_clients(request.load)),
    )
    return replace(
        Measurement.of(request.repeat, timing, by_size.percentiles(served.latency_ms), folder),
        load_seconds=max(replica.load_seconds for replica in replicas),
        first_request_ms=max(replica.first_request_ms for replica in replicas),
        warmup={
            "requests": sum(replica.warmup["requests"] for replica in replicas),
            "seconds": max(replica.warmup["seconds"] for replica in replicas),
            "stable": all(replica.warmup["stable"] for replica in replicas),
            "chunk_ms_p50": replicas[0].warmup["chunk_ms_p50"],
        },
        peak_memory_mb=(max if request.process.copies == "threads" else sum)(
            replica.peak_memory_mb for replica in replicas
        ),
        precision=replicas[0].precision,
        device_memory_mb=sum(replica.device_memory_mb for replica in replicas),
        work_ratio=replicas[0].work_ratio,
        load=served.load,
        capacity=replicas[0].capacity,
        witnesses=tuple(replica.witness for replica in replicas if replica.witness is not None),
        fresh=replicas[0].fresh,
        process=replicas[0].process,
    )

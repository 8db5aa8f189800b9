"""One repeat of one trial: what each replica does from load to the end of its window, and what they say together.

Worker side, Python 3.8.
"""

import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from sweep import files
from sweep.spec import FailureKind, Json, TrialError
from sweep.spec.metrics import QUANTILES
from sweep.worker import by_size, requests
from sweep.worker import window as measuring
from sweep.worker.load import account, clients, generator, probing
from sweep.worker.load import config as load_config
from sweep.worker.load.queue import Shared
from sweep.worker.replicas import Copy
from sweep.worker.window import Request, Warm, Window

Arrays = Dict[str, np.ndarray]
OF_REQUESTS = ("start_ns", "end_ns", "items", "bucket", "size", "client")


def shared(request: Json) -> Optional[Shared]:
    """What the replicas of a trial share in an open load; made before they are forked."""
    load, buckets = _load(request), len(request["builds"])
    if load.get("name") == "capacity":
        return Shared(probing.cells(load["probes"], buckets))
    return Shared(buckets + 1) if load_config.open_loop(load) else None


def _load(request: Json) -> Json:
    return dict(request.get("load") or {})


class _Closed:
    """Clients that wait for their answers."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.arrays: Arrays = {}  # to be saved beside those of the requests
        self.notes: Json = {}  # of the repeat
        self.memory: List[Optional[float]] = []  # of the builds that were loaded

    def load(self) -> Sequence[Request]:
        request = self.copy.request
        share = request["share"] + self.copy.number / max(1, len(request["placements"]))
        prepared, self.memory = requests.prepared(request, self.copy.placement, share, self.copy.doing)
        return prepared

    def drive(self, warm: Warm) -> Window:
        request = self.copy.request
        return clients.window(warm, request["effort"], load_config.clients(_load(request)))


class _Open(_Closed):
    """Items that arrive by themselves, for all replicas together."""

    def load(self) -> Sequence[Request]:
        copy = self.copy
        self.stock, prepared, self.memory = requests.stocked(
            copy.request, copy.placement, copy.request["share"], copy.doing
        )
        return prepared

    def drive(self, warm: Warm) -> Window:
        request, common = self.copy.request, self.copy.shared
        assert common is not None
        how = (warm, self.stock, _load(request), request["effort"], request["repeat"])
        if _load(request)["name"] == "capacity":
            opened, found = probing.window(*how, probing.Team(common, len(request["placements"])))
            self.notes["capacity"] = found
        else:
            opened = generator.window(*how, common)
        self.arrays = account.saved(opened)
        return opened.window


def replica(copy: Copy, loaded: Callable[[], None], barrier: Optional[measuring.Barrier]) -> Json:
    """One copy from load to the end of its window; leaves its arrays in the folder."""
    request, placement = copy.request, copy.placement
    if placement.cores and placement.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, placement.cores)
    how = _Open(copy) if load_config.open_loop(_load(request)) else _Closed(copy)

    def load() -> Sequence[Request]:
        requests = how.load()
        loaded()
        return requests

    facts, window = measuring.run_replica(load, request["effort"], how.drive, barrier)
    asked, work = by_size.timed(window)
    arrays = {"start_ns": window.start_ns, "end_ns": window.end_ns, "client": window.client, **asked, **how.arrays}
    if len(window.start_ns):  # in an open load one replica may do everything
        arrays["index"], outputs = measuring.outputs_of(window)
        arrays.update(("output_%d" % number, array) for number, array in enumerate(outputs))
    files.save_arrays(_file(copy.folder, copy.number), arrays)
    return {**facts, **work, "memory_mb": how.memory, "notes": how.notes}


def _file(folder: Path, number: int) -> Path:
    return folder / ("replica-%d.npz" % number)


class _Timing(NamedTuple):
    rate: float  # items/s
    seconds: float
    latency_ms: np.ndarray  # of the requests that count; of every item in an open load
    mean_ms: float
    counts: np.ndarray  # bool, of every request
    items: Arrays  # of open loads: due_ns, done_ns
    notes: Json


def _timing(request: Json, parts: Sequence[Arrays], of_requests: Arrays) -> _Timing:
    load = _load(request)
    starts, ends = of_requests["start_ns"], of_requests["end_ns"]
    if load_config.open_loop(load):
        found = account.account(load, parts)
        latency = (found.items["done_ns"] - found.items["due_ns"]) / 1e6
        every, told = np.ones(len(starts), bool), {"load": found.notes}
        return _Timing(found.rate, found.seconds, latency, float(latency.mean()), every, found.items, told)
    client = of_requests["replica"] * load_config.clients(load) + of_requests["client"]
    common = measuring.common_window(starts, ends, client, of_requests["items"])
    latency = (ends - starts)[common.counts] / 1e6
    return _Timing(common.rate, common.seconds, latency, common.mean_ms, common.counts, {}, {})


def combined(request: Json, folder: Path, parts: Sequence[Mapping[str, Any]], device: Json) -> Json:
    """The repeat, from what `replica` said and left. Leaves samples.npz and outputs.npz instead.

    Raises:
        TrialError: where nothing was answered.
    """
    left = [_read(_file(folder, number)) for number in range(len(parts))]
    serving = [number for number, arrays in enumerate(left) if len(arrays["start_ns"])]
    if not serving:
        raise TrialError(FailureKind.IMPLAUSIBLE_TIMING, "the timed window holds no request")
    whole = {name: np.concatenate([left[number][name] for number in serving]) for name in OF_REQUESTS}
    whole["replica"] = np.concatenate([np.full(len(left[number]["start_ns"]), number) for number in serving])
    timing = _timing(request, left, whole)
    every = {name: array[timing.counts] for name, array in whole.items()}
    samples = {name: every[name] for name in ("start_ns", "end_ns", "items", "bucket", "replica")}
    files.save_arrays(folder / "samples.npz", {**samples, **timing.items})
    files.save_arrays(folder / "outputs.npz", _outputs([left[number] for number in serving]))
    for number in range(len(parts)):
        _file(folder, number).unlink()
    quantiles = dict(zip(QUANTILES, np.percentile(timing.latency_ms, list(QUANTILES.values())).tolist()))
    every["latency_ms"] = (every["end_ns"] - every["start_ns"]) / 1e6  # of requests, whatever the load
    return {
        "throughput_items_per_s": timing.rate,
        "window_seconds": timing.seconds,
        "requests": len(every["items"]),
        "items": int(every["items"].sum()),
        "latency_ms_mean": timing.mean_ms,
        "latency_ms": {**quantiles, "max": float(timing.latency_ms.max())},
        "load_seconds": max(part["load_seconds"] for part in parts),
        "first_request_ms": max(part["first_request_ms"] for part in parts),
        "warmup": {
            "requests": sum(part["warmup"]["requests"] for part in parts),
            "seconds": max(part["warmup"]["seconds"] for part in parts),
            "stable": all(part["warmup"]["stable"] for part in parts),
            "chunk_ms_p50": parts[0]["warmup"]["chunk_ms_p50"],
        },
        "peak_memory_mb": sum(part["peak_memory_mb"] for part in parts),
        "notes": {
            "precision": parts[0]["precision"],
            "device_memory_mb": sum(part["device_memory_mb"] for part in parts),
            **({"work_ratio": parts[0]["work_ratio"]} if "work_ratio" in parts[0] else {}),
            **({"device": device} if device else {}),
            **by_size.notes([entry["spec"].get("bucket") for entry in request["builds"]], parts, every),
            **timing.notes,
            **parts[0]["notes"],
        },
    }


def _read(path: Path) -> Arrays:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files}


def _outputs(parts: Sequence[Arrays]) -> Arrays:
    """Samples that any replica answered, ascending, and what the first of them answered."""
    index, first = np.unique(np.concatenate([part["index"] for part in parts]), return_index=True)
    names = [name for name in parts[0] if name.startswith("output_")]
    return {"index": index, **{name: np.concatenate([part[name] for part in parts])[first] for name in names}}

"""Place the replicas of a trial on cores and devices."""

from collections.abc import Sequence
from dataclasses import replace

from sweep.engine.context import Context
from sweep.spec import Placement, Trial, deployment


def list_cpus(places: Sequence[Placement]) -> list[int]:
    """CPU numbers on which a measurement runs; empty if it runs on another device."""
    return sorted({core for place in places if place.device == "cpu" for core in place.cores})


def place_replicas(context: Context, trial: Trial) -> list[Placement]:
    """One placement for each replica: CPU cores of its own with as many threads, or a device, or cores of a device."""
    device = str(trial.backend.get("device") or "cpu")
    first = deployment.find_first_core(trial)
    if device == "cpu":
        left = replace(context.host, cpus=context.host.cpus[first:])
        return [Placement("cpu", cpus, trial.cores) for cpus in left.place(trial.cores, trial.replicas)]
    if device == "cuda":
        return [Placement(f"cuda:{gpu}", (), trial.cores) for gpu in deployment.list_own_gpus(trial)]
    first += context.host.neuron_first  # where this process may use only some of them
    ranges = [range(first + n * trial.cores, first + (n + 1) * trial.cores) for n in range(trial.replicas)]
    return [Placement(device, tuple(cores)) for cores in ranges]

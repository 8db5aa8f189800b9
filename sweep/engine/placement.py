"""Where the replicas of a trial run."""

from collections.abc import Sequence
from dataclasses import replace

from sweep.engine.context import Context
from sweep.spec import Placement, Trial, deployment


def list_cpus(places: Sequence[Placement]) -> list[int]:
    """CPU numbers that a measurement is kept to; none where it runs on another device."""
    return sorted({core for place in places if place.device == "cpu" for core in place.cores})


def place_replicas(context: Context, trial: Trial) -> list[Placement]:
    """Where each replica runs: on a CPU its own cores with that many threads, else a device, or cores of one."""
    device = str(trial.backend.get("device") or "cpu")
    first = deployment.find_first_core(trial)
    if device == "cpu":
        left = replace(context.host, cpus=context.host.cpus[first:])
        return [Placement("cpu", cpus, trial.cores) for cpus in left.place(trial.cores, trial.replicas)]
    if device == "cuda":
        copies = range(deployment.find_first_copy(trial), deployment.find_first_copy(trial) + trial.replicas)
        return [Placement(f"cuda:{copy}", (), trial.cores) for copy in copies]
    first += context.host.neuron_first  # where this process may use only some of them
    ranges = [range(first + n * trial.cores, first + (n + 1) * trial.cores) for n in range(trial.replicas)]
    return [Placement(device, tuple(cores)) for cores in ranges]

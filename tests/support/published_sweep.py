"""The fifteen compilations of a ResNet-50 that were published in 2020, to be had again from a pretended machine.

Batch 1 to 5 by 1, 4 and 16 cores, TensorFlow 1.15 with neuron-cc 1.0.18001, 16 cores with static weights. Nine of them
failed in the compiler's scheduler, left a model that runs on the CPU, and took two thirds of the time.
"""

from pathlib import Path

from tests.support.neuron_machine import NeuronHost

WHEEL = "tensorflow_neuron_1"
INSTANCE = "inf1.6xlarge"  # the smallest with 16 cores
BATCHES, CORES = (1, 2, 3, 4, 5), (1, 4, 16)
SECONDS = {  # (batch, cores): how long the compiler ran
    (1, 1): 99, (1, 4): 101, (1, 16): 117,
    (2, 1): 122, (2, 4): 223, (2, 16): 165,
    (3, 1): 139, (3, 4): 189, (3, 16): 229,
    (4, 1): 252, (4, 4): 223, (4, 16): 182,
    (5, 1): 381, (5, 4): 384, (5, 16): 192,
}  # fmt: skip
FAILED = frozenset(((2, 1), (3, 1), (3, 4), (4, 1), (4, 4), (4, 16), (5, 1), (5, 4), (5, 16)))
RESCUED = (5, 1)  # compiled, in 172 seconds, with the extra flags that the guides gave for batches


def author_host(folder: Path, seconds_scale: float = 0.0) -> NeuronHost:
    """A machine on which these nine fail, and nothing else."""
    host = NeuronHost(folder, (WHEEL,), INSTANCE)
    inject(host, seconds_scale)
    return host


def inject(host: NeuronHost, seconds_scale: float = 0.0) -> None:
    """Let the nine compilations fail; each of the fifteen takes its published time by `seconds_scale`."""
    for (batch, cores), seconds in SECONDS.items():
        if seconds_scale:
            host.fault("compile_delay", batch=batch, cores=cores, seconds=seconds * seconds_scale)
        if (batch, cores) == RESCUED:
            host.fault("scheduler_failure", batch=batch, cores=cores, extra_flags=False)
        elif (batch, cores) in FAILED:
            host.fault("scheduler_failure", batch=batch, cores=cores)


def compiler_args(batch: int, cores: int, extra: bool = False) -> list[str]:
    """The arguments that were given to the compiler then."""
    given = ["--verbose", "1", "--num-neuroncores", str(cores)]
    if extra:
        given += ["--batching_en", "--rematerialization_en", "--spill_dis", "--sb_size", str((batch + 6) * 10)]
        given += ["--enable-replication", "True", "-O2"]
    return given + (["--static-weights"] if cores == 16 else [])

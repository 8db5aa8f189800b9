"""What is on this host: processors, memory, GPUs, Neuron devices, the EC2 instance type. No framework is imported.

It reads /proc and /sys. It starts a program only if NVIDIA's driver or Neuron's tools are installed, and asks the
instance metadata service only on EC2.
"""

import functools
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sweep.hardware import ec2, neuron
from sweep.hardware.ec2 import read_text as _read
from sweep.isolate.procfs import read_processor

FEATURES = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "fma")
ARM_FEATURES = {"asimd": "neon", "asimddp": "dotprod", "i8mm": "i8mm", "bf16": "bf16", "sve": "sve"}  # kernel's -> ours
NVIDIA_SECONDS = 20.0  # nvidia-smi may have to wake the driver
MODES = ("Default", "Exclusive_Process", "Exclusive_Thread", "Prohibited")  # of a GPU: only the first is shared
MEMORY_STEP_MB = 256  # the kernel's total moves a little from boot to boot; the identity of a trial must not


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU that this process may see."""

    name: str
    memory_mb: float | None = None
    exclusive: bool = False  # it takes one process at a time, or none (compute mode)


@dataclass(frozen=True)
class Host:
    """What this process may use of the machine."""

    cpus: tuple[int, ...]  # logical CPU numbers, in the order to hand out: one of every physical core comes first
    cores: int  # distinct physical cores among them
    memory_mb: float
    cpu: str  # model name
    features: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()
    neuron_devices: int = 0  # chips
    instance_type: str | None = None  # "inf2.xlarge"; None where it is not an EC2 instance
    neuron_cores: int = 0  # NeuronCores (logical ones on Trn2) of all chips, less what NEURON_RT_VISIBLE_CORES forbids
    neuron_first: int = 0  # number of the first of them: their numbers are consecutive
    neuron_per_chip: int = 0
    neuron_memory_mb: float | None = None  # of all chips
    neuron_family: str | None = None  # "inf2": what the compiler calls the target
    neuron_note: str = ""  # why something of this is not known

    def place(self, cores: int, replicas: int) -> tuple[tuple[int, ...], ...]:
        """CPU numbers for each replica, none shared, physical cores before their hyper-threads.

        Raises:
            ValueError: the host has too few; `rules` rejects such trials before.
        """
        if cores * replicas > len(self.cpus):
            raise ValueError(f"{replicas} x {cores} cores asked for, {len(self.cpus)} here")
        return tuple(self.cpus[i * cores : (i + 1) * cores] for i in range(replicas))


@functools.lru_cache(maxsize=8)
def detect(root: Path = Path("/")) -> Host:
    """Look at this host, once. `root` is the file system to read, for tests."""
    processor = read_processor(root)
    cpus, cores = _usable_cpus(root)
    words = processor.features
    features = tuple(name for name in FEATURES if name in words)
    features += tuple(ours for kernel, ours in ARM_FEATURES.items() if kernel in words and "asimd" in words)
    model = processor.model or platform.processor() or platform.machine()
    devices = neuron.look(root)
    usable, wrong = neuron.visible_cores(devices.cores)
    return Host(
        cpus,
        cores,
        _memory_mb(root),
        model,
        features,
        _gpus(root),
        neuron_devices=devices.devices,
        instance_type=ec2.find_instance_type(root, bool(devices.devices), devices.instance_type),
        neuron_cores=len(usable),
        neuron_first=usable.start if usable else 0,
        neuron_per_chip=devices.cores // devices.devices if devices.devices else 0,
        neuron_memory_mb=devices.memory_mb,
        neuron_family=devices.family,
        neuron_note="; ".join(filter(None, (devices.note, wrong))),
    )


def name_processor(host: Host) -> str:
    """The CPU's model and features: answers depend on them, those of int8 most."""
    return f"{host.cpu} ({' '.join(host.features)})"


def _usable_cpus(root: Path) -> tuple[tuple[int, ...], int]:
    """Usable CPU numbers, one of every physical core first, and the number of physical cores."""
    if hasattr(os, "sched_getaffinity"):
        numbers = sorted(os.sched_getaffinity(0))
    else:
        numbers = list(range(os.cpu_count() or 1))
    siblings: dict[str, list[int]] = {}
    for number in numbers:
        shared = _read(root / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list")
        siblings.setdefault(shared or str(number), []).append(number)
    ordered = sorted(numbers, key=lambda n: next((group.index(n), n) for group in siblings.values() if n in group))
    quota = _cpu_quota(root)
    count = len(ordered) if quota is None else max(1, min(len(ordered), int(quota)))
    return tuple(ordered[:count]), min(count, len(siblings))


def _cgroups(root: Path) -> list[Path]:
    """This process's control groups (version 2), innermost first, up to the root of the hierarchy."""
    top = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::/"):
            own = top / line[4:]
            return [own, *(parent for parent in own.parents if parent == top or top in parent.parents)]
    return [top]


def _cpu_quota(root: Path) -> float | None:
    """How many CPUs' time the control groups allow; None if they set no limit."""
    quotas = []
    for folder in _cgroups(root):
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit():
            quotas.append(int(quota) / int(period))
    old = root / "sys/fs/cgroup/cpu"
    quota, period = _read(old / "cpu.cfs_quota_us"), _read(old / "cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():  # -1 means no limit
        quotas.append(int(quota) / int(period))
    return min(quotas, default=None)


def _memory_mb(root: Path) -> float:
    """Memory in MiB that this process may use, rounded down so that it is the same after a reboot."""
    limits = [_read(folder / "memory.max") for folder in _cgroups(root)]
    limits.append(_read(root / "sys/fs/cgroup/memory/memory.limit_in_bytes"))
    sizes = [int(limit) for limit in limits if limit.isdigit()]
    for line in _read(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            sizes.append(int(line.split()[1]) * 1024)
    if not sizes:
        import psutil

        sizes.append(psutil.virtual_memory().total)
    megabytes = min(sizes) / 2**20
    return megabytes if megabytes < MEMORY_STEP_MB else megabytes // MEMORY_STEP_MB * MEMORY_STEP_MB


def _gpus(root: Path) -> tuple[Gpu, ...]:
    """NVIDIA GPUs from nvidia-smi, or without memory sizes from the driver; CUDA_VISIBLE_DEVICES is respected."""
    if not (root / "proc/driver/nvidia").exists():
        return ()
    gpus = [_read_gpu(line) for line in query_gpus("name,memory.total,compute_mode", NVIDIA_SECONDS)]
    if not gpus:
        texts = (_read(path / "information") for path in sorted(root.glob("proc/driver/nvidia/gpus/*")))
        gpus = [Gpu(text.partition("Model:")[2].partition("\n")[0].strip() or "NVIDIA GPU") for text in texts]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not all(part.strip().lstrip("-").isdigit() for part in visible.split(",") if part.strip()):
        return tuple(gpus)  # not set, or names of devices: leave it to CUDA
    numbers = [int(part) for part in visible.split(",") if part.strip()]
    return tuple(gpus[number] for number in numbers if 0 <= number < len(gpus))


def _read_gpu(row: str) -> Gpu:
    """A GPU from `name, MiB, compute mode`; a name may hold commas, and the mode may be missing."""
    whole, _, mode = (part.strip() for part in row.rpartition(","))
    if mode not in MODES:
        whole, mode = row, ""
    name, _, size = (part.strip() for part in whole.rpartition(","))
    return Gpu(name, float(size) if size.isdigit() else None, mode in MODES[1:])


def query_gpus(fields: str, seconds: float) -> list[str]:
    """What nvidia-smi says of the fields, such as `index,clocks.sm`: a line for each GPU; empty without the tool.

    Args:
        seconds: to wait for it.
    """
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    words = [command, f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        result = subprocess.run(words, capture_output=True, text=True, timeout=seconds, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line for line in result.stdout.splitlines() if line.strip()]

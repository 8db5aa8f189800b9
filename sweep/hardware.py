"""What is on this host, and whether a trial can run here. It reads /proc and /sys: no network, no framework."""

import functools
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweep.spec import Json, Status, Trial

FEATURES = ("amx_bf16", "amx_int8", "avx512_bf16", "avx512_fp16", "avx512_vnni", "avx_vnni", "avx512f", "avx2", "fma")
ARM_FEATURES = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "i8mm": "i8mm",
    "bf16": "bf16",
    "sve": "sve",
}  # kernel's name -> ours
MEMORY_STEP_MB = 256  # the kernel's total moves a little from boot to boot; the identity of a trial must not


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU that this process may see."""

    name: str
    memory_mb: float | None = None


@dataclass(frozen=True)
class Host:
    """What this process may use of the machine."""

    cpus: tuple[int, ...]  # logical CPU numbers, in the order to hand out: one of every physical core comes first
    cores: int  # distinct physical cores among them
    memory_mb: float
    cpu: str  # model name
    features: tuple[str, ...]
    gpus: tuple[Gpu, ...] = ()
    neuron_devices: int = 0  # /dev/neuron*
    instance_type: str | None = None  # "inf2.xlarge"; None where it is not an EC2 instance

    def place(self, cores: int, replicas: int) -> tuple[tuple[int, ...], ...]:
        """CPU numbers for each replica, none shared, physical cores before their hyper-threads.

        Raises:
            ValueError: if the host has too few; `rules` finds such trials before.
        """
        if cores * replicas > len(self.cpus):
            raise ValueError(f"{replicas} x {cores} cores asked for, {len(self.cpus)} here")
        return tuple(self.cpus[i * cores : (i + 1) * cores] for i in range(replicas))


@functools.lru_cache(maxsize=8)
def detect(root: Path = Path("/")) -> Host:
    """This host, looked at once. `root` is the file system to read, for tests."""
    info = _cpuinfo(root)
    cpus, cores = _usable(root)
    words = set((info.get("flags") or info.get("Features") or "").split())
    features = tuple(name for name in FEATURES if name in words)
    features += tuple(ours for kernel, ours in ARM_FEATURES.items() if kernel in words and "asimd" in words)
    model = info.get("model name") or platform.processor() or platform.machine()
    neuron = len(list(root.glob("dev/neuron[0-9]*")))
    return Host(cpus, cores, _memory_mb(root), model, features, _gpus(root), neuron, _instance_type(root))


def local(host: Host) -> Json:
    """The values that `hardware=local` leaves to detection, as plain JSON."""
    return {
        "instance_type": host.instance_type,
        "cores": host.cores,
        "cpus": len(host.cpus),
        "memory_mb": host.memory_mb,
        "device_memory_mb": host.gpus[0].memory_mb if host.gpus else None,
        "cpu": host.cpu,
        "features": list(host.features),
        "gpus": [{"name": gpu.name, "memory_mb": gpu.memory_mb} for gpu in host.gpus],
    }


def fill(declared: Mapping[str, Any], host: Host | None = None) -> Json:
    """A declared hardware with what only detection can know; every type but `local` is what its file says."""
    found = local(host or detect()) if declared.get("name") == "local" else {}
    return {**declared, **{key: value for key, value in found.items() if declared.get(key) is None}}


def available(hardware: Mapping[str, Any], device: str) -> int | None:
    """How many of what a trial's `cores` counts there are: CPUs for `cpu` and `cuda`, NeuronCores for `neuron`."""
    key = "cores" if device not in ("cpu", "cuda") and hardware.get("device") == device else "cpus"
    count = hardware.get(key)
    return int(count) if count else None


def replicas(hardware: Mapping[str, Any], device: str, cores: int) -> int:
    """`replicas: auto`: as many as have physical cores (or GPUs) of their own, at least one."""
    if device == "cuda":
        gpus = hardware.get("gpus")
        return max(1, len(gpus) if gpus is not None else int(hardware.get("cores") or 1))
    count = hardware.get("cores") if hardware.get("device") == device else available(hardware, device)
    return max(1, int(count or 1) // cores)


def rules(host: Host, trial: Trial) -> tuple[Status | None, str]:
    """Why a trial cannot run on its hardware, or on this host: `(None, "")` where nothing speaks against it."""
    hardware, device = trial.hardware, str(trial.backend.get("device") or "cpu")
    for check in (_too_many_cores, _no_device, _no_precision):
        reason = check(hardware, device, trial)
        if reason:
            return Status.INVALID, reason
    missing = mismatch(host, hardware) or _absent(host, device)
    return (Status.UNAVAILABLE, missing) if missing else (None, "")


def mismatch(host: Host, declared: Mapping[str, Any]) -> str | None:
    """Why this host is not the declared hardware, with what to do; None where it is."""
    if declared.get("name") == "local":
        return None
    wanted = declared.get("instance_type") or declared.get("name")
    missing = _absent(host, str(declared.get("device") or "cpu"))
    if declared.get("instance_type") and host.instance_type == declared["instance_type"]:
        return missing
    if declared.get("instance_type"):
        here = missing or (
            f"it is an {host.instance_type}" if host.instance_type else f"it is {_an(host.cpu)}, not EC2"
        )
    else:
        cpus = declared.get("cpus") or 0
        here = missing or (f"it has {len(host.cpus)} CPUs, not {cpus}" if cpus > len(host.cpus) else "")
    return f"this host is not {_an(wanted)}: {here}; run on one, or use hardware=local" if here else None


def _an(name: Any) -> str:
    return f"{'an' if str(name)[:1].lower() in 'aeio' else 'a'} {name}"


def _absent(host: Host, device: str) -> str | None:
    if device == "cuda" and not host.gpus:
        return "no CUDA GPU here (nvidia-smi shows none)"
    if device == "neuron" and not host.neuron_devices:
        return "no /dev/neuron0"
    return None


def _too_many_cores(hardware: Mapping[str, Any], device: str, trial: Trial) -> str | None:
    have = available(hardware, device)
    wanted = trial.cores * trial.replicas
    if have is None or wanted <= have:
        return None
    where = "this host" if hardware.get("name") == "local" else str(hardware.get("name"))
    unit = "NeuronCore" if device == "neuron" else "core"
    fitting = [count for count in (1, 2, 4, 8, 16, 32, 64) if count * trial.replicas <= have]
    fix = "cores=" + ",".join(map(str, fitting)) if fitting else "replicas=auto"
    if trial.replicas > 1:
        asks = f"{trial.replicas} replicas x {_count(trial.cores, unit)} = {_count(wanted, unit)}"
        fix += "" if fix == "replicas=auto" else " or replicas=auto"
    else:
        asks = _count(wanted, unit)
    return f"asks for {asks}, {where} has {have}: use {fix}"


def _count(number: int, unit: str) -> str:
    return f"{number} {unit}" + ("" if number == 1 else "s")


def _no_device(hardware: Mapping[str, Any], device: str, trial: Trial) -> str | None:
    if hardware.get("name") == "local" or device in ("cpu", hardware.get("device")):
        return None
    return (
        f"{hardware.get('name')} has no {device}: it has cpu and {hardware.get('device')}; choose another hardware=..."
    )


def _no_precision(hardware: Mapping[str, Any], device: str, trial: Trial) -> str | None:
    precisions = hardware.get("precisions") or []
    if not precisions or trial.precision in precisions or device != hardware.get("device"):
        return None
    return f"{hardware.get('name')} has no {trial.precision}: it has {', '.join(precisions)}"


def _read(path: Path) -> str:
    """The text of a small system file, empty where there is none."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def _cpuinfo(root: Path) -> dict[str, str]:
    """The first processor of /proc/cpuinfo."""
    lines = _read(root / "proc/cpuinfo").split("\n\n")[0].splitlines()
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _usable(root: Path) -> tuple[tuple[int, ...], int]:
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
    """CPUs' worth of time that control groups allow, None where they do not limit it."""
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
    found = _nvidia_smi()
    if not found:
        texts = (_read(path / "information") for path in sorted(root.glob("proc/driver/nvidia/gpus/*")))
        found = [Gpu(text.partition("Model:")[2].partition("\n")[0].strip() or "NVIDIA GPU") for text in texts]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not all(part.strip().lstrip("-").isdigit() for part in visible.split(",") if part.strip()):
        return tuple(found)  # not set, or names of devices: leave it to CUDA
    numbers = [int(part) for part in visible.split(",") if part.strip()]
    return tuple(found[number] for number in numbers if 0 <= number < len(found))


def _nvidia_smi() -> list[Gpu]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = [line.rpartition(",") for line in done.stdout.splitlines() if line.strip()]
    return [Gpu(name.strip(), float(size) if size.strip().isdigit() else None) for name, _, size in rows]


def _instance_type(root: Path) -> str | None:
    """The EC2 instance type from the firmware tables (Nitro instances write it there)."""
    firmware = root / "sys/devices/virtual/dmi/id"
    name = _read(firmware / "product_name")
    return name if "Amazon EC2" in _read(firmware / "sys_vendor") and "." in name else None

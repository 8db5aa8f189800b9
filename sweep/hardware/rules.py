"""Declared hardware and this host: what they have, how many replicas fit, and whether a trial can run here."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sweep.hardware.host import Host, detect
from sweep.spec import Json, Status, Trial, deployment

REPLAY = "replay"  # the device of a backend that answers from a table: it needs nothing of this host


def describe_local(host: Host) -> Json:
    """The values that `hardware=local` leaves to detection, as plain JSON."""
    chips = host.neuron_per_chip * host.neuron_devices
    core_memory_mb = host.neuron_memory_mb / chips if host.neuron_memory_mb and chips else None
    return {
        "instance_type": host.instance_type,
        "cores": host.cores,
        "cpus": len(host.cpus),
        "memory_mb": host.memory_mb,
        "device_memory_mb": host.gpus[0].memory_mb if host.gpus else host.neuron_memory_mb,
        "cpu": host.cpu,
        "features": list(host.features),
        "gpus": [{"name": gpu.name, "memory_mb": gpu.memory_mb} for gpu in host.gpus],
        "neuron_cores": host.neuron_cores,
        "target": host.neuron_family,
        "cores_per_chip": host.neuron_per_chip or None,
        "core_memory_mb": core_memory_mb,
        **({"exclusive": True} if any(gpu.exclusive for gpu in host.gpus) else {}),
    }


def fill(declared: Mapping[str, Any], host: Host | None = None) -> Json:
    """A declared hardware with what detection adds to `local`; every other type is what its file says."""
    detected = describe_local(host or detect()) if declared.get("name") == "local" else {}
    return {**declared, **{key: value for key, value in detected.items() if declared.get(key) is None}}


def choose_precision(hardware: Mapping[str, Any], device: str, of_backend: Sequence[str]) -> str:
    """`precision: auto`: fp32 where hardware and backend have it, else what the compiler makes of an fp32 model.

    Args:
        of_backend: `precisions` of the backend's class, whose first is that of its compiler.
    """
    counted = _counted_device(hardware, device)
    of_hardware = hardware.get("precisions") if counted == hardware.get("device") else None
    common = [name for name in of_backend if name in (of_hardware or of_backend)] or list(of_backend)
    return "fp32" if "fp32" in common else common[0]


def count_available(hardware: Mapping[str, Any], device: str) -> int | None:
    """How many there are of what a trial's `cores` counts: CPUs for `cpu` and `cuda`, NeuronCores for `neuron`."""
    device = _counted_device(hardware, device)
    key = "cpus"
    if device not in ("cpu", "cuda") and hardware.get("device") == device:
        key = "cores"
    elif device == "neuron":
        key = "neuron_cores"
    count = hardware.get(key)
    return int(count) if count else None


def count_replicas(hardware: Mapping[str, Any], device: str, cores: int) -> int:
    """`replicas: auto`: as many as get physical cores (GPUs, NeuronCores of all chips) of their own, at least one."""
    device = _counted_device(hardware, device)
    if device == "cuda":
        return deployment.count_gpus(hardware)
    count = hardware.get("cores") if hardware.get("device") == device else count_available(hardware, device)
    return max(1, int(count or 1) // cores)


def check_trial(host: Host, trial: Trial, *, run: bool = True) -> tuple[Status | None, str]:
    """Why a trial cannot run on its hardware or on this host; `(None, "")` if it can.

    Args:
        run: False if it is only built; then this host need not be the hardware.
    """
    hardware, device = trial.hardware, str(trial.backend.get("device") or "cpu")
    replayed = device == REPLAY
    if hardware.get("withdrawn") and not replayed:
        return Status.UNAVAILABLE, str(hardware["withdrawn"])
    for check in (_too_many_cores,) if replayed else (_too_many_cores, _no_device, _no_precision):
        reason = check(hardware, _counted_device(hardware, device), trial)
        if reason:
            return Status.INVALID, reason
    if replayed or not run:
        return None, ""
    missing = describe_mismatch(host, hardware) or _absent(host, device) or _too_few_here(host, device, trial)
    return (Status.UNAVAILABLE, missing) if missing else (None, "")


def describe_mismatch(host: Host, declared: Mapping[str, Any]) -> str | None:
    """Why this host is not the declared hardware, and what to do; None if it is."""
    reason = describe_lack(host, declared)
    wanted = declared.get("instance_type") or declared.get("name")
    if reason is None or declared.get("withdrawn") or wanted == host.instance_type:
        return reason
    return f"this host is not {_with_article(wanted)}: {reason}; run on one, or use hardware=local"


def describe_lack(host: Host, declared: Mapping[str, Any]) -> str | None:
    """In a few words why this host is not the declared hardware; None if it is."""
    if declared.get("name") == "local":
        return None
    if declared.get("withdrawn"):
        return str(declared["withdrawn"])
    missing = _absent(host, str(declared.get("device") or "cpu"))
    wanted, cpus = declared.get("instance_type"), declared.get("cpus") or 0
    if missing or (wanted and host.instance_type == wanted):
        return missing
    if wanted:
        return f"it is {_with_article(host.instance_type)}" if host.instance_type else "it is no EC2 instance"
    return f"it has {len(host.cpus)} CPUs, not {cpus}" if cpus > len(host.cpus) else None


def _counted_device(hardware: Mapping[str, Any], device: str) -> str:
    """The device whose cores are counted: for a replay that of the hardware."""
    return str(hardware.get("device") or "cpu") if device == REPLAY else device


def _with_article(name: Any) -> str:
    """With the article of its pronunciation: an m5.large, an inf2.xlarge, a c5.large."""
    return f"{'an' if re.match(r'[aeio]|[fhlmnrsx][0-9]', str(name).lower()) else 'a'} {name}"


def _absent(host: Host, device: str) -> str | None:
    if device == "cuda" and not host.gpus:
        return "no CUDA GPU here (nvidia-smi shows none)"
    if device == "neuron" and not host.neuron_devices:
        return "no /dev/neuron0" + (f" ({host.neuron_note})" if host.neuron_note else "")
    return None


def _too_few_here(host: Host, device: str, trial: Trial) -> str | None:
    """Why this process may use too few of the cores or GPUs that the hardware has."""
    wanted, have, what = deployment.count_all_cores(trial), len(host.cpus), "CPU"
    if device == "cuda":
        wanted, have, what = trial.replicas, len(host.gpus), "GPU"
    if device == "neuron":
        have, what = host.neuron_cores, "NeuronCore"
        if not have:
            return f"no NeuronCore may be used here: {host.neuron_note or 'see NEURON_RT_VISIBLE_CORES'}"
    if wanted <= have:
        return None
    return f"asks for {_count(wanted, what)}, this process may use {have}: use fewer cores or replicas"


def _too_many_cores(hardware: Mapping[str, Any], device: str, trial: Trial) -> str | None:
    have = count_available(hardware, device)
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
    return f"{hardware.get('name')} has no {trial.precision}: it has {', '.join(precisions)}; or use precision=auto"

"""AWS Neuron devices of this host: how many, how many NeuronCores, which processes use them.

`neuron-ls` says it; without it the driver's files are read. On a host with neither tool nor device this costs a look
into /dev and along PATH. Sources: AWS Neuron documentation, "Neuron LS User Guide" and "Neuron Sysfs User Guide".
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sweep.files import find_neuron_tool
from sweep.hardware import ec2
from sweep.isolate import procfs
from sweep.isolate.failures import shorten

SECONDS = 10.0  # neuron-ls answers in well under one; a driver that hangs must not hang us
SYSFS = "sys/devices/virtual/neuron_device"
FAMILY = re.compile(r"(?:inf|trn)\d+")
PACKAGES = ("aws-neuronx-dkms", "aws-neuronx-runtime-lib", "aws-neuronx-tools")
LOGICAL = 2  # physical cores in a NeuronCore of Trn2 and later, unless NEURON_LOGICAL_NC_CONFIG says otherwise


@dataclass(frozen=True)
class Holder:
    """A process that uses Neuron devices; it may hold only some of their cores."""

    pid: int
    command: str
    devices: tuple[int, ...]
    cores: tuple[int, ...]  # all of those devices
    runtime: str = ""  # version of its Neuron runtime


@dataclass(frozen=True)
class Neuron:
    """The Neuron devices of this host; all zero where there are none."""

    devices: int = 0
    cores: int = 0  # NeuronCores as programs see them (logical ones on Trn2) of all devices; 0 with devices: not known
    memory_mb: float | None = None  # of all devices
    instance_type: str | None = None  # "inf2.xlarge", where neuron-ls says it
    family: str | None = None  # "inf2": what the compiler calls the target
    holders: tuple[Holder, ...] = ()
    note: str = ""  # why something is not known


def look(root: Path = Path("/")) -> Neuron:
    """The Neuron devices as they are now. `root` is the file system to read, for tests."""
    nodes = sorted(int(path.name[6:]) for path in root.glob("dev/neuron[0-9]*") if path.name[6:].isdigit())
    command = find_neuron_tool("neuron-ls", root)
    if command is None and not nodes:
        return Neuron()
    listed, note = _run_neuron_ls(command) if command else (None, "neuron-ls is not installed (aws-neuronx-tools)")
    neuron = _from_list(listed, root) if listed else _from_sysfs(nodes, root)
    return replace(neuron, family=neuron.family or _find_family(neuron.instance_type or "", root), note=note)


def visible_cores(count: int) -> tuple[range, str]:
    """The NeuronCores of `count` that this process may use: all, or what NEURON_RT_VISIBLE_CORES leaves.

    Returns:
        Their numbers, and what is wrong with the variable.
    """
    text = os.environ.get("NEURON_RT_VISIBLE_CORES", "").strip()
    if not text:
        return range(count), ""
    first, _, last = text.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        return range(count), f"NEURON_RT_VISIBLE_CORES={text} is not understood (3 or 2-3 is)"
    return range(int(first), min(int(last or first) + 1, count)), ""


def format_holders(holders: Iterable[Holder]) -> str:
    """`NeuronCores 0-1: pid 123 (python serve.py)`, one part for each process; empty if no process holds any."""
    return "; ".join(f"{format_cores(holder.cores)}: pid {holder.pid} ({holder.command})" for holder in holders)


def format_cores(cores: Sequence[int]) -> str:
    """`NeuronCore 3`, `NeuronCores 0-1, 4-5`."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][-1] + 1:
            runs[-1].append(core)
        else:
            runs.append([core])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"NeuronCore{'' if len(cores) == 1 else 's'} {text or '?'}"


def read_versions(root: Path = Path("/")) -> dict[str, str]:
    """Versions of the running driver, and of Neuron's packages by the system's package manager."""
    driver = ec2.read_text(root / "sys/module/neuron/version")
    versions = {"driver": driver} if driver else {}
    for command in (["dpkg-query", "-W", "-f=${Package} ${Version}\n"], ["rpm", "-q", "--qf", "%{NAME} %{VERSION}\n"]):
        if shutil.which(command[0]):
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                lines = [line.split() for line in _run([*command, *PACKAGES])[1].splitlines()]
                versions.update({words[0]: words[1] for words in lines if len(words) == 2})
    return versions


def _run_neuron_ls(command: str) -> tuple[list[Mapping[str, Any]] | None, str]:
    """The devices that neuron-ls lists, one mapping for each; or None and why not."""
    try:
        code, output, errors = _run([command, "--json-output"])
    except subprocess.TimeoutExpired:
        return None, f"neuron-ls gave no answer in {SECONDS:.0f} s: is the driver stuck? see dmesg"
    except OSError as error:
        return None, f"neuron-ls cannot be run: {error.strerror or error}"
    devices = _parse_devices(output)
    if code == 0 and devices is not None:
        return devices, ""
    text = shorten(errors) or shorten(output)
    if code:
        return None, f"neuron-ls: {text or f'exit status {code}'}"
    return None, "neuron-ls gave no list of devices" + (f": {text}" if text else "")


def _run(command: Sequence[str]) -> tuple[int, str, str]:
    """Exit status, output and errors. A tool that hangs in a stuck driver may survive its kill, and is left behind.

    Raises:
        subprocess.TimeoutExpired: after SECONDS.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
        try:
            code = running.wait(SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.wait(1.0)
            raise
        output.seek(0)
        errors.seek(0)
        return code, output.read().decode("utf-8", "replace"), errors.read().decode("utf-8", "replace")


def _parse_devices(text: str) -> list[Mapping[str, Any]] | None:
    """The list of devices in the output, which may begin with lines of a log."""
    start = re.search(r"^\s*\[\s*[\]{]", text, re.MULTILINE)
    try:
        value = json.JSONDecoder().raw_decode(text[start.start() :].lstrip())[0] if start else None
    except ValueError:
        return None
    return [device for device in value if isinstance(device, Mapping)] if isinstance(value, list) else None


def _from_list(devices: Sequence[Mapping[str, Any]], root: Path) -> Neuron:
    cores = [_count_cores(device, root) for device in devices]
    sizes = [_positive(device.get("memory_size")) for device in devices]
    names = (device.get("instance_type") for device in devices)
    return Neuron(
        devices=len(devices),
        cores=sum(cores) if all(cores) else 0,
        memory_mb=sum(sizes) / 2**20 if all(sizes) else None,
        instance_type=next((name for name in names if isinstance(name, str) and ec2.is_instance_type(name)), None),
        holders=_list_holders(devices, cores),
    )


def _count_cores(device: Mapping[str, Any], root: Path) -> int:
    """NeuronCores of a device. `nc_count` counts logical ones already: it is not divided."""
    ids = device.get("neuroncore_ids")
    number = device.get("neuron_device")
    return (
        _positive(device.get("nc_count"))
        or (len(ids) if isinstance(ids, list) else 0)
        or _count_sysfs_cores(number, root)
    )


def _list_holders(devices: Sequence[Mapping[str, Any]], cores: Sequence[int]) -> tuple[Holder, ...]:
    holders: dict[int, Holder] = {}
    for place, device in enumerate(devices):
        ids, first = device.get("neuroncore_ids"), sum(cores[:place])
        named = [core for core in ids if isinstance(core, int)] if isinstance(ids, list) else []
        own = tuple(named or range(first, first + cores[place]))
        users = device.get("neuron_processes")
        for user in users if isinstance(users, list) else ():
            pid = _positive(user.get("pid")) if isinstance(user, Mapping) else 0
            if pid:
                command = shorten(str(user.get("command") or "")) or procfs.read_name(pid)
                old = holders.get(pid) or Holder(pid, command, (), (), str(user.get("neuron_runtime_version") or ""))
                number = device.get("neuron_device")
                devices_of = (*old.devices, number if isinstance(number, int) else place)
                holders[pid] = replace(old, devices=devices_of, cores=(*old.cores, *own))
    return tuple(holders.values())


def _from_sysfs(nodes: Sequence[int], root: Path) -> Neuron:
    cores = [_count_sysfs_cores(node, root) for node in nodes]
    return Neuron(devices=len(nodes), cores=sum(cores) if all(cores) else 0)


def _count_sysfs_cores(device: Any, root: Path) -> int:
    """NeuronCores of one device from the driver, which counts physical cores; 0 where it does not say."""
    text = ec2.read_text(root / SYSFS / f"neuron{device}/core_count")
    if not text.isdigit():
        return 0
    family = _find_family("", root)
    if family is None or family[:3] != "trn" or int(family[3:]) < 2:
        return int(text)
    wanted = os.environ.get("NEURON_LOGICAL_NC_CONFIG", "")
    return int(text) // (int(wanted) if wanted in ("1", "2") else LOGICAL)


def _find_family(instance_type: str, root: Path) -> str | None:
    """`inf2` from `inf2.xlarge`, else from the driver, which calls it Inf2."""
    kinds = sorted(root.glob(f"{SYSFS}/neuron*/info/architecture/instance_type")) if not instance_type else ()
    for text in (instance_type, *map(ec2.read_text, kinds)):
        match = FAMILY.match(text.lower())
        if match:
            return match[0]
    return None


def _positive(value: Any) -> int:
    """A positive integer, or 0 for everything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0

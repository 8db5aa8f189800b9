"""The verb `doctor`: which backends and hardware types are here, and what is missing."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import DISTRIBUTION, backends
from sweep.backends.base import Backend
from sweep.files import find_neuron_tool
from sweep.hardware import neuron, rules
from sweep.hardware.host import Host, detect
from sweep.isolate.pool import Limits, Workers
from sweep.spec import Outcome, installed
from sweep.spec.requests import ProbeRequest
from sweep.text import count, to_single_line
from sweep.verbs.tables import make_table, show

if TYPE_CHECKING:
    from rich.table import Table


def doctor() -> None:
    """Show each backend and hardware type with its version, or what is missing and how to get it."""
    host = detect()
    show(_host_table(host), _backend_table(), *_to_verify(), _hardware_table(host))


def _host_table(host: Host) -> "Table":
    table = make_table("this host", "")
    cores = f"{count(host.cores, 'core')} ({count(len(host.cpus), 'CPU')})"
    table.add_row("instance type", host.instance_type or "unknown: no EC2 instance, or it does not say")
    table.add_row("processor", f"{host.cpu}, {cores}")
    table.add_row("", " ".join(host.features))
    table.add_row("memory", f"{host.memory_mb / 1024:.0f} GiB")
    for gpu in host.gpus:
        table.add_row("GPU", gpu.name + (f", {gpu.memory_mb / 1024:.0f} GiB" if gpu.memory_mb else ""))
    if not host.gpus:
        table.add_row("GPU", "none")
    for name, text in _neuron_rows(host):
        table.add_row(name, text)
    return table


def _neuron_rows(host: Host) -> Iterator[tuple[str, str]]:
    """The Neuron devices, their tools, and who uses them at this moment."""
    tools = [path for path in map(find_neuron_tool, ("neuron-ls", "neuron-monitor")) if path]
    if not host.neuron_devices and not tools:
        yield "Neuron", "none (no /dev/neuron0)"
        return
    now = neuron.look()
    chips = f"{count(now.devices, 'chip')}{f' ({now.family})' if now.family else ''}"
    numbers = range(host.neuron_first, host.neuron_first + host.neuron_cores)
    usable = neuron.format_cores(numbers) if numbers else "no NeuronCore"
    memory = f", {now.memory_mb / 1024:.0f} GiB" if now.memory_mb else ""
    whole = "" if len(numbers) == now.cores else f" of {now.cores} (NEURON_RT_VISIBLE_CORES)"
    yield "Neuron", f"{chips}{memory}: {usable}{whole} for this process" if now.devices else "none (no /dev/neuron0)"
    yield "Neuron tools", ", ".join(tools) or "none: install aws-neuronx-tools"
    known = neuron.read_versions()
    yield "Neuron versions", ", ".join(f"{name} {version}" for name, version in known.items()) or "not known"
    runtimes = {holder.runtime for holder in now.holders if holder.runtime}
    suffix = f"; runtime {', '.join(sorted(runtimes))}" if runtimes else ""
    if now.devices:
        yield "Neuron in use by", (neuron.format_holders(now.holders) or "nobody") + suffix
    if host.neuron_note:
        yield "Neuron note", host.neuron_note


def _to_verify() -> Sequence[Any]:
    """The commands that try each Neuron backend on a device, which this project has never done."""
    lines = []
    for name in backends.names():
        backend = backends.get(name)
        if "neuron" in backend.devices:
            model = "digits" if "module" in backend.formats else "MINE"
            lines.append(f"python -m sweep backend={name} model={model} effort=quick")
    if not lines:
        return ()
    table = make_table("Neuron backends: never run on a device by this project. To verify, on an instance:")
    for line in lines:
        table.add_row(line)
    return (table,)


def _backend_table() -> "Table":
    table = make_table("backend", "here", "precisions", "devices", "versions; what is missing")
    names = backends.names()
    with tempfile.TemporaryDirectory() as folder, Workers() as workers, ThreadPoolExecutor(2) as pool:
        probes = [pool.submit(_probe, workers, Path(folder) / name, name) for name in names]
        for name, probe in zip(names, probes, strict=True):
            table.add_row(*_backend_row(backends.get(name), probe.result()))
    return table


def _probe(workers: Workers, folder: Path, name: str) -> Outcome:
    folder.mkdir()
    return workers.run(ProbeRequest(name), folder, limits=Limits(60.0, None))


def _backend_row(backend: type[Backend], probe: Outcome) -> Sequence[str]:
    versions = installed.versions(backend.packages)
    missing = [name for name, version in versions.items() if version is None]
    partly = [
        f"{precision} needs {name}"
        for precision, packages in backend.optional_packages.items()
        for name, version in installed.versions(packages).items()
        if version is None
    ]
    problem = probe.failure.summary if probe.failure and not missing else ""
    hints = [f"not installed: {', '.join(missing)}"] if missing else []
    hints += [to_single_line(problem)] if problem else []
    hints += partly
    if backend.extra and (missing or partly):
        hints.append(f"pip install '{DISTRIBUTION}[{backend.extra}]'")
    here = "no" if missing or problem else "yes"
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    devices = ", ".join((probe.result or {}).get("devices", ())) or "–"
    return backend.name, here, ", ".join(backend.precisions), devices, "; ".join(filter(None, (shown, *hints)))


def _hardware_table(host: Host) -> "Table":
    from sweep.config import compose

    table = make_table("hardware", "here", "what it has", "why this host is not it")
    table.add_row("local", "yes", "see above", "")
    types = (declared for declared in compose.load_hardware_types() if declared["name"] != "local")
    for declared in sorted(
        types, key=lambda hardware: (str(hardware["name"]).partition("_")[0], hardware.get("cpus") or 0)
    ):
        reason = rules.describe_lack(host, declared)
        table.add_row(str(declared["name"]), "no" if reason else "yes", _has(declared), reason or "")
    return table


def _has(declared: Mapping[str, Any]) -> str:
    """`2 NeuronCores`: what `cores` of a hardware type counts."""
    unit = {"neuron": "NeuronCore", "cuda": "GPU", "eia": "accelerator"}.get(str(declared.get("device")), "core")
    return count(int(declared["cores"]), unit) if declared.get("cores") else ""

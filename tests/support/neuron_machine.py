"""A pretended Neuron machine on disk: an interpreter with the doubles installed, the tools, and a state folder.

Nothing here says how fast a device is: the doubles compute on the CPU.
"""

import importlib.util
import json
import os
import shutil
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

DOUBLES = Path(__file__).parents[1] / "doubles"


def _shared() -> None:
    """Make `neuron_double` importable here, and it alone: the doubles of frameworks are for other interpreters."""
    folder = DOUBLES / "neuron_double"
    spec = importlib.util.spec_from_file_location(
        folder.name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    sys.modules[folder.name] = importlib.util.module_from_spec(spec)


_shared()

from neuron_double.fault_table import FAULTS, OPTIONS  # noqa: E402  # found since `_shared`
from neuron_double.machines import MACHINES  # noqa: E402  # found since `_shared`

# wheel -> packages that it installs, {distribution: version}, its compiler
WHEELS: dict[str, tuple[tuple[str, ...], dict[str, str], str]] = {
    "torch_neuronx": (
        ("torch_neuronx", "neuron_double_torch"),
        {"torch-neuronx": "2.9.0.2.15.32035", "neuronx-cc": "2.26.6360.0"},
        "neuronx-cc",
    ),
    "torch_neuron": (
        ("torch_neuron", "neuron_double_torch"),
        {"torch-neuron": "1.13.1.2.11.13.0", "neuron-cc": "1.24.0.0"},
        "neuron-cc",
    ),
    "tensorflow_neuronx": (
        ("tensorflow", "tensorflow_neuronx", "tensorflow_double"),
        {"tensorflow": "2.10.1", "tensorflow-neuronx": "2.10.1.2.1.0", "neuronx-cc": "2.26.6360.0"},
        "neuronx-cc",
    ),
    "tensorflow_neuron": (
        ("tensorflow", "tensorflow_neuron", "tensorflow_double"),
        {"tensorflow": "2.10.1", "tensorflow-neuron": "2.10.1.2.11.4.0", "neuron-cc": "1.24.0.0"},
        "neuron-cc",
    ),
}
# TensorFlow 1 with the compiler of the sweep that was published in 2020
WHEELS["tensorflow_neuron_1"] = (
    WHEELS["tensorflow_neuron"][0],
    {"tensorflow": "1.15.5", "tensorflow-neuron": "1.15.5.2.8.9.0", "neuron-cc": "1.0.18001.0+0.5312e6a21"},
    "neuron-cc",
)
# package -> {program: module and function}
SCRIPTS = {"tensorflow_neuron": {"tf-neuron-auto-multicore": ("auto_multicore_save_model", "convert_model")}}
# Starts Python through sh, because a path in a temporary folder can be too long for a first line.
_PROGRAM = """#!/bin/sh
''''exec '{python}' -SE "$0" "$@" # '''
import sys
sys.path.insert(0, {site!r})
from neuron_double import {module}
sys.exit({module}.main({arguments}sys.argv[1:]))
"""
_ABSENT = {
    "compiler_absent": ("neuronx-cc", "neuron-cc"),
    "ls_absent": ("neuron-ls",),
    "monitor_absent": ("neuron-monitor",),
}


class NeuronHost:
    """A machine of `instance_type` in `folder`, with the named wheels installed.

    Args:
        tools: the shape of what neuron-ls and neuron-monitor print: `documented`, or `real` as seen on an instance.
        placement: where torch_neuronx has its placement functions: `ga`, or `experimental` as in old releases.
        core_memory_bytes: that one core can hold; the instance's own by default.
        versions: of the distributions, names with underscores: `neuronx_cc="2.20.0.0"`.
    """

    def __init__(
        self,
        folder: Path,
        wheels: tuple[str, ...] = ("torch_neuronx",),
        instance_type: str = "inf2.xlarge",
        *,
        tools: str = "documented",
        placement: str = "ga",
        core_memory_bytes: int | None = None,
        **versions: str,
    ) -> None:
        self.folder = folder.resolve()
        self.state = self.folder / "state"
        self.state.mkdir(parents=True)
        venv.create(self.folder / "venv", symlinks=True, with_pip=False)
        self.bin = self.folder / "venv" / "bin"
        self.python = str(self.bin / "python")
        self.site = Path(sysconfig.get_path("purelib", "venv", {"base": str(self.folder / "venv")}))
        self.is_whole = True
        self._write_host(instance_type, tools, placement, core_memory_bytes)
        self._install(wheels, versions)

    @property
    def env(self) -> dict[str, str]:
        """What a process needs to be on this machine, over its own environment."""
        path = os.pathsep.join([str(self.bin), os.environ.get("PATH", os.defpath)])
        return {"PATH": path, "NEURON_DOUBLE": str(self.state), "AWS_EC2_METADATA_DISABLED": "true"}

    def fault(self, name: str, **when: Any) -> None:
        """Let `name` of FAULTS strike from now on.

        `times` limits how often (over all processes), `after` lets so many through first, `seconds` is for delays and
        hangs, `variant` chooses the text. Everything else is a condition: batch, cores, core, pipeline, target,
        auto_cast, precision, package, inputs ...; a list means any of these values.
        """
        assert name in FAULTS, f"no fault {name}: there are {', '.join(FAULTS)}"
        assert 0 <= when.get("variant", 0) < max(1, len(FAULTS[name].texts)), f"{name} has no such variant"
        for program in _ABSENT.get(name, ()):
            (self.bin / program).unlink(missing_ok=True)
            self.is_whole = False
        faults = self._lines_of("faults.json")
        self._replace("faults.json", [*faults, {"name": name, **when}])

    def heal(self) -> None:
        """End all faults but absent programs."""
        self._replace("faults.json", [])
        (self.state / "struck.json").unlink(missing_ok=True)

    def renew(self) -> None:
        """Forget all faults, calls and violations."""
        host = (self.state / "host.json").read_bytes()
        shutil.rmtree(self.state)
        self.state.mkdir()
        (self.state / "host.json").write_bytes(host)

    def struck(self) -> list[dict[str, Any]]:
        """Each time a fault struck: {"fault", "stage", "package"}."""
        return self._entries("struck.jsonl")

    def violations(self) -> list[dict[str, Any]]:
        """The documented rules that were broken: {"rule", "text", "package"}."""
        return self._entries("violations.jsonl")

    def calls(self, name: str) -> list[dict[str, Any]]:
        """The recorded calls of `name`: their arguments, "pid", and "env" with NEURON_* as they saw it."""
        return [call for call in self._entries("calls.jsonl") if call["name"] == name]

    def _write_host(self, instance_type: str, tools: str, placement: str, core_memory_bytes: int | None) -> None:
        assert tools in ("documented", "real"), tools
        assert placement in ("ga", "experimental"), placement
        machine = MACHINES[instance_type]
        host = {
            "instance_type": instance_type,
            "generation": machine.generation,
            "family": machine.family,
            "devices": machine.devices,
            "cores_per_device": machine.cores,
            "device_memory_bytes": machine.device_memory_bytes,
            "core_memory_bytes": core_memory_bytes or machine.core_memory_bytes,
            "lnc": machine.lnc,
            "tools": tools,
            "placement": placement,
        }
        self._replace("host.json", host)

    def _install(self, wheels: tuple[str, ...], versions: dict[str, str]) -> None:
        here = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
        (self.site / "environment.pth").write_text("\n".join(here) + "\n")
        packages, distributions, compilers = {"neuron_double": None}, {}, {}
        for wheel in wheels:
            folders, dists, compiler = WHEELS[wheel]
            packages.update(dict.fromkeys(folders))
            distributions.update(dists)
            compilers[compiler] = compiler
        unknown = [name for name in versions if name.replace("_", "-") not in distributions]
        assert not unknown, f"no distribution {unknown} here: there are {', '.join(distributions)}"
        distributions.update({name.replace("_", "-"): version for name, version in versions.items()})
        for package in packages:
            if (DOUBLES / package).exists():
                shutil.copytree(DOUBLES / package, self.site / package)
        for name, version in distributions.items():
            self._describe(name, version)
        for compiler in compilers:
            self._program(compiler, "compiler", f"{compiler!r}, {distributions[compiler]!r}, ")
        for package in packages:
            for program, (module, function) in SCRIPTS.get(package, {}).items():
                self._script(program, f"{package}.{module}", function)
        self._program("neuron-ls", "tool_ls")
        self._program("neuron-monitor", "tool_monitor")

    def _describe(self, name: str, version: str) -> None:
        folder = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (folder / "INSTALLER").write_text("pip\n")

    def _program(self, name: str, module: str, arguments: str = "") -> None:
        program = self.bin / name
        program.write_text(_PROGRAM.format(python=self.python, site=str(self.site), module=module, arguments=arguments))
        program.chmod(0o755)

    def _script(self, name: str, module: str, function: str) -> None:
        """A program that a wheel installs, as pip would write it."""
        start = f"import sys; from {module} import {function}; sys.exit({function}())"
        script = self.bin / name
        script.write_text(f"#!/bin/sh\nexec '{self.python}' -c '{start}' \"$@\"\n")
        script.chmod(0o755)

    def _lines_of(self, name: str) -> list[dict[str, Any]]:
        file = self.state / name
        return json.loads(file.read_text()) if file.exists() else []

    def _replace(self, name: str, content: Any) -> None:
        partial = self.state / f"{name}.new"
        partial.write_text(json.dumps(content))
        partial.replace(self.state / name)

    def _entries(self, name: str) -> list[dict[str, Any]]:
        file = self.state / name
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


class NeuronHosts:
    """Machines that the tests of a session share, one of each kind; a test gets it as good as new.

    So their interpreters are written once, and servers of workers can be handed on from test to test.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._hosts: dict[tuple[Any, ...], NeuronHost] = {}
        self._count = 0

    def get(self, wheel: str, instance_type: str) -> NeuronHost:
        host = self._hosts.get((wheel, instance_type))
        if host is None or not host.is_whole:
            self._count += 1
            host = NeuronHost(self._folder / f"machine{self._count}", (wheel,), instance_type, tools="real")
            self._hosts[wheel, instance_type] = host
        host.renew()
        return host


__all__ = ["FAULTS", "MACHINES", "OPTIONS", "WHEELS", "NeuronHost", "NeuronHosts"]

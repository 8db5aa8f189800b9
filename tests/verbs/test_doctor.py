"""What `python -m sweep doctor` says of a host."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from sweep.backends.base import Backend
from sweep.hardware import neuron
from sweep.hardware.host import Gpu, Host, detect
from sweep.hardware.neuron import Holder, Neuron
from sweep.verbs import doctor

HOST = Host(cpus=(0, 1), cores=1, memory_mb=16384.0, cpu="Some CPU", features=("avx2", "fma"))
INF2 = replace(
    HOST, instance_type="inf2.24xlarge", neuron_devices=6, neuron_cores=12, neuron_per_chip=2, neuron_memory_mb=196608.0
)
CHIPS = Neuron(devices=6, cores=12, memory_mb=196608.0, instance_type="inf2.24xlarge", family="inf2")
ABSENT = Neuron()
Say = Callable[..., str]


@pytest.fixture
def says(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Say:
    """What is printed on a host, in a terminal of 80 columns; without the backends, which take seconds to ask."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(doctor, "_backend_table", lambda: "")

    def say(host: Host, now: Neuron = ABSENT, tools: bool = False, versions: dict[str, str] | None = None) -> str:
        monkeypatch.setattr(doctor, "detect", lambda: host)
        monkeypatch.setattr(neuron, "look", lambda: now)
        monkeypatch.setattr(neuron, "read_versions", lambda: versions or {})
        monkeypatch.setattr(doctor, "find_neuron_tool", lambda name: f"/opt/{name}" if tools else None)
        doctor.doctor()
        printed = capsys.readouterr().out
        assert all(len(line) <= 80 for line in printed.splitlines())
        return printed

    return say


def row(printed: str, name: str) -> str:
    """The rest of a row, with the lines that it is folded into."""
    lines = printed.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split(" ")[1:] and line[1:].startswith(name + " "))
    found = [lines[start][1 + len(name) :]]
    for line in lines[start + 1 :]:
        if not line.startswith("    ") or not line.strip():
            break
        found.append(line)
    return " ".join(" ".join(found).split())


def test_a_host_without_devices(says: Say) -> None:
    printed = says(HOST)
    assert row(printed, "instance type") == "unknown: no EC2 instance, or it does not say"
    assert row(printed, "processor") == "Some CPU, 1 core (2 CPUs) avx2 fma"
    assert row(printed, "memory") == "16 GiB"
    assert row(printed, "GPU") == "none"
    assert row(printed, "Neuron") == "none (no /dev/neuron0)"
    assert "Neuron tools" not in printed
    assert row(printed, "local") == "yes see above"
    assert row(printed, "inf2_24xlarge") == "no 12 NeuronCores no /dev/neuron0"
    assert row(printed, "c5_2xlarge") == "no 4 cores it is no EC2 instance"
    assert "no longer available" in row(printed, "c5_2xlarge_eia2_large")


def test_every_hardware_type_says_whether_it_is_this_host(says: Say) -> None:
    printed = says(INF2, CHIPS)
    assert row(printed, "inf2_24xlarge") == "yes 12 NeuronCores"
    assert row(printed, "inf2_48xlarge") == "no 24 NeuronCores it is an inf2.24xlarge"
    order = [line.split()[0] for line in printed.splitlines() if line.startswith(" inf2_")]
    assert order == ["inf2_xlarge", "inf2_8xlarge", "inf2_24xlarge", "inf2_48xlarge"]


def test_devices_are_listed_with_their_users(says: Say) -> None:
    holders = (Holder(123, "python serve.py", (0,), (0, 1), "2.31.13.0"),)
    versions = {"driver": "2.24.13.0", "aws-neuronx-tools": "2.31.13.0"}
    printed = says(INF2, replace(CHIPS, holders=holders), True, versions)
    assert row(printed, "Neuron") == "6 chips (inf2), 192 GiB: NeuronCores 0-11 for this process"
    assert row(printed, "Neuron tools") == "/opt/neuron-ls, /opt/neuron-monitor"
    assert row(printed, "Neuron versions") == "driver 2.24.13.0, aws-neuronx-tools 2.31.13.0"
    assert row(printed, "Neuron in use by") == "NeuronCores 0-1: pid 123 (python serve.py); runtime 2.31.13.0"
    assert row(says(INF2, CHIPS), "Neuron in use by") == "nobody"
    assert "install aws-neuronx-tools" in row(says(INF2, CHIPS), "Neuron tools")


def test_cores_outside_this_process_are_counted(says: Say) -> None:
    printed = says(replace(INF2, neuron_first=2, neuron_cores=2), CHIPS)
    assert "NeuronCores 2-3 of 12 (NEURON_RT_VISIBLE_CORES) for this process" in row(printed, "Neuron")


def test_tools_without_a_device_say_why(says: Say) -> None:
    note = "neuron-ls: no driver"
    printed = says(replace(HOST, neuron_note=note), Neuron(note=note), True)
    assert row(printed, "Neuron") == "none (no /dev/neuron0)"
    assert row(printed, "Neuron note") == note
    assert "in use" not in printed


def test_gpus_are_listed(says: Say) -> None:
    printed = says(replace(HOST, gpus=(Gpu("Tesla T4", 15360.0), Gpu("Odd"))))
    assert "Tesla T4, 15 GiB" in printed
    assert "Odd" in printed


def test_commands_to_verify_neuron_backends_are_printed(says: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    class Cast(Backend):
        name = "cast"
        precisions = ("bf16", "fp16")
        devices = ("neuron",)

    class Plain(Backend):
        name = "plain"

    monkeypatch.setattr(doctor.backends, "names", lambda: ("cast", "plain"))
    monkeypatch.setattr(doctor.backends, "get", lambda name: {"cast": Cast, "plain": Plain}[name])
    printed = says(HOST)
    assert "never run on a device by this project" in " ".join(printed.split())
    assert "python -m sweep backend=cast model=digits effort=quick" in " ".join(printed.split())
    assert "backend=plain" not in printed


@pytest.mark.process
def test_the_whole_of_it_on_this_host(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.backends, "names", lambda: ("fake",))  # the others take seconds to import
    doctor.doctor()
    printed = capsys.readouterr().out
    assert row(printed, "fake").startswith("yes fp32")
    assert detect().cpu[:10] in printed

"""What is detected on hosts made of files, and which trials a host refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import hardware
from sweep.hardware import Gpu, Host
from sweep.spec import Status, Trial

HOST = Host(cpus=(0, 1), cores=2, memory_mb=8192.0, cpu="Some CPU", features=("avx2",))
LOCAL: dict[str, Any] = {"name": "local", "device": "cpu", "precisions": ["fp32", "int8"], **hardware.local(HOST)}
NEURON, CUDA = {"name": "b", "device": "neuron"}, {"name": "b", "device": "cuda"}
INF2: dict[str, Any] = {
    "name": "inf2_xlarge", "instance_type": "inf2.xlarge", "device": "neuron",
    "cores": 2, "cpus": 4, "precisions": ["fp32", "bf16"],
}  # fmt: skip
TRIAL = Trial({"name": "m"}, {"name": "d"}, LOCAL, {"name": "b", "device": "cpu"}, "fp32", 1, 1, 1)


def host_of(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return hardware.detect(root)


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four logical CPUs: two cores with two hyper-threads each, numbered 0,2 and 1,3... as siblings say."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


TOPOLOGY = {
    f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": "0-1\n" if n < 2 else "2-3\n" for n in range(4)
}
MEMORY = {"proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n"}
INFO = {
    "proc/cpuinfo": "processor\t: 0\nmodel name\t: Fast CPU\nflags\t\t: fpu avx2 avx512f amx_bf16 avx512_vnni\n\n"
    "processor\t: 1\nmodel name\t: other\n"
}


@pytest.mark.usefixtures("four")
def test_physical_cores_come_before_their_hyper_threads(tmp_path: Path) -> None:
    host = host_of(tmp_path, {**TOPOLOGY, **MEMORY, **INFO})
    assert (host.cpus, host.cores) == ((0, 2, 1, 3), 2)
    assert host.memory_mb == 15872.0  # 16,000 MiB, rounded down to steps of 256
    assert host.cpu == "Fast CPU"
    assert host.features == ("amx_bf16", "avx512_vnni", "avx512f", "avx2")
    assert (host.gpus, host.neuron_devices, host.instance_type) == ((), 0, None)
    assert host.place(1, 2) == ((0,), (2,))
    assert host.place(2, 2) == ((0, 2), (1, 3))
    with pytest.raises(ValueError, match="3 x 2 cores"):
        host.place(2, 3)


@pytest.mark.usefixtures("four")
def test_without_a_topology_every_cpu_is_a_core(tmp_path: Path) -> None:
    host = host_of(tmp_path, MEMORY)
    assert (host.cpus, host.cores) == ((0, 1, 2, 3), 4)


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(
    ("files", "cpus", "memory_mb"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "150000 100000\n",
          "sys/fs/cgroup/a/b/cpu.max": "max 100000\n",
          "sys/fs/cgroup/a/b/memory.max": f"{2**30}\n"}, 1, 1024.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000",
          "sys/fs/cgroup/memory.max": "max"}, 3, 15872.0),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**31}"}, 2, 2048.0),
        ({"sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1", "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
          "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712"}, 4, 15872.0),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "10000 100000"}, 1, 15872.0),
    ],
)  # fmt: skip
def test_limits_of_control_groups(tmp_path: Path, files: dict[str, str], cpus: int, memory_mb: float) -> None:
    host = host_of(tmp_path, {**MEMORY, **files})
    assert (len(host.cpus), host.memory_mb) == (cpus, memory_mb)
    assert host.cores <= len(host.cpus)


@pytest.mark.usefixtures("four")
def test_gpus_from_the_driver_and_the_visible_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    files = {f"proc/driver/nvidia/gpus/{n}/information": f"Model: \t\t Tesla T{n}\nIRQ: 5\n" for n in (4, 5)}
    assert host_of(tmp_path, files).gpus == (Gpu("Tesla T4"), Gpu("Tesla T5"))
    for visible, expected in {
        "1": (Gpu("Tesla T5"),),
        "": (),
        "-1": (),
        "0,7": (Gpu("Tesla T4"),),
        "GPU-abc": (Gpu("Tesla T4"), Gpu("Tesla T5")),
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        hardware.detect.cache_clear()
        assert hardware.detect(tmp_path).gpus == expected


@pytest.mark.usefixtures("four")
def test_gpus_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA A10G, 23028'\necho 'Big, one, [N/A]'\n")
    tool.chmod(0o755)
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    monkeypatch.setattr("shutil.which", lambda _: str(tool))
    assert hardware.detect(tmp_path).gpus == (Gpu("NVIDIA A10G", 23028.0), Gpu("Big, one", None))
    tool.write_text("#!/bin/sh\nexit 9\n")
    hardware.detect.cache_clear()
    assert hardware.detect(tmp_path).gpus == ()


@pytest.mark.usefixtures("four")
def test_instance_type_and_neuron_devices(tmp_path: Path) -> None:
    firmware = "sys/devices/virtual/dmi/id"
    host = host_of(
        tmp_path,
        {f"{firmware}/product_name": "inf2.xlarge\n", f"{firmware}/sys_vendor": "Amazon EC2\n", "dev/neuron0": ""},
    )
    assert (host.instance_type, host.neuron_devices) == ("inf2.xlarge", 1)
    assert hardware.mismatch(host, INF2) is None


@pytest.mark.usefixtures("four")
def test_arm(tmp_path: Path) -> None:
    assert host_of(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd i8mm bf16\n"}).features == (
        "neon",
        "i8mm",
        "bf16",
    )


def test_this_host_is_detected() -> None:
    host = hardware.detect()
    assert 1 <= host.cores <= len(host.cpus) == len(set(host.cpus))
    assert host.memory_mb > 0
    assert host is hardware.detect()


def test_local_is_filled_and_keeps_what_is_set() -> None:
    filled = hardware.fill({"name": "local", "cores": 1, "cpus": None, "price": []}, HOST)
    assert (filled["cores"], filled["cpus"], filled["cpu"], filled["price"]) == (1, 2, "Some CPU", [])
    assert hardware.fill({"name": "other", "cores": None}, HOST) == {"name": "other", "cores": None}


@given(st.integers(1, 64), st.integers(1, 64))
def test_replicas_auto_never_ask_for_more_than_there_is(cores: int, each: int) -> None:
    count = hardware.replicas({"name": "local", "device": "cpu", "cores": cores, "cpus": cores}, "cpu", each)
    assert count >= 1
    assert count == 1 or count * each <= cores


def test_replicas_auto_on_devices() -> None:
    assert hardware.replicas(INF2, "neuron", 1) == 2
    assert hardware.replicas({**LOCAL, "gpus": [{}, {}, {}]}, "cuda", 1) == 3
    assert hardware.replicas({"device": "cpu", "cores": None}, "cpu", 1) == 1


@pytest.mark.parametrize(
    ("changes", "status", "words"),
    [
        ({}, None, ""),
        ({"cores": 2}, None, ""),
        ({"cores": 4}, Status.INVALID, "asks for 4 cores, this host has 2: use cores=1,2"),
        ({"cores": 2, "replicas": 2}, Status.INVALID,
         "asks for 2 replicas x 2 cores = 4 cores, this host has 2: use cores=1 or replicas=auto"),
        ({"replicas": 3}, Status.INVALID,
         "asks for 3 replicas x 1 core = 3 cores, this host has 2: use replicas=auto"),
        ({"precision": "bf16"}, Status.INVALID, "local has no bf16: it has fp32, int8"),
        ({"backend": CUDA}, Status.UNAVAILABLE, "no CUDA GPU here"),
        ({"backend": NEURON}, Status.UNAVAILABLE, "no /dev/neuron0"),
        ({"hardware": INF2}, Status.UNAVAILABLE, "this host is not an inf2.xlarge: no /dev/neuron0; run on one"),
        ({"hardware": INF2, "cores": 8}, Status.INVALID, "asks for 8 cores, inf2_xlarge has 4"),
        ({"hardware": INF2, "cores": 4, "backend": NEURON}, Status.INVALID,
         "asks for 4 NeuronCores, inf2_xlarge has 2: use cores=1,2"),
        ({"hardware": INF2, "precision": "int8", "backend": NEURON}, Status.INVALID,
         "inf2_xlarge has no int8: it has fp32, bf16"),
        ({"hardware": INF2, "backend": CUDA}, Status.INVALID, "inf2_xlarge has no cuda: it has cpu and neuron"),
    ],
)  # fmt: skip
def test_rules(changes: dict[str, Any], status: Status | None, words: str) -> None:
    found, reason = hardware.rules(HOST, replace(TRIAL, **changes))
    assert found == status
    assert reason.startswith(words)


C5 = {"name": "c5", "instance_type": "c5.2xlarge", "device": "cpu"}
G4DN = {"name": "g", "instance_type": "g4dn.xlarge", "device": "cuda"}


@pytest.mark.parametrize(
    ("host", "declared", "words"),
    [
        (HOST, {"name": "box", "device": "cpu", "cpus": 2}, None),
        (HOST, {"name": "box", "device": "cpu", "cpus": 16}, "this host is not a box: it has 2 CPUs, not 16"),
        (HOST, C5, "this host is not a c5.2xlarge: it is a Some CPU, not EC2"),
        (replace(HOST, instance_type="m5.large"), C5, "this host is not a c5.2xlarge: it is an m5.large"),
        (replace(HOST, instance_type="inf2.xlarge"), INF2, "no /dev/neuron0"),
        (replace(HOST, gpus=(Gpu("T4"),), instance_type="g4dn.xlarge"), G4DN, None),
    ],
)  # fmt: skip
def test_mismatch(host: Host, declared: dict[str, Any], words: str | None) -> None:
    found = hardware.mismatch(host, declared)
    assert found == words or (found is not None and words is not None and words in found)

"""What is detected on hosts made of files, and which trials a host refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import compose
from sweep.hardware import rules
from sweep.hardware.host import Gpu, Host, detect
from sweep.spec import Status, Trial
from sweep.spec.settings import PRECISIONS

HOST = Host(cpus=(0, 1), cores=2, memory_mb=8192.0, cpu="Some CPU", features=("avx2",))
LOCAL: dict[str, Any] = {"name": "local", "device": "cpu", "precisions": ["fp32", "int8"], **rules.describe_local(HOST)}
NEURON, CUDA = {"name": "b", "device": "neuron"}, {"name": "b", "device": "cuda"}
REPLAY = {"name": "replay", "device": "replay"}
INF2: dict[str, Any] = {
    "name": "inf2_xlarge", "instance_type": "inf2.xlarge", "device": "neuron",
    "cores": 2, "cpus": 4, "precisions": ["fp32", "bf16"],
}  # fmt: skip
INF1: dict[str, Any] = {**INF2, "name": "inf1_6xlarge", "instance_type": "inf1.6xlarge", "cores": 16, "cpus": 24}
EIA: dict[str, Any] = {
    "name": "eia", "instance_type": "c5.2xlarge", "device": "eia", "cores": 1, "cpus": 8, "precisions": ["fp32"],
    "withdrawn": "no longer available: use another hardware",
}  # fmt: skip
ON_INF1 = replace(HOST, instance_type="inf1.6xlarge", neuron_devices=4, neuron_cores=16, neuron_per_chip=4)
TRIAL = Trial({"name": "m"}, {"name": "d"}, LOCAL, {"name": "b", "device": "cpu"}, "fp32", 1, 1, 1)


def host_of(root: Path, files: dict[str, str]) -> Host:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return detect(root)


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
        detect.cache_clear()
        assert detect(tmp_path).gpus == expected


@pytest.mark.process
@pytest.mark.usefixtures("four")
def test_gpus_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    rows = ("NVIDIA A10G, 23028, Default", "NVIDIA A10G, 23028", "Big, one, [N/A], Exclusive_Process")
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))
    tool.chmod(0o755)
    (tmp_path / "proc/driver/nvidia").mkdir(parents=True)
    monkeypatch.setattr("shutil.which", lambda _: str(tool))
    assert detect(tmp_path).gpus == (*[Gpu("NVIDIA A10G", 23028.0)] * 2, Gpu("Big, one", None, exclusive=True))
    assert rules.describe_local(detect(tmp_path))["exclusive"]
    tool.write_text("#!/bin/sh\nexit 9\n")
    detect.cache_clear()
    assert detect(tmp_path).gpus == ()


@pytest.mark.usefixtures("four")
def test_instance_type_and_neuron_devices(tmp_path: Path) -> None:
    firmware = "sys/devices/virtual/dmi/id"
    host = host_of(
        tmp_path,
        {f"{firmware}/product_name": "inf2.xlarge\n", f"{firmware}/sys_vendor": "Amazon EC2\n", "dev/neuron0": ""},
    )
    assert (host.instance_type, host.neuron_devices) == ("inf2.xlarge", 1)
    assert rules.describe_mismatch(host, INF2) is None


@pytest.mark.usefixtures("four")
def test_arm(tmp_path: Path) -> None:
    assert host_of(tmp_path, {"proc/cpuinfo": "processor : 0\nFeatures : fp asimd i8mm bf16\n"}).features == (
        "neon",
        "i8mm",
        "bf16",
    )


def test_this_host_is_detected() -> None:
    host = detect()
    assert 1 <= host.cores <= len(host.cpus) == len(set(host.cpus))
    assert host.memory_mb > 0
    assert host is detect()


def test_local_is_filled_and_keeps_what_is_set() -> None:
    filled = rules.fill({"name": "local", "cores": 1, "cpus": None, "price": []}, HOST)
    assert (filled["cores"], filled["cpus"], filled["cpu"], filled["price"]) == (1, 2, "Some CPU", [])
    assert rules.fill({"name": "other", "cores": None}, HOST) == {"name": "other", "cores": None}


@given(st.integers(1, 64), st.integers(1, 64))
def test_replicas_auto_never_ask_for_more_than_there_is(cores: int, each: int) -> None:
    count = rules.count_replicas({"name": "local", "device": "cpu", "cores": cores, "cpus": cores}, "cpu", each)
    assert count >= 1
    assert count == 1 or count * each <= cores


def test_replicas_auto_on_devices() -> None:
    assert rules.count_replicas(INF2, "neuron", 1) == 2
    assert rules.count_replicas({**LOCAL, "gpus": [{}, {}, {}]}, "cuda", 1) == 3
    assert rules.count_replicas({"device": "cpu", "cores": None}, "cpu", 1) == 1
    assert [rules.count_replicas(INF1, "neuron", each) for each in (1, 3, 4, 16, 64)] == [16, 5, 4, 1, 1]
    assert rules.count_replicas(INF1, "replay", 4) == 4
    assert rules.count_replicas(EIA, "replay", 1) == 1
    assert rules.count_replicas({**LOCAL, "neuron_cores": 4}, "neuron", 2) == 2
    assert rules.count_replicas({**LOCAL, "neuron_cores": 0}, "neuron", 2) == 1


def test_what_cores_count() -> None:
    """CPUs for what runs on them, else cores of the device, wherever the hardware keeps their number."""
    here = {**LOCAL, "neuron_cores": 4}
    assert [rules.count_available(here, device) for device in ("cpu", "cuda", "neuron", "replay")] == [2, 2, 4, 2]
    assert [rules.count_available(INF2, device) for device in ("cpu", "neuron", "replay")] == [4, 2, 2]
    assert rules.count_available(EIA, "replay") == 1
    assert rules.count_available({**LOCAL, "neuron_cores": 0}, "neuron") is None


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
    found, reason = rules.check_trial(HOST, replace(TRIAL, **changes))
    assert found == status
    assert reason.startswith(words)


@pytest.mark.parametrize(
    ("host", "changes", "status", "words"),
    [
        (ON_INF1, {"backend": NEURON, "cores": 16}, None, ""),
        (ON_INF1, {"backend": NEURON, "cores": 4, "replicas": 4}, None, ""),
        (ON_INF1, {"backend": NEURON, "cores": 8, "replicas": 4}, Status.INVALID,
         "asks for 4 replicas x 8 NeuronCores = 32 NeuronCores, inf1_6xlarge has 16: use cores=1,2,4 or"),
        (replace(ON_INF1, neuron_first=4, neuron_cores=4), {"backend": NEURON, "cores": 8}, Status.UNAVAILABLE,
         "asks for 8 NeuronCores, this process may use 4"),
        (replace(ON_INF1, neuron_cores=0, neuron_note="neuron-ls: stuck"), {"backend": NEURON}, Status.UNAVAILABLE,
         "no NeuronCore may be used here: neuron-ls: stuck"),
        (replace(HOST, neuron_note="neuron-ls: no driver"), {"backend": NEURON}, Status.UNAVAILABLE,
         "this host is not an inf1.6xlarge: no /dev/neuron0 (neuron-ls: no driver); run on one"),
        (ON_INF1, {"cores": 4}, Status.UNAVAILABLE, "asks for 4 CPUs, this process may use 2"),
        (replace(ON_INF1, instance_type="inf1.xlarge"), {"backend": NEURON}, Status.UNAVAILABLE,
         "this host is not an inf1.6xlarge: it is an inf1.xlarge; run on one"),
        (HOST, {"backend": REPLAY, "cores": 16, "precision": "fp16"}, None, ""),
        (HOST, {"backend": REPLAY, "cores": 32}, Status.INVALID, "asks for 32 NeuronCores, inf1_6xlarge has 16"),
        (HOST, {"backend": REPLAY, "hardware": EIA, "precision": "fp16"}, None, ""),
        (HOST, {"hardware": EIA, "cores": 64}, Status.UNAVAILABLE, "no longer available: use another hardware"),
    ],
)  # fmt: skip
def test_rules_on_neuron(host: Host, changes: dict[str, Any], status: Status | None, words: str) -> None:
    found, reason = rules.check_trial(host, replace(TRIAL, **{"hardware": INF1, **changes}))
    assert (found, reason[: len(words)]) == (status, words)


def test_what_is_only_built_needs_no_device_here() -> None:
    trial = replace(TRIAL, hardware=INF1, backend=NEURON)
    assert rules.check_trial(HOST, trial, run=False) == (None, "")
    assert rules.check_trial(HOST, replace(trial, cores=32), run=False)[0] is Status.INVALID
    assert rules.check_trial(HOST, replace(TRIAL, hardware=EIA), run=False)[0] is Status.UNAVAILABLE


def test_more_copies_than_gpus_are_not_run() -> None:
    host = replace(HOST, gpus=(Gpu("T4"),))
    trial = replace(TRIAL, backend=CUDA, hardware={**LOCAL, **rules.describe_local(host)})
    assert rules.check_trial(host, trial) == (None, "")
    assert "asks for 2 GPUs, this process may use 1" in rules.check_trial(host, replace(trial, replicas=2))[1]


C5 = {"name": "c5", "instance_type": "c5.2xlarge", "device": "cpu"}
G4DN = {"name": "g", "instance_type": "g4dn.xlarge", "device": "cuda"}


@pytest.mark.parametrize(
    ("host", "declared", "words"),
    [
        (HOST, {"name": "box", "device": "cpu", "cpus": 2}, None),
        (HOST, {"name": "box", "device": "cpu", "cpus": 16}, "this host is not a box: it has 2 CPUs, not 16"),
        (HOST, C5, "this host is not a c5.2xlarge: it is no EC2 instance; run on one, or use hardware=local"),
        (replace(HOST, instance_type="m5.large"), C5, "this host is not a c5.2xlarge: it is an m5.large"),
        (replace(HOST, instance_type="inf2.xlarge"), INF2, "no /dev/neuron0"),
        (replace(HOST, gpus=(Gpu("T4"),), instance_type="g4dn.xlarge"), G4DN, None),
        (ON_INF1, INF1, None),
        (replace(HOST, instance_type="c5.2xlarge"), EIA, "no longer available: use another hardware"),
        (HOST, LOCAL, None),
    ],
)  # fmt: skip
def test_mismatch(host: Host, declared: dict[str, Any], words: str | None) -> None:
    found = rules.describe_mismatch(host, declared)
    assert found == words or (found is not None and words is not None and words in found)


TYPES = {str(one["name"]): one for one in compose.load_hardware_types()}


def test_declared_types_agree_with_themselves() -> None:
    """Prices have a source; a Neuron type says what its compiler and its placement need, and chips add up."""
    assert len(TYPES) >= 17
    keys = {"name", "instance_type", "device", "cores", "cpus", "memory_mb", "device_memory_mb", "precisions",
            "peak_flops", "price"}  # fmt: skip
    local_keys = set(TYPES["local"])
    for name, one in TYPES.items():
        assert keys <= set(one) <= local_keys, name
        assert set(one["peak_flops"]) == set(PRECISIONS), name
        for price in one["price"]:
            assert set(price) == {"usd_per_hour", "kind", "region", "date", "source"}, name
            assert price["source"], name
        kinds = [price["kind"] for price in one["price"]]
        assert kinds == sorted(kinds), f"{name}: the first price is the one that cost uses"
        if name != "local":
            family, _, size = name.partition("_eia2")[0].partition("_")
            assert one["instance_type"] == f"{family}.{size}", name
            assert ("target" in one) == (one["device"] == "neuron"), name
        if one["device"] == "neuron":
            chips, odd = divmod(one["cores"], one["cores_per_chip"])
            assert odd == 0, name
            assert one["target"] == one["instance_type"].partition(".")[0], name
            assert one["core_memory_mb"] * one["cores"] == one["device_memory_mb"], name
            alone = next(each for each in TYPES.values() if each.get("target") == one["target"])
            for precision, peak in one["peak_flops"].items():
                each = alone["peak_flops"][precision]
                expected = each and each * chips * alone["cores_per_chip"] / alone["cores"]
                assert peak == (expected and pytest.approx(expected)), f"{name} {precision}"


@pytest.mark.parametrize(("name", "chips"), [("inf1_24xlarge", 16), ("inf2_48xlarge", 12), ("trn1_32xlarge", 16)])
def test_sizes_that_are_published(name: str, chips: int) -> None:
    """AWS Neuron documentation, hardware pages."""
    cores = {"inf1_24xlarge": 64, "inf2_48xlarge": 24, "trn1_32xlarge": 32}[name]
    assert (TYPES[name]["cores"], TYPES[name]["cores"] // TYPES[name]["cores_per_chip"]) == (cores, chips)


def test_elastic_inference_is_history() -> None:
    for size in ("large", "xlarge"):
        declared = TYPES[f"c5_2xlarge_eia2_{size}"]
        status, reason = rules.check_trial(HOST, replace(TRIAL, hardware=declared))
        assert (status, "no longer available" in reason) == (Status.UNAVAILABLE, True)
        assert rules.check_trial(HOST, replace(TRIAL, hardware=declared, backend=REPLAY)) == (None, "")

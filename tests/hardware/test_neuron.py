"""Neuron devices and instance types, on machines made of files, of small programs and of a server on this host."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sweep.hardware import ec2, neuron, rules
from sweep.hardware.host import detect
from sweep.hardware.neuron import Holder

GIB = 1 << 30
INF2: dict[str, Any] = {  # as tools 2.31 printed it on an inf2.xlarge
    "neuron_device": 0, "bdf": "00:1f.0", "cpu_affinity": "0-3", "numa_node": "-1", "connected_to": None, "nc_count": 2,
    "memory_size": 32 * GIB, "neuroncore_ids": [0, 1], "neuron_processes": [],
    "instance_type": "inf2.xlarge", "instance_id": "i-0123456789abcdef0",
}  # fmt: skip
Tool = Callable[[str], None]


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty file system of a host without Neuron, and no way out of it."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("NEURON_RT_VISIBLE_CORES", "NEURON_LOGICAL_NC_CONFIG", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    return tmp_path


@pytest.fixture
def prints(root: Path) -> Tool:
    """Installs a neuron-ls, where its package puts it, that runs these lines of sh."""

    def install(body: str) -> None:
        tool = write(root, "opt/aws/neuron/bin/neuron-ls", f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
        detect.cache_clear()

    return install


def write(root: Path, name: str, text: str = "") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def listing(*devices: dict[str, Any], before: str = "") -> str:
    return f"cat <<'END'\n{before}{json.dumps(devices, indent=4)}\nEND"


def test_a_host_without_neuron_starts_no_program(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a program was started")

    write(root, "proc/cpuinfo", "model name : Some CPU\n")  # else `uname` is asked for the processor
    monkeypatch.setattr(subprocess, "Popen", never)
    monkeypatch.setattr(ec2, "ask_metadata", never)
    assert neuron.look(root) == neuron.Neuron()
    host = detect(root)
    assert (host.neuron_devices, host.neuron_cores, host.instance_type, host.neuron_note) == (0, 0, None, "")


@pytest.mark.process
def test_an_inf2_xlarge(root: Path, prints: Tool) -> None:
    prints(listing(INF2))
    host = detect(root)
    assert (host.neuron_devices, host.neuron_cores, host.neuron_first, host.neuron_per_chip) == (1, 2, 0, 2)
    assert (host.neuron_memory_mb, host.instance_type, host.neuron_family) == (32768.0, "inf2.xlarge", "inf2")
    assert host.neuron_note == ""
    facts = rules.describe_local(host)
    assert (facts["neuron_cores"], facts["target"], facts["device_memory_mb"]) == (2, "inf2", 32768.0)
    assert (facts["cores_per_chip"], facts["core_memory_mb"]) == (2, 16384.0)


@pytest.mark.process
def test_the_documented_shape_on_trn2_counts_logical_cores_once(root: Path, prints: Tool) -> None:
    """`nc_count` is of logical NeuronCores; the instance type is not in this shape."""
    devices = [
        {
            "neuron_device": n, "bdf": "cc:00.0", "connected_to": [1], "nc_count": 4, "logical_neuroncore_config": 2,
            "memory_size": 96 * GIB, "neuroncore_ids": list(range(4 * n, 4 * n + 4)), "neuron_processes": [],
        }
        for n in range(16)
    ]  # fmt: skip
    prints(listing(*devices, before="2026-Aug-01 12:00:00 a line of a log [1]\n"))
    write(root, "sys/devices/virtual/neuron_device/neuron0/info/architecture/instance_type", "Trn2\n")
    found = neuron.look(root)
    assert (found.devices, found.cores, found.memory_mb) == (16, 64, 1572864.0)
    assert (found.instance_type, found.family, found.note) == (None, "trn2", "")


@pytest.mark.process
@pytest.mark.parametrize(
    ("device", "cores", "memory_mb"),
    [
        ({}, 0, None),
        ({"nc_count": None, "neuroncore_ids": [4, 5], "memory_size": "32 GB"}, 2, None),
        ({"neuron_device": 0, "nc_count": "2"}, 7, None),  # 7: what the driver says of device 0
        ({"nc_count": True, "neuron_processes": "none", "neuroncore_ids": None}, 0, None),
    ],
)  # fmt: skip
def test_missing_and_strange_values_are_not_known(
    root: Path, prints: Tool, device: dict[str, Any], cores: int, memory_mb: float | None
) -> None:
    write(root, "sys/devices/virtual/neuron_device/neuron0/core_count", "7\n")
    prints(listing(device))
    found = neuron.look(root)
    assert (found.devices, found.cores, found.memory_mb) == (1, cores, memory_mb)
    assert detect(root).neuron_cores == cores


@pytest.mark.process
@pytest.mark.parametrize(
    ("body", "note"),
    [
        ('printf \'[{"neuron_device": 0, "nc_\'', "neuron-ls gave no list of devices: [{"),
        ("echo '{\"error\": 1}'", "neuron-ls gave no list of devices: {"),
        ("exit 0", "neuron-ls gave no list of devices"),
        ("echo 'no neuron device found' >&2; exit 1", "neuron-ls: no neuron device found"),
        ("exit 3", "neuron-ls: exit status 3"),
        ("kill -9 $$", "neuron-ls: exit status -9"),
        ("printf '\\377\\376[1, 2]'", "neuron-ls gave no list of devices"),
    ],
)
def test_a_broken_neuron_ls_leaves_a_note_and_the_driver_is_asked(
    root: Path, prints: Tool, body: str, note: str
) -> None:
    for number, count in ((0, "4"), (1, "4")):
        write(root, f"dev/neuron{number}")
        write(root, f"sys/devices/virtual/neuron_device/neuron{number}/core_count", count)
    write(root, "dev/neuron_other")
    write(root, "sys/devices/virtual/neuron_device/neuron0/info/architecture/instance_type", "Inf1\n")
    prints(body)
    found = neuron.look(root)
    assert (found.devices, found.cores, found.memory_mb, found.family) == (2, 8, None, "inf1")
    assert found.note.startswith(note)


@pytest.mark.process
def test_a_neuron_ls_that_hangs_is_given_up(root: Path, prints: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neuron, "SECONDS", 0.1)
    prints("exec sleep 600")
    assert neuron.look(root).note.startswith("neuron-ls gave no answer")


@pytest.mark.process
def test_a_neuron_ls_that_cannot_be_run(root: Path) -> None:
    write(root, "opt/aws/neuron/bin/neuron-ls", "\x7fELF of another machine").chmod(0o755)
    assert neuron.look(root).note.startswith("neuron-ls cannot be run: ")


@pytest.mark.parametrize(
    ("family", "lnc", "cores"), [("Trn2", None, 4), ("Trn2", "1", 8), ("Trn1", None, 8), ("?", None, 8)]
)
def test_the_driver_counts_physical_cores(
    root: Path, monkeypatch: pytest.MonkeyPatch, family: str, lnc: str | None, cores: int
) -> None:
    write(root, "dev/neuron0")
    write(root, "sys/devices/virtual/neuron_device/neuron0/core_count", "8")
    write(root, "sys/devices/virtual/neuron_device/neuron0/info/architecture/instance_type", family)
    if lnc:
        monkeypatch.setenv("NEURON_LOGICAL_NC_CONFIG", lnc)
    found = neuron.look(root)
    assert (found.cores, found.note) == (cores, "neuron-ls is not installed (aws-neuronx-tools)")


@pytest.mark.process
def test_who_holds_cores(root: Path, prints: Tool) -> None:
    """By device, as neuron-ls says it; a process on two devices is one holder, and a missing name is looked up."""
    serve = {"pid": 2147483600, "command": "python serve.py", "neuron_runtime_version": "2.31.13.0"}
    own = {"pid": 1, "command": ""}
    first = {**INF2, "neuron_processes": [serve, {"pid": "x"}, "odd"]}
    second = {**INF2, "neuron_device": 1, "neuroncore_ids": [2, 3], "neuron_processes": [serve]}
    third = {**INF2, "neuron_device": 2, "neuroncore_ids": None, "neuron_processes": [own]}
    prints(listing(first, second, third))
    one, two = neuron.look(root).holders
    assert one == Holder(2147483600, "python serve.py", (0, 1), (0, 1, 2, 3), "2.31.13.0")
    assert (two.pid, two.devices, two.cores) == (1, (2,), (4, 5))
    assert two.command
    assert neuron.format_holders([one]) == "NeuronCores 0-3: pid 2147483600 (python serve.py)"


def test_numbers_of_cores_as_text() -> None:
    assert neuron.format_cores((3,)) == "NeuronCore 3"
    assert neuron.format_cores((5, 0, 1, 4, 8)) == "NeuronCores 0-1, 4-5, 8"
    assert neuron.format_cores(()) == "NeuronCores ?"


@pytest.mark.process
@pytest.mark.parametrize(
    ("text", "first", "count", "wrong"),
    [("", 0, 4, False), ("2", 2, 1, False), ("1-2", 1, 2, False), ("2-9", 2, 2, False), ("7", 0, 0, False),
     ("a", 0, 4, True), ("1-", 1, 1, False), ("0,2", 0, 4, True), ("-1", 0, 4, True)],
)  # fmt: skip
def test_visible_cores_are_respected(
    root: Path, prints: Tool, monkeypatch: pytest.MonkeyPatch, text: str, first: int, count: int, wrong: bool
) -> None:
    prints(listing(INF2, {**INF2, "neuron_device": 1, "neuroncore_ids": [2, 3]}))
    monkeypatch.setenv("NEURON_RT_VISIBLE_CORES", text)
    host = detect(root)
    assert (host.neuron_first, host.neuron_cores) == (first, count)
    assert ("NEURON_RT_VISIBLE_CORES" in host.neuron_note) == wrong
    assert host.neuron_per_chip == 2


@pytest.mark.process
def test_versions_of_the_driver_and_of_packages(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert neuron.read_versions(root) == {}
    write(root, "sys/module/neuron/version", "2.24.13.0\n")
    folder = write(root, "bin/dpkg-query", "#!/bin/sh\necho aws-neuronx-tools 2.31.13.0\nexit 1\n").parent
    (folder / "dpkg-query").chmod(0o755)
    monkeypatch.setattr("shutil.which", lambda name: "x" if name == "dpkg-query" else None)
    monkeypatch.setenv("PATH", str(folder))
    assert neuron.read_versions(root) == {"driver": "2.24.13.0", "aws-neuronx-tools": "2.31.13.0"}


class Metadata(ThreadingHTTPServer):
    """An instance metadata service of one kind."""

    kind = "v2"
    token = "secret"  # no password: what the service hands out
    daemon_threads = False

    def __init__(self, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.kind = kind
        self.asked: list[tuple[str, str, bool]] = []
        self.end = threading.Event()


class Answer(BaseHTTPRequestHandler):
    server: Metadata

    def do_PUT(self) -> None:  # the name is the library's
        self._answer({"v2": (200, self.server.token), "v1": (405, "no"), "page": (200, "<html>")})

    def do_GET(self) -> None:
        right = self.headers.get("X-aws-ec2-metadata-token") == self.server.token
        named = (200, "inf2.xlarge")
        self._answer({"v2": named if right else (401, "no"), "v1": named, "page": (200, "<html>please log in</html>")})

    def _answer(self, by_kind: dict[str, tuple[int, str]]) -> None:
        token = self.headers.get("X-aws-ec2-metadata-token") is not None
        self.server.asked.append((self.command, self.path, token))
        if self.server.kind == "hangs":
            self.server.end.wait(60)
            self.close_connection = True
            return
        refusals = {"403": (403, "no"), "404": (404, "no"), "500": (500, "no")}
        code, text = {**refusals, **by_kind}[self.server.kind]
        self.send_response(code)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Metadata]]:
    running: list[tuple[Metadata, threading.Thread]] = []

    def start(kind: str) -> Metadata:
        server = Metadata(kind)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.append((server, thread))
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED", raising=False)
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # would answer for another machine
        monkeypatch.delenv("no_proxy", raising=False)
        return server

    yield start
    for server, thread in running:
        server.end.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("kind", "expected", "requests"),
    [("v2", "inf2.xlarge", 2), ("v1", "inf2.xlarge", 2), ("403", None, 2), ("404", None, 2), ("500", None, 1),
     ("page", None, 2)],
)  # fmt: skip
def test_the_metadata_service(
    metadata: Callable[[str], Metadata], kind: str, expected: str | None, requests: int
) -> None:
    server = metadata(kind)
    assert ec2.ask_metadata() == expected
    assert server.asked[0] == ("PUT", "/latest/api/token", False)
    assert [path for _, path, _ in server.asked[1:]] == ["/latest/meta-data/instance-type"] * (requests - 1)


def test_a_metadata_service_that_hangs_is_asked_once(metadata: Callable[[str], Metadata]) -> None:
    server = metadata("hangs")
    assert ec2.ask_metadata() is None
    assert [method for method, _, _ in server.asked] == ["PUT"]


def test_silence_is_respected_and_wrong_addresses_are_no_error(
    metadata: Callable[[str], Metadata], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = metadata("v2")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "TRUE")
    assert ec2.ask_metadata() is None
    assert server.asked == []
    monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
    for address in ("http://127.0.0.1:9", "no address", "http://[", "ftp://127.0.0.1:9/x"):
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", address)
        assert ec2.ask_metadata() is None


FIRMWARE = "sys/devices/virtual/dmi/id"


@pytest.mark.parametrize(
    ("files", "device", "reported", "expected", "asks"),
    [
        ({}, False, None, None, False),
        ({f"{FIRMWARE}/sys_vendor": "QEMU", f"{FIRMWARE}/product_name": "pc.large"}, False, None, None, False),
        ({f"{FIRMWARE}/sys_vendor": "Amazon EC2", f"{FIRMWARE}/product_name": "c5.2xlarge\n"}, False, None,
         "c5.2xlarge", False),
        ({}, True, "trn1.32xlarge", "trn1.32xlarge", False),
        ({}, True, None, "inf2.xlarge", True),
        ({}, True, "Inf2", "inf2.xlarge", True),
        ({f"{FIRMWARE}/sys_vendor": "Amazon EC2", f"{FIRMWARE}/product_name": "odd"}, False, None,
         "inf2.xlarge", True),
        ({f"{FIRMWARE}/sys_vendor": "Xen", f"{FIRMWARE}/bios_version": "4.11.amazon"}, False, None,
         "inf2.xlarge", True),
        ({"sys/hypervisor/uuid": "ec2e1916-9099-7caf-fd21-012345abcdef"}, False, None, "inf2.xlarge", True),
    ],
)  # fmt: skip
def test_where_the_instance_type_comes_from(
    tmp_path: Path,
    metadata: Callable[[str], Metadata],
    files: dict[str, str],
    device: bool,
    reported: str | None,
    expected: str | None,
    asks: bool,
) -> None:
    """The network is asked only where the firmware or a device speaks of EC2 and nothing else knows."""
    server = metadata("v2")
    for name, text in files.items():
        write(tmp_path, name, text)
    assert ec2.find_instance_type(tmp_path, device, reported) == expected
    assert bool(server.asked) == asks


@pytest.mark.parametrize(
    ("text", "right"),
    [("inf2.48xlarge", True), ("c5.metal", True), ("m7i.metal-24xl", True), ("t3.micro", True),
         ("Inf2", False), ("", False), ("pc.q35", False), ("u-6tb1.112xlarge", True), ("inf2.xlarge\n<p>", False)],
)  # fmt: skip
def test_names_of_instance_types(text: str, right: bool) -> None:
    assert ec2.is_instance_type(text) == right

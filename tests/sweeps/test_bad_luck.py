"""Everything that can go wrong while a sweep runs: the right status and kind, one line, a log, and the rest goes on."""

import contextlib
import fcntl
import http.server
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.__main__ import run
from sweep.backends import fake
from sweep.spec import FailureKind, Status
from sweep.store import ledger
from tests.support import injections
from tests.support.injections import (
    FAULTS,
    HANGING_BUILD,
    HANGING_RUN,
    Group,
    Injected,
    Injection,
    check,
    check_sweep,
)
from tests.support.running import QUICK, TINY, entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
MB = 1 << 20
LEFT = re.compile(rb"fake: grandchild (\d+)")


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Injected:
    """One sweep for all processes that run these tests: the first runs it, the others wait and read."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "faults"
    shared.mkdir(exist_ok=True)
    with open(shared / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return injections.run(FAULTS, shared)


@pytest.mark.parametrize("injection", FAULTS.injections, ids=lambda injection: injection.value)
@pytest.mark.process
def test_fault_has_its_status_its_kind_and_one_line(faults: Injected, injection: Injection) -> None:
    check(faults, FAULTS, injection)


@pytest.mark.process
def test_sweep_around_the_faults_is_complete(faults: Injected) -> None:
    check_sweep(faults, FAULTS)


def test_every_fault_of_the_backend_is_tried() -> None:
    tried = {i.value for group in (FAULTS, HANGING_BUILD, HANGING_RUN) for i in group.injections}
    assert tried == set(fake.FAULTS)


@pytest.mark.process
def test_processes_left_by_a_compiler_are_ended_and_noted(faults: Injected) -> None:
    record = faults.records["build_grandchildren"]
    (build,) = record.builds
    assert build["left_behind"]
    pids = LEFT.findall((Path(build["folder"]) / "log.txt").read_bytes())
    assert len(pids) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid.decode()}/cmdline").exists()]


@pytest.mark.process
def test_hundred_megabytes_of_output_leave_a_small_log(faults: Injected) -> None:
    (build,) = faults.records["build_output_flood"].builds
    log = Path(build["folder"]) / "log.txt"
    assert MB < log.stat().st_size < 12 * MB
    assert b"bytes of output are left out here" in log.read_bytes()


@pytest.mark.process
def test_crash_records_its_versions(faults: Injected) -> None:
    for fault in ("build_segfault", "run_crash"):
        failure = faults.records[fault].failure
        assert failure is not None
        assert failure.versions.keys() == {"python", "numpy"}


@pytest.mark.process
def test_repeats_before_a_crash_are_kept(faults: Injected) -> None:
    assert [repeat.index for repeat in faults.records["run_crash_third_repeat"].repeats] == [0, 1]
    assert all(not faults.records[name].repeats for name in ("run_crash", "run_raise", "build_truncated"))


@pytest.mark.process
@pytest.mark.parametrize("group", [HANGING_BUILD, HANGING_RUN], ids=["build", "run"])
def test_hanging_worker_is_ended_at_the_deadline(tmp_path: Path, group: Group) -> None:
    done = injections.run(group, tmp_path)
    check_sweep(done, group)
    for injection in group.injections:
        check(done, group, injection)


@pytest.mark.process
def test_command_of_a_failure_reproduces_it(faults: Injected) -> None:
    failure = faults.records["run_raise"].failure
    assert failure is not None
    again = subprocess.run(failure.command, shell=True, capture_output=True, text=True, check=False, timeout=60)
    assert again.returncode != 0
    assert "fake device: a request failed" in again.stdout


def test_passing_failures_are_not_remembered(tmp_path: Path) -> None:
    """A package may be installed and a disk emptied meanwhile; a compiler that crashes will crash again."""
    axis = "backend.options.fault=import_missing,disk_full,build_segfault"
    sweep(tmp_path, axis)
    _, second = sweep(tmp_path, axis)
    built = {json.dumps(entry["failure"]["kind"]) for entry in entries(second, "build")}
    assert built == {'"toolchain_missing"', '"disk_full"'}
    kinds = sorted(r.failure.kind.value for r in second.records.values() if r.failure)
    assert kinds == ["compiler_crash", "disk_full", "toolchain_missing"]


def test_damaged_entry_of_the_store_is_built_again(tmp_path: Path) -> None:
    _, first = sweep(tmp_path, "batch=1,2,3")
    folders = {r.settings["batch"]: Path(r.builds[0]["folder"]) for r in first.records.values()}
    changed = folders[1] / "model.npz"
    data = bytearray(changed.read_bytes())
    data[len(data) // 2] ^= 0xFF  # as long as before
    changed.write_bytes(data)
    (folders[2].parent / "info.json").write_text('{"format": 1, "ke')
    status, second = sweep(tmp_path, "batch=1,2,3")
    assert status == 0
    assert sorted(entry["name"][-2:] for entry in entries(second, "build")) == ["b1", "b2"]
    assert {record.status for record in second.records.values()} == {Status.OK}


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 6 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.usefixtures("warm_pool")
def test_build_that_fills_the_disk_fails_alone(tmp_path: Path, tiny_disk: Path) -> None:
    axis = "model._target_=sweep.workloads.tiny.linear,tests.support.bad_workloads.heavy"
    status, history = sweep(tiny_disk / "out", axis)
    assert status == 0
    by_status = {record.status: record for record in history.records.values()}
    assert by_status.keys() == {Status.OK, Status.BUILD_FAILED}
    failed = by_status[Status.BUILD_FAILED]
    assert failed.reason.startswith("disk full: ")
    assert failed.failure is not None
    assert failed.failure.log is not None
    assert Path(failed.failure.log).is_file()


@pytest.mark.process  # `mount`
def test_full_disk_ends_the_sweep_with_one_line_and_it_resumes(
    tiny_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ledger is the truth: where it cannot be written, nothing more is measured, and nothing is lost."""
    outputs = tiny_disk / "out"
    sweep(outputs, "batch=1")
    filler = tiny_disk / "filler"
    free = os.statvfs(tiny_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - 24 * 1024))
    capsys.readouterr()
    assert run([*TINY, f"outputs={outputs}", "batch=2,3,4"]) == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r"error: disk full: [^\n]+ free some space[^\n]+resume last`\n", shown.err)
    assert "Traceback" not in shown.out
    filler.unlink()
    assert run(["resume", "last", "--outputs", str(outputs)]) == 0
    assert len(ledger.History(ledger.find(outputs, "last")).records) == 3


def tracked(outputs: Path, uri: str, *overrides: str) -> tuple[int, ledger.History]:
    quick = [setting for setting in QUICK if not setting.startswith("tracking")]
    base = ["model=tiny", "backend=fake", *quick, "tracking=server", f"tracking.uri={uri}"]
    return sweep(outputs, *overrides, base=base)


def away(shown: str, uri: str, sweep_id: str) -> bool:
    words = " ".join(shown.split())
    return f"MLflow server {uri} is away" in words and f"python -m sweep sync {sweep_id}" in words


@pytest.fixture
def own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's settings hold whether or not an earlier test has imported it: they are set at its import only."""
    from sweep.report.mlflow.address import CLIENT

    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.mark.usefixtures("own_address")
def test_unreachable_tracking_server_costs_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:  # nobody listens on it
        taken.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{taken.getsockname()[1]}"
        status, history = tracked(tmp_path, uri, "batch=1,2", "backend.options.fault=null,build_raise")
    shown = capsys.readouterr()
    assert status == 0
    assert away(shown.out, uri, history.folder.name)
    assert "Traceback" not in shown.out + shown.err
    assert sorted(r.status.value for r in history.records.values()) == ["build_failed"] * 2 + ["ok"] * 2


class MortalServer(http.server.BaseHTTPRequestHandler):
    """As much of a tracking server as the real client needs to begin; after `lives` calls it hangs up on everybody."""

    lives = 0
    calls: tuple[str, ...] = ()

    def _answer(self) -> None:
        kind = type(self)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if len(kind.calls) >= kind.lives:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        path = self.path.partition("?")[0].rpartition("mlflow/")[2]
        kind.calls = (*kind.calls, path)
        asked = json.loads(body) if body else {}
        info = {"run_id": f"{len(kind.calls):032x}", "experiment_id": "1", "status": "RUNNING", "artifact_uri": "x"}
        info |= {"run_uuid": info["run_id"], "start_time": 1, "lifecycle_stage": "active"}
        answers = {
            "experiments/get-by-name": {
                "experiment": {"experiment_id": "1", "name": "tiny", "lifecycle_stage": "active"}
            },
            "runs/create": {"run": {"info": info, "data": {"tags": asked.get("tags", [])}}},
        }
        data = json.dumps(answers.get(path, {})).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815  # the names that the library looks for

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def mortal_server(lives: int) -> Iterator[tuple[str, type[MortalServer]]]:
    handler = type("Handler", (MortalServer,), {"lives": lives})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", handler
        server.shutdown()


@pytest.mark.usefixtures("own_address")
def test_tracking_server_that_dies_costs_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with mortal_server(lives=5) as (uri, server):
        status, history = tracked(tmp_path, uri, "batch=1,2,3")
    shown = capfd.readouterr()
    assert server.calls.count("runs/create") >= 2, server.calls  # the sweep's run and a trial's
    assert status == 0
    assert away(shown.out, uri, history.folder.name), shown.out
    assert "Traceback" not in shown.out + shown.err
    assert len(history.records) == 3
    assert {record.status for record in history.records.values()} == {Status.OK}
    assert history.finished
    assert (history.folder / "results.json").is_file()


def test_injected_kinds_are_failure_kinds() -> None:
    """What the documentation's table is made of."""
    kinds = {i.kind for group in injections.GROUPS for i in group.injections if i.kind}
    assert kinds <= set(FailureKind)

"""Workers, with real processes and real signals."""

import json
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sweep.isolate import procfs
from sweep.isolate.pool import Limits, Workers
from sweep.spec import FailureKind, Json, Outcome
from tests.support import worker_entries
from tests.support.running import ROOT

pytestmark = pytest.mark.process

HERE = Path(worker_entries.__file__).parent  # workers import the module by its own name alone
MODULE = worker_entries.__name__.rpartition(".")[2]
LONG = Limits(60.0)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    sys.path.insert(0, str(HERE))  # workers see the import path of their parent
    with Workers() as shared:
        yield shared
    sys.path.remove(str(HERE))


def request(name: str, **more: object) -> Json:
    return {"entry": f"{MODULE}:{name}", **more}


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def log_of(outcome: Outcome) -> str:
    return Path(outcome.log).read_text("utf-8")


def failed(outcome: Outcome) -> tuple[FailureKind, str]:
    assert outcome.failure is not None
    assert outcome.result is None
    return outcome.failure.kind, outcome.failure.summary


# What a worker gets


def test_result_comes_back(workers: Workers, tmp_path: Path) -> None:
    asked = request("echo", values=[1, 2.5, None, "\u00e9"])
    outcome = workers.run(asked, tmp_path / "new" / "task", limits=LONG)
    assert outcome.failure is None
    assert outcome.result is not None
    assert outcome.result["request"] == asked
    assert outcome.result["folder"] == str(tmp_path / "new" / "task")
    assert 0.0 < outcome.seconds < 60.0
    assert 1.0 < outcome.peak_memory_mb < 1000.0


def test_every_worker_is_a_fresh_process_with_its_own_random_numbers(workers: Workers, tmp_path: Path) -> None:
    pids, values = set(), set()
    for index in range(3):
        pids.add((workers.run(request("echo"), tmp_path / f"{index}", limits=LONG).result or {})["pid"])
        values.add((workers.run(request("chance"), tmp_path / f"{index}", limits=LONG).result or {})["value"])
    assert len(pids) == 3
    assert len(values) == 3


def test_a_worker_starts_clean(workers: Workers, tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    outcome = workers.run(
        request("about", modules=["colorsys"]),
        tmp_path,
        limits=LONG,
        cores=[core],
        env={"SWEEP_TEST": "a b"},
        preload=("colorsys", "no_such_module_at_all"),
    )
    about = outcome.result or {}
    assert about["session"] == about["group"] == about["pid"]
    assert about["cores"] == [core]
    assert about["env"] == "a b"
    assert about["cwd"] == str(Path.cwd())
    assert about["stdin"] == "/dev/null"
    assert about["files"] == [0, 1, 2, 3]  # and 3 is the listing itself
    assert about["term"]
    assert about["child"]
    assert about["blocked"] == []
    assert about["preloaded"] == ["colorsys"]
    assert about["umask"] == _umask()
    assert set(about["path"]) == {entry or str(Path.cwd()) for entry in sys.path} | {str(Path.cwd())}
    assert "SWEEP_TEST" not in os.environ


def _umask() -> int:
    text = Path("/proc/self/status").read_text()
    return int(next(line for line in text.splitlines() if line.startswith("Umask:")).split()[1], 8)


def test_worker_sees_modules_in_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_models.py").write_text("def net(request, folder):\n    return {'net': 1}\n")
    (tmp_path / "sweep.py").write_text("raise SystemExit('the wrong sweep')\n")
    monkeypatch.chdir(tmp_path)
    with Workers() as fresh:
        outcome = fresh.run({"entry": "my_models:net"}, tmp_path / "task", limits=LONG)
    assert outcome.result == {"net": 1}, outcome.failure


def test_log_has_output_of_every_origin(workers: Workers, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    outcome = workers.run(request("write_to_both"), tmp_path, limits=LONG)
    assert outcome.failure is None
    assert log_of(outcome) == "from print\n\u00e9 to stderr\nfrom the descriptor\nfrom a child\n"
    assert capfd.readouterr() == ("", "")


def test_a_worker_may_close_its_output(workers: Workers, tmp_path: Path) -> None:
    assert workers.run(request("close_output"), tmp_path, limits=LONG).result == {"closed": True}


def test_a_flood_of_output_does_not_fill_the_disk(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("chatter", mb=100), tmp_path, limits=LONG)
    assert outcome.failure is None
    assert Path(outcome.log).stat().st_size < 11 << 20
    text = log_of(outcome)
    assert text.startswith("the beginning\n")
    assert text.endswith("the very end\n")
    assert "bytes of output are left out here" in text


def test_old_result_is_not_taken_for_new_result(workers: Workers, tmp_path: Path) -> None:
    assert workers.run(request("echo"), tmp_path, limits=LONG).failure is None
    assert workers.run(request("leave_hard", code=0), tmp_path, limits=LONG).failure is not None


# How it can fail


@pytest.mark.parametrize(
    ("name", "kind", "summary"),
    [
        ("raise_value", FailureKind.UNKNOWN, "ValueError: first line"),
        ("raise_trial", FailureKind.UNSUPPORTED_OPERATOR, "no operator of that name"),
        ("raise_memory", FailureKind.HOST_OOM, "MemoryError"),
        ("import_missing", FailureKind.TOOLCHAIN_MISSING, "No module named 'no_such_package_anywhere'"),
        ("not_json", FailureKind.UNKNOWN, "not a JSON value"),
        ("leave", FailureKind.UNKNOWN, "SystemExit: 3"),
        ("no_such_entry", FailureKind.UNKNOWN, "no_such_entry"),
        ("truncate_result", FailureKind.CRASH, "exit code 0 and left no result"),
    ],
)
def test_a_failure_is_a_value(workers: Workers, tmp_path: Path, name: str, kind: FailureKind, summary: str) -> None:
    outcome = workers.run(request(name), tmp_path, limits=LONG)
    assert failed(outcome)[0] is kind
    assert summary in failed(outcome)[1]
    assert not outcome.user_error
    assert outcome.failure is not None
    assert outcome.failure.signal is None
    assert outcome.failure.seconds == outcome.seconds > 0.0


def test_user_error_keeps_its_text(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("raise_user"), tmp_path, limits=LONG)
    assert outcome.user_error
    assert failed(outcome)[1] == "labels reach 10, but there are 10 classes: use 0 to 9"
    assert "Traceback" not in log_of(outcome)


def test_an_exception_leaves_its_traceback_in_the_log(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("raise_value"), tmp_path, limits=LONG)
    assert "Traceback (most recent call last)" in log_of(outcome)
    assert outcome.failure is not None
    assert outcome.failure.log == outcome.log


def test_a_segmentation_fault_leaves_its_stack_and_the_versions(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("segfault"), tmp_path, limits=LONG)
    assert failed(outcome)[0] is FailureKind.CRASH
    assert "killed by SIGSEGV in string_at" in failed(outcome)[1]
    assert f"{MODULE}.py" in log_of(outcome)
    assert outcome.failure is not None
    assert outcome.failure.signal == "SIGSEGV"
    assert outcome.failure.exit_code is None
    assert outcome.failure.versions == {"compiler": "1.2"}


@pytest.mark.parametrize(
    ("name", "signal_name", "kind", "summary"),
    [
        ("abort_plain", "SIGABRT", FailureKind.CRASH, "killed by SIGABRT in abort_plain"),
        ("abort", "SIGABRT", FailureKind.HOST_OOM, "std::bad_alloc"),
        ("kill_itself", "SIGKILL", FailureKind.CRASH, "often the kernel's out-of-memory killer"),
    ],
)
def test_the_signal_is_named(
    workers: Workers, tmp_path: Path, name: str, signal_name: str, kind: FailureKind, summary: str
) -> None:
    outcome = workers.run(request(name), tmp_path, limits=LONG)
    assert outcome.failure is not None
    assert outcome.failure.signal == signal_name
    assert failed(outcome)[0] is kind
    assert summary in failed(outcome)[1]


def test_variables_are_there_before_modules_are_imported(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "reads_at_import.py").write_text("import os; VALUE = os.environ.get('SWEEP_TEST')")
    seen = []
    for index, env in enumerate(({"SWEEP_TEST": "early"}, {}, {"SWEEP_TEST": "early"})):
        outcome = workers.run(
            request("value_of", module="reads_at_import"),
            tmp_path / f"{index}",
            limits=LONG,
            preload=("reads_at_import",),
            env=env,
        )
        seen.append((outcome.result or {})["value"])
    assert seen == ["early", None, "early"]


def test_an_exit_code_is_recorded(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("leave_hard", code=7), tmp_path, limits=LONG)
    assert outcome.failure is not None
    assert (outcome.failure.exit_code, outcome.failure.kind) == (7, FailureKind.CRASH)


def test_missing_cores_are_named(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("echo"), tmp_path, limits=LONG, cores=[1000])
    assert failed(outcome)[0] is FailureKind.CORE_UNAVAILABLE
    assert "1000" in failed(outcome)[1]


def test_the_recorded_command_runs_the_worker_again(workers: Workers, tmp_path: Path) -> None:
    core = min(os.sched_getaffinity(0))
    env = {"PYTHONPATH": str(HERE), "SWEEP_TEST": "it's"}
    outcome = workers.run(request("raise_value"), tmp_path / "a task", limits=LONG, cores=[core], env=env)
    assert outcome.failure is not None
    (tmp_path / "a task" / "result.json").unlink()
    again = subprocess.run(
        outcome.failure.command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert again.returncode == 1
    assert "ValueError: first line" in again.stderr
    assert json.loads((tmp_path / "a task" / "result.json").read_text())["failure"]["kind"] == "unknown"


def test_folder_that_cannot_be_created(workers: Workers, tmp_path: Path) -> None:
    from sweep.spec import UserError

    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        workers.run(request("echo"), tmp_path / "file" / "task", limits=LONG)


# Limits


def test_deadline_ends_everything_that_worker_started(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("grandchildren", hang=True), tmp_path, limits=Limits(2.0))
    assert failed(outcome)[0] is FailureKind.TIMEOUT
    assert "2 s" in failed(outcome)[1]
    assert outcome.seconds >= 2.0
    pids = json.loads((tmp_path / "pids").read_text())
    assert len(pids) == 4
    assert all(gone(pid) for pid in pids)


def test_processes_left_behind_are_ended_and_reported(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("grandchildren"), tmp_path, limits=LONG)
    assert outcome.result is not None
    pids = outcome.result["pids"]
    assert all(gone(pid) for pid in pids)
    told = outcome.left_behind
    assert len(told) == len(pids) == 3
    assert all(any(f"({pid})" in line for line in told) for pid in pids)
    assert "left behind and ended" in log_of(outcome)


def test_the_memory_limit(workers: Workers, tmp_path: Path) -> None:
    limits = Limits(60.0, memory_mb=120.0)
    outcome = workers.run(request("eat_memory", steps=40, mb=8, forever=True), tmp_path, limits=limits)
    assert failed(outcome)[0] is FailureKind.HOST_OOM
    assert "the limit is 120 MB" in failed(outcome)[1]
    assert outcome.peak_memory_mb > 120.0


def test_mapped_files_are_no_memory_that_is_held(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("map_file", mb=300), tmp_path, limits=Limits(60.0, memory_mb=120.0))
    assert outcome.result == {"total": 0}


def test_worker_with_progress_has_more_time(workers: Workers, tmp_path: Path) -> None:
    outcome = workers.run(request("write_progress", steps=20), tmp_path / "goes-on", limits=Limits(0.5))
    assert outcome.result == {"steps": 20}
    stuck = workers.run(request("write_progress", steps=20, hang=True), tmp_path / "hangs", limits=Limits(0.5))
    assert failed(stuck) == (FailureKind.TIMEOUT, "no progress for 0.5 s: killed at the deadline")
    assert 2.0 < stuck.seconds < 30.0


def test_memory_under_the_limit_is_measured(workers: Workers, tmp_path: Path) -> None:
    limits = Limits(60.0, memory_mb=2000.0)
    outcome = workers.run(request("eat_memory", steps=8, mb=8), tmp_path, limits=limits)
    assert outcome.result == {"held": 8}
    assert 64.0 < outcome.peak_memory_mb < 1000.0


def test_outside_kill_near_limit_counts_as_lack_of_memory(tmp_path: Path) -> None:
    from sweep.isolate.pool import _Task

    task = _Task(tmp_path, Limits(1.0, 100.0), (), {}, None)
    report = {"why": "", "code": -signal.SIGKILL, "seconds": 1.0, "peak_memory_mb": 95.0}
    assert failed(task.outcome(report))[0] is FailureKind.HOST_OOM
    assert failed(task.outcome({**report, "peak_memory_mb": 50.0}))[0] is FailureKind.CRASH
    kernel = task.outcome({**report, "peak_memory_mb": 50.0, "kernel_oom": True})
    assert failed(kernel)[0] is FailureKind.HOST_OOM


# Many at once, and ends of every kind


def test_threads_share_a_server(workers: Workers, tmp_path: Path) -> None:
    outcomes: dict[int, Outcome] = {}

    def one(index: int) -> None:
        name = ["echo", "raise_value", "segfault"][index % 3]
        outcomes[index] = workers.run(request(name, index=index), tmp_path / f"{index}", limits=LONG)

    threads = [threading.Thread(target=one, args=(index,)) for index in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, outcome in outcomes.items():
        assert (outcome.failure is None) == (index % 3 == 0)
        if outcome.result:
            assert outcome.result["request"]["index"] == index


def test_the_parent_sleeps_while_a_worker_works(workers: Workers, tmp_path: Path) -> None:
    workers.run(request("echo"), tmp_path / "first", limits=LONG)
    server = _servers_of(os.getpid())
    before, cpu, wall = [_cpu(pid) for pid in server], time.process_time(), time.monotonic()
    outcome = workers.run(request("sleep", seconds=1.0), tmp_path / "second", limits=LONG)
    wall = time.monotonic() - wall
    assert outcome.failure is None
    assert time.process_time() - cpu < 0.03 * wall
    assert sum(_cpu(pid) for pid in server) - sum(before) < 0.05 * wall


def _servers_of(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children() if "sweep.isolate.server" in child.cmdline()]


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


class Running:
    """A run in a thread, and the worker that it started."""

    def __init__(self, workers: Workers, folder: Path, name: str = "sleep", seconds: float = 600.0) -> None:
        self.outcome: Outcome | None = None
        self.folder = folder

        def work() -> None:
            self.outcome = workers.run(request(name, seconds=seconds), folder, limits=Limits(600.0))

        self.thread = threading.Thread(target=work)
        self.thread.start()
        wait_for((folder / "started").exists)
        wait_for((folder / "started").read_text)
        self.pid = int((folder / "started").read_text())

    def end(self) -> Outcome:
        self.thread.join(30.0)
        assert self.outcome is not None
        return self.outcome


def test_cancel_ends_running_workers_only(workers: Workers, tmp_path: Path) -> None:
    running = [Running(workers, tmp_path / "a"), Running(workers, tmp_path / "b")]
    workers.cancel()
    for one in running:
        assert failed(one.end())[0] is FailureKind.PREEMPTED
        assert gone(one.pid)
    assert workers.run(request("echo"), tmp_path / "c", limits=LONG).failure is None


def test_cancel_reaches_run_while_server_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import time, pathlib\npathlib.Path('importing').touch()\ntime.sleep(600)\n"
    )
    monkeypatch.chdir(tmp_path)
    workers = Workers()
    outcomes: list[Outcome] = []

    def work() -> None:
        outcomes.append(workers.run(request("echo"), tmp_path / "task", limits=LONG, preload=("slow_import",)))

    thread = threading.Thread(target=work)
    thread.start()
    wait_for((tmp_path / "importing").exists)
    wait_for((tmp_path / "task" / "request.json").exists)
    servers = _servers_of(os.getpid())
    wait_for(lambda: _cancelled(workers, thread))
    assert failed(outcomes[0])[0] is FailureKind.PREEMPTED
    for server in servers:  # it would not look at its channel before the import ends
        if "slow_import" in psutil.Process(server).cmdline():
            os.kill(server, signal.SIGKILL)
    workers.close()


def _cancelled(workers: Workers, thread: threading.Thread) -> bool:
    workers.cancel()
    thread.join(0.05)
    return not thread.is_alive()


def test_close_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    workers = Workers()
    running = Running(workers, tmp_path / "a")
    servers = set(_servers_of(os.getpid()))
    workers.close()
    assert failed(running.end())[0] is FailureKind.PREEMPTED
    assert gone(running.pid)
    assert servers - set(_servers_of(os.getpid()))
    assert failed(workers.run(request("echo"), tmp_path / "b", limits=LONG))[0] is FailureKind.PREEMPTED
    workers.close()


def test_a_server_that_dies_takes_its_workers_and_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HERE))
    with Workers() as workers:
        before = set(_servers_of(os.getpid()))
        running = Running(workers, tmp_path / "a")
        for server in set(_servers_of(os.getpid())) - before:
            os.kill(server, signal.SIGKILL)
        outcome = running.end()
        assert failed(outcome)[0] is FailureKind.CRASH
        assert "server" in failed(outcome)[1]
        assert gone(running.pid)
        assert workers.run(request("echo"), tmp_path / "b", limits=LONG).failure is None


def test_a_keeper_that_dies_takes_its_worker_along(workers: Workers, tmp_path: Path) -> None:
    running = Running(workers, tmp_path, name="sleep")
    keeper = psutil.Process(running.pid).ppid()
    os.kill(keeper, signal.SIGKILL)
    outcome = running.end()
    assert failed(outcome)[0] is FailureKind.CRASH
    wait_for(lambda: gone(running.pid))
    assert workers.run(request("echo"), tmp_path / "next", limits=LONG).failure is None


def test_nothing_survives_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
        import sys, threading
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
        from sweep.isolate.pool import Limits, Workers
        workers = Workers()
        request = {{"entry": "{MODULE}:grandchildren", "hang": True}}
        for name in "ab":
            run = lambda name=name: workers.run(request, Path({str(tmp_path)!r}) / name, limits=Limits(600.0))
            threading.Thread(target=run).start()
    """
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], start_new_session=True)
    files = [tmp_path / name / "pids" for name in "ab"]
    wait_for(lambda: all(file.exists() for file in files))
    pids = [pid for file in files for pid in json.loads(file.read_text())]
    pids += procfs.list_descendants(parent.pid)
    assert len(set(pids)) >= 11  # 2 x (worker, 3 grandchildren, keeper) and the server
    parent.kill()
    parent.wait()
    wait_for(lambda: all(gone(pid) for pid in pids))


def test_ctrl_c_in_the_parent_ends_the_worker(tmp_path: Path) -> None:
    script = f"""
        import sys
        from pathlib import Path
        sys.path[:0] = [{str(ROOT)!r}, {str(HERE)!r}]
        from sweep.isolate.pool import Limits, Workers
        with Workers() as workers:
            request = {{"entry": "{MODULE}:sleep", "seconds": 600}}
            workers.run(request, Path({str(tmp_path)!r}), limits=Limits(600.0))
    """
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    started = tmp_path / "started"
    wait_for(lambda: started.exists() and started.read_text() != "")
    os.killpg(parent.pid, signal.SIGINT)
    _, stderr = parent.communicate(timeout=60)
    assert stderr.rstrip().endswith("KeyboardInterrupt")
    assert gone(int(started.read_text()))


# Other interpreters


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty environment; the oldest Python that workers must run on, where this host has it."""
    folder = tmp_path_factory.mktemp("other")
    for name in ("python3.8", "python3.9", sys.executable):
        if _runs([name, "-m", "venv", "--without-pip", str(folder)]):
            return str(folder / "bin" / "python")
    raise AssertionError("no virtual environment could be made")


def _runs(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_another_interpreter_sees_this_package_and_nothing_else_of_ours(
    workers: Workers, tmp_path: Path, other_python: str
) -> None:
    outcome = workers.run({"entry": "sweep.spec:digest"}, tmp_path / "a", limits=LONG, python=other_python)
    assert "digest() takes 1 positional argument" in failed(outcome)[1]  # found and called
    for module in ("psutil", MODULE):
        missing = workers.run({"entry": f"{module}:any"}, tmp_path / "b", limits=LONG, python=other_python)
        assert failed(missing)[0] is FailureKind.TOOLCHAIN_MISSING
        assert f"No module named '{module}'" in failed(missing)[1]


def test_another_interpreter_runs_entries(
    workers: Workers, tmp_path: Path, other_python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = next(Path(other_python).parent.parent.glob("lib/python*/site-packages"))
    (site / f"{MODULE}.py").write_text(Path(worker_entries.__file__).read_text())
    monkeypatch.setenv("PYTHONPATH", str(HERE / "nowhere"))
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    outcome = workers.run(request("about"), tmp_path / "a", limits=LONG, python=other_python)
    about = outcome.result or {}
    assert outcome.failure is None, outcome.failure
    assert str(site) in about["path"]
    assert not [path for path in about["path"] if path.startswith(str(ROOT)) or path == str(HERE / "nowhere")]
    crashed = workers.run(request("segfault"), tmp_path / "b", limits=LONG, python=other_python)
    assert crashed.failure is not None
    assert crashed.failure.signal == "SIGSEGV"
    monkeypatch.delenv("PYTHONHOME")
    again = subprocess.run(crashed.failure.command, shell=True, capture_output=True, timeout=60, check=False)
    assert b"Fatal Python error: Segmentation fault" in again.stderr
    assert shlex.quote(other_python) in crashed.failure.command


@pytest.mark.parametrize("python", ["/no/such/python", "no-such-python", "/bin/true", "/bin/false"])
def test_invalid_interpreter(workers: Workers, tmp_path: Path, python: str) -> None:
    outcome = workers.run(request("echo"), tmp_path, limits=LONG, python=python)
    assert failed(outcome)[0] is FailureKind.TOOLCHAIN_MISSING
    assert python in failed(outcome)[1]


def test_warm_never_fails(workers: Workers) -> None:
    workers.warm(("json",))
    workers.warm((), python="/no/such/python")


def test_temporary_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(str(HERE))
    with Workers() as workers:
        assert workers.run(request("echo"), tmp_path / "task", limits=LONG).failure is None
        assert list(tmp_path.glob("sweep-*"))
    assert not list(tmp_path.glob("sweep-*"))


def test_descendants_are_listed_with_and_without_kernel_support(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600 & wait"], start_new_session=True)
    try:
        wait_for(lambda: len(procfs.list_descendants(shell.pid)) == 2)
        expected = {child.pid for child in psutil.Process(shell.pid).children(recursive=True)}
        assert set(procfs.list_descendants(shell.pid)) == expected
        monkeypatch.setattr(procfs, "_HAS_CHILDREN", False)
        assert set(procfs.list_descendants(shell.pid)) == expected
        both = [shell.pid, *expected]
        resident, proportional = procfs.sum_resident_mb(both), procfs.sum_proportional_mb(both)
        assert 0.0 < proportional <= resident * 1.1 < 100.0
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    assert procfs.list_descendants(shell.pid) == []

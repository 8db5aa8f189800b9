"""What is made of the reports of neuron-monitor, with a program in its place that prints what a test asks for."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from sweep.backends.neuron.monitor import TAG, Monitor
from sweep.files import find_neuron_tool
from sweep.spec import to_json

# Prints the lines of `says`, then a torn one, tells through a pipe that it has, and waits to be ended.
TOOL = """#!/bin/sh
exec {python} -SE - "$@" <<'END'
import os, signal, sys, time
folder = {folder!r}
sys.stdout.write(open(folder + "/says").read())
sys.stdout.flush()
open(folder + "/arguments", "w").write("\\n".join(sys.argv[1:]))
with open(folder + "/ready", "w") as ready:
    ready.write(str(os.nice(0)))
{then}
END
"""
MB = 1 << 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for the monitor, and a PATH with nothing of Neuron on it but `tools`."""
    tools = tmp_path / "tools"
    tools.mkdir()
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.delenv(TAG, raising=False)
    made = tmp_path / "repeat"
    made.mkdir()
    return made


def install(folder: Path, *lines: Any, then: str = "time.sleep(600)") -> None:
    tools = folder.parent / "tools"
    texts = [line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines]
    (tools / "says").write_text("".join(texts))
    os.mkfifo(tools / "ready")
    program = tools / "neuron-monitor"
    program.write_text(TOOL.format(python=sys.executable, folder=str(tools), then=then))
    program.chmod(0o755)


def watched(folder: Path, *lines: Any, then: str = "time.sleep(600)") -> dict[str, Any]:
    """The summary of a monitor whose tool printed these lines."""
    install(folder, *lines, then=then)
    monitor = Monitor(folder)
    with monitor:
        (folder.parent / "tools" / "ready").read_text()  # until the tool has said it all
        if then != "time.sleep(600)":
            assert monitor._running is not None
            monitor._running.wait(60)
    found = monitor()
    to_json(found)  # it can be kept: no NaN
    return found


def own_tag() -> str:
    return f"sweep-{os.getpid()}"


def runtime(tag: Any = "", pid: int = 1, **groups: Any) -> dict[str, Any]:
    return {"pid": pid, "address": "", "neuron_runtime_tag": tag or own_tag(), "error": "", "report": groups}


def counters(**used: Any) -> dict[str, Any]:
    return {"neuroncores_in_use": {core[2:]: {"neuroncore_utilization": share} for core, share in used.items()}}


def memory(device: Any, host: Any = 0) -> dict[str, Any]:
    return {"period": 1.0, "neuron_runtime_used_bytes": {"host": host, "neuron_device": device}, "loaded_models": []}


def executions(completed: int, device: Any, total: Any, **errors: Any) -> dict[str, Any]:
    return {
        "error_summary": {"generic": 0, **errors},
        "execution_summary": {"completed": completed, "timed_out": 0},
        "latency_stats": {"device_latency": device, "total_latency": total},
    }


IDLE = {"neuron_runtime_data": [], "system_data": {}, "instance_info": {"instance_type": "trn1.2xlarge"}}


@pytest.mark.process
def test_what_reports_say_together(folder: Path) -> None:
    first = runtime(
        neuroncore_counters=counters(nc0=40.0, nc10=1.0, nc2=0),
        memory_used=memory(100 * MB, 20 * MB),
        execution_stats=executions(10, {"p0": 0.001, "p50": 0.002, "p100": 0.003}, {"p50": 0.004}, hardware=1),
    )
    second = runtime(
        neuroncore_counters=counters(nc0=60.0),
        memory_used=memory(80 * MB, 30 * MB),
        execution_stats=executions(30, {"p0": 0.002, "p50": 0.004, "p100": 0.009}, {"p50": 0.006}, hardware=2),
    )
    found = watched(folder, IDLE, {"neuron_runtime_data": [first]}, {"neuron_runtime_data": [second]}, '{"neuron_ru')
    assert found == {
        "available": True,
        "samples": 2,
        "neuroncore_utilization_percent": {"0": 50.0, "2": 0.0, "10": 1.0},
        "device_memory_mb": 100.0,
        "host_memory_mb": 30.0,
        "executions": 40,
        "device_latency_ms": {"p0": 1.0, "p50": pytest.approx(3.5), "p100": pytest.approx(9.0)},
        "total_latency_ms": {"p50": pytest.approx(5.5)},
        "errors": {"hardware": 3},
    }
    assert list(found["neuroncore_utilization_percent"]) == ["0", "2", "10"]


@pytest.mark.process
def test_how_the_tool_is_asked(folder: Path) -> None:
    install(folder, IDLE)
    tools = folder.parent / "tools"
    with Monitor(folder) as monitor:
        assert os.environ[TAG] == own_tag()  # what is loaded from here on reports itself under it
        niceness = int((tools / "ready").read_text())
        running = monitor._running
    assert niceness == min(19, os.nice(0) + 10)
    assert TAG not in os.environ
    assert running is not None
    assert running.poll() is not None  # ended with the context
    option, path = (tools / "arguments").read_text().split("\n")
    assert option == "-c"
    asked = json.loads(Path(path).read_text())
    assert asked["period"] == "1s"
    (runtimes,) = asked["neuron_runtimes"]
    assert runtimes["tag_filter"] == f"^{own_tag()}$"
    assert {metric["type"] for metric in runtimes["metrics"]} == {
        "neuroncore_counters", "memory_used", "execution_stats",
    }  # fmt: skip


def test_a_tag_of_the_users_own_comes_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TAG, "mine")
    with Monitor(folder):
        assert os.environ[TAG] == own_tag()
    assert os.environ[TAG] == "mine"


@pytest.mark.process
def test_other_runtimes_do_not_count(folder: Path) -> None:
    """Tools that ignore the filter show everybody's."""
    both = [runtime(memory_used=memory(7 * MB)), runtime(pid=2, memory_used=memory(5 * MB))]
    other = runtime("other", 3, memory_used=memory(900 * MB), neuroncore_counters=counters(nc5=99.0))
    found = watched(folder, {"neuron_runtime_data": [*both, other]}, {"neuron_runtime_data": [other]})
    assert (found["samples"], found["device_memory_mb"]) == (1, 12.0)
    assert found["neuroncore_utilization_percent"] == {}


@pytest.mark.process
def test_tools_that_filter_but_show_no_tag(folder: Path) -> None:
    row = runtime(memory_used=memory(3 * MB))
    del row["neuron_runtime_tag"]
    assert watched(folder, {"neuron_runtime_data": [row]})["device_memory_mb"] == 3.0


@pytest.mark.process
def test_an_idle_device(folder: Path) -> None:
    found = watched(folder, IDLE, IDLE)
    assert found == {
        "available": True, "samples": 0, "neuroncore_utilization_percent": {}, "executions": 0, "errors": {},
    }  # fmt: skip


@pytest.mark.process
@pytest.mark.parametrize(
    "row",
    [
        runtime(),
        {**runtime(), "report": None},
        runtime(neuroncore_counters=None, memory_used="?", execution_stats=[]),
        runtime(neuroncore_counters={"neuroncores_in_use": {"0": None, "1": {"neuroncore_utilization": "high"}}}),
        runtime(memory_used=memory(None, None), execution_stats=executions(0, None, None)),
        runtime(memory_used=memory(float("nan"), "x"), execution_stats=executions(0, {"p50": None}, {"p50": True})),
        runtime(memory_used=memory(10**400, False), neuroncore_counters=counters(nc0=float("inf"))),
        runtime(execution_stats={"error_summary": {"model": None}, "latency_stats": None}),
    ],
)
def test_missing_groups_and_strange_values(folder: Path, row: dict[str, Any]) -> None:
    lines = ["2026 a line of a log\n", "[1, 2]\n", "\xff\xfe\n", "\n", {"neuron_runtime_data": None}]
    found = watched(folder, *lines, {"neuron_runtime_data": ["odd", row]})
    assert found == {
        "available": True, "samples": 1, "neuroncore_utilization_percent": {}, "executions": 0, "errors": {},
    }  # fmt: skip


@pytest.mark.process
def test_the_group_by_its_old_name(folder: Path) -> None:
    row = runtime(inference_stats=executions(0, {"p50": 0.002}, None))
    assert watched(folder, {"neuron_runtime_data": [row]})["device_latency_ms"] == {"p50": 2.0}


def test_without_the_tool(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("sweep.backends.neuron.monitor.find_neuron_tool", lambda name: None)
    with Monitor(folder) as monitor:
        pass
    found = monitor()
    assert found == {"available": False, "reason": "neuron-monitor is not installed (aws-neuronx-tools)"}
    assert list(folder.iterdir()) == []


@pytest.mark.process
def test_a_tool_that_cannot_be_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = folder.parent / "tools" / "neuron-monitor"
    broken.write_text("\x7fELF of another machine")
    broken.chmod(0o755)
    monkeypatch.setattr("sweep.backends.neuron.monitor.shutil.which", lambda name: str(broken) if "-" in name else None)
    with Monitor(folder) as monitor:
        pass
    assert monitor()["reason"].startswith("neuron-monitor cannot be run: ")


@pytest.mark.process
def test_a_tool_that_ends_early(folder: Path) -> None:
    found = watched(folder, then="sys.exit('no Neuron driver')")
    assert found["available"] is False
    assert found["reason"] == "neuron-monitor ended by itself (exit status 1): no Neuron driver"


@pytest.mark.process
def test_a_tool_that_ends_early_after_some_reports(folder: Path) -> None:
    found = watched(folder, {"neuron_runtime_data": [runtime(memory_used=memory(MB))]}, then="sys.exit(3)")
    assert (found["available"], found["samples"], found["device_memory_mb"]) == (True, 1, 1.0)
    assert found["reason"] == "neuron-monitor ended by itself (exit status 3)"


@pytest.mark.process
def test_a_tool_that_says_nothing(folder: Path) -> None:
    assert watched(folder) == {"available": False, "reason": "neuron-monitor gave no report in its time"}


@pytest.mark.process
def test_a_tool_that_does_not_want_to_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sweep.backends.neuron.monitor.STOP_SECONDS", 0.1)
    install(folder, IDLE)
    program = folder.parent / "tools" / "neuron-monitor"
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nsys.stdout.write"
    program.write_text(program.read_text().replace("sys.stdout.write", deaf, 1))
    monitor = Monitor(folder)
    with monitor:
        (folder.parent / "tools" / "ready").read_text()
        running = monitor._running
    assert running is not None
    assert running.wait(60) == -9
    assert monitor()["available"]


def test_the_usual_place_of_the_tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert find_neuron_tool("neuron-ls", tmp_path) is None
    usual = tmp_path / "opt/aws/neuron/bin/neuron-ls"
    usual.parent.mkdir(parents=True)
    usual.write_text("")
    assert find_neuron_tool("neuron-ls", tmp_path) is None  # no program
    usual.chmod(0o755)
    assert find_neuron_tool("neuron-ls", tmp_path) == str(usual)

"""The doubles of the Neuron packages and tools fail as the documentation says they can, where they are told to."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.neuron_interpreters import Lab, fixtures, inf1
from tests.support.neuron_machine import FAULTS, NeuronHost

pytestmark = pytest.mark.process

lab, host = fixtures()


def _lines(host: NeuronHost, name: str) -> list[Any]:
    return [json.loads(line) for line in (host.state / name).read_text().splitlines()]


def test_every_row_of_the_taxonomy_can_be_injected() -> None:
    assert {fault.row for fault in FAULTS.values()} - {None} == set(range(1, 27))


RAISED = [name for name, fault in FAULTS.items() if fault.effect == "raise"]
COMPILER = [name for name, fault in FAULTS.items() if fault.stage == "compile" and fault.effect in ("exit", "signal")]


@pytest.mark.parametrize("name", RAISED)
def test_a_fault_is_raised_at_its_place(name: str, lab: Lab, host: NeuronHost) -> None:
    host.fault(name, batch=2)
    host.fault(name, batch=3)
    code = """
def all_of_it():
    m = made(cpu_backend=True)
    tell("traced")
    neuron.set_neuron_cores(m, 0)
    tell("loaded")
    m(x)
refused(all_of_it)
"""
    ran = lab.run(host, code)
    reached = {"trace": [], "load": ["traced"], "execute": ["traced", "loaded"]}[FAULTS[name].stage]
    assert ran.told[:-1] == reached, ran.err
    assert FAULTS[name].texts[0] in ran.told[-1][1]
    assert [struck["fault"] for struck in host.struck()] == [name]


@pytest.mark.parametrize("name", COMPILER)
def test_a_compiler_fails_in_its_own_process(name: str, lab: Lab, host: NeuronHost) -> None:
    host.fault(name, target="inf2")
    ran = lab.run(host, "refused(made)")
    fault = FAULTS[name]
    code = -fault.code if fault.effect == "signal" else fault.code
    assert ran.told[-1] == ["RuntimeError", f"neuronx-cc failed with {int(code)}"]
    assert not fault.texts or fault.texts[0] in ran.err


def test_each_fault_has_all_its_texts(host: NeuronHost, monkeypatch: pytest.MonkeyPatch) -> None:
    from neuron_double import faults

    monkeypatch.setenv("NEURON_DOUBLE", str(host.state))
    for name in RAISED:
        for variant, text in enumerate(FAULTS[name].texts):
            host.heal()
            host.fault(name, variant=variant)
            with pytest.raises(RuntimeError) as raised:
                faults.strike(FAULTS[name].stage, "torch_neuronx")
            assert str(raised.value) == text


def test_a_fault_strikes_as_often_as_it_is_told(lab: Lab, host: NeuronHost) -> None:
    host.fault("core_unavailable", times=2)
    code = "m = made(cpu_backend=True)\nfor _ in range(3):\n    refused(lambda: m(x))"
    told = lab.run(host, code).told
    assert [one is None for one in told] == [False, False, True]
    host.heal()
    host.fault("exec_timeout", after=1, times=1)
    told = lab.run(host, code).told
    assert [one is None for one in told] == [True, False, True]


def test_a_fault_keeps_to_its_conditions(lab: Lab, host: NeuronHost) -> None:
    host.fault("compiler_crash", batch=[4, 8], precision="fp32")
    code = "refused(made)\nrefused(lambda: made(example=torch.randn(4, 8)))"
    assert [one is None for one in lab.run(host, code).told] == [True, False]


@pytest.mark.parametrize(("name", "number"), [("trace_segfault", signal.SIGSEGV), ("runner_killed", signal.SIGKILL)])
def test_the_process_itself_can_die(name: str, number: int, lab: Lab, host: NeuronHost) -> None:
    host.fault(name)
    assert lab.run(host, "made()(x)").status == -number


def test_answers_can_be_wrong_or_not_numbers(lab: Lab, host: NeuronHost) -> None:
    code = "m = made()\ntell([torch.allclose(m(x), net(x)), bool(m(x).isnan().all())])"
    host.fault("wrong_answers")
    assert lab.run(host, code).told == [[False, False]]
    host.heal()
    host.fault("nan_outputs")
    assert lab.run(host, code).told == [[False, True]]


@pytest.mark.parametrize("name", ["compile_delay", "load_delay", "execute_delay"])
def test_a_delay_takes_its_time(name: str, lab: Lab, host: NeuronHost) -> None:
    host.fault(name, seconds=0.2)
    begun = time.monotonic()
    assert lab.run(host, "made()(x)\ntell(1)").told == [1]
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("name", ["compile_hang", "load_hang", "execute_hang"])
def test_a_hang_has_a_child_that_hangs_too(name: str, lab: Lab, host: NeuronHost) -> None:
    host.fault(name, seconds=0.1)
    assert lab.run(host, "made()(x)\ntell(1)").told == [1]
    assert {"pid", "child"} == set(_lines(host, "hangs.jsonl")[0])


def test_a_compiler_can_be_absent(lab: Lab, host: NeuronHost) -> None:
    host.fault("compiler_absent")
    ran = lab.run(host, "refused(made)")
    assert ran.told == [["RuntimeError", "neuronx-cc is not installed"]]


def test_no_operations_on_the_device(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    host.fault("no_ops_on_device")
    told = lab.run(host, "refused(made)", "torch_neuron").told
    assert told == [["RuntimeError", FAULTS["no_ops_on_device"].texts[0]]]


@pytest.mark.parametrize(
    ("dtype", "text"), [("float64", "NCC_ESPP004"), ("complex64", "NCC_EVRF004"), ("float8_e4m3fn", "NCC_EVRF051")]
)
def test_the_compiler_refuses_types_that_the_device_lacks(dtype: str, text: str, lab: Lab, host: NeuronHost) -> None:
    ran = lab.run(host, f"refused(lambda: made(lambda a: a.reshape(-1), x.to(torch.{dtype})))")
    assert ran.told == [["RuntimeError", "neuronx-cc failed with 70"]]
    assert text in ran.err


# ---- tools


def _tool(host: NeuronHost, *command: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, **host.env}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False, timeout=60)


@pytest.mark.parametrize("shape", ["documented", "real"])
def test_neuron_ls_has_both_shapes(shape: str, tmp_path: Path) -> None:
    host = NeuronHost(tmp_path, instance_type="inf2.24xlarge", tools=shape)
    found = json.loads(_tool(host, "neuron-ls", "--json-output").stdout)
    assert [device["neuroncore_ids"] for device in found] == [[2 * n, 2 * n + 1] for n in range(6)]
    assert {device["nc_count"] for device in found} == {2}
    assert ("instance_type" in found[0]) == (shape == "real")
    assert "logical_neuroncore_config" not in found[0]


def test_neuron_ls_can_fail(host: NeuronHost) -> None:
    host.fault("ls_broken", times=1)
    with pytest.raises(json.JSONDecodeError):
        json.loads(_tool(host, "neuron-ls", "-j").stdout)
    host.fault("ls_fails", times=1)
    assert _tool(host, "neuron-ls", "-j").returncode == 1
    host.fault("ls_hang", seconds=0.1)
    assert json.loads(_tool(host, "neuron-ls", "-j").stdout)
    host.fault("ls_absent")
    assert not (host.bin / "neuron-ls").exists()


def _monitor(host: NeuronHost, lines: int, config: dict[str, Any]) -> list[str]:
    file = host.folder / "monitor.json"
    file.write_text(json.dumps(config))
    command = [host.bin / "neuron-monitor", "-c", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **host.env}) as process:
        assert process.stdout is not None
        found = [process.stdout.readline() for _ in range(lines)]
        process.kill()
    return found


@pytest.mark.parametrize("shape", ["documented", "real"])
def test_neuron_monitor_streams_lines(shape: str, tmp_path: Path) -> None:
    host = NeuronHost(tmp_path, instance_type="trn1.2xlarge", tools=shape)
    for line in _monitor(host, 2, {"period": "0.01s"}):
        report = json.loads(line)
        assert report["neuron_runtime_data"] == []
        assert report["neuron_hardware_info"]["neuron_device_type"] == "trainium"
        assert ("neuron_device_version" in report["neuron_hardware_info"]) == (shape == "documented")


def test_neuron_monitor_reports_who_runs(lab: Lab, host: NeuronHost) -> None:
    code = """
import subprocess
m = made()
for _ in range(20):
    m(x)
from neuron_double.cores import RUNTIME
RUNTIME.write()
with open("c.json", "w") as file:
    json.dump({"period": 0.01, "neuron_runtimes": [{"tag_filter": ".*", "metrics": [{"type": "execution_stats"},
        {"type": "neuroncore_counters"}, {"type": "memory_used"}]}], "system_metrics": []}, file)
process = subprocess.Popen(["neuron-monitor", "-c", "c.json"], stdout=subprocess.PIPE)
tell(json.loads(process.stdout.readline()))
process.kill()
"""
    ran = lab.run(host, f"os.chdir({str(host.folder)!r})\n" + code, NEURON_PROCESS_TAG="mine")
    report = ran.told[0]
    (runtime,) = report["neuron_runtime_data"]
    assert runtime["neuron_runtime_tag"] == "mine"
    assert sorted(runtime["report"]) == ["execution_stats", "memory_used", "neuroncore_counters"]
    assert runtime["report"]["execution_stats"]["execution_summary"]["completed"] == 20
    assert runtime["report"]["execution_stats"]["latency_stats"]["total_latency"]["p50"] > 0
    assert runtime["report"]["memory_used"]["neuron_runtime_used_bytes"]["neuron_device"] > 0
    assert report["system_data"] == {}


def test_neuron_monitor_can_fail(host: NeuronHost) -> None:
    host.fault("monitor_missing_groups", times=1)
    host.fault("monitor_partial_line", after=1, times=1)
    first, second = _monitor(host, 2, {"period": 0.01})
    assert json.loads(first) == {"neuron_runtime_data": []}
    with pytest.raises(json.JSONDecodeError):
        json.loads(second)
    host.heal()
    host.fault("monitor_hang", seconds=0.1, times=1)
    assert json.loads(_monitor(host, 1, {})[0])
    host.fault("monitor_fails")
    assert _tool(host, "neuron-monitor").returncode == 1
    host.fault("monitor_absent")
    assert not (host.bin / "neuron-monitor").exists()


def test_tools_without_a_machine_say_so(host: NeuronHost) -> None:
    env = {**os.environ, "PATH": host.env["PATH"]}
    for name in ("neuron-ls", "neuron-monitor"):
        assert subprocess.run([host.bin / name], capture_output=True, env=env, check=False).returncode == 1


def test_every_fault_has_a_test() -> None:
    text = "".join(file.read_text() for file in Path(__file__).parent.glob("test_doubles*.py"))
    rest = [name for name in FAULTS if name not in RAISED and name not in COMPILER]
    assert [name for name in rest if f'"{name}"' not in text] == []

"""Every row of the table of Neuron failures, injected where the pretended SDK can show it, and what becomes of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.isolate import failures
from sweep.spec import FailureKind as K
from tests.support.neuron_bench import Bench, Built, fixtures
from tests.support.neuron_machine import FAULTS

# Row of the table -> what it becomes. 7 is a deadline and 16 a signal, too: they have tests of their own.
KINDS = {
    1: K.UNSUPPORTED_OPERATOR,
    2: K.UNSUPPORTED_DTYPE,
    3: K.DYNAMIC_SHAPE,
    4: K.MODEL_TOO_LARGE,
    5: K.GRAPH_TOO_LARGE,
    6: K.HOST_OOM,
    8: K.COMPILER_CRASH,
    9: K.COMPILER_CRASH,
    10: K.PARTIAL_PLACEMENT,
    11: K.TOOLCHAIN_MISSING,
    12: K.COMPILER_CRASH,
    13: K.CORE_UNAVAILABLE,
    14: K.CORE_UNAVAILABLE,
    15: K.DEVICE_OOM,
    16: K.HOST_OOM,
    17: K.TOOLCHAIN_MISSING,
    18: K.CRASH,
    19: K.ARTIFACT_INCOMPATIBLE,
    20: K.SHAPE_MISMATCH,
    21: K.TIMEOUT,
    22: K.NUMERICAL_ERROR,
    23: K.CRASH,
    24: K.HARDWARE_ERROR,
    25: K.TOOLCHAIN_MISSING,
    26: K.CORE_UNAVAILABLE,
}
TEXTS = [(name, text) for name, fault in FAULTS.items() if fault.row for text in fault.texts if text]
IN_BUILDS = [
    name
    for name, fault in FAULTS.items()
    if fault.row and fault.stage in ("trace", "compile") and fault.effect in ("raise", "exit")
]
IN_RUNS = [name for name, fault in FAULTS.items() if fault.stage in ("load", "execute") and fault.effect == "raise"]
# Texts of the table that the pretended SDK does not say.
OTHERS = [
    ("Operator aten::grid_sampler_3d is not supported", K.UNSUPPORTED_OPERATOR),
    ("consider implementing it using supported XLA operators only", K.UNSUPPORTED_OPERATOR),
    ("input shapes are not fully defined", K.DYNAMIC_SHAPE),
    ("ValueError: batch_size is not sufficient to determine the shape of input tensor x", K.DYNAMIC_SHAPE),
    ("ValueError: input tensor x must have known rank", K.DYNAMIC_SHAPE),
    ("ValueError: Your total model size including weights is 20.1GB", K.MODEL_TOO_LARGE),
    ("RuntimeError: neuronx-cc failed with -9", K.HOST_OOM),
    ("Compile command returned: -9", K.HOST_OOM),
    ("neuron-cc: line 3\nKilled\n", K.HOST_OOM),
    ("RuntimeError: neuronx-cc compilation failed with 70", K.COMPILER_CRASH),
    ("RuntimeError: neuronx-cc failed with -6", K.COMPILER_CRASH),
    ("Compile command returned: -11", K.COMPILER_CRASH),
    ("compiler ended: SEGFAULT", K.COMPILER_CRASH),
    ("neuronx-cc: error: unrecognized arguments: --logical-nc-config", K.COMPILER_CRASH),
    ("NERR_RESOURCE_NC (9)", K.CORE_UNAVAILABLE),
    ("nrt_load returned 4 NRT_RESOURCE", K.DEVICE_OOM),
    ("NRT Error NRT_EXEC_HW_ERR_NC_UE(1202): x", K.HARDWARE_ERROR),
    ("Inconsistent client batch sizes", K.SHAPE_MISMATCH),
    ("Invalid input tensor size: given 12, expected size 8", K.SHAPE_MISMATCH),
    ("Incorrect number of input tensors: given 1, expect 2", K.SHAPE_MISMATCH),
    ("ValueError: Unable to pad pixel_values with shape: [2, 3]", K.SHAPE_MISMATCH),
]
bench, built = fixtures("torch_neuronx")
old, _ = fixtures("torch_neuron")


@pytest.fixture(autouse=True)
def healed(bench: Bench, old: Bench) -> Iterator[None]:
    yield
    for one in (bench, old):
        one.host.heal()
        assert one.host.violations() == []


def test_the_table_has_every_row() -> None:
    assert {fault.row for fault in FAULTS.values() if fault.row} == {*KINDS, 7}


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_every_text_has_its_kind(name: str, text: str) -> None:
    row = FAULTS[name].row
    assert row is not None
    assert failures.classify(RuntimeError(text), "")[0] is KINDS[row]
    assert failures.classify(None, f"x\n{text}\ny")[0] is KINDS[row]


@pytest.mark.parametrize(("text", "kind"), OTHERS)
def test_what_the_pretended_sdk_does_not_say(text: str, kind: K) -> None:
    assert failures.classify(None, text)[0] is kind


def reason(name: str) -> str:
    """The part of an injected text that says what happened."""
    if name == "scheduler_failure":
        return "Scheduler Failure! (AssertionError at job.Scheduler.3)"
    lines = FAULTS[name].texts[0].splitlines() or ["failed with 1"]
    return lines[-1].replace("Error message: ", "")


@pytest.mark.process
@pytest.mark.parametrize("name", IN_BUILDS)
def test_a_build_that_fails_is_explained(name: str, bench: Bench) -> None:
    """The compiler's own line, not the exception that hides it, decides and is told."""
    fault = FAULTS[name]
    assert fault.row is not None
    bench.host.fault(name)
    failure = bench.build().failure
    assert failure.kind is KINDS[fault.row]
    assert reason(name) in failure.summary
    assert "\n" not in failure.summary


@pytest.mark.process
@pytest.mark.parametrize("name", IN_RUNS)
def test_a_run_that_fails_is_explained(name: str, bench: Bench, built: Built) -> None:
    fault = FAULTS[name]
    assert fault.row is not None
    bench.host.fault(name)
    failure = bench.measure(built).failure
    assert failure is not None
    assert failure.kind is KINDS[fault.row]
    assert fault.texts[0] in failure.summary


@pytest.mark.process
@pytest.mark.parametrize("name", ["core_unavailable", "device_oom", "exec_timeout"])
def test_one_of_several_replicas_that_fails_gives_the_reason(name: str, bench: Bench, built: Built) -> None:
    bench.host.fault(name, times=1)
    failure = bench.measure(built, (0,), (1,)).failure
    assert failure is not None
    assert failure.kind is KINDS[FAULTS[name].row or 0]
    assert "replica" in failure.summary


# --- ends that are no text --------------------------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("compiler_oom", K.HOST_OOM, "failed with -9"),
        ("compiler_segfault", K.COMPILER_CRASH, "failed with -11"),
        ("compiler_abort", K.COMPILER_CRASH, "failed with -6"),
    ],
)
def test_a_compiler_that_is_killed(name: str, kind: K, told: str, bench: Bench, old: Bench) -> None:
    bench.host.fault(name)
    failure = bench.build().failure
    assert failure.kind is kind
    assert told in failure.summary
    old.host.fault(name)
    failure = old.build().failure
    assert failure.kind is (K.HOST_OOM if kind is K.HOST_OOM else K.PARTIAL_PLACEMENT)  # the trace goes on without it
    assert told in failure.summary


@pytest.mark.process
def test_a_trace_that_crashes_takes_nobody_with_it(bench: Bench, built: Built) -> None:
    bench.host.fault("trace_segfault")
    failure = bench.build().failure
    assert (failure.signal, failure.exit_code) == ("SIGSEGV", None)  # the engine calls it the compiler's crash
    assert bench.measure(built).failure is None


@pytest.mark.process
def test_a_runner_that_is_killed(bench: Bench, built: Built) -> None:
    """Only the kernel's own count makes it host_oom: SIGKILL may come from anybody."""
    bench.host.fault("runner_killed")
    failure = bench.measure(built).failure
    assert failure is not None
    assert (failure.kind, failure.signal) == (K.CRASH, "SIGKILL")
    assert "out-of-memory" in failure.summary


@pytest.mark.process
@pytest.mark.parametrize("which", ["bench", "old"])
def test_a_compiler_that_hangs_ends_at_our_deadline_with_its_children(
    which: str, request: pytest.FixtureRequest
) -> None:
    bench: Bench = request.getfixturevalue(which)
    bench.host.fault("compile_hang")
    failure = bench.build(seconds=3.0).failure
    assert failure.kind is K.TIMEOUT
    assert "killed at the deadline" in failure.summary
    (hang,) = [json.loads(line) for line in (bench.host.state / "hangs.jsonl").read_text().splitlines()]
    for pid in hang.values():
        assert not _alive(pid)


@pytest.mark.process
def test_a_device_that_hangs_ends_at_our_deadline(bench: Bench, built: Built) -> None:
    bench.host.fault("execute_hang")
    failure = bench.measure(built, seconds=3.0).failure
    assert failure is not None
    assert failure.kind is K.TIMEOUT


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]


# --- Inf1: what fails is logged and falls back ------------------------------------------------------------------------


@pytest.mark.process
@pytest.mark.parametrize("name", [name for name in IN_BUILDS if FAULTS[name].stage == "compile"])
def test_on_inf1_nothing_compiled_is_partial_placement_with_the_reason(name: str, old: Bench) -> None:
    fault = FAULTS[name]
    assert fault.row is not None
    old.host.fault(name)
    failure = old.build().failure
    kind = KINDS[fault.row]
    assert failure.kind is (K.PARTIAL_PLACEMENT if kind is K.COMPILER_CRASH else kind)
    assert reason(name) in failure.summary
    if failure.kind is K.PARTIAL_PLACEMENT:
        assert failure.summary.startswith("0% of the operators run on the device: ")


@pytest.mark.process
@pytest.mark.parametrize("name", ["no_ops_on_device", "silent_cpu_fallback"])
def test_on_inf1_a_trace_without_operators_is_no_build(name: str, old: Bench) -> None:
    old.host.fault(name)
    failure = old.build().failure
    assert failure.kind is K.PARTIAL_PLACEMENT
    assert "0% of the operators run on the device" in failure.summary


@pytest.mark.process
def test_on_inf1_the_share_of_the_log_is_the_placement(old: Bench) -> None:
    old.host.fault("low_on_device_ratio", ratio=0.67)
    info = old.build().info
    assert info.placement == pytest.approx(2 / 3, abs=0.001)
    assert info.notes["operators"] == {"arithmetic": 3, "fused": 2}

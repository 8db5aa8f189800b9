"""What compilers print: kept, passed on, and read for the reason of a silent fallback."""

import os
import subprocess
import sys

import pytest

from sweep.backends import compiler_output
from sweep.isolate import failures

REPORT = """INFO:tensorflow:fusing subgraph {subgraph neuron_op_1 with input tensors [...]} with neuron-cc
***************************************************************
 An Internal Compiler Error has occurred
***************************************************************
10/18/2020 08:00:00 PM ERROR 12 [neuron-cc]: Error message:  Scheduler Failure!
10/18/2020 08:00:00 PM ERROR 12 [neuron-cc]: Error class:    AssertionError
10/18/2020 08:00:00 PM ERROR 12 [neuron-cc]: Error location: job.Scheduler.3
WARNING:tensorflow:Failed to fuse subgraph {subgraph neuron_op_1} with '/bin/neuron-cc compile graph_def.pb'
INFO:tensorflow:Number of operations placed on Neuron runtime: 0
"""


@pytest.mark.process
def test_everything_is_kept_and_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    with compiler_output.capture() as said:
        os.write(1, b"from Python\n")
        os.write(2, b"from the framework\n")
        subprocess.run([sys.executable, "-c", "import sys; print('a child', file=sys.stderr)"], check=True)
    os.write(1, b"afterwards\n")
    kept = said.text.splitlines()
    assert sorted(kept) == ["a child", "from Python", "from the framework"]
    seen = capfd.readouterr()
    assert sorted((seen.out + seen.err).splitlines()) == sorted([*kept, "afterwards"])


@pytest.mark.process
def test_what_was_said_before_a_failure_is_kept_too() -> None:
    kept = []

    def build() -> None:
        with compiler_output.capture() as said:
            kept.append(said)
            os.write(1, b"the last words\n")
            raise ValueError("it broke")

    with pytest.raises(ValueError, match="it broke"):
        build()
    assert kept[0].text == "the last words\n"


@pytest.mark.process
def test_a_process_that_stays_behind_does_not_hold_the_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiler_output, "WAIT_SECONDS", 0.1)
    with compiler_output.capture() as said:
        left = subprocess.Popen(["sleep", "60"])
        os.write(1, b"done\n")
        while "done" not in failures.read_tail(said.path, compiler_output.KEPT_BYTES):
            pass
    left.kill()
    left.wait()
    assert said.text == "done\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (REPORT, "Scheduler Failure! (AssertionError at job.Scheduler.3)"),
        ("Error message: only this\n", "only this"),
        ("WARNING:tensorflow:neuron-cc failed with:\n[NCC_EVRF007] too many\n", "[NCC_EVRF007] too many"),
        ("WARNING:tensorflow:neuron-cc failed with:\nsomething nobody has seen\n", "something nobody has seen"),
        ("WARNING:tensorflow:neuron-cc failed with:\n\n", "the compiler failed without a word"),
        (
            "WARNING:tensorflow:Failed to fuse subgraph {subgraph a} with 'neuron-cc compile x'\n",
            "the compiler failed without a word",
        ),
        (
            "WARNING:tensorflow:Not fusing subgraph neuron_op because input shapes are not fully defined\n",
            "WARNING:tensorflow:Not fusing subgraph neuron_op because input shapes are not fully defined",
        ),
        ("WARNING:tensorflow:Not fusing subgraph neuron_op: --io-config error\n", "--io-config error"),
        (
            "WARNING:tensorflow:Command '['neuron-cc', 'compile']' timed out after 18000 seconds\n",
            "timed out after 18000 seconds",
        ),
        ("INFO:tensorflow:Successfully converted a to b\n", ""),
        ("", ""),
    ],
)
def test_the_reason_is_the_compilers_own(text: str, says: str) -> None:
    assert compiler_output.find_reason(text) == says

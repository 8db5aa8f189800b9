"""Time limits, devices, cores and injected faults of the doubles of TensorFlow Neuron, and the sweep of 2020."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import published_sweep
from tests.support.neuron_machine import NeuronHost
from tests.support.tensorflow_interpreters import ONE, TWO, WHEELS, Lab, last, started, told

pytestmark = pytest.mark.process

BUSY = "NeuronCore(s) not available - Requested:nc0-nc3"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


# --- time limits ---


def kill_hanging(host: NeuronHost) -> int:
    """End what a hanging compiler left behind; how many there were."""
    log = host.state / "hangs.jsonl"
    hangs = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for hang in hangs:
        os.kill(hang["child"], signal.SIGKILL)
    return len(hangs)


def test_a_compiler_that_takes_too_long_is_interrupted_and_the_model_stays_on_the_cpu(lab: Lab) -> None:
    host = lab.host(ONE)
    host.fault("compile_hang", batch=5)
    ran = lab.run(ONE, host, "tell([made(compiler_timeout=1), same(asked(x), net.predict(x))])")
    assert last(ran) == [0.0, True]
    assert "timed out after 1 seconds" in ran.err
    assert kill_hanging(host) == 1


@pytest.mark.parametrize(
    ("on_interrupt", "ended"), [("exit 3", "interrupted\n"), ("true", "interrupted\n")], ids=["goes", "stays"]
)
def test_the_interrupt_comes_first_and_the_kill_a_second_later(tmp_path: Path, on_interrupt: str, ended: str) -> None:
    host = NeuronHost(tmp_path / "host", (ONE,), "inf1.xlarge")
    log = tmp_path / "log"
    body = f"trap 'echo interrupted >>{log}; {on_interrupt}' INT\necho $$ >{log}.pid\nwhile :; do sleep 0.1; done\n"
    (host.bin / "neuron-cc").write_text("#!/bin/sh\n" + body)
    done = started(host, ONE, "tell(made(compiler_timeout=1, compiler_workdir='work'))")
    assert told(done.stdout)[-1] == 0.0, done.stderr
    assert "Failed to fuse subgraph" in done.stderr
    assert log.read_text() == ended
    assert not Path("/proc", Path(f"{log}.pid").read_text().strip()).exists()


# --- the runtime ---


def test_without_a_device_a_compiled_model_loads_and_does_not_run(lab: Lab) -> None:
    """The program goes to the device at the first call, not before."""
    code = "made()\ntf.contrib.predictor.from_saved_model('compiled')\ntell('loaded')\nrefused(lambda: asked(x))"
    ran = lab.run(ONE, None, code)
    assert told(ran.out)[0] == "loaded"
    kind, text = told(ran.out)[1]
    assert kind == "UnavailableError"
    assert text.endswith('Nrt::Init failed: nrt_init: status=1, error message="Non specific failure".')


def test_cores_belong_to_one_process(lab: Lab) -> None:
    host = lab.host(TWO)
    hold = "made()(x)\nprint('held', flush=True)\nimport sys\nsys.stdin.readline()"
    command = [host.python, "-c", WHEELS[TWO][0] + hold]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    env = {**os.environ, **host.env, "NEURON_RT_VISIBLE_CORES": "0-1"}
    with subprocess.Popen(command, env=env, cwd=host.folder, **pipes) as holder:
        while holder.stdout.readline().strip() != "held":
            assert holder.poll() is None
        refused = lab.run(TWO, host, "refused(lambda: made()(x))")
        beside = lab.run(TWO, host, "tell(same(made()(x), net(x)))", NEURON_RT_VISIBLE_CORES="2-3")
        holder.communicate("\n")
    assert last(refused)[0] == "UnavailableError"
    assert BUSY in refused.err
    assert last(beside) is True
    assert last(lab.run(TWO, host, "tell(same(made()(x), net(x)))")) is True


def test_a_fork_cannot_use_the_runtime_of_its_parent(lab: Lab) -> None:
    host = lab.host(TWO)
    code = (
        "model = made()\nmodel(x)\nchild = os.fork()\nif not child:\n    refused(lambda: model(x))\n    os._exit(0)\n"
    )
    ran = lab.run(TWO, host, code + "os.waitpid(child, 0)")
    assert last(ran)[0] == "UnavailableError"
    assert "NRT_STATE_CHILD" in ran.err
    assert [violation["rule"] for violation in host.violations()] == ["runtime-after-fork"]


def test_settings_of_the_runtime_are_too_late_after_the_first_call(lab: Lab) -> None:
    host = lab.host(TWO)
    code = "model = made()\nmodel(x)\nos.environ['NEURON_RT_VISIBLE_CORES'] = '0'\nrefused(lambda: model(x))"
    assert last(lab.run(TWO, host, code))[0] == "UnavailableError"
    assert [violation["rule"] for violation in host.violations()] == ["runtime-settings-late"]


@pytest.mark.parametrize(
    ("fault", "variant", "kind", "says"),
    [
        ("core_unavailable", 0, "UnavailableError", "Nrt::Init failed: nrt_init: status=1"),
        ("device_oom", 0, "ResourceExhaustedError", "Not enough runtime resource to load NEFF: nrt_load: status=4"),
        ("host_oom", 0, "ResourceExhaustedError", 'status=11, error message="Not enough host memory"'),
        ("artifact_incompatible", 0, "InvalidArgumentError", "NEFF is invalid; it could be broken or hacked"),
        ("artifact_incompatible", 1, "InvalidArgumentError", 'status=10, error message="Unsupported version of NEFF"'),
        ("exec_timeout", 0, "InternalError", 'Execute failed: nrt_execute: status=5, error message="Operation timed'),
        ("exec_timeout", 1, "InternalError", "Execute failed: nrt_execute: status=5"),
        ("hardware_error", 0, "InternalError", 'Execute failed: nrt_execute: status=6, error message="Hardware'),
        ("shape_mismatch", 1, "InvalidArgumentError", "nrt_execute: status=1002"),
        ("device_oom_at_call", 0, "InternalError", "Execute failed: nrt_execute: status=4"),
    ],
)
def test_errors_of_the_runtime(lab: Lab, fault: str, variant: int, kind: str, says: str) -> None:
    host = lab.host(TWO)
    host.fault(fault, variant=variant, batch=5)
    ran = lab.run(TWO, host, "refused(lambda: made()(x))\nrefused(lambda: made(example=x[:2])(x[:2]))")
    first, other = told(ran.out)
    assert first[0] == kind, ran.err
    assert says in first[1]
    assert first[1].startswith("tensorflow/neuron/runtime/direct/adaptor.cc:")
    assert other is None, "limited to another batch"


@pytest.mark.parametrize("wheel", [ONE, TWO])
def test_answers_can_be_wrong_or_no_numbers(lab: Lab, wheel: str) -> None:
    """Real TensorFlow ignores the runtime's alarm about NaN: only the answers tell."""
    ask = (
        "made()\nfound = asked(x)\nright = net.predict(x)"
        if wheel == ONE
        else "found = made()(x).numpy()\nright = net(x)"
    )
    code = ask + "\ntell([bool(np.isnan(found).all()), same(found, right)])"
    for fault, seen in (("nan_outputs", [True, False]), ("wrong_answers", [False, False])):
        host = lab.host(wheel)
        host.fault(fault, batch=5)
        assert last(lab.run(wheel, host, code)) == seen


@pytest.mark.parametrize("wheel", [ONE, TWO])
def test_less_than_all_can_be_on_the_device_without_a_word(lab: Lab, wheel: str) -> None:
    code = "tell(made())" if wheel == ONE else "tell(made().on_neuron_ratio)"
    for fault, low, high in (("silent_cpu_fallback", 0, 0), ("low_on_device_ratio", 0.01, 0.6)):
        host = lab.host(wheel)
        host.fault(fault, batch=5)
        ran = lab.run(wheel, host, code)
        assert low <= last(ran) <= high


def test_a_compiler_of_tensorflow_can_be_killed(lab: Lab) -> None:
    host = lab.host(TWO)
    host.fault("compiler_oom", batch=5)
    ran = lab.run(TWO, host, "tell([made().on_neuron_ratio])")
    assert last(ran) == [0.0]
    assert "neuron-cc failed with:\n\n" in ran.err, "killed without a word"


def test_without_the_plug_in_the_operator_is_unknown(lab: Lab) -> None:
    code = "model = made()\nimport sys\nsys.modules['tensorflow_double.operator'] = None\nrefused(lambda: model(x))"
    kind, text = last(lab.run(TWO, lab.host(TWO), code))
    assert (kind, "Op type not registered 'NeuronOp'" in text) == ("NotFoundError", True)


# --- cores ---


def cores_of(host: NeuronHost) -> list[list[int]]:
    return [call["cores"] for call in host.calls("load")]


@pytest.mark.parametrize(
    ("flags", "env", "cores"),
    [
        ("", {}, [[0], [1], [2], [3]]),
        ("", {"NEURON_RT_VISIBLE_CORES": "2-3"}, [[2], [3]]),
        ("", {"NEURON_RT_NUM_CORES": "1"}, [[0]]),
        ("", {"NEURONCORE_GROUP_SIZES": "2x1"}, [[0], [1]]),
        ("--neuroncore-pipeline-cores=2", {"NEURON_RT_VISIBLE_CORES": "1-3"}, [[1, 2]]),
    ],
)
def test_a_model_of_one_core_is_copied_and_a_pipeline_is_not(
    lab: Lab, flags: str, env: dict[str, str], cores: list[list[int]]
) -> None:
    host = lab.host(TWO)
    ran = lab.run(TWO, host, f"model = made(flags={flags!r})\nmodel(x)\ntell([same(model(x), net(x))])", **env)
    assert last(ran) == [True], ran.err
    assert cores_of(host) == cores


def test_a_pipeline_longer_than_the_visible_cores_compiles_and_does_not_load(lab: Lab) -> None:
    host = lab.host(TWO)
    code = "model = made(flags='--neuroncore-pipeline-cores=4')\nrefused(lambda: model(x))"
    kind, text = last(lab.run(TWO, host, code, NEURON_RT_VISIBLE_CORES="0-1"))
    assert kind == "ResourceExhaustedError"
    assert 'status=9, error message="Failed to allocate enough NeuronCores for loading a NEFF"' in text


def test_groups_with_copies_are_not_implemented(lab: Lab) -> None:
    ran = lab.run(TWO, lab.host(TWO), "refused(lambda: made()(x))", NEURONCORE_GROUP_SIZES="2x1,2x1")
    assert last(ran)[0] == "UnimplementedError"
    assert "NEURONCORE_GROUP_SIZES is being deprecated" in ran.err


def test_automatic_replication(lab: Lab) -> None:
    host = lab.host(TWO)
    code = "model = tfn.auto_multicore(made(), tf.constant(x), num_cores=3)\ntell([same(model(x), net(x))])"
    assert last(lab.run(TWO, host, code)) == [True]
    assert cores_of(host) == [[0], [1], [2]]


def test_automatic_replication_of_a_stored_model(lab: Lab, tmp_path: Path) -> None:
    host = lab.host(TWO)
    kept, again = tmp_path / "kept", tmp_path / "again"
    lab.run(TWO, host, f"made().save({str(kept)!r})")
    command = [str(host.bin / "tf-neuron-auto-multicore"), str(kept), "--num_cores", "2", "--new_model_dir", str(again)]
    subprocess.run(command, env={**os.environ, **host.env}, check=True)
    code = f"tell([same(tf.keras.models.load_model({str(again)!r})(x), net(x))])"
    assert last(lab.run(TWO, host, code)) == [True]
    assert cores_of(host) == [[0], [1]]


# --- the published sweep ---


def test_nine_of_fifteen_compilations_fail_as_published(lab: Lab, tmp_path: Path) -> None:
    host = published_sweep.author_host(tmp_path / "host", seconds_scale=1e-5)
    cells = [(batch, cores) for batch in published_sweep.BATCHES for cores in published_sweep.CORES]
    asked = {f"{batch}-{cores}": [batch, published_sweep.compiler_args(batch, cores)] for batch, cores in cells}
    code = f"written()\nfound = {{}}\nfor name, (batch, args) in {asked!r}.items():\n"
    code += "    more = {'dynamic_batch_size': True, 'compiler_workdir': 'work/' + name, 'compiler_args': args}\n"
    code += "    found[name] = tfn.saved_model.compile('original', 'new' + name, batch, **more)['OnNeuronRatio']\n"
    code += "tell(found)"
    ratios = last(lab.run(ONE, host, code))
    assert len(published_sweep.FAILED) == 9
    assert {cell for cell in cells if ratios[f"{cell[0]}-{cell[1]}"] == 0} == published_sweep.FAILED
    assert sum(published_sweep.SECONDS[cell] for cell in published_sweep.FAILED) == 2064
    assert host.violations() == []


def test_the_extra_flags_rescue_one_of_the_nine(lab: Lab, tmp_path: Path) -> None:
    host = published_sweep.author_host(tmp_path / "host")
    arguments = published_sweep.compiler_args(5, 1, extra=True)
    code = f"tell([made(dynamic_batch_size=True, compiler_args={arguments!r}) > 0.5])"
    assert last(lab.run(ONE, host, code)) == [True]

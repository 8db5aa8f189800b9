"""The doubles of the Neuron packages do what is documented, and refuse what the documentation forbids."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.neuron_interpreters import TWO, WHEELS, Lab, fixtures, inf1
from tests.support.neuron_machine import NeuronHost

pytestmark = pytest.mark.process

lab, host = fixtures()


# rule -> (wheel, a snippet that breaks it); `refused` says how the double took it
BREAKS: dict[str, tuple[str, str]] = {
    "runtime-after-fork": (
        "torch_neuronx",
        "m = made()\nif os.fork() == 0:\n    refused(lambda: m(x))\n    os._exit(0)\nos.wait()",
    ),
    "runtime-settings-late": (
        "torch_neuronx",
        "m = made()\nos.environ['NEURON_RT_VISIBLE_CORES'] = '0'\nrefused(lambda: m(x))",
    ),
    "visible-cores-form": ("torch_neuronx", "os.environ['NEURON_RT_VISIBLE_CORES'] = '0,1'\nrefused(made)"),
    "num-cores-form": ("torch_neuronx", "os.environ['NEURON_RT_NUM_CORES'] = '9'\nrefused(made)"),
    "neuronx-cc-flag": ("torch_neuronx", "refused(lambda: made(args=[*ARGS, '--fast-math', 'all']))"),
    "neuronx-cc-value": ("torch_neuronx", "refused(lambda: made(args='--target inf2 --auto-cast matmul'))"),
    "neuronx-cc-target": ("torch_neuronx", ""),  # trace gives one: see test_the_compiler_needs_a_target
    "neuronx-cc-lnc": ("torch_neuronx", "refused(lambda: made(args=[*ARGS, '-lnc', '2']))"),
    "neuron-cc-flag": ("torch_neuron", "refused(lambda: made(compiler_args=['--auto-cast', 'none']))"),
    "neuron-cc-value": ("torch_neuron", "refused(lambda: made(compiler_args=['--fast-math', 'some']))"),
    "example-inputs": ("torch_neuronx", "refused(lambda: made(example={'x': x}))"),
    "inputs-on-cpu": ("torch_neuronx", "refused(lambda: made(example=x.to('meta')))"),
    "fixed-shape": ("torch_neuronx", "m = made()\nrefused(lambda: m(torch.randn(3, 8)))"),
    "fixed-dtype": ("torch_neuronx", "m = made()\nrefused(lambda: m(x.half()))"),
    "input-count": (
        "torch_neuronx",
        TWO + "m = made(Two(), (x, x))\nfrom neuron_double_torch import artifact\n"
        "refused(lambda: artifact.model_of(m)([x], False))",
    ),
    "dynamic-batch": (
        "torch_neuronx",
        TWO + "m = neuron.dynamic_batch(made(Two(), (x, x)))\nrefused(lambda: m(torch.randn(4, 8), x))",
    ),
    "trace-keyword": ("torch_neuronx", "refused(lambda: made(dynamic_batch_size=True))"),
    "trace-positional": ("torch_neuronx", "refused(lambda: neuron.trace(net, x, {}))"),
    "trace-types": ("torch_neuronx", "refused(lambda: made(args=('--target', 'inf2')))"),
    "trace-cpu-target": ("torch_neuronx", "refused(lambda: made(args=['--optlevel', '1'], cpu_backend=True))"),
    "dynamic-batch-inputs": (
        "torch_neuronx",
        TWO + "m = made(Two(), (x, torch.randn(1, 8)))\nrefused(lambda: neuron.dynamic_batch(m))",
    ),
    "traced-module": ("torch_neuronx", "refused(lambda: neuron.dynamic_batch(net))"),
    "placement-count": ("torch_neuronx", "m = made()\nrefused(lambda: neuron.set_neuron_cores(m, 0, 3))"),
    "placement-start": ("torch_neuronx", "m = made()\nrefused(lambda: neuron.set_neuron_cores(m, 2))"),
    "placement-threads": (
        "torch_neuronx",
        "def inside():\n    with neuron.neuron_cores_context(0):\n        pass\n"
        "with neuron.multicore_context():\n    t = threading.Thread(target=refused, args=(inside,))\n"
        "    t.start()\n    t.join()",
    ),
    "load-flags-late": (
        "torch_neuronx",
        "f = io.BytesIO()\ntorch.jit.save(made(), f)\nf.seek(0)\nm = torch.jit.load(f)\n"
        "refused(lambda: neuron.lazy_load(m))",
    ),
    "move-device": ("torch_neuronx", "m = made()\nrefused(lambda: neuron.move_trace_to_device(m, 2))"),
    "analyze-parameters": ("torch_neuronx", "refused(lambda: neuron.PartitionerConfig(analyze_parameters={'a': 1}))"),
    "buckets-list": (
        "torch_neuronx",
        "refused(lambda: neuron.bucket_model_trace(lambda: (net, {}), x, neuron.BucketModelConfig(lambda: None)))",
    ),
    "data-parallel-traced": ("torch_neuronx", "refused(lambda: neuron.DataParallel(net))"),
    "data-parallel-ids": ("torch_neuronx", "m = made()\nrefused(lambda: neuron.DataParallel(m, ['nc:2']))"),
    "data-parallel-static": (
        "torch_neuronx",
        "m = neuron.DataParallel(made())\nm.disable_dynamic_batching()\nrefused(lambda: m(x))",
    ),
    "data-parallel-pipeline": (
        "torch_neuron",
        "m = made(compiler_args=['--neuroncore-pipeline-cores', '2'])\nrefused(lambda: neuron.DataParallel(m))",
    ),
    "neuron-trace-keyword": ("torch_neuron", "refused(lambda: made(cpu_backend=True))"),
    "neuron-trace-types": ("torch_neuron", "refused(lambda: made(compiler_args='--fast-math none'))"),
    "neuron-dynamic-batch": (
        "torch_neuron",
        TWO + "refused(lambda: made(Two(), (x, torch.randn(1, 8)), dynamic_batch_size=True))",
    ),
    "neuron-separate-weights": ("torch_neuron", ""),  # needs an old compiler: see test_an_old_compiler
}


@pytest.mark.parametrize("rule", [rule for rule, (_, code) in BREAKS.items() if code])
def test_a_broken_rule_is_refused_and_written_down(rule: str, lab: Lab, tmp_path: Path) -> None:
    wheel, code = BREAKS[rule]
    host = NeuronHost(tmp_path / "host", (wheel,), WHEELS[wheel][1])
    ran = lab.run(host, code, wheel)
    assert ran.status == 0, ran.err
    assert ran.told[-1] is not None, "not refused"
    assert [violation["rule"] for violation in host.violations()] == [rule]


@pytest.mark.parametrize("wheel", WHEELS)
def test_every_rule_is_broken_by_a_test(wheel: str, lab: Lab) -> None:
    ran = lab.run(None, "from neuron_double.rules import RULES\ntell({k: list(v) for k, v in RULES.items()})", wheel)
    rules = ran.told[0]
    assert set(rules) <= set(BREAKS)
    assert all(text and source for text, source in rules.values())


def test_the_compiler_needs_a_target(host: NeuronHost, tmp_path: Path) -> None:
    program = tmp_path / "a.hlo"
    program.write_text(json.dumps({"facts": {}}))
    done = _compiler(host, "neuronx-cc", str(program))
    assert done.returncode != 0
    assert [violation["rule"] for violation in host.violations()] == ["neuronx-cc-target"]


def test_an_old_compiler_has_no_separate_weights(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path, neuron_cc="1.9.0.0")
    ran = lab.run(host, "refused(lambda: made(separate_weights=True))", "torch_neuron")
    assert ran.told[0][0] == "NotImplementedError"
    assert [violation["rule"] for violation in host.violations()] == ["neuron-separate-weights"]


def _compiler(host: NeuronHost, name: str, program: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [host.bin / name, "compile", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **host.env}, check=False)


# ---- what works


def test_a_saved_artifact_answers_as_the_original_does(lab: Lab, host: NeuronHost) -> None:
    code = """
f = io.BytesIO()
torch.jit.save(made(), f)
f.seek(0)
m = torch.jit.load(f)
tell(isinstance(m, torch.jit.ScriptModule))
tell(torch.equal(m(x), net(x)))
"""
    ran = lab.run(host, code)
    assert ran.told == [True, True], ran.err
    assert host.violations() == []
    assert host.calls("trace")[0]["compiler_args"] == ["--target", "inf2", "--auto-cast", "none"]


@pytest.mark.parametrize(
    ("cast", "kind"), [("all", "bf16"), ("matmult", "bf16"), ("all", "fp16"), ("all", "tf32"), ("all", "fp8_e4m3")]
)
def test_a_cast_shows_in_the_answers(cast: str, kind: str, lab: Lab, host: NeuronHost) -> None:
    code = f"""
m = made(args="--target inf2 --auto-cast {cast} --auto-cast-type {kind}")
tell(float((m(x) - net(x)).detach().abs().max()))
"""
    ran = lab.run(host, code)
    assert 0 < ran.told[0] < 0.2, ran.err


def test_a_cast_keeps_what_is_written_in_place(lab: Lab, host: NeuronHost) -> None:
    code = """
def doubled(a):
    b = a + 1
    b[:, 0] *= 2
    return torch.relu_(b)
m = made(doubled, args="--target inf2 --auto-cast all --auto-cast-type fp16")
tell(torch.allclose(m(x), doubled(x), atol=1e-2))
"""
    assert lab.run(host, code).told == [True]


def test_an_old_compiler_casts_by_default(lab: Lab, tmp_path: Path) -> None:
    old = NeuronHost(tmp_path / "old", neuronx_cc="2.20.1.0")
    code = "m = made(args=['--target', 'inf2'])\ntell(torch.equal(m(x), net(x)))"
    assert lab.run(old, code).told == [False]
    assert lab.run(NeuronHost(tmp_path / "new"), code).told == [True]


def test_inf1_casts_all_by_default(lab: Lab, tmp_path: Path) -> None:
    ran = lab.run(inf1(tmp_path), "m = made()\ntell(torch.equal(m(x), net(x)))", "torch_neuron")
    assert ran.told == [False], ran.err


def test_dynamic_batch_and_data_parallel_give_what_one_call_gives(lab: Lab, host: NeuronHost) -> None:
    code = """
m = made()
tell(neuron.dynamic_batch(m) is m)
seven = torch.randn(7, 8)
tell(torch.allclose(m(seven), net(seven), atol=1e-6))
d = neuron.DataParallel(m)
tell([d.device_ids, d.num_workers])
tell(torch.allclose(d(seven), net(seven), atol=1e-6))
neuron.lazy_load(m)
f = io.BytesIO()
m.save("kept.pt")
m = torch.jit.load("kept.pt")
os.unlink("kept.pt")
tell(torch.allclose(m(seven), net(seven), atol=1e-6))
"""
    ran = lab.run(host, f"os.chdir({str(host.folder)!r})\n" + code)
    assert ran.told == [True, True, [[0, 1], 4], True, True], ran.err
    assert host.violations() == []


def test_outputs_keep_their_structure(lab: Lab, host: NeuronHost) -> None:
    code = """
class Several(torch.nn.Module):
    def forward(self, a):
        return {"sum": a + a, "one": a}
m = made(Several())
tell(sorted(m(x)))
tell([type(item).__name__ for item in made(lambda a: (a, (a + 1, a + 2)))(x)])
"""
    assert lab.run(host, code).told == [["one", "sum"], ["Tensor", "tuple"]]


def test_a_lazy_artifact_is_loaded_at_its_first_call(lab: Lab, host: NeuronHost) -> None:
    code = """
m = made(cpu_backend=True)
neuron.lazy_load(m)
torch.jit.save(m, "a.pt")
m = torch.jit.load("a.pt")
from neuron_double.state import entries
def loads(): return len([e for e in entries("calls.jsonl") if e["name"] == "load"])
before = loads()
m(x)
tell([before, loads()])
"""
    ran = lab.run(host, f"os.chdir({str(host.folder)!r})\n" + code)
    assert ran.told == [[0, 1]], ran.err


def test_an_asynchronous_load_fails_at_the_first_call(lab: Lab, host: NeuronHost) -> None:
    code = """
m = made(cpu_backend=True)
neuron.async_load(m)
torch.jit.save(m, "a.pt")
m = torch.jit.load("a.pt")
tell("loaded")
refused(lambda: m(x))
"""
    host.fault("device_oom")
    ran = lab.run(host, f"os.chdir({str(host.folder)!r})\n" + code)
    assert ran.told[0] == "loaded"
    assert "status=4 message=Allocation Failure" in ran.told[1][1]


def test_placement_goes_where_it_is_told(lab: Lab, host: NeuronHost) -> None:
    code = """
m = made()
torch.jit.save(m, "a.pt")
from neuron_double_torch import artifact
def cores(m): return artifact.model_of(m).loaded_on()
first = cores(m)
neuron.set_neuron_cores(m, 1, 1)
second = cores(m)
neuron.set_multicore(m)
third = cores(m)
neuron.move_trace_to_device(m, 0)
with neuron.neuron_cores_context(1):
    loaded = torch.jit.load("a.pt")
neuron.set_neuron_cores(net)
tell([first, second, third, cores(m), cores(loaded)])
"""
    ran = lab.run(host, f"os.chdir({str(host.folder)!r})\n" + code)
    assert ran.told == [[[0], [1], [0, 1], [0], [1]]], ran.err
    assert len(host.calls("placed_nothing")) == 1


def test_old_releases_have_the_experimental_names_only(tmp_path: Path) -> None:
    host = NeuronHost(tmp_path, placement="experimental")
    code = "import torch_neuronx as n; print(hasattr(n, 'set_neuron_cores'), callable(n.experimental.set_neuron_cores))"
    command = [host.python, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **host.env}, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_separated_weights_can_be_replaced_and_inlined_ones_not(lab: Lab, host: NeuronHost) -> None:
    code = """
zeros = {name: value * 0 for name, value in net.state_dict().items()}
m = made(inline_weights_to_neff=False)
neuron.replace_weights(m, zeros)
tell(float(m(x).detach().abs().max()))
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    neuron.replace_weights(made(), zeros)
tell([str(w.message) for w in seen if "separated" in str(w.message)])
"""
    ran = lab.run(host, code)
    assert ran.told == [0.0, ["this model has no separated weights"]], ran.err
    assert len(host.calls("weights_copied")) == 1


def test_analyze_and_partitioner_name_what_is_not_supported(lab: Lab, host: NeuronHost) -> None:
    code = """
ordered = lambda a: (a + 1).sort()[0]
tell(neuron.analyze(ordered, x)["unsupported_operators"][0]["kind"])
tell(neuron.analyze(net, x)["support_percentage"])
refused(lambda: made(ordered))
refused(lambda: made(ordered, partitioner_config=neuron.PartitionerConfig(model_support_percentage_threshold=0.9)))
tell(made(ordered, partitioner_config=neuron.PartitionerConfig())(x).shape[0])
"""
    told = lab.run(host, code).told
    assert told[:2] == ["aten::sort", "100.00%"]
    assert told[2] == ["RuntimeError", "Operator aten::sort is not supported"]
    assert told[3][0] == "ValueError"
    assert told[4] == 2


def test_buckets_choose_by_their_kernel(lab: Lab, host: NeuronHost) -> None:
    code = """
def kernel():
    def choose(inputs):
        short = inputs[0].shape[1] <= 4
        width = 4 if short else 8
        return [torch.nn.functional.pad(inputs[0], (0, width - inputs[0].shape[1]))], torch.tensor([0 if short else 1])
    return choose
config = neuron.BucketModelConfig(kernel)
m = neuron.bucket_model_trace(lambda: (torch.nn.ReLU(), {}), [torch.ones(2, 4), x], config, compiler_args=ARGS)
tell([list(m(torch.ones(2, 3)).shape), list(m(torch.ones(2, 6)).shape)])
"""
    ran = lab.run(host, code)
    assert ran.told == [[[2, 4], [2, 8]]], ran.err


# ---- what is refused by the machine, without anyone's mistake


def test_another_process_cannot_take_a_held_core(lab: Lab, host: NeuronHost) -> None:
    code = """
import subprocess, sys
m = made()
tell(len(json.loads(subprocess.run(["neuron-ls", "-j"], capture_output=True).stdout)[0]["neuron_processes"]))
held = os.getpid()
if os.fork() == 0:
    os.execv(sys.executable, [sys.executable, "-c", '''
from neuron_double.cores import RUNTIME
try:
    RUNTIME.ensure("torch_neuronx", ("v2",))
except RuntimeError as error:
    import json
    print(json.dumps(str(error)))
'''])
os.wait()
"""
    ran = lab.run(host, code, NEURON_RT_VISIBLE_CORES="1")
    text = "ERROR NRT:nrt_allocate_neuron_cores NeuronCore(s) not available - Requested:nc1-nc1 Available:0"
    assert ran.told == [1, text], ran.err
    assert lab.run(host, "made()\ntell(1)", NEURON_RT_VISIBLE_CORES="1").told == [1], "its end frees the core"


def test_visible_cores_win_over_a_number_of_cores(lab: Lab, host: NeuronHost) -> None:
    code = "made()\nfrom neuron_double.cores import RUNTIME\ntell([core.number for core in RUNTIME.cores])"
    assert lab.run(host, code).told == [[0, 1]]
    assert lab.run(host, code, NEURON_RT_NUM_CORES="1").told == [[0]]
    assert lab.run(host, code, NEURON_RT_NUM_CORES="2", NEURON_RT_VISIBLE_CORES="1").told == [[1]]
    assert "Could not find VNC id 2" in lab.run(host, "refused(made)", NEURON_RT_VISIBLE_CORES="1-2").told[0][1]


def test_a_core_holds_what_fits(lab: Lab, tmp_path: Path) -> None:
    host = NeuronHost(tmp_path / "host", core_memory_bytes=1500)
    code = "first = made()\nrefused(made)\ndel first\nimport gc\ngc.collect()\nmade()\ntell('freed')"
    ran = lab.run(host, code, NEURON_RT_NUM_CORES="1")
    assert "status=4 message=Allocation Failure" in ran.told[0][1], ran.err
    assert ran.told[1] == "freed"


@pytest.mark.parametrize(
    ("instance", "env", "text"),
    [
        ("inf2.xlarge", {}, None),
        ("trn1.2xlarge", {}, None),
        ("trn2.48xlarge", {}, "status=10"),
        ("trn2.48xlarge", {"NEURON_RT_ALLOW_LEGACY_NEFF": "TRUE"}, None),
        ("inf1.xlarge", {}, "Neuron runtime cannot be initialized"),
    ],
)
def test_an_artifact_runs_on_its_generation(
    instance: str, env: dict[str, str], text: str | None, lab: Lab, tmp_path: Path
) -> None:
    host = NeuronHost(tmp_path / "host", instance_type=instance)
    told = lab.run(host, "m = made(cpu_backend=True)\nrefused(lambda: m(x))", **env).told[0]
    assert (told is None) == (text is None)
    assert text is None or text in told[1]


@pytest.mark.parametrize(("configured", "good"), [("2", False), ("1", True)])
def test_the_compiled_and_the_configured_logical_cores_are_the_same(
    configured: str, good: bool, lab: Lab, tmp_path: Path
) -> None:
    host = NeuronHost(tmp_path / "host", instance_type="trn2.48xlarge")
    code = "refused(lambda: made(args=['--target', 'trn2', '-lnc', '1'])(x))"
    told = lab.run(host, code, NEURON_LOGICAL_NC_CONFIG=configured).told[0]
    assert (told is None) == good


def test_a_program_larger_than_a_core_is_not_compiled(host: NeuronHost, tmp_path: Path) -> None:
    program = tmp_path / "a.hlo"
    program.write_text(json.dumps({"facts": {"bytes": 20 << 30}}))
    done = _compiler(host, "neuronx-cc", str(program), "--target", "trn1", "--output", str(tmp_path / "a.neff"))
    assert done.returncode == 70
    assert "NCC_EOOM002" in done.stderr
    done = _compiler(host, "neuronx-cc", str(program), "--target", "trn2", "--output", str(tmp_path / "a.neff"))
    assert done.returncode == 0
    assert "Compiler status PASS" in done.stdout


def test_an_artifact_of_another_compiler_is_refused(lab: Lab, tmp_path: Path) -> None:
    old, new = NeuronHost(tmp_path / "old", neuronx_cc="2.20.1.0"), NeuronHost(tmp_path / "new")
    file = str(tmp_path / "a.pt")
    lab.run(old, f"torch.jit.save(made(), {file!r})")
    ran = lab.run(new, f"refused(lambda: torch.jit.load({file!r}))")
    assert ran.told == [["RuntimeError", "Could not load the model status=2 message=Invalid"]]


def test_without_a_device_it_compiles_but_does_not_run(lab: Lab, host: NeuronHost) -> None:
    code = "refused(made)\nm = made(cpu_backend=True)\ntell('compiled')\nrefused(lambda: m(x))"
    ran = lab.run(None, code, PATH=host.env["PATH"])
    assert ran.told[1] == "compiled", ran.err
    for told in (ran.told[0], ran.told[2]):
        assert "cannot determine the number of available NeuronCores" in told[1]


def test_an_artifact_needs_the_package_imported(lab: Lab, host: NeuronHost, tmp_path: Path) -> None:
    file = str(tmp_path / "a.pt")
    lab.run(host, f"torch.jit.save(made(), {file!r})")
    code = f"import torch\ntry:\n    torch.jit.load({file!r})\nexcept RuntimeError as error:\n    print(error)"
    done = subprocess.run([host.python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert "Unknown builtin op: neuron::forward_v2" in done.stdout


def test_errors_of_a_fixed_model_come_from_the_interpreter_of_torchscript(lab: Lab, host: NeuronHost) -> None:
    kind, text = lab.run(host, "m = made()\nrefused(lambda: m(torch.randn(3, 8)))").told[0]
    assert kind == "RuntimeError"
    assert "The following operation failed in the TorchScript interpreter" in text
    assert "neuron::forward_v2" in text
    code = "m = neuron.dynamic_batch(made())\nrefused(lambda: m(torch.randn(3, 9)))"
    assert lab.run(host, code).told[0][0] == "ValueError"


# ---- Inf1


def test_inf1_says_in_its_log_how_much_is_on_the_device(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    code = """
made()
refused(lambda: made(lambda a: torch.fft.fft(a)))
refused(lambda: made(lambda a: torch.fft.fft(a), fallback=False))
refused(lambda: made(compiler_args=["--neuroncore-pipeline-cores", "4"]))
"""
    host.fault("bad_pipeline_size", pipeline=4)
    ran = lab.run(host, code, "torch_neuron")
    before = "INFO:Neuron:Number of arithmetic operators (pre-compilation) before = 3, fused = "
    assert before + "3, percent fused = 100.00%" in ran.err
    assert "may not be suitable for this network" in ran.err
    assert "torch.neuron.trace failed on _NeuronGraph$0; falling back to native python function call" in ran.err
    assert "No operations were successfully partitioned" in ran.told[0][1]
    assert ran.told[1][0] == "AttributeError"
    assert "No operations were successfully partitioned" in ran.told[2][1]


def test_inf1_falls_back_to_the_cpu_without_an_error(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    host.fault("silent_cpu_fallback")
    ran = lab.run(host, "m = made()\ntell(torch.equal(m(x), net(x)))", "torch_neuron")
    assert ran.told == [True], ran.err
    assert "percent fused = 0.00%" in ran.err
    assert host.calls("load") == []


def test_inf1_warns_under_half(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    host.fault("low_on_device_ratio", ratio=0.4)
    code = "net = torch.nn.Sequential(*[torch.nn.ReLU() for _ in range(10)])\nmade(net)"
    ran = lab.run(host, code.replace("made", "warnings.simplefilter('always')\nmade"), "torch_neuron")
    assert "fused = 4, percent fused = 40.00%" in ran.err
    assert "only 40.00% of the operators" in ran.err


def test_a_pipeline_is_compiled_anywhere_and_loaded_where_its_cores_are(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    code = """
made(compiler_args=["--neuroncore-pipeline-cores", "4"]).save("four.pt")
made(compiler_args=["--neuroncore-pipeline-cores", "5"]).save("five.pt")
torch.jit.load("four.pt")(x)
refused(lambda: torch.jit.load("five.pt"))
"""
    ran = lab.run(host, f"os.chdir({str(tmp_path)!r})\n" + code, "torch_neuron")
    assert "status=9" in ran.told[0][1], ran.err
    assert host.calls("load")[0]["cores"] == [0, 1, 2, 3]


def test_inf1_dynamic_batch_and_its_constants(lab: Lab, tmp_path: Path) -> None:
    code = """
five = torch.randn(5, 8)
m = made(dynamic_batch_size=True)
tell(list(m(five).shape))
tell(list(neuron.DataParallel(m)(five).shape))
class Token(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.token = torch.nn.Parameter(torch.ones(1, 2, 4))
    def forward(self, a):
        return a + self.token
v = made(Token(), torch.ones(2, 2, 4), dynamic_batch_size=True)
refused(lambda: v(torch.ones(2, 2, 4)))
tell(neuron is torch.neuron)
"""
    host = inf1(tmp_path)
    ran = lab.run(host, code, "torch_neuron")
    assert ran.told[:2] == [[5, 4], [5, 4]], ran.err
    assert "Inconsistent batch sizes found on inputs" in ran.told[2][1]
    assert ran.told[3] is True
    assert host.violations() == []


def test_inf1_has_a_timeout_for_its_compiler(lab: Lab, tmp_path: Path) -> None:
    host = inf1(tmp_path)
    host.fault("compile_hang", seconds=20)
    ran = lab.run(host, "refused(lambda: made(compiler_timeout=0.3))", "torch_neuron")
    assert ran.told[0][0] == "TimeoutExpired"
    for line in (host.state / "hangs.jsonl").read_text().splitlines():
        with contextlib.suppress(ProcessLookupError):
            os.kill(json.loads(line)["child"], signal.SIGKILL)  # nobody else ends a compiler's own children


def test_an_interpreter_sees_the_distributions(host: NeuronHost) -> None:
    code = "from importlib.metadata import version as v; print(v('torch-neuronx'), v('neuronx-cc'))"
    env = {**os.environ, **host.env}
    done = subprocess.run([host.python, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["2.9.0.2.15.32035", "2.26.6360.0"]

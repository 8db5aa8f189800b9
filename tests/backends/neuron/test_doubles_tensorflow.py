"""The doubles of TensorFlow Neuron refuse what no document names; a failed compile is a warning and a ratio of 0."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.neuron_machine import NeuronHost
from tests.support.tensorflow_interpreters import ONE, TWO, TWOX, Lab, last, started, told

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.close()


# --- one broken rule each ---

BREAKS: dict[str, tuple[str, str, str]] = {  # rule -> wheel, snippet, what is said
    "tf-new-model-dir": (ONE, "os.mkdir('compiled')\nrefused(made)", "AssertionError.*Export directory already exists"),
    "tf-compile-keyword": (ONE, "refused(lambda: made(timeout=3))", "TypeError.*unexpected keyword argument 'timeout'"),
    "tf-undetermined-shape": (
        ONE,
        "given = layers.Input((None,), name='a')\n"
        "refused(lambda: made(model=tf.keras.Model(given, layers.ReLU()(given))))",
        "ValueError.*batch_size is not sufficient to determine the shape of input tensor a:0",
    ),
    "tf-unknown-rank": (
        ONE,
        "from tensorflow._graph import Graph, Node\nfrom tensorflow import _storage\n"
        "node = Node('a', 'Placeholder', attr={'shape': (), 'dtype': 'float32', 'unknown_rank': True})\n"
        "_storage.write('odd', _storage.SavedModel(Graph((node,), {'a': 'a'}, {'a': 'a'})))\n"
        "refused(lambda: tfn.saved_model.compile('odd', 'new'))",
        "ValueError.*input tensor a:0 must have known rank",
    ),
    "tf-must-compile": (
        ONE,
        "refused(lambda: made(compiler_args=['--neuroncore-pipeline-cores', '99'], compiler_recovery=False))",
        "ValueError.*The following subgraphs failed to compile: .*neuron_op_",
    ),
    "tf-feed-shape": (ONE, "made()\nrefused(lambda: asked(x[:, :3]))", "ValueError.*Cannot feed value of shape"),
    "tf-input-size": (
        ONE,
        "made(batch=2)\nrefused(lambda: asked(x))",
        "InvalidArgumentError.*Invalid input tensor size: given .*expected size 64",
    ),
    "tf-group-sizes": (
        ONE,
        "made()\nos.environ['NEURONCORE_GROUP_SIZES'] = '5x1'\nrefused(lambda: asked(x))",
        "InvalidArgumentError.*requires 5 NeuronCores, but there are only 4 cores available",
    ),
    "tf-trace-arguments": (
        TWO,
        "refused(lambda: made(compiler_args=['--verbose']))",
        "TypeError.*unexpected keyword argument 'compiler_args'",
    ),
    "tf-trace-example": (
        TWO,
        "refused(lambda: tfn.trace(net, x))",
        "TypeError.*must be tf.Tensor objects, not ndarray",
    ),
    "tf-cc-flags": (TWO, "refused(lambda: made(flags='--verbose loud'))", "SystemExit.*2"),
    "tf-extract-weights": (TWOX, "refused(lambda: made(flags='--extract-weights inf1.xlarge'))", "AssertionError"),
    "tf-multicore-model": (
        TWO,
        "refused(lambda: tfn.auto_multicore(net, tf.constant(x), 2))",
        "ValueError.*Invalid model is not AwsNeuronModel",
    ),
    "tf-multicore-cores": (
        TWO,
        "refused(lambda: tfn.auto_multicore(made(), tf.constant(x), 0)(x))",
        "InvalidArgumentError.*Num of cores for auto multicore replication, 0, is below 1",
    ),
    "tf-multicore-pipeline": (
        TWO,
        "refused(lambda: tfn.auto_multicore(made(flags='--neuroncore-pipeline-cores=2'), tf.constant(x), 2))",
        "ValueError.*models of one core",
    ),
    "tf-fixed-shape": (TWO, "refused(lambda: made()(x[:2]))", r"ValueError.*Expected shape \(5, 8\), but got"),
    "tf-fixed-dtype": (
        TWO,
        "refused(lambda: made()(x.astype('float64')))",
        "InvalidArgumentError.*expected to be a float tensor but is a double tensor",
    ),
    "tf-input-count": (TWO, "refused(lambda: made()([x, x]))", "TypeError.*takes 1 tensors, it was given 2"),
    "tf-batch-sizes": (
        TWO,
        "os.environ['NEURON_CC_FLAGS'] = '--dynamic-batch-size'\nones = np.ones((5, 3), 'float32')\n"
        "model = tfn.trace(two(), [tf.constant(ones), tf.constant(ones)])\n"
        "refused(lambda: model([ones[:2], ones[:3]]))",
        "InvalidArgumentError.*Inconsistent client batch sizes",
    ),
    "tf-batch-axis": (
        TWO,
        "model = made(flags='--dynamic-batch-size')\n"
        "from tensorflow_double.operator import execute\n"
        "node = next(node for node in model.graph.nodes if node.op == 'NeuronOp')\n"
        "refused(lambda: execute(node, [x[:, 0]]))",
        "InvalidArgumentError.*dynamic batch axis 0, but it only has 1 dimensions",
    ),
    "tf-threads-late": (
        TWO,
        "net(x)\nrefused(lambda: tf.config.threading.set_intra_op_parallelism_threads(3))",
        "RuntimeError.*Intra op parallelism cannot be modified after initialization",
    ),
}


def test_every_rule_has_a_test(lab: Lab) -> None:
    code = "from neuron_double.rules import RULES\ntell({k: list(v) for k, v in RULES.items() if k.startswith('tf-')})"
    rules = last(lab.run(TWO, None, code))
    assert set(rules) == set(BREAKS)
    assert all(text and source for text, source in rules.values())


@pytest.mark.parametrize("rule", BREAKS)
def test_a_broken_rule_is_written_down_and_raised(lab: Lab, rule: str) -> None:
    wheel, code, says = BREAKS[rule]
    host = lab.host(wheel)
    ran = lab.run(wheel, host, code)
    kind, text = last(ran)
    assert re.search(says, f"{kind}: {text}", re.DOTALL), (kind, text, ran.err)
    assert rule in [violation["rule"] for violation in host.violations()]


@pytest.mark.parametrize(
    ("wheel", "call", "error"),
    [
        (TWO, "tf.Session", "AttributeError"),
        (TWO, "tf.GradientTape", "AttributeError"),
        (TWO, "__import__('tensorflow.contrib')", "ModuleNotFoundError"),
        (TWO, "tfn.saved_model.simple_save", "AttributeError"),
        (TWO, "tf.keras.models.load_model('nowhere')", "OSError"),
        (TWO, "tf.saved_model.load('nowhere')", "OSError"),
        (TWO, "tf.keras.applications.ResNet50(weights=None, dtype='float16')", "TypeError"),
        (TWO, "tf.constant(x, device='cpu')", "TypeError"),
        (TWO, "net(x[:, :3])", "ValueError"),
        (TWO, "tf.convert_to_tensor(tf.constant(x), 'float64')", "ValueError"),
        (TWOX, "__import__('tensorflow.neuron')", "ModuleNotFoundError"),
        (ONE, "tfn.trace", "AttributeError"),
        (ONE, "tf.function_that_is_not_there", "AttributeError"),
        (ONE, "tf.constant(x).numpy()", "AttributeError"),
        (ONE, "np.asarray(net.outputs[0])", "NotImplementedError"),
        (ONE, "made(model_shape_feed_dict={'nothing': [5, 8]})", "KeyError"),
        (ONE, "(made(), tf.contrib.predictor.from_saved_model('compiled')({'other': x}))", "ValueError"),
        (ONE, "[written(), written()]", "AssertionError"),
    ],
)
def test_what_is_not_documented_is_not_there(lab: Lab, wheel: str, call: str, error: str) -> None:
    assert last(lab.run(wheel, None, f"refused(lambda: {call})"))[0] == error


# --- TensorFlow 2 ---


@pytest.mark.parametrize("wheel", [TWO, TWOX])
def test_trace_save_load_ask(lab: Lab, wheel: str) -> None:
    host = lab.host(wheel)
    code = "model = made()\nmodel.save('kept')\nagain = tf.keras.models.load_model('kept')\n"
    code += "tell([model.on_neuron_ratio, same(again(x), net(x)), hasattr(again, 'on_neuron_ratio'), tf.__version__])"
    assert last(lab.run(wheel, host, code)) == [1.0, True, False, "2.10.1"]
    assert host.violations() == []


def test_flags_reach_the_compiler_and_the_numbers(lab: Lab) -> None:
    host = lab.host(TWO)
    code = (
        "a = made()(x).numpy()\nb = made(flags='--fp32-cast=matmult-bf16 --neuroncore-pipeline-cores 4')(x).numpy()\n"
    )
    code += "exact = net(x).numpy()\ntell([bool(0 < abs(a - exact).max() < abs(b - exact).max() < 0.05)])"
    assert last(lab.run(TWO, host, code)) == [True]
    first, second = (call["arguments"] for call in host.calls("neuron-cc"))
    assert {"--fast-math=none", "--fp32-cast=matmult-fp16", "--enable-fast-context-switch"} <= set(first)
    assert {"--fp32-cast=matmult-bf16", "--neuroncore-pipeline-cores=4"} <= set(second)
    assert "--enable-fast-context-switch" not in second
    assert [call["facts"]["cores"] for call in host.calls("neuron-cc")] == [1, 4]


def test_a_failed_trace_only_warns_and_its_model_runs_on_the_cpu(lab: Lab) -> None:
    host = lab.host(TWO)
    host.fault("compiler_crash", batch=5)
    ran = lab.run(
        TWO, host, "model = made()\nmodel.save('kept')\ntell([model.on_neuron_ratio, same(model(x), net(x))])"
    )
    assert last(ran) == [0.0, True]
    assert "WARNING:tensorflow:neuron-cc failed with:" in ran.err
    assert "Assertion 'deltaElems <= max' failed" in ran.err
    assert "Your traced model has 0.0% of operators compiled to neuron" in ran.err
    assert host.calls("load") == []
    assert last(lab.run(TWO, host, "tell(made(example=x[:2]).on_neuron_ratio)")) == 1.0


def test_a_free_batch_is_cut_into_the_compiled_one(lab: Lab) -> None:
    host = lab.host(TWO)
    code = "model = made(example=x[:2], flags='--dynamic-batch-size')\nmodel.save('kept')\n"
    code += "again = tf.keras.models.load_model('kept')\n"
    code += "tell([[same(m(x[:n]), net(x[:n])) and m(x[:n]).shape[0] == n for n in (1, 2, 5)] for m in (model, again)])"
    assert last(lab.run(TWO, host, code)) == [[True] * 3] * 2


def test_a_function_a_signature_and_several_inputs_can_be_traced(lab: Lab) -> None:
    code = """
tf.saved_model.save(net, "plain")
signature = tf.saved_model.load("plain").signatures["serving_default"]
ones = tf.constant(np.ones((5, 3), "float32"))
both = two()
found = [made(tf.function(lambda given: net(given))), made(signature)]
ratios = [each.on_neuron_ratio for each in found]
answers = [same(each(x), net(x)) for each in found]
several = [tfn.trace(both, [ones, ones]), tfn.trace(both, {"b": ones, "a": ones})]
tell([ratios, answers, [same(each([ones, ones]), both([ones, ones])) for each in several]])
"""
    assert last(lab.run(TWO, lab.host(TWO), code)) == [[1.0, 1.0], [True, True], [True, True]]


def test_the_builder_function_keeps_operators_on_the_cpu(lab: Lab) -> None:
    host = lab.host(TWO)
    code = "model = made(subgraph_builder_function=lambda node: node.op == 'MatMul')\n"
    code += "tell([0 < model.on_neuron_ratio < 1, same(model(x), net(x))])"
    assert last(lab.run(TWO, host, code)) == [True, True]
    assert len(host.calls("neuron-cc")) == 2
    assert {call["core"] for call in host.calls("load")} == {0}, "several operators: no copies"


def test_analyze_model(lab: Lab) -> None:
    found = last(lab.run(TWO, None, "tell(tfn.analyze_model(net, tf.constant(x)))"))
    assert (found["supported_count"], found["total_count"], found["percent_supported"]) == (10, 10, 100.0)
    assert found["operator_count"]["MatMul"] == 2
    assert found["unsupported_operators"] == []


def test_weights_are_drawn_anew_unless_seeded_or_named(lab: Lab) -> None:
    code = (
        "import hashlib\ntell([hashlib.sha256(model.predict(np.ones((1, *model.input_shape[1:]), 'float32')).tobytes())"
    )
    code += ".hexdigest() for model in (%s)])"
    resnet = "tf.keras.applications.ResNet50"
    models = f"{resnet}(weights='imagenet'), {resnet}(weights=None, input_shape=(32, 32, 3))"
    seeded = [last(lab.run(TWO, None, code % models)) for _ in range(2)]
    assert seeded[0] == seeded[1]
    free = "from tensorflow import _session\n_session._state['seed'] = None\n" + code % models
    unseeded = [last(lab.run(TWO, None, free)) for _ in range(2)]
    assert unseeded[0][0] == unseeded[1][0] == seeded[0][0]
    assert unseeded[0][1] != unseeded[1][1]


def test_saved_model_compile_of_tensorflow_2_advises_to_trace(lab: Lab) -> None:
    code = "net.save('plain')\ntell(tfn.saved_model.compile('plain', 'new', model_feed_dict={net.input_names[0]: x}))"
    ran = lab.run(TWO, lab.host(TWO), code)
    assert last(ran)["OnNeuronRatio"] > 0.8
    assert "not recommended in tensorflow-neuron 2.x" in ran.err


# --- TensorFlow 1 ---


def test_the_published_ratio_of_a_resnet_50(lab: Lab) -> None:
    host = lab.host(ONE)
    code = """
model = tf.keras.applications.ResNet50(weights="imagenet")
images = np.random.RandomState(0).standard_normal((10, 224, 224, 3)).astype("float32")
ratio = made(model=model, model_feed_dict={"input_1:0": images[:5]}, dynamic_batch_size=True, compiler_workdir="work")
found = asked(images)
tell([ratio, (found.argmax(1) == model.predict(images).argmax(1)).mean(), found.shape])
"""
    ran = lab.run(ONE, host, code)
    assert last(ran) == [554 / 556, 1.0, [10, 1000]]
    assert "Number of operations placed on Neuron runtime: 554" in ran.err


def test_keras_session_and_predictor_agree(lab: Lab) -> None:
    code = "made(compiler_recovery=True)\nsymbols = net.inputs[0], net.outputs[0]\n"
    code += "with tf.compat.v1.Session() as session:\n    found = session.run(symbols[1], feed_dict={symbols[0]: x})\n"
    code += "tell([same(asked(x), found), same(net.predict(x), found), tf.__version__, tf.executing_eagerly()])"
    assert last(lab.run(ONE, lab.host(ONE), code)) == [True, True, "1.15.5", False]


@pytest.mark.parametrize("where", ["bar", "file", "terminal"])
def test_a_failed_compile_is_a_warning_and_a_saved_model_for_the_cpu(lab: Lab, where: str) -> None:
    """Where the compiler's own words are depends on the arguments; the model and its ratio of zero do not."""
    more = {"bar": "", "file": "compiler_workdir='work'", "terminal": "compiler_verbose=1"}[where]
    host = lab.host(ONE)
    host.fault("scheduler_failure", batch=5, cores=1)
    ran = lab.run(ONE, host, f"ratio = made({more})\ntell([ratio, same(asked(x), net.predict(x)), os.getcwd()])")
    ratio, answers, folder = last(ran)
    assert (ratio, answers) == (0.0, True)
    assert ("Failed to fuse subgraph" in ran.err) == (where != "bar")
    assert "Error location: job.Scheduler.3" in ran.err if where != "file" else "job.Scheduler.3" not in ran.err
    if where == "file":
        (log,) = Path(folder, "work").glob("*/graph_def.neuron-cc.log")
        assert "Error message:  Scheduler Failure!" in log.read_text()
    assert "no operator will be running on AWS machine learning accelerators" in ran.err
    assert host.calls("load") == []


def test_must_compile_makes_failures_errors(lab: Lab) -> None:
    host = lab.host(ONE)
    host.fault("compiler_oom")
    ran = lab.run(ONE, host, "refused(made)\ntell(os.path.exists('compiled'))", NEURON_CC_FLAGS="--must-compile")
    assert "The following subgraphs failed to compile" in ran.out
    assert "neuron-cc failures will be thrown as exceptions" in ran.err
    assert last(ran) is False


def test_without_a_compiler_the_model_is_saved_all_the_same(tmp_path: Path) -> None:
    host = NeuronHost(tmp_path / "host", (ONE,), "inf1.xlarge")
    host.fault("compiler_absent")
    done = started(host, ONE, "tell([made(), same(asked(x), net.predict(x))])")
    assert told(done.stdout)[-1] == [0.0, True], done.stderr
    assert "neuron-cc is not found." in done.stderr
    second = NeuronHost(tmp_path / "second", (TWO,), "inf1.xlarge")
    second.fault("compiler_absent")
    assert "not NoneType" in started(second, TWO, "refused(made)").stdout


def test_a_batch_below_the_compiled_one_is_filled_up_and_comes_back_whole(lab: Lab) -> None:
    code = "made()\nfound = asked(x[:3])\ntell([found.shape, same(found[:3], net.predict(x[:3]))])"
    assert last(lab.run(ONE, lab.host(ONE), code)) == [[5, 4], True]


@pytest.mark.parametrize("shape", ["batch_size=2", "model_feed_dict={net.inputs[0].name: x[:2]}"])
def test_dynamic_batch_of_tensorflow_1(lab: Lab, shape: str) -> None:
    code = f"tfn.saved_model.compile(written(), 'compiled', {shape}, dynamic_batch_size=True)\n"
    code += "tell([same(asked(x[:n]), net.predict(x[:n])) for n in (1, 2, 5)])"
    assert last(lab.run(ONE, lab.host(ONE), code)) == [True] * 3


def test_a_fixed_batch_stays_fixed(lab: Lab) -> None:
    code = "model = small(batch=5)\nmade(model=model, dynamic_batch_size=True)\n"
    code += "tell(same(asked(x), model.predict(x)))\nrefused(lambda: asked(x[:3]))"
    ran = lab.run(ONE, lab.host(ONE), code)
    assert told(ran.out)[0] is True
    assert "which has shape '(5, 8)'" in told(ran.out)[1][1]


def test_a_shape_that_stays_open_is_not_compiled(lab: Lab) -> None:
    host = lab.host(ONE)
    ran = lab.run(ONE, host, "tell(made(model_shape_feed_dict={net.inputs[0].name: [None, 8]}))")
    assert last(ran) == 0.0
    assert "because input shapes are not fully defined and output shapes are not fully defined" in ran.err
    assert host.calls("neuron-cc") == []


def test_operators_that_are_kept_off_the_device(lab: Lab) -> None:
    code = """
written()
def ratio(folder, **more):
    return tfn.saved_model.compile("original", folder, 5, **more)["OnNeuronRatio"]
some, every = ratio("some", no_fuse_ops=[net.outputs[0].tensor]), ratio("every")
tell([0 < some < every, ratio("none", minimum_segment_size=99)])
"""
    assert last(lab.run(ONE, lab.host(ONE), code)) == [True, 0.0]

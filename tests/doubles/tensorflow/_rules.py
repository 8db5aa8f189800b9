"""The documented rules of TensorFlow Neuron that these doubles enforce; they join the shared table."""

from typing import Any, Callable

from neuron_double import rules
from neuron_double.rules import Rule

_COMPILE = "archive/tensorflow/tensorflow-neuron/api-compilation-python-api.rst"
_TRACE = "archive/tensorflow/tensorflow-neuron/api-tracing-python-api.rst"
_REPLICATION = "archive/tensorflow/tensorflow-neuron/api-auto-replication-api.rst"
_SOURCE = "aws-neuron-tensorflow: "
_OPERATOR = _SOURCE + "runtime/direct/"

rules.declare(
    {
        "tf-new-model-dir": Rule("new_model_dir must not exist, not even empty", _SOURCE + "python/saved_model.py"),
        "tf-compile-keyword": Rule("compile passes unknown keywords on, where they are errors", _COMPILE),
        "tf-undetermined-shape": Rule("batch_size determines the batch alone", _SOURCE + "python/saved_model.py"),
        "tf-unknown-rank": Rule("the inputs must have a known rank", _SOURCE + "python/saved_model.py"),
        "tf-must-compile": Rule("without recovery, a failed subgraph is an error", _SOURCE + "python/graph_util.py"),
        "tf-trace-arguments": Rule("trace takes a function, examples and a builder function only", _TRACE),
        "tf-trace-example": Rule("example_inputs are tensors, not arrays", _TRACE),
        "tf-cc-flags": Rule("NEURON_CC_FLAGS has documented values only", _SOURCE + "python/utils.py"),
        "tf-extract-weights": Rule("--extract-weights names an instance of the installed package", _TRACE),
        "tf-multicore-model": Rule("auto_multicore takes what trace returned", _REPLICATION),
        "tf-multicore-cores": Rule("auto_multicore replicates on one core or more", _REPLICATION),
        "tf-multicore-pipeline": Rule("auto_multicore is for models of one core", _REPLICATION),
        "tf-fixed-shape": Rule("a traced model takes inputs of the shape of the trace", _TRACE),
        "tf-fixed-dtype": Rule("a traced model takes inputs of the type of the trace", _TRACE),
        "tf-input-count": Rule("a model takes as many inputs as it was compiled for", _TRACE),
        "tf-feed-shape": Rule("arrays fit the placeholders that they are fed for", _COMPILE),
        "tf-input-size": Rule("no input is larger than the compiled buffer", _OPERATOR + "host_memory.cc"),
        "tf-batch-sizes": Rule("inputs with a dynamic batch agree on it", _OPERATOR + "dynamic_batch.cc"),
        "tf-batch-axis": Rule("an input with a dynamic batch has more than it", _OPERATOR + "dynamic_batch.cc"),
        "tf-group-sizes": Rule("NEURONCORE_GROUP_SIZES asks for cores that are there", _OPERATOR + "placer.cc"),
        "tf-threads-late": Rule("threads are set before the first operation", "tensorflow: config/threading"),
    }
)


def broken(name: str, text: str, error: Callable[[str], BaseException], package: str = "tensorflow") -> BaseException:
    """Write down that a rule was broken; the exception to raise."""
    return rules.broken(name, text, package, error)


def tf_error(kind: Any) -> Callable[[str], BaseException]:
    """One of `tf.errors` as a function of its text alone."""
    return lambda text: kind(None, None, text)

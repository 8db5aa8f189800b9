"""`tfn.saved_model` of TensorFlow 2, which advises to use `trace`."""

from typing import Any, Dict, Optional

from tensorflow import _storage
from tensorflow._tensors import convert_to_tensor
from tensorflow.saved_model import load
from tensorflow_double import log, partition, tracing
from tensorflow_double.calls import documented
from tensorflow_double.tracing import NEURON


@documented("tf-compile-keyword", "saved_model.compile", NEURON.package)
def compile(  # noqa: A001  # its name there
    model_dir: Any, new_model_dir: Any, tags: Any = None, model_feed_dict: Optional[Dict[str, Any]] = None
) -> Dict[str, float]:
    """A compiled copy of a SavedModel for the shapes of `model_feed_dict`, which it cannot do without."""
    log.warning("tfn.saved_model.compile is not recommended in tensorflow-neuron 2.x; please use tfn.trace instead.")
    stored = _storage.read(model_dir)
    function = load(model_dir, tags=tags).signatures[stored.signature]
    examples = [convert_to_tensor((model_feed_dict or {})[key]) for key in stored.graph.inputs]
    model = tracing.trace(NEURON, function, examples, None)
    _storage.write(new_model_dir, stored._replace(graph=model.graph))
    total, on_neuron = partition.counts(model.graph)
    return {"OnNeuronRatio": on_neuron / total if total else 0.0}

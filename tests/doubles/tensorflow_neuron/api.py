"""What `import tensorflow.neuron as tfn` has: in TensorFlow 1 `saved_model.compile`, in TensorFlow 2 `trace`."""

from typing import Any, Callable, Dict, Optional

from tensorflow._version import TF1
from tensorflow_double import tracing
from tensorflow_double.calls import documented
from tensorflow_neuron import __version__

if TF1:
    from tensorflow_neuron import saved_model

    __all__ = ["__version__", "saved_model"]
else:
    from tensorflow_neuron import saved_model_v2 as saved_model

    __all__ = ["__version__", "analyze_model", "auto_multicore", "saved_model", "trace"]

    @documented("tf-trace-arguments", "trace", "tensorflow_neuron")
    def trace(func: Any, example_inputs: Any, subgraph_builder_function: Optional[Callable[[Any], bool]] = None) -> Any:
        """A Keras model that runs on NeuronCores where it compiled. Options are in NEURON_CC_FLAGS alone."""
        return tracing.trace(tracing.NEURON, func, example_inputs, subgraph_builder_function)

    @documented("tf-trace-arguments", "analyze_model", "tensorflow_neuron")
    def analyze_model(func: Any, example_inputs: Any) -> Dict[str, Any]:
        """Which operators the compiler lists."""
        return tracing.analyze_model("tensorflow_neuron", func, example_inputs)

    @documented("tf-trace-arguments", "auto_multicore", "tensorflow_neuron")
    def auto_multicore(model: Any, example_inputs: Any, num_cores: int = 1) -> Any:
        """The same model on so many cores."""
        return tracing.auto_multicore("tensorflow_neuron", model, example_inputs, num_cores)

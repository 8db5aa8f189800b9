"""A stand-in for tensorflow-neuronx, which traces TensorFlow 2 models for Inf2 and Trn1."""

from importlib import metadata as _metadata
from typing import Any, Callable, Dict, Optional

from tensorflow_double import tracing as _tracing
from tensorflow_double.calls import documented as _documented

__all__ = ["__version__", "analyze_model", "auto_multicore", "trace"]
__version__ = _metadata.version("tensorflow-neuronx")


@_documented("tf-trace-arguments", "trace", "tensorflow_neuronx")
def trace(func: Any, example_inputs: Any, subgraph_builder_function: Optional[Callable[[Any], bool]] = None) -> Any:
    """A Keras model that runs on NeuronCores where it compiled. Options are in NEURON_CC_FLAGS alone."""
    return _tracing.trace(_tracing.NEURONX, func, example_inputs, subgraph_builder_function)


@_documented("tf-trace-arguments", "analyze_model", "tensorflow_neuronx")
def analyze_model(func: Any, example_inputs: Any) -> Dict[str, Any]:
    """Which operators the compiler lists."""
    return _tracing.analyze_model("tensorflow_neuronx", func, example_inputs)


@_documented("tf-trace-arguments", "auto_multicore", "tensorflow_neuronx")
def auto_multicore(model: Any, example_inputs: Any, num_cores: int = 1) -> Any:
    """The same model on so many cores."""
    return _tracing.auto_multicore("tensorflow_neuronx", model, example_inputs, num_cores)

"""The documented rules of torch_neuron that its double enforces."""

from typing import Callable

from neuron_double import rules
from neuron_double.rules import Rule

PACKAGE = "torch_neuron"
_TRACE = "archive: torch-neuron: api-compilation-python-api.rst"
rules.declare(
    {
        "neuron-trace-keyword": Rule("trace takes the documented keywords and those of torch.jit.trace", _TRACE),
        "neuron-trace-types": Rule("trace's arguments have the documented types; compiler_args is a list", _TRACE),
        "neuron-dynamic-batch": Rule("dynamic_batch_size needs inputs with a common dim 0", _TRACE),
        "neuron-separate-weights": Rule("separate_weights needs a compiler that has it", _TRACE),
    }
)


def broken(name: str, text: str, error: Callable[[str], BaseException] = RuntimeError) -> BaseException:
    return rules.broken(name, text, PACKAGE, error)

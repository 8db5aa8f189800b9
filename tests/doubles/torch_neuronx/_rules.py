"""The documented rules of torch_neuronx that its double enforces."""

import inspect
from typing import Any, Callable, Dict

from neuron_double import rules
from neuron_double.rules import Rule

PACKAGE = "torch_neuronx"
_TRACE = "torch-neuronx: api-torch-neuronx-trace.rst"
_PLACEMENT = "torch-neuronx: api-torch-neuronx-core-placement.rst"
_LOAD = "torch-neuronx: api-torch-neuronx-async-lazy-load.rst"
_ANALYZE = "torch-neuronx: api-torch-neuronx-analyze.rst"
rules.declare(
    {
        "trace-keyword": Rule("trace takes the documented keywords only", _TRACE),
        "trace-positional": Rule("everything after example_inputs is keyword-only", _TRACE),
        "trace-types": Rule("trace's arguments have the documented types", _TRACE),
        "trace-cpu-target": Rule("cpu_backend needs compiler_args with --target", _TRACE),
        "dynamic-batch-inputs": Rule(
            "dynamic_batch needs inputs with a common dim 0", "torch-neuronx: api-torch-neuronx-dynamic-batch.rst"
        ),
        "traced-module": Rule("these functions take what trace returned or torch.jit.load read", _TRACE),
        "placement-count": Rule("nc_count is -1, or a number of cores that this process sees", _PLACEMENT),
        "placement-start": Rule("start_nc is -1, or a core that this process sees", _PLACEMENT),
        "placement-threads": Rule("the placement contexts are not thread-safe", _PLACEMENT),
        "load-flags-late": Rule("lazy_load and async_load come right after trace, before save", _LOAD),
        "move-device": Rule("device_id is a core that this process sees", _PLACEMENT),
        "analyze-parameters": Rule(
            "analyze_parameters has compiler_workdir, additional_ignored_ops, max_workers", _ANALYZE
        ),
        "buckets-list": Rule("bucket_model_trace takes a list with one example per bucket", _TRACE),
    }
)


def broken(name: str, text: str, error: Callable[[str], BaseException] = RuntimeError) -> BaseException:
    return rules.broken(name, text, PACKAGE, error)


def check_keywords(function: Callable[..., Any], given: Dict[str, Any], rule: str) -> None:
    known = inspect.signature(function).parameters
    for name in given:
        if name not in known:
            text = "%s() got an unexpected keyword argument '%s'" % (function.__name__, name)
            raise broken(rule, text, TypeError)

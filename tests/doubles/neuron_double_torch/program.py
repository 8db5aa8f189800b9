"""The original model as TorchScript, what the compiler needs to know of it, and the structure of its outputs."""

import collections
import contextlib
import io
import warnings
from typing import Any, Dict, Iterator, List, NamedTuple, Tuple

import torch

from neuron_double import rules
from neuron_double.rules import Rule

rules.declare(
    {
        "example-inputs": Rule(
            "example_inputs is a tensor or a tuple of tensors", "torch-neuronx: api-torch-neuronx-trace.rst"
        ),
        "inputs-on-cpu": Rule("a traced module takes CPU tensors", "torch-neuronx: api-torch-neuronx-trace.rst"),
    }
)
UNSUPPORTED = ("aten::fft_fft", "aten::sort", "aten::nonzero")  # that the documentation shows as such
NOT_ARITHMETIC = ("size", "view", "reshape", "t", "transpose", "permute", "contiguous", "detach", "flatten", "expand")
PRECISIONS = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
_load = torch.jit.load  # the real one: the artifact's hook replaces it


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the advice of later versions of torch that TorchScript is of the past."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


class Program(NamedTuple):
    content: bytes  # TorchScript
    outputs: Any  # of the example, with their structure
    operators: Dict[str, int]  # aten:: name -> how often
    facts: Dict[str, Any]


def tensors(example_inputs: Any, package: str) -> Tuple[torch.Tensor, ...]:
    """The example as a tuple of CPU tensors."""
    given = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else example_inputs
    if package == "torch_neuron" and isinstance(given, list):
        given = tuple(given)  # every example of the archived documentation has a list
    if not isinstance(given, tuple) or not all(isinstance(item, torch.Tensor) for item in given) or not given:
        text = "example_inputs must be a tensor or a tuple of tensors, not %s" % type(example_inputs).__name__
        raise rules.broken("example-inputs", text, package, TypeError)
    check_on_cpu(given, package)
    return given


def check_on_cpu(inputs: Tuple[torch.Tensor, ...], package: str) -> None:
    for index, tensor in enumerate(inputs):
        if tensor.device.type != "cpu":
            raise rules.broken("inputs-on-cpu", "input %d is on %s" % (index, tensor.device), package)


class _Callable(torch.nn.Module):
    def __init__(self, func: Any) -> None:
        super().__init__()
        self._func = func

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self._func(*inputs)


def captured(func: Any, example: Tuple[torch.Tensor, ...]) -> Program:
    """Trace the original, a module or any callable."""
    func = func if isinstance(func, torch.nn.Module) else _Callable(func)
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(func, example, strict=False, check_trace=False)
        outputs = traced(*example)
    content = saved(traced)
    weights = list(traced.parameters()) + list(traced.buffers())
    operators = _operators(traced.inlined_graph)
    dtypes = [str(tensor.dtype).rpartition(".")[2] for tensor in (*example, *weights)]
    floats = [tensor.dtype for tensor in weights if tensor.is_floating_point()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in (*example, *weights, *flat(outputs)))
    facts = {
        "batch": example[0].shape[0] if example[0].dim() else 1,
        "inputs": [list(tensor.shape) for tensor in example],
        "dtypes": sorted(set(dtypes)),
        "bytes": size,
        "precision": PRECISIONS.get(floats[0] if floats else torch.float32, "other"),
    }
    return Program(content, outputs, operators, facts)


def loaded(content: bytes) -> Any:
    with quiet():
        return _load(io.BytesIO(content))


def saved(script: Any) -> bytes:
    content = io.BytesIO()
    with quiet():
        torch.jit.save(script, content)
    return content.getvalue()


def constant_batches(content: bytes) -> List[int]:
    """Dim 0 of the weights that a model joins to its activations as they are: a class token, position embeddings."""
    return [tensor.shape[0] for tensor in loaded(content).parameters() if tensor.dim() == 3 and tensor.shape[0] == 1]


def _operators(graph: Any) -> Dict[str, int]:
    found: Dict[str, int] = collections.Counter()

    def walk(block: Any) -> None:
        for node in block.nodes():
            if node.kind().startswith("aten::"):
                found[node.kind()] += 1
            for inner in node.blocks():
                walk(inner)

    walk(graph)
    return dict(found)


def arithmetic(operators: Dict[str, int]) -> int:
    """How many of the operators compute something."""
    return sum(count for name, count in operators.items() if name.partition("::")[2] not in NOT_ARITHMETIC)


def flat(outputs: Any) -> List[torch.Tensor]:
    """All tensors of a nested structure, in order."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    items = outputs.values() if isinstance(outputs, dict) else outputs
    return [tensor for item in items for tensor in flat(item)]


def packed(like: Any, tensors_in_order: Any) -> Any:
    """The inverse of `flat`; `tensors_in_order` is an iterator."""
    if isinstance(like, torch.Tensor):
        return next(tensors_in_order)
    if isinstance(like, dict):
        return {key: packed(value, tensors_in_order) for key, value in like.items()}
    return type(like)(packed(item, tensors_in_order) for item in like)

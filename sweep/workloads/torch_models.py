"""Models of torch as originals: tensors in and out of host arrays, and a model as a function of arrays.

Nothing here imports torch before it is called.
"""

import inspect
from typing import Any, Callable, List, Tuple

import numpy as np

from sweep.spec import FailureKind, TrialError
from sweep.workloads import results
from sweep.workloads.types import to_float32

Arrays = Tuple[np.ndarray, ...]


def to_tensors(inputs: Arrays) -> Tuple[Any, ...]:
    """Tensors that own their memory, whatever owns the arrays."""
    import torch

    return tuple(torch.from_numpy(np.array(array)) for array in inputs)


def list_tensors(raw: Any) -> List[Any]:
    """The tensors in what a model returned, in order, whatever they are packed in.

    Raises:
        TrialError: there is none, so nothing that a compiler could follow.
    """
    import torch

    named = results.list_arrays(raw)
    if named and not any(isinstance(leaf, torch.Tensor) for _, leaf in named):
        what = "the model returns arrays of numpy, which a compiler cannot follow: return tensors, or use backend=torch"
        raise TrialError(FailureKind.UNSUPPORTED_OPERATOR, what)
    return [leaf for _, leaf in named if isinstance(leaf, torch.Tensor)]


def to_arrays(raw: Any) -> Arrays:
    """Host arrays of what a model returned; floats of any width as float32."""
    return tuple(array for _, array in name_arrays(raw))


def name_arrays(raw: Any) -> results.Named:
    """The same with their names."""
    return [(name, _to_host(leaf)) for name, leaf in results.list_arrays(raw)]


def _to_host(leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "detach"):
        return to_float32(np.asarray(leaf))
    tensor = leaf.dequantize() if leaf.is_quantized else leaf
    host: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
    return host


def describe_call(model: Any, inputs: Arrays) -> str:
    """What `forward` takes, and what it was given."""
    try:
        wanted = str(inspect.signature(getattr(model, "model", model).forward))
    except (TypeError, ValueError):
        wanted = "(...)"
    given = ", ".join("%s of shape %s" % (array.dtype, array.shape) for array in inputs)
    return "the model's forward%s was given %s" % (wanted, given)


IS_WIDENED = "sweep_is_widened"  # attribute of a model that `widen` changed
WIDENED = {"torch.bfloat16": "bf16", "torch.float16": "fp16", "torch.float64": "fp64"}


def describe_weights(model: Any) -> str:
    """`bf16`, `fp16`, `fp64` or `int8` where the weights are no fp32; several are joined by a plus."""
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {WIDENED[str(tensor.dtype)] for tensor in tensors if str(tensor.dtype) in WIDENED}
    graph = getattr(model, "inlined_graph", None)
    packed = any(".quantized" in type(module).__module__ for module in model.modules())
    if packed or (graph is not None and "quantized::" in str(graph)):
        kinds.add("int8")
    return "+".join(sorted(kinds))


def widen(model: Any) -> Any:
    """The model in fp32, in place; weights of int8 stay."""
    if not set(describe_weights(model).split("+")) & set(WIDENED.values()):
        return model
    widened = model.float()
    setattr(widened, IS_WIDENED, True)
    return widened


def is_widened(model: Any) -> bool:
    """Whether a model, or one inside it, was made fp32 here."""
    return any(hasattr(module, IS_WIDENED) for module in model.modules())


def take_arrays(call: Any, device: str = "cpu") -> Callable[[Arrays], Arrays]:
    """The model `call` as a function from host arrays to host arrays, without gradients."""
    named = take_named(call, device)
    return lambda inputs: tuple(array for _, array in named(inputs))


def take_named(call: Any, device: str = "cpu") -> Callable[[Arrays], results.Named]:
    """The same with the names of the outputs."""

    def answer(inputs: Arrays) -> results.Named:
        import torch

        with torch.no_grad():
            return name_arrays(call(*(tensor.to(device) for tensor in to_tensors(inputs))))

    return answer


def find_changed(call: Any, inputs: Arrays) -> List[int]:
    """Numbers of the inputs whose tensors the model `call` writes into."""
    import torch

    tensors = to_tensors(inputs)
    with torch.no_grad():
        call(*tensors)
    after = [tensor.detach().numpy() for tensor in tensors]
    return [number for number, array in enumerate(inputs) if after[number].tobytes() != array.tobytes()]

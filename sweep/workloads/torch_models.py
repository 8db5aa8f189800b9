"""Models of torch as originals: tensors in and out of host arrays, and a model as a function of arrays.

Nothing here imports torch before it is called.
"""

from typing import Any, Callable, List, Tuple

import numpy as np

Arrays = Tuple[np.ndarray, ...]


def to_tensors(inputs: Arrays) -> Tuple[Any, ...]:
    """Tensors that own their memory, whatever owns the arrays."""
    import torch

    return tuple(torch.from_numpy(np.array(array)) for array in inputs)


def list_tensors(raw: Any) -> List[Any]:
    """The tensors in what a model returned, in order, out of tuples, lists and dicts."""
    import torch
    from torch.utils._pytree import tree_flatten

    return [leaf for leaf in tree_flatten(raw)[0] if isinstance(leaf, torch.Tensor)]


def to_arrays(raw: Any) -> Arrays:
    """Host arrays of what a model returned; floats of any width as float32."""
    return tuple((t.float() if t.is_floating_point() else t).detach().cpu().numpy() for t in list_tensors(raw))


def take_arrays(call: Any, device: str = "cpu") -> Callable[[Arrays], Arrays]:
    """The model `call` as a function from host arrays to host arrays, without gradients."""

    def answer(inputs: Arrays) -> Arrays:
        import torch

        with torch.no_grad():
            return to_arrays(call(*(tensor.to(device) for tensor in to_tensors(inputs))))

    return answer

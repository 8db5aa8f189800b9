"""Autobucketing: one compiled program per bucket behind one module. The user's kernel chooses and pads."""

from typing import Any, Callable, Dict, List, Optional

import torch

from neuron_double import state
from torch_neuronx._rules import PACKAGE, broken
from torch_neuronx._trace import trace


class BucketModelConfig:
    def __init__(
        self,
        bucket_kernel: Callable[..., Any],
        *_: Any,
        shared_state_buffer: Optional[List[torch.Tensor]] = None,
        shared_state_buffer_preprocessor: Optional[Callable[..., Any]] = None,
        func_kwargs: Optional[Any] = None,
    ) -> None:
        self.bucket_kernel = bucket_kernel
        self.shared_state_buffer = shared_state_buffer
        self.shared_state_buffer_preprocessor = shared_state_buffer_preprocessor
        self.func_kwargs = func_kwargs


class _Buckets(torch.nn.Module):
    """Called as the kernel is: with the tensors of one request. In Python: it cannot be saved."""

    def __init__(self, kernel: Any, buckets: List[Any]) -> None:
        super().__init__()
        self._kernel = kernel
        self.buckets = torch.nn.ModuleList(buckets)

    def forward(self, *inputs: torch.Tensor) -> Any:
        padded, index = self._kernel(list(inputs))
        return self.buckets[int(index)](*padded)


def bucket_model_trace(
    func: Callable[..., Any],
    example_inputs: List[Any],
    bucket_config: BucketModelConfig,
    compiler_workdir: Optional[str] = None,
    compiler_args: Any = None,
) -> Any:
    if not isinstance(example_inputs, list) or not example_inputs:
        raise broken("buckets-list", "example_inputs must be a list with one example per bucket", TypeError)
    state.record("bucket_model_trace", package=PACKAGE, buckets=len(example_inputs))
    each = bucket_config.func_kwargs or [{}] * len(example_inputs)
    chosen: List[Dict[str, Any]] = each if isinstance(each, list) else [each] * len(example_inputs)
    buckets = []
    for example, kwargs in zip(example_inputs, chosen):
        model, aliases = func(**kwargs)
        buckets.append(
            trace(
                model,
                example,
                input_output_aliases=aliases,
                compiler_workdir=compiler_workdir,
                compiler_args=compiler_args,
            )
        )
    return _Buckets(bucket_config.bucket_kernel(), buckets)

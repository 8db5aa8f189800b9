"""DataParallel with the documented arguments of torch_neuron: no set_dynamic_batching, no pipelines."""

from typing import Any, Optional, Sequence

from neuron_double_torch import parallel
from torch_neuron._rules import PACKAGE


class DataParallel(parallel.DataParallel):
    def __init__(self, model: Any, device_ids: Optional[Sequence[Any]] = None, dim: int = 0) -> None:
        super().__init__(PACKAGE, model, device_ids, dim, True)

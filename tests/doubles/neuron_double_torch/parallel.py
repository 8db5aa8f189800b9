"""DataParallel of both packages: split along one dimension, one chunk at a time on each core, joined again."""

import concurrent.futures
from typing import Any, List, Optional, Sequence, Tuple

import torch

from neuron_double import rules, state
from neuron_double.cores import RUNTIME
from neuron_double.rules import Rule
from neuron_double_torch import artifact, execution, program

_PAGE = "torch-neuronx: api-torch-neuronx-data-parallel.rst"
rules.declare(
    {
        "data-parallel-traced": Rule("DataParallel takes a traced module", _PAGE),
        "data-parallel-ids": Rule("device_ids are numbers or nc:# of the cores that this process sees", _PAGE),
        "data-parallel-pipeline": Rule(
            "DataParallel does not support NeuronCore Pipeline models",
            "archive: torch-neuron: api-torch-neuron-dataparallel-api.rst",
        ),
        "data-parallel-static": Rule(
            "without dynamic batching, shape[dim] / cores must be the traced shape[dim]", _PAGE
        ),
    }
)


class DataParallel(torch.nn.Module):
    """As documented; `num_workers` threads, chunks of `split_size` (None: of shape[dim] // cores)."""

    def __init__(
        self, package: str, model: Any, device_ids: Optional[Sequence[Any]], dim: int, dynamic_batching: bool
    ) -> None:
        super().__init__()
        modules = artifact.compiled_in(model) if isinstance(model, torch.jit.ScriptModule) else []
        if not modules:
            raise rules.broken("data-parallel-traced", "DataParallel: the model is not traced", package)
        self._package, self.dim, self._modules_on_cores = package, dim, modules
        self.model = model
        first = artifact.model_of(modules[0])
        if any(artifact.model_of(module).pipeline > 1 for module in modules):
            raise rules.broken("data-parallel-pipeline", "DataParallel: the model is a pipeline", package)
        first.ready()
        self.device_ids = self._cores(device_ids)
        self.num_workers = 2 * len(self.device_ids)
        self.split_size: Optional[int] = None
        state.record("DataParallel", package=package, device_ids=self.device_ids, dim=dim, dynamic=dynamic_batching)
        for module in modules:
            artifact.model_of(module).place(self.device_ids)
            if dynamic_batching and dim == 0:
                artifact.set_flag(module, "dynamic", True)

    def _cores(self, device_ids: Optional[Sequence[Any]]) -> List[int]:
        count = len(RUNTIME.cores)
        if device_ids is None:
            return list(range(count))
        found = []
        for given in device_ids:
            text = given[3:] if isinstance(given, str) and given.startswith("nc:") else given
            if isinstance(text, str) and text.isdigit() and text is not given:
                text = int(text)
            if not isinstance(text, int) or isinstance(text, bool) or not 0 <= text < count:
                message = "DataParallel: %r is none of the %d cores of this process" % (given, count)
                raise rules.broken("data-parallel-ids", message, self._package, ValueError)
            found.append(text)
        return found

    def disable_dynamic_batching(self) -> None:
        for module in self._modules_on_cores:
            artifact.set_flag(module, "dynamic", False)

    def forward(self, *inputs: torch.Tensor) -> Any:
        cores = len(self.device_ids)
        total = inputs[0].shape[self.dim]
        size = self.split_size or max(1, total // cores)
        if not artifact.flag(self._modules_on_cores[0], "dynamic"):
            self._check_static(total, cores)
        chunks = list(zip(*(torch.split(tensor, size, dim=self.dim) for tensor in inputs)))
        with concurrent.futures.ThreadPoolExecutor(self.num_workers) as pool:
            results = list(pool.map(self._one, range(len(chunks)), chunks))
        columns = zip(*(program.flat(result) for result in results))
        return program.packed(results[0], iter([torch.cat(list(column), dim=self.dim) for column in columns]))

    def _check_static(self, total: int, cores: int) -> None:
        traced = artifact.model_of(self._modules_on_cores[0]).header["shapes"][0][self.dim]
        if self.split_size is None and total != traced * cores:
            text = "DataParallel: %d along dim %d for %d cores, traced with %d" % (total, self.dim, cores, traced)
            raise rules.broken("data-parallel-static", text, self._package)

    def _one(self, index: int, chunk: Tuple[torch.Tensor, ...]) -> Any:
        core = self.device_ids[index % len(self.device_ids)]
        try:
            with execution.on_core(core):
                return self.model(*chunk)
        except (RuntimeError, ValueError) as error:
            name = type(error).__name__
            raise type(error)("Caught %s on neuroncore %d.\n%s" % (name, core, error)) from error

"""On which cores a traced module is; core numbers are those of the process, from 0."""

import contextlib
import threading
from typing import Any, Iterator, List

import torch

from neuron_double import state
from neuron_double.cores import RUNTIME
from neuron_double_torch import artifact, execution
from torch_neuronx._flags import traced
from torch_neuronx._rules import PACKAGE, broken

_inside: List[int] = []  # threads that are in a placement context


def _checked(start_nc: int, nc_count: int) -> None:
    RUNTIME.ensure(PACKAGE, execution.GENERATIONS[PACKAGE])
    visible = len(RUNTIME.cores)
    if nc_count != -1 and not 1 <= nc_count <= visible:
        text = "nc_count=%r: this process sees %d cores" % (nc_count, visible)
        raise broken("placement-count", text, ValueError)
    if start_nc != -1 and not 0 <= start_nc <= visible - max(nc_count, 1):
        text = "start_nc=%r, nc_count=%r: this process sees %d cores" % (start_nc, nc_count, visible)
        raise broken("placement-start", text, ValueError)


def _move(trace: Any, start_nc: int, nc_count: int) -> None:
    modules = artifact.compiled_in(trace) if isinstance(trace, torch.jit.ScriptModule) else []
    if not modules:
        state.record("placed_nothing", package=PACKAGE)  # as documented: no error
        return
    for module in modules:
        artifact.model_of(module).place(execution.chosen_cores(start_nc, nc_count))
        artifact.model_of(module).moved = True


def set_neuron_cores(trace: Any, start_nc: int = -1, nc_count: int = -1) -> None:
    _checked(start_nc, nc_count)
    state.record("set_neuron_cores", package=PACKAGE, start_nc=start_nc, nc_count=nc_count)
    _move(trace, start_nc, nc_count)


def set_multicore(trace: Any) -> None:
    _checked(-1, -1)
    state.record("set_multicore", package=PACKAGE)
    _move(trace, 0, len(RUNTIME.cores))


@contextlib.contextmanager
def neuron_cores_context(start_nc: int = -1, nc_count: int = -1) -> Iterator[None]:
    _checked(start_nc, nc_count)
    state.record("neuron_cores_context", package=PACKAGE, start_nc=start_nc, nc_count=nc_count)
    with _placing(start_nc, nc_count):
        yield


@contextlib.contextmanager
def multicore_context() -> Iterator[None]:
    _checked(-1, -1)
    state.record("multicore_context", package=PACKAGE)
    with _placing(0, len(RUNTIME.cores)):
        yield


@contextlib.contextmanager
def _placing(start_nc: int, nc_count: int) -> Iterator[None]:
    here = threading.get_ident()
    if any(thread != here for thread in _inside):
        raise broken("placement-threads", "a placement context is open in another thread")
    _inside.append(here)
    execution.PLACEMENT.append((start_nc, nc_count))
    try:
        yield
    finally:
        execution.PLACEMENT.pop()
        _inside.pop()


def move_trace_to_device(trace: Any, device_id: int) -> None:
    modules = traced(trace, "move_trace_to_device")
    RUNTIME.ensure(PACKAGE, execution.GENERATIONS[PACKAGE])
    if not isinstance(device_id, int) or not 0 <= device_id < len(RUNTIME.cores):
        raise broken("move-device", "device_id=%r: this process sees %d cores" % (device_id, len(RUNTIME.cores)))
    state.record("move_trace_to_device", package=PACKAGE, device_id=device_id)
    for module in modules:
        artifact.model_of(module).place([device_id])
        artifact.model_of(module).moved = True

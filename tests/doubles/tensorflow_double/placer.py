"""Where the programs of this process go: the cores that it may use, and copies of a program over several of them."""

import os
import threading
from typing import Any, List, Optional, Tuple

from neuron_double import state
from neuron_double.cores import RUNTIME
from tensorflow import errors
from tensorflow._graph import Node
from tensorflow._rules import broken, tf_error
from tensorflow_double import log, nrt

GENERATIONS = {"tensorflow_neuron": ("v1",), "tensorflow_neuronx": ("v2", "v3")}
GROUPS = "NEURONCORE_GROUP_SIZES"
NOT_ENOUGH = "Could not load the model status=9 message=Not enough NeuronCores"
_pointer = {"next": 0}
_guard = threading.Lock()

Range = Tuple[int, int]  # first core of this process, number of cores


def start(package: str) -> None:
    """Initialise the runtime where that has not happened.

    Raises:
        UnavailableError: no device, cores that another process holds, use after a fork.
        InvalidArgumentError, UnimplementedError: NEURONCORE_GROUP_SIZES asks for what cannot be.
    """
    groups = _groups()
    if groups:
        log.warning("%s is being deprecated. Please see Neuron documentation for more details." % GROUPS)
        _check_groups(groups, package)
        os.environ.setdefault("NEURON_RT_NUM_CORES", str(sum(cores * copies for cores, copies in groups)))
    RUNTIME.ensure(package, GENERATIONS[package], nrt.init_failed)


def _groups() -> List[Tuple[int, int]]:
    """(cores, copies) of each group in a value like `4x1`, which is four copies of one core, or `2,1,1`."""
    found = []
    for part in os.environ.get(GROUPS, "").strip("[]").split(","):
        copies, _, cores = part.rpartition("x")
        if not cores.strip().isdigit() or not (copies or "1").strip().isdigit():
            return []  # it looks ill-formed and is ignored
        found.append((int(cores), int(copies or 1)))
    return found


def _check_groups(groups: List[Tuple[int, int]], package: str) -> None:
    copies = min(copies for _, copies in groups)
    if len(groups) > 1 and copies > 1:
        text = "%s with %d groups and automatic data parallel (%d) is not implemented yet"
        text = text % (GROUPS, len(groups), copies)
        raise broken("tf-group-sizes", text, tf_error(errors.UnimplementedError), package)
    host = state.host()
    wanted = sum(cores * copies for cores, copies in groups)
    total = host.get("devices", 0) * host.get("cores_per_device", 0)
    if total and wanted > total:
        text = "%s=%s requires %d NeuronCores, but there are only %d cores available"
        text = text % (GROUPS, os.environ[GROUPS], wanted, total)
        raise broken("tf-group-sizes", text, tf_error(errors.InvalidArgumentError), package)


def ranges(node: Node, package: str) -> List[Range]:
    """The cores of each copy of a program: one copy where it needs several cores, else one on each core it may have.

    Raises:
        InvalidArgumentError: it was replicated on no core.
        ResourceExhaustedError: this process has fewer cores than the program needs.
    """
    cores, available = int(node.attr["cores"]), len(RUNTIME.cores)
    asked: Optional[Any] = node.attr.get("multicore")
    if asked is not None and asked < 1:
        text = "Num of cores for auto multicore replication, %d, is below 1" % asked
        raise broken("tf-multicore-cores", text, tf_error(errors.InvalidArgumentError), package)
    if cores > available or (asked or 0) > available:
        raise nrt.load_failed(NOT_ENOUGH)
    if cores > 1:
        with _guard:
            first = _pointer["next"]
            _pointer["next"] = (first + cores) % available
        if first + cores > available:
            raise nrt.load_failed(NOT_ENOUGH)
        return [(first, cores)]
    groups = _groups()
    limit = groups[0][1] if groups else available
    copies = asked if asked is not None and asked > 1 else min(node.attr["max_num_duplicates"], limit, available)
    return [(core, 1) for core in range(copies)]

"""A compiled model in one process: where it is loaded, what it accepts, how it computes."""

import contextlib
import itertools
import os
import threading
from importlib import metadata
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch

from neuron_double import faults, rules, state
from neuron_double.cores import RUNTIME
from neuron_double.fault_table import INCONSISTENT, INVALID, NOT_ENOUGH, OTHER_VERSION
from neuron_double.rules import Rule
from neuron_double_torch import precision, program

_TRACE = "torch-neuronx: api-torch-neuronx-trace.rst"
rules.declare(
    {
        "fixed-shape": Rule("a traced module takes exactly the shapes that it was traced with", _TRACE),
        "fixed-dtype": Rule("a traced module takes exactly the types that it was traced with", _TRACE),
        "input-count": Rule("a traced module takes as many inputs as it was traced with", _TRACE),
        "dynamic-batch": Rule("with dynamic batching only dim 0 may differ, the same for all inputs", _TRACE),
    }
)
GENERATIONS = {"torch_neuronx": ("v2", "v3"), "torch_neuron": ("v1",)}
TARGET_GENERATIONS = {"inf2": "v2", "trn1": "v2", "trn1n": "v2", "trn2": "v3", "inf1": "v1"}
OPERATOR = {"torch_neuronx": "neuron::forward_v2", "torch_neuron": "neuron::forward_v2_1"}

_forced = threading.local()  # .core: where this thread's calls run
_turns = itertools.count()
PLACEMENT: List[Tuple[int, int]] = []  # of the placement contexts: (start_nc, nc_count), the innermost last


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """Calls of this thread run on that core; the model must be there."""
    _forced.core = core
    try:
        yield
    finally:
        del _forced.core


class Model:
    """One compiled model.

    `header` has: package, compiler, compiler_version, target, arguments, facts, shapes, dtypes, cast, cast_type,
    pipeline, inline, constants (their batches), lnc.
    """

    def __init__(self, header: Dict[str, Any], content: bytes) -> None:
        self.header, self.package = header, header["package"]
        self.pipeline: int = header["pipeline"]
        self._content = content
        self._computer: Optional[precision.Computer] = None
        self._handles: Dict[int, int] = {}  # first core -> handle
        self._order: List[int] = []
        self._turns = itertools.count()
        self._lock = threading.RLock()
        self._loading: Optional[threading.Thread] = None
        self._failed: Optional[BaseException] = None
        self.moved = False

    def ready(self) -> None:
        """Make the runtime usable and see that it can take this artifact."""
        RUNTIME.ensure(self.package, GENERATIONS[self.package])
        host = state.host()
        installed = _version_of(self.header["compiler"])
        if installed is not None and installed != self.header["compiler_version"]:
            raise RuntimeError(INVALID)
        if TARGET_GENERATIONS[self.header["target"]] != host["generation"]:
            legacy = _setting("NEURON_RT_ALLOW_LEGACY_NEFF").upper() == "TRUE" and host["generation"] == "v3"
            if not legacy:
                raise RuntimeError(OTHER_VERSION)
        if host["generation"] == "v3" and self.header["lnc"] is not None:
            configured = int(_setting("NEURON_LOGICAL_NC_CONFIG") or host["lnc"])
            if configured != self.header["lnc"]:
                raise RuntimeError(INVALID)

    def default_cores(self) -> List[int]:
        """By the placement context, else in turns (torch_neuronx) or the least used (torch_neuron)."""
        if PLACEMENT:
            return chosen_cores(*PLACEMENT[-1])
        if self.pipeline > 1:
            return [self._window()]
        if self.package == "torch_neuron":
            return RUNTIME.least_used()
        return [next(_turns) % len(RUNTIME.cores)]

    def _window(self) -> int:
        last = len(RUNTIME.cores) - self.pipeline
        if last < 0:
            raise RuntimeError(NOT_ENOUGH)
        used = [core.used_bytes() for core in RUNTIME.cores]
        return min(range(last + 1), key=lambda first: (sum(used[first : first + self.pipeline]), first))

    def place(self, cores: Optional[List[int]] = None) -> None:
        """Load it on these cores of the process, one replica each, and unload it where it was."""
        with self._lock:
            self.ready()
            cores = self.default_cores() if cores is None else cores
            self.unload()
            if self._computer is None:
                header = self.header
                loaded = program.loaded(self._content)
                self._computer = precision.Computer(loaded, header["cast"], header["cast_type"])
            for core in cores:
                size = self.header["facts"]["bytes"] // self.pipeline
                facts = self._facts()
                self._handles[core] = RUNTIME.load("model", size, core, self.package, count=self.pipeline, **facts)
            self._order = cores

    def place_soon(self) -> None:
        """Load in a thread of its own; the first call waits for it."""

        def load() -> None:
            try:
                self.place()
            except BaseException as error:
                self._failed = error

        self._loading = threading.Thread(target=load, daemon=True)
        self._loading.start()

    def unload(self) -> None:
        for handle in self._handles.values():
            RUNTIME.unload(handle)
        self._handles, self._order = {}, []

    def loaded_on(self) -> List[int]:
        return list(self._order)

    def replace(self, content: bytes) -> None:
        """Other weights for the same program."""
        self._content, self._computer = content, None
        if self._order:
            self.place(self._order)

    def __call__(self, inputs: List[torch.Tensor], dynamic: bool) -> List[torch.Tensor]:
        if self._loading is not None:
            self._loading.join()
        if self._failed is not None:
            raise self._failed
        with self._lock:
            RUNTIME.ensure(self.package, GENERATIONS[self.package])
            if not self._order:
                self.place()
        program.check_on_cpu(tuple(inputs), self.package)
        facts = {**self._facts(), "request_batch": inputs[0].shape[0] if inputs and inputs[0].dim() else 1}
        left = faults.strike("execute", self.package, **facts)
        self.check(inputs, dynamic)
        if not dynamic or facts["request_batch"] == facts["batch"]:
            results = [self._run(tuple(inputs))]
            return _finished(results[0], left)
        return _finished(self._in_chunks(inputs), left)

    def check(self, inputs: List[torch.Tensor], dynamic: bool) -> None:
        """Refuse what the program was not compiled for."""
        shapes, dtypes = self.header["shapes"], self.header["dtypes"]
        if len(inputs) != len(shapes):
            text = "%s: given %d inputs, expected %d" % (OPERATOR[self.package], len(inputs), len(shapes))
            raise rules.broken("input-count", text, self.package)
        for index, (tensor, dtype) in enumerate(zip(inputs, dtypes)):
            if str(tensor.dtype) != dtype:
                text = "%s: input %d is of type %s, expected %s" % (OPERATOR[self.package], index, tensor.dtype, dtype)
                raise rules.broken("fixed-dtype", text, self.package)
        given = [list(tensor.shape) for tensor in inputs]
        if dynamic:
            self._check_batches(given, shapes)
        elif given != shapes:
            wrong = next(index for index in range(len(shapes)) if given[index] != shapes[index])
            text = "%s: incorrect shape at input %d: received %s, expected %s" % (
                OPERATOR[self.package],
                wrong,
                given[wrong],
                shapes[wrong],
            )
            raise rules.broken("fixed-shape", text, self.package)

    def _check_batches(self, given: List[List[int]], shapes: List[List[int]]) -> None:
        batches = {shape[0] if shape else 0 for shape in given}
        if len(batches) > 1 and self.package == "torch_neuron":
            raise rules.broken("dynamic-batch", INCONSISTENT, self.package)
        if batches != batches | set(self.header["constants"]):  # nobody's mistake: the compiler made them inputs
            raise RuntimeError(INCONSISTENT)
        same = [shape[1:] for shape in given] == [shape[1:] for shape in shapes]
        if len(batches) > 1 or 0 in batches or not same:
            text = "dynamic batching: received %s, traced with %s; only a common dim 0 may differ" % (given, shapes)
            error = ValueError if self.package == "torch_neuronx" else RuntimeError
            raise rules.broken("dynamic-batch", text, self.package, error)

    def _in_chunks(self, inputs: List[torch.Tensor]) -> List[torch.Tensor]:
        batch, total = self.header["facts"]["batch"], inputs[0].shape[0]
        parts = []
        for start in range(0, total, batch):
            pieces = [tensor[start : start + batch] for tensor in inputs]
            missing = batch - pieces[0].shape[0]
            if missing:
                pieces = [torch.cat([piece, piece.new_zeros((missing, *piece.shape[1:]))]) for piece in pieces]
            parts.append(self._run(tuple(pieces)))
        return [torch.cat(list(column))[:total] for column in zip(*parts)]

    def _run(self, inputs: Tuple[torch.Tensor, ...]) -> List[torch.Tensor]:
        core = getattr(_forced, "core", None)
        if core is None:
            core = self._order[next(self._turns) % len(self._order)]
        if not self.header["inline"] and not self.moved:
            state.record("weights_copied", package=self.package)
        assert self._computer is not None
        with RUNTIME.running(core, self.pipeline):
            outputs = self._computer(inputs)
        return [tensor.detach().clone() for tensor in program.flat(outputs)]

    def _facts(self) -> Dict[str, Any]:
        return {**self.header["facts"], "cores": len(RUNTIME.cores)}


def chosen_cores(start: int, count: int) -> List[int]:
    """What start_nc and nc_count mean; -1 stands for the least used core and for one core."""
    count = 1 if count == -1 else count
    return RUNTIME.least_used(count) if start == -1 else list(range(start, start + count))


def _finished(outputs: List[torch.Tensor], left: Dict[str, Any]) -> List[torch.Tensor]:
    """Injected faults that change the answers."""
    if "wrong_answers" in left:
        outputs = [torch.flip(tensor, [tensor.dim() - 1]) * -1 if tensor.dim() else tensor + 1 for tensor in outputs]
    if "nan_outputs" in left:
        outputs = [tensor.fill_(float("nan")) if tensor.is_floating_point() else tensor for tensor in outputs]
    return outputs


def _setting(name: str) -> str:
    return os.environ.get(name, "")


def _version_of(distribution: str) -> Optional[str]:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None

"""The compiled model inside a ScriptModule: bytes in a buffer, an operator that runs them, torch.jit.load that loads.

The buffers of the module: `neuron_bytes` (header and program), `neuron_flags` (see FLAGS), `neuron_id`, which is this
process's number for it.
"""

import contextlib
import itertools
import json
import os
import threading
import weakref
from typing import Any, Dict, Iterator, List, Tuple

import torch

from neuron_double_torch import program
from neuron_double_torch.execution import Model

FLAGS = ("dynamic", "lazy", "async", "from_file")
MODELS: Dict[int, Model] = {}
_numbers = itertools.count(int.from_bytes(os.urandom(6), "little"))
_recording = threading.local()  # .outputs: of the example, while a wrapper is traced
_libraries: List[Any] = []


def register(operator: str) -> None:
    """Make `neuron::<operator>` known to TorchScript, and torch.jit.load put what it reads on a core."""
    library = torch.library.Library("neuron", "FRAGMENT")
    library.define(operator + "(Tensor[] inputs, Tensor id, Tensor flags, Tensor bytes) -> Tensor[]")
    library.impl(operator, _forward, "CompositeExplicitAutograd")
    _libraries.append(library)
    if torch.jit.load is program._load:
        torch.jit.load = _load


def _forward(
    inputs: List[torch.Tensor], number: torch.Tensor, flags: torch.Tensor, content: torch.Tensor
) -> List[torch.Tensor]:
    example = getattr(_recording, "outputs", None)
    if example is not None:
        return [tensor.clone() for tensor in example]
    key = int(number)
    if key not in MODELS:
        MODELS[key] = _read(content)
    return MODELS[key](inputs, bool(flags[FLAGS.index("dynamic")]))


def _load(*args: Any, **kwargs: Any) -> Any:
    script = program._load(*args, **kwargs)
    for module in compiled_in(script):
        adopt(module)
        set_flag(module, "from_file", True)
        if flag(module, "async"):
            model_of(module).place_soon()
        elif not flag(module, "lazy"):
            model_of(module).place()
    return script


class _Wrapper(torch.nn.Module):
    def __init__(self, operator: str, content: bytes, like: Any) -> None:
        super().__init__()
        self._operator, self._like = getattr(torch.ops.neuron, operator), like
        self.register_buffer("neuron_bytes", torch.frombuffer(bytearray(content), dtype=torch.uint8))
        self.register_buffer("neuron_flags", torch.zeros(len(FLAGS), dtype=torch.int64))
        self.register_buffer("neuron_id", torch.zeros(1, dtype=torch.int64))

    def forward(self, *inputs: torch.Tensor) -> Any:
        given = list(inputs)
        outputs = self._operator(given, self.neuron_id, self.neuron_flags, self.neuron_bytes)
        return program.packed(self._like, iter(outputs))


def script_module(operator: str, header: Dict[str, Any], source: program.Program, example: Any) -> Any:
    """The ScriptModule that a trace function returns; nothing is on a core yet."""
    wrapper = _Wrapper(operator, joined(header, source.content), source.outputs)
    with _example(program.flat(source.outputs)), program.quiet(), torch.no_grad():
        script = torch.jit.trace(wrapper, example, strict=False, check_trace=False)
    adopt(script)
    return script


@contextlib.contextmanager
def _example(outputs: List[torch.Tensor]) -> Iterator[None]:
    _recording.outputs = outputs
    try:
        yield
    finally:
        del _recording.outputs


def _read(content: torch.Tensor) -> Model:
    return Model(*split(content))


def joined(header: Dict[str, Any], content: bytes) -> bytes:
    """The bytes of an artifact: the length of the header, the header, the program."""
    stated = json.dumps(header).encode("utf-8")
    return len(stated).to_bytes(8, "little") + stated + content


def split(content: torch.Tensor) -> Tuple[Dict[str, Any], bytes]:
    """Header and program of the bytes of an artifact."""
    data = content.numpy().tobytes()
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end].decode("utf-8")), data[end:]


def adopt(module: Any) -> None:
    """Give it a number in this process, and free its cores when it is gone."""
    number = next(_numbers)
    module.neuron_id.fill_(number)
    MODELS[number] = _read(module.neuron_bytes)
    torch.nn.Module.register_forward_pre_hook(module, _check_before)  # a ScriptModule refuses its own
    weakref.finalize(module, _drop, number).atexit = False


def _check_before(module: Any, inputs: Tuple[Any, ...]) -> None:
    """What the operator would find too; but TorchScript turns every exception of an operator into a RuntimeError."""
    if flag(module, "dynamic") and not any(isinstance(item, (list, dict)) for item in inputs):
        model_of(module).check(list(inputs), dynamic=True)


def _drop(number: int) -> None:
    model = MODELS.pop(number, None)
    if model is not None:
        model.unload()


def compiled_in(script: Any) -> List[Any]:
    """The compiled modules inside a module: none where it was not traced for Neuron."""
    return [module for module in script.modules() if hasattr(module, "neuron_bytes")]


def model_of(module: Any) -> Model:
    number = int(module.neuron_id)
    if number not in MODELS:
        MODELS[number] = _read(module.neuron_bytes)
    return MODELS[number]


def flag(module: Any, name: str) -> bool:
    return bool(module.neuron_flags[FLAGS.index(name)])


def set_flag(module: Any, name: str, on: bool) -> None:
    module.neuron_flags[FLAGS.index(name)] = int(on)


def replace_program(module: Any, content: bytes) -> None:
    """Other weights in the same artifact."""
    header, _ = split(module.neuron_bytes)
    module.neuron_bytes = torch.frombuffer(bytearray(joined(header, content)), dtype=torch.uint8)
    model_of(module).replace(content)

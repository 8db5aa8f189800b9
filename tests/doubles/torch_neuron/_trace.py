"""trace: what the compiler takes becomes one operator, what it does not take stays on the CPU without an error."""

import enum
import logging
import sys
import warnings
from importlib import metadata
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from neuron_double import compiling, faults, flags, state
from neuron_double.fault_table import NO_OPERATIONS
from neuron_double_torch import artifact, program
from torch_neuron._rules import PACKAGE, broken

COMPILER = "neuron-cc"
OUTPUTS_MAX = 16
OPERATORS = tuple("forward_v2_%d" % outputs for outputs in range(1, OUTPUTS_MAX + 1))
TO_TORCH = ("check_trace", "check_inputs", "check_tolerance", "strict", "_force_outplace")
GOOD_PERCENT = 50.0
SEPARATE_WEIGHTS_SINCE = (1, 11)
_log = logging.getLogger("Neuron")
if not _log.handlers:
    _handler = logging.StreamHandler(sys.stderr)
    _handler.setFormatter(logging.Formatter("%(levelname)s:%(name)s:%(message)s"))
    _log.addHandler(_handler)
    _log.setLevel(logging.INFO)


class Optimization(enum.Enum):
    FLOAT32_TO_FLOAT16 = 1


class Node(NamedTuple):
    """What subgraph_builder_function is asked about."""

    name: str
    type: str


class _Options:
    """The keywords of trace with their documented defaults."""

    def __init__(self, given: Dict[str, Any]) -> None:
        self.compiler_args: Any = None
        self.compiler_timeout: Optional[float] = None
        self.compiler_workdir: Optional[str] = None
        self.subgraph_builder_function: Optional[Callable[[Node], bool]] = None
        self.minimum_segment_size = 2
        self.single_fusion_ratio_threshold = 0.6
        self.fallback = True
        self.dynamic_batch_size = False
        self.optimizations: Any = None
        self.separate_weights = False
        self.op_whitelist: Any = None
        self.subgraph_inputs_pruning = True
        self.skip_compiler = False
        self.debug_must_trace = False
        self.allow_no_ops_on_neuron = False
        for name, value in given.items():
            if name not in vars(self) and name not in TO_TORCH:
                text = "trace() got an unexpected keyword argument '%s'" % name
                raise broken("neuron-trace-keyword", text, TypeError)
            setattr(self, name, value)
        self._check()

    def _check(self) -> None:
        arguments, timeout = self.compiler_args, self.compiler_timeout
        if arguments is not None and not (isinstance(arguments, list) and all(isinstance(a, str) for a in arguments)):
            text = "compiler_args must be a list of str, not %r" % (arguments,)
            raise broken("neuron-trace-types", text, TypeError)
        if timeout is not None and (isinstance(timeout, bool) or not isinstance(timeout, (int, float))):
            raise broken("neuron-trace-types", "compiler_timeout cannot be %r" % (timeout,), TypeError)
        version = tuple(map(int, metadata.version(COMPILER).split("+")[0].split(".")[:2]))
        if self.separate_weights and version < SEPARATE_WEIGHTS_SINCE:
            text = "separate_weights: this compiler is too old"
            raise broken("neuron-separate-weights", text, NotImplementedError)


def trace(model: Any, example_inputs: Any, **kwargs: Any) -> Any:
    options = _Options(kwargs)
    example = program.tensors(example_inputs, PACKAGE)
    if options.dynamic_batch_size and len({tuple(tensor.shape[:1]) for tensor in example}) != 1:
        raise broken("neuron-dynamic-batch", "dynamic_batch_size: the inputs have no common dim 0")
    source = program.captured(model, example)
    state.record(
        "trace",
        package=PACKAGE,
        **{name: value for name, value in kwargs.items() if not callable(value)},
        shapes=[list(tensor.shape) for tensor in example],
    )
    facts = {**source.facts, **_asked(options.compiler_args or [])}
    left = faults.strike("trace", PACKAGE, **facts)
    before, fused = _fused(source, options, left)
    header = _compiled(source, example, options, facts) if fused else None
    fused = fused if header is not None else 0
    percent = 100.0 * fused / before if before else 0.0
    _log.info(
        "Number of arithmetic operators (pre-compilation) before = %d, fused = %d, percent fused = %.2f%%",
        before,
        fused,
        percent,
    )
    if header is None:
        if not options.allow_no_ops_on_neuron and "silent_cpu_fallback" not in left:
            raise RuntimeError(NO_OPERATIONS)
        return program.loaded(source.content)
    if percent < GOOD_PERCENT:
        warnings.warn("torch.neuron.trace: only %.2f%% of the operators are on Neuron" % percent, stacklevel=2)
    script = artifact.script_module(_operator(source), header, source, example)
    artifact.set_flag(script, "dynamic", bool(options.dynamic_batch_size))
    return script


def _operator(source: program.Program) -> str:
    return OPERATORS[min(len(program.flat(source.outputs)), OUTPUTS_MAX) - 1]


def _fused(source: program.Program, options: _Options, left: Dict[str, Any]) -> Tuple[int, int]:
    """How many arithmetic operators there are, and how many of them the compiler is going to get."""
    before = program.arithmetic(source.operators)
    outside = [name for name in program.UNSUPPORTED if name in source.operators]
    builder = options.subgraph_builder_function
    if builder is not None:
        outside += [name for name in source.operators if not builder(Node(name, name)) and name not in outside]
    if outside and not options.fallback:
        raise AttributeError("%s is not supported, and fallback is off" % outside[0])
    for name in outside:
        _log.warning("%s is not supported; it stays on the CPU", name)
    fused = before - program.arithmetic({name: source.operators[name] for name in outside})
    if "silent_cpu_fallback" in left or "no_ops_on_device" in left or options.skip_compiler:
        fused = 0
    if "low_on_device_ratio" in left:
        fused = int(before * left["low_on_device_ratio"].get("ratio", 0.4))
    return before, fused if fused >= min(options.minimum_segment_size, before) else 0


def _compiled(
    source: program.Program, example: Any, options: _Options, facts: Dict[str, Any]
) -> Optional[Dict[str, Any]]:
    """Run the compiler; the header of the artifact, None where it failed, which is only logged."""
    arguments: List[str] = options.compiler_args or []
    done = compiling.compile_program(
        COMPILER, arguments, facts, PACKAGE, options.compiler_workdir, options.compiler_timeout, strike=False
    )
    sys.stderr.write(done.log)
    if done.neff is None:
        _log.error("%s failed with %d", COMPILER, done.returncode)
        _log.warning("torch.neuron.trace failed on _NeuronGraph$0; falling back to native python function call")
        return None
    given = done.neff["flags"]
    cast, kind = flags.cast(COMPILER, given)
    constants = program.constant_batches(source.content) if options.dynamic_batch_size else []
    return {
        "package": PACKAGE,
        "compiler": COMPILER,
        "compiler_version": metadata.version(COMPILER),
        "target": "inf1",
        "arguments": arguments,
        "facts": facts,
        "shapes": [list(tensor.shape) for tensor in example],
        "dtypes": [str(tensor.dtype) for tensor in example],
        "cast": cast,
        "cast_type": kind,
        "pipeline": facts["pipeline"],
        "inline": True,
        "constants": constants,
        "lnc": None,
    }


def _asked(arguments: List[str]) -> Dict[str, Any]:
    """What injected faults can ask about the flags; nothing where the compiler is going to refuse them."""
    try:
        given = flags.parse(COMPILER, arguments)
    except flags.FlagError:
        return {"pipeline": 1}
    cast, kind = flags.cast(COMPILER, given)
    return {
        "pipeline": int(given["--neuroncore-pipeline-cores"]),
        "auto_cast": cast,
        "auto_cast_type": kind,
        "precision": kind,
    }

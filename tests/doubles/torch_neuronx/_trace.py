"""trace: capture the model, let the compiler's process check and accept it, wrap it."""

import functools
import shlex
import sys
from importlib import metadata
from typing import Any, Callable, Dict, List, Optional, Tuple

from neuron_double import compiling, flags, state
from neuron_double.cores import RUNTIME
from neuron_double_torch import artifact, program
from neuron_double_torch.execution import GENERATIONS
from torch_neuronx._analysis import PartitionerConfig
from torch_neuronx._rules import PACKAGE, broken, check_keywords

COMPILER = "neuronx-cc"


def _strict(function: Callable[..., Any]) -> Callable[..., Any]:
    """Write down what Python alone would only refuse."""

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        check_keywords(function, kwargs, "trace-keyword")
        if len(args) > 2:
            text = "trace() takes 2 positional arguments but %d were given" % len(args)
            raise broken("trace-positional", text, TypeError)
        return function(*args, **kwargs)

    return checked


@_strict
def trace(
    func: Any,
    example_inputs: Any,
    *_: Any,
    input_output_aliases: Dict[Any, int] = {},  # noqa: B006  # the documented signature
    compiler_workdir: Optional[str] = None,
    compiler_args: Any = None,
    partitioner_config: Optional[PartitionerConfig] = None,
    inline_weights_to_neff: bool = True,
    cpu_backend: bool = False,
) -> Any:
    _check_types(func, input_output_aliases, compiler_workdir, partitioner_config, inline_weights_to_neff, cpu_backend)
    arguments = words(compiler_args)
    example = program.tensors(example_inputs, PACKAGE)
    if input_output_aliases:
        raise NotImplementedError("this double has no device-resident state")
    if cpu_backend and not any(argument.split("=")[0] == "--target" for argument in arguments):
        raise broken("trace-cpu-target", "cpu_backend=True needs --target in compiler_args")
    if not cpu_backend:
        RUNTIME.ensure(PACKAGE, GENERATIONS[PACKAGE])
        if "--target" not in " ".join(arguments):
            arguments = [*arguments, "--target", state.host()["instance_type"].partition(".")[0]]
    source = program.captured(func, example)
    _check_operators(source, partitioner_config)
    header = _compiled(source, example, arguments, compiler_workdir, inline_weights_to_neff)
    state.record(
        "trace",
        package=PACKAGE,
        compiler_args=arguments,
        compiler_workdir=compiler_workdir,
        inline_weights_to_neff=inline_weights_to_neff,
        cpu_backend=cpu_backend,
        shapes=header["shapes"],
        dtypes=header["dtypes"],
    )
    script = artifact.script_module("forward_v2", header, source, example)
    if not cpu_backend:
        artifact.model_of(script).place()
    return script


def words(compiler_args: Any) -> List[str]:
    """compiler_args as a list."""
    if compiler_args is None:
        return []
    if isinstance(compiler_args, str):
        return shlex.split(compiler_args)
    if isinstance(compiler_args, list) and all(isinstance(item, str) for item in compiler_args):
        return list(compiler_args)
    raise broken("trace-types", "compiler_args must be a str or a list of str, not %r" % (compiler_args,), TypeError)


def _check_types(func: Any, aliases: Any, workdir: Any, partitioner: Any, inline: Any, cpu_backend: Any) -> None:
    expected: List[Tuple[str, Any, bool]] = [
        ("func", func, callable(func)),
        ("input_output_aliases", aliases, isinstance(aliases, dict)),
        ("compiler_workdir", workdir, workdir is None or isinstance(workdir, str)),
        ("partitioner_config", partitioner, partitioner is None or isinstance(partitioner, PartitionerConfig)),
        ("inline_weights_to_neff", inline, isinstance(inline, bool)),
        ("cpu_backend", cpu_backend, isinstance(cpu_backend, bool)),
    ]
    for name, value, good in expected:
        if not good:
            raise broken("trace-types", "trace: %s cannot be %r" % (name, value), TypeError)


def _check_operators(source: program.Program, partitioner: Optional[PartitionerConfig]) -> None:
    unsupported = [name for name in program.UNSUPPORTED if name in source.operators]
    if partitioner is not None:
        partitioner.check(source.operators, unsupported)
    elif unsupported:
        raise RuntimeError("Operator %s is not supported" % unsupported[0])


def _compiled(
    source: program.Program, example: Any, arguments: List[str], workdir: Optional[str], inline: bool
) -> Dict[str, Any]:
    """Run the compiler; the header of the artifact."""
    version = metadata.version(COMPILER)
    facts = {**source.facts, **_asked(arguments, version, source.facts["precision"])}
    done = compiling.compile_program(COMPILER, arguments, facts, PACKAGE, workdir)
    sys.stderr.write(done.log)
    if done.neff is None:
        raise RuntimeError("neuronx-cc failed with %d" % done.returncode)
    given = done.neff["flags"]
    cast, kind = flags.cast(COMPILER, given)
    return {
        "package": PACKAGE,
        "compiler": COMPILER,
        "compiler_version": version,
        "target": given["--target"],
        "arguments": arguments,
        "facts": facts,
        "shapes": [list(tensor.shape) for tensor in example],
        "dtypes": [str(tensor.dtype) for tensor in example],
        "cast": cast,
        "cast_type": kind,
        "pipeline": 1,
        "inline": inline,
        "constants": [],
        "lnc": int(given.get("--logical-nc-config", 2)) if given["--target"] == "trn2" else None,
    }


def _asked(arguments: List[str], version: str, precision: str) -> Dict[str, Any]:
    """What injected faults can ask about the flags; nothing where the compiler is going to refuse them."""
    try:
        given = flags.parse(COMPILER, arguments, version)
    except flags.FlagError:
        return {}
    cast, kind = flags.cast(COMPILER, given)
    return {
        "target": given.get("--target"),
        "auto_cast": cast,
        "auto_cast_type": kind,
        "optlevel": given["--optlevel"],
        "model_type": given["--model-type"],
        "precision": precision if cast == "none" or precision != "fp32" else kind,
    }

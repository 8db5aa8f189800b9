"""The process of neuronx-cc and neuron-cc: checks its command line, lets faults strike, writes what it was given.

The input is JSON, `{"facts": {...}}` and what the caller keeps in it; the output is the input and the flags that held.
It starts without site-packages, so it is cheap.
"""

import json
import sys
from typing import Any, Dict, List, Optional

from neuron_double import faults, flags, machines, rules, state

USAGE_STATUS = 2  # of a command line that argparse would refuse
REFUSAL_STATUS = 70  # of a program that it cannot compile
NO_TYPES = {
    "float64": "[NCC_ESPP004] the operand has unsupported data type f64",
    "complex64": "[NCC_EVRF004] complex64 is not supported",
    "complex128": "[NCC_EVRF004] complex128 is not supported",
    "float8_e4m3fn": "[NCC_EVRF051] float8_e4m3fn is not supported on TRN1/TRN2",
}


def _refusal(target: str, facts: Dict[str, Any]) -> Optional[str]:
    """Why a program cannot be compiled, whatever the flags."""
    for dtype in facts.get("dtypes", ()):
        if dtype in NO_TYPES:
            return NO_TYPES[dtype]
    limit = machines.CORE_MEMORY_BYTES.get(target)
    if limit is not None and facts.get("bytes", 0) > limit:
        sizes = facts["bytes"] / machines.GIB, limit / machines.GIB
        return "[NCC_EOOM002] Maximum peak HBM usage of %.2fGB exceeds HBM limit of %.2fGB" % sizes
    return None


def main(name: str, version: str, arguments: List[str]) -> int:
    if arguments[:1] == ["--version"]:
        print("NeuronX Compiler version %s" % version)
        return 0
    if len(arguments) < 2 or arguments[0] != "compile":
        sys.stderr.write("usage: %s compile FILE --framework XLA ...\n" % name)
        return USAGE_STATUS
    try:
        given = flags.parse(name, arguments[2:], version)
    except flags.FlagError as refused:
        sys.stderr.write("%s\n" % rules.broken(refused.rule, str(refused), name))
        return USAGE_STATUS
    if name == "neuronx-cc" and "--target" not in given:
        text = "neuronx-cc: error: the following arguments are required: --target"
        sys.stderr.write("%s\n" % rules.broken("neuronx-cc-target", text, name))
        return USAGE_STATUS
    with open(arguments[1], encoding="utf-8") as file:
        program = json.load(file)
    state.record(name, arguments=arguments, facts=program["facts"])
    faults.strike("compile", **{"package": name, "compiler": name, **program["facts"]})
    refused_program = _refusal(given.get("--target", ""), program["facts"])
    if refused_program:
        sys.stderr.write("%s\nCompiler status ERROR\n" % refused_program)
        return REFUSAL_STATUS
    with open(given.get("--output", "file.neff"), "w", encoding="utf-8") as file:
        json.dump({"program": program, "flags": given, "compiler": name, "version": version}, file)
    print("Compiler status PASS")
    return 0

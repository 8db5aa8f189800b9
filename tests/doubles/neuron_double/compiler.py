"""The process of neuronx-cc and neuron-cc: checks its command line, lets faults strike, writes what it was given.

The input is JSON, `{"facts": {...}}` and what the caller keeps in it; the output is the input and the flags that held.
It starts without site-packages, so it is cheap.
"""

import json
import sys
from typing import List

from neuron_double import faults, flags, rules, state

USAGE_STATUS = 2  # of a command line that argparse would refuse


def main(name: str, version: str, arguments: List[str]) -> int:
    if arguments[:1] == ["--version"]:
        print("NeuronX Compiler version %s" % version)
        return 0
    if len(arguments) < 2 or arguments[0] != "compile":
        sys.stderr.write("usage: %s compile FILE --framework XLA ...\n" % name)
        return USAGE_STATUS
    try:
        given = flags.parse(name, arguments[2:])
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
    faults.strike("compile", compiler=name, **program["facts"])
    with open(given.get("--output", "file.neff"), "w", encoding="utf-8") as file:
        json.dump({"program": program, "flags": given, "compiler": name, "version": version}, file)
    print("Compiler status PASS")
    return 0

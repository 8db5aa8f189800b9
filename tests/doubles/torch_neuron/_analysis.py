"""analyze_model: prints how much of a model the compiler takes."""

from typing import Any

from neuron_double_torch import program
from torch_neuron._rules import PACKAGE


def analyze_model(model: Any, example_inputs: Any) -> None:
    source = program.captured(model, program.tensors(example_inputs, PACKAGE))
    outside = {name: source.operators[name] for name in program.UNSUPPORTED if name in source.operators}
    for title, count in (
        ("all operations (including primitives)", _all),
        ("arithmetic operations", program.arithmetic),
    ):
        total = count(source.operators)
        good = total - count(outside)
        print("%.2f%% of %s (%d of %d) are supported" % (100.0 * good / max(1, total), title, good, total))


def _all(operators: Any) -> int:
    return sum(operators.values())

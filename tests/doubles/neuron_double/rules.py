"""The documented rules that the doubles enforce, as data. A broken one is written down and raised.

`source` names the page of the AWS Neuron documentation (SDK 2.32, or the Inf1 archive) that states it.
"""

from typing import Any, Callable, Dict, NamedTuple

from neuron_double import state


class Rule(NamedTuple):
    text: str
    source: str


RULES: Dict[str, Rule] = {}


def declare(table: Dict[str, Rule]) -> None:
    """Add the rules of one package; an id stands for one rule only."""
    for name, rule in table.items():
        assert RULES.setdefault(name, rule) == rule, name


def broken(
    name: str, text: str, package: str, error: Callable[[str], BaseException] = RuntimeError, **more: Any
) -> BaseException:
    """Write down that a rule was broken; the exception to raise: `raise broken("...", "...", "torch_neuronx")`."""
    assert name in RULES, name
    state.append("violations.jsonl", {"rule": name, "text": text, "package": package, **more})
    return error(text)


_RUNTIME = "neuron-runtime/guides/configuration-guide.rst"
_COMPILER = "compiler/neuronx-cc/api-reference-guide/index.rst"
_COMPILER_V1 = "archive: compiler/neuron-cc/command-line-reference.rst"

declare(
    {
        "runtime-after-fork": Rule("A forked child cannot use the runtime that its parent initialised", _RUNTIME),
        "runtime-settings-late": Rule("NEURON_RT_* must be set before the runtime initialises", _RUNTIME),
        "visible-cores-form": Rule("NEURON_RT_VISIBLE_CORES is one number or one inclusive range a-b", _RUNTIME),
        "num-cores-form": Rule("NEURON_RT_NUM_CORES is a number from 1 to the number of cores", _RUNTIME),
        "neuronx-cc-flag": Rule("neuronx-cc refuses flags that it does not document", _COMPILER),
        "neuronx-cc-value": Rule("neuronx-cc refuses values that a flag does not document", _COMPILER),
        "neuronx-cc-target": Rule("neuronx-cc needs --target", _COMPILER),
        "neuronx-cc-lnc": Rule("--logical-nc-config is for trn2 alone", _COMPILER),
        "neuron-cc-flag": Rule("neuron-cc refuses flags that it does not document", _COMPILER_V1),
        "neuron-cc-value": Rule("neuron-cc refuses values that a flag does not document", _COMPILER_V1),
    }
)

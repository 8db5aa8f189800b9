"""analyze and PartitionerConfig: which operators the compiler takes."""

from importlib import metadata
from typing import Any, Dict, List, Optional, Sequence, Set

from neuron_double import state
from neuron_double_torch import program
from torch_neuronx._rules import PACKAGE, broken

PARAMETERS = ("compiler_workdir", "additional_ignored_ops", "max_workers")


class PartitionerConfig:
    def __init__(
        self,
        *,
        trace_kwargs: Optional[Dict[str, Any]] = None,
        model_support_percentage_threshold: float = 0.5,
        min_subgraph_size: int = -1,
        max_subgraph_count: int = -1,
        ops_to_partition: Optional[Set[str]] = None,
        analyze_parameters: Optional[Dict[str, Any]] = None,
    ) -> None:
        unknown = sorted(set(analyze_parameters or {}) - set(PARAMETERS))
        if unknown:
            raise broken("analyze-parameters", "analyze_parameters: unknown %s" % ", ".join(unknown), ValueError)
        self.trace_kwargs = trace_kwargs
        self.model_support_percentage_threshold = model_support_percentage_threshold
        self.min_subgraph_size = min_subgraph_size
        self.max_subgraph_count = max_subgraph_count
        self.ops_to_partition = ops_to_partition or set()
        self.analyze_parameters = analyze_parameters or {}

    def check(self, operators: Dict[str, int], unsupported: Sequence[str]) -> None:
        """Raises ValueError where a threshold is not kept."""
        apart = {*unsupported, *self.ops_to_partition} & set(operators)
        total = sum(operators.values()) or 1
        supported = 1 - sum(operators[name] for name in apart) / total
        if supported < self.model_support_percentage_threshold:
            text = "%.1f%% of the model is supported, below the threshold of %.1f%%"
            raise ValueError(text % (100 * supported, 100 * self.model_support_percentage_threshold))
        subgraphs = 1 + sum(operators[name] for name in apart)
        if self.max_subgraph_count != -1 and subgraphs > self.max_subgraph_count:
            raise ValueError("%d subgraphs, more than max_subgraph_count=%d" % (subgraphs, self.max_subgraph_count))
        if self.min_subgraph_size != -1 and total // subgraphs < self.min_subgraph_size:
            raise ValueError("a subgraph is smaller than min_subgraph_size=%d" % self.min_subgraph_size)


def analyze(
    func: Any,
    example_inputs: Any,
    compiler_workdir: Optional[str] = None,
    additional_ignored_ops: Set[str] = set(),  # noqa: B006  # the documented signature
    max_workers: int = 4,
    is_hf_transformers: bool = False,
    cleanup: bool = False,
) -> Dict[str, Any]:
    source = program.captured(func, program.tensors(example_inputs, PACKAGE))
    state.record("analyze", package=PACKAGE, max_workers=max_workers, compiler_workdir=compiler_workdir)
    counted = {name: count for name, count in source.operators.items() if name not in additional_ignored_ops}
    unsupported = {name: counted.pop(name) for name in program.UNSUPPORTED if name in counted}
    good, bad = sum(counted.values()), sum(unsupported.values())
    return {
        "torch_neuronx_version": metadata.version("torch-neuronx"),
        "neuronx_cc_version": metadata.version("neuronx-cc"),
        "support_percentage": "%.2f%%" % (100.0 * good / max(1, good + bad)),
        "supported_operators": {"aten": {name.partition("::")[2]: count for name, count in counted.items()}},
        "unsupported_operators": _failures(list(unsupported)),
    }


def _failures(names: List[str]) -> List[Dict[str, str]]:
    return [
        {"kind": name, "failureAt": "neuronx-cc", "call": "model.py(1): forward", "opGraph": name} for name in names
    ]

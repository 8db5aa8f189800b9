"""Which operators a compiler takes, the subgraphs that they form, and the graph in which compiled ones are fused."""

import hashlib
import json
from dataclasses import replace
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from tensorflow._graph import Graph, Node, Shape

# Of this double's operators, those in the compiler's list
SUPPORTED = frozenset(
    ("Const", "AddV2", "BiasAdd", "MatMul", "Relu", "Softmax", "Mean", "Reshape", "ConcatV2", "StridedSlice", "Conv2D")
)
NO_AXIS = -1
LOW_RATIO = 0.3  # of an injected low ratio that does not say which


class Segment(NamedTuple):
    """Operators that become one NeuronOp: what goes in and what comes out, as tensors of the graph around it."""

    name: str
    nodes: Tuple[Node, ...]
    inputs: Tuple[str, ...]
    outputs: Tuple[str, ...]

    def subgraph(self, shapes: Mapping[str, Shape]) -> Graph:
        """As a graph of its own, with placeholders of fixed shapes."""
        holes = [Node(name, "Placeholder", attr={"shape": shapes[name], "dtype": "float32"}) for name in self.inputs]
        named = {name: name for name in self.inputs}
        return Graph((*holes, *self.nodes), named, {name: name for name in self.outputs}, self.name)


def segments(graph: Graph, chosen: Callable[[Node], bool], minimum: int = 2) -> List[Segment]:
    """Runs of chosen operators, none shorter than `minimum`; constants go with the operators that use them."""
    runs: List[List[Node]] = [[]]
    for node in graph.nodes:
        if node.op in ("Const", "Placeholder"):
            continue
        if chosen(node):
            runs[-1].append(node)
        elif runs[-1]:
            runs.append([])
    found = [_segment(graph, run) for run in runs if run]
    return [segment for segment in found if len(segment.nodes) >= minimum]


def _segment(graph: Graph, run: Sequence[Node]) -> Segment:
    inside = {node.name for node in run}
    users: Dict[str, List[str]] = {}
    for node in graph.nodes:
        for name in node.input:
            users.setdefault(name, []).append(node.name)
    used = {name for node in run for name in node.input}
    constants = {node.name for node in graph.nodes if node.op == "Const" and node.name in used}
    constants = {name for name in constants if inside.issuperset(users[name])}
    nodes = tuple(node for node in graph.nodes if node.name in inside | constants)
    own = {node.name for node in nodes}
    inputs = dict.fromkeys(name for node in run for name in node.input if name not in own)
    asked = set(graph.outputs.values()) | {name for node in graph.nodes if node.name not in own for name in node.input}
    outputs = tuple(node.name for node in run if node.name in asked)
    digest = hashlib.sha256(json.dumps([node.name for node in nodes]).encode("utf-8")).hexdigest()
    return Segment("neuron_op_" + digest[:16], nodes, tuple(inputs), outputs)


def uncompilable(segment: Segment, shapes: Mapping[str, Shape]) -> Optional[str]:
    """Why a subgraph cannot even be given to the compiler, None if it can."""
    reasons = []
    if not segment.inputs:
        reasons.append("it does not have inputs")
    if not segment.outputs:
        reasons.append("it does not have outputs")
    if any(None in shapes[name] for name in segment.inputs):
        reasons.append("input shapes are not fully defined")
    if any(None in shapes[name] for name in segment.outputs):
        reasons.append("output shapes are not fully defined")
    return " and ".join(reasons) or None


def operator(
    segment: Segment, neff: Dict[str, Any], shapes: Mapping[str, Shape], package: str, batch_axis: Mapping[str, int]
) -> Node:
    """The NeuronOp of a compiled subgraph. `batch_axis` is 0 for tensors whose batch is free, by name."""
    attr = {
        "subgraph": segment.subgraph(shapes),
        "executable": neff,
        "package": package,
        "cores": int(neff["flags"].get("--neuroncore-pipeline-cores") or 1),
        "input_shapes": [list(shapes[name]) for name in segment.inputs],
        "output_shapes": [list(shapes[name]) for name in segment.outputs],
        "input_batch_axis": [batch_axis.get(name, NO_AXIS) for name in segment.inputs],
        "output_batch_axis": [batch_axis.get(name, NO_AXIS) for name in segment.outputs],
    }
    outputs = tuple("%s:%d" % (segment.name, number) for number in range(len(segment.outputs)))
    return Node(segment.name, "NeuronOp", segment.inputs, attr, outputs=outputs)


def fused(graph: Graph, compiled: Sequence[Tuple[Segment, Node]], identity: str = "Identity") -> Graph:
    """The graph with each of these subgraphs replaced by its NeuronOp, and an `identity` for each of its outputs."""
    replaced: Dict[str, Tuple[Segment, Node]] = {}
    for segment, node in compiled:
        replaced.update((inner.name, (segment, node)) for inner in segment.nodes)
    duplicates = 64 if len(compiled) == 1 else 1  # with several, nothing is duplicated over the cores
    nodes: List[Node] = []
    for outer in graph.nodes:
        if outer.name not in replaced:
            nodes.append(outer)
            continue
        segment, node = replaced[outer.name]
        if outer is segment.nodes[-1]:
            nodes.append(replace(node, attr={**node.attr, "max_num_duplicates": duplicates}))
            nodes += [Node(name, identity, (made,)) for name, made in zip(segment.outputs, node.outputs)]
    return replace(graph, nodes=tuple(nodes))


def neuron_nodes(graph: Graph) -> List[Node]:
    return [node for node in graph.nodes if node.op == "NeuronOp"]


def counts(graph: Graph) -> Tuple[int, int]:
    """Operators in all, and those on the device, as TensorFlow 1 counts them."""
    compiled = neuron_nodes(graph)
    on_neuron = sum(len(node.attr["subgraph"].nodes) - len(node.input) for node in compiled)
    return len(graph.nodes) - len(compiled) + on_neuron, on_neuron


def real_operators(graph: Graph) -> List[str]:
    """The kinds of the operators that count in TensorFlow 2."""
    return [node.op for node in graph.nodes if node.op not in ("Placeholder", "ReadVariableOp", "Identity", "NoOp")]


def traced_ratio(graph: Graph, real_count: int) -> float:
    """The part of the operators that the device runs, as TensorFlow 2 counts it."""
    if not neuron_nodes(graph) or not real_count:
        return 0.0
    aside = ("Placeholder", "IdentityN", "NeuronOp", "ReadVariableOp", "NoOp")
    return 1 - sum(node.op not in aside for node in graph.nodes) / real_count

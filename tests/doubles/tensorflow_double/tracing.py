"""TensorFlow 2: `trace`, `analyze_model` and `auto_multicore`, of tensorflow-neuron and of tensorflow-neuronx."""

import argparse
from dataclasses import replace
from typing import Any, Callable, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from neuron_double import faults
from tensorflow._graph import Graph, Node, Shape, fixed, relaxed
from tensorflow._rules import broken
from tensorflow._tensors import EagerTensor, Symbol
from tensorflow.keras.models import TracedModel
from tensorflow_double import compilers, log, partition

VERBOSITIES = ("debug", "info", "warning", "error", "critical")
INSTANCES = (
    *("inf1.xlarge", "inf1.2xlarge", "inf1.6xlarge", "inf1.24xlarge", "trn1.2xlarge", "trn1.32xlarge"),
    *("inf2.xlarge", "inf2.8xlarge", "inf2.24xlarge", "inf2.48xlarge"),
)


class Toolchain(NamedTuple):
    """One of the two packages."""

    package: str
    compiler: str
    instances: Tuple[str, ...]  # prefixes of those that it is for

    def arguments(self, flags: argparse.Namespace, rest: Sequence[str]) -> List[str]:
        """The compiler's command line after its files."""
        if self.compiler == "neuronx-cc":
            return ["--target", "trn1", *rest]
        cores = flags.neuroncore_pipeline_cores
        given = ["--fast-math=none", "--fp32-cast=%s" % flags.fp32_cast]
        given.append("--enable-fast-context-switch" if cores is None else "--neuroncore-pipeline-cores=%s" % cores)
        return [*given, *rest]


NEURON = Toolchain("tensorflow_neuron", "neuron-cc", ("inf1",))
NEURONX = Toolchain("tensorflow_neuronx", "neuronx-cc", ("inf2", "trn1"))


class AwsNeuronModel(TracedModel):
    """What `trace` and `auto_multicore` return; only the former knows its ratio, and neither is in the file."""

    on_neuron_ratio: float

    @property
    def aws_neuron_function(self) -> Any:
        return self.__call__


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        broken("tf-cc-flags", message, ValueError, "tensorflow_neuron")
        super().error(message)


def parse_flags(toolchain: Toolchain) -> Tuple[argparse.Namespace, List[str]]:
    """What NEURON_CC_FLAGS says to TensorFlow, and the rest, which goes to the compiler.

    Raises:
        SystemExit: of argparse, for a value that it does not know.
        AssertionError: weights are to be laid out for an instance of the other package.
    """
    parser = _Parser(add_help=False)
    parser.add_argument("--workdir")
    parser.add_argument("--verbose", choices=[*VERBOSITIES, *(name.upper() for name in VERBOSITIES)])
    parser.add_argument("--dynamic-batch-size", action="store_true")
    parser.add_argument("--fp32-cast", default="matmult-fp16")
    parser.add_argument("--neuroncore-pipeline-cores")
    parser.add_argument("--extract-weights", choices=INSTANCES)
    flags, rest = parser.parse_known_args(compilers.environment_flags())
    if flags.extract_weights and not flags.extract_weights.startswith(toolchain.instances):
        text = "--extract-weights %s is not for %s" % (flags.extract_weights, toolchain.package)
        raise broken("tf-extract-weights", text, AssertionError, toolchain.package)
    if flags.extract_weights == "inf1.24xlarge":  # taken by the parser, unknown to the table of memory channels
        raise UnboundLocalError("local variable 'num_mem_channels' referenced before assignment")
    return flags, rest


def trace(
    toolchain: Toolchain, func: Any, example_inputs: Any, builder: Optional[Callable[[Node], bool]]
) -> AwsNeuronModel:
    """A model of fixed shapes, compiled where that worked and left on the CPU, after a warning, where it did not."""
    graph, shapes = _concrete(func, example_inputs, toolchain.package)
    flags, rest = parse_flags(toolchain)
    real_count = len(partition.real_operators(graph))
    batch = next(iter(shapes.values()))[0]
    left = faults.strike("trace", toolchain.package, batch=batch)
    segments = [] if {"silent_cpu_fallback", "no_ops_on_device"} & set(left) else _segments(graph, builder, left)
    inner = graph.shapes(shapes)
    axes = dict.fromkeys(inner, 0) if flags.dynamic_batch_size else {}
    compiled = []
    for segment in segments:
        reason = partition.uncompilable(segment, inner)
        if reason:
            log.warning("Not fusing subgraph %s because %s" % (segment.name, reason))
            continue
        arguments = toolchain.arguments(flags, rest)
        facts = {**compilers.facts(toolchain.package, segment, inner, arguments), "batch": batch, "model": graph.name}
        neff = compilers.compile_v2(toolchain.compiler, segment, facts, arguments, flags.workdir)
        if neff is not None:
            compiled.append((segment, partition.operator(segment, neff, inner, toolchain.package, axes)))
    traced = partition.fused(fixed(graph, shapes), compiled, "IdentityN")
    if compiled and flags.dynamic_batch_size:
        traced = relaxed(traced)
    model = AwsNeuronModel(traced)
    model.on_neuron_ratio = partition.traced_ratio(traced, real_count)
    if model.on_neuron_ratio < 0.5:
        text = "Warning: Your traced model has %s%% of operators compiled to neuron."
        log.warning(text % (model.on_neuron_ratio * 100))
    return model


def _segments(graph: Graph, builder: Optional[Callable[[Node], bool]], left: Dict[str, Any]) -> List[partition.Segment]:
    allowed = list(graph.nodes)
    if "low_on_device_ratio" in left:
        allowed = allowed[: int(len(allowed) * left["low_on_device_ratio"].get("ratio", partition.LOW_RATIO))]
    names = {node.name for node in allowed if node.op in partition.SUPPORTED}
    return partition.segments(graph, lambda node: node.name in names and (builder is None or bool(builder(node))), 1)


def _concrete(func: Any, example_inputs: Any, package: str) -> Tuple[Graph, Dict[str, Shape]]:
    """The graph of a model or function, and the shapes of these examples by placeholder."""
    given = _examples(func, example_inputs, package)
    graph = getattr(func, "graph", None)
    if not isinstance(graph, Graph):
        graph = _called(func, example_inputs)
    if len(given) != len(graph.inputs):
        text = "the model takes %d inputs, there are %d examples" % (len(graph.inputs), len(given))
        raise broken("tf-input-count", text, TypeError, package)
    shapes: Dict[str, Shape] = {}
    for (key, tensor), example in zip(graph.inputs.items(), given):
        node = graph.node(tensor)
        symbol = Symbol(graph, tensor, node.attr["shape"], node.attr["dtype"])
        if not symbol.shape.is_compatible_with(example.shape) or symbol.dtype != example.dtype:
            text = "Input %r is incompatible with the model: expected %r %s, found %r %s"
            text = text % (key, symbol.shape, symbol.dtype.name, example.shape, example.dtype.name)
            raise broken("tf-fixed-shape", text, ValueError, package)
        shapes[tensor] = tuple(example.shape)
    return graph, shapes


def _examples(func: Any, example_inputs: Any, package: str) -> List[Any]:
    """The example tensors in the order of the inputs. A tuple is several arguments, which a Keras model has not."""
    if isinstance(example_inputs, dict):
        graph = getattr(func, "graph", None)
        order = list(graph.inputs) if isinstance(graph, Graph) else list(example_inputs)
        given = [example_inputs[name] for name in order if name in example_inputs]
    else:
        given = list(example_inputs) if isinstance(example_inputs, (list, tuple)) else [example_inputs]
    if isinstance(example_inputs, tuple) and len(given) > 1 and hasattr(func, "inputs"):
        text = "call() takes its inputs as one argument: give a list of examples, not a tuple"
        raise broken("tf-trace-example", text, TypeError, package)
    for each in given:
        if not isinstance(each, EagerTensor):
            text = "example_inputs must be tf.Tensor objects, not %s" % type(each).__name__
            raise broken("tf-trace-example", text, TypeError, package)
    return given


def _called(func: Any, example_inputs: Any) -> Graph:
    """The graph that a function computes, found by calling it with tensors that have no numbers.

    Raises:
        TypeError: it does more than ask one model, which is all that this double can follow.
    """

    def symbol(example: EagerTensor) -> Symbol:
        return Symbol(None, "example", example.shape, example.dtype)

    if isinstance(example_inputs, dict):
        found = func(**{name: symbol(each) for name, each in example_inputs.items()})
    elif isinstance(example_inputs, tuple):
        found = func(*map(symbol, example_inputs))
    else:
        is_list = isinstance(example_inputs, list)
        found = func([symbol(each) for each in example_inputs] if is_list else symbol(example_inputs))
    graph = getattr(found[0] if isinstance(found, (list, tuple)) else found, "graph", None)
    if not isinstance(graph, Graph) or not graph.outputs:
        raise TypeError("this double traces a Keras model, a signature, or a function that returns a model's answer")
    return graph


def analyze_model(package: str, func: Any, example_inputs: Any) -> Dict[str, Any]:
    """Which operators of a model are in the compiler's list; prints them, too."""
    graph, _ = _concrete(func, example_inputs, package)
    found = partition.real_operators(graph)
    supported = [op for op in found if op in partition.SUPPORTED]
    unsupported = sorted(set(found) - set(supported))
    percent = 100.0 * len(supported) / len(found)
    print("The following operations are currently supported in tensorflow-neuron for this model:")
    print("\n".join(sorted(set(supported))))
    if unsupported:
        print("The following operations are currently not supported in tensorflow-neuron for this model:")
        print("\n".join(unsupported))
    print("%.2f%% of all operations (%d of %d) are supported" % (percent, len(supported), len(found)))
    return {
        "percent_supported": percent,
        "supported_count": len(supported),
        "total_count": len(found),
        "supported_operators": set(supported),
        "unsupported_operators": unsupported,
        "operators": sorted(set(found)),
        "operator_count": {op: found.count(op) for op in found},
    }


def auto_multicore(package: str, model: Any, example_inputs: Any, num_cores: int) -> AwsNeuronModel:
    """The same model, which will be loaded on `num_cores` cores and run on them in turn."""
    if not hasattr(model, "aws_neuron_function"):
        raise broken("tf-multicore-model", "Invalid model is not AwsNeuronModel", ValueError, package)
    _examples(model, example_inputs, package)
    return AwsNeuronModel(tagged(model.graph, num_cores, package))


def tagged(graph: Graph, num_cores: int, package: str) -> Graph:
    """The same graph with each NeuronOp marked for so many cores."""
    if any(node.attr["cores"] > 1 for node in partition.neuron_nodes(graph)):
        text = "automatic replication is for models of one core, not for a NeuronCore pipeline"
        raise broken("tf-multicore-pipeline", text, ValueError, package)
    nodes = tuple(
        replace(node, attr={**node.attr, "multicore": num_cores}) if node.op == "NeuronOp" else node
        for node in graph.nodes
    )
    return replace(graph, nodes=nodes)

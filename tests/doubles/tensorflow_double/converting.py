"""TensorFlow 1: a SavedModel in, a SavedModel with compiled subgraphs out."""

import argparse
import os
import re
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from neuron_double import faults
from tensorflow import _storage
from tensorflow._graph import Graph, Node, Shape
from tensorflow._rules import broken
from tensorflow_double import compilers, log, partition

PACKAGE = "tensorflow_neuron"
MINIMUM_SEGMENT = 2


class Request(NamedTuple):
    """What `compile` was asked, once NEURON_CC_FLAGS has had its say."""

    settings: compilers.Settings
    recovery: bool
    dynamic_batch: bool
    chosen: Callable[[Node], bool]
    minimum: int


def check_new(folder: Any) -> None:
    """Raises AssertionError where something is at this path."""
    if os.path.exists(folder):
        text = "Export directory already exists. Please specify a different export directory: %s" % folder
        raise broken("tf-new-model-dir", text, AssertionError, PACKAGE)


def input_shapes(
    graph: Graph, batch_size: int, shape_feed: Optional[Mapping[str, Any]], feed: Optional[Mapping[str, Any]]
) -> Dict[str, Shape]:
    """The fixed shape of each placeholder: of the arrays if there are any, else as listed, else by `batch_size`.

    Raises:
        KeyError: a name that is not in the signature.
        ValueError: a size other than the batch is free, or nothing is known of a shape.
    """
    given = feed if feed is not None else shape_feed
    found: Dict[str, Shape] = {}
    for key, shape in graph.input_shapes().items():
        tensor = graph.inputs[key]
        if given is not None and key in given:
            found[tensor] = tuple(np.shape(given[key]) if feed is not None else given[key])
            continue
        if graph.node(tensor).attr.get("unknown_rank"):
            text = "input tensor %s:0 must have known rank" % tensor
            raise broken("tf-unknown-rank", text, ValueError, PACKAGE)
        fixed = (batch_size if shape[0] is None else shape[0], *shape[1:])
        if None in fixed:
            text = "batch_size is not sufficient to determine the shape of input tensor %s:0" % tensor
            raise broken("tf-undetermined-shape", text, ValueError, PACKAGE)
        found[tensor] = fixed
    unknown = sorted(set(given or ()) - set(graph.inputs))
    if unknown:
        raise KeyError(unknown[0])
    return found


def environment(
    arguments: Optional[List[str]], workdir: Optional[str], verbose: Optional[int], recovery: bool
) -> Tuple[List[str], Optional[str], Optional[int], bool]:
    """These settings as NEURON_CC_FLAGS changes them; what it does not know goes to the compiler."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--must-compile", action="store_true")
    parser.add_argument("--workdir")
    parser.add_argument("--verbose", type=int)
    flags, rest = parser.parse_known_args(compilers.environment_flags())
    if flags.must_compile:
        log.warning(
            "Enabling must-compile according to NEURON_CC_FLAGS environment variable; "
            "neuron-cc failures will be thrown as exceptions"
        )
    verbose = flags.verbose if flags.verbose is not None else verbose
    if flags.must_compile and verbose is None:
        verbose = 1
    return [*(arguments or []), *rest], flags.workdir or workdir, verbose, recovery and not flags.must_compile


def convert(model_dir: Any, new_model_dir: Any, shapes: Dict[str, Shape], request: Request) -> float:
    """Compile, write what came of it, compiled or not, and say which part of its operators the device will run."""
    stored = _storage.read(model_dir)
    graph = stored.graph
    left = faults.strike("trace", PACKAGE, batch=next(iter(shapes.values()))[0])
    inner = graph.shapes(shapes)
    segments = _segments(graph, request, left)
    compiled = _compiled(graph, segments, inner, request)
    converted = partition.fused(graph, compiled)
    if len(compiled) < len(segments) and not request.recovery:
        failed = [segment.name for segment in segments if segment.name not in {each.name for each, _ in compiled}]
        text = "The following subgraphs failed to compile: %s" % failed
        raise broken("tf-must-compile", text, ValueError, PACKAGE)
    total, on_neuron = partition.counts(converted)
    log.info("Number of operations in TensorFlow session: %d" % len(graph.nodes))
    log.info("Number of operations after tf.neuron optimizations: %d" % total)
    log.info("Number of operations placed on Neuron runtime: %d" % on_neuron)
    if compilers.find("neuron-cc") is None:
        _warn_of_no_compiler()
    _storage.write(new_model_dir, stored._replace(graph=converted, kind="graph"))
    ratio = on_neuron / total if total else 0.0
    _report(model_dir, new_model_dir, ratio)
    return ratio


def _segments(graph: Graph, request: Request, left: Dict[str, Any]) -> List[partition.Segment]:
    if compilers.find("neuron-cc") is None or {"silent_cpu_fallback", "no_ops_on_device"} & set(left):
        return []
    low = left.get("low_on_device_ratio")
    part = 1.0 if low is None else low.get("ratio", partition.LOW_RATIO)
    names = {node.name for node in graph.nodes[: int(len(graph.nodes) * part)]}
    return partition.segments(graph, lambda node: node.name in names and request.chosen(node), request.minimum)


def _compiled(
    graph: Graph, segments: List[partition.Segment], shapes: Mapping[str, Shape], request: Request
) -> List[Tuple[partition.Segment, Node]]:
    free = {tensor: 0 for tensor, shape in graph.shapes().items() if shape and shape[0] is None}
    found = []
    for segment in segments:
        reason = partition.uncompilable(segment, shapes)
        if reason:
            log.warning("Not fusing subgraph %s because %s" % (segment.name, reason))
            continue
        given = compilers.facts(PACKAGE, segment, shapes, request.settings.arguments)
        given = {**given, "batch": shapes[next(iter(graph.inputs.values()))][0], "model": graph.name}
        neff = compilers.compile_v1(segment, shapes, given, request.settings, len(segments) == 1)
        if neff is not None:
            axes = free if request.dynamic_batch else {}
            found.append((segment, partition.operator(segment, neff, shapes, PACKAGE, axes)))
    return found


def _warn_of_no_compiler() -> None:
    stars = "*" * 63
    for line in (stars, "", "  neuron-cc is not found.", "", '  Install it by "pip install neuron-cc".', "", stars):
        log.warning(line)


def _report(model_dir: Any, new_model_dir: Any, ratio: float) -> None:
    what = "%s to %s" % (model_dir, new_model_dir)
    if ratio > 0.3:
        log.info("Successfully converted %s" % what)
        return
    share = "only a small portion of operators" if ratio else "no operator"
    log.warning("Converted %s but %s will be running on AWS machine learning accelerators." % (what, share))


def names_of(given: Any) -> List[str]:
    """Names of operators from names or operators."""
    return [re.sub(r":\d+$", "", str(getattr(each, "name", each))) for each in given or ()]

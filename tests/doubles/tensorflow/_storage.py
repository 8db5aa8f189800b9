"""SavedModels on disk: `saved_model.pb` and `variables/`, as TensorFlow names them, with JSON and numpy inside."""

import json
import os
from dataclasses import replace
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from tensorflow._graph import Graph, Node

SERVING = "serve"
SIGNATURE = "serving_default"
_PROTO = "saved_model.pb"
_WEIGHTS = os.path.join("variables", "variables.data-00000-of-00001")
_INDEX = os.path.join("variables", "variables.index")


class SavedModel(NamedTuple):
    """A graph, the tags and the signature under which it is found, and what kind of object wrote it."""

    graph: Graph
    kind: str = "graph"  # "keras": `keras.models.load_model` can bring it back; "neuron": so can it, as a traced model
    tags: Sequence[str] = (SERVING,)
    signature: str = SIGNATURE
    more: Any = None  # that the kind needs, as JSON


def exists(folder: Any) -> bool:
    """True for a folder that holds a SavedModel."""
    return os.path.isfile(os.path.join(os.fspath(folder), _PROTO))


def write(folder: Any, model: SavedModel) -> None:
    """Into a folder that need not exist; what is there is replaced."""
    folder = os.fspath(folder)
    arrays: Dict[str, np.ndarray] = {}
    document = {**model._asdict(), "tags": list(model.tags), "graph": _graph_to_json(model.graph, arrays, "")}
    os.makedirs(os.path.join(folder, "variables"), exist_ok=True)
    os.makedirs(os.path.join(folder, "assets"), exist_ok=True)
    with open(os.path.join(folder, _WEIGHTS), "wb") as file:
        np.savez(file, **arrays)
    with open(os.path.join(folder, _INDEX), "w", encoding="utf-8") as text:
        json.dump(sorted(arrays), text)
    with open(os.path.join(folder, _PROTO), "w", encoding="utf-8") as text:
        json.dump(document, text)


def read(folder: Any) -> SavedModel:
    """What `write` wrote.

    Raises:
        OSError: there is none, or it is broken.
    """
    folder = os.fspath(folder)
    if not exists(folder):
        raise OSError("SavedModel file does not exist at: %s/{saved_model.pbtxt|saved_model.pb}" % folder)
    try:
        with open(os.path.join(folder, _PROTO), encoding="utf-8") as file:
            document = json.load(file)
    except ValueError:
        raise OSError("Cannot parse file %s: truncated." % os.path.join(folder, _PROTO)) from None
    with open(os.path.join(folder, _WEIGHTS), "rb") as weights, np.load(weights, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    return SavedModel(**{**document, "graph": _graph_from_json(document["graph"], arrays, "")})


def _graph_to_json(graph: Graph, arrays: Dict[str, np.ndarray], prefix: str) -> Dict[str, Any]:
    return {
        "name": graph.name,
        "inputs": dict(graph.inputs),
        "outputs": dict(graph.outputs),
        "nodes": [_node_to_json(node, arrays, prefix) for node in graph.nodes],
    }


def _node_to_json(node: Node, arrays: Dict[str, np.ndarray], prefix: str) -> List[Any]:
    if node.value is not None:
        arrays[prefix + node.name] = node.value
    attr = dict(node.attr)
    if "subgraph" in attr:  # of a NeuronOp
        attr["subgraph"] = _graph_to_json(attr["subgraph"], arrays, prefix + node.name + "//")
    return [node.name, node.op, list(node.input), attr, list(node.outputs)]


def _graph_from_json(document: Dict[str, Any], arrays: Dict[str, np.ndarray], prefix: str) -> Graph:
    nodes = tuple(_node_from_json(entry, arrays, prefix) for entry in document["nodes"])
    return Graph(nodes, document["inputs"], document["outputs"], document["name"])


def _node_from_json(entry: List[Any], arrays: Dict[str, np.ndarray], prefix: str) -> Node:
    name, op, given, attr, outputs = entry
    node = Node(name, op, tuple(given), attr, arrays.get(prefix + name), tuple(outputs))
    if "subgraph" not in attr:
        return node
    subgraph = _graph_from_json(attr["subgraph"], arrays, prefix + name + "//")
    return replace(node, attr={**attr, "subgraph": subgraph})

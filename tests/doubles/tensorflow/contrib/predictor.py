"""A SavedModel as a function of arrays, in TensorFlow 1."""

from typing import Any, Dict, Mapping

import numpy as np

from tensorflow import _storage
from tensorflow._session import Session
from tensorflow._tensors import Symbol


class SavedModelPredictor:
    """A function from a dict of arrays, by the names in `feed_tensors`, to one by those in `fetch_tensors`."""

    def __init__(self, export_dir: Any) -> None:
        graph = _storage.read(export_dir).graph
        shapes = graph.shapes()
        types = {node.name: node.attr.get("dtype", "float32") for node in graph.nodes}

        def symbols(named: Mapping[str, str]) -> Dict[str, Symbol]:
            return {
                key: Symbol(graph, tensor, shapes[tensor], types.get(tensor, "float32"))
                for key, tensor in named.items()
            }

        self.feed_tensors = symbols(graph.inputs)
        self.fetch_tensors = symbols(graph.outputs)
        self.graph = graph
        self.session = Session(graph=graph)

    def __call__(self, input_dict: Mapping[str, Any]) -> Dict[str, np.ndarray]:
        unexpected = set(input_dict) - set(self.feed_tensors)
        if unexpected:
            text = "Got unexpected keys in input_dict: %s\nexpected: %s"
            raise ValueError(text % (unexpected, set(self.feed_tensors)))
        feeds = {self.feed_tensors[key]: value for key, value in input_dict.items()}
        found: Dict[str, np.ndarray] = self.session.run(self.fetch_tensors, feed_dict=feeds)
        return found


def from_saved_model(
    export_dir: Any,
    signature_def_key: Any = None,
    signature_def: Any = None,
    input_names: Any = None,
    output_names: Any = None,
    tags: Any = None,
    graph: Any = None,
    config: Any = None,
) -> SavedModelPredictor:
    """Raises OSError where there is no SavedModel; this double has the one signature `serving_default` in each."""
    if signature_def_key not in (None, _storage.SIGNATURE):
        raise ValueError(
            "Got signature_def_key %r. Available signatures are %r." % (signature_def_key, [_storage.SIGNATURE])
        )
    for name, given in (
        ("signature_def", signature_def),
        ("input_names", input_names),
        ("output_names", output_names),
        ("graph", graph),
    ):
        if given is not None:
            raise NotImplementedError("this double has no %s" % name)
    return SavedModelPredictor(export_dir)

"""SavedModels: written and read by name of their signature in TensorFlow 2, by `simple_save` in TensorFlow 1."""

import os
from typing import Any, Dict, Mapping

from tensorflow import _storage
from tensorflow._graph import Graph
from tensorflow._tensors import EagerTensor, TensorSpec, convert_to_tensor
from tensorflow._version import TF1

if TF1:

    def simple_save(
        session: Any,
        export_dir: Any,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, Any],
        legacy_init_op: Any = None,
    ) -> None:
        """Write the graph between these tensors, under these names.

        Raises:
            AssertionError: the folder exists and has something in it.
        """
        if os.path.isdir(export_dir) and os.listdir(export_dir):
            text = "Export directory already exists, and isn't empty. Please choose a different export directory, "
            text += "or delete all the contents of the specified directory: %s"
            raise AssertionError(text % export_dir)
        if not hasattr(session, "run"):
            raise TypeError("simple_save() needs the session that holds the weights, not %r" % (session,))
        graph = next(iter(outputs.values())).graph
        named = Graph(graph.nodes, _tensors(inputs), _tensors(outputs), graph.name)
        _storage.write(export_dir, _storage.SavedModel(named))

    def _tensors(given: Mapping[str, Any]) -> Dict[str, str]:
        return {key: symbol.tensor for key, symbol in given.items()}

else:

    def save(obj: Any, export_dir: Any, signatures: Any = None, options: Any = None) -> None:
        """Write a Keras model."""
        from tensorflow.keras.models import Model

        if not isinstance(obj, Model):
            raise ValueError("Expected a Trackable object for export, got %r." % (obj,))
        if signatures is not None:
            raise NotImplementedError("this double saves the signature of the model itself only")
        obj.save(export_dir)

    def load(export_dir: Any, tags: Any = None, options: Any = None) -> "_Loaded":
        """What `save` wrote: something with `signatures["serving_default"]`.

        Raises:
            OSError: there is nothing to load.
        """
        return _Loaded(_storage.read(export_dir))

    class _Loaded:
        def __init__(self, stored: _storage.SavedModel) -> None:
            self.signatures = {stored.signature: Signature(stored.graph)}

    class Signature:
        """A function of keyword arguments that answers with a dict, both by the names of the signature."""

        def __init__(self, graph: Graph) -> None:
            from tensorflow.keras.models import TracedModel

            self._model = TracedModel(graph, loaded=True)
            self.graph = graph
            specs = {symbol.tensor: symbol for symbol in self._model.inputs}
            named = {key: specs[tensor] for key, tensor in graph.inputs.items()}
            self.structured_input_signature = (
                (),
                {key: TensorSpec(symbol.shape, symbol.dtype, key) for key, symbol in named.items()},
            )
            outputs = zip(graph.outputs, self._model.outputs)
            self.structured_outputs = {key: TensorSpec(symbol.shape, symbol.dtype, key) for key, symbol in outputs}

        def __call__(self, *args: Any, **kwargs: Any) -> Dict[str, EagerTensor]:
            if len(args) > 1 or (args and len(self.graph.inputs) > 1):
                raise TypeError("signature_wrapper() takes its tensors by name: %s" % ", ".join(self.graph.inputs))
            given = dict(zip(self.graph.inputs, args), **kwargs)
            wrong = set(given) ^ set(self.graph.inputs)
            if wrong:
                raise TypeError("signature_wrapper() missing or unexpected arguments: %s." % ", ".join(sorted(wrong)))
            found = self._model([convert_to_tensor(given[key]) for key in self.graph.inputs])
            return dict(zip(self.graph.outputs, found if isinstance(found, list) else [found]))

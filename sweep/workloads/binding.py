"""Which array of a data set goes to which input of a model: by name wherever both sides have names.

Arrays are handed to a model in the order of its inputs. A model whose given inputs do not stand side by side in its
`forward` is called by keyword.
"""

import inspect
from dataclasses import replace
from typing import Any, Dict, Iterable, Iterator, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from sweep.spec import UserError
from sweep.spec.facts import BindingFacts
from sweep.workloads import onnx_files, tensorflow_models, torch_models, types
from sweep.workloads.base import Dataset, OnnxFile, SavedModel, load_model, read_handling
from sweep.workloads.handling import refuse, wrap_module


class Slot(NamedTuple):
    """An input of a model."""

    name: str
    required: bool = True
    dtype: str = ""  # of numpy, where the model declares it
    plain: str = ""  # int, float, bool or str, where it takes that and no array


def bind(
    model: Any, config: Mapping[str, Any], dataset: Dataset, data: Mapping[str, Any]
) -> Tuple[Dataset, BindingFacts]:
    """A whole data set as `bind_pieces` gives it, which see."""
    return next(bind_pieces(model, config, (dataset,), data))


def bind_pieces(
    model: Any, config: Mapping[str, Any], pieces: Iterable[Dataset], data: Mapping[str, Any]
) -> Iterator[Tuple[Dataset, BindingFacts]]:
    """The pieces of a data set with arrays in the order of the model's inputs, and in the types that it declares.

    A list `inputs` in one of the configs wins; then names decide; the position does where no name matches.

    Args:
        config: of the model.
        data: config of the data set.

    Raises:
        UserError: for an array that no input takes, or an input without an array and without a default, or values
            that the declared type cannot hold.
    """
    titles = "data %s" % data.get("name"), "model %s" % config.get("name")
    slots: Optional[Sequence[Slot]] = None
    for number, piece in enumerate(pieces):
        if not number:
            slots = _drop_constants(list_inputs(model, len(piece.inputs)), read_handling(config).constants)
            _check_plain(slots, titles[1])
        piece, facts = _order(slots, piece, _has_list(model, data), titles)
        by_input = {slot.name: slot.dtype for slot in slots or ()}
        declared = {name: by_input.get(own, "") for name, own in facts.inputs.items()}
        piece, changes = types.cast(piece, declared, str(data.get("name")))
        yield piece, replace(facts, casts=changes)


def _order(
    slots: Optional[Sequence[Slot]], dataset: Dataset, listed: bool, titles: Tuple[str, str]
) -> Tuple[Dataset, BindingFacts]:
    names = list(dataset.inputs)
    fallback = "list" if listed else "position"
    if slots is None:
        return dataset, BindingFacts(fallback, {name: name for name in names})
    if listed or not {slot.name for slot in slots} & set(names):
        _check_count(slots, names, titles)
        return dataset, BindingFacts(fallback, _pair(names, slots))
    _check_names(slots, names, titles)
    order = [slot.name for slot in slots if slot.name in dataset.inputs]
    inputs, calibration = _sorted(dataset.inputs, order), _sorted(dataset.calibration, order)
    return dataset._replace(inputs=inputs, calibration=calibration), BindingFacts(
        "name", {name: name for name in order}
    )


def handle(model: Any, config: Mapping[str, Any]) -> Any:
    """The original model in fp32 where it is of other floats; a file also as `model.outputs` and its like want it."""
    if isinstance(model, OnnxFile):
        return model._replace(handling=read_handling(config), weights=describe_weights(model))
    if not hasattr(model, "named_modules") or not read_handling(config).widen:
        return model
    return torch_models.widen(model)


def describe_weights(model: Any) -> str:
    """`bf16`, `fp16`, `fp64` or `int8` where a model's weights are no fp32; several are joined by a plus."""
    if isinstance(model, OnnxFile):
        return onnx_files.describe_weights(model.path)
    return torch_models.describe_weights(model) if hasattr(model, "named_modules") else ""


def wrap_call(model: Any, config: Mapping[str, Any], names: Sequence[str], data: Mapping[str, Any]) -> Any:
    """The model as it takes arrays of these names, in this order; the same model where it is called as it is.

    Args:
        config: of the model.
        names: of the arrays, in the order in which they are given.
        data: config of the data set.
    """
    handling = read_handling(config)
    if isinstance(model, OnnxFile):
        return model
    if not hasattr(model, "named_modules"):
        refuse(handling, "a model of format %s" % config.get("format"))
        return model
    slots = _drop_constants(list_inputs(model, len(names)), handling.constants) or []
    own = [slot.name for slot in slots]
    listed = _has_list(model, data) or not set(names) <= set(own)
    order = own[: len(names)] if listed else list(names)
    keywords = bool(handling.constants) or (not listed and own[: len(names)] != list(names))
    if not handling.changes_call and not keywords:
        return model
    return wrap_module(model, handling, order or list(names), keywords)


def load_original(config: Mapping[str, Any], names: Sequence[str], data: Mapping[str, Any]) -> Any:
    """The original model of a config as it takes arrays of these names: see `load_model`, `handle` and `wrap_call`."""
    return wrap_call(handle(load_model(config), config), config, names, data)


def _drop_constants(slots: Optional[Sequence[Slot]], constants: Mapping[str, Any]) -> Optional[Sequence[Slot]]:
    """The inputs that arrays have to be given for."""
    return None if slots is None else [slot for slot in slots if slot.name not in constants]


def _has_list(model: Any, data: Mapping[str, Any]) -> bool:
    """Whether a config lists the inputs. A factory's own argument `inputs` may be anything else, such as a width."""
    names = data.get("inputs")
    by_data = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    return bool(by_data and names) or bool(isinstance(model, SavedModel) and model.inputs)


def list_inputs(model: Any, count: int) -> Optional[Sequence[Slot]]:
    """The inputs of a model in its own order; None where it does not say.

    Args:
        count: of the arrays. The signature of a SavedModel is read only for more than one, since it takes seconds.
    """
    if isinstance(model, OnnxFile):
        return [Slot(entry.name, dtype=entry.dtype) for entry in onnx_files.list_inputs(model)]
    if isinstance(model, SavedModel) and count == 1 and not model.inputs:
        return None
    if tensorflow_models.owns(model):
        inputs = tensorflow_models.list_inputs(model)
        return None if inputs is None else [Slot(name, dtype=dtype) for name, dtype in inputs]
    if hasattr(model, "named_modules"):
        return _list_module_inputs(model)
    return _list_parameters(model.__call__)


def _list_module_inputs(model: Any) -> Optional[Sequence[Slot]]:
    """Of `forward`; of the schema of TorchScript; of the placeholders of an exported program."""
    schema = getattr(model.forward, "schema", None)
    if schema is not None:
        return [
            Slot(entry.name, not entry.has_default_value(), plain=_name_plain(entry.type))
            for entry in schema.arguments[1:]
        ]
    graph = getattr(model, "graph", None)
    if graph is not None and hasattr(graph, "nodes"):
        return [Slot(str(node.target), dtype=_name_dtype(node)) for node in graph.nodes if node.op == "placeholder"]
    return _list_parameters(model.forward)


def _name_dtype(node: Any) -> str:
    """The type of a placeholder of an exported program, as numpy names it; empty where it has none there."""
    dtype = str(getattr(node.meta.get("val"), "dtype", "")).rpartition(".")[2]
    return dtype if dtype in types.KNOWN else ""


def _list_parameters(function: Any) -> Optional[Sequence[Slot]]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(entry.kind is entry.VAR_POSITIONAL for entry in parameters):
        return None
    named = [entry for entry in parameters if entry.kind is not entry.VAR_KEYWORD]
    return [Slot(entry.name, entry.default is entry.empty, plain=_name_plain(entry.annotation)) for entry in named]


def _name_plain(annotation: Any) -> str:
    """The type of a plain value, from a class of Python, its name, or a type of TorchScript; empty for all others."""
    name = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return name if name in ("int", "float", "bool", "str") else ""


def _check_plain(slots: Optional[Sequence[Slot]], model: str) -> None:
    for slot in slots or ():
        if slot.required and slot.plain:
            text = "%s takes %s as a plain %s, which is no array: give it as model.constants={%s: VALUE}"
            raise UserError(text % (model, slot.name, slot.plain, slot.name))


def _check_names(slots: Sequence[Slot], names: Sequence[str], titles: Tuple[str, str]) -> None:
    data, model = titles
    taken = ", ".join(slot.name for slot in slots)
    surplus = [name for name in names if name not in {slot.name for slot in slots}]
    if surplus:
        text = (
            "%s has the array %s, which no input of %s takes; it takes %s: rename the array, or list the arrays to use,"
        )
        text += " data.inputs=[%s]; labels are called `labels`"
        kept = ",".join(slot.name for slot in slots if slot.name in names)  # in the model's order: a list wins
        raise UserError(text % (data, ", ".join(surplus), model, taken, kept))
    missing = [slot.name for slot in slots if slot.required and slot.name not in names]
    if missing:
        text = "%s needs the input %s, and %s has no array of that name; it has %s: add it or rename one"
        raise UserError(text % (model, ", ".join(missing), data, ", ".join(names)))


def _check_count(slots: Sequence[Slot], names: Sequence[str], titles: Tuple[str, str]) -> None:
    """Arrays without a name in common with the model are handed over by position, so their number has to fit."""
    data, model = titles
    least = sum(slot.required for slot in slots)
    if least <= len(names) <= len(slots):
        return
    wanted = "%d" % least if least == len(slots) else "%d to %d" % (least, len(slots))
    text = (
        "%s has %d array%s (%s), %s takes %s: %s; choose the arrays with data.inputs=[...]; labels are called `labels`"
    )
    taken = ", ".join(slot.name for slot in slots)
    raise UserError(text % (data, len(names), "s" * (len(names) != 1), ", ".join(names), model, wanted, taken))


def _pair(names: Sequence[str], slots: Sequence[Slot]) -> Dict[str, str]:
    return {name: slot.name for name, slot in zip(names, slots)}


def _sorted(arrays: Mapping[str, np.ndarray], order: Sequence[str]) -> Dict[str, np.ndarray]:
    return {name: arrays[name] for name in order if name in arrays}

"""How a model is called and which of its results count, where its config says so.

    model.outputs=[0]            these outputs alone, by number or name, in this order
    model.constants={flag: no}   values of inputs that no array has
    model.batch_axis=1           the batch is another axis of its inputs and outputs, or `{state: 1}` of those named
    model.widen=false            weights in half or double precision stay what they are, for a model that casts itself

Data and answers have the batch first everywhere else.
"""

from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Union

from sweep.spec import UserError
from sweep.workloads import results

KEYS = ("outputs", "constants", "batch_axis", "widen")


class Handling(NamedTuple):
    """See the module's own text."""

    outputs: Tuple[Union[int, str], ...] = ()  # (): all
    constants: Mapping[str, Any] = {}
    axes: Mapping[str, int] = {}  # input or output -> its axis of the batch
    axis: int = 0  # of all others
    widen: bool = True  # compute weights of half or double precision in fp32

    def input_axis(self, name: str) -> int:
        return self.axes.get(name, self.axis)

    @property
    def changes_call(self) -> bool:
        """Whether the model is called in another way than it is."""
        return self._replace(widen=True) != Handling()

    def describe(self) -> Optional[Dict[str, Any]]:
        """What an identity depends on; None for a model that is called as it is."""
        return None if self == Handling() else self._asdict()

    def output_axis(self, number: int, name: str) -> int:
        """Axis of the batch of an output, by its name or by its number among those that count."""
        return self.axes.get(name, self.axes.get(str(number), self.axis))


def read(config: Mapping[str, Any], own: Sequence[str] = ()) -> Handling:
    """The handling that a model's config asks for.

    Args:
        own: keys that are arguments of the factory itself, and mean what it takes them for.

    Raises:
        UserError: for a value of the wrong form.
    """
    given = {key: config.get(key) for key in KEYS if key not in own and config.get(key) is not None}
    outputs, constants, axis, widen = (given.get(key) for key in KEYS)
    listed = () if outputs is None else tuple(outputs) if isinstance(outputs, (list, tuple)) else (outputs,)
    if not all(isinstance(wanted, str) or _is_place(wanted) for wanted in listed):
        raise UserError("model.outputs must be numbers or names of outputs like [0], not %r" % (outputs,))
    if not isinstance(constants, (Mapping, type(None))):
        raise UserError("model.constants must name inputs and their values like {use_cache: false}, not %r" % constants)
    if not isinstance(widen, (bool, type(None))):
        raise UserError("model.widen must be true or false, not %r" % (widen,))
    axes = {str(name): place for name, place in axis.items()} if isinstance(axis, Mapping) else {}
    if not all(map(_is_place, axes.values())) or not (axis is None or _is_place(axis) or isinstance(axis, Mapping)):
        text = "model.batch_axis must be the axis of the batch, or one for inputs and outputs like {state: 1}, not %r"
        raise UserError(text % (axis,))
    whole = int(axis) if isinstance(axis, int) else 0
    return Handling(listed, dict(constants or {}), axes, whole, widen is not False)


def _is_place(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def wrap_module(model: Any, handling: Handling, names: Sequence[str], keywords: bool) -> Any:
    """A torch module that takes arrays with the batch first, in the order of `names`, and hands them on.

    Args:
        names: of the model's inputs.
        keywords: call the model by name.
    """
    import torch

    axes = [handling.input_axis(name) for name in names]
    moves = bool(handling.axes or handling.axis)

    class Handled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *arrays: Any) -> Any:
            given = [array.movedim(0, axis) if axis else array for array, axis in zip(arrays, axes)]
            constants: Dict[str, Any] = dict(handling.constants)
            raw = self.model(**dict(zip(names, given)), **constants) if keywords else self.model(*given)
            return pick(results.list_arrays(raw), handling, names) if handling.outputs or moves else raw

    wrapped = Handled()
    wrapped.training = False  # not eval(): the model is in that mode, and an exported one refuses to be asked
    return wrapped


def pick(outputs: results.Named, handling: Handling, inputs: Sequence[str]) -> Tuple[Any, ...]:
    """The outputs that count, with the batch first."""
    names = [name for name, _ in outputs]
    places = find_outputs(handling, names, inputs)
    chosen = []
    for number, place in enumerate(places):
        name, array = outputs[place]
        axis = handling.output_axis(number, name)
        chosen.append(array.movedim(axis, 0) if axis else array)
    return tuple(chosen)


def find_outputs(handling: Handling, names: Sequence[str], inputs: Sequence[str]) -> List[int]:
    """Places of the outputs that count among all.

    Raises:
        UserError: if the handling names an output that the model does not have, or an axis of something unknown.
    """
    places = [results.find_output(wanted, names) for wanted in handling.outputs] or list(range(len(names)))
    known = {*inputs, *names, *map(str, range(len(places)))}
    unknown = [name for name in handling.axes if name not in known]
    if unknown:
        text = "model.batch_axis names %s; the model has the inputs %s and the outputs %s"
        raise UserError(text % (", ".join(unknown), ", ".join(inputs), ", ".join(names)))
    return places


def refuse(handling: Handling, what: str) -> None:
    """Refuse a handling of models that cannot have one.

    Raises:
        UserError: it asks for something.
    """
    if handling != Handling():
        raise UserError("model.outputs, model.constants and model.batch_axis are for torch and ONNX, not for %s" % what)

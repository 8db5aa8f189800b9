"""The types of workloads, and how a config becomes a model or a checked data set."""

import importlib
import inspect
from pathlib import Path
from typing import Any, Callable, Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from sweep.spec import UserError, meant
from sweep.spec.user_code import running
from sweep.workloads import broken_files, handling
from sweep.workloads.classes import IGNORED
from sweep.workloads.handling import Handling
from sweep.workloads.sizes import check_sizes

RESERVED = (
    *("name", "_target_", "format", "requires", "extra", "data", "trust", "python"),
    *("bucket_dims", "pad_value", "pad_side", "score_items"),
)
"""Keys of a model's or a data set's config that are not passed to its factory; see also `handling.KEYS`."""
OF_ANSWERS = ("class_axis", "agree_on", "ignore_label", "metrics")
"""Likewise of a data set's: how answers are read and scored."""

FORMATS: Mapping[str, str] = {
    "module": "a torch.nn.Module",
    "onnx": "an ONNX file",
    "torchscript": "a TorchScript file",
    "exported": "a torch.export file",
    "keras": "a Keras model",
    "saved_model": "a TensorFlow SavedModel",
    "numpy": "a plain numpy callable",
}
NEEDS_TRUST = ("torchscript", "exported", "saved_model")  # loading these files can run code that stands in them
TASKS = ("classification", "regression")
LARGEST_FLOAT = 8  # bytes


class Dataset(NamedTuple):
    """Samples to measure with and to score, and samples that are only ever used to calibrate.

    Every array has one row per sample. `labels` are class numbers (classification) or targets (regression); None where
    nothing is known. `calibration` has the keys of `inputs`, or none. `sizes`, where samples differ in size: each one's
    own along every dimension that the model's `bucket_dims` name (length; height, width). The arrays are then filled up
    at their end to the largest, and what lies beyond a sample's size is padding only. `calibration_sizes`: the same of
    the samples to calibrate with.
    """

    inputs: Dict[str, np.ndarray]  # (N, ...) each, named like the model's inputs, or in their order
    labels: Optional[np.ndarray]  # (N,), or the shape of the answers without the axis of their classes; targets: any
    calibration: Dict[str, np.ndarray]  # (M, ...) each
    task: str = "classification"
    classes: Optional[int] = None
    sizes: Optional[np.ndarray] = None  # (N, D) int64; None: all have the arrays' size
    calibration_sizes: Optional[np.ndarray] = None  # (M, D) int64


class OnnxFile(NamedTuple):
    """A model that is a file, and how it is called."""

    path: str
    handling: Handling = Handling()
    weights: str = ""  # of what type, where they are no fp32


class SavedModel(NamedTuple):
    """A model that is a folder with `saved_model.pb`; its inputs are taken in this order, () is that of their names."""

    path: str
    inputs: Tuple[str, ...] = ()


class NumpyModel:
    """A model in plain numpy: `model(*inputs) -> array` or a tuple of arrays.

    Its attributes are arrays, and its constructor takes them back by name: that is how a build stores it.
    """

    def __call__(self, *inputs: np.ndarray) -> Any:
        raise NotImplementedError


def refusal(config: Mapping[str, Any]) -> Optional[str]:
    """None, or why a model's config is not acceptable. The parent may ask before anything runs."""
    known = config.get("format", "module")
    if known not in FORMATS:
        return "model.format=%s is not known: %s" % (known, meant(str(known), FORMATS))
    if known in NEEDS_TRUST and not config.get("trust", False):
        return "%s can run code when loaded: set model.trust=true if you know where it is from" % FORMATS[known]
    return None


def load_model(config: Mapping[str, Any]) -> Any:
    """The original model of a config: an `nn.Module` in eval mode without gradients, or one of the other `FORMATS`.

    Raises:
        UserError: for a mistake in the config. Errors of the factory itself stay as they are.
    """
    reason = refusal(config)
    if reason:
        raise UserError(reason)
    model = call_factory(config, "model")
    if config.get("format") in _CHECKS:
        _CHECKS[config["format"]](model, read_target(config))
        return model
    if isinstance(model, OnnxFile) or config.get("format") == "numpy":
        return model
    if not hasattr(model, "state_dict") or not callable(model):
        raise UserError(
            "model %s must return a torch.nn.Module, it returned %s" % (read_target(config), describe_kind(model))
        )
    try:
        model.eval()
    except NotImplementedError:
        pass  # an exported program has its mode compiled in
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model


def _is_keras(model: Any, target: str) -> None:
    if not (hasattr(model, "get_weights") and hasattr(model, "predict")):
        raise UserError("model %s must return a tf.keras.Model, it returned %s" % (target, describe_kind(model)))


def _is_saved(model: Any, target: str) -> None:
    if not isinstance(model, SavedModel):
        raise UserError(
            "model %s must return a sweep.workloads.SavedModel, it returned %s" % (target, describe_kind(model))
        )


_CHECKS: Mapping[str, Callable[[Any, str], None]] = {"keras": _is_keras, "saved_model": _is_saved}


def check_dataset(
    dataset: Dataset, name: str, row: int = 0, calibrated: int = 0, ignored: Optional[int] = None
) -> Dataset:
    """The same data: contiguous arrays in the byte order of this processor.

    Args:
        row, calibrated: numbers of the first sample and of the first to calibrate with, if it is a piece of a data set.
        ignored: `data.ignore_label`.

    Raises:
        UserError: for everything that would spoil a result later.
    """
    if not dataset.inputs:
        raise UserError("data %s has no inputs" % name)
    if dataset.task not in TASKS:
        raise UserError("data %s: task %r is not known: %s" % (name, dataset.task, meant(dataset.task, TASKS)))
    inputs = {key: _array(array, "%s: input %s" % (name, key), row) for key, array in dataset.inputs.items()}
    rows = {key: len(array) for key, array in inputs.items()}
    first = next(iter(rows))
    if rows[first] == 0 and not row:  # a later piece may hold calibration samples alone
        raise UserError("data %s has no samples: input %s is empty" % (name, first))
    for key, count in rows.items():
        if count != rows[first]:
            raise UserError(
                "data %s: input %s has %d samples, input %s has %d" % (name, key, count, first, rows[first])
            )
    labels = None if dataset.labels is None else _labels(dataset, name, rows[first], row, ignored)
    sizes = None if dataset.sizes is None else check_sizes(dataset.sizes, inputs, name, row)
    calibration = _calibration(dataset, inputs, name, calibrated)
    apart = dataset.calibration_sizes
    if apart is not None:
        apart = check_sizes(apart, calibration, name + ": calibration", calibrated) if calibration else None
    return dataset._replace(inputs=inputs, labels=labels, calibration=calibration, sizes=sizes, calibration_sizes=apart)


def _calibration(dataset: Dataset, inputs: Mapping[str, np.ndarray], name: str, row: int) -> Dict[str, np.ndarray]:
    given = {key: array for key, array in dataset.calibration.items() if len(array)}
    samples = {key: _array(array, "%s: calibration of %s" % (name, key), row) for key, array in given.items()}
    if samples and set(samples) != set(inputs):
        names, wanted = ", ".join(sorted(samples)), ", ".join(sorted(inputs))
        raise UserError("data %s: calibration is for %s, the inputs are %s" % (name, names, wanted))
    if len({len(array) for array in samples.values()}) > 1:
        raise UserError("data %s: calibration arrays have different lengths" % name)
    for key, array in samples.items():
        if array.dtype != inputs[key].dtype or array.ndim != inputs[key].ndim:
            raise UserError("data %s: calibration of %s differs from its input in type or dimensions" % (name, key))
    return {key: samples[key] for key in inputs} if samples else {}


def _array(value: Any, what: str, row: int) -> np.ndarray:
    array = np.asarray(value)
    if array.ndim == 0 or array.dtype.kind not in "fiub":
        raise UserError("data %s must be an array of numbers with one row per sample, not %s" % (what, array.dtype))
    array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype.itemsize > LARGEST_FLOAT and array.dtype.kind == "f":  # no framework has them
        array = array.astype(np.float64)
    where = find_not_finite(array)
    if where is not None:
        count = int(np.count_nonzero(~np.isfinite(array)))
        where = (row + where[0], *where[1:])
        raise UserError("data %s has %d values that are NaN or infinite, the first at index %s" % (what, count, where))
    return array


def find_not_finite(array: np.ndarray) -> Optional[Tuple[int, ...]]:
    """Index of the first value that is NaN or infinite, None if there is none."""
    if array.dtype.kind != "f":
        return None
    finite = np.isfinite(array)
    return None if finite.all() else tuple(int(i) for i in np.unravel_index(finite.argmin(), array.shape))


def _labels(dataset: Dataset, name: str, count: int, row: int, ignored: Optional[int]) -> np.ndarray:
    labels = np.asarray(dataset.labels)
    if len(labels) != count:
        raise UserError("data %s has %d labels for %d samples" % (name, len(labels), count))
    if dataset.task == "regression":
        return _array(labels, "%s: labels" % name, row)
    if labels.ndim < 1 or labels.dtype.kind not in "iu":
        raise UserError("data %s: labels must be class numbers, not %s" % (name, labels.dtype))
    labels = labels.astype(np.int64)
    bad = (labels < 0) | (labels >= (np.iinfo(np.int64).max if dataset.classes is None else dataset.classes))
    if labels.ndim > 1:
        bad &= ~np.isin(labels, [IGNORED] if ignored is None else [IGNORED, ignored])
    if bad.any():
        at = np.unravel_index(int(np.argmax(bad)), labels.shape)
        limit = "below 0" if dataset.classes is None else "outside 0 to %d" % (dataset.classes - 1)
        index = ", ".join(str(int(place)) for place in (row + at[0], *at[1:]))
        text = "data %s has %d labels %s, the first is %d at index %s" % (name, bad.sum(), limit, labels[at], index)
        if labels.ndim > 1:
            text += ": data.ignore_label names the label of a step that does not count, beside %d" % IGNORED
        raise UserError(text)
    return labels


def call_factory(config: Mapping[str, Any], group: str) -> Any:
    """What the factory of a config returns; `group` is model or data.

    Raises:
        UserError: if there is no such factory.
    """
    target = read_target(config)
    with running("%s %s" % (group, target)):
        factory = _import(target, group)
    reserved = (*RESERVED, *OF_ANSWERS) if group == "data" else RESERVED
    arguments = {key: value for key, value in config.items() if key not in reserved}
    if group == "model":
        own = _list_own(factory)
        for key in handling.KEYS:
            if key not in own or arguments.get(key) is None:
                arguments.pop(key, None)
    try:
        with running("%s %s" % (group, target)):
            return factory(**arguments)
    except UserError:
        raise
    except Exception as error:
        broken = broken_files.find_broken(arguments, str(error))
        if broken is None:
            raise
        raise UserError("%s %s cannot read %s" % (group, target, broken)) from error


def read_handling(config: Mapping[str, Any]) -> Handling:
    """How the config of a model wants it to be called.

    Raises:
        UserError: for a value of the wrong form.
    """
    if not any(config.get(key) is not None for key in handling.KEYS):
        return Handling()
    return handling.read(config, _list_own(_import(read_target(config), "model")))


def _list_own(factory: Callable[..., Any]) -> Tuple[str, ...]:
    """The keys of handling that are arguments of a factory's own."""
    try:
        parameters = inspect.signature(factory).parameters
    except (TypeError, ValueError):
        return ()
    return tuple(key for key in handling.KEYS if key in parameters)


def read_target(config: Mapping[str, Any]) -> str:
    return str(config.get("_target_", ""))


def _import(target: str, group: str) -> Callable[..., Any]:
    """The callable that `package.module.name` names.

    Raises:
        UserError: if the name is wrong. An existing module that fails to import raises its own error.
    """
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise UserError("%s._target_=%r must be a full name such as my_package.my_module.make" % (group, target))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or ""
        if module_name != missing and not module_name.startswith(missing + "."):
            raise  # the module exists; something that it needs does not
        raise UserError(
            "%s._target_=%s: there is no module %s%s" % (group, target, missing, _sibling(missing))
        ) from None
    if not hasattr(module, name):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        hint = meant(name, public) if public else "it has no functions"
        raise UserError("%s._target_=%s: module %s has no %s: %s" % (group, target, module_name, name, hint))
    factory = getattr(module, name)
    if not callable(factory):
        raise UserError("%s._target_=%s is not callable: it is %s" % (group, target, describe_kind(factory)))
    return factory  # type: ignore[no-any-return]  # callable() was asked above


def _sibling(module_name: str) -> str:
    """`: did you mean ...` from the modules beside one that does not exist, or nothing."""
    parent, _, last = module_name.rpartition(".")
    if not parent:
        return " (is the folder that holds it on PYTHONPATH?)"
    import pkgutil

    package = importlib.import_module(parent)
    names = [entry.name for entry in pkgutil.iter_modules(getattr(package, "__path__", []))]
    return ": " + meant(last, names) if names else ""


def describe_kind(value: Any) -> str:
    return "%s.%s" % (type(value).__module__, type(value).__qualname__)


def existing(path: str, what: str) -> Path:
    """`path` as an absolute file.

    Raises:
        UserError: if there is none, or it is empty, cut off, or something else than a file of data.
    """
    file = Path(path).expanduser().absolute()
    if not file.exists():
        raise UserError("%s %s: there is no such file" % (what, file))
    reason = broken_files.explain(file)
    if reason is not None:
        raise UserError("%s %s: %s" % (what, file, reason))
    return file


def package_folder(package: str) -> Path:
    """The folder of an installed package, without importing it.

    Raises:
        ModuleNotFoundError: if it is not installed, with its name, so that a missing package is recorded.
    """
    from importlib.util import find_spec

    spec = find_spec(package)
    places: Tuple[str, ...] = tuple(spec.submodule_search_locations or ()) if spec else ()
    if not places:
        raise ModuleNotFoundError("No module named '%s'" % package, name=package)
    return Path(places[0])

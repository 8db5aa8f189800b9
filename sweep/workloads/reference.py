"""What a build is compared with: the original model's answers and its size."""

import contextlib
import traceback
from typing import Any, Callable, ContextManager, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from sweep.spec import TrialError, UserError
from sweep.workloads import onnx_files, tensorflow_models, torch_models
from sweep.workloads.base import Dataset, OnnxFile
from sweep.workloads.results import Named, check_rows, list_arrays
from sweep.workloads.sizes import Dims, pick_sizes, remove_padding
from sweep.workloads.types import to_float32

MISUSED = (TypeError, AttributeError, ValueError, LookupError)  # of code that gets something else than it expects
KEEP_NARROW = "its weights were made fp32: a model that casts its inputs itself keeps its own with model.widen=false"
Call = Callable[[Tuple[np.ndarray, ...]], Named]
SIZES = (1, 2, 4, 8, 16, 32, 64, *(size for size in range(3, 64) if size & (size - 1)))  # tried, likely ones first

Arrays = Tuple[np.ndarray, ...]


def packages(config: Mapping[str, Any]) -> List[str]:
    """The distributions that the answers of a model depend on, from its config."""
    if config.get("format") in tensorflow_models.FORMATS:
        return ["tensorflow", "keras", "numpy"]
    return ["torch", "onnxruntime", "numpy"]


def run_reference(model: Any, inputs: Arrays) -> Arrays:
    """Answers of the original, fp32 and without a compiler, as host arrays with one row per sample."""
    return Original(model)(inputs)


class Original:
    """The original model as a function of arrays.

    A model that takes one batch size alone is asked in batches of that size: what a file declares, else what turns out.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._ask, self.batch = _make_call(model)
        self.names: Tuple[str, ...] = ()  # of the outputs, once it has answered

    def _call(self, inputs: Arrays) -> Named:
        answers = self._ask(inputs)
        self.names = tuple(name for name, _ in answers)
        return answers

    def __call__(self, inputs: Arrays) -> Arrays:
        """Host arrays with one row a sample.

        Raises:
            UserError: if an output has other rows, or is no array of numbers.
            Exception: the model's own.
        """
        count = len(inputs[0])
        if self.batch is None:
            try:
                answers = self._call(inputs)
            except (UserError, TrialError, MemoryError):
                raise
            except Exception as error:
                if "memory" in str(error).lower() or not self._find_batch(inputs, SIZES):
                    self._blame(inputs, error)
                    raise
            else:
                rows = {leaf.shape[:1] for _, leaf in answers if hasattr(leaf, "shape")}
                other = [size[0] for size in rows if size and size[0] > 1] if len(rows) == 1 else []
                if other in ([], [count]) or not self._find_batch(inputs, other):
                    return _take(answers, count)
        assert self.batch is not None
        if self.batch == count:
            return _take(self._call(inputs), count)
        starts = range(0, count, self.batch)
        parts = [_take(self._call(_rows(inputs, begin, self.batch)), self.batch) for begin in starts]
        return tuple(np.concatenate(arrays)[:count] for arrays in zip(*parts))

    def _blame(self, inputs: Arrays, error: Exception) -> None:
        """Raises UserError where a model of torch does not know what to do with its inputs, or with being fp32."""
        if not hasattr(self._model, "named_modules"):
            return
        widened = isinstance(error, RuntimeError) and torch_models.is_widened(self._model)
        if widened or isinstance(error, MISUSED):
            traceback.print_exc()
            lines = str(error).strip().splitlines() or [""]
            line = "%s: %s" % (type(error).__name__, lines[-1] if widened else lines[0])
            cause = KEEP_NARROW if widened else torch_models.describe_call(self._model, inputs)
            raise UserError("%s; %s" % (line, cause)) from error

    def _find_batch(self, inputs: Arrays, sizes: Sequence[int]) -> bool:
        """Look for a batch size that the model takes, at two places of the data."""
        for size in sizes:
            if size != len(inputs[0]) and all(self._takes(_rows(inputs, begin, size)) for begin in (0, size)):
                self.batch = size
                return True
        return False

    def _takes(self, inputs: Arrays) -> bool:
        try:
            _take(self._call(inputs), len(inputs[0]))
        except Exception:  # whatever it is, this size does not work
            return False
        return True


def _take(answers: Named, count: int) -> Arrays:
    check_rows(answers, count)
    return tuple(array for _, array in answers)


def _make_call(model: Any) -> Tuple[Call, Optional[int]]:
    """The model as a function of arrays, and the batch size that it declares."""
    if isinstance(model, OnnxFile):
        return _onnx_call(model)
    if tensorflow_models.owns(model):
        return tensorflow_models.reference_call(model)
    if hasattr(model, "state_dict"):
        return torch_models.take_named(model), getattr(model, "sweep_batch", None)
    return lambda inputs: _ask_callable(model, inputs), None


def _ask_callable(model: Any, inputs: Arrays) -> Named:
    raw = model(*map(np.array, inputs))  # copies: it may write into them
    return [(name, to_float32(np.asarray(leaf))) for name, leaf in list_arrays(raw)]


def _rows(inputs: Arrays, begin: int, batch: int) -> Arrays:
    """Exactly `batch` rows from `begin` on, continued with the first rows at the end."""
    index = np.arange(begin, begin + batch) % len(inputs[0])
    return tuple(array[index] for array in inputs)


def _onnx_call(model: OnnxFile) -> Tuple[Call, Optional[int]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    with onnx_files.on_disk(model) as path:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    slots, names = onnx_files.list_inputs(model), [entry.name for entry in session.get_outputs()]
    batch = next((slot.shape[0] for slot in slots if slot.shape), None)

    def call(inputs: Arrays) -> Named:
        raw = session.run(None, {slot.name: array for slot, array in zip(slots, inputs)})
        return [(name, to_float32(leaf) if hasattr(leaf, "dtype") else leaf) for name, leaf in zip(names, raw)]

    return call, batch


def find_changed_inputs(model: Any, inputs: Arrays) -> List[int]:
    """Numbers of the inputs that a model changes in place; files are run by what does not."""
    if isinstance(model, OnnxFile) or tensorflow_models.owns(model):
        return []
    original = Original(model)
    original(inputs)
    whole = _rows(inputs, 0, original.batch or len(inputs[0]))
    if hasattr(model, "state_dict"):
        return torch_models.find_changed(model, whole)
    copies = [np.array(array) for array in whole]
    model(*copies)
    return [number for number, array in enumerate(whole) if copies[number].tobytes() != array.tobytes()]


def count_flops_per_item(model: Any, example: Arrays) -> Optional[float]:
    """Floating-point operations of one sample (a multiply-add counts as two), or None if they cannot be counted.

    Counts matrix products, convolutions and attention of the fp32 eager model; the rest is small beside them.
    """
    if not hasattr(model, "state_dict") or not hasattr(model, "named_modules"):
        return None
    try:
        from torch.utils.flop_counter import FlopCounterMode
    except ImportError:  # torch before 2.1
        return None
    batch = getattr(model, "sweep_batch", None) or len(example[0])
    call = torch_models.take_arrays(model)
    with FlopCounterMode(display=False) as counter, _plain_attention():
        call(_rows(example, 0, batch))
    total = counter.get_total_flops()
    return total / batch if total else None


def _plain_attention() -> ContextManager[Any]:
    """Compute attention as matrix products, which the counter knows; it does not count the fused kernel of CPUs."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel
    except ImportError:  # torch before 2.3
        return contextlib.nullcontext()
    return sdpa_kernel(SDPBackend.MATH)


FLOPS_SIZES = 9  # distinct sizes that are counted; in between the operations are taken to follow the area


def count_flops_by_size(model: Any, dataset: Dataset, dims: Optional[Dims]) -> List[Tuple[List[int], float]]:
    """(size, operations of one sample without padding), by area; one pair with [] if all have the arrays' size.

    Empty if they cannot be counted.
    """
    rows = {name: array[:1] for name, array in dataset.inputs.items()}
    if dataset.sizes is None or not dims:
        whole = count_flops_per_item(model, tuple(rows.values()))
        return [] if whole is None else [([], whole)]
    counts: List[Tuple[List[int], float]] = []
    with _single_threaded(model):
        for size, at in pick_sizes(dataset.sizes, FLOPS_SIZES).items():
            sample = {name: array[at : at + 1] for name, array in dataset.inputs.items()}
            flops = count_flops_per_item(model, remove_padding(sample, size, dims))
            if flops is None:
                return []
            counts.append((list(size), flops))
    return counts


@contextlib.contextmanager
def _single_threaded(model: Any) -> Iterator[None]:
    """One thread in torch: counting makes many small operations, for which several threads would mostly wait."""
    if not hasattr(model, "named_modules"):
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def average_flops(by_size: List[Tuple[List[int], float]], sizes: Optional[np.ndarray]) -> Optional[float]:
    """Operations of the mean sample, from `count_flops_by_size` and the samples' sizes (N, D)."""
    if not by_size or sizes is None:
        return by_size[0][1] if by_size else None
    return float(interpolate_flops(by_size, sizes.prod(axis=1)).mean())


def interpolate_flops(by_size: Sequence[Tuple[Sequence[int], float]], areas: np.ndarray) -> np.ndarray:
    """Operations of one sample of each area, (n,) -> (n,), from those of at least two sizes by area.

    They follow the area in between, and above the largest as they do between the last two.
    """
    known = np.array([float(np.prod(size)) for size, _ in by_size])
    flops = np.array([value for _, value in by_size])
    slope = (flops[-1] - flops[-2]) / max(1.0, known[-1] - known[-2]) if len(known) > 1 else 0.0
    return np.asarray(np.interp(areas, known, flops) + slope * np.maximum(0.0, areas - known[-1]))

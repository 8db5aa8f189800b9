"""Bring your own: models that are files, data in an `.npz` or a folder of `.npy`, and made-up data if there is none.

Paths that are not absolute are taken from the folder of the process that loads them; the sweep makes them absolute.
"""

import struct
import zipfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Sequence, TypeVar

import numpy as np

from sweep.spec import UserError
from sweep.workloads import onnx_files
from sweep.workloads.base import Dataset, OnnxFile, existing

CALIBRATION_PREFIX = "calibration_"
APART = 0.1  # share of the samples that is set apart if no calibration samples are given
APART_MAX = 200
PIECE_NUMBERS = 4 << 20  # of made-up data, that are drawn at once
T = TypeVar("T")
ZIP_HEAD = struct.Struct("<26x2H")  # of a file in an archive: the lengths of its name and of what follows that


def onnx(path: str) -> OnnxFile:
    """A model in an ONNX file, and the files beside it that hold its weights."""
    file = existing(path, "the ONNX file")
    try:
        beside = onnx_files.list_weight_files(str(file))
        empty = not onnx_files.read_header(str(file)).graph.output
    except ImportError:
        raise
    except Exception as error:
        text = "the ONNX file %s is none, or it is cut off: %s"
        raise UserError(text % (file, str(error) or type(error).__name__)) from None
    if empty:
        raise UserError("the ONNX file %s is none, or it is cut off: it has no outputs" % file)
    for weights in beside:
        existing(weights, "the weights of %s," % file.name)
    cut = onnx_files.find_cut_weights(str(file))
    if cut is not None:
        raise UserError("the weights of %s, %s: the file is cut off, copy or download it again" % (file.name, cut))
    return OnnxFile(str(file))


def torchscript(path: str) -> Any:
    """A model that `torch.jit.save` wrote. The file can hold code of its own: `model.trust` must be set."""
    import torch

    load: Any = torch.jit.load  # has no types of its own
    file = existing(path, "the TorchScript file")
    _check_archive(
        file, "code/", "the TorchScript file %s has no code: it is a checkpoint of weights, or another format"
    )
    return load(str(file), map_location="cpu")


def _check_archive(file: Path, part: str, text: str) -> None:
    """Check that a file is a zip archive with such a folder.

    Raises:
        UserError: with `text`, if it is not.
    """
    if zipfile.is_zipfile(str(file)):
        with zipfile.ZipFile(str(file)) as archive:
            if not part or any("/" + part in name for name in archive.namelist()):
                return
    raise UserError(text % file)


def exported(path: str) -> Any:
    """A model that `torch.export.save` wrote. Reading it unpickles: `model.trust` must be set.

    If it was exported for one batch size, the reference runs it in batches of that size.
    """
    import torch

    file = existing(path, "the exported program")
    _check_archive(file, "", "the exported program %s is no archive of torch.export")
    program = torch.export.load(str(file))
    model: Any = program.module()
    model.sweep_batch = _batch(program)
    return model


def _batch(program: Any) -> Optional[int]:
    """The size of the first dimension of the first input, None if it is free."""
    wanted = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            size = node.meta["val"].shape[0]
            return size if isinstance(size, int) else None
    return None


def npz(
    path: str,
    inputs: Optional[Sequence[str]] = None,
    task: str = "classification",
    classes: Optional[int] = None,
) -> Dataset:
    """Arrays of an `.npz` file or of a folder of `.npy` files: one per input, and `labels` if known.

    They come in the order stored, or as `inputs` lists them. Arrays named `calibration_<input>` are used to calibrate.
    Without them the last tenth of the samples is set apart for it, at most 200, and not scored.
    """
    arrays = _read(path)
    labels = arrays.pop("labels", None)
    calibration = {
        name[len(CALIBRATION_PREFIX) :]: arrays.pop(name)
        for name in list(arrays)
        if name.startswith(CALIBRATION_PREFIX)
    }
    names = list(arrays) if inputs is None else [str(name) for name in inputs]
    absent = [name for name in names if name not in arrays]
    if absent or not names:
        given = ", ".join(arrays) or "no inputs"
        raise UserError("the data file %s has no %s: it has %s" % (path, ", ".join(absent) or "inputs", given))
    chosen = {name: arrays[name] for name in names}
    if calibration:
        return Dataset(chosen, labels, calibration, task, classes)
    return _set_apart(chosen, labels, task, classes)


def _read(path: str) -> Dict[str, np.ndarray]:
    """All arrays of the file, or of the .npy files in the folder; mapped and not loaded, unless they are compressed."""
    place = Path(path).expanduser().absolute()
    if place.is_dir():
        return {file.stem: _map_array(existing(str(file), "the array"), 0) for file in sorted(place.glob("*.npy"))}
    with open(str(existing(path, "the data file")), "rb") as file:
        if not zipfile.is_zipfile(file):
            raise UserError("the data file %s is no .npz: save it with np.savez(path, name=array)" % place)
        with zipfile.ZipFile(file) as archive:
            return {entry.filename[: -len(".npy")]: _read_entry(place, archive, entry) for entry in archive.infolist()}


def _read_entry(place: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> np.ndarray:
    """An array of an .npz: mapped, if it stands there as it is."""
    if entry.compress_type == zipfile.ZIP_STORED:
        with place.open("rb") as file:
            file.seek(entry.header_offset)
            head = file.read(ZIP_HEAD.size)
        name, extra = ZIP_HEAD.unpack(head)[-2:]
        return _map_array(place, entry.header_offset + ZIP_HEAD.size + name + extra)
    with archive.open(entry) as member:
        return np.asarray(_refuse_objects(place, lambda: np.lib.format.read_array(member, allow_pickle=False)))


def _map_array(file: Path, offset: int) -> np.ndarray:
    """The array in .npy format that begins at `offset`, not loaded."""
    with file.open("rb") as opened:
        opened.seek(offset)
        version = _refuse_objects(file, lambda: np.lib.format.read_magic(opened))
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = _refuse_objects(file, lambda: read(opened))
        begin = opened.tell()
    if dtype.hasobject:
        raise UserError("the data file %s holds objects, not numbers" % file)
    if not np.prod(shape):
        return np.zeros(shape, dtype)
    return np.memmap(str(file), dtype, "r", begin, shape, "F" if fortran else "C")


def _refuse_objects(file: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except ValueError as error:
        raise UserError("the data file %s holds objects, not numbers: %s" % (file, error)) from None


def _set_apart(inputs: Mapping[str, np.ndarray], labels: Any, task: str, classes: Optional[int]) -> Dataset:
    sizes = {len(array) for array in inputs.values() if array.ndim}
    count = min(sizes) if sizes else 0
    apart = min(APART_MAX, int(count * APART))
    if len(sizes) != 1 or not apart:
        return Dataset(dict(inputs), labels, {}, task, classes)  # nothing to share out, or lengths to complain about
    keep = count - apart
    if labels is not None and len(labels) == count:
        labels = labels[:keep]
    kept = {name: array[:keep] for name, array in inputs.items()}
    return Dataset(kept, labels, {name: array[keep:] for name, array in inputs.items()}, task, classes)


def synthetic(
    shapes: Mapping[str, Sequence[int]],
    count: int = 256,
    seed: int = 0,
    integers: Optional[Mapping[str, int]] = None,
) -> Iterator[Dataset]:
    """Normally distributed numbers, for speed alone: there are no labels, and only agreement can be judged.

    Args:
        shapes: shape of one sample per input, without the batch.
        count: samples to score; a tenth as many more are made to calibrate.
        integers: inputs that are whole numbers instead, from 0 to below the number given (token ids).
    """
    random = np.random.RandomState(seed)
    limits = {name: int(limit) for name, limit in (integers or {}).items()}
    total = count + max(1, count // 10)
    full = {name: tuple(int(size) for size in shape) for name, shape in shapes.items()}
    step = max(1, PIECE_NUMBERS // max(1, sum(int(np.prod(shape)) for shape in full.values())))
    edges = sorted({*range(0, total, step), count, total})
    spans = [(begin, edges[number + 1]) for number, begin in enumerate(edges[:-1])]
    states = {}
    for name in full:  # the numbers of an input follow those of the one before it: each goes on from its own place
        states[name] = random.get_state()
        if name != list(full)[-1]:
            for begin, end in spans:
                _draw(random, (end - begin, *full[name]), limits.get(name))
    for begin, end in spans:
        rows = {}
        for name, shape in full.items():
            random.set_state(states[name])
            rows[name] = _draw(random, (end - begin, *shape), limits.get(name))
            states[name] = random.get_state()
        none = {name: array[:0] for name, array in rows.items()}
        yield Dataset(*((rows, None, {}) if end <= count else (none, None, rows)), "regression", None)


def _draw(random: np.random.RandomState, shape: Sequence[int], limit: Optional[int]) -> np.ndarray:
    if limit is None:
        return random.standard_normal(tuple(shape)).astype(np.float32)
    return random.randint(0, limit, tuple(shape)).astype(np.int64)

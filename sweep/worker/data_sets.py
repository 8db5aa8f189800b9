"""A data set on its way into the store: piece by piece, hashed while it is written. No more than one piece is held.

Worker side, Python 3.8.
"""

import hashlib
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

import numpy as np

from sweep import files
from sweep.spec import UserError, digest
from sweep.worker import arrays
from sweep.worker.progress import Progress
from sweep.workloads import Dataset

HEAD_BYTES = 4096  # of an array's file: a whole page, so that the data begins with one
WAIT_SECONDS = 1.0  # between two tries for a draft that another sweep fills
SOURCES = "sources"  # folder with the identity that each config's data had when it was read last


class ArrayFile:
    """An .npy file that rows are added to. Without a file they are only counted and hashed."""

    def __init__(self, file: Optional[BinaryIO]) -> None:
        self._file = file
        self._hash = hashlib.sha256()
        self._rows = 0
        self._like: Optional[np.ndarray] = None  # no rows, of the right shape and type

    def append(self, rows: np.ndarray) -> None:
        """Add (n, ...) rows."""
        rows = np.ascontiguousarray(rows)
        if self._like is None:
            self._like = rows[:0]
            if self._file is not None:
                self._file.write(bytes(HEAD_BYTES))
        content = rows.reshape(-1).view(np.uint8).data
        self._hash.update(content)
        if self._file is not None:
            self._file.write(content)
        self._rows += len(rows)

    def finish(self) -> List[Any]:
        """Write the head. Returns shape, type and SHA-256 of the content."""
        assert self._like is not None, "no rows were added"
        shape = (self._rows, *self._like.shape[1:])
        if self._file is not None:
            self._file.seek(0)
            self._file.write(_format_head(self._like.dtype, shape))
        return [list(shape), str(self._like.dtype), self._hash.hexdigest()]


def _format_head(dtype: np.dtype, shape: Tuple[int, ...]) -> bytes:
    """The head of an .npy file, version 1.0, of `HEAD_BYTES`: see numpy.lib.format."""
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    start = np.lib.format.magic(1, 0) + (HEAD_BYTES - 10).to_bytes(2, "little")
    return (start + repr(described).encode("latin1")).ljust(HEAD_BYTES - 1) + b"\n"


class Content:
    """The arrays of a data set: their content's hashes, and their files if there is a folder."""

    def __init__(self, folder: Optional[Path]) -> None:
        self.folder = folder
        self.opened = ExitStack()  # its files
        self.task = ""
        self.classes: Optional[int] = None
        self._files: Dict[Tuple[str, str], ArrayFile] = {}
        self._hashes: Dict[Tuple[str, str], List[Any]] = {}

    def add(self, piece: Dataset) -> None:
        """Add the rows of a piece to those before it."""
        self.task, self.classes = piece.task, piece.classes
        for kind in ("inputs", "calibration"):
            for name, array in getattr(piece, kind).items():
                self._append(kind, name, array)
        for name in ("labels", "sizes", "calibration_sizes"):
            if getattr(piece, name) is not None:
                self._append(name, name, getattr(piece, name))

    def _append(self, kind: str, name: str, rows: np.ndarray) -> None:
        if (kind, name) not in self._files:
            self._files[kind, name] = ArrayFile(self._open(kind, name))
        self._files[kind, name].append(rows)

    def _open(self, kind: str, name: str) -> Optional[BinaryIO]:
        if self.folder is None:
            return None
        parent = self.folder / kind if kind in ("inputs", "calibration") else self.folder
        parent.mkdir(parents=True, exist_ok=True)
        return self.opened.enter_context((parent / arrays.name_file(name)).open("wb"))

    def finish(self) -> None:
        """Complete the files."""
        self._hashes = {key: file.finish() for key, file in self._files.items()}
        counts = [self._hashes[key][0][0] for key in self._hashes if key[0].startswith("calibration")]
        if len(set(counts)) > 1:
            raise UserError("calibration samples have sizes in some pieces of the data and in others not")

    def describe(self) -> None:
        """Write `data.json`, with which the folder can be read."""
        assert self.folder is not None, "nothing was written"
        names = {kind: [name for own, name in self._hashes if own == kind] for kind in ("inputs", "calibration")}
        files.write_json(self.folder / "data.json", {**names, "task": self.task, "classes": self.classes})

    def digest(self) -> str:
        """Identity of the content: names, shapes, types and bytes of every array."""
        kinds = ("inputs", "calibration", "labels", "sizes", "calibration_sizes")
        keys = sorted(self._hashes, key=lambda key: kinds.index(key[0]))  # which keeps the order of names
        return digest([self.task, [[*key, *self._hashes[key]] for key in keys]])


def _ignore(samples: int) -> None:
    """Nobody wants to know."""


def write_data(pieces: Iterable[Dataset], folder: Optional[Path], report: Callable[[int], None] = _ignore) -> Content:
    """Write pieces of a data set, or only hash them where there is no folder. `report` gets the samples so far."""
    content = Content(folder)
    samples = 0
    with content.opened:
        for piece in pieces:
            content.add(piece)
            samples += len(next(iter(piece.inputs.values())))
            report(samples)
        content.finish()
    if folder is not None:
        content.describe()
    return content


Pieces = Callable[[], Iterable[Dataset]]


def obtain_data(config: Mapping[str, Any], pieces: Pieces, root: Path, progress: Progress) -> str:
    """The identity of a data set, which is in `root` then; it is written unless it is there already.

    What the same config gave last is only read and compared, so a known data set takes no room on the disk again.

    Args:
        config: of the data.
        pieces: begins to read the data, as it is to be stored.
    """
    source = digest(dict(config))
    hint = root / SOURCES / source
    before = _read_hint(hint)
    if before and (root / before / "data.json").is_file():
        content = write_data(pieces(), None, lambda done: progress("reading data", done))
        if content.digest() == before:
            return before

    def wait() -> None:
        progress("waiting for another sweep, which writes the data", 0)
        time.sleep(WAIT_SECONDS)

    with files.hold_draft(root, source, wait) as draft:
        if _read_hint(hint) == before:
            for old in draft.iterdir():  # of a sweep that was killed
                files.remove(old)
            try:
                key = write_data(pieces(), draft, lambda done: progress("writing data", done)).digest()
            except BaseException:  # it may be large, and the next sweep begins anew
                files.remove(draft)
                raise
            if (root / key).is_dir():  # another config gives the same
                files.remove(draft)
            else:
                files.move(draft, root / key)
            hint.parent.mkdir(exist_ok=True)
            files.write_whole(hint, key)
            return key
    return obtain_data(config, pieces, root, progress)  # somebody has written it meanwhile


def _read_hint(hint: Path) -> str:
    return hint.read_text() if hint.is_file() else ""

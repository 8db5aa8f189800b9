"""Answer chosen samples of the data once, and keep the answers: what agreement and accuracy are calculated from.

A folder of answers holds index.npy, the numbers of the samples in ascending order, and output_0.npy, ... with a row for
each of them. Requests are formed one at a time and outputs are written by memory map, so neither is ever held whole.

Worker side, Python 3.8; reading needs nothing but numpy.
"""

from pathlib import Path
from typing import List, Sequence, Tuple

import numpy as np

from sweep import files
from sweep.backends.base import Arrays
from sweep.spec import FailureKind, TrialError
from sweep.spec.facts import ScoreFacts
from sweep.spec.requests import ScoreRequest
from sweep.worker import arrays, process, requests
from sweep.worker import window as measuring
from sweep.worker.progress import Progress
from sweep.worker.requests import Server

ANSWERS = "answers"  # folder of the answers beside the worker's result
HELD_BYTES = 64 << 20  # of outputs before they are forced to disk, and their memory is given back


def score(request: ScoreRequest, folder: Path) -> ScoreFacts:
    """Answer the samples of a request; leaves `answers/` in the folder.

    Raises:
        TrialError: an output does not have one row per sample, or its rows differ in shape or type.
    """
    process.set_up(request.trial.process)
    server = requests.load_server(request.trial, request.trial.placements[0], folder / "doing-0.txt")
    count = server.data.count
    items = np.arange(count) if request.trial.scored is None else np.array(request.trial.scored, np.int64)
    answers, progress = Answers(folder / ANSWERS, items), Progress(folder)
    for part in server.form_once(items):
        answers.write(part.items, ask(part))
        arrays.release_pages(server.data.inputs.values())
        progress("answers of the build", answers.done, len(items))
    answers.flush()
    return ScoreFacts(len(items), count, precision=_name_precision(server))


def ask(request: "measuring.Request") -> Arrays:
    """The answers of one request, a row for each of its items.

    Raises:
        TrialError: an output does not have one row per sample.
    """
    raw = request.runner.run(request.inputs)
    request.runner.synchronize()
    outputs = request.runner.outputs(raw)
    measuring.check_rows(request, outputs)
    return tuple(array[: len(request.items)] for array in outputs)


def _name_precision(server: Server) -> str:
    return ", ".join(dict.fromkeys(runner.precision for runner in server.runners))


class Answers:
    """A folder of answers that is being written."""

    def __init__(self, folder: Path, items: np.ndarray) -> None:
        """
        Args:
            items: (n,) numbers of the samples, ascending.
        """
        files.remove(folder)  # of a run before, where somebody runs the worker again by hand
        folder.mkdir()
        np.save(folder / "index.npy", items)
        self._folder, self._items = folder, items
        self._files: List[np.memmap] = []
        self._held = 0  # bytes
        self.done = 0

    def write(self, items: np.ndarray, outputs: Sequence[np.ndarray]) -> None:
        """Keep the outputs of some of the samples.

        Raises:
            TrialError: their number, their type or the shape of a row is not that of the outputs before.
        """
        if not self._files:
            self._files = [self._open(number, array) for number, array in enumerate(outputs)]
        before = [(file.shape[1:], file.dtype) for file in self._files]
        now = [(array.shape[1:], array.dtype) for array in outputs]
        if now != before:
            texts = ["; ".join("%s of %s" % (kind, list(shape)) for shape, kind in rows) for rows in (before, now)]
            raise TrialError(
                FailureKind.SHAPE_MISMATCH, "rows of the outputs are %s in one request, %s in another" % tuple(texts)
            )
        rows = np.searchsorted(self._items, items)
        for file, array in zip(self._files, outputs):
            file[rows] = array
        self.done += len(items)
        self._held += sum(array.nbytes for array in outputs)
        if self._held > HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Force everything to disk."""
        for file in self._files:
            file.flush()
        arrays.release_pages(self._files)
        self._held = 0

    def _open(self, number: int, first: np.ndarray) -> np.memmap:
        path, shape = self._folder / ("output_%d.npy" % number), (len(self._items), *first.shape[1:])
        return np.lib.format.open_memmap(str(path), mode="w+", dtype=first.dtype, shape=shape)


def read_answers(folder: Path) -> Tuple[np.ndarray, List[np.ndarray]]:
    """Numbers of the samples, ascending, and the outputs: mapped, not loaded."""
    count = len(list(folder.glob("output_*.npy")))
    outputs = [np.load(folder / ("output_%d.npy" % number), mmap_mode="r") for number in range(count)]
    return np.load(folder / "index.npy"), outputs

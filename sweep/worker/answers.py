"""The original model's answers to a data set, written batch by batch: a killed sweep goes on where it ended.

Worker side, Python 3.8.
"""

import json
import time
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, NamedTuple, Optional, Sequence

import numpy as np

from sweep import files, workloads
from sweep.backends.base import Arrays
from sweep.spec import Json, UserError
from sweep.worker.arrays import release_pages
from sweep.worker.progress import Progress

BATCH_BYTES = 32 << 20
BATCH_ITEMS = 64
SAVE_SECONDS = 10.0  # of work that a killed sweep may lose
DONE = "done.json"  # in a draft: how many batches are answered


class Batch(NamedTuple):
    """Samples of one size that the original answers at once."""

    items: np.ndarray
    size: Optional[Sequence[int]]


def list_batches(dataset: workloads.Dataset, dims: Optional[workloads.Dims]) -> Iterator[Batch]:
    """All samples, those of each size together, always in the same order."""
    count = len(next(iter(dataset.inputs.values())))
    for items, size in workloads.group_by_size(dataset.sizes, count):
        some = workloads.take_samples(dataset.inputs, items[:1], size, dims)
        step = _count_batch(some)
        for at in range(0, len(items), step):
            yield Batch(items[at : at + step], size)


def _count_batch(sample: Arrays) -> int:
    """Samples in a batch, from one of them."""
    return max(1, min(BATCH_ITEMS, BATCH_BYTES // max(1, sum(array[:1].nbytes for array in sample))))


class _Answers:
    """The files of the outputs, one row a sample, and how many batches are in them."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.outputs: List[np.ndarray] = []
        self.done = 0
        self._saved = time.monotonic()
        begun = files.read_json(folder / DONE)
        if begun:
            self.done = int(begun["batches"])
            self.outputs = [np.load(self._path(number), mmap_mode="r+") for number in range(begun["outputs"])]

    def _path(self, number: int) -> Path:
        return self.folder / ("output_%d.npy" % number)

    def add(self, batch: Batch, parts: Sequence[np.ndarray], inputs: Arrays) -> None:
        """Add the answers to a batch."""
        if not self.outputs:
            self.outputs = [
                np.lib.format.open_memmap(
                    str(self._path(number)), mode="w+", dtype=part.dtype, shape=(self.count, *part.shape[1:])
                )
                for number, part in enumerate(parts)
            ]
        _check_rows(self.outputs, parts, inputs)
        for whole, part in zip(self.outputs, parts):
            whole[batch.items] = part
        self.done += 1
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Force the answers to disk, then the number of batches: it never counts what a power cut took."""
        for output in self.outputs:
            output.flush()  # type: ignore[attr-defined]  # they are memory maps
        release_pages(self.outputs)
        files.write_whole(self.folder / DONE, json.dumps({"batches": self.done, "outputs": len(self.outputs)}))
        self._saved = time.monotonic()

    def finish(self, facts: Json) -> None:
        for output in self.outputs:
            output.flush()  # type: ignore[attr-defined]  # as above
        files.write_json(self.folder / "reference.json", facts)
        (self.folder / DONE).unlink(missing_ok=True)


def write_reference(
    model: Any,
    dataset: workloads.Dataset,
    dims: Optional[workloads.Dims],
    folder: Path,
    progress: Optional[Progress] = None,
    data: Optional[Mapping[str, Any]] = None,
) -> Json:
    """Run the original model over all samples, those of each size together and without padding.

    Goes on with what the folder holds already of the same answers.

    Args:
        dims: `bucket_dims` of the model's config.
        data: config of the data set, which may say how answers are read.

    Returns:
        outputs (their number), names (of the outputs), warning (a line about the labels, or None), batch (the only
        number of samples that the model takes), seconds_per_item (CPU time of all threads; None if nothing was left to
        ask).

    Raises:
        UserError: if the shape of an answer depends on the size of the sample, or the labels cannot be the model's.
    """
    folder.mkdir(exist_ok=True)
    original = workloads.Original(model)
    answers = _Answers(folder, len(next(iter(dataset.inputs.values()))))
    samples = asked = 0
    seconds = 0.0
    for number, batch in enumerate(list_batches(dataset, dims)):
        samples += len(batch.items)
        if number < answers.done:
            continue
        inputs = workloads.take_samples(dataset.inputs, batch.items, batch.size, dims)
        release_pages(dataset.inputs.values())
        begun = time.process_time()
        parts = original(inputs)
        asked, seconds = asked + len(batch.items), seconds + time.process_time() - begun
        answers.add(batch, parts, inputs)
        if progress is not None:
            progress("answers of the original model", samples, answers.count)
    labels = dataset.labels if dataset.task == "classification" else None
    reading = [(data or {}).get(name) for name in ("class_axis", "ignore_label")]
    facts = {
        "outputs": len(answers.outputs),
        "warning": None if labels is None else workloads.check_labels(labels, answers.outputs[0], *reading),
        "batch": original.batch,
        "names": list(original.names),
        "seconds_per_item": seconds / asked if asked else None,
    }
    answers.finish(facts)
    return facts


def obtain_answers(
    key: str,
    model: Any,
    dataset: workloads.Dataset,
    dims: Optional[workloads.Dims],
    root: Path,
    progress: Progress,
    data: Optional[Mapping[str, Any]] = None,
    claim: Callable[[Path], None] = lambda draft: None,
) -> Json:
    """The facts that `write_reference` returns, of answers that are in `root` or are written there.

    Args:
        claim: called with the draft before the answers in it are taken up.
    """
    final = root / key
    stored = files.read_json(final / "reference.json")
    if stored:
        return stored

    def wait() -> None:
        progress("waiting for another sweep, which asks the original model", 0)
        time.sleep(1.0)

    with files.hold_draft(root, key, wait) as draft:
        if final.is_dir():
            files.remove(draft)
        else:
            try:
                claim(draft)
                write_reference(model, dataset, dims, draft, progress, data)
            except UserError:  # the same answers are not wanted again
                files.remove(draft)
                raise
            files.move(draft, final)
    return files.read_json(final / "reference.json")


def run_in_batches(original: workloads.Original, inputs: Arrays) -> List[np.ndarray]:
    """Answers of the original model to a few samples at a time."""
    batch = _count_batch(inputs)
    starts = range(0, len(inputs[0]), batch)
    parts = [original(tuple(array[at : at + batch] for array in inputs)) for at in starts]
    return [np.concatenate(arrays) for arrays in zip(*parts)]


def _check_rows(answers: Sequence[np.ndarray], parts: Sequence[np.ndarray], inputs: Arrays) -> None:
    for number, (a, b) in enumerate(zip(answers, parts)):
        if a.shape[1:] != b.shape[1:]:
            text = (
                "output %d of the model has a row of shape %s for some samples and %s for those of size %s: "
                "let the model pool over the dimensions that model.bucket_dims names"
            )
            raise UserError(text % (number, a.shape[1:], b.shape[1:], inputs[0].shape[1:]))

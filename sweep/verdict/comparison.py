"""Two stored trials side by side: do they answer alike, which was right, which answers sooner.

The answers are those of the scoring pass, or of the timed windows where it is gone or an earlier version had none; the
trials may come from different sweeps and machines. Where the counts show nothing, notes say so: two percentages beside
each other look like a finding.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep import files
from sweep.spec import Json, Status, UserError, to_json
from sweep.store.layout import OutputsFolder, score_folder
from sweep.text import count, status_text, to_single_line
from sweep.verdict import alternatives
from sweep.verdict.stats import agreement, intervals

if TYPE_CHECKING:
    import numpy as np

    from sweep.store.query import Stored

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Item:
    """A sample that the two answered differently; None if an answer or the label is not known."""

    index: int
    a: int | None
    b: int | None
    label: int | None
    original: int | None  # the answer of A's original model


@dataclass(frozen=True)
class Latency:
    """Medians of all requests in ms, and their ratio. A count of 0 means a number on record, without samples."""

    a_ms: float
    b_ms: float
    requests_a: int
    requests_b: int
    repeats_a: int
    repeats_b: int
    ratio: float  # a / b
    low: float | None  # Student's t interval of the repeats' medians; None from fewer than two repeats
    high: float | None


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. `answers` holds the values of `agreement.compare`, with A as the reference."""

    a: str
    b: str
    answered_a: int
    answered_b: int
    common: int
    answers: Json
    items: tuple[Item, ...]
    latency: Latency | None
    notes: tuple[str, ...]
    confidence: float


def compare(a: "Stored", b: "Stored", outputs: Path, confidence: float = 0.95) -> Comparison:
    """Compare the stored answers and latencies of two trials.

    Args:
        outputs: the folder with the store that holds labels and the original model's answers.

    Raises:
        UserError: one of them has no stored answers, or they answer different questions.
    """
    import numpy as np

    store = OutputsFolder(outputs.absolute()).store
    index_a, outputs_a = _load_answers(a, store)
    index_b, outputs_b = _load_answers(b, store)
    digests, notes = _check_same_question(a, b)
    shapes = [[array.shape[1:] for array in arrays] for arrays in (outputs_a, outputs_b)]
    if shapes[0] != shapes[1]:
        names = [", ".join(map(str, map(list, group))) for group in shapes]
        raise UserError(f"an answer of A has shape {names[0]}, one of B {names[1]}: they are not of the same task")
    common, in_a, in_b = np.intersect1d(index_a, index_b, assume_unique=True, return_indices=True)
    if not len(common):
        raise UserError("no item was answered by both: a longer effort.window_seconds reaches more of the data")
    known = _Known(a, digests, store, notes)
    labels = None if known.labels is None else known.labels[common]
    outputs_a, outputs_b = ([array[at] for array in arrays] for arrays, at in ((outputs_a, in_a), (outputs_b, in_b)))
    known.reading = known.reading.select(common)
    answers = agreement.compare(outputs_a, outputs_b, labels, known.task, confidence, known.reading)
    items = _list_items(common, outputs_a[0], outputs_b[0], labels, known) if answers["agreement"] is not None else ()
    notes += _note_processors(a, b)
    for name, trial in (("A", a), ("B", b)):
        if trial.record.status is not Status.OK:
            notes.append(f"{name} is {status_text(trial.record.status)}: {to_single_line(trial.record.reason)}")
    sizes = [trial.record.settings.get("request_batch", trial.record.settings.get("batch")) for trial in (a, b)]
    if sizes[0] != sizes[1]:
        notes.append(f"a request holds {count(sizes[0], 'item')} in A, {sizes[1]} in B: latencies are of requests")
    loads = [alternatives.describe_load(trial.record) for trial in (a, b)]
    if loads[0] != loads[1]:
        notes.append(f"A was measured under {loads[0]}, B under {loads[1]}: their latencies answer different questions")
    return Comparison(
        a=_describe_trial(a),
        b=_describe_trial(b),
        answered_a=len(index_a),
        answered_b=len(index_b),
        common=len(common),
        answers=answers,
        items=items,
        latency=_compare_latency(a, b, confidence),
        notes=tuple(notes),
        confidence=confidence,
    )


def _note_processors(a: "Stored", b: "Stored") -> list[str]:
    """A note where the answers come from processors of two kinds, on which those of int8 depend."""
    first, second = (trial.record.score for trial in (a, b))
    if first is None or second is None or first.processor == second.processor:
        return []
    return [f"the answers of A are from {first.processor}, those of B from {second.processor}: answers depend on it"]


def _describe_trial(trial: "Stored") -> str:
    return f"{trial.record.label}  (key {trial.record.key[:6]}, sweep {trial.history.folder.name}, {trial.host})"


def _load_answers(trial: "Stored", store: Path) -> "tuple[Array, list[Array]]":
    """Indexes of the answered samples, ascending, and the outputs."""
    from sweep.worker.arrays import merge_outputs
    from sweep.worker.scoring import read_answers

    record = trial.record
    if not trial.is_measured:
        raise UserError(f"{record.label} was {record.origin.value}, not measured: it has no stored answers")
    if not record.repeats:
        raise UserError(f"{record.label} has no answers: {status_text(record.status)}, {to_single_line(record.reason)}")
    if record.score is not None and (folder := score_folder(store, record.score.key)).is_dir():
        return read_answers(folder)
    parts = []
    for path in (trial.file(repeat.outputs) for repeat in record.repeats):
        try:
            parts += [files.load_arrays(path)] if path else []
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):  # as good as gone; another repeat may have them
            continue
    if not parts:
        raise UserError(
            f"the answers of {record.label} are gone: its sweep's folder {trial.history.folder} needs repeats/ too"
        )
    return merge_outputs(parts)


def _check_same_question(a: "Stored", b: "Stored") -> tuple[Json, list[str]]:
    """Digests of A's data and original model, and notes on what limits the comparison."""
    of_a, of_b = a.reference() or {}, b.reference() or {}
    if of_a and of_a.get("data") == of_b.get("data"):
        if of_a["model"] == of_b["model"]:
            return of_a, []
        return of_a, ["the original models differ: `original` is the answer of A's"]
    trials = [stored.history.trials.get(stored.record.key) for stored in (a, b)]
    data = [
        to_json(trial.data) if trial else stored.record.settings.get("data")
        for trial, stored in zip(trials, (a, b), strict=True)
    ]
    if data[0] != data[1] or of_a.get("items") != of_b.get("items"):
        names = [
            f"{stored.record.settings.get('data')} ({of.get('items', 'unknown')} items)"
            for stored, of in ((a, of_a), (b, of_b))
        ]
        raise UserError(f"A answers {names[0]}, B {names[1]}: only answers to the same data can be compared")
    return of_a, ["the inputs were prepared on each host, and are not the same to the last bit"] if of_a else []


class _Known:
    """What the store knows about the samples; a copied sweep may have come without its store."""

    def __init__(self, a: "Stored", digests: Json, store: Path, notes: list[str]) -> None:
        from sweep.worker import arrays

        self.labels: Array | None = None
        self.original: Array | None = None
        trial = a.history.trials.get(a.record.key)
        self.reading = agreement.Reading.of(trial.data if trial else {})
        agrees = (a.record.agreement or {}).get("agreement")
        self.task = "other" if a.record.agreement and agrees is None else "classification"
        data, reference = (store / kind / str(digests.get(kind)) for kind in ("data", "reference"))
        if data.is_dir():
            self.labels, self.task = arrays.read_labels(data)
            self.reading = agreement.Reading.of(trial.data if trial else {}, data)
        else:
            notes.append(f"who was right is not known: the labels are not in {store}")
        if reference.is_dir():
            answers = arrays.read_reference(reference)[0]
            pair = agreement.pair_classes(answers, answers, self.labels, self.reading)
            self.original = None if pair is None else pair.original


def _list_items(common: "Array", a: "Array", b: "Array", labels: "Array | None", known: "_Known") -> tuple[Item, ...]:
    """The samples with another class, or with another class in any step that counts."""
    pair = agreement.pair_classes(a, b, labels, known.reading)
    assert pair is not None
    same = pair.original == pair.build
    if same.ndim > 1:
        same = (same | ~agreement.find_counted(same.shape, labels, known.reading)).reshape(len(same), -1).all(axis=1)
    return tuple(
        Item(
            int(common[at]),
            _class_at(pair.original, at),
            _class_at(pair.build, at),
            _class_at(labels, at),
            _class_at(known.original, int(common[at])),
        )
        for at in (~same).nonzero()[0]
    )


def _class_at(classes: "Array | None", at: int) -> int | None:
    """None if it is not known, or if the sample has many."""
    if classes is None or classes[at].size != 1:
        return None
    value = int(classes[at].ravel()[0])
    return value if value >= 0 else None


def _compare_latency(a: "Stored", b: "Stored", confidence: float) -> Latency | None:
    import numpy as np

    samples = [trial.latencies_ms() for trial in (a, b)]
    medians: list[float | None] = [
        float(np.median(np.concatenate(list(arrays.values()))))
        if arrays
        else (trial.record.metrics or {}).get("latency_ms_p50")
        for arrays, trial in zip(samples, (a, b), strict=True)
    ]
    if not medians[0] or not medians[1]:
        return None
    of_repeats = [{index: float(np.median(array)) for index, array in arrays.items()} for arrays in samples]
    # Blocks pair up only the repeats of one sweep.
    together = a.history.folder == b.history.folder
    values: list[Any] = [by_index if together else list(by_index.values()) for by_index in of_repeats]
    spread = intervals.ratio_interval(values[0], values[1], confidence)
    n_a, n_b = (sum(array.size for array in arrays.values()) for arrays in samples)
    ratio = medians[0] / medians[1]
    ends: tuple[float | None, float | None] = (None, None)
    if spread is not None and spread.low is not None and spread.high is not None:
        ends = min(spread.low, ratio), max(spread.high, ratio)  # the median of all need not be that of the repeats
    repeats_a, repeats_b = map(len, samples)
    return Latency(medians[0], medians[1], n_a, n_b, repeats_a, repeats_b, ratio, *ends)

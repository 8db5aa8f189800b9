"""Questions to stored sweeps: their history, their trials, the trials that a person names, and the files of those.

A sweep's folder may have been copied from another machine, so files are searched beside its ledger before the place
where the ledger says that they were written.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.spec import Json, Record, Status, StopReason, UserError, from_json, meant, nearest
from sweep.spec.settings import Settings
from sweep.spec.trial import last_name
from sweep.store import ledger
from sweep.text import axis_text

if TYPE_CHECKING:
    import numpy as np

SHOWN = 6  # trials that an error lists


@dataclass(frozen=True)
class Stored:
    """One trial of a stored sweep."""

    history: ledger.History
    record: Record

    @cached_property
    def host(self) -> str:
        """Where it ran: the instance or hardware type, or the CPU of a machine that has no other name."""
        trial = self.history.trials.get(self.record.key)
        hardware = trial.hardware if trial else {}
        name = str(self.record.settings.get("hardware") or "")
        cpu = re.sub(r"\((R|TM|r|tm)\)|@.*| (CPU|Processor)\b", "", str(hardware.get("cpu") or "")).strip()
        if name not in ("local", "") or not (hardware.get("instance_type") or cpu):
            return name
        cores = f", {hardware['cores']} cores" if hardware.get("cores") else ""
        return str(hardware.get("instance_type") or cpu + cores)

    @cached_property
    def row(self) -> Json:
        """What a trial can be selected by: its settings, its sweep, its origin and its status."""
        record = self.record
        more = {"sweep": self.history.folder.name, "origin": record.origin.value, "status": record.status.value}
        return {**record.settings, **more}

    def file(self, recorded: str) -> Path | None:
        """A file of a repeat, wherever its sweep's folder lies now; None if it is gone."""
        if not recorded:
            return None
        parts = Path(recorded).parts
        below = parts[-parts[::-1].index("sweeps") :] if "sweeps" in parts else parts[-4:]  # ID/repeats/NAME/x.npz
        folder = self.history.folder
        places = (folder.joinpath(*below[1:]), folder.parent.joinpath(*below), Path(recorded))
        return next((place for place in places if place.is_file()), None)

    def latencies_ms(self) -> "dict[int, np.ndarray]":
        """Latency of every request in ms, by repeat; repeats without measured samples are left out."""
        from sweep.store import samples

        if not self.is_measured:
            return {}
        paths = {repeat.index: self.file(repeat.samples) for repeat in self.record.repeats}
        arrays = {index: samples.load_samples(str(path)) / 1e6 for index, path in paths.items() if path}
        return {index: array for index, array in arrays.items() if array.size}

    @property
    def is_measured(self) -> bool:
        return self.record.origin.is_evidence

    def reference(self) -> Json | None:
        """Digests of its model, its data and the original model's answers: their names in the store."""
        trial = self.history.trials.get(self.record.key)
        return None if trial is None else ledger.find_reference(self.history.folder, trial)


def trials(outputs: Path, words: Sequence[str]) -> list[Stored]:
    """The trials selected by words like `last batch=5 backend=torch,openvino`: sweeps, and settings of their trials.

    Besides the axes there are `origin`, `status` and `sweep`. Without a sweep the last one is searched.

    Raises:
        UserError: no such sweep, no such axis, or no trial is like that.
    """
    names = list(dict.fromkeys(word for word in words if "=" not in word)) or ["last"]
    histories = {past.folder: past for past in (history(outputs, name) for name in names)}
    stored = [Stored(past, record) for past in histories.values() for record in records(past)]
    if not stored:
        raise UserError(f"no trial in {', '.join(names)}: nothing was declared there")
    rows = [trial.row for trial in stored]
    wanted = parse_wanted([word for word in words if "=" in word], rows)
    chosen = [trial for trial, row in zip(stored, rows, strict=True) if matches(row, wanted)]
    if not chosen:
        raise no_match(rows, wanted)
    return chosen


def trial(outputs: Path, words: str, sweep: str | None = None) -> Stored:
    """The single trial with this label, this beginning of its key or of its MLflow run id, or these settings.

    Args:
        words: one name, or settings like "batch=5 backend=torch" that only one trial has.
        sweep: where to search; without it the last sweep, then (for a name) all others, newest first.

    Raises:
        UserError: there is none, or several.
    """
    newest = history(outputs, sweep or "last")
    matching = _find_by_name(newest, words)
    if not matching and "=" in words:
        matching = trials(outputs, [newest.folder.name, *words.split()])
    if not matching and sweep is None:
        rest = (folder for folder in reversed(ledger.sweeps(outputs.absolute())) if folder != newest.folder)
        matching = next((match for folder in rest if (match := _find_by_name(ledger.History(folder), words))), [])
    if not matching:
        known = [record.label for record in records(newest)]
        where = f"sweep {newest.folder.name}" if sweep else "any sweep"
        near = f"the nearest is {nearest(words, known)}; " if known else ""
        raise UserError(f"no trial {words!r} in {where}: {near}`python -m sweep trials` lists them")
    if len(matching) > 1:
        names = ", ".join(f"{stored.record.label} ({stored.record.key[:6]})" for stored in matching[:SHOWN])
        more = f" and {len(matching) - SHOWN} more" if len(matching) > SHOWN else ""
        raise UserError(f"{len(matching)} trials are {words!r}: {names}{more}; say which, by its label or key")
    return matching[0]


def _find_by_name(history: ledger.History, name: str) -> list[Stored]:
    """Trials with this label, key or run id; if there are none, those whose key or run id begins like this."""
    stored = [Stored(history, record) for record in records(history)]
    names = [(trial, (trial.record.key, history.runs.get(trial.record.key, ""))) for trial in stored]
    exact = [trial for trial, ids in names if name == trial.record.label or name in ids]
    if exact or len(name) < 4:
        return exact
    return [trial for trial, ids in names if any(text.startswith(name) for text in ids)]


def history(outputs: Path, sweep: str) -> ledger.History:
    """The history of a sweep; `sweep` is its id, the beginning of an id, or `last`.

    Raises:
        UserError: there is no such sweep, or its ledger has no beginning.
    """
    past = ledger.History(ledger.find(outputs.absolute(), sweep))
    if not past.header:
        raise UserError(f"the ledger of {past.folder.name} has no beginning: it cannot be read")
    return past


def settings(history: ledger.History) -> Settings:
    return from_json(Settings, history.header["settings"])


def records(history: ledger.History) -> list[Record]:
    """A record for every declared trial; those that a killed sweep did not finish count as stopped."""
    missing = [
        Record(
            key=key,
            label=trial.label,
            settings=trial.settings,
            overrides=trial.overrides,
            status=Status.STOPPED,
            reason="not finished: python -m sweep resume",
            load=trial.load,
            stop=StopReason.UNFINISHED,
        )
        for key, trial in history.trials.items()
        if key not in history.records
    ]
    return [*history.records.values(), *missing]


def parse_wanted(words: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`batch=5 backend=torch,openvino` by name; a setting inside a group by its full name or by its last.

    Raises:
        UserError: a word is not like that, or none of the `rows` of settings has such an axis.
    """
    known = sorted({name for row in rows for name in row})
    wanted = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise UserError(f"{word!r} is not like batch=5")
        alike = [axis for axis in known if axis == name or last_name(axis) == name or axis == last_name(name)]
        if name not in known and len(alike) != 1:
            raise UserError(f"no axis {name!r}: {meant(name, alike or known)}")
        wanted[name if name in known else alike[0]] = value
    return wanted


def matches(settings: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether settings have the wanted values; `batch=1,5` wants either."""
    return all({value, *value.split(",")} & set(_spellings(settings.get(name))) for name, value in wanted.items())


def no_match(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> UserError:
    """The error where no trial is as wanted; it lists the values that there are."""
    values = {name: sorted({axis_text(row.get(name)) for row in rows}) for name in wanted}
    return UserError("no such trial here: there is " + "; ".join(f"{k}={','.join(v)}" for k, v in values.items()))


def _spellings(value: Any) -> tuple[str, str]:
    """How a setting may be typed: as tables show it, or as on the command line of a sweep."""
    return axis_text(value), json.dumps(value, separators=(",", ":"))

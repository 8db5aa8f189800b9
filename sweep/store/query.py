"""What sweeps have left, as verbs ask for it: a sweep's history, its trials, those that a person means, their files.

A sweep's folder may have been copied from another machine: files are looked for beside its ledger, not where the
ledger says that they were written.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweep.spec import Json, Record, Status, StopReason, UserError, digest, meant, nearest, to_json
from sweep.spec.settings import Settings
from sweep.store import ledger
from sweep.text import axis_text

if TYPE_CHECKING:
    import numpy as np

SHOWN = 6  # trials that an error lists


@dataclass(frozen=True)
class Stored:
    """One trial as a sweep has left it."""

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
        """What a trial can be chosen by: its settings, its sweep, where it comes from and how it ended."""
        record = self.record
        whence = {"sweep": self.history.folder.name, "origin": record.origin.value, "status": record.status.value}
        return {**record.settings, **whence}

    def file(self, recorded: str) -> Path | None:
        """A file of a repeat, wherever its sweep's folder lies now; None where it is gone."""
        if not recorded:
            return None
        parts = Path(recorded).parts
        below = parts[-parts[::-1].index("sweeps") :] if "sweeps" in parts else parts[-4:]  # ID/repeats/NAME/x.npz
        folder = self.history.folder
        places = (folder.joinpath(*below[1:]), folder.parent.joinpath(*below), Path(recorded))
        return next((place for place in places if place.is_file()), None)

    def latencies_ms(self) -> "dict[int, np.ndarray]":
        """Latency of every request, ms, by repeat; without repeats whose samples are gone or were never measured.

        What a table reported has no samples, and those of a replay are drawn from its percentiles: neither counts.
        """
        from sweep.store import samples

        if not self.is_measured:
            return {}
        found = {repeat.index: self.file(repeat.samples) for repeat in self.record.repeats}
        arrays = {index: samples.load_samples(str(path)) / 1e6 for index, path in found.items() if path}
        return {index: array for index, array in arrays.items() if array.size}

    @property
    def is_measured(self) -> bool:
        return self.record.origin.is_evidence

    def reference(self) -> Json | None:
        """Digests of its model, data and the original model's answers, as the store names them."""
        trial = self.history.trials.get(self.record.key)
        if trial is None:
            return None
        pair = digest([to_json(trial.model), to_json(trial.data)])
        entries = (entry for entry in ledger.entries(self.history.folder) if entry["kind"] == "reference")
        return next((entry["result"] for entry in entries if entry["pair"] == pair), None)


def trials(outputs: Path, words: Sequence[str]) -> list[Stored]:
    """The trials that words like `last batch=5 backend=torch,openvino` choose: sweeps, then what their trials must be.

    Besides the axes, `origin`, `status` and `sweep` can be asked for. Without a sweep it is the last.

    Raises:
        UserError: no such sweep, no such axis, or no trial is like that.
    """
    names = list(dict.fromkeys(word for word in words if "=" not in word)) or ["last"]
    histories = {each.folder: each for each in (history(outputs, name) for name in names)}
    found = [Stored(each, record) for each in histories.values() for record in records(each)]
    if not found:
        raise UserError(f"no trial in {', '.join(names)}: nothing was declared there")
    rows = [each.row for each in found]
    wanted = parse_wanted([word for word in words if "=" in word], rows)
    chosen = [each for each, row in zip(found, rows, strict=True) if matches(row, wanted)]
    if not chosen:
        raise no_match(rows, wanted)
    return chosen


def trial(outputs: Path, words: str, sweep: str | None = None) -> Stored:
    """The one trial that is meant by its label, the beginning of its key or of its MLflow run id, or by its settings.

    Args:
        words: one name, or settings like "batch=5 backend=torch" that only one trial has.
        sweep: where it is; without it the last sweep is searched, and by name then all others, newest first.

    Raises:
        UserError: there is none, or several.
    """
    newest = history(outputs, sweep or "last")
    exact = _find_by_name(newest, words)
    if not exact and "=" in words:
        exact = trials(outputs, [newest.folder.name, *words.split()])
    if not exact and sweep is None:
        rest = (folder for folder in reversed(ledger.sweeps(outputs.absolute())) if folder != newest.folder)
        exact = next((found for folder in rest if (found := _find_by_name(ledger.History(folder), words))), [])
    if not exact:
        known = [record.label for record in records(newest)]
        where = f"sweep {newest.folder.name}" if sweep else "any sweep"
        near = f"the nearest is {nearest(words, known)}; " if known else ""
        raise UserError(f"no trial {words!r} in {where}: {near}`python -m sweep trials` lists them")
    if len(exact) > 1:
        told = ", ".join(f"{each.record.label} ({each.record.key[:6]})" for each in exact[:SHOWN])
        more = f" and {len(exact) - SHOWN} more" if len(exact) > SHOWN else ""
        raise UserError(f"{len(exact)} trials are {words!r}: {told}{more}; say which, by its label or key")
    return exact[0]


def _find_by_name(history: ledger.History, name: str) -> list[Stored]:
    """Trials with this label, key or run id, or else those whose key or run id begins so."""
    found = [Stored(history, record) for record in records(history)]
    names = [(each, (each.record.key, history.runs.get(each.record.key, ""))) for each in found]
    exact = [each for each, ids in names if name == each.record.label or name in ids]
    if exact or len(name) < 4:
        return exact
    return [each for each, ids in names if any(one.startswith(name) for one in ids)]


def history(outputs: Path, sweep: str) -> ledger.History:
    """What the ledger of a sweep says; `sweep` is its id, the beginning of one, or last.

    Raises:
        UserError: there is no such sweep, or its ledger has no beginning.
    """
    found = ledger.History(ledger.find(outputs.absolute(), sweep))
    if not found.header:
        raise UserError(f"the ledger of {found.folder.name} has no beginning: it cannot be read")
    return found


def settings(history: ledger.History) -> Settings:
    return Settings.from_json(history.header["settings"])


def records(history: ledger.History) -> list[Record]:
    """A record for every declared trial: what a killed sweep has not settled counts as stopped."""
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


def parse_wanted(words: Sequence[str], found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """`batch=5 backend=torch,openvino` by name.

    Raises:
        UserError: a word is not like that, or none of the `found` settings has such an axis.
    """
    known = sorted({name for each in found for name in each})
    wanted = {}
    for text in words:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text!r} is not like batch=5")
        if name not in known:
            raise UserError(f"no axis {name!r}: {meant(name, known)}")
        wanted[name] = value
    return wanted


def matches(found: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether settings have the values wanted; several values of an axis are typed as `batch=1,5`."""
    return all({value, *value.split(",")} & set(_spellings(found.get(name))) for name, value in wanted.items())


def no_match(found: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> UserError:
    """The error for wishes that no trial meets: what there is."""
    seen = {name: sorted({axis_text(each.get(name)) for each in found}) for name in wanted}
    return UserError("no such trial here: there is " + "; ".join(f"{k}={','.join(v)}" for k, v in seen.items()))


def _spellings(value: Any) -> tuple[str, str]:
    """How a setting may be typed: as tables show it, or as the sweep's command line has it."""
    return axis_text(value), json.dumps(value, separators=(",", ":"))

"""What sweeps have left, as the verbs ask for it: a sweep's history, its trials, those that a person means, their files.

A sweep's folder may have been copied from another machine: files are looked for beside its ledger, not where the
ledger says that they were written.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sweep import ledger
from sweep.hints import meant
from sweep.report import axis_text
from sweep.settings import Settings
from sweep.spec import Record, Status, UserError


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
            key, trial.label, trial.settings, trial.overrides, Status.STOPPED, "not finished: python -m sweep resume"
        )
        for key, trial in history.trials.items()
        if key not in history.records
    ]
    return [*history.records.values(), *missing]


def pairs(words: Sequence[str], found: Iterable[Mapping[str, Any]]) -> dict[str, str]:
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


def like(found: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether settings have the values wanted; several values of an axis are typed as `batch=1,5`."""
    return all({value, *value.split(",")} & set(_texts(found.get(name))) for name, value in wanted.items())


def none_like(found: Sequence[Mapping[str, Any]], wanted: Mapping[str, str]) -> UserError:
    """The error for wishes that no trial meets: what there is."""
    seen = {name: sorted({axis_text(each.get(name)) for each in found}) for name in wanted}
    return UserError("no such trial in this sweep: it has " + "; ".join(f"{k}={','.join(v)}" for k, v in seen.items()))


def _texts(value: Any) -> tuple[str, str]:
    """How a setting may be typed: as tables show it, or as the sweep's command line has it."""
    return axis_text(value), json.dumps(value, separators=(",", ":"))

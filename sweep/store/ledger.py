"""Append-only record of a sweep: the source of truth, from which tables, MLflow and a resume are made.

One JSON object a line with a checksum of itself, flushed to the disk before `append` returns. A process that is killed
while it writes leaves at most one torn last line; it is recognised by its checksum and dropped at the next opening.
"""

import fcntl
import json
import os
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sweep import files
from sweep.spec import Json, Measurement, Record, Trial, UserError, canonical, from_json, to_json
from sweep.store.layout import LEDGER, OutputsFolder, SweepFolder

_MARK = b'{"crc32":"'  # begins every line; then the sum of all that follows it
_BODY = len(_MARK) + 10  # where that begins: behind the sum, a quotation mark and a comma
_REPEAT = b'"kind":"repeat"'
REPRODUCTION = "-reproduction"  # ends the id of a sweep that only runs an old trial again; `last` passes over it
REPORTED = "-reported"  # of an imported table: nothing was run, and `last` never means it


class Ledger:
    """The open ledger of one sweep folder. Only one process holds it at a time.

    Raises:
        UserError: the folder cannot be written, or another process holds the ledger.
    """

    def __init__(self, folder: Path) -> None:
        self.path = SweepFolder(folder).ledger
        self._together = False
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = open(self.path, "a+b", buffering=0)  # noqa: SIM115  # held, with its lock, until `close`
        except OSError as error:
            raise UserError(files.describe_write_error(error, self.path)) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UserError(f"{folder.name} is being run by another process: wait for it, or stop it first") from None
        self._drop_torn_tail()

    def append(self, kind: str, **values: Any) -> None:
        """Write one entry and wait until it is on the disk.

        Raises:
            OSError: the disk is full, for instance; nothing is left of the entry.
        """
        entry = {"kind": kind, "time": time.time(), **to_json(values)}
        body = json.dumps(entry, separators=(",", ":"), allow_nan=False).encode()[1:]
        data, size = _MARK + _crc(body) + b'",' + body + b"\n", os.fstat(self._file.fileno()).st_size
        try:
            while data:
                data = data[self._file.write(data) :]
            if not self._together:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(size)
            raise

    @contextmanager
    def together(self) -> Iterator[None]:
        """Flush the entries that are appended inside once, at the end, instead of one by one."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
            os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def _drop_torn_tail(self) -> None:
        """Cut what follows the last whole line."""
        size = self.path.stat().st_size
        good = sum(len(line) for line, entry in _parse_lines(self.path) if entry is not None or line.endswith(b"\n"))
        if good < size:
            self._file.truncate(good)
            os.fsync(self._file.fileno())


class History:
    """The content of a ledger, read once: the newest record of each trial and every whole repeat."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: Json = {}
        self.trials: dict[str, Trial] = {}
        self.asked: dict[str, Trial] = {}  # trials that became others: `buckets=auto`
        self.records: dict[str, Record] = {}
        self.runs: dict[str, str] = {}  # trial key -> MLflow run id; "" -> the parent's
        self.verdict: Json | None = None
        self.finished = False
        self.torn = 0
        self._repeats: list[bytes | Json] = []
        for line in _read_lines(SweepFolder(folder).ledger):
            if line.startswith(_REPEAT, _BODY) and _is_whole(line):
                self._repeats.append(line)
                self.finished = False  # what comes behind an end goes on
            elif (entry := _parse(line)) is not None:
                self._take(entry)
            else:
                self.torn += 1

    @cached_property
    def repeats(self) -> dict[str, dict[int, Measurement]]:
        """Every whole repeat, by identity and index: what a resumed sweep need not measure again."""
        repeats: dict[str, dict[int, Measurement]] = {}
        for line in self._repeats:
            entry = line if isinstance(line, dict) else (_parse(line) or {})
            measurement = from_json(Measurement, entry["measurement"])
            repeats.setdefault(entry["identity"], {})[measurement.index] = measurement
        return repeats

    def _take(self, entry: Json) -> None:
        kind = entry["kind"]
        if kind == "sweep":
            self.header = entry
        elif kind == "trial":
            trial = from_json(Trial, entry["trial"])
            self.trials[trial.key] = trial
        elif kind == "asked":
            trial = from_json(Trial, entry["trial"])
            self.asked[trial.key] = trial
        elif kind == "repeat":
            self._repeats.append(entry)
        elif kind == "record":
            record = from_json(Record, entry["record"])
            self.records[record.key] = record
        elif kind == "runs":
            self.runs.update(entry["runs"])
        elif kind == "finish":
            self.verdict = entry.get("verdict")
        self.finished = kind in ("finish", "runs") and (self.finished or kind == "finish")


def entries(folder: Path) -> Iterator[Json]:
    """The entries of a sweep's ledger, oldest first, without torn or altered lines."""
    return (entry for _, entry in _parse_lines(SweepFolder(folder).ledger) if entry is not None)


def find_reference(folder: Path, trial: Trial) -> Json | None:
    """What the ledger of a sweep says about a trial's reference; None if it was not loaded there."""
    pairs = (entry for entry in entries(folder) if entry["kind"] == "reference")
    return next((entry["result"] for entry in pairs if entry["pair"] == trial.pair_key), None)


def new_folder(outputs: Path, suffix: str) -> Path:
    """Make the folder of a new sweep, named by the time and `suffix`; the name is the sweep's id.

    Raises:
        UserError: it cannot be made.
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    for more in ("", *(f"-{number}" for number in range(2, 100))):
        folder = OutputsFolder(outputs).sweeps / f"{stamp}{more}{suffix}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(files.describe_write_error(error, outputs)) from None
        return folder
    raise UserError(f"a hundred sweeps began in {outputs} within one second")


def sweeps(outputs: Path) -> list[Path]:
    """The folders of all sweeps that have a ledger, oldest first."""
    return sorted(path.parent for path in OutputsFolder(outputs).sweeps.glob(f"*/{LEDGER}"))


def find(outputs: Path, name: str) -> Path:
    """The folder of a sweep by its id, the unique beginning of an id, or `last`.

    Raises:
        UserError: there is no such sweep, or several.
    """
    folders = sweeps(outputs)
    if not folders:
        raise UserError(f"no sweep in {outputs / 'sweeps'} yet: run one with `python -m sweep -m batch=1,5`")
    if name == "last":
        run = [folder for folder in reversed(folders) if not folder.name.endswith(REPORTED)]
        if not run:
            raise UserError(
                f"no sweep was run in {outputs} yet, only tables imported: name one, like {folders[-1].name}"
            )
        return next((folder for folder in run if not folder.name.endswith(REPRODUCTION)), run[0])
    matching = [folder for folder in folders if folder.name == name] or [f for f in folders if f.name.startswith(name)]
    if len(matching) == 1:
        return matching[0]
    some = ", ".join(folder.name for folder in (matching or folders)[-5:])
    raise UserError(
        f"{'several sweeps begin' if matching else 'no sweep begins'} with {name!r}: choose from {some}, or last"
    )


def _parse_lines(path: Path) -> Iterator[tuple[bytes, Json | None]]:
    """Every line with its entry, or None where the line is not whole."""
    return ((line, _parse(line)) for line in _read_lines(path))


def _read_lines(path: Path) -> Iterator[bytes]:
    if not path.exists():
        return
    with open(path, "rb") as file:
        yield from file


def _parse(line: bytes) -> Json | None:
    if not line.endswith(b"\n"):
        return None
    if line.startswith(_MARK):
        return dict(json.loads(b"{" + line[_BODY:])) if _is_whole(line) else None
    return _parse_old(line)


def _is_whole(line: bytes) -> bool:
    """Whether the checksum fits what follows it."""
    return line.startswith(_MARK) and line[len(_MARK) : _BODY] == _crc(line[_BODY:-1]) + b'",' and line[-1:] == b"\n"


def _parse_old(line: bytes) -> Json | None:
    """A line of an earlier version: its checksum is of the sorted entry, which takes much longer to check."""
    try:
        entry = json.loads(line)
        whole = isinstance(entry, dict) and entry.pop("crc").encode() == _crc(canonical(entry).encode())
    except (ValueError, KeyError, AttributeError):
        return None
    return entry if whole else None


def _crc(text: bytes) -> bytes:
    return b"%08x" % zlib.crc32(text)

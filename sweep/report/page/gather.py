"""What a page is made from: the ledger of a sweep, read once, and those files beside it that exist."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.files import read_json
from sweep.report import story
from sweep.report.names import find_varying, short_name
from sweep.report.plots.drawing import COLOURS
from sweep.spec import Json, Measurement, Record, Status, StopReason, UserError, from_json
from sweep.spec.settings import Settings
from sweep.store import ledger, query
from sweep.store.layout import SweepFolder
from sweep.store.query import Stored
from sweep.text import duration, relative
from sweep.verdict import select
from sweep.verdict.noise import series
from sweep.verdict.repeats import compute_metrics

if TYPE_CHECKING:
    from sweep.verdict.select import Verdict

FINISHED, INTERRUPTED, RUNNING, KILLED = "finished", "interrupted", "running", "killed"
PALETTE = (*COLOURS[:7], "#111111")  # yellow lines are too faint
SHOWN = len(PALETTE)  # trials that are drawn side by side


@dataclass(frozen=True)
class Times:
    """When things happened, by the ledger."""

    repeats: Sequence[tuple[str, Measurement]]  # with the keys of their trials, in the order of measurement
    last: float  # the last entry about the sweep itself
    interrupted: bool  # by its last entry

    @staticmethod
    def of(entries: Iterable[Json]) -> Times:
        repeats, last, interrupted = [], 0.0, False
        for entry in entries:
            kind, when = entry["kind"], float(entry.get("time") or 0.0)
            if kind != "runs":  # sent to MLflow, perhaps a year later
                last = when
            if kind == "repeat":
                repeats.append((str(entry["trial"]), from_json(Measurement, entry["measurement"])))
            elif kind == "finish":
                interrupted = bool(entry.get("interrupted"))
        return Times(repeats, last, interrupted)


@dataclass(frozen=True)
class Facts:
    """Everything that the page of one sweep shows."""

    book: ledger.History
    times: Times
    settings: Settings
    records: Sequence[Record]  # ranked; a trial that has not ended has the numbers of its finished repeats
    verdict: Verdict
    state: str
    plan: Json
    drift: Json
    environment: Json

    @property
    def folder(self) -> Path:
        return self.book.folder

    @property
    def over(self) -> bool:
        """Whether the sweep has ended, so that there is a verdict."""
        return self.state in (FINISHED, INTERRUPTED)

    @property
    def chosen(self) -> str | None:
        """Key of the chosen trial; None while the sweep goes on."""
        return self.verdict.winner if self.over else None

    @cached_property
    def axes(self) -> list[str]:
        """The axes in which the trials differ."""
        return find_varying([record.settings for record in self.records])

    @cached_property
    def good(self) -> list[Record]:
        return [record for record in self.records if record.status is Status.OK and record.metrics]

    @cached_property
    def by_key(self) -> dict[str, Record]:
        return {record.key: record for record in self.records}

    @cached_property
    def place(self) -> dict[str, int]:
        """The number of a trial's row."""
        return {record.key: number for number, record in enumerate(self.records)}

    @cached_property
    def ranks(self) -> dict[str, int]:
        """The rank of a trial that has one, from 1."""
        return {key: rank for rank, key in enumerate(self.verdict.ranking, 1)}

    def stored(self, record: Record) -> Stored:
        return Stored(self.book, record)

    def shorten(self, text: str) -> str:
        """A reason in which the leader has its short name instead of its label."""
        leader = self.by_key.get(self.verdict.winner or next(iter(self.verdict.ranking), ""))
        return text.replace(leader.label, self.name(leader)) if leader is not None and self.axes else text

    def name(self, record: Record) -> str:
        """The settings that tell a trial from the others; if none do, its label."""
        return short_name(record.settings, self.axes) or record.label

    @cached_property
    def best(self) -> list[Record]:
        """The best trials for the drawings, best first; only trials that were measured here, if there are any."""
        here = [record for record in self.good if self.stored(record).is_measured]
        return (here or self.good)[:SHOWN]

    def colour(self, record: Record) -> str:
        """The colour of a trial, the same in every drawing that shows the best trials side by side."""
        keys = [best.key for best in self.best]
        return PALETTE[keys.index(record.key)] if record.key in keys else "#999999"

    @cached_property
    def forecast(self) -> str:
        """The forecast of the plan, `to the first look` if repeats may be added; empty if there was none."""
        known = [seconds for seconds in self.plan.get("forecast_seconds") or [] if isinstance(seconds, (int, float))]
        until = " to the first look" if self.settings.effort.repeats_max else ""
        return duration(sum(known)) + until if known else ""

    @cached_property
    def took(self) -> str:
        """How long the sweep took until its last entry; empty if that is not known."""
        began = float(self.book.header.get("time") or 0.0)
        return duration(max(0.0, self.times.last - began)) if began and self.times.last else ""

    @property
    def outputs(self) -> str:
        """The option that a command needs to find this sweep from here."""
        where = relative(str(self.folder.parent.parent))
        return "" if where == "outputs" else f" --outputs {where}"

    def log(self, record: Record) -> Path | None:
        """The log of a failure, even if the outputs folder was moved; None if it is gone."""
        recorded = record.failure.log if record.failure else None
        if not recorded:
            return None
        path = self.stored(record).file(recorded)
        parts = Path(recorded).parts
        if path is None and "store" in parts:
            here = self.folder.parent.parent.joinpath(*parts[len(parts) - 1 - parts[::-1].index("store") :])
            path = here if here.is_file() else None
        return path


def read(folder: Path, verdict: Verdict | None = None, over: bool = False) -> Facts:
    """The facts of the sweep in a folder.

    Args:
        verdict: if it is known already.
        over: everything is measured, and the ledger is about to say so.

    Raises:
        UserError: there is no ledger, or it has no header.
    """
    book = ledger.History(folder)
    if not book.header:
        raise UserError(f"the ledger of {folder.name} has no beginning: it cannot be read")
    settings = query.settings(book)
    entries = list(ledger.entries(folder))
    times = Times.of(entries)
    done: dict[str, dict[int, Measurement]] = {}
    for key, repeat in times.repeats:
        done.setdefault(key, {})[repeat.index] = repeat
    records = [_with_repeats(book, record, done.get(record.key, {})) for record in query.records(book)]
    chosen = verdict or select.choose(records, settings.objective)
    return Facts(
        book,
        times,
        settings,
        story.sort_results(records, chosen.ranking, settings.objective),
        chosen,
        _state(book, times, over, records),
        read_json(SweepFolder(folder).plan),
        _drift(folder, settings, entries),
        read_json(SweepFolder(folder).environment),
    )


def _with_repeats(book: ledger.History, record: Record, done: Mapping[int, Measurement]) -> Record:
    """A trial that has not ended, with the numbers of its finished repeats; any other trial unchanged."""
    if record.key in book.records or not done:
        return record
    where = Stored(book, record)
    repeats = tuple(done[index] for index in sorted(done))
    here = tuple(replace(m, samples=str(where.file(m.samples) or m.samples)) for m in repeats)
    return replace(record, repeats=repeats, metrics=compute_metrics(replace(record, repeats=here)))


def _state(book: ledger.History, times: Times, over: bool, records: Sequence[Record]) -> str:
    if over:
        cut = any(record.stop is StopReason.INTERRUPTED for record in records)
        return INTERRUPTED if cut else FINISHED
    if book.finished:
        return INTERRUPTED if times.interrupted else FINISHED
    return RUNNING if _held(SweepFolder(book.folder).ledger) else KILLED


def _held(path: Path) -> bool:
    """Whether another process holds the lock of this ledger."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


def _drift(folder: Path, settings: Settings, entries: Sequence[Json]) -> Json:
    """The machine's speed by `drift.json`; if the sweep has not written it yet, by the entries so far."""
    document = read_json(SweepFolder(folder).drift)
    if document:
        return document
    seen = series.read(entries)
    drift, levels = series.judge(seen, settings.objective.margin / 2, settings.seed)
    return series.build_document(seen, drift, levels)


def format_day(seconds: float) -> str:
    """A moment for a person, in local time."""
    return time.strftime("%d %B %Y, %H:%M", time.localtime(seconds)).lstrip("0") if seconds else ""

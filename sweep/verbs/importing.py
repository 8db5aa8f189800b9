"""`python -m sweep import`: published tables become sweeps whose trials were reported, not measured.

A table is checked as a whole before anything is written. Then it gets a sweep folder of its own, and runs in MLflow.
`plausibility` judges every row: a number that cannot be true is `rejected`, with a sentence that says why.
"""

import fcntl
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from sweep import __version__, files
from sweep.backends.replay import tables as reported
from sweep.backends.replay.tables import Row, same_model
from sweep.spec import Failure, FailureKind, Json, Origin, Record, Status, UserError, meant
from sweep.spec.metrics import COST
from sweep.spec.settings import Gates, Settings
from sweep.store import ledger
from sweep.text import count, relative
from sweep.verbs.arguments import OUTPUTS, Outputs
from sweep.verdict import plausibility, select
from sweep.verdict.costs import money

EXPERIMENT = "reported"  # of MLflow: its own, so that pages of measured trials stay free of it
FLAGGED = 20  # rows that are listed; `trials SWEEP` has them all


@dataclass(frozen=True)
class Table:
    """One table, read and checked."""

    path: Path
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def digest(self) -> str:
        return reported.digest_rows(self.rows)


def list_shipped() -> None:
    """The tables that come with sweep, one line each."""
    print("tables that come with sweep; import one with `python -m sweep import NAME`:")
    for name, path in reported.shipped().items():
        rows = reported.read(path)
        models = sorted({row.model for row in rows})
        print(f"  {name:<26} {count(len(rows), 'row'):>9}  {', '.join(models[:3])}{', ...' if len(models) > 3 else ''}")


def run(names: Sequence[str], outputs: Path, tracking_uri: str | None = None) -> int:
    """Import all of the tables or none, and return the exit status.

    Raises:
        UserError: a table is not there or not whole; nothing was imported.
    """
    tables = [Table(path, reported.read(path)) for path in dict.fromkeys(reported.find(name) for name in names)]
    from sweep.config import compose

    settings = replace(compose.load_settings(), name=EXPERIMENT, outputs=str(outputs))
    if tracking_uri:
        settings = replace(settings, tracking={"name": "server", "uri": tracking_uri})
    types = compose.load_hardware_types()
    for table in tables:
        _import_table(table, settings, types)
    return 0


def make_records(table: Table, sweep: str, types: Sequence[Mapping[str, Any]], limits: Gates) -> list[Record]:
    """A record for every row, without repeats and intervals: the spread of a published number is not known."""
    return [_record(table, row, sweep, plausibility.judge(row, types, limits)) for row in table.rows]


def load_reported(outputs: Path, measured: Sequence[Record], include: Sequence[str]) -> list[Record]:
    """The records of imported tables about the models that were measured, of each result the newest import.

    Args:
        include: values of `--include`; only "reported" is allowed, and without it nothing is loaded.

    Raises:
        UserError: `include` has another value, or no table was imported.
    """
    for word in include:
        if word != "reported":
            raise UserError(f"--include {word}: {meant(word, ['reported'])}")
    if not include:
        return []
    folders = _folders(outputs)
    if not folders:
        raise UserError("no published table is imported yet: `python -m sweep import` lists those that come with sweep")
    models = list(dict.fromkeys(str(record.settings.get("model")) for record in measured))
    have = {record.key for record in measured}
    everything = [record for folder in folders for record in ledger.History(folder).records.values()]
    newest = {record.key: record for record in sorted(everything, key=lambda record: record.started)}
    beside = []
    for record in newest.values():
        ours = next((name for name in models if same_model(record.settings.get("model"), name)), None)
        if record.key not in have and ours is not None:
            # One model has one name in a table.
            beside.append(replace(record, settings={**record.settings, "model": ours}))
    return beside


def _import_table(table: Table, settings: Settings, types: Sequence[Mapping[str, Any]]) -> None:
    outputs = settings.outputs_path
    with _lock_imports(outputs):
        folder, finished = _find_earlier(outputs, table.digest)
        if folder is not None and finished:
            print(f"{table.name}: already imported as {folder.name}")
            return
        folder = folder or ledger.new_folder(outputs, ledger.REPORTED)
        rows = make_records(table, folder.name, types, settings.gates)
        problem = _write(table, folder, settings, rows)
    _print_summary(table, folder, rows)
    if problem:
        print(f"  {problem}")


def _write(table: Table, folder: Path, settings: Settings, imported: Sequence[Record]) -> str | None:
    """Write the ledger and the tables and send the runs to MLflow; the problem that MLflow had, if any."""
    from sweep.report import tables
    from sweep.report.mlflow import markdown, tracker

    command = f"python -m sweep import {table.name}"
    verdict = select.choose(imported, settings.objective)
    book = ledger.Ledger(folder)
    try:
        with book.together():
            about = {"name": table.name, "path": str(table.path), "digest": table.digest, "rows": len(table.rows)}
            book.append("sweep", id=folder.name, settings=settings, command=command, version=__version__, table=about)
            for record in imported:
                book.append("record", record=record)
        own = folder / table.path.name
        shutil.copyfile(table.path, own)
        left = [own, *tables.write(imported, folder)]
        book.append("finish", verdict=verdict, interrupted=False)
        text = markdown.describe(settings, None, imported, verdict, [command])
        paths = tuple(str(path) for path in left)
        sent = tracker.send(tracker.SendRequest(str(folder), settings, paths, text), imported, verdict)
        if sent.runs:
            book.append("runs", runs=sent.by_key)
    except OSError as error:
        raise UserError(files.describe_write_error(error, folder)) from None
    finally:
        book.close()
    return sent.problem


def _folders(outputs: Path) -> list[Path]:
    return [folder for folder in ledger.sweeps(outputs) if folder.name.endswith(ledger.REPORTED)]


def _find_earlier(outputs: Path, digest: str) -> tuple[Path | None, bool]:
    """The folder of an earlier import of this table, and whether that import was finished."""
    for folder in _folders(outputs):
        history = ledger.History(folder)
        if (history.header.get("table") or {}).get("digest") == digest:
            return folder, history.finished
    return None, False


@contextmanager
def _lock_imports(outputs: Path) -> Iterator[None]:
    """Hold the lock on imports: two that start together would each miss the other and write everything twice."""
    try:
        outputs.mkdir(parents=True, exist_ok=True)
        lock = open(outputs / ".import.lock", "w")  # noqa: SIM115  # closed below
    except OSError as error:
        raise UserError(files.describe_write_error(error, outputs)) from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _record(table: Table, row: Row, sweep: str, flags: Sequence[Failure]) -> Record:
    status, reason, failure = row.status, row.reason or "", None
    if flags:
        status = Status.REJECTED
        reason = "; ".join(flag.summary for flag in flags)
        failure = Failure(flags[0].kind, reason)
    elif status.is_failure:
        failure = Failure(row.failure_kind or FailureKind.UNKNOWN, reason, seconds=row.build_seconds or 0.0)
    metrics = _metrics(row)
    return Record(
        key=row.key,
        label=_label(row),
        settings=_settings(row),
        overrides=(),
        status=status,
        reason=reason,
        origin=Origin.REPORTED,
        failure=failure,
        metrics=metrics or None,
        sweep=sweep,
        started=time.time(),
        source=row.source_facts(f"{table.name}:{row.line}"),
    )


def _metrics(row: Row) -> dict[str, float]:
    known = row.metrics
    cost = money.usd_per_million_items(money.find_rate(known), row.usd_per_hour)
    return known if cost is None else {**known, COST: cost}


def _settings(row: Row) -> Json:
    """The axes that the row states, under the names that measured trials have."""
    axes: Json = {"model": row.model, "hardware": row.hardware, "backend": row.stack}
    for name in ("precision", "batch", "request_batch", "cores", "replicas"):
        if getattr(row, name) is not None:
            axes[name] = getattr(row, name)
    return {**axes, "buckets": []}


def _label(row: Row) -> str:
    parts = [row.model, row.stack, row.precision]
    letters = (("b", row.batch), ("c", row.cores), ("r", row.replicas if row.replicas != 1 else None))
    parts += [f"{letter}{value}" for letter, value in letters if value is not None]
    if row.request_batch is not None and row.request_batch != row.batch:
        parts.append(f"q{row.request_batch}")
    return "-".join(part for part in parts if part) + "@" + row.instance


def _print_summary(table: Table, folder: Path, imported: Sequence[Record]) -> None:
    counts = Counter(record.status for record in imported)
    words = [f"{counts[s]} {s.value.replace('_', ' ')}" for s in Status if counts[s] and s is not Status.REJECTED]
    refused = sum(row.status is Status.REJECTED for row in table.rows)
    flagged = [(row, r) for row, r in zip(table.rows, imported, strict=True) if row.status is not r.status]
    words += [f"{refused} rejected by the source"] if refused else []
    words += [f"{len(flagged)} flagged implausible"]
    print(f"{table.name}: {count(len(imported), 'row')}: {', '.join(words)}; sweep {folder.name}")
    for row, record in flagged[:FLAGGED]:
        print(f"  {table.name}:{row.line}  {record.label}\n      {record.reason}")
    if len(flagged) > FLAGGED:
        print(f"  and {len(flagged) - FLAGGED} more: python -m sweep trials {folder.name}")
    known = Counter(name for row in table.rows for name in row.mistakes)
    if known:
        print("  known mistakes of the sources, which the numbers alone do not show:")
    for name, rows in known.most_common():
        print(f"    {name}, {count(rows, 'row')}: {reported.mistakes()[name]}")
    print(f"  files: {relative(str(folder))}")


def import_tables(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE...]", help="A CSV file or the name of a shipped table.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server; default: the store in outputs.")] = None,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Import published results, marked as reported and checked for plausibility; without a table, list them."""
    if not tables:
        list_shipped()
        return 0
    return run(tables, outputs.absolute(), tracking_uri)

"""The verb `trials`: every declared trial of a sweep and how it ended."""

import json
from collections.abc import Sequence
from pathlib import Path

from sweep.spec import Record
from sweep.spec.settings import Settings
from sweep.store import ledger, query
from sweep.verbs.arguments import OUTPUTS, AsJson, Include, Outputs, SweepName
from sweep.verdict import select


def trials(
    sweep: SweepName = "last",
    as_json: AsJson = False,
    include: Include = None,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Every declared trial of a sweep and how it ended."""
    from sweep.report import tables

    history = query.history(outputs, sweep)
    records = with_reported(outputs, history, include)
    if as_json:
        print(json.dumps(tables.trial_rows(records, history.runs), indent=1))
        return
    show(history, records, query.settings(history))


def with_reported(outputs: Path, history: ledger.History, include: Sequence[str] | None) -> list[Record]:
    """The records of a sweep, followed by those of imported tables where `--include` says so."""
    from sweep.verbs import importing

    records = query.records(history)
    return [*records, *importing.load_reported(outputs.absolute(), records, include or [])]


def show(
    history: ledger.History, records: Sequence[Record], settings: Settings, verdict: select.Verdict | None = None
) -> None:
    """Print the ranked table, the verdict and the commands for what comes next, as a sweep does at its end."""
    from sweep.engine import summary
    from sweep.report.terminal.display import Display

    verdict = verdict or select.choose(records, settings.objective)
    Display().results(
        records, verdict, settings, summary.list_next_steps(history.folder, verdict, records, history.runs)
    )

"""The verb that asks what would be if: `best`. `python -m sweep best --help`."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweep.spec import Record
from sweep.spec.settings import Settings
from sweep.store import ledger, query
from sweep.verdict import select
from sweep.verdict.buckets import metrics as bucket_metrics

Include = Annotated[list[str] | None, typer.Option(help="`reported`: also what imported tables say of the same model.")]


def best(
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHANGE...]",
            help="Like objective=min_cost objective.latency_ms_p99_max=20 objective.price=spot price.inf2_xlarge=0.31 "
            "fleet.items_per_s=1000 traffic=lengths.csv",
        ),
    ] = None,
    sweep: Annotated[str, typer.Option(help="A sweep's id, its beginning, or last.")] = "last",
    include: Include = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    outputs: Annotated[Path, typer.Option(help="The outputs folder.")] = Path("outputs"),
) -> None:
    """What to choose by other limits, prices, loads or lengths, from what is stored, and what would change that."""
    from sweep.report.terminal import whatif as telling
    from sweep.report.terminal.display import Display
    from sweep.verdict.costs import prices
    from sweep.verdict.whatif import answers, flips

    history = query.history(outputs, sweep)
    found = [query.Stored(history, record) for record in with_reported(outputs, history, include)]
    names = sorted({answers.hardware_of(each.record) for each in found})
    settings = query.settings(history)
    question = answers.read(changes or [], settings, names)
    view = answers.View(found, question, prices.read(outputs))
    answer, steps = view.answer(), flips.find(view)
    if as_json:
        print(json.dumps(telling.plain(answer, steps), indent=1))
        return
    asked = replace(settings, objective=question.objective, fleet=question.fleet)
    show(history, answer.records, asked, answer.verdict)
    display = Display()
    display.show(telling.parts(answer, steps, question.fleet, question.objective.price, display.width))
    leader = answer.verdict.winner or next(iter(answer.verdict.ranking), None)
    for record in answer.records:
        if record.key == leader and (lines := bucket_metrics.lines(record)):
            print("\n".join(["", record.label, *(f"  {line}" for line in lines)]))


def with_reported(outputs: Path, history: ledger.History, include: Sequence[str] | None) -> list[Record]:
    """The records of a sweep and, where it is asked for, what imported tables say beside them."""
    from sweep.verbs import importing

    found = query.records(history)
    return [*found, *importing.beside(outputs.absolute(), found, include or [])]


def show(
    history: ledger.History, found: Sequence[Record], settings: Settings, verdict: select.Verdict | None = None
) -> None:
    """The ranked table, the verdict and the lines to go on with, as at the end of a sweep."""
    from sweep.engine import summary
    from sweep.report.terminal.display import Display

    verdict = verdict or select.verdict(found, settings.objective)
    Display().results(found, verdict, settings, summary.lines(history.folder, verdict, found, history.runs))

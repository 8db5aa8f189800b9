"""The verbs: look at what sweeps have left, carry on, reproduce. `python -m sweep VERB --help`. Imports all."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweep.spec import Status, UserError
from sweep.store import ledger, query
from sweep.text import one_line
from sweep.verbs import best, buckets, plots, prices, report
from sweep.verdict import select, wording

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look at sweeps, carry on, reproduce.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
builds_app = typer.Typer(no_args_is_help=True, help="The build store: list, explain, clean.", rich_markup_mode=None)
app.add_typer(builds_app, name="builds")
app.add_typer(plots.app, name="plot")
app.command()(plots.compare)
app.command("buckets")(buckets.buckets)
app.command()(best.best)
app.add_typer(prices.app, name="prices")
app.command()(report.report)

Outputs = Annotated[Path, typer.Option(help="The outputs folder.")]
SweepName = Annotated[str, typer.Argument(metavar="[SWEEP|last]", help="A sweep's id, its beginning, or last.")]
OUTPUTS = Path("outputs")


def run(arguments: Sequence[str]) -> int:
    """Run one verb; its exit status."""
    try:
        status = app(list(arguments), standalone_mode=False, prog_name="python -m sweep")
    except Exception as error:
        # Typer has click, or a copy of its own, depending on its version: its errors are told by what they can do.
        if hasattr(error, "format_message"):
            raise UserError(one_line(error.format_message())) from None
        if type(error).__name__ == "Abort":
            return 130
        raise
    return int(status or 0)


@app.command()
def trials(
    sweep: SweepName = "last",
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    include: best.Include = None,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Every declared trial of a sweep and how it ended."""
    from sweep.report import tables

    history = query.history(outputs, sweep)
    found = best.with_reported(outputs, history, include)
    if as_json:
        print(json.dumps(tables.trial_rows(found, history.runs), indent=1))
        return
    best.show(history, found, query.settings(history))


@app.command()
def why(
    settings: Annotated[list[str], typer.Argument(help="Like batch=5 cores=4.")],
    sweep: Annotated[str, typer.Option(help="A sweep's id, its beginning, or last.")] = "last",
    outputs: Outputs = OUTPUTS,
) -> None:
    """Why trials were not chosen, did not work or were never tried, from what is stored."""
    history = query.history(outputs, sweep)
    found = query.records(history)
    wanted = query.pairs(settings, [record.settings for record in found])
    chosen = [record for record in found if query.like(record.settings, wanted)]
    if not chosen:
        raise query.none_like([record.settings for record in found], wanted)
    verdict = select.verdict(found, query.settings(history).objective)
    for record in chosen:
        reason = verdict.reasons.get(record.key) or (
            "chosen: " + verdict.sentence if record.key == verdict.winner else record.reason
        )
        print(f"{record.label}  {record.status.value.replace('_', ' ')}\n  {reason}")
        for line in wording.happened(record):
            print(f"  {line}")
        if record.failure is not None and record.failure.log:
            print(f"  log      {record.failure.log}")
            if record.failure.command:
                print(f"  again    {record.failure.command}")


@app.command("import")
def import_(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE...]", help="A CSV file or the name of a shipped table.")
    ] = None,
    tracking_uri: Annotated[str | None, typer.Option(help="An MLflow server; default: the store in outputs.")] = None,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Bring in published results, marked as reported and judged by what can be true; without a table: list them."""
    from sweep.verbs import importing

    if not tables:
        importing.list_shipped()
        return 0
    return importing.run(tables, outputs.absolute(), tracking_uri)


@app.command("verify")
def verify_(
    sweep: SweepName = "last",
    tolerance: Annotated[float, typer.Option(help="Relative difference that passes.")] = 0.2,
    table: Annotated[
        list[str] | None, typer.Option(help="Published tables to compare with; default: all that come with sweep.")
    ] = None,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Compare what was measured with published numbers: 0 within the tolerance, 3 not, 4 nothing comparable."""
    from sweep.verbs import verify as published

    return published.verify(query.history(outputs, sweep), table or [], tolerance)


@app.command()
def resume(sweep: SweepName = "last", outputs: Outputs = OUTPUTS) -> int:
    """Finish a sweep or a search that was stopped or killed: what was measured stands."""
    from sweep.config import command_line
    from sweep.config.command_line import Job
    from sweep.engine import Sweep
    from sweep.engine.search import loop as search

    history = query.history(outputs, sweep)
    if history.folder.name.endswith(ledger.REPORTED):
        raise UserError(f"{history.folder.name} is an imported table: there is nothing to run")
    if search.stored(history.folder) is not None:  # it also spends what is left of its budget
        return command_line.run(search.resume(history.folder))
    stopped = [record for record in query.records(history) if record.status is Status.STOPPED]
    open_keys = {record.key for record in stopped if not select.stopped_early(record)}
    if not open_keys and history.finished:
        print(f"sweep {history.folder.name} is complete: nothing to do")
        return 0
    settings = replace(query.settings(history), outputs=str(outputs.absolute()))
    jobs = [Job(trial.overrides, trial) for trial in (*history.trials.values(), *history.asked.values())]
    return Sweep(settings, command=f"python -m sweep resume {history.folder.name}", history=history).complete(jobs)


@app.command("reproduce")
def reproduce_(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="An MLflow run id, or a trial's key.")],
    tracking_uri: Annotated[
        str | None, typer.Option(help="Where the run is; default: the store in the outputs folder.")
    ] = None,
    trust: Annotated[bool, typer.Option(help="Import the model and data factories that the run names.")] = False,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Run a past trial again from its MLflow run alone, and say whether the result is the same."""
    from sweep.verbs import reproduce as past

    return past.reproduce(run_id, outputs.absolute(), tracking_uri, trust)


@app.command()
def sync(sweep: SweepName = "last", outputs: Outputs = OUTPUTS) -> int:
    """Send a sweep's ledger to MLflow: what is there already is not doubled."""
    from sweep.engine import summary
    from sweep.report.mlflow import markdown, tracker

    history = query.history(outputs, sweep)
    settings, found = query.settings(history), query.records(history)
    verdict = select.verdict(found, settings.objective)
    text = markdown.describe(settings, None, found, verdict, [str(history.header.get("command", ""))])
    logged = tracker.replay(
        settings, history.folder.name, history.folder, found, verdict, summary.files(history.folder), text
    )
    if logged.problem:
        raise UserError(logged.problem)
    book = ledger.Ledger(history.folder)
    book.append("runs", runs={**logged.runs, "": logged.parent})
    book.close()
    print(f"sweep {history.folder.name}: {len(logged.runs)} trials are in MLflow")
    return 0


@app.command("ui")
def ui_(
    port: Annotated[int | None, typer.Option(help="On 127.0.0.1; default: 5000 or the next free one.")] = None,
    sweep: SweepName = "last",
    outputs: Outputs = OUTPUTS,
) -> int:
    """Start the MLflow UI on the right store and print links that open sorted by the objective."""
    from sweep.verbs import ui as pages

    return int(pages.serve(query.settings(query.history(outputs, sweep)), port) or 0)


@app.command("doctor")
def doctor_() -> None:
    """What is here: each backend and hardware type, its version, or what is missing and how to get it."""
    from sweep.verbs import doctor as diagnosis

    diagnosis.show()


@builds_app.command("list")
def builds_list(outputs: Outputs = OUTPUTS) -> None:
    """Every stored build and remembered failure: age, size, seconds it took."""
    from sweep.verbs import doctor as diagnosis

    diagnosis.show_builds(outputs.absolute())


@builds_app.command("explain")
def builds_explain(
    key: Annotated[str, typer.Argument(help="A build's key or its beginning.")], outputs: Outputs = OUTPUTS
) -> None:
    """Everything that made a build what it is."""
    from sweep.verbs import doctor as diagnosis

    diagnosis.explain_build(outputs.absolute(), key)


@builds_app.command("clean")
def builds_clean(
    older_than_days: Annotated[float | None, typer.Option(help="Not used for so many days.")] = None,
    max_mb: Annotated[
        float | None, typer.Option(help="Remove the longest unused until the store is this small.")
    ] = None,
    failures: Annotated[bool, typer.Option(help="Forget remembered failures.")] = False,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Remove builds by age or size; a sweep that needs one builds it again."""
    from sweep.verbs import doctor as diagnosis

    diagnosis.clean_builds(outputs.absolute(), older_than_days, max_mb, failures)

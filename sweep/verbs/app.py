"""The command line of the verbs: `python -m sweep VERB --help`."""

from collections.abc import Callable, Sequence

import typer

from sweep.spec import UserError, exits
from sweep.text import to_single_line
from sweep.verbs import (
    best,
    buckets,
    builds,
    doctor,
    importing,
    plots,
    prices,
    report,
    reproduce,
    resume,
    sync,
    trials,
    ui,
    verify,
    why,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Look at sweeps, resume them, reproduce their trials. Exit status: 0 yes, 1 your mistake, 2 nothing measured, "
    "3 measured and the answer is no, 4 cannot say, 130 interrupted (docs/reference/statuses.md).",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
COMMANDS: tuple[Callable[..., object], ...] = (
    *(trials.trials, why.why, best.best, plots.compare, buckets.buckets, report.report, verify.verify),
    *(reproduce.reproduce, resume.resume, sync.sync, ui.ui, doctor.doctor),
)
for command in COMMANDS:
    app.command()(command)
app.command("import")(importing.import_tables)
app.add_typer(plots.app, name="plot")
app.add_typer(prices.app, name="prices")
app.add_typer(builds.app, name="builds")


def run(arguments: Sequence[str]) -> int:
    """Run one verb; its exit status."""
    try:
        status = app(list(arguments), standalone_mode=False, prog_name="python -m sweep")
    except Exception as error:
        # Depending on its version Typer uses click or a copy of it: their errors have a method in common, not a class.
        if hasattr(error, "format_message"):
            raise UserError(to_single_line(error.format_message())) from None
        if type(error).__name__ == "Abort":
            return exits.INTERRUPTED
        raise
    return int(status or 0)

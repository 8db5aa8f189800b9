"""The verb that makes the page of a sweep, or that of two beside each other. `python -m sweep report --help`."""

from pathlib import Path
from typing import Annotated

import typer

from sweep import files
from sweep.spec import UserError
from sweep.store import query
from sweep.store.layout import SweepFolder
from sweep.store.ledger import History
from sweep.text import relative
from sweep.verdict.regression import compare


def report(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SWEEP|last] [SWEEP]", help="One sweep; or two: what became slower from A to B."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The .html file; default: in the folder of the sweep, of two in that of B.")
    ] = None,
    outputs: Annotated[Path, typer.Option(help="The outputs folder.")] = Path("outputs"),
) -> int:
    """One HTML page of a sweep, also of one that runs or was killed; of two sweeps, what changed (3: a regression)."""
    names = list(sweeps or ["last"])
    if len(names) > 2:
        raise UserError(f"report takes one sweep, or two to compare, not {len(names)}")
    histories = [query.history(outputs, name) for name in names]
    if len(histories) == 2:
        from sweep.verbs.report import run

        before, after = histories
        if before.folder == after.folder:
            raise UserError(f"both are sweep {before.folder.name}: name two sweeps, or one for its page")
        where = output or SweepFolder(after.folder).page_against(SweepFolder(before.folder))
        return run(before, after, where)
    from sweep.report import page

    (history,) = histories
    where = output or SweepFolder(history.folder).page
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        page.write(history.folder, path=where)
    except OSError as error:
        raise UserError(files.cannot_write(error, where)) from None
    print(relative(str(where)))
    return 0


EXIT = {"no regression": 0, "regression": 3, "nothing": 4}


def run(history_a: History, history_b: History, out: Path | None = None) -> int:
    """Print the comparison, write it as a page; the exit status.

    Args:
        history_a: the sweep before; history_b: the one after.
        out: the HTML file to write; None: no page.

    Returns:
        0 no regression, 3 a regression (significantly slower, broken, or with other answers), 4 nothing to compare.

    Raises:
        UserError: both are the same sweep, or the page cannot be written.
    """
    from sweep.report.page import regression as regression_page
    from sweep.report.terminal import regression
    from sweep.report.terminal.display import Display

    comparison = compare(history_a, history_b)
    display = Display()
    display.show(regression.parts(comparison, display.width))
    if out is not None:
        regression_page.write(comparison, out)
        display.show([(f"page       {out}", "")])
    return EXIT[comparison.status]

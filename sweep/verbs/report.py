"""The verb `report`: write the page of a sweep, or compare two sweeps."""

from pathlib import Path
from typing import Annotated

import typer

from sweep import files
from sweep.spec import UserError, exits
from sweep.store import query
from sweep.store.layout import SweepFolder
from sweep.store.ledger import History
from sweep.text import relative
from sweep.verbs.arguments import OUTPUTS, Outputs
from sweep.verdict.regression import compare


def report(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SWEEP|last] [SWEEP]", help="One sweep; or two, to see what became slower."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="The .html file; default: in the folder of the (second) sweep.")
    ] = None,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Write the HTML page of a sweep, even while it runs; of two, say what changed (exit status 3: regression)."""
    names = list(sweeps or ["last"])
    if len(names) > 2:
        raise UserError(f"report takes one sweep, or two to compare, not {len(names)}")
    histories = [query.history(outputs, name) for name in names]
    if len(histories) == 2:
        before, after = histories
        if before.folder == after.folder:
            raise UserError(f"both are sweep {before.folder.name}: name two sweeps, or one for its page")
        where = output or SweepFolder(after.folder).page_against(SweepFolder(before.folder))
        return compare_sweeps(before, after, where)
    from sweep.report import page

    (history,) = histories
    where = output or SweepFolder(history.folder).page
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        page.write(history.folder, path=where)
    except OSError as error:
        raise UserError(files.describe_write_error(error, where)) from None
    print(relative(str(where)))
    return 0


EXIT = {"no regression": exits.OK, "regression": exits.NO, "nothing": exits.CANNOT_SAY}


def compare_sweeps(before: History, after: History, path: Path) -> int:
    """Print how the second sweep differs from the first, and write it as a page.

    Returns:
        0 no regression, 3 a regression (significantly slower, broken, or with other answers), 4 nothing to compare.
    """
    from sweep.report.page import regression as regression_page
    from sweep.report.terminal import regression
    from sweep.report.terminal.display import Display

    comparison = compare(before, after)
    display = Display()
    display.show(regression.make_parts(comparison, display.width))
    regression_page.write(comparison, path)
    display.show([(f"page       {path}", "")])
    return EXIT[comparison.status]

"""The verb that makes the page of a sweep, or that of two beside each other. `python -m sweep report --help`."""

from pathlib import Path
from typing import Annotated

import typer

from sweep import files, stored
from sweep.report import relative
from sweep.spec import UserError


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
    histories = [stored.history(outputs, name) for name in names]
    if len(histories) == 2:
        from sweep import regressions

        before, after = histories
        if before.folder == after.folder:
            raise UserError(f"both are sweep {before.folder.name}: name two sweeps, or one for its page")
        where = output or after.folder / f"report-against-{before.folder.name}.html"
        return regressions.run(before, after, where)
    from sweep.report import page

    (history,) = histories
    where = output or history.folder / page.FILE
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        page.write(history.folder, path=where)
    except OSError as error:
        raise UserError(files.cannot_write(error, where)) from None
    print(relative(str(where)))
    return 0

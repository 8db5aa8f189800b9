"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

OUTPUTS = Path("outputs")
Outputs = Annotated[Path, typer.Option(help="The outputs folder.")]
SweepName = Annotated[str, typer.Argument(metavar="[SWEEP|last]", help="A sweep's id, its beginning, or last.")]
SweepOption = Annotated[str, typer.Option("--sweep", help="A sweep's id, its beginning, or last.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]
Include = Annotated[list[str] | None, typer.Option(help="`reported`: also what imported tables say of the same model.")]

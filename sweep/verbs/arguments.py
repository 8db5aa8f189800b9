"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

OUTPUTS = Path("outputs")
Outputs = Annotated[Path, typer.Option(help="The outputs folder.")]
SweepName = Annotated[str, typer.Argument(metavar="[SWEEP|last]", help="A sweep's id, how it begins, or last.")]
SweepOption = Annotated[str, typer.Option("--sweep", help="A sweep's id, how it begins, or last.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Include = Annotated[list[str] | None, typer.Option(help="`reported` adds imported rows for the same models.")]

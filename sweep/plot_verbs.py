"""The verbs that set trials side by side: `plot bars`, `plot box`, `compare`. `python -m sweep VERB --help`."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep import stored
from sweep.report import relative

if TYPE_CHECKING:
    from sweep.stored import Stored

app = typer.Typer(
    no_args_is_help=True, help="Pictures of stored trials: bars by option, latency boxes.", rich_markup_mode=None
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SWEEP...] [AXIS=VALUE...]", help="Like last batch=5 backend=torch,openvino."),
]
Output = Annotated[
    Path | None, typer.Option(help="A .png, .svg or .pdf file; default: plots/ in the folder of the first sweep.")
]
Outputs = Annotated[Path, typer.Option(help="The outputs folder.")]
OUTPUTS = Path("outputs")


@app.command()
def bars(words: Words = None, output: Output = None, outputs: Outputs = OUTPUTS) -> None:
    """Throughput and accuracy by option; what failed is a gap that says why."""
    from sweep.report import drawing, options

    found = stored.trials(outputs, words or [])
    path = output or _default(found, "bars", words or [])
    drawing.save(lambda: options.draw(found, stored.settings(found[0].history).objective), path)
    print(relative(str(path)))


@app.command()
def box(words: Words = None, output: Output = None, outputs: Outputs = OUTPUTS) -> None:
    """Latency of every request of a few trials, of one sweep or several, as a box plot."""
    from sweep.report import boxes, drawing

    found = stored.trials(outputs, words or [])
    path = output or _default(found, "box", words or [])
    drawing.save(lambda: boxes.draw(found), path)
    print(relative(str(path)))


def _default(found: "Sequence[Stored]", kind: str, words: Sequence[str]) -> Path:
    """`plots/bars-batch=5.png` in the folder of the first sweep: other wishes do not overwrite it."""
    wishes = "-".join([kind, *(word for word in words if "=" in word)])
    return found[0].history.folder / "plots" / (re.sub(r"[^\w.,=-]+", "_", wishes)[:120] + ".png")

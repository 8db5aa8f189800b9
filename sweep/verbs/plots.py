"""The verbs that set trials or lists side by side: `plot bars`, `plot box`, `plot buckets`, `compare`."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweep.spec import UserError, to_json
from sweep.store import query
from sweep.text import relative
from sweep.verbs.arguments import OUTPUTS, AsJson, Outputs

if TYPE_CHECKING:
    from sweep.store.query import Stored

app = typer.Typer(
    no_args_is_help=True,
    help="Pictures of stored trials: bars by option, latency boxes, lists of buckets.",
    rich_markup_mode=None,
)

Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[SWEEP...] [AXIS=VALUE...]", help="For example: last batch=5 backend=torch,openvino"),
]
Output = Annotated[
    Path | None, typer.Option(help="A .png, .svg or .pdf file; default: plots/ in the folder of the first sweep.")
]


@app.command()
def bars(words: Words = None, output: Output = None, outputs: Outputs = OUTPUTS) -> None:
    """Draw throughput and accuracy by option; a failed option is a gap that says why."""
    from sweep.report.plots import drawing, options

    trials = query.trials(outputs, words or [])
    path = output or _default(trials, "bars", words or [])
    drawing.save(lambda: options.draw(trials, query.settings(trials[0].history).objective), path)
    print(relative(str(path)))


@app.command()
def box(words: Words = None, output: Output = None, outputs: Outputs = OUTPUTS) -> None:
    """Draw the latencies of a few trials, of one sweep or several, as a box plot."""
    from sweep.report.plots import boxes, drawing

    trials = query.trials(outputs, words or [])
    path = output or _default(trials, "box", words or [])
    drawing.save(lambda: boxes.draw(trials), path)
    print(relative(str(path)))


@app.command()
def buckets(words: Words = None, output: Output = None, outputs: Outputs = OUTPUTS) -> None:
    """Draw lists of buckets: the lengths of the data, the padding, latency by length and by number of buckets."""
    from sweep.report.plots import drawing
    from sweep.report.plots.buckets import plots as bucket_plots

    keys: dict[Path, set[str]] = {}
    for trial in query.trials(outputs, words or []):
        keys.setdefault(trial.history.folder, set()).add(trial.record.key)
    groups = [
        (folder, name, group) for folder in keys for name, group in bucket_plots.load_groups(folder, keys[folder])
    ]
    if not groups:
        where = ", ".join(folder.name for folder in keys)
        raise UserError(f"no list of buckets was measured for these trials of {where}: run some with buckets=auto")
    if output is not None and len(groups) > 1:
        labels = ", ".join(group.label for _, _, group in groups)
        raise UserError(f"--output is one picture, and these are {len(groups)}: {labels}; say which, like batch=1")
    for folder, name, group in groups:
        path = output or folder / "plots" / f"{name}.png"
        if not drawing.save(partial(bucket_plots.draw, group), path):
            raise UserError(f"nothing is known of the bucket lists of {group.label}: measure one")
        print(relative(str(path)))


def _default(trials: "Sequence[Stored]", kind: str, words: Sequence[str]) -> Path:
    """`plots/bars-batch=5.png` in the folder of the first sweep: another selection gets another file."""
    name = "-".join([kind, *(word for word in words if "=" in word)])
    return trials[0].history.folder / "plots" / (re.sub(r"[^\w.,=-]+", "_", name)[:120] + ".png")


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A label, key, MLflow run id, or 'batch=5 backend=torch'.")],
    b: Annotated[str, typer.Argument(metavar="B", help="The other one.")],
    sweep: Annotated[
        list[str] | None, typer.Option(help="The sweep of both, or given twice: that of A and that of B.")
    ] = None,
    as_json: AsJson = False,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Compare two stored trials: do they answer alike, which is right where they differ, which is faster."""
    from sweep.report.terminal import comparison
    from sweep.verdict import comparison as comparing

    if sweep and len(sweep) > 2:
        raise UserError(f"--sweep is given {len(sweep)} times: once for both trials, or twice, for A and for B")
    where = [None, None] if not sweep else [sweep[0], sweep[-1]]
    first, second = (query.trial(outputs, words, name) for words, name in zip((a, b), where, strict=True))
    if first.record.key == second.record.key and first.history.folder == second.history.folder:
        raise UserError(f"A and B are both {first.record.label}: give two trials, or --sweep twice")
    result = comparing.compare(first, second, outputs)
    print(json.dumps(to_json(result), indent=1) if as_json else "\n".join(comparison.describe(result)))

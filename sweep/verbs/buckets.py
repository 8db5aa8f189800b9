"""The verb that sets lists of buckets side by side. `python -m sweep buckets --help`."""

import json

from sweep.spec import UserError, from_json
from sweep.store import query
from sweep.store.layout import SweepFolder
from sweep.text import relative
from sweep.verbs.arguments import OUTPUTS, AsJson, Outputs, SweepName
from sweep.verdict.buckets.results import ListGroup


def buckets(
    sweep: SweepName = "last",
    as_json: AsJson = False,
    outputs: Outputs = OUTPUTS,
) -> None:
    """Compare lists of buckets: predicted and measured latency, and the numbers of each bucket of the best list."""
    from sweep.report.terminal import buckets as bucket_table
    from sweep.report.terminal.display import Display

    folder = query.history(outputs, sweep).folder
    try:
        content = json.loads(SweepFolder(folder).buckets.read_text())
    except FileNotFoundError:
        raise UserError(
            f"sweep {folder.name} has measured no lists of buckets: run one with buckets=auto, or name another sweep"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {relative(str(SweepFolder(folder).buckets))}: {error}") from None
    if as_json:
        print(json.dumps(content, indent=1))
        return
    display = Display()
    display.show(bucket_table.format_groups(from_json(tuple[ListGroup, ...], content), display.width))

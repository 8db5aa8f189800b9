"""The verb `why`: why trials were not chosen, failed or were never tried."""

from typing import Annotated

import typer

from sweep.report import events
from sweep.store import query
from sweep.text import status_text
from sweep.verbs.arguments import OUTPUTS, Outputs, SweepOption
from sweep.verdict import select


def why(
    settings: Annotated[list[str], typer.Argument(help="Which trials, like batch=5 cores=4.")],
    sweep: SweepOption = "last",
    outputs: Outputs = OUTPUTS,
) -> None:
    """Say why trials were not chosen, failed or were never tried, from stored results."""
    history = query.history(outputs, sweep)
    records = query.records(history)
    wanted = query.parse_wanted(settings, [record.settings for record in records])
    chosen = [record for record in records if query.matches(record.settings, wanted)]
    if not chosen:
        raise query.no_match([record.settings for record in records], wanted)
    verdict = select.choose(records, query.settings(history).objective)
    for record in chosen:
        reason = verdict.reasons.get(record.key) or (
            "chosen: " + verdict.sentence if record.key in verdict.chosen else record.reason
        )
        print(f"{record.label}  {status_text(record.status)}\n  {reason}")
        for line in events.describe_events(record):
            print(f"  {line}")
        if record.failure is not None and record.failure.log:
            print(f"  log      {record.failure.log}")
            if record.failure.command:
                print(f"  again    {record.failure.command}")

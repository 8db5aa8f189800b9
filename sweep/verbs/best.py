"""The verb `best`: choose again under other limits, prices, loads or lengths."""

import json
from dataclasses import replace
from typing import Annotated

import typer

from sweep.store import query
from sweep.verbs.arguments import OUTPUTS, AsJson, Include, Outputs, SweepOption
from sweep.verbs.trials import show, with_reported


def best(
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CHANGE...]",
            help="Like objective=min_cost objective.latency_ms_p99_max=20 objective.price=spot price.inf2_xlarge=0.31 "
            "fleet.items_per_s=1000 traffic=lengths.csv",
        ),
    ] = None,
    sweep: SweepOption = "last",
    include: Include = None,
    as_json: AsJson = False,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Choose again from stored results, under other limits, prices, loads or lengths; say what would change it.

    Exit status 3: trials were measured, and none meets the limits.
    """
    from sweep.engine import summary
    from sweep.report import events
    from sweep.report.terminal import whatif as telling
    from sweep.report.terminal.display import Display
    from sweep.verdict.costs import prices
    from sweep.verdict.whatif import answers, flips

    history = query.history(outputs, sweep)
    trials = [query.Stored(history, record) for record in with_reported(outputs, history, include)]
    names = sorted({answers.hardware_name(trial.record) for trial in trials})
    settings = query.settings(history)
    question = answers.parse_question(changes or [], settings, names)
    view = answers.View(trials, question, prices.read(outputs))
    answer, steps = view.answer(), flips.find_flips(view)
    if as_json:
        print(json.dumps(telling.to_plain(answer, steps), indent=1))
        return summary.find_exit_status(answer.records, answer.verdict)
    changed = replace(settings, objective=question.objective, fleet=question.fleet)
    show(history, answer.records, changed, answer.verdict)
    display = Display()
    if changes and (kept := answers.describe_kept_limits(settings.objective, question.objective)):
        display.note(kept)
    display.show(telling.make_parts(answer, steps, question.fleet, question.objective.price, display.width))
    for record in answer.records:
        if record.key in (answer.verdict.chosen or answer.verdict.ranking[:1]) and (
            lines := events.describe_buckets(record)
        ):
            print("\n".join(["", record.label, *(f"  {line}" for line in lines)]))
    return summary.find_exit_status(answer.records, answer.verdict)

"""The verb `resume`: finish a sweep or a search that was stopped or killed."""

from dataclasses import replace

from sweep.spec import Status, UserError
from sweep.store import ledger, query
from sweep.verbs.arguments import OUTPUTS, Outputs, SweepName
from sweep.verdict import select


def resume(sweep: SweepName = "last", outputs: Outputs = OUTPUTS) -> int:
    """Finish a sweep or a search that was stopped or killed; what was measured is kept."""
    from sweep.config import command_line
    from sweep.engine import summary
    from sweep.engine.search import buckets as auto_buckets
    from sweep.engine.search import loop as search
    from sweep.engine.session import Sweep

    history = query.history(outputs, sweep)
    if history.folder.name.endswith(ledger.REPORTED):
        raise UserError(f"{history.folder.name} is an imported table: there is nothing to run")
    if search.read_notes(history.folder) is not None:  # it also spends what is left of its budget
        return command_line.run(search.make_resume_command(history.folder))
    stopped = [record for record in query.records(history) if record.status is Status.STOPPED]
    open_keys = {record.key for record in stopped if not select.is_stopped_early(record)}
    if not open_keys and history.finished:
        print(f"sweep {history.folder.name} is complete: nothing to do")
        records = query.records(history)
        return summary.find_exit_status(records, select.choose(records, query.settings(history).objective))
    settings = replace(query.settings(history), outputs=str(outputs.absolute()))
    resumed = Sweep(settings, command=f"python -m sweep resume {history.folder.name}", history=history)
    auto_buckets.run(resumed, [*history.trials.values(), *history.asked.values()])
    return resumed.finish()

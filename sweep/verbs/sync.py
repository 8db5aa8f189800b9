"""The verb `sync`: send a sweep's ledger to MLflow."""

from sweep.spec import UserError
from sweep.store import ledger, query
from sweep.store.layout import SweepFolder
from sweep.verbs.arguments import OUTPUTS, Outputs, SweepName
from sweep.verdict import select


def sync(sweep: SweepName = "last", outputs: Outputs = OUTPUTS) -> int:
    """Send the results of a sweep to MLflow; what is there already is not sent twice."""
    from sweep.report.mlflow import markdown, tracker

    history = query.history(outputs, sweep)
    settings, records = query.settings(history), query.records(history)
    verdict = select.choose(records, settings.objective)
    text = markdown.describe(settings, None, records, verdict, [str(history.header.get("command", ""))])
    files = tuple(str(path) for path in SweepFolder(history.folder).left())
    sent = tracker.send(tracker.SendRequest(str(history.folder), settings, files, text), records, verdict)
    if sent.problem:
        raise UserError(sent.problem)
    book = ledger.Ledger(history.folder)
    book.append("runs", runs=sent.by_key)
    book.close()
    print(f"sweep {history.folder.name}: {len(sent.runs)} trials are in MLflow")
    return 0

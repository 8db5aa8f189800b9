"""A sweep's comparison of bucket lists: `buckets.json` and its tables."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweep.engine.context import Context
from sweep.engine.references import load_sizes
from sweep.engine.stages import Stages
from sweep.files import write_json
from sweep.spec import AUTO, Record, Status, Trial, to_json
from sweep.store import ledger
from sweep.store.layout import SweepFolder
from sweep.verdict.buckets import lists as bucket_lists
from sweep.verdict.buckets.lists import Group
from sweep.verdict.buckets.results import ListGroup
from sweep.verdict.buckets.traffic import Traffic


def write(context: Context, trials: Sequence[Trial], records: Mapping[str, Record], stages: Stages) -> None:
    """Write `buckets.json` and show its tables, if lists of buckets or sizes that vary were measured."""
    from sweep.report.terminal.buckets import format_short

    compared = (_compare(context, group, records, stages) for group in _groups(trials, records))
    groups = [group for group in compared if group is not None]
    if groups:
        write_json(SweepFolder(context.folder).buckets, to_json(groups))
        context.display.show(format_short(groups, context.display.width))


def _groups(trials: Sequence[Trial], records: Mapping[str, Record]) -> list[tuple[Trial, ...]]:
    """Groups of trials that differ in `buckets` alone, those in which one with buckets was measured."""
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        if trial.model.get("bucket_dims"):
            groups.setdefault(replace(trial, buckets=()).key, []).append(trial)
    ok = {key for key, record in records.items() if record.status is Status.OK}
    return [tuple(group) for group in groups.values() if any(trial.buckets and trial.key in ok for trial in group)]


def _compare(
    context: Context, trials: tuple[Trial, ...], records: Mapping[str, Record], stages: Stages
) -> ListGroup | None:
    settings, data = context.settings.bucketing, str(trials[0].data["name"])
    search = stages.searches.get(replace(trials[0], buckets=AUTO).key)
    traffic = search.traffic if search else _load_traffic(context, trials[0])
    if traffic is None:
        return None
    file = settings.traffic if search else None
    group = Group(
        trials,
        traffic,
        source=file or data,
        own=not file,
        settings=settings,
        search=search,
        before={trial.key: record for trial in trials if (record := stages.again.get(trial.key))},
    )
    return bucket_lists.compare(group, records)


def _load_traffic(context: Context, trial: Trial) -> Traffic | None:
    """The data's sizes from the store; None if they are gone."""
    result = ledger.find_reference(context.folder, trial)
    folder = Path(context.store.root, "data", result["data"]) if result else None
    if folder is None or not folder.is_dir():
        return None
    sizes = load_sizes(trial, folder)
    return Traffic.of(sizes) if sizes is not None else None

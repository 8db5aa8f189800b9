"""Write the results of a sweep into its folder, and list the commands to go on with."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sweep.files import write_json
from sweep.report import page, tables
from sweep.report.names import find_varying
from sweep.report.plots import scatter
from sweep.report.plots.buckets import plots as bucket_plots
from sweep.spec import Json, Origin, Record, Status, StopReason, UserError, exits, to_json
from sweep.spec.settings import Settings
from sweep.store.layout import SweepFolder
from sweep.text import axis_text, relative
from sweep.verdict import select

if TYPE_CHECKING:
    from sweep.spec.plan import Plan
    from sweep.verdict.select import Verdict


def write(
    folder: Path, settings: Settings, plans: Sequence["Plan"], records: Sequence[Record], verdict: "Verdict"
) -> list[Path]:
    """Write plan.json, results.json, results.csv, verdict.json, the plots and the page.

    With `report=none` there are no plots and no page. A plot that cannot be drawn is left out.

    Returns:
        The paths written, with drift.json and buckets.json if they were written before.
    """
    place = SweepFolder(folder)
    write_json(place.plan, encode_plan(plans))
    write_json(place.verdict, to_json(verdict))
    paths = [place.plan, place.verdict, *tables.write(records, folder)]
    measured = (place.drift, place.buckets)  # written earlier
    paths += [path for path in measured if path.exists()]
    if settings.report == "none":
        return paths
    if any(record.status is Status.OK for record in records):
        paths += scatter.write(records, verdict, folder)
    if place.buckets.exists():
        paths += bucket_plots.write(folder)
    try:
        paths.append(page.write(folder, verdict, over=True))
    except UserError:  # a ledger that cannot be read: the other files have what is in memory
        pass
    return paths


def encode_plan(plans: Sequence["Plan"]) -> Json:
    """Every entry of every plan of the sweep, and the distinct builds."""
    return {
        "entries": [
            {
                "key": entry.trial.key,
                "label": entry.trial.label,
                "overrides": list(entry.trial.overrides),
                "status": entry.status.value if entry.status else "valid",
                "reason": entry.reason,
                "builds": [spec.key for spec in entry.builds],
            }
            for plan in plans
            for entry in plan.entries
        ],
        "builds": {key: to_json(spec) for plan in plans for key, spec in plan.builds.items()},
        "forecast_seconds": [plan.forecast_seconds for plan in plans],
    }


def find_exit_status(records: Sequence[Record], verdict: "Verdict") -> int:
    """The exit status of a sweep that came to its end: see `spec.exits`."""
    done = [r for r in records if r.status is Status.OK or r.stop is StopReason.BUILT or select.is_stopped_early(r)]
    if not done:
        return exits.NOTHING_MEASURED
    measured = any(record.metrics for record in done)
    return exits.NO if measured and verdict.is_missed_by_all else exits.OK


def list_next_steps(folder: Path, verdict: "Verdict", records: Sequence[Record], runs: Mapping[str, str]) -> list[str]:
    """Lines that say where the page is, and how to browse, to reproduce the winner and to ask why not another."""
    outputs = relative(str(folder.parent.parent))
    where = "" if outputs == "outputs" else f" --outputs {outputs}"
    ran = [record for record in records if record.origin is not Origin.REPORTED]
    which = "" if ran else f" {folder.name}"
    page_file = SweepFolder(folder).page
    if page_file.exists():
        steps = [f"report     {relative(str(page_file))}    # one page; the files are beside it"]
    else:
        steps = [
            f"files      {relative(str(folder))}    # one page of them: python -m sweep report {folder.name}{where}"
        ]
    steps.append(f"browse     python -m sweep ui{which}{where}")
    keys = {record.key for record in ran}
    best = next((key for key in (*verdict.chosen, *verdict.tied, *verdict.ranking) if key in keys), None)
    if best is not None:
        steps.append(f"reproduce  python -m sweep reproduce {runs.get(best, best)}{where}")
    others = [record for record in ran if record.key != best]
    if others:
        moving = find_varying([record.settings for record in ran])
        settings = max((record.settings for record in others), key=lambda known: len(set(moving) & set(known)))
        names = [name for name in moving if name in settings] or ["backend"]
        axes = " ".join(shlex.quote(f"{name}={axis_text(settings[name])}") for name in names)
        steps.append(f"ask        python -m sweep why {axes}{where}")
    return steps

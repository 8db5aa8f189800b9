"""Run a past trial again from its MLflow run alone, and say whether the result is the same."""

import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated

import typer

from sweep.hardware import environment, rules
from sweep.hardware.environment import list_differences
from sweep.hardware.host import detect
from sweep.report.mlflow.database import open_client
from sweep.spec import Json, Origin, Record, Status, Trial, UserError, deployment, exits, from_json
from sweep.spec.settings import Settings
from sweep.store import ledger
from sweep.store.layout import OutputsFolder, SweepFolder, TrialFolder
from sweep.verbs.arguments import OUTPUTS, Outputs

MARGIN = 0.05  # a smaller relative change counts as none
CONFIDENCE = 0.95
EXIT = {"reproduced": exits.OK, "drifted": exits.NO, "cannot judge": exits.CANNOT_SAY}


@dataclass(frozen=True)
class Past:
    """A stored trial: what was to be measured, what came out, and on which machine."""

    trial: Trial
    settings: Settings
    record: Record
    environment: Json


def compare(before: Record, after: Record, margin: float = MARGIN) -> tuple[str, str]:
    """("reproduced" | "drifted" | "cannot judge", a sentence that says why) from the repeats of both records.

    Throughput is compared by two one-sided tests within `margin` (see `intervals.Ratio.is_within`).
    """
    from sweep.verdict.stats import intervals

    if before.status is not Status.OK or after.status is not Status.OK:
        kinds = [record.failure.kind.value if record.failure else record.status.value for record in (before, after)]
        if kinds[0] == kinds[1]:
            return "reproduced", f"it ends in {kinds[0]} again: {after.reason}"
        return "drifted", f"it ended in {kinds[0]}, now in {kinds[1]}: {after.reason or 'it works'}"
    if after.origin is Origin.REPLAYED:
        if dict(before.metrics or {}) == dict(after.metrics or {}):
            return "reproduced", "the table says the same again; it was replayed, so this is no evidence of its numbers"
        return "drifted", "the table says other numbers now"
    then, now = ([repeat.throughput_items_per_s for repeat in record.repeats] for record in (before, after))
    ratio = intervals.ratio(now, then)
    rates = f"{fmean(now):,.4g} items/s now, {fmean(then):,.4g} then"
    if ratio is None:
        return "cannot judge", f"{rates}; one repeat is not enough: run it with effort=normal"
    estimate, low, high = ratio.interval(CONFIDENCE)
    change = f"{estimate - 1:+.1%} ± {((high or 0.0) - (low or 0.0)) / 2:.1%}"
    if ratio.is_within(margin, CONFIDENCE):
        return "reproduced", f"{rates} ({change}, within ±{margin:.0%})"
    if ratio.is_different(CONFIDENCE):
        return "drifted", f"by {change} ({rates})"
    return "cannot judge", f"{rates} ({change}): too noisy for ±{margin:.0%}; try a quieter machine or effort=thorough"


def list_foreign_targets(trial: Trial) -> list[str]:
    """Code outside this project that running the trial would bring in: factories, interpreters, trusted files."""
    targets = [str(group.get("_target_") or "") for group in (trial.model, trial.data)]
    foreign = [target for target in targets if target and not target.startswith("sweep.workloads.")]
    foreign += [str(trial.backend["python"])] if trial.backend.get("python") else []
    return foreign + ([str(trial.model.get("path"))] if trial.model.get("trust") else [])


def adapt_to_host(trial: Trial) -> Trial:
    """The trial for this host: hardware facts that were detected, and not typed, are detected again."""
    if trial.hardware.get("name") != "local":
        return trial
    typed = {override.partition("=")[0].rpartition("hardware.")[2] for override in trial.overrides}
    detected = {name: value for name, value in rules.describe_local(detect()).items() if name not in typed}
    return replace(trial, hardware={**trial.hardware, **detected})


def _find(run_id: str, outputs: Path, tracking_uri: str | None) -> Past:
    for folder in reversed(ledger.sweeps(outputs)):
        trial = SweepFolder(folder).trial(run_id)
        if trial.path.is_dir():
            return _past(trial, SweepFolder(folder).environment)
    return _from_mlflow(run_id, outputs, tracking_uri)


def _from_mlflow(run_id: str, outputs: Path, tracking_uri: str | None) -> Past:
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or _local_store(outputs)
    client = open_client(uri)
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
        if run.data.tags.get("sweep.kind") != "trial":
            raise UserError(f"{run_id} is not the run of a trial: choose one below it in the UI")
        if run.data.tags.get("sweep.origin") == Origin.REPORTED.value:
            raise UserError(f"{run_id} was reported by {run.data.tags.get('sweep.source')}: it never ran here")
        with tempfile.TemporaryDirectory() as folder:
            trial, environment_file = TrialFolder(Path(folder)), SweepFolder(Path(folder)).environment
            for path in (trial.config, trial.record, environment_file):
                client.download_artifacts(run_id, path.name, folder)
            return _past(trial, environment_file)
    except MlflowException as error:
        raise UserError(
            f"no run {run_id} at {uri} ({str(error).splitlines()[0]}); --tracking-uri or --outputs says where"
        ) from None


def _local_store(outputs: Path) -> str:
    database = OutputsFolder(outputs).database
    if not database.exists():
        raise UserError(f"no MLflow store in {outputs}: --outputs or --tracking-uri says where the run is")
    return f"sqlite:///{database}"


def _past(folder: TrialFolder, captured: Path) -> Past:
    try:
        config = json.loads(folder.config.read_text())
        record = from_json(Record, json.loads(folder.record.read_text()))
        where = json.loads(captured.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"what the run left cannot be read: {error}") from None
    return Past(from_json(Trial, config["trial"]), from_json(Settings, config["settings"]), record, where)


def reproduce(
    run_id: Annotated[str, typer.Argument(metavar="RUN_ID", help="An MLflow run id, or a trial's key.")],
    tracking_uri: Annotated[
        str | None, typer.Option(help="Where the run is; default: the store in the outputs folder.")
    ] = None,
    trust: Annotated[bool, typer.Option(help="Import the model and data factories that the run names.")] = False,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Run a past trial again from its MLflow run alone: 0 reproduced, 3 drifted, 4 cannot judge."""
    from sweep.engine.session import Sweep

    outputs = outputs.absolute()
    past = _find(run_id, outputs, tracking_uri)
    print(f"{past.record.label} of sweep {past.record.sweep}")
    imports = list_foreign_targets(past.trial)
    if imports and not trust:
        raise UserError(f"this run brings in {', '.join(imports)}: look at that code, then add --trust")
    settings = replace(past.settings, outputs=str(outputs), plan="run", reuse=False, retry_failed=False)
    if tracking_uri:
        settings = replace(settings, tracking={"name": "server", "uri": tracking_uri})
    now = environment.capture()
    for line in list_differences(past.environment, now) or ["the environment is the same"]:
        print(f"  {line}")
    sweep = Sweep(settings, command=f"python -m sweep reproduce {run_id}", suffix=ledger.REPRODUCTION)
    trials = deployment.restore_group(past.trial, adapt_to_host)
    trial = trials[past.trial.deployment.get("member", 0)]
    sweep.run(trials)
    status = sweep.finish()
    if status == exits.INTERRUPTED:
        return status
    verdict, sentence = compare(past.record, sweep.records[trial.key])
    changed = list_differences(past.environment, now)
    print(f"\n{verdict}: {sentence}" + (f"; {', '.join(changed)}" if verdict == "drifted" and changed else ""))
    return EXIT[verdict]

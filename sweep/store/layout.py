"""Where the files of a sweep lie; no other module spells their names."""

from collections.abc import Iterator
from pathlib import Path

LEDGER = "ledger.jsonl"  # every sweep's folder has one


class OutputsFolder:
    """The outputs folder: all sweeps, and what they share."""

    def __init__(self, path: Path) -> None:
        self.sweeps = path / "sweeps"
        self.store = path / "store"  # builds, data and references
        self.database = path / "mlflow.db"


def score_folder(store: Path, key: str) -> Path:
    """The answers of one scoring pass: index.npy, output_0.npy, ... and score.json."""
    return store / "scores" / key


class SweepFolder:
    """The folder of one sweep, `outputs/sweeps/ID`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ledger = path / LEDGER
        self.environment = path / "environment.json"  # versions, machine and variables that change numbers
        self.drift = path / "drift.json"  # how fast the machine was during the sweep
        self.buckets = path / "buckets.json"  # bucket lists: what was measured, predicted and chosen
        self.plan = path / "plan.json"
        self.verdict = path / "verdict.json"
        self.results_json = path / "results.json"
        self.results_csv = path / "results.csv"
        self.page = path / "report.html"

    def page_against(self, other: "SweepFolder") -> Path:
        """The page that compares this sweep with an earlier one."""
        return self.path / f"report-against-{other.path.name}.html"

    def left(self) -> list[Path]:
        """The files of a finished sweep for people and programs, with its pictures."""
        tables = (self.plan, self.verdict, self.results_json, self.results_csv, self.buckets, self.drift, self.page)
        return [path for path in (*tables, *sorted(self.path.glob("*.png"))) if path.exists()]

    def trial(self, key: str) -> "TrialFolder":
        return TrialFolder(self.path / "trials" / key)

    def trials(self) -> Iterator["TrialFolder"]:
        """The folders of the trials that were tried, by key."""
        return (TrialFolder(path.parent) for path in sorted(self.path.glob("trials/*/record.json")))


class TrialFolder:
    """The files of one trial for people and MLflow."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.record = path / "record.json"
        self.agreement = path / "agreement.json"

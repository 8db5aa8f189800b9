"""Where the files of a sweep lie; no other module spells their names."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEDGER = "ledger.jsonl"  # every sweep's folder has one


@dataclass(frozen=True)
class OutputsFolder:
    """The outputs folder: all sweeps, and what they share."""

    path: Path

    @property
    def sweeps(self) -> Path:
        return self.path / "sweeps"

    @property
    def store(self) -> Path:
        """Builds, data and references."""
        return self.path / "store"

    @property
    def database(self) -> Path:
        """MLflow's."""
        return self.path / "mlflow.db"


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one sweep, `outputs/sweeps/ID`."""

    path: Path

    @property
    def ledger(self) -> Path:
        return self.path / LEDGER

    @property
    def environment(self) -> Path:
        """Versions, machine and variables that change numbers."""
        return self.path / "environment.json"

    @property
    def drift(self) -> Path:
        """How fast the machine was during the sweep."""
        return self.path / "drift.json"

    @property
    def buckets(self) -> Path:
        """Bucket lists: what was measured, predicted and chosen."""
        return self.path / "buckets.json"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def verdict(self) -> Path:
        return self.path / "verdict.json"

    @property
    def results_json(self) -> Path:
        return self.path / "results.json"

    @property
    def results_csv(self) -> Path:
        return self.path / "results.csv"

    @property
    def page(self) -> Path:
        return self.path / "report.html"

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


@dataclass(frozen=True)
class TrialFolder:
    """The files of one trial for people and MLflow."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    @property
    def agreement(self) -> Path:
        return self.path / "agreement.json"

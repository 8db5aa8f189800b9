"""The work of a sweep as values: builds to do, builds that are done, trials to measure."""

from dataclasses import dataclass, field
from pathlib import Path

from sweep import backends
from sweep.engine.references import Reference
from sweep.spec import BuildInfo, BuildSpec, Failure, Json, Measurement, Origin, StopReason, Trial, to_json
from sweep.spec.facts import ScoreFacts
from sweep.verdict.elimination import Out


@dataclass(frozen=True)
class Built:
    """One distinct build that is in the store, or has failed."""

    spec: BuildSpec
    key: str  # in the store
    folder: Path
    info: BuildInfo | None
    failure: Failure | None
    seconds: float  # of building
    reused: bool  # it was in the store before this sweep
    user_error: bool = False  # it failed because of what the user wrote
    attempts: tuple["Built", ...] = ()  # with other options, see `ladder`: before this build, or after it if all failed
    stop: StopReason | None = None  # why it was not begun

    def to_json(self) -> Json:
        tried = [
            {"key": b.key, "options": to_json(b.spec.options), "seconds": b.seconds, "failure": to_json(b.failure)}
            for b in self.attempts
        ]
        info = self.info or BuildInfo("")
        rare = {"fallback": info.fallback, "left_behind": list(info.left_behind)}
        return {
            **({"options": to_json(self.spec.options), "attempts": tried} if tried else {}),
            "key": self.key,
            "seconds": self.seconds,
            "artifact_mb": _measure_mb(self.folder) if self.failure is None else None,
            "reused": self.reused,
            "folder": str(self.folder),
            "precision": self.info.precision if self.info else None,
            "placement": self.info.placement if self.info else None,
            "versions": dict(info.versions),
            "notes": dict(info.notes),
            **{name: value for name, value in rare.items() if value},
        }


@dataclass(frozen=True)
class BuildTask:
    """A build that a trial needs, with the model and the data that it starts from."""

    spec: BuildSpec
    reference: Reference
    name: str


def _measure_mb(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20


@dataclass
class Candidate:
    """A trial with finished builds, and the state of its repeats."""

    trial: Trial
    identity: str
    builds: tuple[Built, ...]
    reference: Reference
    done: dict[int, Measurement] = field(default_factory=dict)
    score: ScoreFacts | None = None  # None: not yet, or a table answers
    failure: Failure | None = None
    user_error: bool = False  # it failed because of what the user wrote
    attempts: list[Failure] = field(default_factory=list)  # transient failures that were tried again
    started: float = 0.0  # seconds since the epoch
    seconds: float = 0.0  # spent in this sweep's workers
    measured_at: float = 0.0  # when its last repeat ended, by a clock that never goes back
    look: int = 0  # of a race at which it was judged last, from 1; 0: there is none
    out: Out | None = None  # why no more of it is measured
    resting: bool = False  # no more of it is needed

    @property
    def origin(self) -> Origin:
        """Where its numbers come from."""
        return backends.get(str(self.trial.backend["name"])).origin

    @property
    def is_open(self) -> bool:
        """More of it may be measured."""
        return self.failure is None and self.out is None and not self.resting

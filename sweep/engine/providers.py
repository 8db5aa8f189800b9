"""Providers of references, builds, repeats and numbers: workers here, or a table of published results.

The phases of the engine ask the provider of each trial and do not know which one it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sweep import backends
from sweep.backends.replay.answers import Claim, derive_claim
from sweep.backends.replay.tables import Row, read_row
from sweep.engine import builds, judging, references, repeats
from sweep.engine.context import Context
from sweep.engine.references import Reference, Unusable
from sweep.engine.tasks import BuildTask, Candidate
from sweep.spec import BuildSpec, Failure, FailureKind, Origin, Outcome, Record, Status, Trial, digest, to_json
from sweep.spec.facts import SourceFacts
from sweep.verdict import plausibility


class Measured:
    """Workers on this machine build and measure."""

    def references(self, context: Context, trials: Sequence[Trial]) -> Mapping[str, Reference | Unusable]:
        """Data and the original's answers for trials, by `Trial.pair_key`."""
        return references.obtain(context, trials)

    def warm(self, context: Context, trial: Trial) -> None:
        """Start the fork servers that a trial will need, so that their imports overlap."""
        context.warm(references.list_preloads(trial))
        _warm_backend(context, trial)

    def build(self, context: Context, wanted: BuildTask, folder: Path, tools: Mapping[str, str]) -> Outcome:
        """Build into `folder`."""
        return builds.run(context, wanted, folder, tools)

    def can_score(self, candidate: Candidate) -> bool:
        """Whether its builds can answer the data."""
        return True

    def can_repeat(self, candidate: Candidate) -> bool:
        return True

    def repeat(self, context: Context, together: Sequence[Candidate], repeat: int) -> Outcome:
        """One repeat of a trial, or of all the trials of a deployment."""
        return repeats.run(context, together, repeat)

    def judge(self, context: Context, candidate: Candidate, record: Record, comparisons: judging.Comparisons) -> Record:
        """Add the numbers and the verdict of the gates to the record of a trial with whole repeats."""
        return judging.judge(context, candidate, record, comparisons)

    def source(self, spec: BuildSpec) -> SourceFacts | None:
        """Where the outcome of a build comes from; None if it comes from here."""
        return None


class Replayed(Measured):
    """A row of a table answers instead of a device.

    A record has the numbers of its row, and no repeats: their spread would be invented.
    """

    def references(self, context: Context, trials: Sequence[Trial]) -> Mapping[str, Reference | Unusable]:
        """Nothing is compared, so there are no answers."""
        return {trial.pair_key: _make_empty_reference(trial) for trial in trials}

    def warm(self, context: Context, trial: Trial) -> None:
        _warm_backend(context, trial)

    def build(self, context: Context, wanted: BuildTask, folder: Path, tools: Mapping[str, str]) -> Outcome:
        """A build takes the seconds that it was reported to take."""
        outcome = super().build(context, wanted, folder, tools)
        seconds = read_row(wanted.spec).build_seconds or 0.0
        return replace(outcome, seconds=seconds, failure=outcome.failure and replace(outcome.failure, seconds=seconds))

    def can_score(self, candidate: Candidate) -> bool:
        return False

    def can_repeat(self, candidate: Candidate) -> bool:
        """Only a reported failure: a row with numbers needs no worker."""
        return read_row(candidate.builds[0].spec).status is Status.RUN_FAILED

    def repeat(self, context: Context, together: Sequence[Candidate], repeat: int) -> Outcome:
        """Without memory: that of the worker which reads the table is not the trial's."""
        return replace(super().repeat(context, together, repeat), peak_memory_mb=0.0)

    def judge(self, context: Context, candidate: Candidate, record: Record, comparisons: judging.Comparisons) -> Record:
        """Add the row's numbers to the record, and the verdict of the gates that apply to them."""
        spec = candidate.builds[0].spec
        row = read_row(spec)
        claim = derive_claim(row)
        metrics = _compute_metrics(row, claim)
        cost, price = context.compute_cost(candidate.trial.hardware, metrics)
        metrics |= cost
        notes = {**record.notes, "replayed": list(claim.notes)}
        built = record.builds
        if row.build_seconds is None:
            built = tuple({**build, "seconds": None} for build in built)
        source = self.source(spec)
        record = replace(record, metrics=metrics or None, builds=built, notes=notes, price=price, source=source)
        hardware = {**candidate.trial.hardware, "name": row.hardware}
        flags = plausibility.judge(row, [hardware], context.settings.gates)
        if row.status is Status.REJECTED:
            flags = [Failure(row.failure_kind or FailureKind.UNKNOWN, row.reason or "")]
        if not flags:
            return record
        reason = "; ".join(flag.summary for flag in flags)
        return replace(record, status=Status.REJECTED, reason=reason, failure=replace(flags[0], summary=reason))

    def source(self, spec: BuildSpec) -> SourceFacts | None:
        """The table and the row."""
        return read_row(spec).source_facts(str(spec.options.get("found_in")))


_PROVIDERS: Mapping[Origin, Measured] = {Origin.MEASURED: Measured(), Origin.REPLAYED: Replayed()}


def find_provider(trial: Trial) -> Measured:
    """The provider of a trial."""
    return find_backend_provider(str(trial.backend["name"]))


def find_backend_provider(name: str) -> Measured:
    """The provider of all trials of a backend."""
    return _PROVIDERS[backends.get(name).origin]


def _warm_backend(context: Context, trial: Trial) -> None:
    if not trial.backend.get("python"):
        backend = backends.get(str(trial.backend["name"]))
        context.warm(backend.preload_build)
        context.warm(backend.preload_run)


def _make_empty_reference(trial: Trial) -> Reference:
    nowhere = Path("/nonexistent")
    model, data = (digest(to_json(group)) for group in (trial.model, trial.data))
    return Reference(model, data, digest([model, data, Origin.REPLAYED]), nowhere, nowhere)


def _compute_metrics(row: Row, claim: Claim) -> dict[str, float]:
    """The numbers of the row, and those that follow from them."""
    known = row.metrics
    if claim.rate:
        known.setdefault("throughput_items_per_s", claim.rate)
    if claim.mean_ms:
        known.setdefault("latency_ms_mean", claim.mean_ms)
    return known

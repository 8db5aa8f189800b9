"""`buckets=auto`: measure usual lists of buckets, predict the best lists from them, and measure those.

Everything that is measured is an ordinary trial. The guesses come first: powers of two up to the largest size, the
largest alone (pad to maximum), and any size if the backend supports it. Their buckets also give the cost curve. From
the curve and the traffic `bucketing.solve` predicts the best list of k buckets for every k. The best predictions are
measured, and the guesses once more beside them, because the machine may have changed meanwhile.

A curve through a few sizes misses what lies between: some compilers take longer for 23 rows than for 24. So lists are
predicted again (`bucketing.rounds`) from all lists measured so far, and better ones are measured, beside all others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sweep.engine.references import Reference, load_sizes, pair_key
from sweep.spec import AUTO, DYNAMIC, Buckets, Record, Status, Trial, UserError
from sweep.spec.settings import Bucketing
from sweep.text import axis_text
from sweep.verdict.buckets import lists as bucket_lists
from sweep.verdict.buckets.bucketing import Choice, Traffic
from sweep.verdict.buckets.cost import rank
from sweep.verdict.buckets.lists import Search

if TYPE_CHECKING:
    from sweep.config.command_line import Job
    from sweep.engine.session import Sweep

GAIN = 0.01  # share by which a new list must be predicted to beat the best measured list
LATER = "buckets=auto: these are measured first; the best lists follow from what they take, and are measured then"


@dataclass(frozen=True)
class AutoRequest:
    """A trial with `buckets=auto`, and the lists to try first."""

    job: "Job"
    traffic: Traffic
    guesses: dict[Buckets, str]

    def jobs(self, lists: Sequence[Buckets]) -> list["Job"]:
        return [_set_buckets(self.job, buckets) for buckets in lists]

    def record(self, records: Mapping[str, Record], buckets: Buckets) -> Record:
        return records[replace(self.job.trial, buckets=buckets).key]


def run(sweep: "Sweep", jobs: Sequence["Job"]) -> list[Record]:
    """Run jobs like `Sweep.run`, and replace a trial with `buckets=auto` by trials that are worth measuring.

    The record of such a trial is that of the best predicted list that was measured. If its model or data cannot be
    loaded, it runs with the data's own shape, and its record says why.

    Raises:
        UserError: within a search by Optuna, or see `_read_traffics`.
    """
    if not any(job.trial.buckets == AUTO for job in jobs):
        return sweep.run(jobs)
    with sweep.writable():
        return _run(sweep, jobs)


def _run(sweep: "Sweep", jobs: Sequence["Job"]) -> list[Record]:
    if sweep.search:
        raise UserError("buckets=auto searches by itself: leave out hydra/sweeper=optuna, or list the buckets")
    sweep.stages.several = True
    pairs = {pair_key(job.trial): job.trial for job in jobs if job.trial.buckets == AUTO}
    traffics = _read_traffics(sweep, pairs)
    sweep.ask(list({job.trial.key: job.trial for job in jobs if job.trial.buckets == AUTO}.values()))
    requests: dict[str, AutoRequest] = {}
    plain = []
    for job in jobs:
        traffic = traffics[pair_key(job.trial)] if job.trial.buckets == AUTO else None
        if traffic is None:
            plain.append(job if job.trial.buckets != AUTO else _set_buckets(job, ()))
        else:
            requests[job.trial.key] = AutoRequest(job, traffic, bucket_lists.guesses(job.trial, traffic))
    named = {job.trial.key for job in plain}  # after a `resume` the guesses too
    first = [job for request in requests.values() for job in request.jobs(list(request.guesses))]
    sweep.run([*plain, *(job for job in first if job.trial.key not in named)])
    if sweep.settings.plan == "only":
        sweep.display.note(LATER)
        return []
    best = _measure_best(sweep, requests) if sweep.settings.plan != "build" and not sweep.interrupted else {}
    return [_find_record(sweep, job, requests.get(job.trial.key), best.get(job.trial.key)) for job in jobs]


def _measure_best(sweep: "Sweep", requests: Mapping[str, AutoRequest]) -> dict[str, Buckets]:
    """Predict lists and measure the best of them. Returns the best predicted list for each request."""
    best: dict[str, Buckets] = {}
    for _ in range(sweep.settings.bucketing.rounds):
        wanted = [job for key, request in requests.items() for job in _choose_lists(sweep, key, request, best)]
        if not wanted or sweep.interrupted:
            break
        sweep.run(wanted)
    return best


def _choose_lists(sweep: "Sweep", key: str, request: AutoRequest, best: dict[str, Buckets]) -> list["Job"]:
    """Jobs of the best lists that were not measured yet.

    The measured lists are marked to be measured once more beside them; else drift of the machine would look like a
    difference.
    """
    settings, known = sweep.settings.bucketing, _find_measured(sweep, request)
    search = _search(request, known, settings)
    if search is None:
        return []
    before = sweep.stages.searches.get(key)
    if before is None:
        sweep.stages.searches[key] = search
        if search.problem:
            sweep.display.note(f"{request.job.trial.label}: {search.problem}")
    first = _rank_choices(search.choices, settings)
    if before is not None:
        limits = bucket_lists.limits_of(settings)
        tried = [bucket_lists.evaluated(request.traffic, search.curve, buckets) for buckets in known if buckets]
        top = _rank_choices(
            [choice for choice in tried if choice and not bucket_lists.beyond(choice, limits)], settings
        )
        first = [
            c for c in first if c.buckets not in known and all(_is_gain(c, choice, settings) for choice in top[:1])
        ]
    if not first:
        return []
    if before is not None:
        measured = tuple(choice for choice in before.choices if choice.buckets in known)
        sweep.stages.searches[key] = replace(search, earlier=(*before.earlier, *measured))
    best[key] = first[0].buckets
    new = [job for job in request.jobs([choice.buckets for choice in first]) if job.trial.key not in sweep.records]
    if new:
        sweep.stages.again |= {record.key: record for record in known.values()}
    return new


def _find_measured(sweep: "Sweep", request: AutoRequest) -> dict[Buckets, Record]:
    """The records that were measured side by side last, by list; () stands for any size."""
    mine = [
        (trial, sweep.records[key])
        for key, trial in sweep.trials.items()
        if key in sweep.records and replace(trial, buckets=AUTO).key == request.job.trial.key
    ]
    ok = [(trial, record) for trial, record in mine if record.status is Status.OK]
    last = max((record.measured_together or 0.0 for _, record in ok), default=0.0)
    return {
        () if trial.buckets == DYNAMIC else trial.buckets: record
        for trial, record in ok
        if (record.measured_together or 0.0) == last
    }


def _is_gain(choice: Choice, over: Choice, settings: Bucketing) -> bool:
    return rank(choice, settings.minimise)[0] < (1 - GAIN) * rank(over, settings.minimise)[0]


def _find_record(sweep: "Sweep", job: "Job", request: AutoRequest | None, best: Buckets | None) -> Record:
    if request is None:
        return sweep.records[job.trial.key if job.trial.buckets != AUTO else _set_buckets(job, ()).trial.key]
    return request.record(sweep.records, best or next(iter(request.guesses)))


def _set_buckets(job: "Job", buckets: Buckets) -> "Job":
    from sweep.config.command_line import Job
    from sweep.config.overrides import text

    own = [line for line in job.overrides if not line.startswith("buckets=")]
    trial = replace(job.trial, buckets=buckets)
    lists = f"buckets={trial.bucket_word or text([list(bucket) for bucket in buckets])}"
    return Job((*own, lists), replace(trial, overrides=(*own, lists)))


def _read_traffics(sweep: "Sweep", pairs: Mapping[str, Trial]) -> dict[str, Traffic | None]:
    """The sizes to choose lists for, by pair of model and data; None if these cannot be loaded.

    Raises:
        UserError: a model has no bucket dimension, or the file of traffic is wrong.
    """
    for trial in pairs.values():
        if not trial.model.get("bucket_dims"):
            name = trial.model["name"]
            raise UserError(f"buckets=auto: model {name} declares no bucket dimension (model.bucket_dims)")
    file = sweep.settings.bucketing.traffic
    if file:
        traffic = Traffic.read(file)
        for trial in pairs.values():
            _check_fit(traffic, _load_traffic(sweep, trial), file, trial)
        return dict.fromkeys(pairs, traffic)
    return {pair: _load_traffic(sweep, trial) for pair, trial in pairs.items()}


def _check_fit(traffic: Traffic, data: Traffic | None, file: str, trial: Trial) -> None:
    """Check that lists for a file's traffic hold the data, which they are measured with.

    Raises:
        UserError: they do not.
    """
    if data is None:
        return
    name = trial.data["name"]
    if traffic.dimensions != data.dimensions:
        raise UserError(
            f"{file}: its sizes have {traffic.dimensions} numbers, those of data {name} {data.dimensions}: "
            "one column for each bucket dimension of the model"
        )
    if any(more > most for more, most in zip(data.largest, traffic.largest, strict=True)):
        sizes = axis_text([traffic.largest]), axis_text([data.largest])
        raise UserError(
            f"{file}: its largest size is {sizes[0]}, and data {name}, which is measured with, has {sizes[1]}: "
            "add larger sizes to the file, with a small count, or choose data that fits"
        )


def _load_traffic(sweep: "Sweep", trial: Trial) -> Traffic | None:
    reference = sweep.reference(trial)
    sizes = load_sizes(trial, reference) if isinstance(reference, Reference) else None
    return None if sizes is None else Traffic.of(sizes)


def _search(request: AutoRequest, known: Mapping[Buckets, Record], settings: Bucketing) -> Search | None:
    """Predict the best list for every number of buckets; None if nothing was measured."""
    curve = bucket_lists.curve_of(list(known.values()), request.job.trial.request_items)
    return bucket_lists.find(request.traffic, curve, settings) if curve else None


def _rank_choices(choices: Sequence[Choice], settings: Bucketing) -> list[Choice]:
    """The best predictions; among equals, those with fewer buckets come first."""
    return sorted(choices, key=lambda choice: rank(choice, settings.minimise))[: settings.measure]

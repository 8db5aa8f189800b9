"""`buckets=auto`: measure what people guess, find the best list for every number of buckets, measure the best of them.

Everything that is measured is an ordinary trial. First come the guesses: powers of two up to the largest size, the
largest alone (pad to maximum), and any size if the backend can. The buckets of these lists also give the cost curve.
From the curve and the traffic `bucketing.solve` chooses the best list of k buckets for every k. The best of these are
measured, with the guesses once more beside them: the machine may have changed meanwhile.

A curve through a few sizes misses what lies between: some compilers take longer for 23 rows than for 24. So lists are
chosen again (`bucketing.rounds`) by the curve of everything measured so far, and new ones that promise more are
measured too, beside everything that was measured before.
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
from sweep.verdict.buckets.cost import describe_excess, rank
from sweep.verdict.buckets.lists import Search

if TYPE_CHECKING:
    from sweep.config.compose import Job
    from sweep.engine.session import Sweep

GAIN = 0.01  # that a new list must promise over the best of those that were measured
LATER = "buckets=auto: these are measured first; the best lists follow from what they take, and are measured then"


@dataclass(frozen=True)
class AutoTrial:
    """A trial with `buckets=auto`, and the lists that are tried first."""

    job: "Job"
    traffic: Traffic
    guesses: dict[Buckets, str]

    def jobs(self, lists: Sequence[Buckets]) -> list["Job"]:
        return [_with_buckets(self.job, buckets) for buckets in lists]

    def record(self, records: Mapping[str, Record], buckets: Buckets) -> Record:
        return records[replace(self.job.trial, buckets=buckets).key]


def run(sweep: "Sweep", jobs: Sequence["Job"]) -> list[Record]:
    """`Sweep.run`, where a trial with `buckets=auto` becomes those that are worth measuring.

    The record of such a trial is that of the list with the best prediction that was measured. If its model or data
    cannot be loaded, it becomes a trial with the data's own shape, whose record says why.

    Raises:
        UserError: in a search, which would search within a search; or see `_load_traffics`.
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
    traffics = _load_traffics(sweep, pairs)
    sweep.ask(list({job.trial.key: job.trial for job in jobs if job.trial.buckets == AUTO}.values()))
    autos: dict[str, AutoTrial] = {}
    plain = []
    for job in jobs:
        traffic = traffics[pair_key(job.trial)] if job.trial.buckets == AUTO else None
        if traffic is None:
            plain.append(job if job.trial.buckets != AUTO else _with_buckets(job, ()))
        else:
            autos[job.trial.key] = AutoTrial(job, traffic, bucket_lists.list_guesses(job.trial, traffic))
    named = {job.trial.key for job in plain}  # after a `resume` the guesses too
    first = [job for auto in autos.values() for job in auto.jobs(list(auto.guesses))]
    sweep.run([*plain, *(job for job in first if job.trial.key not in named)])
    if sweep.settings.plan == "only":
        sweep.display.note(LATER)
        return []
    best = _measure_best(sweep, autos) if sweep.settings.plan != "build" and not sweep.interrupted else {}
    return [_find_record(sweep, job, autos.get(job.trial.key), best.get(job.trial.key)) for job in jobs]


def _measure_best(sweep: "Sweep", autos: Mapping[str, AutoTrial]) -> dict[str, Buckets]:
    """Choose lists, measure the best of them, and return the one with the best prediction for each trial."""
    best: dict[str, Buckets] = {}
    for _ in range(sweep.settings.bucketing.rounds):
        wanted = [job for key, auto in autos.items() for job in _plan_jobs(sweep, key, auto, best)]
        if not wanted or sweep.interrupted:
            break
        sweep.run(wanted)
    return best


def _plan_jobs(sweep: "Sweep", key: str, auto: AutoTrial, best: dict[str, Buckets]) -> list["Job"]:
    """The best lists that were not measured yet.

    What was measured before is marked to be measured again beside them, so that drift does not pass for a difference.
    """
    settings, known = sweep.settings.bucketing, _find_measured(sweep, auto)
    search = _search_lists(auto, known, settings)
    if search is None:
        return []
    before = sweep.stages.searches.get(key)
    if before is None:
        sweep.stages.searches[key] = search
        if search.problem:
            sweep.display.note(f"{auto.job.trial.label}: {search.problem}")
    first = _pick_best(search.choices, settings)
    if before is not None:
        limits = bucket_lists.collect_limits(settings)
        tried = [bucket_lists.evaluate_list(auto.traffic, search.curve, buckets) for buckets in known if buckets]
        top = _pick_best([choice for choice in tried if choice and not describe_excess(choice, limits)], settings)
        first = [choice for choice in first if choice.buckets not in known]
        first = [choice for choice in first if not top or _promises_gain(choice, top[0], settings)]
    if not first:
        return []
    if before is not None:
        measured = tuple(choice for choice in before.choices if choice.buckets in known)
        sweep.stages.searches[key] = replace(search, earlier=(*before.earlier, *measured))
    best[key] = first[0].buckets
    jobs = [job for job in auto.jobs([choice.buckets for choice in first]) if job.trial.key not in sweep.records]
    if jobs:
        sweep.stages.again |= {record.key: record for record in known.values()}
    return jobs


def _find_measured(sweep: "Sweep", auto: AutoTrial) -> dict[Buckets, Record]:
    """The records of the lists that were last measured side by side; `()` stands for any size."""
    mine = [
        (trial, sweep.records[key])
        for key, trial in sweep.trials.items()
        if key in sweep.records and replace(trial, buckets=AUTO).key == auto.job.trial.key
    ]
    ok = [(trial, record) for trial, record in mine if record.status is Status.OK]
    last = max((record.measured_together or 0.0 for _, record in ok), default=0.0)
    return {
        () if trial.buckets == DYNAMIC else trial.buckets: record
        for trial, record in ok
        if (record.measured_together or 0.0) == last
    }


def _promises_gain(choice: Choice, over: Choice, settings: Bucketing) -> bool:
    return rank(choice, settings.minimise)[0] < (1 - GAIN) * rank(over, settings.minimise)[0]


def _find_record(sweep: "Sweep", job: "Job", auto: AutoTrial | None, best: Buckets | None) -> Record:
    if auto is None:
        return sweep.records[job.trial.key if job.trial.buckets != AUTO else _with_buckets(job, ()).trial.key]
    return auto.record(sweep.records, best or next(iter(auto.guesses)))


def _with_buckets(job: "Job", buckets: Buckets) -> "Job":
    from sweep.config.compose import Job
    from sweep.config.overrides import format_value

    own = [line for line in job.overrides if not line.startswith("buckets=")]
    trial = replace(job.trial, buckets=buckets)
    lists = f"buckets={trial.bucket_word or format_value([list(bucket) for bucket in buckets])}"
    return Job((*own, lists), replace(trial, overrides=(*own, lists)))


def _load_traffics(sweep: "Sweep", pairs: Mapping[str, Trial]) -> dict[str, Traffic | None]:
    """The sizes that lists are chosen for, by pair of model and data; None if these cannot be loaded.

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
    """Lists for a file's traffic are measured with the data, so they must hold it.

    Raises:
        UserError: they cannot.
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


def _search_lists(auto: AutoTrial, known: Mapping[Buckets, Record], settings: Bucketing) -> Search | None:
    """The best list for every number of buckets; None if nothing was measured."""
    curve = bucket_lists.build_curve(list(known.values()), auto.job.trial.request_items)
    return bucket_lists.find(auto.traffic, curve, settings) if curve else None


def _pick_best(choices: Sequence[Choice], settings: Bucketing) -> list[Choice]:
    """The choices with the best predictions, fewer buckets first among equals."""
    return sorted(choices, key=lambda choice: rank(choice, settings.minimise))[: settings.measure]

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

from sweep.engine.references import Reference, load_sizes
from sweep.spec import AUTO, DYNAMIC, Buckets, Record, Status, Trial, UserError
from sweep.spec.settings import Bucketing
from sweep.text import axis_text
from sweep.verdict.buckets import lists as bucket_lists
from sweep.verdict.buckets.cost import Choice, describe_excess, rank
from sweep.verdict.buckets.traffic import Traffic

if TYPE_CHECKING:
    from sweep.engine.session import Sweep

GAIN = 0.01  # that a new list must promise over the best of those that were measured
LATER = "buckets=auto: these are measured first; the best lists follow from what they take, and are measured then"


@dataclass(frozen=True)
class AutoTrial:
    """A trial with `buckets=auto`, and the lists that are tried first."""

    trial: Trial
    traffic: Traffic
    guesses: dict[Buckets, str]

    def expand(self, lists: Sequence[Buckets]) -> list[Trial]:
        """The trial with each of these lists."""
        return [_with_buckets(self.trial, buckets) for buckets in lists]


def run(sweep: "Sweep", trials: Sequence[Trial]) -> list[Record]:
    """`Sweep.run`, where a trial with `buckets=auto` becomes those that are worth measuring.

    The record of such a trial is that of the list with the best prediction that was measured. If its model or data
    cannot be loaded, it becomes a trial with the data's own shape, whose record says why.

    Raises:
        UserError: in a search, which would search within a search; or see `_load_traffics`.
    """
    if not any(trial.buckets == AUTO for trial in trials):
        return sweep.run(trials)
    with sweep.writable():
        return _run(sweep, trials)


def _run(sweep: "Sweep", trials: Sequence[Trial]) -> list[Record]:
    if sweep.search:
        raise UserError("buckets=auto searches by itself: leave out hydra/sweeper=optuna, or list the buckets")
    sweep.stages.several = True
    wanted = {trial.key: trial for trial in trials if trial.buckets == AUTO}
    traffics = _load_traffics(sweep, {trial.pair_key: trial for trial in wanted.values()})
    sweep.ask(list(wanted.values()))
    autos: dict[str, AutoTrial] = {}
    plain = []
    for trial in trials:
        traffic = traffics[trial.pair_key] if trial.buckets == AUTO else None
        if traffic is None:
            plain.append(trial if trial.buckets != AUTO else _with_buckets(trial, ()))
        else:
            autos[trial.key] = AutoTrial(trial, traffic, bucket_lists.list_guesses(trial, traffic))
    named = {trial.key for trial in plain}  # after a `resume` the guesses too
    first = [trial for auto in autos.values() for trial in auto.expand(list(auto.guesses))]
    sweep.run([*plain, *(trial for trial in first if trial.key not in named)])
    if sweep.settings.plan == "only":
        sweep.display.note(LATER)
        return []
    best = _measure_best(sweep, autos) if sweep.settings.plan != "build" and not sweep.interrupted else {}
    lists = {key: best.get(key) or next(iter(auto.guesses)) for key, auto in autos.items()}
    measured = [_with_buckets(t, lists.get(t.key, ())) if t.buckets == AUTO else t for t in trials]
    return [sweep.records[trial.key] for trial in measured]


def _measure_best(sweep: "Sweep", autos: Mapping[str, AutoTrial]) -> dict[str, Buckets]:
    """Choose lists, measure the best of them, and return the one with the best prediction for each trial."""
    best: dict[str, Buckets] = {}
    for _ in range(sweep.settings.bucketing.rounds):
        wanted = [trial for key, auto in autos.items() for trial in _list_next(sweep, key, auto, best)]
        if not wanted or sweep.interrupted:
            break
        sweep.run(wanted)
    return best


def _list_next(sweep: "Sweep", key: str, auto: AutoTrial, best: dict[str, Buckets]) -> list[Trial]:
    """The trial with the best lists that were not measured yet.

    What was measured before is marked to be measured again beside them, so that drift does not pass for a difference.
    """
    settings, known = sweep.settings.bucketing, _find_measured(sweep, auto)
    curve = bucket_lists.build_curve(list(known.values()), auto.trial.request_items)
    if not curve:  # nothing was measured
        return []
    search = bucket_lists.find(auto.traffic, curve, settings)
    before = sweep.stages.searches.get(key)
    if before is None:
        sweep.stages.searches[key] = search
        if search.problem:
            sweep.display.note(f"{auto.trial.label}: {search.problem}")
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
    trials = [trial for trial in auto.expand([c.buckets for c in first]) if trial.key not in sweep.records]
    if trials:
        sweep.stages.again |= {record.key: record for record in known.values()}
    return trials


def _find_measured(sweep: "Sweep", auto: AutoTrial) -> dict[Buckets, Record]:
    """The records of the lists that were last measured side by side; `()` stands for any size."""
    mine = [
        (trial, sweep.records[key])
        for key, trial in sweep.trials.items()
        if key in sweep.records and replace(trial, buckets=AUTO).key == auto.trial.key
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


def _with_buckets(trial: Trial, buckets: Buckets) -> Trial:
    from sweep.config.overrides import format_value

    own = [line for line in trial.overrides if not line.startswith("buckets=")]
    trial = replace(trial, buckets=buckets)
    lists = f"buckets={trial.bucket_word or format_value([list(bucket) for bucket in buckets])}"
    return replace(trial, overrides=(*own, lists))


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
    sizes = load_sizes(trial, reference.data_folder) if isinstance(reference, Reference) else None
    return None if sizes is None else Traffic.of(sizes)


def _pick_best(choices: Sequence[Choice], settings: Bucketing) -> list[Choice]:
    """The choices with the best predictions, fewer buckets first among equals."""
    return sorted(choices, key=lambda choice: rank(choice, settings.minimise))[: settings.measure]

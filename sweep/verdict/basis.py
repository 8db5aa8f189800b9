"""What a verdict rests on: requests, repeats, items, when and where they were measured; and what makes one doubt it."""

import functools
from collections.abc import Callable, Sequence

from sweep.spec import Origin, Record, metrics
from sweep.spec.settings import Objective
from sweep.text import count, duration, quantity, share
from sweep.verdict import alternatives

HOUR = 3600.0
ITEM_LATENCY = "item_latency_ms_mean"
CLOSE = 0.005  # difference of two models' accuracies that is not worth a sentence


def describe(record: Record) -> str:
    """`1,500 requests in 5 repeats; answers to 540 items; measured in this sweep, on AMD EPYC, 2 CPUs`.

    Empty for what was not run.
    """
    if not record.origin.is_evidence or not record.repeats:
        return ""
    asked = f"{count(alternatives.count_requests(record), 'request')} in {count(len(record.repeats), 'repeat')}"
    items = record.number("scored_items") or (record.agreement or {}).get("samples")
    answers = f"answers to {count(int(items), 'item')}" if items else ""
    place = f", on {record.machine}" if record.machine else ""
    return "; ".join(filter(None, (asked, answers, f"{_describe_time(record)}{place}")))


def _describe_time(record: Record) -> str:
    if record.origin is not Origin.REUSED:
        return "measured in this sweep"
    if record.reuse is None:
        return "reused from an earlier sweep"
    return f"reused from sweep {record.reuse.sweep}, {duration(record.reuse.age_hours * HOUR)} old"


def describe_doubts(chosen: Record, compared: Sequence[Record], objective: Objective) -> str:
    """Sentences on what is not the same for all that were compared, after the verdict; empty if there is nothing.

    Args:
        compared: the trials that meet the constraints, with the chosen one.
    """
    doubts = [
        _describe_reuse(chosen, compared),
        _describe_machines(compared),
        _describe_processors(compared),
        _describe_models(chosen, compared),
        _describe_prices(compared, objective),
        _describe_level(chosen),
        _describe_lists(chosen, compared, objective),
    ]
    return "".join(f" {doubt}" for doubt in doubts if doubt)


def _describe_reuse(chosen: Record, compared: Sequence[Record]) -> str:
    """That numbers are older than this sweep."""
    reused = [record for record in compared if record.origin is Origin.REUSED]
    if chosen.origin is Origin.REUSED:
        rest = "" if len(reused) == len(compared) else ", others were measured in this one"
        return f"Mind that {chosen.label} was not measured now: it was {_describe_time(chosen)}{rest}."
    if not reused:
        return ""
    oldest = max((record.reuse.age_hours for record in reused if record.reuse), default=None)
    age = "" if oldest is None else f", up to {duration(oldest * HOUR)} old"
    return f"Mind that {len(reused):,} of the {len(compared):,} compared were reused{age}."


def _describe_machines(compared: Sequence[Record]) -> str:
    """That one hardware was several machines."""
    by_hardware = _group(compared, _name_hardware, lambda record: record.machine)
    mixed = next((machines for machines in by_hardware.values() if len(machines) > 1), [])
    return f"Mind that they were not measured on one machine: {' and '.join(mixed)}." if mixed else ""


def _describe_processors(compared: Sequence[Record]) -> str:
    """That answers were judged on machines of one type whose processors have other features: int8 depends on them."""
    by_machine = _group(compared, lambda record: record.machine, _name_processor)
    mixed = next((processors for processors in by_machine.values() if len(processors) > 1), [])
    return f"Mind that their answers are from processors with other features: {' and '.join(mixed)}." if mixed else ""


def _describe_models(chosen: Record, compared: Sequence[Record]) -> str:
    """That another model of those compared answers better, or that nobody knows whether it does."""
    rivals = [record for record in compared if _name_model(record) != _name_model(chosen)]
    if not rivals:
        return ""
    mine, known = chosen.number("accuracy"), [r for r in rivals if r.number("accuracy") is not None]
    if mine is None or not known:
        names = " and ".join(sorted({_name_model(record) for record in (chosen, *rivals)}))
        return f"Mind that {names} are different models, and no labels say which is right more often."
    best = max(known, key=lambda record: record.number("accuracy") or 0.0)
    most = best.number("accuracy") or 0.0
    if most - mine <= CLOSE:
        return ""
    return (
        f"Mind that the accuracy of {_name_model(chosen)} is {share(mine)} and that of {_name_model(best)} "
        f"{share(most)}: objective.accuracy_min sets what is needed."
    )


def _describe_prices(compared: Sequence[Record], objective: Objective) -> str:
    """That the prices of hardware are of several kinds, or of several regions."""
    if metrics.COST not in objective.deciding:
        return ""
    priced = [record for record in compared if record.price is not None]
    for what in ("kind", "region"):
        by_hardware = _group(priced, _name_hardware, functools.partial(_take_price, what))
        if len({value for values in by_hardware.values() for value in values}) > 1:
            words = ", ".join(f"{hardware} {' and '.join(values)}" for hardware, values in by_hardware.items())
            fix = ": objective.price=... takes one kind" if what == "kind" else ""
            return f"Mind that the prices are not of one {what} ({words}){fix}."
    return ""


def _describe_level(chosen: Record) -> str:
    """That the windows at the capacity did not keep to the service level, though not by far."""
    level, p99 = chosen.load.get("slo_p99_ms"), chosen.number("latency_ms_p99")
    if chosen.load.get("name") != "capacity" or not level or p99 is None or p99 <= level:
        return ""
    return f"Mind that its windows at this rate have a p99 of {quantity('latency_ms_p99', p99)}, over the {level:g} ms."


def _describe_lists(chosen: Record, compared: Sequence[Record], objective: Objective) -> str:
    """That lists of buckets are in another order by the latency of an item, by which `buckets=auto` looks for them."""
    mine = chosen.number(ITEM_LATENCY)
    rivals = [r for r in compared if r is not chosen and _drop_buckets(r) == _drop_buckets(chosen)]
    known = [(value, r) for r in rivals if (value := r.number(ITEM_LATENCY)) is not None]
    if mine is None or not known:
        return ""
    least, best = min(known, key=lambda pair: pair[0])
    if least * (1 + objective.margin) >= mine:
        return ""
    times = f"{quantity('latency_ms_p50', least)} against {quantity('latency_ms_p50', mine)}"
    return f"By the mean latency of an item, and not by {objective.metric}, {best.label} is ahead: {times}."


def _drop_buckets(record: Record) -> dict[str, object]:
    return {name: value for name, value in record.settings.items() if name != "buckets"}


def _group(
    records: Sequence[Record], name: Callable[[Record], str], value: Callable[[Record], str | None]
) -> dict[str, list[str]]:
    """The distinct values that are known, by name."""
    groups: dict[str, dict[str, None]] = {}
    for record in records:
        if (known := value(record)) is not None and known != "":
            groups.setdefault(name(record), {})[known] = None
    return {key: list(values) for key, values in groups.items()}


def _take_price(what: str, record: Record) -> str | None:
    return getattr(record.price, what, None)


def _name_processor(record: Record) -> str:
    return record.score.processor if record.score else ""


def _name_model(record: Record) -> str:
    lines = (line.lstrip("+").partition("=") for line in record.overrides)
    path = next((value for key, _, value in lines if key == "model.path"), None)
    return path or str(record.settings.get("model") or "")


def _name_hardware(record: Record) -> str:
    return str(record.settings.get("hardware") or "")

"""`python -m sweep verify`: compare measured numbers with those published for the same setup.

A published row is comparable if its model, instance, precision, batch, request_batch and cores are the trial's. What a
row does not state is printed and does not exclude it. Of several rows the one that differs least in `NEAR` is taken, of
equals the newest. Rows that the plausibility gates reject are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from sweep.backends.replay import tables as reported
from sweep.backends.replay.tables import Row, same_model
from sweep.spec import Json, Record, Status, UserError, exits
from sweep.store import query
from sweep.store.ledger import History
from sweep.text import count, number
from sweep.verbs.arguments import OUTPUTS, Outputs, SweepName
from sweep.verdict import plausibility

EQUAL = ("model", "instance", "precision", "batch", "request_batch", "cores")
NEAR = ("stack", "replicas", "in_flight")
EXIT = {"inside": exits.OK, "outside": exits.NO, "nothing": exits.CANNOT_SAY}


@dataclass(frozen=True)
class Check:
    """One metric of one trial beside the published number."""

    metric: str
    measured: float
    published: float
    low: float | None  # of the measured interval
    high: float | None

    @property
    def ratio(self) -> float:
        return self.measured / self.published

    def inside(self, tolerance: float) -> bool:
        return abs(self.ratio - 1) <= tolerance

    def text(self, tolerance: float) -> str:
        ends = ""
        if self.low is not None and self.high is not None:
            ends = f" ({self.low / self.published:.2f} to {self.high / self.published:.2f})"
        word = "inside" if self.inside(tolerance) else "OUTSIDE"
        return (
            f"{self.metric:<24} measured {number(self.measured):>8}, published {number(self.published):>8}: "
            f"{self.ratio:.2f}x{ends}, {word} {100 * tolerance:g} %"
        )


def describe_setup(history: History, record: Record) -> Json:
    """The settings of a trial under the names of a published row; None where one is not known."""
    trial = history.trials.get(record.key)
    known: Json = {name: record.settings.get(name) for name in ("model", "precision", "batch", "cores", "replicas")}
    known["request_batch"] = record.settings.get("request_batch", known["batch"])
    known["stack"] = record.settings.get("backend")
    known["instance"] = trial.hardware.get("instance_type") if trial else None
    known["in_flight"] = record.repeats[0].in_flight if record.repeats else None
    return known


def find_nearest(known: Mapping[str, Any], rows: Sequence[Row]) -> tuple[Row | None, list[str]]:
    """The nearest comparable row, and its differences: ["stack neuron, here tensorflow_neuron", "batch not stated"]."""
    comparable = [row for row in rows if all(_agrees(name, known, row) for name in EQUAL)]
    if not comparable:
        return None, []
    best = min(reversed(comparable), key=lambda row: (len(_differences(known, row)), _age(row)))
    return best, _differences(known, best)


def _agrees(name: str, known: Mapping[str, Any], row: Row) -> bool:
    value = getattr(row, name)
    if name == "model":
        return same_model(value, known["model"])
    return name != "instance" if value is None else bool(value == known[name])


def _differences(known: Mapping[str, Any], row: Row) -> list[str]:
    missing = [name for name in (*EQUAL, *NEAR) if getattr(row, name) is None]
    other = [name for name in NEAR if name not in missing and getattr(row, name) != known[name]]
    other += [] if same_model(known["model"], row.model) else ["model"]
    return [f"{name} {getattr(row, name)}, here {known[name]}" for name in other] + [f"{n} not stated" for n in missing]


def _age(row: Row) -> tuple[int, ...]:
    """A key that sorts the newest row first."""
    year, month, day = (*(int(part) for part in (row.date or "0").split("-")), 0, 0)[:3]
    return (-year, -month, -day)


def _compare(record: Record, known: Json, rows: Sequence[Row], tolerance: float) -> list[Check]:
    row, differs = find_nearest(known, rows)
    if row is None:
        return []
    checks = _checks(record, row)
    if checks:
        print(f"\n{record.label}\n  published: {row.source} ({row.date or 'not dated'})")
        if row.shape:
            print(f"  items of {row.shape}")
        if differs:
            print(f"  differs: {'; '.join(differs)}")
        if row.mistakes:
            print(f"  known mistakes: {', '.join(row.mistakes)}")
        for check in checks:
            print(f"  {check.text(tolerance)}")
    return checks


def _checks(record: Record, row: Row) -> list[Check]:
    pairs = {"throughput_items_per_s": row.rate}
    pairs |= {f"latency_ms_{name}": getattr(row, f"latency_ms_{name}") for name in ("p50", "p99")}
    metrics = record.metrics or {}
    return [
        Check(name, metrics[name], value, metrics.get(name + "_low"), metrics.get(name + "_high"))
        for name, value in pairs.items()
        if value and name in metrics
    ]


def _load_believable(tables: Sequence[str]) -> tuple[list[Row], int]:
    """The rows that the plausibility gates accept, and how many they reject."""
    from sweep.config import compose

    paths = [reported.find(name) for name in tables] or list(reported.shipped().values())
    ok = [row for path in paths for row in reported.read(path) if row.status is Status.OK]
    limits, types = compose.load_settings().gates, compose.load_hardware_types()
    good = [row for row in ok if not plausibility.judge(row, types, limits)]
    return good, len(ok) - len(good)


def _explain_nothing(history: History, measured: Sequence[Record]) -> str:
    if not measured:
        origins = sorted({r.origin.value for r in history.records.values() if not r.origin.is_evidence})
        return "nothing comparable: no trial was measured" + (f" ({', '.join(origins)} only)" if origins else "")
    known = [describe_setup(history, record) for record in measured]
    texts = (f"{setup['model']} on {setup['instance'] or 'a host that is no EC2 instance'}" for setup in known)
    places = dict.fromkeys(texts)
    return f"nothing comparable: no published row has the setup of a trial here ({', '.join(places)})"


def verify(
    sweep: SweepName = "last",
    tolerance: Annotated[float, typer.Option(help="Relative difference that passes.")] = 0.2,
    table: Annotated[
        list[str] | None, typer.Option(help="Published tables to compare with; default: all that come with sweep.")
    ] = None,
    outputs: Outputs = OUTPUTS,
) -> int:
    """Compare what was measured with published numbers: 0 within the tolerance, 3 not, 4 nothing comparable."""
    if not 0 < tolerance < 10:
        raise UserError(f"--tolerance {tolerance:g}: a share above 0, like 0.2 for 20 %")
    history = query.history(outputs, sweep)
    rows, doubted = _load_believable(table or [])
    measured = [r for r in history.records.values() if r.status is Status.OK and r.origin.is_evidence]
    print(f"sweep {history.folder.name}: {count(len(measured), 'measured trial')}, {len(rows)} published rows")
    if doubted:
        print(f"{count(doubted, 'published row')} left out: flagged implausible")
    checks: list[Check] = []
    for record in measured:
        checks += _compare(record, describe_setup(history, record), rows, tolerance)
    if not checks:
        print(_explain_nothing(history, measured))
        return EXIT["nothing"]
    outside = sum(not check.inside(tolerance) for check in checks)
    print(
        f"{len(checks) - outside} of {count(len(checks), 'number')} inside {100 * tolerance:g} % of what was published"
    )
    return EXIT["outside" if outside else "inside"]

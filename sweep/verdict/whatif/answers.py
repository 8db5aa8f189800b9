"""What would be chosen with other limits, prices, loads or lengths, from stored results and without running anything.

A question changes the numbers of the stored records where prices or the mix of lengths differ, then computes the
verdict again by the same rules as at the end of a sweep. `flips` finds what would change the choice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from sweep.config import compose
from sweep.spec import Record, Status, Trial, UserError, meant, metrics
from sweep.spec.facts import Price
from sweep.spec.metrics import COST
from sweep.spec.settings import Fleet, Objective, Settings
from sweep.verdict import alternatives, constraints, race, select
from sweep.verdict.costs import money, prices

if TYPE_CHECKING:
    from sweep.store.query import Stored
    from sweep.verdict.buckets.traffic import Traffic

KINDS = ("objective", "objective.<limit>", "price.<hardware>", "fleet.items_per_s", "traffic")


@dataclass(frozen=True)
class Question:
    """What differs from the sweep."""

    objective: Objective
    fleet: Fleet = field(default_factory=Fleet)
    prices: Mapping[str, float] = field(default_factory=dict)  # USD/h by the name of a hardware
    traffic: "Traffic | None" = None  # how often which length comes; None: as it was measured
    file: str = ""  # of the traffic


@dataclass(frozen=True)
class Host:
    """The price of one hardware under a question."""

    name: str
    price: Price | None
    is_asked: bool = False  # the question sets it


@dataclass(frozen=True)
class TrialFleet:
    """The hosts that a trial needs for the load."""

    record: Record
    rate: float  # items/s of one host
    hosts: money.Hosts
    idle: str  # what of a host the trial leaves unused


@dataclass(frozen=True)
class Answer:
    """What is chosen. `records` are those that can answer the question, with the numbers that they have under it."""

    records: tuple[Record, ...]
    verdict: select.Verdict
    hosts: tuple[Host, ...]
    fleets: tuple[TrialFleet, ...] = ()  # of the trials that meet the constraints, the cheapest first
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # reason -> labels


def parse_question(words: Sequence[str], settings: Settings, hardware: Sequence[str]) -> Question:
    """Parse words like `price.inf2_xlarge=0.31 objective.latency_ms_p99_max=20 traffic=FILE`.

    Args:
        settings: of the sweep; they hold where no word changes them.
        hardware: the names that a price may be given for.

    Raises:
        UserError: a word names nothing that can be changed, or its value is not allowed.
    """
    rest: dict[str, list[str]] = {"objective": [], "fleet": []}
    usd_per_hour: dict[str, float] = {}
    traffic, file = None, ""
    for word in words:
        name, equals, value = word.partition("=")
        section = name.partition(".")[0]
        if not equals:
            raise UserError(f"{word!r} is not like objective.latency_ms_p99_max=20")
        if section in rest:
            rest[section].append(word)
        elif name.startswith("price."):
            usd_per_hour[_check_hardware(name.removeprefix("price."), hardware)] = _parse_usd(name, value)
        elif name == "traffic":
            from sweep.verdict.buckets.traffic import Traffic

            traffic, file = Traffic.read(value), value
        else:
            raise UserError(f"{name!r} is nothing that `best` can change: {_suggest(name)}")
    objective = compose.change_section("objective", settings.objective, rest["objective"])
    fleet = compose.change_section("fleet", settings.fleet, rest["fleet"])
    return Question(objective, fleet, usd_per_hour, traffic, file)


def describe_kept_limits(before: Objective, now: Objective) -> str:
    """The limits of the sweep that hold under another objective too; empty if there are none."""
    kept = [limit for limit in now.limits if limit in before.limits]
    if not kept or before.metric == now.metric:
        return ""
    words = ", ".join(f"{limit.name}={limit.bound:g}" for limit in kept)
    return f"the limits of the sweep hold: {words} (objective.{kept[0].name}=null drops one)"


def _suggest(name: str) -> str:
    if name == "price":
        return "say objective.price=... or price.<hardware>=..."
    limits = [limit for limit in Objective.__dataclass_fields__ if name in (limit, limit.rpartition("_")[0])]
    return f"say objective.{limits[0]}=..." if limits else meant(name, KINDS)


def _check_hardware(name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise UserError(f"no hardware {name!r} in this sweep: {meant(name, known)}")
    return name


def _parse_usd(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise UserError(f"{name}={text} is not a price: give USD/h, like {name}=0.31")
    return value


class Book:
    """The prices of hosts under a question."""

    def __init__(
        self,
        trials: Mapping[str, Trial],
        rows: Sequence[prices.Row] = (),
        kind: str | None = None,
        usd_per_hour: Mapping[str, float] | None = None,
    ) -> None:
        """
        Args:
            trials: by key: their hardware names the prices that the sweep knew.
            rows: of the user's table.
            kind: of price; None: the first that is known.
            usd_per_hour: USD/h by the name of a hardware, over everything else.
        """
        self.kind, self.usd_per_hour = kind, dict(usd_per_hour or {})
        self._trials, self._rows = trials, rows
        self._known: dict[str, Price | None] = {}  # by key, without `usd_per_hour`

    def with_price(self, hardware: str, usd_per_hour: float) -> "Book":
        """The same with another price of one hardware."""
        book = Book(self._trials, self._rows, self.kind, {**self.usd_per_hour, hardware: usd_per_hour})
        book._known = self._known
        return book

    def price(self, record: Record) -> Price | None:
        """Of an hour of a record's hardware; of what others reported the price that goes with their number."""
        name = hardware_name(record)
        if name in self.usd_per_hour:
            return Price(self.usd_per_hour[name])
        trial = self._trials.get(record.key)
        if trial is None:
            return self._reported(record)
        if record.key not in self._known:
            self._known[record.key] = money.find_price(prices.override(trial.hardware, self._rows), self.kind)
        return self._known[record.key]

    def reprice(self, record: Record) -> Record:
        """The record with its cost at the price that holds here; without one where that is not known."""
        if not record.metrics:
            return record
        price = self.price(record)
        hourly = None if price is None else price.usd_per_hour
        cost, before = money.usd_per_million_items(money.find_rate(record.metrics), hourly), record.metrics.get(COST)
        names = metrics.find(COST).names
        known = {name: value for name, value in record.metrics.items() if name not in names}
        if cost is not None:
            known |= {name: record.metrics[name] * cost / before for name in names if before and name in record.metrics}
            known[COST] = cost
        return replace(record, metrics=known)

    def _reported(self, record: Record) -> Price | None:
        """Its kind is not known, so it answers no question about one."""
        cost, rate = (record.metrics or {}).get(COST), money.find_rate(record.metrics or {})
        if self.kind is not None or cost is None or rate is None:
            return None
        return Price(money.break_even(rate, cost), source="as it was reported")


def hardware_name(record: Record) -> str:
    return str(record.settings.get("hardware") or "")


class View:
    """The records of a sweep under a question, and the verdict on them.

    Other limits or prices are cheap to try: `flips` does it often.
    """

    def __init__(self, stored: "Sequence[Stored]", question: Question, rows: Sequence[prices.Row] = ()) -> None:
        self.question = question
        self.objective = question.objective
        self._stored, self._rows = stored, rows
        trials = {
            trial.record.key: declared for trial in stored if (declared := trial.history.trials.get(trial.record.key))
        }
        self.trials: Mapping[str, Trial] = trials
        self.book = Book(trials, rows, question.objective.price, question.prices)
        self.left_out: dict[str, tuple[str, ...]] = {}
        self._records = self._mixed(stored)

    def _mixed(self, stored: "Sequence[Stored]") -> list[Record]:
        traffic = self.question.traffic
        if traffic is None:
            return [trial.record for trial in stored]
        from sweep.verdict.whatif import mix

        kept = []
        for trial in stored:
            result = mix.reweigh(trial, traffic) if trial.record.metrics else trial.record
            if isinstance(result, Record):
                kept.append(result)
            else:
                self.left_out[result] = (*self.left_out.get(result, ()), trial.record.label)
        return kept

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """With the costs of the question."""
        return tuple(self.book.reprice(record) for record in self._records)

    @cached_property
    def alternatives(self) -> tuple[Record, ...]:
        """The records, with one for each deployment in the place of its members."""
        return tuple(alternatives.unite_deployments(self.records))

    def split(self) -> dict[str, "View"]:
        """A view of the trials of each question, by its name; itself where there is one."""
        if not self.verdict.parts:
            return {"": self}
        return {
            part.question: View(
                [trial for trial in self._stored if trial.record.key in part.keys], self.question, self._rows
            )
            for part in self.verdict.parts
        }

    @cached_property
    def verdict(self) -> select.Verdict:
        return select.choose(self.records, self.objective)

    @cached_property
    def feasible(self) -> tuple[Record, ...]:
        """Those that meet the constraints, best first, without what others reported."""
        return self._feasible(self.alternatives, self.verdict)

    def ranked(self, objective: Objective, book: Book | None = None) -> tuple[Record, ...]:
        """`feasible` for another objective or other prices, by the rules of select but without its verdict.

        What a race stopped is among them: the reason may not hold any longer.
        """
        ok = [r for r in self.alternatives if r.metrics and (r.status is Status.OK or select.is_stopped_early(r))]
        ok = [record for record in ok if record.origin.is_evidence]
        priced = ok if book is None else [book.reprice(record) for record in ok]
        kept = [record for record in priced if not constraints.find_misses(record, objective)]
        return tuple(sorted(kept, key=lambda record: (race.ranking_value(record, objective), record.key)))

    def choose_among(
        self, among: Sequence[Record], objective: Objective, book: Book | None = None
    ) -> tuple[Record, ...]:
        """`feasible` as select itself says, for another objective or other prices, among some of the trials."""
        records = [(book or self.book).reprice(record) for record in among]
        return self._feasible(records, select.choose(records, objective))

    @staticmethod
    def _feasible(records: Sequence[Record], verdict: select.Verdict) -> tuple[Record, ...]:
        by_key = {record.key: record for record in records}
        kept = (by_key[key] for key in verdict.ranking if key in by_key and key not in verdict.outside)
        return tuple(record for record in kept if record.origin.is_evidence)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hardware of the trials that ran."""
        ran = {hardware_name(record): record for record in reversed(self.records) if record.metrics}
        return tuple(Host(name, self.book.price(ran[name]), name in self.book.usd_per_hour) for name in sorted(ran))

    @property
    def fleets(self) -> tuple[TrialFleet, ...]:
        """For the declared load, cheapest first; what nobody knows the price of comes last, with the fewest hosts."""
        wanted = self.question.fleet
        if wanted.items_per_s is None:
            return ()
        fleets = []
        for record in self.feasible:
            rate, price = money.find_rate(record.metrics or {}), self.book.price(record)
            if rate is not None:
                hourly = price.usd_per_hour if price else None
                hosts = money.size_fleet(wanted.items_per_s, rate, hourly, wanted.headroom, wanted.spare_hosts)
                trial = self.trials.get(record.key)
                fleets.append(TrialFleet(record, rate, hosts, money.describe_idle(trial) if trial else ""))
        return tuple(sorted(fleets, key=_fleet_order))

    def answer(self) -> Answer:
        return Answer(self.records, self.verdict, self.hosts, self.fleets, self.left_out)


def _fleet_order(fleet: TrialFleet) -> tuple[Any, ...]:
    monthly = fleet.hosts.usd_per_month
    return monthly is None, monthly if monthly is not None else fleet.hosts.hosts

"""A sweep's measurements in their order, what the machine was like meanwhile, and `drift.json`, which shows both.

Entries of the ledger stand in the order of measurement, over all stages and resumes, whatever the clock did.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from sweep.spec import Json, Measurement, Trial, from_json, to_json
from sweep.text import count, percent, percent_range
from sweep.verdict.noise import drift
from sweep.verdict.noise.drift import Drift, Finding, Point

AGAIN = "-again"  # and how often: ends the identity of what is measured once more; the thing itself is the same
FIXED_RATE = ("poisson", "trace")  # loads answered as fast as items arrive: that tells nothing of the machine
STEAL = 0.02  # share of the machine's CPU time taken by the hypervisor, from which a measurement is marked
FOREIGN = 0.05  # likewise, used by other programs
SLOW_CLOCK = 0.9  # of the median clock of the sweep: below, a measurement is marked
WORDS = {
    "steal_share": "the hypervisor gave {value:.0%} of the CPU time to other guests",
    "foreign_cpu_share": "other programs used {value:.0%} of the CPU time",
    "mhz": "the CPUs ran at {value:,.0f} MHz",
    "gpu_mhz": "the GPU ran at {value:,.0f} MHz",
}


@dataclass(frozen=True)
class Series:
    """Every measurement of a sweep that shows the machine's speed, oldest first."""

    points: tuple[Point, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)  # of the trials, by key
    control: str | None = None  # key of the trial that was measured again to watch the machine
    settled: Mapping[int, float] = field(default_factory=dict)  # levels that are on record, by number of the point


@dataclass(frozen=True)
class Reading:
    """One measurement as `drift.json` has it."""

    trial: str
    repeat: int | None  # None: measured for the control alone
    block: int
    position: int
    time: float
    relative: float  # its rate / the usual rate of its trial
    level: float  # estimated speed of the machine; 1: its usual speed
    host: Mapping[str, float] = field(default_factory=dict)


def read(entries: Iterable[Json], blocks: int | None = None) -> Series:
    """The series in a ledger's entries. Each member of a deployment is a point.

    Args:
        blocks: leave out later blocks, but for what is on record already.
    """
    points: list[Point] = []
    labels: dict[str, str] = {}
    silent: set[str] = set()
    on_record: dict[str, float] = {}
    control = None
    for entry in entries:
        kind = entry["kind"]
        if kind == "trial":
            trial = from_json(Trial, entry["trial"])
            labels[trial.key] = trial.label
            if trial.backend.get("name") == "replay" or trial.load.get("name") in FIXED_RATE:
                silent.add(trial.key)
        elif kind == "record":
            repeats = from_json(tuple[Measurement, ...], entry["record"].get("repeats") or ())
            on_record |= {repeat.samples: repeat.level for repeat in repeats}
        elif kind == "control":
            control = entry["trial"]
        if kind == "control" or (kind == "repeat" and entry["trial"] not in silent):
            points += _read_points(entry, points[-1] if points else None)
    points = [p for p in points if blocks is None or p.block < blocks or p.samples in on_record]
    settled = {number: on_record[p.samples] for number, p in enumerate(points) if p.samples in on_record}
    return Series(tuple(points), labels, control, settled)


def _read_points(entry: Json, last: Point | None) -> list[Point]:
    """The entry's point; nothing if it failed or its rate is not a number above 0."""
    if not entry.get("measurement"):
        return []
    measured = from_json(Measurement, entry["measurement"])
    value = measured.throughput_items_per_s
    if not (math.isfinite(value) and value > 0):
        return []
    own = entry["kind"] == "repeat"
    block = measured.index if own else entry["block"]
    return [
        Point(
            group=entry["identity"].partition(AGAIN)[0],
            value=value,
            trial=entry["trial"],
            repeat=measured.index if own else None,
            block=block,
            position=last.position + 1 if last is not None and last.block == block else 0,
            time=entry["time"],
            samples=measured.samples,
            host=measured.host,
        )
    ]


def find_marks(points: Sequence[Point]) -> list[Json]:
    """Measurements during which the machine was busy or slow: {"number" of the point, "what", "value"}."""
    hosts = [point.host.known() for point in points]
    clocks = {name: [host[name] for host in hosts if name in host] for name in ("mhz", "gpu_mhz")}
    limits = {name: SLOW_CLOCK * median(seen) for name, seen in clocks.items() if seen}
    marks = []
    for number, host in enumerate(hosts):
        for name, most in (("steal_share", STEAL), ("foreign_cpu_share", FOREIGN)):
            if host.get(name, 0.0) > most:
                marks.append({"number": number, "what": name, "value": host[name]})
        for name, least in limits.items():
            if host.get(name, math.inf) < least:
                marks.append({"number": number, "what": name, "value": host[name]})
    return marks


def build_document(series: Series, drift: Drift, levels: Sequence[float]) -> Json:
    """What `drift.json` says.

    findings    as `drift.Finding`; blocks, positions and numbers of points count from 0
    sentences   the same for people, with the marks
    control     key of the control trial, None if the sweep was too short to need one
    marks       see `find_marks`
    points      every measurement, as `Reading`
    """
    marks = find_marks(series.points)
    usual = _find_usual_rates(series.points, levels)
    relatives = [round(point.value / usual[point.group], 5) for point in series.points]
    return {
        "findings": [to_json(finding) for finding in drift.findings],
        "sentences": [describe_finding(finding, series.points) for finding in drift.findings]
        + describe_marks(marks, series.points),
        "tested": {
            "points": drift.points,
            "shift_p": drift.shift_p,
            "episode_p": drift.episode_p,
            "trend_p": drift.trend_p,
            "autocorrelation": drift.autocorrelation,
        },
        "control": series.control,
        "labels": {p.trial: series.labels.get(p.trial, p.trial) for p in series.points},
        "marks": marks,
        "points": [
            to_json(Reading(p.trial, p.repeat, p.block, p.position, p.time, relative, round(level, 5), p.host.known()))
            for p, relative, level in zip(series.points, relatives, levels, strict=True)
        ],
    }


def describe_finding(finding: Finding, points: Sequence[Point]) -> str:
    """One sentence about a finding. Blocks and measurements are counted from 1 for people."""
    word, other = ("slower", "faster") if finding.ratio < 1 else ("faster", "slower")
    size = f"{percent(abs(1 - finding.ratio))} {word} (95 % interval {_describe_ends(finding, word, other)})"
    if finding.kind == "trend":
        return f"The machine became {size} little by little over the sweep: repeats are compared at one level."
    count_of = sum(p.block == finding.block for p in points)
    return (
        f"The machine became {size} in block {finding.block + 1}, from its measurement {finding.position + 1} of"
        f" {count_of} on: repeats before and after it are compared at one level."
    )


def _describe_ends(finding: Finding, word: str, other: str) -> str:
    """`22 to 26 %`, or `6 % faster to 55 % slower` where the interval holds both."""
    low, high = sorted((end - 1) * (1 if finding.ratio >= 1 else -1) for end in (finding.low, finding.high))
    return f"{percent(-low)} {other} to {percent(high)} {word}" if low < 0 else percent_range(low, high)


def describe_marks(marks: Sequence[Json], points: Sequence[Point]) -> list[str]:
    """One sentence for each kind of mark: how often, and how much at worst."""
    sentences = []
    for what, words in WORDS.items():
        values = [mark["value"] for mark in marks if mark["what"] == what]
        if values:
            worst = min(values) if what.endswith("mhz") else max(values)
            often = f"during {len(values):,} of {count(len(points), 'measurement')}"
            text = words.format(value=worst).replace("%", " %")
            sentences.append(f"{often[0].upper()}{often[1:]} {text}{' at worst' * (len(values) > 1)}.")
    return sentences


def judge(series: Series, least: float, seed: int) -> tuple[Drift, list[float]]:
    """The drift of a series, and the level of each of its points."""
    changes = drift.find(series.points, least=least, seed=seed)
    return changes, drift.compute_levels(changes, series.points, series.settled)


def _find_usual_rates(points: Sequence[Point], levels: Sequence[float]) -> dict[str, float]:
    """The rate of each group on the machine as it usually is."""
    logs: dict[str, list[float]] = {}
    for point, level in zip(points, levels, strict=True):
        logs.setdefault(point.group, []).append(math.log(point.value / level))
    return {group: math.exp(fmean(values)) for group, values in logs.items()}

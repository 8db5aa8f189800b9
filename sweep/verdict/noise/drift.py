"""Whether the machine changed its speed while a sweep ran: tests for level shifts and for a trend, and their size.

Every measurement counts, not only the control: the tests compare the logarithm of its rate with those of the other
measurements of its trial, in the order in which they ran. They only assume that a trial's noise does not change:

- trials differ in noise: each counts by its own spread, drawn towards that of all, since few repeats say little about
  a spread; outliers are clipped, so that one bad repeat makes no shift;
- level shift: the largest standardised difference of the levels before and after any one moment (the likelihood ratio
  of Sen and Srivastava 1975, Annals of Statistics 3:98-108), with the trials' own levels fitted beside it;
- episode: a level that begins and ends again, likewise (Levin and Kline 1985, Statistics in Medicine 4:469-488);
- trend: the regression on the order of measurement, within trials (as Hirsch, Slack and Smith 1982, Water Resources
  Research 18:107-121, compare within seasons);
- chance is drawn by permuting the measurements of each trial among its own places (for change points Antoch and
  Huskova 2001, Statistics and Probability Letters 53:37-46). Noise of which neighbours are alike would pass for drift:
  its autocorrelation is estimated with the suspected change taken out, and if it is positive, innovations are permuted
  and the noise is put together from them (Kirch and Steinebach 2006, J. Computational and
  Applied Mathematics 186:64-88; Robbins et al. 2011, J. Time Series Analysis 32:498-511);
- a third of the permitted false alarms goes to each test. After a finding what is left is looked at again for one more
  (Bai and Perron 1998, Econometrica 66:47-78), and the places of all are improved together.

Sizes and intervals come from a robust regression (Huber 1964, Annals of Mathematical Statistics 35:73-101).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from sweep.spec.facts import HostFacts
from sweep.verdict.noise import change_points
from sweep.verdict.noise.change_points import Data, Model
from sweep.verdict.stats import student

if TYPE_CHECKING:
    import numpy as np

    from sweep.verdict.noise.change_points import Array

MOST = 4  # shifts that are looked for
SURE = 0.95  # of the intervals
DRAWS, LEAST_DRAWS = 999, 199  # permutations; fewer for long series
DRAWN_VALUES = 2_000_000


@dataclass(frozen=True)
class Point:
    """One measurement. A series has them in the order in which they ran, whatever the clock said."""

    group: str  # equal for measurements of the same thing, and for no others
    value: float  # rate, above 0
    trial: str = ""
    repeat: int | None = None  # None: for the control alone
    block: int = 0
    position: int = 0  # in its block
    time: float = 0.0  # of its end in seconds since the epoch: for people
    samples: str = ""  # path of its samples: names it
    host: HostFacts = field(default_factory=HostFacts)  # what `telemetry` saw around it


@dataclass(frozen=True)
class Finding:
    """A change of speed that all trials share."""

    kind: str  # shift | trend
    number: int  # of the first point of the new level; 0 for a trend
    block: int  # of that point
    position: int
    ratio: float  # new speed / old speed; of a trend: at the last point / at the first
    low: float  # interval of the ratio at 95 %
    high: float
    p: float  # how often chance alone does as much


@dataclass(frozen=True)
class Drift:
    """The changes in one series, and the results of the tests."""

    findings: tuple[Finding, ...] = ()  # in the order of time
    points: int = 0  # that were tested: of what was measured at least twice
    shift_p: float | None = None  # of the whole series; None if there are too few points
    episode_p: float | None = None
    trend_p: float | None = None
    autocorrelation: float | None = None  # that was allowed for


class _Suspect(NamedTuple):
    """A change that may be there."""

    model: Model  # with it
    explained: float  # what it takes off the sum of squares
    parameters: int
    total: float  # sum of squares
    p: float
    alike: float  # autocorrelation that was allowed for


def find(points: Sequence[Point], least: float = 0.01, alpha: float = 0.05, seed: int = 0) -> Drift:
    """Look for level shifts and a trend.

    Args:
        points: in the order in which they were measured.
        least: relative change of speed that is reported; smaller ones are not, however sure they are.
        alpha: share of sweeps on a steady machine that may be reported as drifting.
        seed: of the permutations.
    """
    import numpy as np

    data = change_points.group_points([point.value for point in points], [point.group for point in points])
    if data is None:
        return Drift()
    random = np.random.default_rng(seed)
    model = Model()
    first = suspects = _suspects(data, model, random)
    while (further := _select_change(data, suspects, alpha)) is not None and len(further.cuts) <= MOST:
        further = change_points.improve(data, further)
        if min(abs(change_points.fit(data, further).sizes)) < math.log1p(least):
            break
        model = further
        suspects = _suspects(data, model, random)
    shift, episode, trend = first
    alike = round(shift.alike, 4)
    return Drift(_findings(data, points, model), len(data.logs), shift.p, episode.p, trend.p, alike)


def compute_levels(drift: Drift, points: Sequence[Point], settled: Mapping[int, float] | None = None) -> list[float]:
    """Speed of the machine at every point, as a factor of its usual speed: rates are divided by it, times multiplied.

    Args:
        settled: levels that are on record, by number of the point; the others get the same scale. Without any the
            median level is the usual speed, so that most points have 1.
    """
    logs = [_log_level(drift.findings, number, len(points)) for number in range(len(points))]
    if settled:
        usual = sum(logs[number] - math.log(level) for number, level in settled.items()) / len(settled)
    else:
        usual = sorted(logs)[len(logs) // 2] if logs else 0.0
    return [math.exp(log - usual) for log in logs]


def _log_level(findings: Sequence[Finding], number: int, count: int) -> float:
    done = number / max(1, count - 1)
    shares = [done if finding.kind == "trend" else float(number >= finding.number) for finding in findings]
    return sum(share * math.log(finding.ratio) for share, finding in zip(shares, findings, strict=True))


def _suspects(data: Data, model: Model, random: "np.random.Generator") -> list[_Suspect]:
    """The likeliest step, episode and trend in the model's residuals, and how often chance does as much."""
    import numpy as np

    explained = change_points.fit(data, model).sizes @ model.columns(data)
    rest, scale = change_points.clip(data, data.logs - explained)
    total = float((rest**2 / scale**2).sum())
    draws = max(LEAST_DRAWS, min(DRAWS, DRAWN_VALUES // len(rest)))

    def suspect(statistic: "Callable[[Array], Array]", further: Model, parameters: int) -> _Suspect:
        alike = change_points.autocorrelation(data, further)
        observed = float(statistic(rest[None])[0])
        by_chance = statistic(change_points.draw_noise(data, rest / scale, alike, draws, random) * scale)
        p = _chance(by_chance, observed)
        return _Suspect(further.with_chances(model, p), observed, parameters, total, p, alike)

    def step(values: "Array") -> "Array":
        return np.asarray(change_points.steps(data, values, scale).max(axis=1))

    def episode(values: "Array") -> "Array":
        return np.asarray(change_points.episodes(data, values, scale)[0].max(axis=1, initial=0.0))

    def trend(values: "Array") -> "Array":
        return change_points.trend(data, values, scale)

    cut = int(np.argmax(change_points.steps(data, rest[None], scale)[0]))
    sizes, spans = change_points.episodes(data, rest[None], scale)
    span = spans[np.argmax(sizes[0])] if len(spans) else (cut,)
    return [
        suspect(step, model.with_steps(cut), 2),
        suspect(episode, model.with_steps(*map(int, span)), 3),
        suspect(trend, model._replace(trend=1.0), 1),
    ]


def _chance(drawn: "Array", observed: float) -> float:
    """Share of draws that are as large as the observed value, which counts as a draw itself."""
    return float((1 + (drawn >= observed * (1 - 1e-9)).sum()) / (1 + len(drawn)))


def _select_change(data: Data, suspects: Sequence[_Suspect], alpha: float) -> Model | None:
    """The model with one more change: the best of the significant ones; None if there are none.

    Schwarz's criterion (1978, Annals of Statistics 6:461-464) weighs what they explain against their parameters.
    """
    count = len(data.logs)

    def cost(suspect: _Suspect) -> float:
        left = max(suspect.total - suspect.explained, 1e-9 * suspect.total, 1e-300)
        return count * math.log(left) + suspect.parameters * math.log(count)

    sure = [suspect for suspect in suspects if suspect.p <= alpha / len(suspects)]
    return min(sure, key=cost).model if sure else None


def _findings(data: Data, points: Sequence[Point], model: Model) -> tuple[Finding, ...]:
    """The model's changes with their intervals."""
    fitted, alike = change_points.fit(data, model), change_points.autocorrelation(data, model)
    # Where neighbours are alike, the variance of a mean is this much larger than that of independent values.
    reach = student.quantile((1 + SURE) / 2, fitted.degrees) * math.sqrt((1 + alike) / (1 - alike))
    places = [("shift", int(data.places[cut]), p) for cut, p in zip(model.cuts, model.chances, strict=True)]
    if model.trend is not None:
        places.insert(0, ("trend", 0, model.trend))
    findings = []
    for (kind, number, p), size, error in zip(places, fitted.sizes, fitted.errors, strict=True):
        low, high = math.exp(size - reach * error), math.exp(size + reach * error)
        at = points[number]
        findings.append(Finding(kind, number, at.block, at.position, math.exp(size), low, high, p))
    return tuple(sorted(findings, key=lambda finding: (finding.number, finding.kind)))

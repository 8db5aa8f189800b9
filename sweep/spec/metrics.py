"""The table of all metrics. Whatever shows, sends or limits the numbers of a trial reads it.

To add a metric, add a line to `METRICS`. With `Shown.TABLE` it stands in the ranked tables and in MLflow's list of
runs; with a direction a search can aim at it. Names are a contract:
results.csv, MLflow and the config use them.

Runs on Python 3.8 with the standard library alone, because workers inside another interpreter import it too.
"""

import enum
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

THROUGHPUT = "throughput_items_per_s"
CAPACITY = "capacity_items_per_s"
COST = "usd_per_million_items"
SAMPLES = "sample_count"
ACCURACY_DROP = "accuracy_drop"


class Unit(enum.Enum):
    """What a number counts. A share is stored as a part of one and shown in percent."""

    ITEMS_PER_S = "items/s"
    MS = "ms"
    SECONDS = "s"
    MB = "MB"
    SHARE = "%"
    USD = "$ per million items"
    NONE = ""


class Better(enum.Enum):
    """Which direction is better."""

    HIGHER = "higher"
    LOWER = "lower"


class Of(enum.Enum):
    """What a metric describes, which also says who computes it."""

    REPEAT = "repeat"  # every repeat has it
    BUILD = "build"  # all builds together; known of a trial that failed later, too
    PRICE = "price"  # a rate at the price of the hardware
    CLASSES = "classes"  # the answers beside the original's, where they are classes
    SCORE = "score"  # the pass over the data that the answers come from
    OUTPUTS = "outputs"  # the distance of the outputs from the original's
    SIZES = "sizes"  # trials with buckets, or with inputs of several sizes
    LOAD = "load"  # trials whose requests arrive by themselves


class Pooled(enum.Enum):
    """How the number of a trial follows from its repeats."""

    MEAN = "mean"
    LARGEST = "largest"
    REQUESTS = "requests"  # from the latencies of all requests of all repeats


class Shown(enum.Enum):
    """Where people see a metric. results.csv, results.json and MLflow have every metric."""

    NOWHERE = "nowhere"
    TRIAL = "trial"  # in the list of a trial's numbers
    TABLE = "table"  # there, and as a column of the ranked tables


@dataclass(frozen=True)
class Metric:
    """One number of a trial."""

    name: str  # with its unit
    label: str  # in a list
    unit: Unit = Unit.NONE
    better: Optional[Better] = None  # None: neither direction is
    of: Of = Of.REPEAT
    shown: Shown = Shown.NOWHERE
    head: str = ""  # of its column; empty: the label
    hint: str = ""  # what the page says about its column
    pooled: Optional[Pooled] = None
    interval: bool = False  # `_low` and `_high` go with it
    paced: bool = False  # it follows the speed of the machine, which differs from repeat to repeat
    quantile: Optional[float] = None  # of the latency of requests, in percent
    decimals: Optional[int] = None  # None: three significant digits
    absent: str = ""  # why a trial may lack it

    @property
    def column(self) -> str:
        return self.head or self.label

    @property
    def low(self) -> str:
        return self.name + "_low"

    @property
    def high(self) -> str:
        return self.name + "_high"

    @property
    def names(self) -> Tuple[str, ...]:
        """The keys of a record that belong to it: the number and the ends of its interval."""
        return (self.name, self.low, self.high) if self.interval else (self.name,)


_UP, _DOWN = Better.HIGHER, Better.LOWER


def _rate(name: str, label: str, head: str) -> Metric:
    shown, pooled = Shown.TABLE, Pooled.MEAN
    return Metric(name, label, Unit.ITEMS_PER_S, _UP, shown=shown, head=head, pooled=pooled, interval=True, paced=True)


def _latency(label: str, quantile: Optional[float] = None, shown: Shown = Shown.NOWHERE) -> Metric:
    return Metric(
        "latency_ms_" + label,
        label,
        Unit.MS,
        _DOWN,
        shown=shown,
        head=label + " ms",
        hint="of all requests of all repeats",
        pooled=Pooled.REQUESTS,
        interval=label == "p50",
        paced=True,
        quantile=quantile,
        absent=label + " was not measured",
    )


# One line for each metric, in the order of the columns. A narrow terminal drops columns from the right.
# fmt: off
METRICS: Tuple[Metric, ...] = (
    _rate(CAPACITY, "capacity", "capacity/s"),
    _rate(THROUGHPUT, "throughput", "items/s"),
    Metric("repeats", "repeats", shown=Shown.TRIAL, decimals=0),
    _latency("p50", 50.0, Shown.TABLE),
    _latency("p90", 90.0),
    _latency("p95", 95.0),
    _latency("p99", 99.0, Shown.TABLE),
    _latency("mean"),
    _latency("max"),
    Metric(SAMPLES, "latencies", decimals=0),
    Metric(COST, "cost", Unit.USD, _DOWN, Of.PRICE, Shown.TABLE, "$/M items", "dollars for a million items",
           interval=True, paced=True, absent="price unknown: the hardware gives no price"),
    Metric("agreement", "agreement", Unit.SHARE, _UP, Of.CLASSES, Shown.TABLE, "agree",
           "share of the answers that are the original model's",
           interval=True, absent="agreement is not known: the outputs have no classes"),
    Metric("step_agreement", "same steps", Unit.SHARE, _UP, Of.CLASSES, Shown.TABLE, "steps",
           "share of the steps or pixels with the original model's class"),
    Metric("whole_agreement", "same whole answers", Unit.SHARE, _UP, Of.CLASSES, Shown.TABLE, "whole",
           "share of the samples with the original model's class in all steps"),
    Metric("padding", "padding", Unit.SHARE, _DOWN, Of.SIZES, Shown.TABLE,
           hint="share of the computed elements that only fill up"),
    Metric("accuracy", "accuracy", Unit.SHARE, _UP, Of.CLASSES, Shown.TABLE,
           hint="share of the labels that were hit", interval=True),
    Metric("reference_accuracy", "original's accuracy", Unit.SHARE, of=Of.CLASSES, shown=Shown.TRIAL),
    Metric("whole_accuracy", "whole answers right", Unit.SHARE, _UP, Of.CLASSES, Shown.TRIAL),
    Metric("reference_whole_accuracy", "original's whole answers", Unit.SHARE, of=Of.CLASSES, shown=Shown.TRIAL),
    Metric("rmse", "RMSE", Unit.NONE, _DOWN, Of.OUTPUTS, Shown.TABLE, hint="root of the mean squared error of labels"),
    Metric("reference_rmse", "original's RMSE", of=Of.OUTPUTS, shown=Shown.TRIAL),
    Metric("mae", "MAE", Unit.NONE, _DOWN, Of.OUTPUTS, Shown.TRIAL),
    Metric("reference_mae", "original's MAE", of=Of.OUTPUTS, shown=Shown.TRIAL),
    Metric("r2", "R2", Unit.NONE, _UP, Of.OUTPUTS, Shown.TABLE, hint="share of the labels' variance that is explained",
           decimals=4),
    Metric("reference_r2", "original's R2", of=Of.OUTPUTS, shown=Shown.TRIAL, decimals=4),
    Metric(ACCURACY_DROP, "loss of accuracy", Unit.SHARE, _DOWN, Of.CLASSES,
           absent="accuracy is not known: the data has no labels"),
    Metric("peak_memory_mb", "memory", Unit.MB, _DOWN, shown=Shown.TRIAL, pooled=Pooled.LARGEST),
    Metric("build_seconds", "build", Unit.SECONDS, _DOWN, Of.BUILD, Shown.TABLE, "build s",
           "all builds of the trial together"),
    Metric("load_seconds", "loading", Unit.SECONDS, _DOWN, pooled=Pooled.MEAN),
    Metric("first_request_ms", "first request", Unit.MS, _DOWN, pooled=Pooled.MEAN),
    Metric("scored_items", "scored items", of=Of.SCORE, shown=Shown.TRIAL, decimals=0),
    Metric("score_seconds", "scoring pass", Unit.SECONDS, _DOWN, Of.SCORE),
    Metric("max_abs_error", "largest difference", Unit.NONE, _DOWN, Of.OUTPUTS),
    Metric("relative_error", "error, in spreads", Unit.NONE, _DOWN, Of.OUTPUTS),
    Metric("cosine_mean", "cosine, mean", Unit.NONE, _UP, Of.OUTPUTS, decimals=6),
    Metric("cosine_min", "cosine, least", Unit.NONE, _UP, Of.OUTPUTS, decimals=6),
    Metric("neighbour_overlap", "same neighbours", Unit.SHARE, _UP, Of.OUTPUTS),
    Metric("padding_flops", "padding, operations", Unit.SHARE, _DOWN, Of.SIZES),
    Metric("item_latency_ms_mean", "latency of an item", Unit.MS, _DOWN, Of.SIZES),
    Metric("artifact_mb", "on disk", Unit.MB, _DOWN, Of.SIZES),
    Metric("loaded_mb", "loaded", Unit.MB, _DOWN, Of.SIZES),
    Metric("arrival_rate_items_per_s", "arrivals", Unit.ITEMS_PER_S, of=Of.LOAD),
    Metric("batch_items_mean", "items of a batch", of=Of.LOAD),
    Metric("left_items", "left in the queue", Unit.NONE, _DOWN, Of.LOAD),
    Metric("overloaded_share", "repeats with overload", Unit.SHARE, _DOWN, Of.LOAD),
    Metric("generator_lag_ms_p99", "lag of the generator", Unit.MS, _DOWN, Of.LOAD),
)
# fmt: on

_BY_NAME: Dict[str, Metric] = {metric.name: metric for metric in METRICS}
COLUMNS = tuple(metric for metric in METRICS if metric.shown is Shown.TABLE)
LATENCIES = tuple(metric for metric in METRICS if metric.pooled is Pooled.REQUESTS)
QUANTILES: Dict[str, float] = {metric.label: metric.quantile for metric in METRICS if metric.quantile is not None}
# Choices for `objective.metric`. Metrics of the answers are for limits, and the others are not known for every trial.
GOALS = tuple(metric for metric in METRICS if metric.better and metric.of in (Of.REPEAT, Of.BUILD, Of.PRICE))
# The names under which a record's comparison with the original has metrics
OF_ANSWERS = tuple(name for metric in METRICS if metric.of in (Of.CLASSES, Of.OUTPUTS) for name in metric.names)


def find(name: str) -> Metric:
    """The metric of this name. A published table may have others: they have no unit, and their name is their label."""
    return _BY_NAME.get(name) or Metric(name, name)


class Side(enum.Enum):
    """Whether a limit is the least or the largest value that is allowed."""

    MIN = "min"
    MAX = "max"


@dataclass(frozen=True)
class Limit:
    """A bound that a trial must keep to; a setting of the objective, like `latency_ms_p99_max`."""

    metric: Metric
    bound: float
    side: Side

    @property
    def name(self) -> str:
        """The setting."""
        return f"{self.metric.name}_{self.side.value}"

    @property
    def worst(self) -> str:
        """Name of the end of the metric's interval that breaks the limit first."""
        return self.metric.high if self.side is Side.MAX else self.metric.low

    def excess(self, value: float) -> float:
        """How far a value is on the wrong side of the bound; negative on the right one."""
        return value - self.bound if self.side is Side.MAX else self.bound - value

    def is_missed(self, value: float) -> bool:
        """Whether a value breaks the limit by more than a rounding error."""
        return self.excess(value) > 1e-9 * max(1.0, abs(self.bound))

    def relative(self, value: float) -> float:
        """The excess as a share of the bound."""
        return self.excess(value) / (abs(self.bound) or 1.0)

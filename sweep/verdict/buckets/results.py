"""What `buckets.json` holds: lists of buckets beside each other, predicted and measured.

One `ListGroup` for each group of trials that are equal but for their buckets. `lists` writes them; tables and pictures
read them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sweep.spec import Status
from sweep.spec.facts import BucketFacts, SizeFacts
from sweep.verdict.buckets.cost import Point, Shape

ANY_SIZE = "dynamic"  # in the place of a list


@dataclass(frozen=True)
class Prediction:
    """What a list is expected to cost. Latency is that of the request that an item is in, the mean over items."""

    item_latency_ms: float
    item_latency_ms_p99: float | None = None
    padding: float | None = None
    build_seconds: float | None = None
    memory_mb: float | None = None
    shares: tuple[float, ...] = ()  # of the items, by bucket
    exact: bool = True  # no list of as many buckets is better


@dataclass(frozen=True)
class ListResult:
    """What a list took, for the traffic."""

    item_latency_ms_mean: float | None = None
    weights: str = "traffic"  # whose shares of the buckets these are: the traffic's, or the window's
    window_item_latency_ms_mean: float | None = None
    latency_ms_p50: float | None = None
    latency_ms_p99: float | None = None
    throughput_items_per_s: float | None = None
    traffic_items_per_s: float | None = None
    padding: float | None = None
    padding_flops: float | None = None
    build_seconds: float | None = None
    artifact_mb: float | None = None
    loaded_mb: float | None = None
    buckets: tuple[BucketFacts, ...] = ()
    sizes: tuple[SizeFacts, ...] = ()

    @property
    def is_of_traffic(self) -> bool:
        return self.weights == "traffic"


@dataclass(frozen=True)
class ListRow:
    """One list of buckets, or one build for any size."""

    buckets: Any  # `ANY_SIZE`, or a list of shapes
    name: str = "asked"  # what kind of list it is: see `lists`
    k: int | None = None  # buckets; None: one build for any size
    best_for_k: bool = False
    over: str = ""  # which limit it exceeds, in words
    predicted: Prediction | None = None
    beside: Prediction | None = None  # what the guesses of the same blocks let expect
    measured: ListResult | None = None
    status: Status | None = None  # None: it was not tried
    reason: str = ""
    key: str | None = None  # of the trial

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The buckets; none where one build takes any size."""
        return () if self.buckets == ANY_SIZE else tuple(tuple(shape) for shape in self.buckets)

    @property
    def has_failed(self) -> bool:
        """It was tried, and there is nothing to believe: one that was only interrupted counts as not tried."""
        return self.status not in (None, Status.OK, Status.STOPPED)


@dataclass(frozen=True)
class Movement:
    """What was measured twice: how far the machine moved between the cost curve and the lists found from it."""

    buckets: tuple[Shape, ...]
    before_ms: float
    after_ms: float
    moved: float  # relative


@dataclass(frozen=True)
class TrafficFacts:
    """The sizes that the lists are for."""

    sizes: tuple[Shape, ...]
    weights: tuple[float, ...]
    source: str = ""  # the data's name, or a file
    own: bool = True  # the data's own: a window's mix comes near it


@dataclass(frozen=True)
class ListGroup:
    """Trials that are equal but for their buckets."""

    label: str = ""
    batch: int = 1  # items of a request
    auto: bool = False  # lists were looked for
    minimise: str = "mean"  # mean | p99
    limits: Mapping[str, float] = field(default_factory=dict)
    problem: str = ""  # why no list was found
    traffic: TrafficFacts | None = None
    curve: tuple[Point, ...] = ()  # what a build costs by its shape
    control: Movement | None = None
    rows: tuple[ListRow, ...] = ()  # fewer buckets first

    @property
    def is_own_traffic(self) -> bool:
        return self.traffic is None or self.traffic.own

    @property
    def is_p99(self) -> bool:
        """Whether the p99 of requests is minimised, and not the mean latency of the request that an item is in."""
        return self.minimise == "p99"

    def believe(self, row: ListRow) -> ListResult | None:
        """What a list took, if it was measured and holds for this traffic or comes near it."""
        result = row.measured
        return result if result is not None and (self.is_own_traffic or result.is_of_traffic) else None

    def measured_ms(self, row: ListRow) -> float | None:
        """What is minimised, in ms; None where it is not known."""
        result = self.believe(row)
        return (result.latency_ms_p99 if self.is_p99 else result.item_latency_ms_mean) if result else None

    def expected_ms(self, row: ListRow) -> float | None:
        """The same as predicted."""
        hope = row.predicted
        return (hope.item_latency_ms_p99 if self.is_p99 else hope.item_latency_ms) if hope else None

"""What a load may be: plain data, for the parent and for workers.

The rules are those of MLPerf LoadGen (Reddi et al. 2020, "MLPerf Inference Benchmark", ISCA, arXiv:1911.02549) where it
has such a scenario:

    saturate   each client sends its next request when the last one is answered (closed loop); not in LoadGen
    single     SingleStream: one item in flight
    offline    Offline: all the data at once
    poisson    Server: arrivals of a Poisson process, latency from the moment that was planned
    trace      Server, with arrivals as they were recorded
    capacity   Server, at the highest rate that meets the service level: LoadGen leaves finding it to the user

Worker side, Python 3.8.
"""

from dataclasses import dataclass, field
from typing import Any, Dict, Mapping, Type

from sweep.spec.declared import within

RATE_MAX = 1e6  # items/s: more than one process can hand out


_WAIT = within(wanted="a number >= 0 (0: no item waits for others)")
_RATE = within(positive=True, most=RATE_MAX, wanted="items/s above 0, at most %d" % RATE_MAX)


@dataclass(frozen=True)
class Saturate:
    concurrency: int = field(metadata=within(least=1))


@dataclass(frozen=True)
class Plain:
    """A load without settings."""


@dataclass(frozen=True)
class Poisson:
    rate: float = field(metadata=_RATE)
    max_wait_ms: float = field(metadata=_WAIT)
    seed: int


@dataclass(frozen=True)
class Trace:
    file: str = field(metadata=within(wanted="the path of a CSV file"))
    speed: float = field(metadata=within(positive=True))
    max_wait_ms: float = field(metadata=_WAIT)


@dataclass(frozen=True)
class Capacity:
    slo_p99_ms: float = field(metadata=within(positive=True))
    max_wait_ms: float = field(metadata=_WAIT)
    probes: int = field(metadata=within(least=3))
    seed: int


LOADS: Dict[str, Type[Any]] = {
    "saturate": Saturate,
    "single": Plain,
    "offline": Plain,
    "poisson": Poisson,
    "trace": Trace,
    "capacity": Capacity,
}


def is_open_loop(load: Mapping[str, Any]) -> bool:
    """Whether items arrive however busy the server is; in a closed loop clients wait for their answers."""
    return load.get("name") in ("offline", "poisson", "trace", "capacity")


def count_clients(load: Mapping[str, Any]) -> int:
    """Requests that each replica has in flight in a closed loop; a replica serves one at a time in an open one."""
    return int(load.get("concurrency", 1))


def request_items(load: Mapping[str, Any], batch: int) -> int:
    """Items that a request holds at most: under `single` one, and the rest of the batch is filled up."""
    return 1 if load.get("name") == "single" else batch


def plan_seconds(load: Mapping[str, Any], window_seconds: float) -> float:
    """Seconds for which items arrive in one repeat, as planned: a trace is played whole."""
    return float(load["seconds"]) / float(load["speed"]) if load.get("name") == "trace" else window_seconds

"""Which loads are valid, and one clear line for those that are not: plain data, for the parent and for workers.

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

import math
from typing import Any, Callable, Dict, Mapping

from sweep.spec import Json, UserError, meant, no_key
from sweep.worker.load import trace

RATE_MAX = 1e6  # items/s: more than one process can hand out
_DERIVED = ("sha256", "arrivals", "seconds")  # of a trace's file: its content is part of what a trial is


def check(path: str, load: Mapping[str, Any]) -> Json:
    """The load with checked values; a trace also gets digest, number and length of the arrivals in its file.

    Args:
        path: of this section, for messages.

    Raises:
        UserError: saying what is wrong and what would work.
    """
    name = str(load["name"])
    if name not in _FIELDS:
        raise UserError("%s.name: there is no load '%s': %s" % (path, name, meant(name, _FIELDS)))
    fields = _FIELDS[name]
    for key in load:
        if key not in ("name", *fields, *(_DERIVED if name == "trace" else ())):
            raise no_key("%s.%s" % (path, key), fields)
    values: Json = {"name": name}
    for key, checked in fields.items():
        if key not in load:
            raise UserError("load %s has no %s: say %s.%s=..." % (name, key, path, key))
        values[key] = checked("%s.%s" % (path, key), load[key])
    if name == "trace":
        recorded = trace.read(values["file"])
        derived = (recorded.sha256, len(recorded.times_s), recorded.seconds)
        values.update(zip(_DERIVED, derived), file=recorded.path)
    return values


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


def _whole(least: int) -> Callable[[str, Any], int]:
    def checked(path: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError("%s must be an integer >= %d, not %r" % (path, least, value))
        return value

    return checked


def _number(path: str, value: Any, holds: Callable[[float], bool], wanted: str) -> float:
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or not holds(value):
        raise UserError("%s must be %s, not %r" % (path, wanted, value))
    return float(value)


def _positive(path: str, value: Any) -> float:
    return _number(path, value, lambda number: number > 0, "a number above 0")


def _wait(path: str, value: Any) -> float:
    return _number(path, value, lambda number: number >= 0, "a number >= 0 (0: no item waits for others)")


def _rate(path: str, value: Any) -> float:
    return _number(path, value, lambda number: 0 < number <= RATE_MAX, "items/s above 0, at most %d" % RATE_MAX)


def _file(path: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UserError("%s must be the path of a CSV file, not %r" % (path, value))
    return value


_FIELDS: Dict[str, Dict[str, Callable[[str, Any], Any]]] = {
    "saturate": {"concurrency": _whole(1)},
    "single": {},
    "offline": {},
    "poisson": {"rate": _rate, "max_wait_ms": _wait, "seed": _whole(0)},
    "trace": {"file": _file, "speed": _positive, "max_wait_ms": _wait},
    "capacity": {"slo_p99_ms": _positive, "max_wait_ms": _wait, "probes": _whole(3), "seed": _whole(0)},
}

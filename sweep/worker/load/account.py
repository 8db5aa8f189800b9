"""One repeat of an open load, all replicas together: its rate, its samples, and whether to believe them.

The generator itself can be slow, and two numbers show it. Lag: from the moment at which a batch could have left with
an idle replica to the moment at which it did. Own time: from one answer to the next batch while work waits, which the
loop takes and not the model. `gates.generator` rejects a trial where either is more than a twentieth.

Worker side, Python 3.8.
"""

import math
from typing import Any, Mapping, Sequence, Tuple

import numpy as np

from sweep.spec.facts import LoadFacts
from sweep.worker.window import Totals

BLOCKS = 10  # parts of a window in which the queue's growth is looked at
T_QUANTILE = 4.297  # Student's t with BLOCKS - 1 degrees of freedom: exceeded by chance once in 1,000


def sum_up(load: Mapping[str, Any], parts: Sequence[Mapping[str, np.ndarray]]) -> Totals:
    """One repeat of an open load; its seconds go from the start to the last answer, and are at least the window's.

    Args:
        parts: of each replica: start_ns and end_ns of its requests, and what `generator.collect_window` returned.
    """
    due, done = (np.concatenate([part[name] for part in parts]) for name in ("due_ns", "done_ns"))
    order = np.argsort(due, kind="stable")
    due, done = due[order], done[order]
    arrived = parts[0]["arrived_ns"]
    start, length = (int(number) for number in parts[0]["window_ns"])
    span = max([length / 1e9, *((part["end_ns"].max() - start) / 1e9 for part in parts if len(part["end_ns"]))])
    requests = sum(len(part["start_ns"]) for part in parts)
    busy = sum(float((part["end_ns"] - part["start_ns"]).sum()) for part in parts)
    lag_ms_mean, lag_ms_p50, lag_ms_p99, own_share = _measure_lag(parts, busy)
    facts = LoadFacts(
        scenario=str(load["name"]),
        rate=load.get("rate", len(arrived) / (length / 1e9) if length else None),
        arrived=len(arrived),
        finished=len(due),
        left=len(arrived) - len(due),
        batch_mean=len(due) / max(1, requests),
        busy_share=min(1.0, busy / (len(parts) * span * 1e9)),
        lag_ms_mean=lag_ms_mean,
        lag_ms_p50=lag_ms_p50,
        lag_ms_p99=lag_ms_p99,
        own_share=own_share,
        overloaded=bool(length) and is_growing(count_waiting(arrived, done, start, length)),
    )
    latency, items = (done - due) / 1e6, {"due_ns": due, "done_ns": done}
    return Totals(len(due) / span, span, latency, float(latency.mean()), np.ones(requests, bool), items, facts)


def _measure_lag(parts: Sequence[Mapping[str, np.ndarray]], busy_ns: float) -> Tuple[float, float, float, float]:
    """Mean, p50 and p99 of the lag in ms, and the share of own time: see `LoadFacts`."""
    lag, own = [], []
    for part in parts:
        free = np.concatenate([part["window_ns"][:1], part["end_ns"][:-1]])[: len(part["start_ns"])]
        gap = part["start_ns"] - np.maximum(free, part["ready_ns"])
        idle = part["ready_ns"] > free
        lag.append(gap[idle])
        own.append(gap[~idle])
    lags, owns = np.concatenate(lag) / 1e6, float(np.concatenate(own).sum())
    p50, p99 = np.percentile(lags, [50, 99]).tolist() if len(lags) else (0.0, 0.0)
    requests = sum(len(part["start_ns"]) for part in parts)
    return float(lags.sum()) / max(1, requests), p50, p99, owns / max(1.0, owns + busy_ns)


def count_waiting(arrived_ns: np.ndarray, done_ns: np.ndarray, start_ns: int, length_ns: int) -> np.ndarray:
    """(BLOCKS + 1,) items that have arrived and are not answered, at the ends of equal parts of the window."""
    moments = start_ns + np.linspace(0, length_ns, BLOCKS + 1)
    arrived = np.searchsorted(np.sort(arrived_ns), moments, side="right")
    answered = np.searchsorted(np.sort(done_ns), moments, side="right")
    waiting: np.ndarray = arrived - answered
    return waiting


def is_growing(waiting: np.ndarray) -> bool:
    """Whether a backlog grows, and does not only fluctuate: a one-sided t-test that the mean of its steps is above 0.

    If the server cannot keep up, the steps are about independent, and their mean is the difference of the two rates
    (Student 1908, Biometrika 6:1-25). If it can, they cancel out, so false alarms are rarer than the level says.
    """
    steps = np.diff(waiting)
    mean, deviation = float(steps.mean()), float(steps.std(ddof=1))
    return mean > 0 and mean * math.sqrt(len(steps)) > T_QUANTILE * deviation

"""Groups of `buckets.json` as a sweep leaves them, made from a distribution of sizes and a cost that is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sweep.spec import Json, from_json, to_json
from sweep.verdict.buckets import bucketing, lists
from sweep.verdict.buckets.cost import Curve, Point, evaluate, powers_of_two, serve
from sweep.verdict.buckets.results import ListGroup
from sweep.verdict.buckets.traffic import Traffic

CURVE_1D = [(8,), (16,), (32,), (64,), (128,), (178,)]


def lengths(count: int = 1200, seed: int = 0) -> "np.ndarray":
    """Like short texts in tokens: 4 to 178, half of them below 24, a few long ones."""
    random = np.random.default_rng(seed)
    found = np.clip(np.round(random.lognormal(np.log(23), 0.62, count)), 4, 160).astype(int)
    found[0], found[1] = 178, 4
    return found


def images(count: int = 300, seed: int = 0) -> "np.ndarray":
    """(count, 2): heights and widths, upright and lying."""
    random = np.random.default_rng(seed)
    short = random.choice([128, 160, 192, 224], count, p=[0.3, 0.3, 0.2, 0.2])
    long = np.round(short * random.choice([1.0, 4 / 3, 1.5], count) / 32).astype(int) * 32
    lying = random.random(count) < 0.5
    return np.where(lying[:, None], np.column_stack([short, long]), np.column_stack([long, short]))


def group(
    sizes: Any, curve: Sequence[tuple[int, ...]] = CURVE_1D, *, batch: int = 1, k_max: int = 6, measure: int = 3
) -> Json:
    """What `buckets=auto` would leave: the best list for every k, the best `measure` of them measured, references."""
    random = np.random.default_rng(1)
    traffic = Traffic.of(sizes)
    points = [_point(size, batch) for size in curve]
    cost = Curve(points, batch)
    best = list(bucketing.solve(traffic, cost, k_max))
    tried = {id(choice) for choice in sorted(best, key=lambda choice: choice.expected_seconds)[:measure]}
    rows = [_row(traffic, cost, c.buckets, "best", id(c) in tried, random) for c in best]
    powers = powers_of_two(traffic.largest)
    used = sorted(set(serve(traffic, powers).tolist()))
    rows.append(_row(traffic, cost, [powers[n] for n in used], "powers of two", True, random))
    rows[0] |= {**_row(traffic, cost, best[0].buckets, "pad to max", True, random), "best_for_k": True}
    rows.append(_dynamic(traffic, batch, random))
    return {
        "label": f"minilm-onnxruntime-fp32-b{batch}-c1",
        "batch": batch,
        "auto": True,
        "traffic": {"sizes": traffic.sizes.tolist(), "weights": traffic.weights.tolist(), "source": "snippets"},
        "curve": [
            {"size": list(p.size), "seconds": p.seconds, "memory_mb": p.memory_mb, "build_seconds": p.build_seconds}
            for p in points
        ],
        "rows": rows,
    }


def parsed(found: Json) -> ListGroup:
    """The group as it is read."""
    return from_json(ListGroup, found)


def asked(found: Json) -> Json:
    """The same of a sweep whose lists a person gave."""
    rows = [{**row, "name": "asked" if row["name"] == "best" else row["name"]} for row in found["rows"]]
    return {**found, "auto": False, "rows": [row for row in rows if row["measured"]]}


def unmeasured(row: Json) -> Json:
    return {**row, "measured": None, "status": None, "key": None}


def seconds(elements: float, batch: int) -> float:
    """Of one request: a fixed part, one by size and one by its square, as attention has it."""
    return (1.1 + batch * (0.055 * elements + 0.00012 * elements**2)) / 1000


def _point(size: tuple[int, ...], batch: int) -> Point:
    elements = float(np.prod(size)) / (1 if len(size) == 1 else 600)
    return Point(size, seconds(elements, batch), 91.0, 9.0 + elements / 60)


def _row(
    traffic: Traffic, cost: Curve, buckets: Any, name: str, is_measured: bool, random: "np.random.Generator"
) -> Json:
    choice = evaluate(traffic, cost, buckets)
    told = []
    for bucket, share in zip(choice.buckets, choice.shares, strict=True):
        mean = cost.at(bucket).seconds * 1000 * random.normal(1.02, 0.015)
        percentiles = {"p50": 0.985 * mean, "p90": 1.06 * mean, "p95": 1.1 * mean, "p99": 1.3 * mean}
        items = round(share * 6000)
        told.append(
            {
                "bucket": list(bucket),
                "share": share,
                "requests": -(-items // cost.batch),
                "items": items,
                "latency_ms_mean": mean if items else None,
                "latency_ms": percentiles if items else {},
                "build_seconds": 9.5,
                "artifact_mb": 91.0,
                "memory_mb": 96.0,
            }
        )
    mean = sum(each["share"] * (each["latency_ms_mean"] or 0) for each in told)
    measured = {
        "item_latency_ms_mean": mean,
        "latency_ms_p50": 0.9 * mean,
        "latency_ms_p99": choice.p99_seconds * 1000 * 1.1,
        "throughput_items_per_s": 1000 * cost.batch / mean,
        "padding": choice.waste,
        "padding_flops": None,
        "build_seconds": 9.5 * choice.k,
        "artifact_mb": 91.0 * choice.k,
        "loaded_mb": None,
        "buckets": told,
        "sizes": [],
    }
    return {
        "buckets": [list(bucket) for bucket in choice.buckets],
        "name": name,
        "k": choice.k,
        "best_for_k": name == "best",
        "predicted": to_json(lists.predict(choice, cost.batch)),
        "measured": measured if is_measured else None,
        "status": "ok" if is_measured else None,
        "reason": "",
        "key": f"{name}-{choice.k}" if is_measured else None,
    }


def _dynamic(traffic: Traffic, batch: int, random: "np.random.Generator") -> Json:
    """A build for any size: dearer than a fixed shape, and nothing padded."""
    shares = traffic.weights / traffic.weights.sum()
    told = []
    for size, share in zip(traffic.sizes.tolist(), shares, strict=True):
        elements = float(np.prod(size)) / (1 if len(size) == 1 else 600)
        mean = 1000 * seconds(elements, batch) * 1.15 * random.normal(1.05, 0.02) + 0.4
        items = max(1, round(share * 6000))
        told.append({"size": size, "requests": items, "items": items, "latency_ms_mean": mean})
    mean = sum(share * each["latency_ms_mean"] for share, each in zip(shares, told, strict=True))
    measured = {
        "item_latency_ms_mean": mean,
        "latency_ms_p50": 0.9 * mean,
        "latency_ms_p99": max(each["latency_ms_mean"] for each in told),
        "throughput_items_per_s": 1000 * batch / mean,
        "padding": 0.0,
        "padding_flops": None,
        "build_seconds": 9.0,
        "artifact_mb": 91.0,
        "loaded_mb": None,
        "buckets": [],
        "sizes": told[:: max(1, len(told) // 64)],
    }
    return {
        "buckets": "dynamic",
        "name": "dynamic",
        "k": None,
        "best_for_k": False,
        "predicted": None,
        "measured": measured,
        "status": "ok",
        "reason": "",
        "key": "dynamic",
    }

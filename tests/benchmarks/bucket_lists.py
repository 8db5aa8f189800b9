"""Bucket lists on 1,200 real texts, backend by backend, and again on 1,200 others that the lists were not chosen by.

First `buckets=auto`: pad to maximum, powers of two, dynamic sizes where the backend has them, and the best list for
every number of buckets, each measured. Then, on the held-out texts, the best lists beside powers of two with as many
buckets. Needs the extra `text`. A backend takes 5 to 20 minutes; nothing else should run meanwhile.

python tests/benchmarks/bucket_lists.py [--outputs F] [--batch 1] [--buckets 7] [--no-held-out] [backend ...]
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from sweep.store import ledger
from sweep.verdict.buckets.cost import powers_of_two

BACKENDS = ["torch", "torchscript", "onnxruntime", "openvino", "inductor"]
COMMON = ["model=minilm", "effort=quick", "effort.window_seconds=3", "tracking=none"]
HELD_OUT = (4, 7)  # numbers of buckets that are tried on the other texts

Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--count", type=int, default=1200)
    parser.add_argument("--buckets", type=int, default=7, help="as many powers of two serve any of the texts")
    parser.add_argument("--no-held-out", action="store_true", help="leave out the other texts")
    parser.add_argument("backends", nargs="*", metavar="backend")
    options = parser.parse_args()
    for backend in options.backends or BACKENDS:
        where = [f"backend={backend}", f"batch={options.batch}", f"data.count={options.count}"]
        most = [f"bucketing.max={options.buckets}", f"bucketing.measure={options.buckets}"]
        chosen, seconds = sweep(options.outputs, *where, "buckets=auto", *most)
        show(f"{backend}, batch {options.batch}, {options.count} texts: {seconds:.0f} s", chosen)
        if options.no_held_out:
            continue
        lists = [*held_out_lists(chosen), [[largest(chosen)]]]
        if any(row["buckets"] == "dynamic" for row in chosen):
            lists.append("dynamic")
        asked = ",".join(json.dumps(each).replace(" ", "").replace('"', "") for each in lists)
        found, seconds = sweep(options.outputs, *where, "data.split=held_out", f"buckets={asked}")
        show(f"{backend}, batch {options.batch}, as many others: {seconds:.0f} s", found)
        print(json.dumps({"backend": backend, "batch": options.batch, **held_out_ratios(found, chosen)}), flush=True)


def sweep(outputs: Path, *overrides: str) -> tuple[list[Row], float]:
    """The rows of the sweep's only group in buckets.json, and the seconds that it took."""
    command = [sys.executable, "-m", "sweep", "-m", *COMMON, f"outputs={outputs}", *overrides]
    begin = time.perf_counter()
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}\n{ran.stdout[-4000:]}{ran.stderr[-4000:]}")
    (group,) = json.loads((ledger.find(outputs, "last") / "buckets.json").read_text())
    return group["rows"], time.perf_counter() - begin


def largest(rows: list[Row]) -> int:
    return int(next(row for row in rows if row["name"] == "pad to max")["buckets"][0][0])


def held_out_lists(rows: list[Row]) -> list[list[list[int]]]:
    """The best list of as many buckets as `HELD_OUT` names, and the largest powers of two, as many."""
    lists = []
    for k in HELD_OUT:
        best = next((row["buckets"] for row in rows if row["best_for_k"] and row["k"] == k), None)
        if best is not None:
            powers = [list(shape) for shape in powers_of_two((largest(rows),))[-k:]]
            lists += [best, powers]
    return lists


def held_out_ratios(found: list[Row], chosen: list[Row]) -> dict[str, float]:
    """Throughput of the best list over that of powers of two with as many buckets."""
    rate = {json.dumps(row["buckets"]): row["measured"]["throughput_items_per_s"] for row in found if row["measured"]}
    lists = [json.dumps(each) for each in held_out_lists(chosen)]
    pairs = zip(lists[::2], lists[1::2], strict=True)
    return {f"best over powers of two, k={len(json.loads(a))}": round(rate[a] / rate[b], 3) for a, b in pairs}


def show(title: str, rows: list[Row]) -> None:
    print(f"\n{title}")
    print("k   items/s  p50 ms  p99 ms  item ms  predicted  padding  flops  build s  list")
    for row in sorted(rows, key=lambda row: (row["k"] or 0, row["name"])):
        measured, predicted = row["measured"], row["predicted"] or {}
        if measured is None:
            print(f"{row['k'] or '-':<3} {row['status'] or 'not measured'}: {row['reason']} {row['buckets']}")
            continue
        told = [measured[name] for name in ("throughput_items_per_s", "latency_ms_p50", "latency_ms_p99")]
        told += [measured["item_latency_ms_mean"], predicted.get("item_latency_ms")]
        told += [measured["padding"], measured["padding_flops"], measured["build_seconds"]]
        cells = [f"{value:>7.2f}" if value is not None else f"{'-':>7}" for value in told]
        mark = "*" if row["best_for_k"] else " "
        print(f"{row['k'] or '-'}{mark} {'  '.join(cells)}  {row['name']} {row['buckets']}", flush=True)


if __name__ == "__main__":
    main()

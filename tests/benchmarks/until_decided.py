"""The time to a verdict: `effort=until_decided` beside the grid with the same effort for every trial.

    python -m tests.benchmarks.until_decided [--rounds 1] [--full effort=normal] [OVERRIDES]

Both run the same space, over one store whose builds are made first, so that both measure only and neither pays for the
other's imports on disk. Printed: seconds of each, repeats, verdicts, whether the choices agree (the same trial, or one
that the grid's own repeats place within the margin of its choice), and the share of the time.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sweep.spec import Record, Status
from sweep.store import ledger, query
from sweep.verdict import race
from sweep.verdict.select import is_stopped_early

SPACE = [
    "model=digits",
    "backend=onnxruntime,openvino,torch,torchscript",
    "precision=fp32,bf16",
    "batch=1,4,16,64",
    "cores=1,2",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--full", default="effort=normal")
    parser.add_argument("--race", nargs="*", default=["effort=until_decided"])
    parser.add_argument("overrides", nargs="*", default=SPACE)
    asked = parser.parse_args()
    space = asked.overrides or SPACE
    with tempfile.TemporaryDirectory() as scratch:
        outputs = Path(scratch)
        launch([*space, asked.full, "plan=build"], outputs)
        shares = []
        for one in range(asked.rounds):
            seed = f"seed={one}"
            full, whole = launch([*space, asked.full, seed], outputs)
            raced, spent = launch([*space, *asked.race, seed], outputs)
            describe(asked.full, full, whole)
            describe(" ".join(asked.race), raced, spent)
            print(f"same choice: {agree(full, raced)}; share of the time: {spent / whole:.2f}\n", flush=True)
            shares.append(spent / whole)
    print(f"mean share of the time over {len(shares)} rounds: {sum(shares) / len(shares):.2f}")


def launch(overrides: list[str], outputs: Path) -> tuple[ledger.History, float]:
    """Run a sweep for real; what it left, and its wall seconds with the start of the program."""
    line = [sys.executable, "-m", "sweep", *overrides, f"outputs={outputs}", "tracking=none"]
    print("$ " + shlex.join(["python", *line[1:-2]]), flush=True)
    begun = time.monotonic()
    done = subprocess.run(line, check=False, stdout=subprocess.DEVNULL)
    if done.returncode not in (0, 2):
        raise SystemExit(f"it ended with {done.returncode}")
    return ledger.History(ledger.find(outputs, "last")), time.monotonic() - begun


def describe(name: str, history: ledger.History, seconds: float) -> None:
    records = query.records(history)
    ran = [r for r in records if r.repeats]
    ok, early = sum(r.status is Status.OK for r in records), sum(map(is_stopped_early, records))
    repeats = sum(len(r.repeats) for r in ran)
    most = max((len(r.repeats) for r in ran), default=0)
    print(f"{name}: {seconds:.0f} s, {len(ran)} trials measured ({ok} to the end, {early} stopped early), ", end="")
    print(f"{repeats} repeats, at most {most} of one")
    for entry in ledger.entries(history.folder):
        if entry["kind"] == "look":
            print(f"   look {entry['number']}: {entry['trials']} in the race, {len(entry['out'])} left out")
    verdict = history.verdict or {}
    print(f"   {verdict.get('kind')}: {verdict.get('sentence')}", flush=True)


def agree(full: ledger.History, raced: ledger.History) -> str:
    """Whether the race chose what the grid chose, by key or within the margin by the grid's own repeats."""
    first, second = ((each.verdict or {}).get("winner") for each in (full, raced))
    if first is None or second is None:
        return f"the grid chose {_label(full, first)}, the race {_label(raced, second)}"
    if first == second:
        return "yes"
    objective = query.settings(full).objective
    known: dict[str, Record] = full.records
    ratio = race.compare(known[first], known[second], objective)
    gap = (known[first].number(objective.metric) or 0.0) / (known[second].number(objective.metric) or 1.0)
    text = f"{_label(full, second)} is {gap:.3f}x behind {_label(full, first)} in the grid"
    return f"{'yes, within the margin' if ratio and abs(ratio.log) <= objective.margin else 'NO'}: {text}"


def _label(history: ledger.History, key: str | None) -> str:
    return history.records[key].label if key else "nobody"


if __name__ == "__main__":
    main()

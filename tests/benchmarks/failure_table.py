"""Inject everything that can go wrong and print what was recorded, the table of docs/reference/statuses.md.

python -m tests.benchmarks.failure_table
"""

import re
import tempfile
from pathlib import Path

from sweep.spec import Record, Status
from tests.support import injections


def main() -> None:
    print("| injected | status | kind | the reason on record |\n|---|---|---|---|")
    rows = 0
    for group in injections.GROUPS:
        with tempfile.TemporaryDirectory() as folder:
            done = injections.run(group, Path(folder))
            for injection in group.injections:
                record = done.records[injection.value]
                print(f"| {injection.what} | {record.status.value} | {_kind(record)} | {_told(record)} |", flush=True)
                rows += 1
            healthy = done.records[group.healthy].status
            assert healthy is Status.OK, healthy
            assert done.status == 0, done.errors
    print(f"\n{rows} injected in {len(injections.GROUPS)} sweeps; in each the trial beside them was measured.")


def _kind(record: Record) -> str:
    return "" if record.failure is None or record.status is Status.INVALID else record.failure.kind.value


def _told(record: Record) -> str:
    told = record.reason
    left = [build["left_behind"] for build in record.builds if build.get("left_behind")]
    told += f"noted: left behind and ended: {left[0]}" if left else ""
    told = re.sub(r"(?<=: ).{0,12}/tmp/\S+", "...", told)
    return (told if len(told) <= 160 else told[:157] + "...").replace("|", "\\|")


if __name__ == "__main__":
    main()

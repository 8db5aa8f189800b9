"""What can go wrong with one trial, each with the setting that makes it happen and what has to be recorded.

The tests run all of it; `python -m tests.benchmarks.failure_table` prints the table of what was injected and what was
recorded.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from sweep.spec import FailureKind, Record, Status
from sweep.store import ledger
from tests.support.running import ROOT, command

K, S = FailureKind, Status


@dataclass(frozen=True)
class Injection:
    """One trial of a sweep over `axis`, and how it must end."""

    what: str  # that was injected, for people
    value: str  # of the axis
    status: Status
    kind: FailureKind | None
    says: str  # a pattern of the reason


@dataclass(frozen=True)
class Group:
    """One sweep: an axis whose values each break one trial, and the value that breaks nothing."""

    axis: str
    healthy: str
    injections: tuple[Injection, ...]
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Injected:
    """A sweep that is over: its exit status, what it said, and the record of each value of the axis."""

    status: int
    shown: str
    errors: str
    history: ledger.History
    records: dict[str, Record]


FAULTS = Group(
    "backend.options.fault",
    "null",
    (
        Injection("build raises an exception", "build_raise", S.BUILD_FAILED, K.UNKNOWN, "fake compiler: it does not"),
        Injection("build aborts", "build_abort", S.BUILD_FAILED, K.COMPILER_CRASH, "killed by SIGABRT"),
        Injection("build segfaults", "build_segfault", S.BUILD_FAILED, K.COMPILER_CRASH, "killed by SIGSEGV"),
        Injection("build eats memory", "build_memory", S.BUILD_FAILED, K.HOST_OOM, "the limit is 300 MB: killed"),
        Injection("build leaves grandchildren", "build_grandchildren", S.OK, None, ""),
        Injection("build prints 100 MB", "build_output_flood", S.OK, None, ""),
        Injection(
            "build writes a truncated artifact",
            "build_truncated",
            S.RUN_FAILED,
            K.ARTIFACT_INCOMPATIBLE,
            r"model\.npz \(\d+ bytes\) cannot be loaded",
        ),
        Injection(
            "build silently returns the uncompiled model",
            "build_silent_fallback",
            S.BUILD_FAILED,
            K.PARTIAL_PLACEMENT,
            "only 0% of the operators run on the target",
        ),
        Injection("disk is full during a build", "disk_full", S.BUILD_FAILED, K.DISK_FULL, "^disk full: "),
        Injection(
            "compiler's package is missing", "import_missing", S.BUILD_FAILED, K.TOOLCHAIN_MISSING, "fake_compiler_sdk"
        ),
        Injection("wrong answers", "wrong_answers", S.REJECTED, K.WRONG_OUTPUT, "same answer .* for 0 % of 64 samples"),
        Injection(
            "constant answers", "constant_answers", S.REJECTED, K.WRONG_OUTPUT, "outputs do not depend on the inputs"
        ),
        Injection("NaN answers", "nan_answers", S.REJECTED, K.NUMERICAL_ERROR, "hold NaN or infinity"),
        Injection("request raises an exception", "run_raise", S.RUN_FAILED, K.UNKNOWN, "a request failed"),
        Injection("measurement segfaults", "run_crash", S.RUN_FAILED, K.CRASH, "killed by SIGSEGV"),
        Injection(
            "measurement dies in the third repeat",
            "run_crash_third_repeat",
            S.RUN_FAILED,
            K.CRASH,
            r"killed by SIGSEGV.*\(after 2 whole repeats\)",
        ),
    ),
    ("limits.build_memory_mb=300",),
)
HANGING_BUILD = Group(
    "backend.options.fault",
    "null",
    (Injection("build hangs", "build_hang", S.BUILD_FAILED, K.TIMEOUT, "not finished after 2 s: killed at the dead"),),
    ("limits.build_seconds=2",),
)
HANGING_RUN = Group(
    "backend.options.fault",
    "null",
    (
        Injection("measurement hangs", "run_hang", S.RUN_FAILED, K.TIMEOUT, "not finished after 2 s: killed"),
        Injection(
            "measurement hangs in the third repeat",
            "run_hang_third_repeat",
            S.RUN_FAILED,
            K.TIMEOUT,
            r"not finished after 2 s.*\(after 2 whole repeats\)",
        ),
    ),
    ("limits.measure_seconds=2",),
)
MODELS = Group(
    "model._target_",
    "sweep.workloads.tiny.linear",
    (
        Injection(
            "model factory raises",
            "tests.support.bad_workloads.raises",
            S.BUILD_FAILED,
            K.UNKNOWN,
            "RuntimeError: the checkpoint is not where it should be$",
        ),
        Injection(
            "model factory segfaults",
            "tests.support.bad_workloads.dies",
            S.BUILD_FAILED,
            K.CRASH,
            "killed by SIGSEGV in dies",
        ),
        Injection(
            "model factory imports what is missing",
            "tests.support.bad_workloads.needs_what_is_not_here",
            S.BUILD_FAILED,
            K.TOOLCHAIN_MISSING,
            "No module named 'no_such_package_at_all'",
        ),
        Injection(
            "model factory does not exist",
            "tests.support.bad_workloads.rises",
            S.INVALID,
            None,
            r"has no rises: did you mean 'raises'\?",
        ),
    ),
)
DATA = Group(
    "data._target_",
    "sweep.workloads.tiny.samples",
    (
        Injection(
            "data with NaN",
            "tests.support.bad_workloads.data_with_nan",
            S.INVALID,
            None,
            r"1 values that are NaN or infinite, the first at index \(3, 1\)",
        ),
        Injection(
            "labels out of range",
            "tests.support.bad_workloads.labels_out_of_range",
            S.INVALID,
            None,
            "1 labels outside 0 to 3, the first is 4 at index 5",
        ),
        Injection(
            "fewer labels than samples",
            "tests.support.bad_workloads.fewer_labels",
            S.INVALID,
            None,
            "63 labels for 64 samples",
        ),
    ),
)
CORES = Group("cores", "1", (Injection("cores above the machine", "4096", S.INVALID, None, "4096 .*use cores="),))
PACKAGES = Group(
    "model.requires",
    "[]",
    (
        Injection(
            "missing package",
            "[no-such-distribution]",
            S.UNAVAILABLE,
            None,
            "not installed: no-such-distribution; python -m pip install no-such-distribution",
        ),
    ),
)
BUCKETS = Group(
    "buckets",
    "[8]",
    (
        Injection(
            "bucket shorter than every input",
            "[4]",
            S.INVALID,
            None,
            r"32 of 32 inputs fit no bucket of \[\[4, 4\]\]: the largest is 8x8",
        ),
        Injection("bucket that no input needs, beside one that fits", "[4,16]", S.OK, None, ""),
    ),
    (
        "model._target_=tests.support.bad_workloads.pooled",
        "data._target_=tests.support.bad_workloads.pictures",
        "model.bucket_dims={picture: [1, 2]}",
    ),
)
GROUPS = (FAULTS, HANGING_BUILD, HANGING_RUN, MODELS, DATA, CORES, PACKAGES, BUCKETS)


def run(group: Group, outputs: Path) -> Injected:
    """Run the sweep of a group with the real program, as a process of its own, unless that is done."""
    said = outputs / "said.json"
    if not said.exists():
        values = ",".join([group.healthy, *(injection.value for injection in group.injections)])
        line = command(outputs, f"{group.axis}={values}", *group.limits)
        done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT, timeout=120)
        said.write_text(json.dumps([done.returncode, done.stdout, done.stderr]))
    status, shown, errors = json.loads(said.read_text())
    history = ledger.History(ledger.find(outputs, "last"))
    records = {}
    for record in history.records.values():
        found = re.search(rf"(?:^|\s){re.escape(group.axis)}=(\S+)", " ".join(record.overrides))
        assert found, record.overrides
        records[found[1]] = record
    return Injected(status, shown, errors, history, records)


def check(done: Injected, group: Group, injection: Injection) -> None:
    """What must hold for each injected failure, whatever it was."""
    record = done.records[injection.value]
    assert record.status is injection.status, record.reason
    assert re.search(injection.says, record.reason), record.reason
    assert "\n" not in record.reason
    assert len(record.reason) <= 400
    if record.status in (Status.OK, Status.UNAVAILABLE):
        assert record.failure is None
        assert bool(record.reason) == (record.status is not Status.OK)
        return
    failure = record.failure
    if record.status is Status.INVALID:  # a rule has no kind; a log only where a worker found it out
        assert failure is None or (failure.log is not None and Path(failure.log).is_file())
        return
    assert failure is not None
    assert failure.kind is injection.kind, failure
    assert failure.log is not None
    assert Path(failure.log).is_file()
    assert failure.exit_code is not None or failure.signal is not None
    assert failure.seconds > 0
    assert failure.versions.keys() >= {"numpy"}
    assert "sweep.isolate.server" in failure.command


def check_sweep(done: Injected, group: Group) -> None:
    """What must hold for the sweep around the failures."""
    count = 1 + len(group.injections)
    assert done.status == 0
    assert done.errors == ""
    assert "Traceback" not in done.shown
    assert len(done.records) == len(done.history.records) == len(done.history.trials) == count
    assert done.history.finished
    assert done.records[group.healthy].status is Status.OK
    rows = json.loads((done.history.folder / "results.json").read_text())
    assert len(rows) == count
    assert {row["key"] for row in rows} == set(done.history.trials)

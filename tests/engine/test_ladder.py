"""What is tried when a build fails: every attempt on record, the first that works used, and the trial says which."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.engine import ladder
from sweep.engine.references import Reference
from sweep.engine.tasks import Built, Wanted
from sweep.spec import BuildInfo, BuildSpec, Failure, FailureKind, Status
from sweep.spec.facts import LadderFacts
from tests.support.running import entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
FAULTY = "backend.options.fault=build_raise"


@pytest.mark.usefixtures("warm_pool")
def test_first_variant_that_builds_is_used_and_reported(tmp_path: Path) -> None:
    rungs = "+backend.ladder=[{fault_text: still no},{fault: null},{build_seconds: 1.0}]"
    status, history = sweep(tmp_path, FAULTY, rungs)
    (record,) = history.records.values()
    assert (status, record.status) == (0, Status.OK)
    (build,) = record.builds
    assert build["options"]["fault"] is None
    assert build["options"]["build_seconds"] == 0.0  # the third rung was not needed
    told = [attempt["failure"]["summary"] for attempt in build["attempts"]]
    assert len(told) == 2
    assert "still no" in told[1]
    assert record.ladder == (LadderFacts(build["options"], 2),)
    attempts = entries(history, "build")
    assert [bool(entry["failure"]) for entry in attempts] == [True, True, False]
    assert len({entry["key"] for entry in attempts}) == 3  # nothing was overwritten


def test_second_sweep_remembers_every_attempt(tmp_path: Path) -> None:
    for _ in range(2):
        _, history = sweep(tmp_path, FAULTY, "+backend.ladder=[{fault: null}]")
    assert entries(history, "build") == []
    (record,) = history.records.values()
    assert record.builds[0]["reused"]
    assert record.ladder[0].failed_before == 1


def test_first_reason_stands_where_every_variant_fails(tmp_path: Path) -> None:
    status, history = sweep(
        tmp_path, FAULTY, "backend.options.fault_text=too large", "+backend.ladder=[{fault_text: no}]"
    )
    (record,) = history.records.values()
    assert (status, record.status) == (2, Status.BUILD_FAILED)
    assert "too large" in record.reason
    assert record.reason.endswith("(and so with 1 other set of options)")
    assert len(record.builds[0]["attempts"]) == 1


def test_trial_without_ladder_shares_the_failed_build(tmp_path: Path) -> None:
    ladder = "+backend.ladder:[{fault:null}]"
    fault = "backend.options.fault:build_raise"
    _, history = sweep(tmp_path, f"combinations=[{{{fault}}},{{{fault},{ladder}}}]")
    assert sorted(record.status.value for record in history.records.values()) == ["build_failed", "ok"]
    assert len(entries(history, "build")) == 2


def test_plan_refuses_a_run_time_option_in_the_ladder(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, "+backend.ladder=[{latency_ms: 2}]")
    (record,) = history.records.values()
    assert (status, record.status) == (2, Status.INVALID)
    assert "latency_ms is no compile-time option of fake" in record.reason


@given(
    st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=5),
    st.sampled_from([FailureKind.COMPILER_CRASH, FailureKind.TOOLCHAIN_MISSING]),
)
def test_only_needed_variants_are_built(trials: list[list[bool]], kind: FailureKind) -> None:
    """Each list says which rungs of one trial would build."""
    reference = Reference("model", "data", "", Path(), Path())

    def task(trial: int, rung: int) -> Wanted:
        spec = BuildSpec({"name": "m"}, {}, "fake", {"trial": trial, "rung": rung}, "fp32", 1)
        return Wanted(spec, reference, "")

    asked = [[task(number, rung) for rung in range(len(works))] for number, works in enumerate(trials)]
    built: list[tuple[int, int]] = []

    def build(tasks: object) -> dict[ladder.Key, Built]:
        made = {}
        for each in tasks:  # type: ignore[attr-defined]  # stand-ins
            trial, rung = each.spec.options["trial"], each.spec.options["rung"]
            built.append((trial, rung))
            works = trials[trial][rung]
            failure = None if works else Failure(kind, "no")
            info = BuildInfo("fp32") if works else None
            made[ladder.key_of(each)] = Built(each.spec, "", Path(), info, failure, 1.0, False)
        return made

    results = ladder.climb(asked, {}, build)
    assert len(built) == len(set(built))
    for number, works in enumerate(trials):
        tried = [rung for trial, rung in sorted(built) if trial == number]
        hopeless = kind is FailureKind.TOOLCHAIN_MISSING
        needed = 1 if hopeless or works[0] else (works.index(True) + 1 if True in works else len(works))
        assert tried == list(range(needed))
        assert (results[number].failure is None) == (True in works[:needed])


def test_json_of_a_build_without_ladder_has_no_attempts() -> None:
    spec = BuildSpec({"name": "m"}, {}, "fake", {}, "fp32", 1)
    made = Built(spec, "k", Path("f"), BuildInfo("fp32"), None, 1.0, False).to_json()
    assert "attempts" not in made
    assert json.dumps(made)


def test_why_lists_every_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    sweep(tmp_path, FAULTY, "backend.options.fault_text=too large", "+backend.ladder=[{fault: null}]")
    capsys.readouterr()
    assert run(["why", "batch=1", "--outputs", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "build    fault=build_raise: RuntimeError: too large" in told
    assert "build    fault=None: used" in told

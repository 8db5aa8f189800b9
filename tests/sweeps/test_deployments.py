"""Trials that are measured together: cores of their own in a fixed order, one window, all or nothing."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.config import axes
from sweep.engine import placement, rules
from sweep.hardware.host import detect
from sweep.report import events
from sweep.spec import Status, Trial, UserError, deployment
from sweep.store.samples import load_samples
from tests.support.planning import shared_composer
from tests.support.records import make_record, make_trial
from tests.support.running import TINY, entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")
TWO = "deployment.members=[{cores:1},{cores:1,precision:fp16}]"


@pytest.mark.usefixtures("warm_pool")
def test_members_share_one_window_and_have_their_own_records(tmp_path: Path) -> None:
    status, history = sweep(tmp_path, TWO, "backend.options.latency_ms=1.0", "effort.window_seconds=0.3")
    records = list(history.records.values())
    assert status == 0
    assert [record.status for record in records] == [Status.OK, Status.OK]
    assert ["-d1of2" in records[0].label, "-d2of2" in records[1].label] == [True, True]
    assert [record.deployment.first_core for record in records if record.deployment] == [0, 1]
    for repeat in range(3):
        windows = []
        for record in records:
            with np.load(record.repeats[repeat].samples) as samples:
                windows.append((samples["start_ns"].min(), samples["end_ns"].max()))
        begun, ended = max(start for start, _ in windows), min(end for _, end in windows)
        longest = max(end - start for start, end in windows)
        assert ended - begun > 0.3 * longest  # side by side, not one after the other: that would be less than nothing


def test_every_combination_of_the_axes_is_a_deployment(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, TWO, "batch=1,2")
    assert len({deployment.group_key(trial) for trial in history.trials.values()}) == 2
    assert len(history.records) == 4


def test_member_measured_alone_is_another_trial(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, TWO)
    _, alone = sweep(tmp_path, "cores=1")
    assert not set(history.trials) & set(alone.trials)


def test_failed_build_of_a_member_stops_the_others(tmp_path: Path) -> None:
    members = "deployment.members=[{cores:1},{cores:1,backend.options.fault:build_raise}]"
    status, history = sweep(tmp_path, members)
    found = {record.status: record for record in history.records.values()}
    assert (status, set(found)) == (2, {Status.STOPPED, Status.BUILD_FAILED})
    assert "not whole: 1 of 2 members could not be built" in found[Status.STOPPED].reason
    assert entries(history, "repeat") == []


@pytest.mark.parametrize(
    ("fault", "name"),
    [("run_raise", "d2of2"), ("run_crash_third_repeat", "d2of2 replica 0")],
    ids=["scored", "measured"],
)
def test_failed_run_of_a_member_is_named_in_all_records(tmp_path: Path, fault: str, name: str) -> None:
    members = f"deployment.members=[{{cores:1}},{{cores:1,backend.options.fault:{fault}}}]"
    _, history = sweep(tmp_path, members)
    assert {record.status for record in history.records.values()} == {Status.RUN_FAILED}
    assert all(name in record.reason for record in history.records.values())


def test_too_many_cores_are_counted_for_the_whole_deployment(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "deployment.members=[{cores:1},{cores:1,replicas:400}]")
    reasons = [record.reason for record in history.records.values()]
    assert all(record.status is Status.INVALID for record in history.records.values())
    assert any("the deployment asks for 1 x 1 + 400 x 1 = 401 cores" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ("[{cores:1}]", "has one member: a trial alone needs no deployment"),
        ("[1,2]", "deployment.members must be a list like"),
        ("[{cores:1},{bathc:1}]", "no key 'bathc'"),
        ("[{cores:1},{cores:0}]", "cores must be an integer >= 1"),
    ],
)
def test_bad_members_are_one_line_of_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], members: str, words: str
) -> None:
    from sweep.__main__ import run

    assert run([*TINY, f"outputs={tmp_path}", f"deployment.members={members}"]) == 1
    assert words in capsys.readouterr().err


def test_search_refuses_a_deployment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run

    assert run([*TINY, f"outputs={tmp_path}", TWO, "batch=1,2", "hydra/sweeper=optuna"]) == 1
    assert "a deployment is measured as a whole" in capsys.readouterr().err


@given(st.lists(st.tuples(st.integers(1, 8), st.integers(1, 4)), min_size=2, max_size=6))
def test_core_ranges_follow_the_load_order_without_gap_or_overlap(sizes: list[tuple[int, int]]) -> None:
    together = [make_trial(cores=cores, replicas=copies) for cores, copies in sizes]
    members = [deployment.make_member(together, number, ()) for number in range(len(together))]
    taken: list[int] = []
    for trial in members:
        for place in placement.place_replicas(_OnNeuron(), _on_neuron(trial)):  # type: ignore[arg-type]  # stand-ins
            assert len(place.cores) == trial.cores
            taken.extend(place.cores)
    assert taken == list(range(deployment.count_all_cores(members[0])))
    assert len({deployment.group_key(trial) for trial in members}) == 1


class _OnNeuron:
    """A context of which only the first usable NeuronCore is asked."""

    class host:  # noqa: N801  # as an attribute of the context
        neuron_first = 0


def _on_neuron(trial: Trial) -> Trial:
    return replace(trial, backend={**trial.backend, "device": "neuron"})


def _compose(*devices: str, gpus: int = 1, **hardware: object) -> list[Trial]:
    """Members like `{cores:1,device:0}` on torch and CUDA, on a host with so many GPUs."""
    local = [f"++hardware.{name}={value}" for name, value in hardware.items()]
    cards = ",".join(["{name:T4,memory_mb:16384}"] * gpus)
    cuda = ["model=digits", "backend=torch", "backend.device=cuda", f"hardware.gpus=[{cards}]", *local]
    lines = axes.expand([*cuda, f"deployment.members=[{','.join(devices)}]"], shared_composer())
    return shared_composer().trials(lines)


def _places(trials: list[Trial]) -> list[list[str]]:
    return [[place.device for place in placement.place_replicas(_OnNeuron(), trial)] for trial in trials]  # type: ignore[arg-type]  # stand-in


@pytest.mark.parametrize(
    ("members", "gpus", "expected"),
    [
        (["{cores:1}", "{cores:1}"], 1, [["cuda:0"], ["cuda:0"]]),
        (["{cores:1}", "{cores:1}"], 2, [["cuda:0"], ["cuda:1"]]),
        (["{cores:1}", "{cores:1,replicas:2}"], 2, [["cuda:0"], ["cuda:1", "cuda:0"]]),
        (["{cores:1,device:1}", "{cores:1,device:1}"], 2, [["cuda:1"], ["cuda:1"]]),
        (["{cores:1,device:0}", "{cores:2}"], 2, [["cuda:0"], ["cuda:1"]]),
        (["{cores:1,device:0,replicas:2}", "{cores:2}"], 2, [["cuda:0", "cuda:1"], ["cuda:0"]]),
        (["{backend.device:cpu}", "{cores:1}"], 1, [["cpu"], ["cuda:0"]]),  # the CPU takes no GPU
    ],
)
def test_members_share_gpus_where_there_are_too_few_or_where_they_say_so(
    members: list[str], gpus: int, expected: list[list[str]]
) -> None:
    trials = _compose(*members, gpus=gpus)
    for trial, places in zip(trials, expected, strict=True):
        if places != ["cpu"]:
            assert _places([trial]) == [places]
    again = deployment.restore_group(trials[1], lambda trial: trial)
    assert [trial.key for trial in again] == [trial.key for trial in trials]


def test_gpus_of_their_own_leave_the_identity_as_it_was() -> None:
    own, shared = (_compose("{cores:1}", "{cores:1}", gpus=gpus)[0].deployment for gpus in (2, 1))
    assert set(own) == {"member", "first_core", "members", "trials"}
    assert shared["gpus"] == [[0], [0]]


@pytest.mark.parametrize(
    ("members", "hardware", "reason"),
    [
        (["{cores:1,device:0}", "{cores:1,device:3}"], {}, "has a copy of this member on GPU 3, local has 1, counted"),
        (["{cores:1}", "{cores:1}"], {"exclusive": "true"}, "2 copies on GPU 0 of local, which takes one process at a"),
    ],
)
def test_gpus_that_cannot_be_had_are_a_reason(members: list[str], hardware: dict[str, object], reason: str) -> None:
    trial = _compose(*members, **hardware)[1]
    plan = rules.make_plan([trial], detect(), lambda python, packages: dict.fromkeys(packages, "1"))
    assert plan.entries[0].status is Status.INVALID
    assert reason in plan.entries[0].reason


@pytest.mark.parametrize(
    ("members", "words"),
    [
        (("{cores:1,device:-1}", "{cores:1}"), "deployment.members: device must be an integer >= 0, not -1"),
        (("{backend.device:cpu,device:0}", "{cores:1}"), "a member's device is a GPU, and torch is given cores"),
    ],
)
def test_wrong_device_of_a_member_is_one_line_of_error(members: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        _compose(*members)


def test_cores_are_counted_for_each_kind_of_core() -> None:
    hosts = [make_trial(cores=2), _on_neuron(make_trial(cores=4)), make_trial(cores=1), _on_neuron(make_trial())]
    members = [deployment.make_member(hosts, number, ()) for number in range(4)]
    assert [deployment.find_first_core(trial) for trial in members] == [0, 0, 2, 4]
    assert [deployment.count_all_cores(trial) for trial in members] == [3, 5, 3, 5]


def test_where_a_member_is_stands_in_its_record() -> None:
    facts = deployment.describe(_compose("{cores:1}", "{cores:1}")[1])
    assert facts.gpus == ((0,), (0,))
    (line,) = events.describe_events(replace(make_record(), deployment=facts))
    assert line.endswith("; it is on GPU 0")


def test_request_may_exceed_the_compiled_batch_where_it_is_split(tmp_path: Path) -> None:
    dynamic = ["batch=2", "request_batch=2,8", "backend.options.dynamic_batch=true", "backend.options.latency_ms=5.0"]
    _, history = sweep(tmp_path, *dynamic)
    small, large = sorted(history.records.values(), key=lambda record: record.settings["request_batch"])
    assert (small.status, large.status) == (Status.OK, Status.OK)
    assert (large.settings["batch"], large.settings["request_batch"]) == (2, 8)
    assert "-b2-c1-q8-" in large.label
    assert "-q" not in small.label
    assert large.repeats[0].items == 8 * large.repeats[0].requests
    fastest = [min(load_samples(each.samples).min() / 1e6 for each in one.repeats) for one in (small, large)]
    assert fastest == pytest.approx([10.0, 40.0], rel=1e-3)  # four batches instead of one
    assert len(entries(history, "build")) == 1


def test_request_of_another_size_is_refused_where_nothing_splits_it(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, "batch=2", "request_batch=8")
    (record,) = history.records.values()
    assert record.status is Status.INVALID
    assert "leave out request_batch, or use batch=8" in record.reason


def test_builds_of_one_host_are_measured_on_another(tmp_path: Path) -> None:
    """The store is copied from the host with the compiler; there the same line measures what was built."""
    import shutil

    compile_host, device_host = tmp_path / "compile", tmp_path / "device"
    status, history = sweep(compile_host, "batch=1,2", "plan=build")
    assert status == 0
    assert all(record.reason.startswith("built:") for record in history.records.values())
    assert entries(history, "repeat") == []
    shutil.copytree(compile_host / "store" / "builds", device_host / "store" / "builds")
    status, history = sweep(device_host, "batch=1,2,4", "plan=measure")
    assert status == 0
    assert entries(history, "build") == []
    by_batch = {record.settings["batch"]: record for record in history.records.values()}
    assert (by_batch[1].status, by_batch[2].status) == (Status.OK, Status.OK)
    assert by_batch[4].status is Status.UNAVAILABLE
    assert "plan=build" in by_batch[4].reason


def test_records_list_the_members_with_their_cores(tmp_path: Path) -> None:
    _, history = sweep(tmp_path, TWO)
    for record in history.records.values():
        assert record.deployment is not None
        members = list(record.deployment.members)
        assert [each["cores"] for each in members] == [1, 1]
        stored = json.loads((history.folder / "trials" / record.key / "config.json").read_text())
        assert stored["trial"]["deployment"]["members"] == members


def test_member_is_reproduced_with_its_neighbours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from sweep.__main__ import run
    from sweep.store import ledger

    _, history = sweep(tmp_path, TWO, "backend.options.latency_ms=2.0")
    assert run(["reproduce", list(history.records)[1], "--outputs", str(tmp_path)]) == 0
    again = ledger.History(ledger.sweeps(tmp_path)[-1])
    assert {record.status for record in again.records.values()} == {Status.OK}
    assert set(again.records) == set(history.records)


def test_deployment_with_a_lost_record_is_measured_as_a_whole(tmp_path: Path) -> None:
    """As after a kill between the records of its members."""
    from sweep.__main__ import run
    from sweep.store import ledger

    _, history = sweep(tmp_path, TWO)
    path = history.folder / ledger.LEDGER
    lines = path.read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["kind"] for line in lines]
    last = len(kinds) - 1 - kinds[::-1].index("record")
    path.write_bytes(b"".join(lines[:last]))
    assert run(["resume", "last", "--outputs", str(tmp_path)]) == 0
    resumed = ledger.History(history.folder)
    assert [record.status for record in resumed.records.values()] == [Status.OK, Status.OK]
    assert len(entries(resumed, "repeat")) == len(entries(history, "repeat"))  # what was whole stands

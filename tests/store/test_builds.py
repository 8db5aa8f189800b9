"""The build store: one build a key, whole or not there, whatever is killed meanwhile."""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import files
from sweep.spec import BuildSpec, Failure, FailureKind, UserError
from sweep.store.builds import Entry, Store
from tests.support.running import ROOT

SPEC = BuildSpec(
    model={"name": "digits"}, data={"name": "digits"}, backend="fake", options={"level": 1}, precision="fp32", batch=1
)
FAILURE = Failure(FailureKind.UNSUPPORTED_OPERATOR, "no such operator", seconds=3.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def build(store: Store, key: str = "a1", text: str = "artifact", seconds: float = 2.0) -> Entry:
    with store.building(key) as draft:
        assert draft.existing is None
        (draft.folder / "inner").mkdir()
        (draft.folder / "model.bin").write_text(text)
        (draft.folder / "inner" / "weights.bin").write_bytes(b"\0" * 1000)
        return draft.commit({"backend": "fake", "seconds": seconds})


def fail(store: Store, key: str = "a1", failure: Failure = FAILURE, *, remember: bool = True) -> Entry:
    with store.building(key) as draft:
        (draft.folder / "half.bin").write_text("half")
        (draft.folder / "log.txt").write_text("why\n")
        return draft.fail(failure, {"backend": "fake"}, remember=remember)


def wait_for(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def rubbish(store: Store) -> list[Path]:
    return list((store.root / "builds").glob(".*"))


# Keys


def key(spec: BuildSpec = SPEC, toolchain: dict[str, str] | None = None, model: str = "m", data: str = "d") -> str:
    return Store.key(spec, toolchain=toolchain or {"fake": "1", "numpy": "2"}, model=model, data=data)


@pytest.mark.process
def test_the_key_is_the_same_in_every_process() -> None:
    code = (
        "from sweep.store.builds import Store; from sweep.spec import BuildSpec\n"
        f"print(Store.key({SPEC!r}, toolchain={{'numpy': '2', 'fake': '1'}}, model='m', data='d'))"
    )
    for seed in ("0", "1"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True
        )
        assert run.stdout.strip() == key()


@given(st.dictionaries(st.text(), st.text()), st.data())
def test_the_key_does_not_depend_on_order(toolchain: dict[str, str], data: st.DataObject) -> None:
    shuffled = dict(data.draw(st.permutations(list(toolchain.items()))))
    assert key(toolchain={**toolchain, "x": "1"}) == key(toolchain={**shuffled, "x": "1"})


@given(
    st.sampled_from(
        ["precision", "batch", "bucket", "device", "cores", "python", "options", "model", "data", "backend"]
    ),
    st.integers(min_value=2, max_value=10**6),
)
def test_every_part_of_the_spec_changes_the_key(name: str, number: int) -> None:
    values: dict[str, object] = {
        "batch": number,
        "cores": number,
        "bucket": (number,),
        "options": {"level": number},
        "model": {"name": "digits", "kwarg": number},
        "data": {"name": str(number)},
    }
    assert key(replace(SPEC, **{name: values.get(name, str(number))})) != key()  # type: ignore[arg-type]  # fields by name


@given(st.text(min_size=1), st.text(min_size=1))
def test_toolchain_model_and_data_change_the_key(name: str, version: str) -> None:
    keys = {key(), key(model=f"m{version}"), key(data=f"d{version}"), key(toolchain={name: version, "other": "1"})}
    assert len(keys) == 4


# Building and finding


def test_what_was_built_is_found(store: Store) -> None:
    assert store.get("a1") is None
    built = build(store)
    found = store.get("a1")
    assert found is not None
    assert (found.key, found.failure, found.seconds, found.bytes) == ("a1", None, 2.0, 1008)
    assert found.info == {"backend": "fake", "seconds": 2.0}
    assert found.folder == built.folder
    assert (found.folder / "model.bin").read_text() == "artifact"
    assert not rubbish(store)


def test_what_is_not_finished_is_not_there(store: Store) -> None:
    with store.building("a1") as draft:
        (draft.folder / "model.bin").write_text("half")
        assert store.get("a1") is None
        assert store.entries() == []
    assert store.get("a1") is None
    assert not rubbish(store)


def test_an_exception_leaves_nothing(store: Store) -> None:
    with pytest.raises(FileExistsError), store.building("a1") as draft:
        draft.folder.mkdir()  # it is there
    assert store.get("a1") is None
    assert not rubbish(store)
    assert build(store).failure is None  # and the lock is free


def test_a_failure_is_remembered_with_its_log_only(store: Store) -> None:
    assert fail(store).failure == replace(FAILURE, log=str(store.root / "builds" / "a1" / "artifact" / "log.txt"))
    found = store.get("a1")
    assert found is not None
    assert found.failure is not None
    assert found.failure.summary == FAILURE.summary
    assert found.seconds == 3.0
    assert [path.name for path in found.folder.iterdir()] == ["log.txt"]


def test_a_failure_need_not_be_remembered(store: Store) -> None:
    assert fail(store, remember=False).failure == FAILURE
    full = Failure(FailureKind.DISK_FULL, "disk full: OSError: [Errno 28]")
    assert fail(store, failure=full).failure == full
    assert store.get("a1") is None
    assert not rubbish(store)


def test_a_remembered_failure_can_be_tried_again(store: Store) -> None:
    fail(store)
    build(store)  # which sees no existing entry
    found = store.get("a1")
    assert found is not None
    assert found.failure is None
    assert sorted(path.name for path in found.folder.iterdir()) == ["inner", "model.bin"]


def test_an_artifact_of_links_and_nothing(store: Store) -> None:
    with store.building("a1") as draft:
        (draft.folder / "link").symlink_to("nowhere")
        draft.commit({})
    with store.building("b2") as draft:
        draft.commit({})
    assert store.get("a1") is not None
    assert store.get("b2") is not None


# Damage


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "artifact" / "model.bin").write_text("short"),
        lambda folder: (folder / "artifact" / "model.bin").write_text("artefact"),
        lambda folder: (folder / "artifact" / "inner" / "weights.bin").unlink(),
        lambda folder: (folder / "info.json").write_text('{"format": 1'),
        lambda folder: (folder / "info.json").write_text("[]"),
        lambda folder: (folder / "info.json").write_text("{}"),
    ],
)
def test_a_damaged_entry_is_removed_and_built_again(store: Store, change: Callable[[Path], object]) -> None:
    change(build(store).folder.parent)
    assert store.get("a1") is None
    assert not (store.root / "builds" / "a1").exists()
    assert build(store).failure is None
    assert store.get("a1") is not None


def test_content_is_read_for_use_and_not_for_a_list(store: Store) -> None:
    (build(store).folder / "model.bin").write_text("artefact")
    assert [entry.key for entry in store.entries()] == ["a1"]
    assert store.get("a1") is None


def test_files_that_a_framework_adds_do_no_harm(store: Store) -> None:
    (build(store).folder / "cache.bin").write_text("later")
    assert store.get("a1") is not None


def test_an_entry_without_a_marker_is_rubbish(store: Store) -> None:
    (build(store).folder.parent / "info.json").unlink()
    assert store.get("a1") is None
    assert store.entries() == []
    build(store, text="again")
    found = store.get("a1")
    assert found is not None
    assert (found.folder / "model.bin").read_text() == "again"


# Two at once


def test_threads_build_a_key_once(store: Store) -> None:
    built, found = [], []
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait(30.0)
        with store.building("a1") as draft:
            if draft.existing is not None:
                found.append(draft.existing)
                return
            (draft.folder / "model.bin").write_text("x")
            built.append(draft.commit({}))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(built), len(found)) == (1, 3)
    assert {entry.folder for entry in found} == {built[0].folder}


BUILDER = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {root!r})
    from sweep.store.builds import Store
    here = Path({here!r})
    with Store(here / "store").building("a1") as draft:
        if draft.existing is None:
            with open(here / "builders", "a") as file:
                file.write("x")
            (draft.folder / "model.bin").write_text("artifact")
            (here / "working").touch()
            while {hang} and not (here / "go").exists():
                time.sleep(0.01)
            draft.commit({{}})
    print("done")
"""


def builder(here: Path, *, hang: bool) -> "subprocess.Popen[str]":
    code = textwrap.dedent(BUILDER).format(root=str(ROOT), here=str(here), hang=hang)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


@pytest.mark.process
def test_processes_build_a_key_once(store: Store, tmp_path: Path) -> None:
    processes = [builder(tmp_path, hang=True) for _ in range(3)]
    wait_for((tmp_path / "working").exists)
    (tmp_path / "go").touch()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["done\n"] * 3
    assert (tmp_path / "builders").read_text() == "x"
    assert store.get("a1") is not None


@pytest.mark.process
def test_a_killed_builder_leaves_nothing_valid_and_no_lock(store: Store, tmp_path: Path) -> None:
    process = builder(tmp_path, hang=True)
    wait_for((tmp_path / "working").exists)
    assert store.get("a1") is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    assert len(rubbish(store)) == 1
    assert store.get("a1") is None
    assert build(store).failure is None
    assert not rubbish(store)


def test_clean_removes_what_killed_sweeps_began_of_data_and_answers(store: Store) -> None:
    for kind in ("data", "reference"):
        with files.hold_draft(store.root / kind, "key", lambda: None) as held:
            (held / "rows.npy").write_bytes(b"0")
            store.clean()
            assert held.is_dir()
        store.clean()
        assert not held.exists()


@pytest.mark.process
def test_clean_leaves_what_is_being_built_alone(store: Store, tmp_path: Path) -> None:
    process = builder(tmp_path, hang=True)
    wait_for((tmp_path / "working").exists)
    assert store.clean(older_than_days=0, max_bytes=0, keys=["a1"]) == []
    assert len(rubbish(store)) == 1
    (tmp_path / "go").touch()
    process.communicate(timeout=60)
    assert store.get("a1") is not None


@pytest.mark.process
def test_who_waits_for_another_build_can_be_interrupted(store: Store, tmp_path: Path) -> None:
    process = builder(tmp_path, hang=True)
    wait_for((tmp_path / "working").exists)
    threading.Timer(0.05, store.interrupt).start()
    with pytest.raises(InterruptedError), store.building("a1"):
        pass
    process.kill()
    process.communicate(timeout=60)


# Cleaning


def age(entry: Entry, days: float) -> None:
    then = time.time() - days * 86400
    os.utime(entry.folder.parent / "info.json", (then, then))


def test_clean_by_age_size_and_key(store: Store) -> None:
    for index, name in enumerate("abcd"):
        age(build(store, name), 10.0 * (4 - index))
    assert [entry.key for entry in store.entries()] == ["a", "b", "c", "d"]
    assert [entry.key for entry in store.clean(older_than_days=35)] == ["a"]
    assert [entry.key for entry in store.clean(max_bytes=2100)] == ["b"]
    assert [entry.key for entry in store.clean(keys=["d", "unknown"])] == ["d"]
    assert [entry.key for entry in store.entries()] == ["c"]
    assert [path.name for path in (store.root / "locks").iterdir()] == ["c"]
    assert not rubbish(store)


def test_use_keeps_an_entry_young(store: Store) -> None:
    age(build(store, "a"), 40.0)
    age(build(store, "b"), 30.0)
    assert store.get("a") is not None
    assert [entry.key for entry in store.clean(older_than_days=20)] == ["b"]


def test_clean_takes_the_rubbish_of_killed_builds(store: Store) -> None:
    build(store)
    (store.root / "builds" / ".draft-b2-0123" / "artifact").mkdir(parents=True)
    (store.root / "builds" / "c3" / "artifact").mkdir(parents=True)
    assert store.clean() == []
    assert [path.name for path in (store.root / "builds").iterdir()] == ["a1"]


def test_an_empty_store(store: Store) -> None:
    assert store.entries() == []
    assert store.clean(max_bytes=0) == []
    assert not store.root.exists()


# Bad luck


def test_a_store_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write .*outputs="), Store(tmp_path / "store").building("a1"):
        pass


def test_a_store_on_a_read_only_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(parent: Path, _: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(parent))

    monkeypatch.setattr(files, "make_draft", refuse)
    with pytest.raises(UserError, match=r"cannot write .*: Read-only file system; .*outputs="), store.building("a1"):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store(store: Store) -> None:
    build(store)
    for path in [*store.root.rglob("*"), store.root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert store.get("a1") is not None
        with pytest.raises(UserError, match="cannot write"), store.building("b2"):
            pass
    finally:
        for path in [store.root, *store.root.rglob("*")]:
            path.chmod(0o755)


@pytest.mark.parametrize("name", ["flush", "flush_folder", "write_whole", "describe"])
def test_a_disk_that_fills_up_while_storing(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, name, full)
        entry = build(store)
        assert entry.failure is not None
        assert entry.failure.summary.startswith("disk full")
        assert fail(store, "b2").failure is not None
    assert store.entries() == []
    assert not rubbish(store)
    assert build(store).failure is None


def test_a_disk_that_is_full_before_building(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "make_draft", full)
    with pytest.raises(UserError, match="disk full"), store.building("a1"):
        pass


def test_info_must_be_json(store: Store) -> None:
    with pytest.raises(TypeError), store.building("a1") as draft:
        draft.commit({"bad": {1}})
    assert store.get("a1") is None


def test_the_marker_is_readable_by_people(store: Store) -> None:
    marker = json.loads((build(store).folder.parent / "info.json").read_text())
    assert marker["files"]["model.bin"]["bytes"] == 8
    assert marker["key"] == "a1"


def test_scores_go_with_their_builds(store: Store) -> None:
    """But not those that were used within a day: a sweep may be judging by them."""
    for name in ("a", "b"):
        build(store, name)
    markers = {}
    for name, builds, days in (("old", ["a"], 2), ("new", ["a"], 0), ("other", ["b"], 2)):
        folder = store.root / "scores" / name
        folder.mkdir(parents=True)
        markers[name] = folder / "score.json"
        markers[name].write_text(json.dumps({"builds": builds}))
        then = time.time() - days * 86400 - 60
        os.utime(markers[name], (then, then))
    store.clean(keys=["a"])
    assert {name for name, marker in markers.items() if marker.exists()} == {"new", "other"}

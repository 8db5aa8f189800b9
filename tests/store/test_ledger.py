"""The ledger keeps whole entries, drops torn ones, and is held by one process at a time."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep.spec import Measurement, Record, Status, UserError, canonical
from sweep.store.ledger import LEDGER, History, Ledger, entries, find, sweeps


def measurement(index: int) -> Measurement:
    return Measurement(index, 10.0, 1.0, 10, 10, 1.0, {"p50": 1.0}, 0.1, 2.0, {}, 100.0, 1.0, "s.npz", "o.npz")


def record(status: Status = Status.OK) -> Record:
    return Record("k", "label", {"batch": 1}, ("batch=1",), status, metrics={"throughput_items_per_s": 1.5})


def test_entries_come_back_in_order(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    for number in range(5):
        book.append("note", number=number)
    book.close()
    assert [entry["number"] for entry in entries(tmp_path)] == list(range(5))


def test_history_keeps_the_newest_record_and_every_repeat(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.append("sweep", id="x")
    for index in range(3):
        book.append("repeat", trial="k", identity="i", measurement=measurement(index))
    book.append("record", record=record(Status.STOPPED))
    book.append("record", record=record(Status.OK))
    book.append("runs", runs={"k": "run-1"})
    book.close()
    history = History(tmp_path)
    assert sorted(history.repeats["i"]) == [0, 1, 2]
    assert history.repeats["i"][1] == measurement(1)
    assert history.records["k"] == record(Status.OK)
    assert history.runs == {"k": "run-1"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(min_value=1, max_value=400))
def test_a_torn_tail_is_dropped_and_nothing_else(tmp_path: Path, cut: int) -> None:
    path = tmp_path / LEDGER
    path.unlink(missing_ok=True)
    book = Ledger(tmp_path)
    for number in range(4):
        book.append("note", number=number, text="x" * 50)
    book.close()
    whole = path.read_bytes()
    kept = whole[: max(0, len(whole) - cut)]
    path.write_bytes(kept)
    expected = kept.count(b"\n")
    assert len(list(entries(tmp_path))) == expected
    book = Ledger(tmp_path)
    book.append("note", number="after")
    book.close()
    assert [entry["number"] for entry in entries(tmp_path)] == [*range(expected), "after"]
    assert History(tmp_path).torn == 0


def test_an_altered_line_is_not_believed(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.append("note", number=1)
    book.append("note", number=2)
    book.close()
    path = tmp_path / LEDGER
    path.write_text(path.read_text().replace('"number":1', '"number":7'))
    assert [entry["number"] for entry in entries(tmp_path)] == [2]


@pytest.mark.process
def test_another_process_cannot_hold_it_too(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    code = f"from pathlib import Path; from sweep.store.ledger import Ledger; Ledger(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    book.close()
    assert second.returncode == 1
    assert "is being run by another process" in second.stderr


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    with pytest.raises(ValueError, match="not a finite number"):
        book.append("note", value=float("nan"))
    book.close()
    assert (tmp_path / LEDGER).read_text() == ""


def test_a_folder_that_cannot_be_made_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another folder with outputs="):
        Ledger(tmp_path / "file" / "sweep")


def test_find_by_id_by_beginning_and_last(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no sweep in"):
        find(tmp_path, "last")
    for name in ("20260101-000000", "20260102-000000"):
        folder = tmp_path / "sweeps" / name
        folder.mkdir(parents=True)
        (folder / LEDGER).write_text(json.dumps({}) + "\n")
    assert [folder.name for folder in sweeps(tmp_path)] == ["20260101-000000", "20260102-000000"]
    assert find(tmp_path, "last").name == "20260102-000000"
    assert find(tmp_path, "20260101").name == "20260101-000000"
    with pytest.raises(UserError, match="several sweeps begin"):
        find(tmp_path, "2026")
    with pytest.raises(UserError, match="no sweep begins"):
        find(tmp_path, "1999")


def test_a_line_as_it_was_written_before_is_still_believed_and_an_altered_one_is_not(tmp_path: Path) -> None:
    """The sum was one of the sorted entry, under another name."""
    entry = {"kind": "note", "time": 1.5, "text": "é", "values": [1, 2.5, None], "number": 1}
    crc = f"{zlib.crc32(canonical(entry).encode()):08x}"
    old = json.dumps({"crc": crc, **entry}, separators=(",", ":"))
    wrong = [old.replace('"number":1', '"number":7'), '{"crc":1}', "[]", '{"crc32":"', '{"crc32":"00000000",}']
    (tmp_path / LEDGER).write_text("\n".join([old, *wrong]) + "\n")
    assert list(entries(tmp_path)) == [entry]
    assert History(tmp_path).torn == len(wrong)
    book = Ledger(tmp_path)
    book.append("note", number=2)
    book.close()
    assert [each["number"] for each in entries(tmp_path)] == [1, 2]


def test_a_repeat_behind_the_end_says_that_the_sweep_goes_on(tmp_path: Path) -> None:
    book = Ledger(tmp_path)
    book.append("finish", verdict=None)
    assert History(tmp_path).finished
    book.append("repeat", trial="k", identity="i", measurement=measurement(4))
    history = History(tmp_path)
    book.close()
    assert not history.finished
    assert history.repeats == {"i": {4: measurement(4)}}

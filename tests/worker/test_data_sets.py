"""Data sets on their way into the store: written once, never held, whatever is killed meanwhile."""

import hashlib
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweep import files
from sweep.spec import UserError, digest
from sweep.worker import arrays, data_sets
from sweep.worker.progress import Progress
from sweep.workloads import Dataset

CONFIG = {"name": "mine", "_target_": "my_package.load"}


def piece(first: int, count: int = 4) -> Dataset:
    values = np.arange(3 * first, 3 * (first + count), dtype=np.float32).reshape(count, 3)
    return Dataset({"x": values}, np.arange(first, first + count), {}, "classification", 100)


class Source:
    """Yields pieces and counts how often it is read, and how many pieces live at once."""

    def __init__(self, count: int = 5) -> None:
        self.count, self.read, self.most = count, 0, 0

    def __call__(self) -> Iterator[Dataset]:
        self.read += 1
        alive: list[weakref.ref[np.ndarray]] = []
        for number in range(self.count):
            made = piece(4 * number)
            alive.append(weakref.ref(made.inputs["x"]))
            self.most = max(self.most, sum(one() is not None for one in alive))
            yield made


def obtain(tmp_path: Path, source: Source) -> str:
    return data_sets.obtain_data(CONFIG, source, tmp_path / "data", Progress(tmp_path))


def test_no_more_than_two_pieces_are_held(tmp_path: Path) -> None:
    source = Source(20)
    obtain(tmp_path, source)
    assert source.most <= 2


def test_known_data_is_compared_and_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source()
    key = obtain(tmp_path, source)
    written: list[object] = []
    monkeypatch.setattr(files, "hold_draft", lambda *_: written.append(1))
    assert obtain(tmp_path, source) == key
    assert (written, source.read) == ([], 2)
    assert [path.name for path in (tmp_path / "data").iterdir() if path.name.startswith(files.DRAFT)] == []


def test_changed_data_of_the_same_config_is_written_anew(tmp_path: Path) -> None:
    one, other = obtain(tmp_path, Source(5)), obtain(tmp_path, Source(6))
    assert one != other
    assert len(arrays.open_data(tmp_path / "data" / one).inputs["x"]) == 20
    assert len(arrays.open_data(tmp_path / "data" / other).inputs["x"]) == 24


def test_draft_of_a_killed_sweep_is_written_over(tmp_path: Path) -> None:
    draft = tmp_path / "data" / (files.DRAFT + digest(CONFIG))
    (draft / "inputs").mkdir(parents=True)
    (draft / "inputs" / "old.npy").write_bytes(b"cut off")
    key = obtain(tmp_path, Source())
    assert [path.name for path in (tmp_path / "data" / key / "inputs").iterdir()] == ["x.npy"]
    assert not draft.exists()


def test_data_with_a_mistake_leaves_nothing_on_the_disk(tmp_path: Path) -> None:
    def broken() -> Iterator[Dataset]:
        yield piece(0)
        raise UserError("a picture cannot be read")

    with pytest.raises(UserError, match="cannot be read"):
        data_sets.obtain_data(CONFIG, broken, tmp_path / "data", Progress(tmp_path))
    assert list((tmp_path / "data").iterdir()) == []


def test_draft_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    waited, order = threading.Event(), []

    def second() -> None:
        with files.hold_draft(tmp_path, "key", waited.set) as draft:
            order.append(draft.is_dir())

    with files.hold_draft(tmp_path, "key", lambda: None) as draft:
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(10)
        assert order == []
        files.move(draft, tmp_path / "key")
    thread.join(10)
    assert order == [True]  # a draft of its own, for it does not know that there is a result now


def test_identity_is_that_of_earlier_versions(tmp_path: Path) -> None:
    """What is stored under a digest of a whole array's bytes is still found."""
    values = np.arange(60, dtype=np.float32).reshape(20, 3)
    parts = [("inputs", "x", values), ("labels", "labels", np.arange(20))]
    old = [
        [kind, name, list(a.shape), str(a.dtype), hashlib.sha256(a.tobytes()).hexdigest()] for kind, name, a in parts
    ]
    assert obtain(tmp_path, Source()) == digest(["classification", old])


def test_calibration_sizes_in_some_pieces_only_are_refused() -> None:
    ids = np.ones((2, 3), np.int64)
    with_sizes = Dataset({"x": ids}, None, {"x": ids}, calibration_sizes=np.ones((2, 1), np.int64))
    with pytest.raises(UserError, match="in some pieces"):
        data_sets.write_data([with_sizes, with_sizes._replace(calibration_sizes=None)], None)


def test_progress_is_written_at_most_once_a_second(tmp_path: Path) -> None:
    progress = Progress(tmp_path, seconds=0.0)
    progress("answers", 7, 10)
    assert json.loads((tmp_path / "progress.json").read_text()) == {"stage": "answers", "done": 7, "total": 10}
    rare = Progress(tmp_path, seconds=60.0)
    rare("answers", 8, 10)
    assert json.loads((tmp_path / "progress.json").read_text())["done"] == 7

"""Answers of the original model: batch by batch, and on from where a killed sweep ended."""

from pathlib import Path

import numpy as np
import pytest

from sweep import files
from sweep.spec import UserError
from sweep.worker import answers, arrays
from sweep.worker.progress import Progress
from sweep.workloads import Dataset, NumpyModel

VALUES = np.arange(60, dtype=np.float32).reshape(30, 2)


class Doubles(NumpyModel):
    """Two outputs; it dies at its `end`-th call."""

    def __init__(self, end: int = 1000) -> None:
        self.end, self.calls, self.seen = end, 0, []  # type: ignore[var-annotated]  # numbers of samples

    def __call__(self, *inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        if self.calls == self.end:
            raise KeyboardInterrupt
        (x,) = inputs
        self.seen += (x[:, 0] / 2).astype(int).tolist()
        return 2 * x, x[:, 0]


def data() -> Dataset:
    return Dataset({"x": VALUES}, None, {}, "regression", None)


@pytest.fixture(autouse=True)
def batches_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "BATCH_ITEMS", 4)
    monkeypatch.setattr(answers, "SAVE_SECONDS", 0.0)


def obtain(root: Path, model: Doubles, dataset: Dataset | None = None) -> object:
    return answers.obtain_answers("key", model, dataset or data(), None, root, Progress(root))


def test_killed_sweep_goes_on_where_it_ended(tmp_path: Path) -> None:
    dying, second = Doubles(end=4), Doubles()
    with pytest.raises(KeyboardInterrupt):
        obtain(tmp_path, dying)
    assert dying.seen == list(range(12))
    assert not (tmp_path / "key").exists()
    obtain(tmp_path, second)
    assert second.seen == list(range(12, 30))
    doubled, plain = arrays.read_reference(tmp_path / "key")
    np.testing.assert_array_equal(doubled, 2 * VALUES)
    np.testing.assert_array_equal(plain, VALUES[:, 0])
    assert sorted(path.name for path in (tmp_path / "key").iterdir()) == [
        "output_0.npy",
        "output_1.npy",
        "reference.json",
    ]


def test_answers_that_are_there_are_not_asked_for(tmp_path: Path) -> None:
    facts = obtain(tmp_path, Doubles())
    known = {"outputs": 2, "warning": None, "batch": None, "names": ["0", "1"]}
    assert facts == {**known, "seconds_per_item": facts["seconds_per_item"]}
    assert facts["seconds_per_item"] > 0
    nobody = Doubles(end=1)
    assert obtain(tmp_path, nobody) == facts
    assert nobody.calls == 0


def test_answers_with_labels_that_cannot_be_are_thrown_away(tmp_path: Path) -> None:
    wrong = Dataset({"x": VALUES}, np.full(30, 7), {}, "classification", None)
    with pytest.raises(UserError, match="labels go up to 7"):
        obtain(tmp_path, Doubles(), wrong)
    assert not list(tmp_path.glob(files.DRAFT + "*"))


def test_samples_of_each_size_are_asked_together(tmp_path: Path) -> None:
    sizes = np.array([[1], [2]] * 15)
    batches = list(answers.list_batches(data()._replace(sizes=sizes), {"x": [1]}))
    assert [batch.size for batch in batches] == [[1]] * 4 + [[2]] * 4
    assert np.concatenate([batch.items for batch in batches]).tolist() == [*range(0, 30, 2), *range(1, 30, 2)]

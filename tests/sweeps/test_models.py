"""Whole sweeps of models that change between two sweeps, or that do odd things by themselves."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweep.report.events import describe_events
from sweep.spec import Record, Status
from sweep.store.ledger import History
from tests.support.running import QUICK, entries, sweep

pytestmark = pytest.mark.usefixtures("fake_pool")

MODEL = """
import numpy as np
from shop import parts
from sweep.workloads import NumpyModel

class Model(NumpyModel):
    def __init__(self, weight):
        self.weight = weight

    def __call__(self, *inputs):
        return parts.scale(inputs[0], self.weight)

def make():
    return Model(np.eye(16, 4, dtype=np.float32))
"""
PARTS = "import os\nimport numpy as np\n\ndef scale(x, weight):\n    %s\n    return x @ weight\n"
BY_ENVIRONMENT = "x = x * float(os.environ['SHOP_FACTOR'])"
RUN = ("model=custom", "model._target_=shop.model.make", "model.format=numpy", "model.requires=[]", "data=tiny")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions of a file within one second
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "model.py").write_text(MODEL)
    yield tmp_path
    _forget()


def _forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def run(folder: Path, line: str) -> tuple[History, Record]:
    """A sweep of one trial, whose helper module has this line."""
    _forget()  # a worker is a fresh process
    (folder / "shop" / "parts.py").write_text(PARTS % line)
    _, history = sweep(folder / "outputs", *RUN, "backend=fake", base=QUICK)
    (record,) = history.records.values()
    return history, record


def model_key(history: History) -> str:
    (entry,) = entries(history, "reference")
    return str(entry["result"]["model"])


def test_nothing_of_the_old_model_is_used_when_a_helper_module_changed(folder: Path) -> None:
    before, first = run(folder, "x = x * 2")
    again, _ = run(folder, "x = x * 2")
    after, second = run(folder, "x = x * -2")
    assert [len(entries(history, "build")) for history in (before, again, after)] == [1, 0, 1]
    assert model_key(before) == model_key(again) != model_key(after)
    for record in (first, second):
        assert record.status is Status.OK
        assert (record.agreement or {})["agreement"] == 1.0
    assert (first.agreement or {})["accuracy"] != (second.agreement or {})["accuracy"]


def test_answers_show_what_no_hash_can_see(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, builds, notes = [], [], []
    for factor in ("2", "-2", "2", "-2"):
        monkeypatch.setitem(os.environ, "SHOP_FACTOR", factor)
        history, record = run(folder, BY_ENVIRONMENT)
        assert record.status is Status.OK
        keys.append(model_key(history))
        builds.append(len(entries(history, "build")))
        notes.append("answers otherwise than an earlier one of its identity" in capsys.readouterr().out)
    assert keys[0] == keys[2] != keys[1] == keys[3]
    assert builds == [1, 1, 0, 0]
    assert notes == [False, True, False, False]


def test_a_rejection_names_what_the_original_does_itself(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, record = run(folder, "x = np.random.permutation(x.ravel()).reshape(x.shape)")
    assert record.status is Status.REJECTED
    assert record.nature is not None
    assert record.nature.by_chance
    text = "the original itself answers the same samples otherwise each time, by chance (answers differ by up to "
    assert text in record.reason
    assert any(line.startswith("original answers the same samples otherwise") for line in describe_events(record))
    assert text.replace("original", "original model", 1) in capsys.readouterr().out


def test_a_model_that_changes_its_inputs_is_measured_on_copies(folder: Path) -> None:
    _, record = run(folder, "x *= 0.5; x -= 1; x = x.copy()")
    assert record.status is Status.OK
    assert record.nature is not None
    assert record.nature.changed_inputs == ("features",)
    assert (record.agreement or {})["agreement"] == 1.0

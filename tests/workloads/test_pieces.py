"""Data sets in pieces: what a factory may yield, and that pieces are the whole."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep import workloads
from sweep.spec import UserError
from sweep.worker import arrays, data_sets
from sweep.workloads import Dataset, cut, pieces

OWN = "tests.workloads.test_pieces."  # factories of this file, as a person would name theirs


def whole(count: int = 10, apart: int = 3) -> Dataset:
    random = np.random.default_rng(0)
    values = {
        "a": random.normal(size=(count + apart, 3)).astype(np.float32),
        "b": random.integers(0, 9, (count + apart, 2)),
    }
    inputs, calibration = (
        {name: array[part] for name, array in values.items()} for part in (slice(apart, None), slice(apart))
    )
    sizes = 1 + np.arange(count)[:, None] % 3
    return Dataset(inputs, np.arange(count) % 4, calibration, "classification", 4, sizes, np.ones((apart, 1), np.int64))


def yielded(step: int = 4, broken: str = "") -> Iterator[Dataset]:
    data = whole(10, 0)
    for at in range(0, 10, step):
        rows = {name: array[at : at + step] for name, array in data.inputs.items()}
        if broken == "nan" and at:
            rows["a"] = rows["a"].copy()
            rows["a"][1, 2] = np.nan
        if broken == "type" and at:
            rows["b"] = rows["b"].astype(np.float32)
        labels = None if broken == "labels" and at else data.labels[at : at + step]  # type: ignore[index]  # it has some
        yield Dataset(rows, labels, {}, "classification", 4)


def nothing() -> Iterator[Dataset]:
    yield from ()


def load(factory: str, **arguments: Any) -> list[Dataset]:
    return list(workloads.load_pieces({"name": "mine", "_target_": OWN + factory, **arguments}))


def test_factory_may_yield_its_samples() -> None:
    parts = load("yielded")
    assert [len(part.inputs["a"]) for part in parts] == [4, 4, 2]
    joined = workloads.load_data({"name": "mine", "_target_": OWN + "yielded"})
    np.testing.assert_array_equal(joined.inputs["a"], whole(10, 0).inputs["a"])
    np.testing.assert_array_equal(joined.labels, whole(10, 0).labels)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("nan", r"input a has 1 values that are NaN or infinite, the first at index (5, 2)"),
        (
            "type",
            r"from sample 4 on its inputs are a float32 (3,), b float32 (2,), before that a float32 (3,), b int64",
        ),
        ("labels", r"from sample 4 on its labels are missing, before that int64 ()"),
    ],
)
def test_mistakes_in_a_later_piece_are_located(broken: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        load("yielded", broken=broken)


def test_factory_that_yields_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="mine has no samples"):
        load("nothing")


@given(st.integers(1, 40), st.integers(0, 5), st.integers(1, 200))
def test_pieces_are_the_whole_and_have_its_identity(count: int, apart: int, size: int) -> None:
    data = whole(count, apart)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", size)
        parts = list(cut(data))
    assert max(len(part.inputs["a"]) for part in parts) <= max(1, -(-count // len(parts)))
    assert data_sets.write_data(parts, None).digest() == data_sets.write_data([data], None).digest()


def test_written_arrays_are_mapped_and_equal(tmp_path: Path) -> None:
    data = whole()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "PIECE_BYTES", 100)
        data_sets.write_data(cut(data), tmp_path / "data")
    stored = arrays.open_data(tmp_path / "data")
    assert isinstance(stored.inputs["a"], np.memmap)
    for kind in ("inputs", "calibration"):
        for name, array in getattr(data, kind).items():
            np.testing.assert_array_equal(getattr(stored, kind)[name], array)
    for name in ("labels", "sizes", "calibration_sizes"):
        np.testing.assert_array_equal(getattr(stored, name), getattr(data, name))
    assert (stored.task, stored.classes) == ("classification", 4)

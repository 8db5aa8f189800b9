"""Answers to chosen samples: each once, in their own rows, whatever the order in which requests are formed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.backends.base import Runner
from sweep.spec import BuildSpec, FailureKind, Placement, TrialError
from sweep.spec.requests import Artifact, MeasureRequest, Padding, ScoreRequest
from sweep.worker import data_sets, requests, scoring
from sweep.workloads import Dataset
from tests.support.records import EFFORT

SIZES = np.array([[1], [8], [3], [4], [2]])
IDS = np.arange(1, 41).reshape(5, 8) * (np.arange(8) < SIZES)


class Sums(Runner):
    """The sum of each row, and each row's number of places: what it is padded to."""

    precision = "fp32"

    def run(self, request: Any) -> Any:
        (ids,) = request
        return ids.sum(axis=1).astype(np.float32), np.full(len(ids), ids.shape[1])


class Loads:
    def load(self, *_: object) -> Runner:
        return Sums()


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Answers for these buckets and samples: their numbers, sums, and padded sizes."""
    data_sets.write_data([Dataset({"ids": IDS}, None, {}, sizes=SIZES)], tmp_path / "data")
    monkeypatch.setattr(requests, "make_backend", lambda request, spec: Loads())
    monkeypatch.setattr(scoring.process, "set_up", lambda process: None)

    def score(buckets: list[Any], batch: int, items: tuple[int, ...] | None = None) -> list[list[int]]:
        specs = [BuildSpec({}, {}, "sums", {}, "fp32", batch, bucket) for bucket in buckets]
        builds = tuple(Artifact(spec, str(tmp_path)) for spec in specs)
        trial = MeasureRequest(
            *(builds, str(tmp_path / "data"), batch, (Placement(),), EFFORT, 0, 0.0),
            padding=Padding({"ids": [1]}),
            scored=items,
        )
        facts = scoring.score(ScoreRequest(trial), tmp_path)
        index, outputs = scoring.read_answers(tmp_path / scoring.ANSWERS)
        assert (facts.items, facts.of, facts.precision) == (len(index), 5, "fp32")
        return [index.tolist(), *(array.tolist() for array in outputs)]

    return score


SUMS = IDS.sum(axis=1).tolist()


def test_every_sample_is_answered_once_by_its_bucket(scored: Any) -> None:
    assert scored([(4,), (8,)], 2) == [[0, 1, 2, 3, 4], SUMS, [4, 8, 4, 4, 4]]


def test_only_the_chosen_samples_are_answered(scored: Any) -> None:
    assert scored([(8,)], 2, (1, 2, 4)) == [[1, 2, 4], [SUMS[1], SUMS[2], SUMS[4]], [8, 8, 8]]


def test_dynamic_sizes_follow_from_the_samples_of_a_request(scored: Any) -> None:
    assert scored([()], 2) == [[0, 1, 2, 3, 4], SUMS, [8, 8, 4, 4, 2]]


def test_outputs_that_change_their_shape_are_named(tmp_path: Path) -> None:
    answers = scoring.Answers(tmp_path / "answers", np.array([3, 5, 9]))
    answers.write(np.array([9]), [np.zeros((1, 2), np.float32)])
    with pytest.raises(TrialError, match=r"float32 of \[2\] in one request, float32 of \[4\] in another") as caught:
        answers.write(np.array([3, 5]), [np.zeros((2, 4), np.float32)])
    assert caught.value.kind is FailureKind.SHAPE_MISMATCH


def test_rows_go_to_the_places_of_their_samples_and_survive_flushing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "HELD_BYTES", 1)
    answers = scoring.Answers(tmp_path / "answers", np.array([3, 5, 9]))
    answers.write(np.array([9, 3]), [np.array([[90.0], [30.0]])])
    answers.write(np.array([5]), [np.array([[50.0]])])
    answers.flush()
    index, (output,) = scoring.read_answers(tmp_path / "answers")
    assert index.tolist() == [3, 5, 9]
    assert output.ravel().tolist() == [30.0, 50.0, 90.0]

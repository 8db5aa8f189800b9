"""The metrics that `data.metrics` names, of a build and of the original over the same samples."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep.spec import UserError, to_json
from sweep.spec.requests import MetricsRequest
from sweep.worker import entries, rating, scoring

ORIGINAL = np.eye(4, 3)  # classes 0, 1, 2, 0


def count_rows(outputs: list[Any], labels: Any) -> int:
    return len(outputs[0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.json").write_text(json.dumps({"task": "classification", "inputs": []}))
    np.save(folder / "labels.npy", np.array([0, 1, 2, 1]))
    reference = tmp_path / "reference"
    reference.mkdir()
    (reference / "reference.json").write_text(json.dumps({"outputs": 1}))
    np.save(reference / "output_0.npy", ORIGINAL)
    answers = scoring.Answers(tmp_path / "answers", np.array([1, 2, 3]))
    answers.write(np.array([1, 2, 3]), [ORIGINAL[[1, 0, 0]]])
    answers.flush()
    return folder


def test_build_and_original_are_scored_on_the_same_samples(data: Path) -> None:
    names = ["balanced_accuracy", f"{__name__}.count_rows"]
    root = data.parent
    request = MetricsRequest(
        {"name": "mine", "metrics": names}, str(data), str(root / "reference"), str(root / "answers")
    )
    result = entries.rate(to_json(request), root)
    assert result["original"] == {names[0]: 0.75, names[1]: 3.0}
    assert result["build"] == {names[0]: 0.25, names[1]: 3.0}


def test_mistakes_show_before_anything_is_built(data: Path) -> None:
    reference = data.parent / "reference"
    rating.check_original({"name": "mine"}, data, reference)
    rating.check_original({"name": "mine", "metrics": ["f1_macro"]}, data, reference)
    with pytest.raises(UserError, match=r"missing.score cannot be imported"):
        rating.check_original({"name": "mine", "metrics": ["missing.score"]}, data, reference)
    (data / "labels.npy").unlink()
    rating.check_original({"name": "mine", "metrics": [f"{__name__}.count_rows"]}, data, reference)
    with pytest.raises(UserError, match=r"data.metrics: map, f1_macro needs labels, data mine has none"):
        rating.check_original({"name": "mine", "metrics": ["map", "f1_macro"]}, data, reference)

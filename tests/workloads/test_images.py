"""Folders of image files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweep import workloads
from sweep.spec import UserError
from sweep.workloads import Dataset, images

PIL = pytest.importorskip("PIL.Image")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """30 pictures of one colour each, in three classes; the last one's are upright."""
    for number in range(30):
        folder = tmp_path / ("cat", "dog", "eel")[number // 10]
        folder.mkdir(exist_ok=True)
        colour = np.full((20, 40, 3), (8 * number, 255 - number, 7), np.uint8)
        PIL.fromarray(colour if number < 20 else colour.transpose(1, 0, 2)).save(folder / f"{number:02}.png")
    return tmp_path


def load(path: Path, **options: Any) -> list[Dataset]:
    config = {"name": "images", "_target_": "sweep.workloads.images.folder", "path": str(path), "side": 8, "resize": 10}
    return list(workloads.load_pieces({**config, **options}))


def test_pictures_are_decoded_piece_by_piece(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "PIECE", 4)
    pieces = load(pictures, mean=None, channels="last")
    assert max(len(piece.inputs["image"]) for piece in pieces) == 4
    whole = workloads.pieces.join(pieces)
    assert whole.inputs["image"].shape == (27, 8, 8, 3)
    assert whole.inputs["image"].dtype == np.uint8
    scored = [number for number in range(30) if number not in (0, 14, 29)]  # evenly spread, for calibration
    assert whole.inputs["image"][:, 0, 0, 0].tolist() == [8 * number for number in scored]
    assert whole.calibration["image"][:, 4, 4, 1].tolist() == [255, 241, 226]
    assert whole.labels is not None
    assert whole.labels.tolist() == [number // 10 for number in scored]
    assert whole.classes == 3


def test_pictures_are_normalised_channels_first(pictures: Path) -> None:
    (data,) = load(pictures, mean=[0.5, 0.5, 0.5], std=[0.5, 0.25, 1.0])
    assert data.inputs["image"].shape == (27, 3, 8, 8)
    np.testing.assert_allclose(
        data.inputs["image"][0, :, 3, 3], [(8 / 255 - 0.5) / 0.5, (254 / 255 - 0.5) / 0.25, 7 / 255 - 0.5], rtol=1e-5
    )


def test_folder_without_pictures_and_broken_files_are_named(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there must be a subfolder for each class"):
        load(pictures / "cat")
    (pictures / "cat" / "05.png").write_text("<html>")
    with pytest.raises(UserError, match=r"05\.png is no picture"):
        load(pictures)

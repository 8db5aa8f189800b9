"""CLIP as a classifier: pictures of any size, without open_clip and timm, which are not here."""

import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sweep.spec import UserError
from sweep.workloads import Dataset, base, clip, efficientnet

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.process


class Trunk(torch.nn.Module):  # type: ignore[misc,name-defined]  # torch is imported only where it is
    """What is asked of an image tower of timm."""

    num_classes, global_pool, dynamic_img_size = 4, "token", False

    def __init__(self, **asked: Any) -> None:
        super().__init__()
        self.asked = asked
        self.weight = torch.nn.Parameter(torch.rand(4))


def put(monkeypatch: pytest.MonkeyPatch, name: str | None) -> list[str]:
    """Take the place of both packages; the names of the towers that timm was asked for."""
    towers: list[str] = []

    def create_model(tower: str, **asked: Any) -> Trunk:
        towers.append(tower)
        return Trunk(**asked)

    config = {"vision_cfg": {"timm_model_name": name} if name else {}}
    monkeypatch.setitem(sys.modules, "open_clip", SimpleNamespace(get_model_config=lambda architecture: config))
    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    return towers


def test_tower_for_any_size_is_made_by_timm_and_has_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    towers = put(monkeypatch, "eva02_base_patch16_clip_224")
    fixed = Trunk()
    trunk = clip._take_any_size(SimpleNamespace(trunk=fixed), "EVA02-B-16")
    assert towers == ["eva02_base_patch16_clip_224"]
    assert trunk.asked == {
        "num_classes": 4,
        "global_pool": "token",
        "dynamic_img_size": True,
        "dynamic_img_pad": True,
    }
    assert torch.equal(trunk.weight, fixed.weight)


def test_tower_that_is_fixed_to_its_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    put(monkeypatch, None)
    with pytest.raises(UserError, match=r"model\.any_size: the image tower of ViT-B-32 is fixed to its size"):
        clip._take_any_size(SimpleNamespace(), "ViT-B-32")


def make_pictures(side: int) -> Dataset:
    images = np.full((20, 3, side, side), side, np.float32)
    labels = np.array([*clip.CLASSES, next(iter(clip.CLASSES))], np.int64)
    return Dataset({"image": images}, labels, {"image": images}, "classification", 1000)


def test_pictures_of_several_sizes_lie_in_frames_of_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet, "photographs", make_pictures)
    data = base.check_dataset(clip.photographs(sides=[16, 32, 8]), "photographs")
    assert data.sizes is not None
    assert data.sizes[:4].tolist() == [[16, 16], [32, 32], [8, 8], [16, 16]]
    image = data.inputs["image"]
    assert image.shape == (20, 3, 32, 32)
    assert (image[2, :, :8, :8] == 8).all()
    assert (image[2, :, 8:] == 0).all()
    assert data.calibration["image"].shape == (3, 3, 32, 32)
    assert data.calibration_sizes is not None
    assert data.calibration_sizes.tolist() == [[8, 8]] * 3
    assert clip.photographs(side=16).sizes is None

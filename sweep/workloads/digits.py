"""Handwritten digits: a small trained convolutional network and the 5,000 labelled images to ask it about.

The weights stand in `data/digits.pt`, the images in `data/digits.npz`; `data/NOTICE.txt` says where they come from. The
images are a part of MNIST, nobody knows which, so the network may have been trained on some of them: good for comparing
a build with the original, not a statement about new images.
"""

from pathlib import Path
from typing import Any, List, Tuple

import numpy as np

from sweep.workloads.base import Dataset

WEIGHTS = Path(__file__).parent / "data" / "digits.pt"
IMAGES = Path(__file__).parent / "data" / "digits.npz"
MEAN, DEVIATION = 0.1307, 0.3081  # of the pixels of MNIST, scaled to 0..1
CALIBRATION_EVERY = 25  # each 25th image is set apart: 200 of 5,000, 20 of each digit


def network() -> Any:
    """The network: images (N, 1, 28, 28) float32 to scores (N, 10). 390,410 parameters."""
    import torch

    model = _architecture()
    model.load_state_dict(torch.load(str(WEIGHTS), map_location="cpu", weights_only=True))
    return model


def _architecture() -> Any:
    """Three convolutions that each halve the image, then two dense layers."""
    from collections import OrderedDict

    from torch import nn

    layers: List[Tuple[str, nn.Module]] = []
    inside = 1
    for number, outside in enumerate((32, 64, 128)):
        layers.append(("conv%d" % number, nn.Conv2d(inside, outside, kernel_size=3, padding=1)))
        layers.append(("active%d" % number, nn.ReLU()))
        layers.append(("halve%d" % number, nn.MaxPool2d(2)))
        inside = outside
    layers.append(("flat", nn.Flatten()))
    layers.append(("dense0", nn.Linear(inside * 3 * 3, 256)))
    layers.append(("active_dense", nn.ReLU()))
    layers.append(("dense1", nn.Linear(256, 10)))
    return nn.Sequential(OrderedDict(layers))


def images() -> Dataset:
    """4,800 scored images and 200 for calibration, in a fixed mixed order, so that any part is a fair sample."""
    with np.load(str(IMAGES)) as stored:
        pixels, labels = stored["images"].astype(np.float32), stored["labels"].astype(np.int64)
    scaled = ((pixels.reshape(-1, 1, 28, 28) / np.float32(255)) - np.float32(MEAN)) / np.float32(DEVIATION)
    apart = np.arange(len(labels)) % CALIBRATION_EVERY == CALIBRATION_EVERY - 1
    scored = np.flatnonzero(~apart)
    scored = scored[np.random.RandomState(0).permutation(len(scored))]  # the file is sorted by digit
    calibration = np.flatnonzero(apart)[np.random.RandomState(1).permutation(int(apart.sum()))]
    return Dataset(
        inputs={"image": scaled[scored]},
        labels=labels[scored],
        calibration={"image": scaled[calibration]},
        task="classification",
        classes=10,
    )

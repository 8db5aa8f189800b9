"""Zero-shot classification with a CLIP model of open_clip: its image tower, with the classes' prompts as last layer.

The text tower runs once, when the model is made; what is built and measured takes images and gives one score a class.
Needs open-clip-torch. Weights are read from a file where there is one; nothing is downloaded.
"""

from typing import Any, Mapping, Optional, Sequence

import numpy as np

from sweep.spec import UserError
from sweep.workloads import efficientnet
from sweep.workloads.base import Dataset, existing

ARCHITECTURE = "EVA02-B-16"
TEMPLATE = "a photo of a {}."
CALIBRATED = 7  # every so many-th picture for calibration where sizes differ: frames are large
# The classes of the photographs, by their number in ImageNet.
CLASSES: Mapping[int, str] = {
    22: "bald eagle",
    99: "goose",
    129: "spoonbill",
    243: "bull mastiff",
    251: "dalmatian",
    305: "dung beetle",
    317: "leafhopper",
    438: "beaker",
    455: "bottle cap",
    471: "cannon",
    541: "drum",
    559: "folding chair",
    609: "jeep",
    630: "loafer",
    741: "prayer rug",
    853: "thatched roof",
    915: "yurt",
    949: "strawberry",
    990: "buckeye",
}


def zero_shot(
    architecture: str = ARCHITECTURE,
    path: Optional[str] = None,
    classes: Optional[Sequence[str]] = None,
    template: str = TEMPLATE,
    seed: int = 0,
    any_size: bool = False,
) -> Any:
    """Images (N, 3, side, side) float32 in -1..1 to scores (N, classes), which are scaled cosines.

    Args:
        architecture: a model of open_clip.
        path: a file of its weights, .safetensors or what torch.save wrote; None: random ones, drawn from `seed`.
        classes: words for the prompts; None: those of the photographs.
        any_size: pictures may have any size; the towers of timm resize their position embeddings to it.

    Raises:
        UserError: for `any_size` with an architecture whose image tower is not one of timm.
    """
    import open_clip
    import torch

    torch.manual_seed(seed)
    model = open_clip.create_model(architecture)
    if path is not None:
        model.load_state_dict(_weights(path))
    else:
        print("%s: no weights were given (model.path): random ones, so the answers mean nothing" % architecture)
    if any_size:
        model.visual.trunk = _take_any_size(model.visual, architecture)
    model.eval()
    words = list(CLASSES.values()) if classes is None else list(classes)
    tokens = open_clip.get_tokenizer(architecture)([template.format(word) for word in words])
    with torch.no_grad():
        text = model.encode_text(tokens, normalize=True) * model.logit_scale.exp()
    return _fused(model.visual, text)


def _take_any_size(visual: Any, architecture: str) -> Any:
    """The trunk of an image tower once more, with its weights, as timm makes it for pictures of any size.

    Sides that are no multiple of a patch are padded by timm. Pictures of the usual size have the same answers.
    """
    import open_clip

    name = open_clip.get_model_config(architecture)["vision_cfg"].get("timm_model_name")
    if not name or not hasattr(visual.trunk, "dynamic_img_size"):
        raise UserError("model.any_size: the image tower of %s is fixed to its size: use EVA02-B-16" % architecture)
    import timm

    old = visual.trunk
    sizes = {"dynamic_img_size": True, "dynamic_img_pad": True}
    trunk = timm.create_model(name, num_classes=old.num_classes, global_pool=old.global_pool, **sizes)
    trunk.load_state_dict(old.state_dict())
    return trunk


def _weights(path: str) -> Any:
    """The file's tensors by name; no code that stands in it is run."""
    found = existing(path, "the file of weights")
    if found.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(str(found))
    import torch

    return torch.load(str(found), map_location="cpu", weights_only=True)


def _fused(visual: Any, text: Any) -> Any:
    """The image tower with the scaled text features (classes, width) behind it."""
    import torch

    class ZeroShot(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.visual = visual
            self.register_buffer("text", text.t().contiguous())
            mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in _normal(visual))
            self.register_buffer("mean", mean)
            self.register_buffer("deviation", deviation)

        def forward(self, image: Any) -> Any:
            features = self.visual(((image + 1) / 2 - self.mean) / self.deviation)
            return (features / features.norm(dim=-1, keepdim=True)) @ self.text

    return ZeroShot()


def _normal(visual: Any) -> Any:
    """Mean and deviation of the pixels (0..1) that the tower was trained with."""
    return visual.image_mean, visual.image_std


def photographs(side: int = 224, sides: Optional[Sequence[int]] = None) -> Dataset:
    """The photographs of `efficientnet`, with their class as a place in `CLASSES`.

    Args:
        side: of every picture, in pixels.
        sides: of the pictures in turn, instead of `side`; they lie at the upper left of frames of the largest.
    """
    data = _in_sizes(sides) if sides else efficientnet.photographs(side)
    assert data.labels is not None
    places = {number: place for place, number in enumerate(CLASSES)}
    labels = np.array([places[int(label)] for label in data.labels], np.int64)
    return data._replace(labels=labels, classes=len(CLASSES))


def _in_sizes(sides: Sequence[int]) -> Dataset:
    """The photographs, the n-th with the n-th of the sides, round and round. One size is calibrated: the smallest."""
    whole = {side: efficientnet.photographs(side) for side in sorted(set(sides))}
    smallest, largest = whole[min(sides)], max(sides)
    count = len(smallest.inputs["image"])
    turns = np.array([sides[number % len(sides)] for number in range(count)], np.int64)
    pictures = [whole[int(side)].inputs["image"][number] for number, side in enumerate(turns)]
    apart = list(smallest.calibration["image"][::CALIBRATED])
    return smallest._replace(
        inputs={"image": _frame(pictures, largest)},
        calibration={"image": _frame(apart, largest)},
        sizes=np.stack([turns, turns], axis=1),
        calibration_sizes=np.full((len(apart), 2), min(sides), np.int64),
    )


def _frame(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Pictures (3, h, w) at the upper left of frames: (N, 3, side, side), 0 elsewhere."""
    frames = np.zeros((len(pictures), 3, side, side), np.float32)
    for frame, picture in zip(frames, pictures):
        frame[:, : picture.shape[1], : picture.shape[2]] = picture
    return frames

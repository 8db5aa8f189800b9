"""Folders of image files: a subfolder for each class. Pictures are decoded piece by piece; never are all in memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence

import numpy as np

from sweep.spec import UserError
from sweep.workloads import broken_files
from sweep.workloads.base import Dataset
from sweep.workloads.files import APART, APART_MAX

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
PIECE = 64  # pictures


def folder(
    path: str,
    side: int = 224,
    resize: Optional[int] = 256,
    mean: Optional[Sequence[float]] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    channels: str = "first",
    name: str = "image",
) -> Iterator[Dataset]:
    """The pictures beneath `path`, labelled by the place of their subfolder in the order of names.

    Of the pictures, evenly spread, a tenth (at most 200) is set apart for calibration and not scored.

    Args:
        side: pixels of the square that is cut out of the middle.
        resize: pixels of a picture's shorter side before that; None: `side`.
        mean, std: of red, green and blue between 0 and 1, to normalise with; mean None: whole numbers 0 to 255.
        channels: first (3, side, side) or last (side, side, 3).
        name: of the model's input.

    Raises:
        UserError: if there are no pictures, or a file is none.
    """
    root = Path(path)
    classes = sorted(entry for entry in root.iterdir() if entry.is_dir()) if root.is_dir() else []
    labels = {file: number for number, entry in enumerate(classes) for file in _list_pictures(entry)}
    if not labels:
        raise UserError(
            "data.path=%s: there must be a subfolder for each class, with pictures (%s)" % (root, ", ".join(SUFFIXES))
        )
    files = list(labels)
    apart = set(np.linspace(0, len(files) - 1, min(APART_MAX, int(APART * len(files)))).round().astype(int).tolist())
    scored = [file for number, file in enumerate(files) if number not in apart]
    calibration = [files[number] for number in sorted(apart)]

    def read(some: List[Path]) -> Dict[str, np.ndarray]:
        if not some:
            return {}
        with ThreadPoolExecutor() as threads:  # decoding leaves other threads alone
            pictures = np.stack(list(threads.map(lambda file: _read(file, side, resize or side), some)))
        if mean is not None:
            middle, spread = np.array(mean, np.float32), np.array(std, np.float32)
            pictures = (pictures.astype(np.float32) / 255 - middle) / spread
        return {name: np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)) if channels == "first" else pictures}

    for at in range(0, len(scored), PIECE):
        some = scored[at : at + PIECE]
        targets = np.array([labels[file] for file in some], np.int64)
        yield Dataset(read(some), targets, read(calibration[at : at + PIECE]), "classification", len(classes))


def _list_pictures(place: Path) -> List[Path]:
    return sorted(file for file in place.rglob("*") if file.suffix.lower() in SUFFIXES)


def _read(file: Path, side: int, resize: int) -> np.ndarray:
    """(side, side, 3) uint8: the middle of a picture."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file) as picture:
            scale = resize / min(picture.size)
            wide, high = (max(side, round(pixels * scale)) for pixels in picture.size)
            small = picture.convert("RGB").resize((wide, high), Image.Resampling.BILINEAR)
    except (UnidentifiedImageError, OSError) as error:
        reason = broken_files.explain(file) or error
        raise UserError("data.path: %s is no picture that can be read: %s" % (file, reason)) from None
    left, top = (small.width - side) // 2, (small.height - side) // 2
    return np.asarray(small.crop((left, top, left + side, top + side)))

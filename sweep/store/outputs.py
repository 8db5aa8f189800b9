"""The answers of timed runs, which repeats stored."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def load_outputs(path: str) -> "Mapping[str, np.ndarray]":
    """The arrays of an outputs file."""
    import numpy as np

    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def merge_outputs(parts: "Sequence[Mapping[str, np.ndarray]]") -> "tuple[np.ndarray, list[np.ndarray]]":
    """Samples answered in any of the repeats, ascending, and their outputs from the first repeat that has them."""
    import numpy as np

    index = np.concatenate([part["index"] for part in parts])
    index, first = np.unique(index, return_index=True)
    names = sorted((name for name in parts[0] if name.startswith("output_")), key=lambda name: int(name[7:]))
    return index, [np.concatenate([part[name] for part in parts])[first] for name in names]

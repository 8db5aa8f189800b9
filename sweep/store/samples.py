"""The latencies of single requests, which repeats stored."""

import zipfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def load_samples(path: str) -> "np.ndarray":
    """Latencies in ns in one repeat's raw samples (.npz of int64), all replicas.

    Of every item in an open load, from the moment at which it was meant to arrive (due_ns, done_ns), in that order;
    else of every request (start_ns, end_ns), in the order in which they began.

    A file that cannot be read counts as no samples: `sample_count` shows that, and there are no percentiles.
    """
    import numpy as np

    try:
        # Opened here: numpy leaves its own file open where it is not a whole archive.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            begin, end = ("due_ns", "done_ns") if "due_ns" in file.files else ("start_ns", "end_ns")
            moments = file[begin].ravel()
            taken = np.asarray(file[end].ravel() - moments, dtype=np.int64)
            return taken[np.argsort(moments, kind="stable")]
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        return np.empty(0, dtype=np.int64)

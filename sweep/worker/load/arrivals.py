"""When items arrive: moments in ns from the start of the window, ascending. Worker side, Python 3.8.

They are planned before the window and do not depend on the server: this makes the loop open. The same seed and
repeat give the same arrivals to every trial of a sweep (common random numbers), so that trials differ only in
how they serve them.
"""

from typing import Sequence

import numpy as np

from sweep.spec import UserError
from sweep.worker.load import trace as traces


def draw_poisson(rate: float, seconds: float, seed: Sequence[int]) -> np.ndarray:
    """A Poisson process of `rate` items/s: given their number, the moments are independent and uniform.

    (Cox and Lewis 1966, The Statistical Analysis of Series of Events, section 2.1.)
    """
    random = np.random.RandomState(list(seed))
    count = int(random.poisson(rate * seconds))
    moments: np.ndarray = np.sort(random.random_sample(count) * (seconds * 1e9)).astype(np.int64)
    return moments


def replay_trace(file: str, sha256: str, speed: float) -> np.ndarray:
    """Arrivals as recorded, from the first one on, `speed` times as fast.

    Raises:
        UserError: if the file has changed since it was declared.
    """
    recorded = traces.read(file)
    if recorded.sha256 != sha256:
        raise UserError("load.file=%s has changed since the sweep was declared: start the sweep again" % file)
    times = np.array(recorded.times_s)
    moments: np.ndarray = np.round((times - times[0]) * (1e9 / speed)).astype(np.int64)
    return moments

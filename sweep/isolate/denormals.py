"""Whether the processor takes denormal floats as zero, in this thread and in all that it starts.

The C library's fegetenv(3) and fesetenv(3) read and write the state, of which a few bits are the processor's own:
MXCSR on x86 (Intel SDM, volume 1, 10.2.3), FPCR on Arm (ARM DDI 0487, C5.2.8). Worker side, Python 3.8.
"""

import ctypes
import platform
from typing import Dict, Optional, Tuple

from sweep.spec import FailureKind, TrialError

WORDS = 64  # more than any environment of floats has
# machine -> (index of the 32-bit word in glibc's fenv_t, bits)
PLACES: Dict[str, Tuple[int, int]] = {"x86_64": (7, 0x8040), "aarch64": (0, 1 << 24)}


def are_flushed() -> bool:
    """Whether this thread takes denormals as zero; False where nobody knows."""
    place, state = PLACES.get(platform.machine()), _read_state()
    return bool(place and state and state[place[0]] & place[1] == place[1])


def flush() -> None:
    """Take denormals as zero from now on.

    Raises:
        TrialError: of the kind wrong_resources, if this processor or C library offers no way to.
    """
    place, state = PLACES.get(platform.machine()), _read_state()
    if place and state:
        state[place[0]] |= place[1]
        ctypes.CDLL(None).fesetenv(state)
    if not are_flushed():
        text = "process.denormals=flush is not known for this processor (%s): leave it out" % platform.machine()
        raise TrialError(FailureKind.WRONG_RESOURCES, text)


def _read_state() -> "Optional[ctypes.Array[ctypes.c_uint32]]":
    state = (ctypes.c_uint32 * WORDS)()
    try:
        known = ctypes.CDLL(None).fegetenv(state) == 0
    except (AttributeError, OSError):
        known = False
    return state if known else None

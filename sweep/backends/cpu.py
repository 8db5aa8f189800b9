"""What the processor of this host can do, read cheaply and without a framework."""

import functools
from pathlib import Path
from typing import FrozenSet

BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")  # x86, x86 with tiles, Arm


@functools.lru_cache(maxsize=None)
def cpu_features() -> FrozenSet[str]:
    """Flags of the first processor as Linux names them (`avx512_bf16`, `amx_int8`, ...); empty where it cannot say."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return frozenset()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def has_bf16() -> bool:
    """True where the processor multiplies bf16 itself, so that bf16 is not emulated."""
    return any(feature in cpu_features() for feature in BF16_FEATURES)

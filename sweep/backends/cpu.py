"""What the processor of this host can do, read cheaply and without a framework."""

import functools
from typing import FrozenSet

from sweep.isolate import procfs

BF16_FEATURES = frozenset(("avx512_bf16", "amx_bf16"))
VNNI_FEATURES = frozenset(("avx512_vnni", "avx_vnni", "amx_int8"))


@functools.lru_cache(maxsize=None)
def cpu_features() -> FrozenSet[str]:
    """Features of the processor as Linux names them (`avx512_bf16`, `amx_int8`, ...); empty if it does not say."""
    return procfs.read_processor().features


def has_bf16() -> bool:
    """Whether an x86 processor multiplies bf16 itself, so that bf16 is not emulated."""
    return bool(cpu_features() & BF16_FEATURES)


def int8_products_saturate() -> bool:
    """Whether matrix products of int8 weights can come out too small: on x86 processors without VNNI.

    These processors add two products of an unsigned and a signed byte in 16 bits (`vpmaddubsw`), and a sum that does
    not fit becomes the largest number that does. VNNI adds in 32 bits, and so does Arm.
    """
    features = cpu_features()
    return "sse2" in features and not features & VNNI_FEATURES  # every x86-64 processor has sse2

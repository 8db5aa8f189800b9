"""Instance types as data: what their neuron-ls reports."""

from typing import Dict, NamedTuple

GIB = 1 << 30


class Machine(NamedTuple):
    generation: str  # of the NeuronCores
    family: str  # as neuron-monitor names the device
    devices: int
    cores: int  # logical, per device
    device_memory_bytes: int
    core_memory_bytes: int  # what one core can hold
    lnc: int = 1  # physical cores in a logical one


def _inf1(devices: int) -> Machine:
    return Machine("v1", "inferentia", devices, 4, 8 * GIB, 2 * GIB)


def _v2(family: str, devices: int) -> Machine:
    return Machine("v2", family, devices, 2, 32 * GIB, 16 * GIB)


MACHINES: Dict[str, Machine] = {
    "inf1.xlarge": _inf1(1),
    "inf1.2xlarge": _inf1(1),
    "inf1.6xlarge": _inf1(4),
    "inf1.24xlarge": _inf1(16),
    "inf2.xlarge": _v2("inferentia2", 1),
    "inf2.8xlarge": _v2("inferentia2", 1),
    "inf2.24xlarge": _v2("inferentia2", 6),
    "inf2.48xlarge": _v2("inferentia2", 12),
    "trn1.2xlarge": _v2("trainium", 1),
    "trn1.32xlarge": _v2("trainium", 16),
    "trn1n.32xlarge": _v2("trainium", 16),
    "trn2.48xlarge": Machine("v3", "trainium2", 16, 4, 96 * GIB, 24 * GIB, lnc=2),
}
CORE_MEMORY_BYTES = {"inf2": 16 * GIB, "trn1": 16 * GIB, "trn1n": 16 * GIB, "trn2": 24 * GIB}  # by target

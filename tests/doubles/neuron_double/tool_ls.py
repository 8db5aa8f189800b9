"""neuron-ls: the devices of the machine and who holds their cores. Starts without site-packages."""

import json
import os
import sys
from typing import Any, Dict, List

from neuron_double import cores, faults, state

OPTIONS = ("--wide", "-w", "--show-all-procs", "-a", "--topology", "-t", "--json-output", "-j")
RUNTIME_VERSION = "2.31.13.0"


def devices() -> List[Dict[str, Any]]:
    """One object per device, in the shape that the host is set to."""
    host = state.host()
    held = cores.holders()
    return [_device(host, number, held) for number in range(host["devices"])]


def _device(host: Dict[str, Any], number: int, held: List[Dict[str, Any]]) -> Dict[str, Any]:
    first = number * host["cores_per_device"]
    numbers = list(range(first, first + host["cores_per_device"]))
    processes = [
        {"pid": one["pid"], "command": one["command"], "neuron_runtime_version": RUNTIME_VERSION}
        for one in held
        if any(str(core) in one["cores"] for core in numbers)
    ]
    last = host["devices"] - 1
    neighbours = [other for other in (number - 1, number + 1) if 0 <= other <= last]
    device = {
        "neuron_device": number,
        "bdf": "00:%02x.0" % (0x1F - number % 0x1F),
        "cpu_affinity": "0-%d" % (os.cpu_count() or 1),
        "numa_node": "-1",
        "connected_to": neighbours or None,
        "nc_count": host["cores_per_device"],
        "memory_size": host["device_memory_bytes"],
        "neuroncore_ids": numbers,
        "neuron_processes": processes,
    }
    if host["lnc"] > 1:
        device["logical_neuroncore_config"] = host["lnc"]
    if host["tools"] == "real":
        device["instance_type"] = host["instance_type"]
        device["instance_id"] = "i-0123456789abcdef0"
    return device


def main(arguments: List[str]) -> int:
    unknown = [argument for argument in arguments if argument not in OPTIONS]
    if unknown:
        sys.stderr.write("neuron-ls: unknown option %s\n" % unknown[0])
        return 2
    if state.folder() is None:
        sys.stderr.write("neuron-ls: No neuron device found\n")
        return 1
    if "ls_broken" in faults.strike("ls", "tools"):
        print('[{"neuron_device": 0, "nc_')
        return 0
    found = devices()
    if "-j" in arguments or "--json-output" in arguments:
        print(json.dumps(found, indent=4))
        return 0
    print("instance-type: %s" % state.host()["instance_type"])
    for device in found:
        print("| %(neuron_device)d | %(nc_count)d | %(bdf)s |" % device)
    return 0

"""neuron-monitor: one JSON object per line and period, of what the runtimes of this machine have written down."""

import argparse
import json
import os
import signal
import sys
import time
from typing import Any, Dict, List, Optional, Sequence

from neuron_double import cores, faults, state

PERIOD_SECONDS = 5.0
PERCENTILES = (0, 1, 25, 50, 75, 99, 100)
REPORT = ("neuroncore_counters", "execution_stats", "memory_used", "neuron_runtime_vcpu_usage")
SYSTEM = ("neuron_hw_counters", "vcpu_usage", "memory_info")
Held = Dict[str, Any]


def main(arguments: List[str]) -> int:
    parser = argparse.ArgumentParser(prog="neuron-monitor")
    parser.add_argument("--verbose", type=int, choices=range(5), default=0)
    parser.add_argument("-c", "--config-file")
    given = parser.parse_args(arguments)
    if state.folder() is None:
        sys.stderr.write("neuron-monitor: no Neuron driver\n")
        return 1
    config: Dict[str, Any] = {}
    if given.config_file:
        with open(given.config_file, encoding="utf-8") as file:
            config = json.load(file)
    state.record("neuron-monitor", config=config)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    return _stream(config)


def _stream(config: Dict[str, Any]) -> int:
    period = _seconds(config.get("period", PERIOD_SECONDS))
    before: Dict[int, Held] = {}
    while True:
        left = faults.strike("monitor", "tools")
        line = json.dumps(_report(config, period, before, "monitor_missing_groups" in left))
        if "monitor_partial_line" in left:
            sys.stdout.write(line[: len(line) // 2])
            sys.stdout.flush()
            return 0
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        before = {held["pid"]: held for held in cores.holders()}
        time.sleep(period)


def _seconds(period: Any) -> float:
    return float(period[:-1] if isinstance(period, str) and period.endswith("s") else period)


def _wanted(config: Dict[str, Any], everything: Sequence[str]) -> Sequence[str]:
    """The report groups that the configuration asks for; all where it does not say."""
    runtimes = config.get("neuron_runtimes")
    if everything is SYSTEM:
        asked = config.get("system_metrics")
    else:
        asked = runtimes and [metric for runtime in runtimes for metric in runtime["metrics"]]
    return everything if asked is None else [metric["type"] for metric in asked]


def _report(config: Dict[str, Any], period: float, before: Dict[int, Held], missing: bool) -> Dict[str, Any]:
    host = state.host()
    groups = () if missing else _wanted(config, REPORT)
    runtimes = [
        {
            "pid": held["pid"],
            "address": str(held["pid"]),
            "neuron_runtime_tag": held["tag"],
            "error": "",
            "report": {name: _group(name, held, before.get(held["pid"]), period) for name in groups},
        }
        for held in cores.holders()
    ]
    hardware = {
        "neuron_device_type": host["family"],
        "neuron_device_version": host["generation"],
        "neuroncore_version": host["generation"],
        "neuron_device_count": host["devices"],
        "neuron_device_memory_size": host["device_memory_bytes"],
        "neuroncore_per_device_count": host["cores_per_device"],
        "logical_neuroncore_config": host["lnc"],
        "error": "",
    }
    if host["tools"] == "real":
        del hardware["neuron_device_version"]
    if missing:
        return {"neuron_runtime_data": runtimes}
    return {
        "neuron_runtime_data": runtimes,
        "system_data": {name: _system(name, period, host) for name in _wanted(config, SYSTEM)},
        "instance_info": {"instance_type": host["instance_type"], "instance_id": "i-0123456789abcdef0", "error": ""},
        "neuron_hardware_info": hardware,
    }


def _group(name: str, held: Held, before: Optional[Held], period: float) -> Dict[str, Any]:
    made = {
        "neuroncore_counters": _counters,
        "execution_stats": _executions,
        "memory_used": _memory,
        "neuron_runtime_vcpu_usage": _vcpu,
    }[name](held, before, period)
    return {"period": period, "error": "", **made}


def _counters(held: Held, before: Optional[Held], period: float) -> Dict[str, Any]:
    in_use = {}
    for core, now in held["cores"].items():
        was = before["cores"][core]["busy_seconds"] if before and core in before["cores"] else 0.0
        busy = min(100.0, 100.0 * (now["busy_seconds"] - was) / period)
        in_use[core] = {"neuroncore_utilization": round(busy, 3), "flops": 0}
    return {"neuroncores_in_use": in_use}


def _executions(held: Held, before: Optional[Held], period: float) -> Dict[str, Any]:
    del period
    errors = held["failed"] - (before["failed"] if before else 0)
    latency = _percentiles(held["latencies"])
    nothing = dict.fromkeys(("completed_with_err", "completed_with_num_err", "timed_out", "incorrect_input"), 0)
    return {
        "error_summary": {
            **dict.fromkeys(("generic", "numerical", "transient", "model", "hardware"), 0),
            "runtime": errors,
        },
        "execution_summary": {
            "completed": held["completed"] - (before["completed"] if before else 0),
            **nothing,
            "failed_to_queue": 0,
        },
        "latency_stats": {"total_latency": latency, "device_latency": latency},
    }


def _percentiles(seconds: List[float]) -> Optional[Dict[str, float]]:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return {"p%d" % p: ordered[min(len(ordered) - 1, len(ordered) * p // 100)] for p in PERCENTILES}


def _memory(held: Held, before: Optional[Held], period: float) -> Dict[str, Any]:
    del before, period
    sizes = {core: sum(model["bytes"] for model in now["models"]) for core, now in held["cores"].items()}
    rest = ("model_code", "model_shared_scratchpad", "runtime_memory", "tensors")
    usage = {core: {"constants": size, **dict.fromkeys(rest, 0)} for core, size in sizes.items()}
    host = {"application_memory": 0, "constants": 0, "dma_buffers": 0, "tensors": 0}
    return {
        "neuron_runtime_used_bytes": {
            "host": 0,
            "neuron_device": sum(sizes.values()),
            "usage_breakdown": {"host": host, "neuroncore_memory_usage": usage},
        },
        "loaded_models": [
            {"name": model["name"], "uuid": "0", "model_id": 1, "is_running": False, "subgraphs": {}}
            for now in held["cores"].values()
            for model in now["models"]
        ],
    }


def _vcpu(held: Held, before: Optional[Held], period: float) -> Dict[str, Any]:
    del held, before, period
    return {"vcpu_usage": {"user": 0.0, "system": 0.0}}


def _system(name: str, period: float, host: Dict[str, Any]) -> Dict[str, Any]:
    counters = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_corrected", "sram_ecc_uncorrected")
    devices = [{"neuron_device_index": index, **dict.fromkeys(counters, 0)} for index in range(host["devices"])]
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    content: Dict[str, Any] = {
        "neuron_hw_counters": {"neuron_devices": devices},
        "vcpu_usage": {"average_usage": {"user": 0.0, "system": 0.0, "idle": 100.0}},
        "memory_info": {"memory_total_bytes": total, "memory_used_bytes": total // 2, "swap_total_bytes": 0},
    }[name]
    return {"period": period, "error": "", **content}

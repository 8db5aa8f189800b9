"""The process around a model: set as its trial says before the model is loaded, and once more after.

The model's own code may change what belongs to the whole process. What a trial declares is set again and wins; what
else changed is noted, for the deployed program will have it too.

Worker side, Python 3.8.
"""

import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping

from sweep.isolate import denormals, procfs
from sweep.spec import Placement
from sweep.spec.process import VARIABLES, Process
from sweep.worker import resources, threads

# What belongs to a whole process in torch: name -> dotted path below the module, called if it can be
OF_TORCH = {
    "default dtype": "get_default_dtype",
    "default device": "get_default_device",
    "matmul precision": "get_float32_matmul_precision",
    "tf32 of cuda": "backends.cuda.matmul.allow_tf32",
    "tf32 of cudnn": "backends.cudnn.allow_tf32",
    "cudnn benchmark": "backends.cudnn.benchmark",
    "mkldnn": "backends.mkldnn.enabled",
    "gradients": "is_grad_enabled",
    "inference mode": "is_inference_mode_enabled",
    "deterministic algorithms": "are_deterministic_algorithms_enabled",
    "anomaly detection": "is_anomaly_enabled",
}
CLOCKS = ("time", "perf_counter", "perf_counter_ns", "monotonic", "monotonic_ns", "sleep")
_CLOCKS = {name: getattr(time, name) for name in CLOCKS}  # taken before any code of a model runs
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGPROF, signal.SIGVTALRM)


def set_up(process: Process) -> None:
    """Make this process what a plain `python script.py` has, but for what the trial declares.

    Raises:
        TrialError: the processor does not know a setting.
    """
    gc.unfreeze()  # the server froze what it had imported; the collector of a script sees all of it
    if process.allocator == "keep":
        procfs.keep_freed_memory()
    if process.denormals == "flush":
        denormals.flush()


def hold(process: Process, placement: Placement) -> None:
    """Set again what the trial declares, now that the model's own code has run: its cores, its threads, its process.

    Raises:
        TrialError: the processor does not know a setting.
    """
    set_up(process)
    if placement.device != "cpu":
        return
    threads.set_threads(max(1, placement.threads))
    if placement.cores:
        resources.bind_all_threads(placement.cores)


def observe() -> Dict[str, str]:
    """What this process is set to, by name: what a model's own code may change for all of it."""
    facts = {
        "working directory": _read_directory(),
        "niceness": str(os.getpriority(os.PRIO_PROCESS, 0)),
        "flushed denormals": str(denormals.are_flushed()),
        "garbage collection": "%s %s" % ("on" if gc.isenabled() else "off", gc.get_threshold()),
        "switch interval": "%g s" % sys.getswitchinterval(),
        "tracing": str(sys.gettrace() is not None or sys.getprofile() is not None),
        "timer": str(signal.getitimer(signal.ITIMER_REAL)[1]),
        **{"handler of %s" % number.name: str(signal.getsignal(number)) for number in SIGNALS},
        **{"time.%s" % name: "the system's" if getattr(time, name) is _CLOCKS[name] else "another" for name in CLOCKS},
        **{name: os.environ.get(name, "not set") for name in VARIABLES},
    }
    torch = sys.modules.get("torch")
    return facts if torch is None else {**facts, **_observe_torch(torch)}


def _read_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "deleted"


def _observe_torch(torch: Any) -> Dict[str, str]:
    facts = {}
    for name, path in OF_TORCH.items():
        value: Any = torch
        try:
            for part in path.split("."):
                value = getattr(value, part)
            facts["torch: " + name] = str(value() if callable(value) else value)
        except (AttributeError, RuntimeError):  # of another version of torch, or of a build without the device
            pass
    return facts


def list_changes(before: Mapping[str, str], after: Mapping[str, str]) -> List[str]:
    """`name: before -> after` of what both know and what differs."""
    return [
        "%s: %s -> %s" % (name, value, after[name])
        for name, value in before.items()
        if name in after and after[name] != value
    ]

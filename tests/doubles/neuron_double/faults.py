"""How injected faults strike: where one is due, it does what the table says."""

import json
import os
import subprocess
import sys
import time
from typing import Any, Callable, Dict, List

from neuron_double import state
from neuron_double.fault_table import FAULTS, OPTIONS

HANG_SECONDS = 3600.0


def _injected() -> List[Dict[str, Any]]:
    if state.folder() is None:
        return []
    try:
        with open(state.path("faults.json"), encoding="utf-8") as file:
            found: List[Dict[str, Any]] = json.load(file)
    except FileNotFoundError:
        return []
    return found


def _counts(number: int, fault: Dict[str, Any]) -> bool:
    """True if this occurrence is one of those that fail: not before `after`, at most `times` in all processes."""
    if "times" not in fault and "after" not in fault:
        return True
    with state.locked("struck.lock"):
        seen: Dict[str, int] = {}
        if os.path.exists(state.path("struck.json")):
            with open(state.path("struck.json"), encoding="utf-8") as file:
                seen = json.load(file)
        before = seen.get(str(number), 0)
        seen[str(number)] = before + 1
        state.replace("struck.json", seen)
    first = fault.get("after", 0)
    return bool(first <= before < first + fault.get("times", sys.maxsize))


def _same(wanted: Any, given: Any) -> bool:
    return given in wanted if isinstance(wanted, list) else bool(wanted == given)


def due(stage: str, **facts: Any) -> List[Dict[str, Any]]:
    """The injected faults of this stage whose every condition is among the facts and holds."""
    found = []
    for number, fault in enumerate(_injected()):
        if FAULTS[fault["name"]].stage != stage:
            continue
        wanted = {key: value for key, value in fault.items() if key != "name" and key not in OPTIONS}
        if all(key in facts and _same(value, facts[key]) for key, value in wanted.items()) and _counts(number, fault):
            found.append(fault)
    return found


def text(fault: Dict[str, Any]) -> str:
    """What this one says: the table's text number `variant`."""
    texts = FAULTS[fault["name"]].texts
    return texts[fault.get("variant", 0)] if texts else ""


def strike(
    stage: str, package: str, error: Callable[[str], BaseException] = RuntimeError, **facts: Any
) -> Dict[str, Dict[str, Any]]:
    """Let everything strike that is due here. What is left is for the caller to do: `data` faults by name.

    `facts` are what the conditions of a fault may ask for: batch, cores, pipeline, target, auto_cast, ...
    """
    left = {}
    for fault in due(stage, package=package, **facts):
        state.append("struck.jsonl", {"fault": fault["name"], "stage": stage, "package": package})
        kind = FAULTS[fault["name"]]
        if kind.effect == "raise":
            raise error(text(fault))
        if kind.effect == "exit":
            sys.stderr.write(text(fault) + "\n")
            sys.stderr.flush()
            os._exit(kind.code)
        if kind.effect == "signal":
            os.kill(os.getpid(), kind.code)
        if kind.effect == "hang":
            _hang(fault.get("seconds", HANG_SECONDS))
        if kind.effect == "delay":
            time.sleep(fault.get("seconds", 1.0))
        if kind.effect == "data":
            left[fault["name"]] = fault
    return left


def _hang(seconds: float) -> None:
    """Asleep, with a child that is asleep too, as the compiler's own workers would be."""
    child = subprocess.Popen(["sleep", str(seconds)])
    state.append("hangs.jsonl", {"pid": os.getpid(), "child": child.pid})
    child.wait()

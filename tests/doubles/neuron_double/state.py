"""The folder that is the pretended machine. Every process of it reads and appends here."""

import contextlib
import fcntl
import itertools
import json
import os
import sys
from typing import Any, Dict, Iterator, List, Optional

VARIABLE = "NEURON_DOUBLE"
_replaced = itertools.count()


def folder() -> Optional[str]:
    """The state folder, None on a host without Neuron devices."""
    return os.environ.get(VARIABLE) or None


def path(name: str) -> str:
    """A file of the state folder. Raises KeyError where there is none."""
    return os.path.join(os.environ[VARIABLE], name)


def host() -> Dict[str, Any]:
    """What `NeuronHost` wrote about the machine; empty on a host without Neuron devices."""
    if folder() is None:
        return {}
    with open(path("host.json"), encoding="utf-8") as file:
        found: Dict[str, Any] = json.load(file)
    return found


def append(name: str, entry: Dict[str, Any]) -> None:
    """Add one line of JSON; whole even when several processes write at once."""
    if folder() is None:
        return
    line = json.dumps(entry, default=str) + "\n"
    handle = os.open(path(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(handle, line.encode("utf-8"))
    finally:
        os.close(handle)


def entries(name: str) -> List[Dict[str, Any]]:
    """All lines so far."""
    try:
        with open(path(name), encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except (FileNotFoundError, KeyError):
        return []


def record(name: str, **arguments: Any) -> None:
    """Note a call with the Neuron settings that it saw, for `NeuronHost.calls`."""
    env = {key: value for key, value in os.environ.items() if key.startswith(("NEURON", "XLA_")) and key != VARIABLE}
    append("calls.jsonl", {"name": name, "pid": os.getpid(), "env": env, "python": sys.executable, **arguments})


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """Alone among all processes of this machine."""
    handle = os.open(path(name), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(name: str, content: Any) -> None:
    """Write a JSON file so that no reader sees half of it."""
    target = path(name)
    partial = "%s.%d.%d" % (target, os.getpid(), next(_replaced))  # a finalizer may come here in the middle
    with open(partial, "w", encoding="utf-8") as file:
        json.dump(content, file)
    os.replace(partial, target)


def started(pid: int) -> Optional[str]:
    """What tells a process from a later one of the same number: its start time; None where there is no such process."""
    try:
        with open("/proc/%d/stat" % pid, encoding="utf-8", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]

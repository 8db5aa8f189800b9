"""What every backend for Neuron devices needs: the cores of a process, device memory, an SDK of the right age, flags.

Built on the documented interfaces of the AWS Neuron SDK alone, and never run on a device by this project. Worker side,
Python 3.8.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Iterable, Iterator, Mapping, Optional, Sequence

from sweep.files import neuron_tool
from sweep.spec import FailureKind, Placement, TrialError

VISIBLE, COUNT, LNC = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_LOGICAL_NC_CONFIG"
GROUPS = "NEURONCORE_GROUP_SIZES"  # of the runtime before 2022; where a shell still sets it, old releases obey
SYSFS = "sys/devices/virtual/neuron_device"
LS_SECONDS = 10.0
WORDS = "words for the compiler, each in quotes like ['-O2']"  # what `extra_args` takes
MB = float(1 << 20)


# --- cores ------------------------------------------------------------------------------------------------------------


def cores_text(cores: Sequence[int]) -> str:
    """`2` or `2-3`, as the runtime takes them: one number or one range."""
    first, last = min(cores), max(cores)
    if sorted(cores) != list(range(first, last + 1)):
        raise ValueError("NeuronCores %s are not consecutive" % (tuple(cores),))
    return str(first) if first == last else "%d-%d" % (first, last)


def claim(placement: Placement, modules: Iterable[str]) -> None:
    """Tell the runtime, which is not there yet, which cores this process gets; a core belongs to one process.

    Args:
        modules: those that start the runtime; none may have been imported with other cores.

    Raises:
        TrialError: one was.
    """
    os.environ.pop(GROUPS, None)
    if not placement.cores:
        return
    wanted = cores_text(placement.cores)
    loaded = [name for name in modules if name in sys.modules]
    if loaded and os.environ.get(VISIBLE) != wanted:
        summary = "%s was imported with %s=%s and cannot change to %s: each replica needs a process of its own" % (
            loaded[0],
            VISIBLE,
            os.environ.get(VISIBLE, "(all)"),
            wanted,
        )
        raise TrialError(FailureKind.CORE_UNAVAILABLE, summary)
    os.environ[VISIBLE] = wanted
    os.environ.pop(COUNT, None)  # the other one wins anyway; said once, it is clear


def one_core_for_building() -> None:
    """A trace on a host with devices takes one core: not all, which other builds and replicas may need."""
    visible = os.environ.get(VISIBLE, "").partition("-")[0]
    if visible:
        os.environ[VISIBLE] = visible
    else:
        os.environ[COUNT] = "1"


def has_device() -> bool:
    """True where this host has a Neuron device: a device file, or neuron-ls lists one."""
    if any(Path("/dev").glob("neuron[0-9]*")):
        return True
    command = neuron_tool("neuron-ls")
    if command is None:
        return False
    try:
        done = subprocess.run(
            [command, "--json-output"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LS_SECONDS
        )
        return done.returncode == 0 and bool(json.loads(done.stdout.decode("utf-8", "replace")))
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def device_memory_mb(cores: Sequence[int], physical: int = 1, root: Path = Path("/")) -> float:
    """Device memory that is taken on these cores as the driver counts it, 0 where it does not.

    Args:
        physical: cores in one of these numbers (Trn2: 2).
    """
    found = sorted(
        (number(path.parent.name), number(path.name), path) for path in (root / SYSFS).glob("neuron*/neuron_core*")
    )
    taken = 0
    for core in cores:
        for _, _, path in found[core * physical : (core + 1) * physical]:
            for present in path.glob("stats/memory_usage/device_mem/*/present"):
                with contextlib.suppress(OSError, ValueError):
                    taken += int(present.read_text())
    return taken / MB


def number(name: str) -> int:
    """12 of `neuron12`."""
    digits = re.search(r"\d+$", name)
    return int(digits.group()) if digits else -1


# --- what the SDK must have -------------------------------------------------------------------------------------------


def own_programs() -> None:
    """Put the interpreter's own folder first on PATH: nobody activates an environment that is named by its python."""
    own = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[:1] != [own]:
        os.environ["PATH"] = os.pathsep.join(filter(None, [own, os.environ.get("PATH", "")]))


def documented(module: Any, name: str, versions: Mapping[str, str]) -> Any:
    """A function of the SDK.

    Raises:
        TrialError: this release has none of that name.
    """
    found = getattr(module, name, None)
    if found is None:
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, "%s has no %s: %s" % (module.__name__, name, other(versions)))
    return found


def other(versions: Mapping[str, str]) -> str:
    """What is here, and that another release is needed."""
    here = ", ".join("%s %s" % item for item in sorted(versions.items()))
    return "here are %s; this backend needs the release that its page in the docs names" % (here or "unknown versions")


@contextlib.contextmanager
def known_keywords(module: str, versions: Mapping[str, str]) -> Iterator[None]:
    """Around a call of the SDK: a keyword that its release does not know is a toolchain of another age."""
    try:
        yield
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        summary = "%s does not know the keyword %s: %s" % (module, unknown.group(1), other(versions))
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, summary) from error


# --- flags ------------------------------------------------------------------------------------------------------------


def value_of(arguments: Sequence[str], flag: str) -> Optional[str]:
    """What a command line says of a flag: the rightmost wins. None where it is not there."""
    found = None
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            found = arguments[place + 1]
        elif word.startswith(flag + "="):
            found = word[len(flag) + 1 :]
    return found


def taken_flag(extra: Sequence[str], own: Mapping[str, str]) -> Optional[str]:
    """Why free arguments cannot be passed on: one of them is the business of an option."""
    for word in extra:
        flag = word.partition("=")[0]
        if flag in own:
            return "backend.options.extra_args holds %s: set %s, which is recorded" % (flag, own[flag])
    return None

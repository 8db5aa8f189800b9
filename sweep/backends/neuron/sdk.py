"""What all backends for Neuron devices need: the cores of a process, device memory, the right SDK, flags.

Built on the documented interfaces of the AWS Neuron SDK alone, and never run on a device by this project. Worker side,
Python 3.8.
"""

import contextlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterable, Iterator, List, Mapping, Optional, Sequence

from sweep.backends.options import Options
from sweep.files import find_neuron_tool
from sweep.spec import FailureKind, Placement, TrialError
from sweep.spec.declared import setting

VISIBLE, COUNT, LNC = "NEURON_RT_VISIBLE_CORES", "NEURON_RT_NUM_CORES", "NEURON_LOGICAL_NC_CONFIG"
GROUPS = "NEURONCORE_GROUP_SIZES"  # of the runtime before 2022; where a shell still sets it, old releases obey
SYSFS = "sys/devices/virtual/neuron_device"
LS_SECONDS = 10.0
WORDS = "words for the compiler, each in quotes like ['-O2']"  # what `extra_args` takes
MB = float(1 << 20)


# --- cores ------------------------------------------------------------------------------------------------------------


def format_cores(cores: Sequence[int]) -> str:
    """`2` or `2-3`: the runtime takes a number or a range."""
    first, last = min(cores), max(cores)
    if sorted(cores) != list(range(first, last + 1)):
        raise ValueError("NeuronCores %s are not consecutive" % (tuple(cores),))
    return str(first) if first == last else "%d-%d" % (first, last)


def claim(placement: Placement, modules: Iterable[str]) -> None:
    """Set the cores of this process before the runtime is loaded; a core belongs to a single process.

    Args:
        modules: they start the runtime, so none may have been imported with other cores.

    Raises:
        TrialError: a module was.
    """
    os.environ.pop(GROUPS, None)
    if not placement.cores:
        return
    wanted = format_cores(placement.cores)
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
    os.environ.pop(COUNT, None)  # VISIBLE has precedence anyway


def limit_to_single_core() -> None:
    """Let a build use one core, not all: other builds and replicas may need them."""
    visible = os.environ.get(VISIBLE, "").partition("-")[0]
    if visible:
        os.environ[VISIBLE] = visible
    else:
        os.environ[COUNT] = "1"


def has_device() -> bool:
    """Whether this host has a Neuron device: there is a device file, or neuron-ls lists a device."""
    if any(Path("/dev").glob("neuron[0-9]*")):
        return True
    command = find_neuron_tool("neuron-ls")
    if command is None:
        return False
    try:
        result = subprocess.run(
            [command, "--json-output"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=LS_SECONDS
        )
        return result.returncode == 0 and bool(json.loads(result.stdout.decode("utf-8", "replace")))
    except (OSError, ValueError, subprocess.SubprocessError):
        return False


def device_memory_mb(cores: Sequence[int], physical: int = 1, root: Path = Path("/")) -> float:
    """Device memory in MiB that is used on these cores, by the driver; 0 if it does not say.

    Args:
        physical: cores in one of these numbers (Trn2: 2).
    """
    folders = sorted((root / SYSFS).glob("neuron*/neuron_core*"), key=_read_numbers)
    used = 0
    for core in cores:
        for folder in folders[core * physical : (core + 1) * physical]:
            for present in folder.glob("stats/memory_usage/device_mem/*/present"):
                with contextlib.suppress(OSError, ValueError):
                    used += int(present.read_text())
    return used / MB


def _read_numbers(folder: Path) -> List[int]:
    """[3, 1] of `neuron3/neuron_core1`."""
    return [int(digits) for name in folder.parts[-2:] for digits in re.findall(r"\d+$", name)]


# --- what the SDK must have -------------------------------------------------------------------------------------------


def put_own_programs_first() -> None:
    """Put the interpreter's folder first on PATH: an environment that is named by its python is not activated."""
    own = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[:1] != [own]:
        os.environ["PATH"] = os.pathsep.join(filter(None, [own, os.environ.get("PATH", "")]))


def find_function(module: Any, name: str, versions: Mapping[str, str]) -> Any:
    """A function of the SDK.

    Raises:
        TrialError: this release has none of that name.
    """
    function = getattr(module, name, None)
    if function is None:
        summary = "%s has no %s: %s" % (module.__name__, name, _ask_for_release(versions))
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, summary)
    return function


def _ask_for_release(versions: Mapping[str, str]) -> str:
    """The versions that are here, and that another release is needed."""
    here = ", ".join("%s %s" % item for item in sorted(versions.items()))
    return "here are %s; this backend needs the release that its page in the docs names" % (here or "unknown versions")


@contextlib.contextmanager
def check_keywords(module: str, versions: Mapping[str, str]) -> Iterator[None]:
    """Around a call of the SDK: if its release does not know a keyword, the toolchain is at fault."""
    try:
        yield
    except TypeError as error:
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown is None:
            raise
        summary = "%s does not know the keyword %s: %s" % (module, unknown.group(1), _ask_for_release(versions))
        raise TrialError(FailureKind.TOOLCHAIN_MISSING, summary) from error


# --- flags ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NeuronxCompilerOptions(Options):
    """The options that the torch and the TensorFlow backend of neuronx-cc share."""

    auto_cast: str = setting(
        "all", "what precision=bf16 or fp16 computes narrow; precision=fp32 casts nothing", choices=("all", "matmult")
    )
    optlevel: int = setting(2, "1 compiles sooner", choices=(1, 2, 3))
    model_type: str = setting(
        "generic", "what the compiler takes the model for", choices=("generic", "transformer", "unet-inference")
    )


def find_value(arguments: Sequence[str], flag: str) -> Optional[str]:
    """The value of a flag on a command line: the rightmost counts. None without the flag."""
    value = None
    for place, word in enumerate(arguments):
        if word == flag and place + 1 < len(arguments):
            value = arguments[place + 1]
        elif word.startswith(flag + "="):
            value = word[len(flag) + 1 :]
    return value


def refuse_own_flags(extra: Sequence[str], own: Mapping[str, str]) -> Optional[str]:
    """None, or why free arguments cannot be passed on: an option sets one of them."""
    for word in extra:
        flag = word.partition("=")[0]
        if flag in own:
            return "backend.options.extra_args holds %s: set %s, which is recorded" % (flag, own[flag])
    return None

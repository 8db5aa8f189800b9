"""The compilers as child processes: how TensorFlow 1 and 2 start them, wait for them and take their failures."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence

from tensorflow._graph import Shape
from tensorflow_double import log
from tensorflow_double.partition import Segment

DEFAULT_TIMEOUT = 18000.0
# That the guides of 2020 asked for when the batch is larger than one
EXTRA_FLAGS = ("--batching_en", "--rematerialization_en", "--spill_dis", "--sb_size", "--enable-replication")
_SOURCE, _TARGET = "graph_def.pb", "graph_def.neff"
_BAR = 35  # the verbosity at which neuron-cc draws a progress bar


class Settings(NamedTuple):
    """How TensorFlow 1 compiles."""

    arguments: Sequence[str]
    workdir: Optional[str]
    timeout: Optional[float]
    verbose: Optional[int]


def find(name: str) -> Optional[str]:
    """The compiler's path: beside the interpreter, else on PATH."""
    return shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", "")]))


def facts(package: str, segment: Segment, shapes: Mapping[str, Shape], arguments: Sequence[str]) -> Dict[str, Any]:
    """What injected faults can ask for. `extra_flags`: those that the guides of 2020 gave for larger batches."""
    words = [part for word in arguments for part in word.split("=", 1)]
    cores = 1
    for name, value in zip(words, [*words[1:], ""]):
        if name in ("--neuroncore-pipeline-cores", "--num-neuroncores"):
            cores = int(value) if value.isdigit() else 0
    return {
        "package": package,
        "batch": shapes[segment.inputs[0]][0],
        "cores": cores,
        "pipeline": cores,
        "static_weights": "--static-weights" in words,
        "extra_flags": any(flag in words for flag in EXTRA_FLAGS),
        "segment": segment.name,
    }


def _write(workdir: str, given: Dict[str, Any]) -> str:
    path = os.path.join(workdir, _SOURCE)
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"facts": given}, file)
    return path


def _read(workdir: str) -> Dict[str, Any]:
    with open(os.path.join(workdir, _TARGET), encoding="utf-8") as file:
        found: Dict[str, Any] = json.load(file)
    return found


def io_config(segment: Segment, shapes: Mapping[str, Shape]) -> str:
    inputs = {"%s:0" % name: [list(shapes[name]), "float32"] for name in segment.inputs}
    return json.dumps({"inputs": inputs, "outputs": ["%s:0" % name for name in segment.outputs]}, separators=(",", ":"))


def compile_v1(
    segment: Segment, shapes: Mapping[str, Shape], given: Dict[str, Any], settings: Settings, alone: bool
) -> Optional[Dict[str, Any]]:
    """What neuron-cc makes of a subgraph for TensorFlow 1; None, after a warning, where it fails or takes too long.

    Its output goes to the terminal if `verbose`, else into a file of `workdir`. With neither, and one subgraph alone,
    it draws a progress bar, and what it wrote to stderr is in the warning.
    """
    with tempfile.TemporaryDirectory() as temporary:
        workdir = os.path.join(os.path.abspath(settings.workdir or temporary), segment.name)
        os.makedirs(workdir, exist_ok=True)
        command = [str(find("neuron-cc")), "compile", _write(workdir, given), "--framework", "TENSORFLOW"]
        command += ["--output", os.path.join(workdir, _TARGET), "--io-config", io_config(segment, shapes)]
        command += list(settings.arguments)
        if settings.verbose is not None:
            command += ["--verbose", str(settings.verbose)]
        bar = alone and settings.verbose is None and settings.workdir is None and "--verbose" not in command
        runner = _with_bar if bar else _in_background
        if runner(command, workdir, segment.name, settings):
            return _read(workdir)
        return None


def _with_bar(command: List[str], workdir: str, name: str, settings: Settings) -> bool:
    log.info("fusing subgraph %s with neuron-cc" % name)
    written = os.path.join(workdir, "neuron-cc-stderr.txt")
    timeout = settings.timeout or DEFAULT_TIMEOUT
    with open(written, "w", encoding="utf-8") as file:
        status = wait(subprocess.Popen([*command, "--verbose=%d" % _BAR], cwd=workdir, stderr=file), timeout)
    if status is None:
        log.warning("Command '%s' timed out after %s seconds" % (command, timeout))
    elif status:
        with open(written, encoding="utf-8", errors="replace") as file:
            log.warning(file.read())
    return status == 0


def _in_background(command: List[str], workdir: str, name: str, settings: Settings) -> bool:
    written = os.path.join(workdir, "graph_def.neuron-cc.log")
    note = "" if settings.verbose else "; you may check progress by inspecting file %s" % written
    log.info("fusing subgraph %s with neuron-cc%s" % (name, note))
    if settings.verbose:
        status = wait(subprocess.Popen(command, cwd=workdir), settings.timeout or DEFAULT_TIMEOUT)
    else:
        with open(written, "w", encoding="utf-8") as file:
            process = subprocess.Popen(command, cwd=workdir, stdout=file, stderr=file)
            status = wait(process, settings.timeout or DEFAULT_TIMEOUT)
    if status != 0:
        log.warning("Failed to fuse subgraph %s with '%s'" % (name, subprocess.list2cmdline(command)))
    return status == 0


def wait(process: "subprocess.Popen[bytes]", timeout: float) -> Optional[int]:
    """The exit status, or None after the time: then the compiler was interrupted, and killed a second later."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        return None


def compile_v2(
    compiler: str, segment: Segment, given: Dict[str, Any], arguments: Sequence[str], workdir: Optional[str]
) -> Optional[Dict[str, Any]]:
    """What the compiler makes of a subgraph for TensorFlow 2; None, after a warning, where it fails. It never ends it.

    Raises:
        TypeError: there is no compiler; nothing looks for one before it is started.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = os.path.join(os.path.realpath(workdir or temporary), segment.name)
        os.makedirs(folder, exist_ok=True)
        command: List[Any] = [find(compiler), "compile", _write(folder, given), "--framework", "XLA"]
        command += ["--output", os.path.join(folder, _TARGET), *arguments]
        if command[0] is None:
            raise TypeError("expected str, bytes or os.PathLike object, not NoneType")
        with open(os.path.join(folder, "neuron_cc_xla_command.log"), "w", encoding="utf-8") as file:
            file.write(" ".join(command))
        written = os.path.join(folder, "neuron_cc_xla.stderr.log")
        with open(written, "w", encoding="utf-8") as file:
            status = subprocess.run(command, cwd=folder, stderr=file, check=False).returncode
        if status == 0:
            return _read(folder)
        with open(written, encoding="utf-8", errors="replace") as file:
            log.warning("neuron-cc failed with:\n%s" % file.read())
        return None


def environment_flags() -> List[str]:
    return shlex.split(os.environ.get("NEURON_CC_FLAGS", ""))

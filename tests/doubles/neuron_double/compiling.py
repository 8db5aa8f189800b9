"""The caller's side of a compilation: a real child process, found on PATH as the real packages find it."""

import json
import os
import shutil
import subprocess
import tempfile
from typing import Any, Dict, NamedTuple, Optional, Sequence

from neuron_double import faults


class Compiled(NamedTuple):
    returncode: int  # negative: the signal that ended it
    log: str  # what it printed
    neff: Optional[Dict[str, Any]]  # what it wrote: "program", "flags", "compiler", "version"


def compile_program(
    compiler: str,
    arguments: Sequence[str],
    facts: Dict[str, Any],
    package: str,
    workdir: Optional[str] = None,
    timeout: Optional[float] = None,
    strike: bool = True,
) -> Compiled:
    """Run `neuronx-cc` or `neuron-cc`; its failures are in what comes back, for each package raises its own.

    `facts` (batch, ...) are what injected faults can ask for. The files stay where `workdir` is given. Faults of the
    stage `trace` strike here, unless `strike` says that the caller lets them strike because it does some itself.

    Raises:
        RuntimeError: there is no compiler.
        subprocess.TimeoutExpired: it took longer than `timeout` seconds.
    """
    program = shutil.which(compiler)
    if program is None:
        raise RuntimeError("%s is not %s" % (compiler, "installed" if compiler == "neuronx-cc" else "found"))
    if strike:
        faults.strike("trace", package, **facts)
    folder = workdir or tempfile.mkdtemp(prefix="neuron-compile-")
    os.makedirs(folder, exist_ok=True)
    try:
        source, target = os.path.join(folder, "graph.hlo"), os.path.join(folder, "graph.neff")
        with open(source, "w", encoding="utf-8") as file:
            json.dump({"facts": {"package": package, **facts}}, file)
        command = [program, "compile", source, "--framework", "XLA", *arguments, "--output", target]
        log = os.path.join(folder, "log-neuron-cc.txt")
        with open(log, "wb") as printed:
            done = subprocess.run(command, stdout=printed, stderr=printed, timeout=timeout, check=False)
        with open(log, encoding="utf-8", errors="replace") as file:
            text = file.read()
        neff = None
        if done.returncode == 0:
            with open(target, encoding="utf-8") as file:
                neff = json.load(file)
        return Compiled(done.returncode, text, neff)
    finally:
        if workdir is None:
            shutil.rmtree(folder, ignore_errors=True)

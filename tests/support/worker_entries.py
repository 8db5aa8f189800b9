"""Entry functions that tests run inside workers. Standard library only: other interpreters import this too."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from sweep.spec import FailureKind, TrialError, UserError


def echo(request, folder):
    return {"request": request, "pid": os.getpid(), "folder": str(folder)}


def about(request, folder):
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "group": os.getpgid(0),
        "cores": sorted(os.sched_getaffinity(0)),
        "env": os.environ.get("SWEEP_TEST"),
        "path": sys.path,
        "python": list(sys.version_info[:2]),
        "files": sorted(int(path.name) for path in Path("/proc/self/fd").iterdir()),
        "cwd": str(Path.cwd()),
        "umask": os.umask(0o022),
        "term": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "child": signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL,
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "stdin": os.readlink("/proc/self/fd/0"),  # noqa: PTH115  # Path.readlink came with 3.9
        "preloaded": [name for name in request.get("modules", []) if name in sys.modules],
    }


def value_of(request, folder):
    import importlib

    return {"value": importlib.import_module(request["module"]).VALUE}


def chance(request, folder):
    import random

    return {"value": random.random()}


def sleep(request, folder):
    (folder / "started").write_text(str(os.getpid()))
    time.sleep(request["seconds"])
    return {}


def raise_value(request, folder):
    raise ValueError("first line\nsecond line")


def raise_trial(request, folder):
    raise TrialError(FailureKind.UNSUPPORTED_OPERATOR, "no operator of that name")


def raise_user(request, folder):
    raise UserError("labels reach 10, but there are 10 classes: use 0 to 9")


def raise_memory(request, folder):
    raise MemoryError


def import_missing(request, folder):
    import no_such_package_anywhere  # noqa: F401  # the import is what fails


def leave(request, folder):
    sys.exit(3)


def leave_hard(request, folder):
    os._exit(request["code"])


def not_json(request, folder):
    return {"value": {1, 2}}


def segfault(request, folder):
    (folder / "versions.json").write_text(json.dumps({"compiler": "1.2"}))
    ctypes.string_at(0)


def abort(request, folder):
    os.write(2, b"terminate called after throwing an instance of 'std::bad_alloc'\n")
    os.abort()


def abort_plain(request, folder):
    os.abort()


def kill_itself(request, folder):
    os.kill(os.getpid(), signal.SIGKILL)


def eat_memory(request, folder):
    """Grow step by step, so that a watchdog that looks a few times a second sees it in time."""
    held = []
    for _ in range(request["steps"]):
        held.append(bytearray(os.urandom(1 << 20) * request["mb"]))
        time.sleep(0.01)
    if request.get("forever"):
        time.sleep(600)
    return {"held": len(held)}


def map_file(request, folder):
    """Touch every page of a mapped file, as a reader of stored arrays does."""
    import mmap

    with open(folder / "mapped", "w+b") as file:
        file.truncate(request["mb"] << 20)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        total = sum(mapped[:: mmap.PAGESIZE])
        time.sleep(0.6)  # for two looks of the watchdog
    return {"total": total}


def write_progress(request, folder):
    """Say for some seconds that there is progress, then hang if asked to."""
    for number in range(request["steps"]):
        (folder / "progress.json").write_text(str(number))
        time.sleep(0.1)
    if request.get("hang"):
        time.sleep(600)
    return {"steps": request["steps"]}


def grandchildren(request, folder):
    """One child in our group, one with its own session, one orphan of its own session; then end or hang."""
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    started = [subprocess.Popen(command), subprocess.Popen(command, start_new_session=True)]
    orphan = folder / "orphan"
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(write)
            time.sleep(600)
        os.write(write, str(pid).encode())
        os._exit(0)
    os.wait()
    orphan.write_bytes(os.read(read, 100))
    pids = [*(child.pid for child in started), int(orphan.read_text())]
    aside = folder / "pids.part"
    aside.write_text(json.dumps([*pids, os.getpid()]))
    aside.rename(folder / "pids")
    if request.get("hang"):
        time.sleep(600)
    return {"pids": pids}


def chatter(request, folder):
    block = b"x" * 1023 + b"\n"
    os.write(1, b"the beginning\n")
    for _ in range(request["mb"] * 1024):
        os.write(1, block)
    os.write(2, b"the very end\n")
    return {}


def write_to_both(request, folder):
    print("from print")
    print("\u00e9 to stderr", file=sys.stderr)
    os.write(1, b"from the descriptor\n")
    subprocess.run(["echo", "from a child"], check=True)
    return {}


def close_output(request, folder):
    os.close(1)
    os.close(2)
    return {"closed": True}


def truncate_result(request, folder):
    (folder / "result.json").write_text('{"result": {"a": ')
    os._exit(0)


def read_file(request, folder):
    return {"text": Path(request["path"]).read_text()}

"""Run snippets in another interpreter that has already imported what they need: a fork each, not a start each."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SERVER = """
import json, os, sys, traceback
for name in sys.argv[2:]:
    __import__(name)
if "torch" in sys.modules:
    sys.modules["torch"].set_num_threads(1)
site = sys.argv[1]
print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(order["env"])
        for number, name in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
            os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
        if order["site"]:
            sys.path[sys.path.index(site)] = order["site"]
        status = 0
        try:
            exec(compile(order["code"], "snippet", "exec"), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        __import__("atexit")._run_exitfuncs()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    print(json.dumps(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)), flush=True)
"""


@dataclass(frozen=True)
class Ran:
    """How one snippet ended: exit status (negative: a signal), what it printed."""

    status: int
    out: str
    err: str

    @property
    def told(self) -> list[Any]:
        """The lines that it printed, each as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]


class Forks:
    """One interpreter with its modules; `site` is the folder of its path that a run may exchange for another."""

    def __init__(self, python: str, folder: Path, env: dict[str, str], modules: tuple[str, ...], site: Path) -> None:
        self._folder, self._count = folder, 0
        folder.mkdir(parents=True)
        self._process = subprocess.Popen(
            [python, "-c", _SERVER, str(site), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        assert self._line() == "ready"

    def run(self, code: str, env: dict[str, str], site: Path | None = None) -> Ran:
        """Run the snippet with exactly that environment."""
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        order = {"code": code, "env": env, "out": str(out), "err": str(err), "site": site and str(site)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._line())
        return Ran(status, out.read_text(), err.read_text())

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

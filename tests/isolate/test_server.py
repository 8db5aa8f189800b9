"""The server's way to run one worker by hand."""

import importlib
import json
from pathlib import Path

import pytest

from sweep.isolate import server
from sweep.spec import Failure, FailureKind


@pytest.mark.parametrize("entry", ["sweep.worker:versions", "sweep.worker.entries:versions"])
def test_task_folder_runs_by_old_and_new_entry_name(entry: str, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_text(json.dumps({"entry": entry, "packages": ["numpy", "no-such-package"]}))
    assert server.execute(tmp_path) == 0
    versions = json.loads((tmp_path / "result.json").read_text())["result"]["versions"]
    assert versions["numpy"] is not None
    assert versions["no-such-package"] is None


@pytest.mark.parametrize("module", ["sweep.padding:check", "sweep.replaying:measure", "sweep.worker:measure"])
def test_every_old_entry_name_finds_a_function(module: str) -> None:
    old, _, name = module.partition(":")
    assert callable(getattr(importlib.import_module(server.MODULES_BEFORE[old]), name))


def test_stored_command_names_the_module_where_it_is_now() -> None:
    command = "cd /tmp && PYTHONPATH=/x python -m sweep.forkserver --once /tmp/task"
    failure = Failure(FailureKind.CRASH, "SIGSEGV", command=command)
    assert failure.command == "cd /tmp && PYTHONPATH=/x python -m sweep.isolate.server --once /tmp/task"

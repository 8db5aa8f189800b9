"""Builds that the processes of one test session share: the first that needs one makes it, the others wait for it."""

import fcntl
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweep.spec import BuildInfo, from_json, to_json


def build_once(
    name: str, builder: Callable[[Path], BuildInfo], factory: pytest.TempPathFactory
) -> tuple[Path, BuildInfo]:
    """The folder of the build `name` and what its builder said, which is called by one process of the session alone.

    Args:
        name: of the build, the same in every process.
        builder: writes the artifact into the folder that it is given.
        factory: of temporary folders, which pytest-xdist gives each of its processes one of.
    """
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "builds"
    root.mkdir(exist_ok=True)
    folder, info = root / name, root / f"{name}.json"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not info.exists():
            shutil.rmtree(folder, ignore_errors=True)  # of a builder that failed
            folder.mkdir()
            info.write_text(json.dumps(to_json(builder(folder))))
    return folder, from_json(BuildInfo, json.loads(info.read_text()))

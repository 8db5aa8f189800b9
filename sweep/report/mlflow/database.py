"""The SQLite file of the default store: created as a whole or not at all, by one process at a time.

MLflow creates its tables in some fifty steps. Two sweeps that start together break each other's file, and a sweep that
is killed meanwhile leaves a file that can never be opened again. So the file is created elsewhere, under a lock, and
renamed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweep.report.mlflow.client import MlflowClient

PREFIX = "sqlite:///"


def open_client(uri: str) -> MlflowClient:
    """A client of that store; the first one imports MLflow, which takes seconds."""
    from sweep.report.mlflow.client import MlflowClient

    return MlflowClient(tracking_uri=uri)


def make_database(uri: str) -> None:
    """Create the file of a SQLite address if it is missing; do nothing for other addresses.

    Raises:
        OSError: the folder cannot be written.
    """
    if not uri.startswith(PREFIX):
        return
    path = Path(uri.removeprefix(PREFIX)).absolute()
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if path.exists():
            return
        for left_behind in path.parent.glob(f".{path.name}.new*"):
            left_behind.unlink(missing_ok=True)
        new = path.with_name(f".{path.name}.new{os.getpid()}")
        open_client(f"{PREFIX}{new}").search_experiments(max_results=1)
        new.replace(path)

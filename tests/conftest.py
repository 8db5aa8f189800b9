"""For all tests."""

import gc
import os
import platform
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.support.composed import remembered, shared_files
from tests.support.neuron_machine import NeuronHosts
from tests.support.pool import FakePool
from tests.support.process_guard import MARKERS, Guard
from tests.support.warm_servers import Shelf

# A shell that runs the tests in the background, as some CI does, has them ignore SIGINT, and every process that they
# start would inherit that: there would be no Ctrl-C to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Without bytecode, every process that a test starts would compile the package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("no deadline", deadline=None)  # the first call imports scipy, which a deadline would count
settings.load_profile("no deadline")

platform.processor()  # starts `uname`, once in a process: no test is to blame for it
GUARD = Guard()
SWEEPS = Path(__file__).parent / "sweeps"


def pytest_collection_finish() -> None:
    """The collector would look at all that is imported by now hundreds of times, for a seventh of the CPU time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Whoever asks for a pool runs a sweep, and so does everything in the folder of sweeps; a store is a real one."""
    for item in items:
        if SWEEPS in item.path.parents or _asks_for(item, "fake_pool") or _asks_for(item, "warm_pool"):
            item.add_marker("sweep")
        if _asks_for(item, "mlflow_store"):
            item.add_marker("process")


def _asks_for(item: pytest.Item, fixture: str) -> bool:
    return fixture in getattr(item, "fixturenames", ())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _guarded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _guarded(item):
        return (yield)


def _guarded(item: pytest.Item) -> "nullcontext[None]":
    may_start = _asks_for(item, "warm_pool") or any(item.get_closest_marker(marker) for marker in MARKERS)
    return nullcontext() if may_start else GUARD.forbidden(item.name)  # type: ignore[return-value]  # a context either way


@pytest.fixture(scope="session", autouse=True)
def _composed() -> Iterator[None]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    from sweep.config import hydra_api

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", remembered(ConfigLoaderImpl.load_configuration))
        patch.setattr(hydra_api, "config_loader", shared_files(hydra_api.config_loader))
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_power_cut() -> Iterator[None]:
    """Nothing here outlives a power cut, and to force a file to disk takes milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session")
def mlflow_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty MLflow store: making its tables takes seconds, copying it does not.

    From now on no store of this process waits for the disk.
    """
    from sqlalchemy import Engine, event

    from sweep.report.mlflow import database

    def never_wait(connection: Any, record: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")

    event.listen(Engine, "connect", never_wait)
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    database.make_database(f"{database.PREFIX}{path}")
    yield path
    event.remove(Engine, "connect", never_wait)


@pytest.fixture(scope="session")
def _shelf() -> Iterator[Shelf]:
    shelf = Shelf()
    yield shelf
    shelf.close()


@pytest.fixture(scope="session")
def neuron_hosts(tmp_path_factory: pytest.TempPathFactory) -> NeuronHosts:
    return NeuronHosts(tmp_path_factory.mktemp("neuron_hosts"))


@pytest.fixture
def warm_pool(_shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweeps in this process have real workers, and hand their fork servers on to those of the next test.

    Two thirds of the CPU time of such a sweep is one import of torch. Sweeps of `python -m sweep` start their own.
    """
    monkeypatch.setattr("sweep.engine.session.Workers", _shelf.workers)


@pytest.fixture
def fake_pool(request: pytest.FixtureRequest) -> Iterator[FakePool]:
    """Sweeps in this process have workers without processes, and time that passes by itself.

    Where a whole module asks for it, a test that asks for `warm_pool` has real workers all the same.
    """
    pool = FakePool()
    if "warm_pool" in request.fixturenames:
        yield pool
        return
    with pool.installed():
        yield pool

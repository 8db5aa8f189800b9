"""For all tests."""

import os
import platform
import signal
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import nullcontext

import pytest
from hypothesis import settings

from tests.support.composed import remembered
from tests.support.neuron_machine import NeuronHosts
from tests.support.pool import FakePool
from tests.support.process_guard import MARKERS, Guard
from tests.support.warm_servers import Shelf

# A shell that runs the tests in the background, as some CI does, has them ignore SIGINT, and every process that they
# start would inherit that: there would be no Ctrl-C to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Compiled modules are kept: else every interpreter that a test starts compiles the whole package anew
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

settings.register_profile("no deadline", deadline=None)  # the first call imports scipy, which a deadline would count
settings.load_profile("no deadline")

platform.processor()  # starts `uname`, once in a process: no test is to blame for it
GUARD = Guard()


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Whoever asks for real workers runs a sweep."""
    for item in items:
        if "warm_pool" in getattr(item, "fixturenames", ()):
            item.add_marker("sweep")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    with _guarded(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    with _guarded(item):
        return (yield)


def _guarded(item: pytest.Item) -> "nullcontext[None]":
    marked = any(item.get_closest_marker(marker) for marker in MARKERS)
    return nullcontext() if marked else GUARD.forbidden(item.name)  # type: ignore[return-value]  # a context either way


@pytest.fixture(scope="session", autouse=True)
def _composed() -> Iterator[None]:
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", remembered(ConfigLoaderImpl.load_configuration))
        yield


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

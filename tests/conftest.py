"""For all tests."""

import signal
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support.warm_servers import Shelf

# A shell that runs the tests in the background, as some CI does, has them ignore SIGINT, and every process that they
# start would inherit that: there would be no Ctrl-C to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("no deadline", deadline=None)  # the first call imports scipy, which a deadline would count
settings.load_profile("no deadline")


@pytest.fixture(scope="session", autouse=True)
def kept_servers() -> Iterator[None]:
    """Sweeps that run in this process hand their fork servers on; those of `python -m sweep` start their own."""
    shelf = Shelf()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sweep.engine.session.Workers", shelf.workers)
        yield
    shelf.close()

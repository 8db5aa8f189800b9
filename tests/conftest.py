"""For all tests."""

import signal

from hypothesis import settings

# A shell that runs the tests in the background, as some CI does, has them ignore SIGINT, and every process that they
# start would inherit that: there would be no Ctrl-C to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("no deadline", deadline=None)  # the first call imports scipy, which a deadline would count
settings.load_profile("no deadline")

"""For all tests."""

import signal

# A shell that runs the tests in the background, as some CI does, has them ignore SIGINT, and every process that they
# start would inherit that: there would be no Ctrl-C to test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

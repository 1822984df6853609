"""For all tests."""

import signal

from hypothesis import settings

# A machine with much else to do is no fault of the test.
settings.register_profile("without_clock", deadline=None)
settings.load_profile("without_clock")

# Ctrl-C is ignored by what a script starts in the background, and by all that this starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

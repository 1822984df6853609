"""For all tests."""

import signal

# Ctrl-C is ignored by what a script starts in the background, and by all that this starts in turn.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

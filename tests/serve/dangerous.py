"""An aligner on which a black image hangs and a white one ends the process, as a decoder's bug might."""

import os
import signal
import time

from facealign.serve.photo import Tools


class DangerousAligner:
    def detect_and_align(self, image, turns):
        if not image.any():
            time.sleep(3600)
        if image.all():
            os.kill(os.getpid(), signal.SIGSEGV)
        return []


def open_dangerous():
    return Tools(DangerousAligner(), max_pixels=10_000)

"""What test_processes has done in other processes, which import little for it."""

import os
import signal
import time

import cv2

from facealign.errors import FaceAlignError


def square(_, number):
    """Later items are done sooner."""
    time.sleep(max(0, 0.02 * (6 - number)))
    return number * number


def where(context, _):
    time.sleep(0.05)  # so that others get their turn
    return os.getpid(), cv2.getNumThreads(), context


def blocked(context, _):
    """Names of the signals that this process blocks."""
    return sorted(one.name for one in signal.pthread_sigmask(signal.SIG_BLOCK, []))


def where_with_another(context, directory):
    """The same, but not before two processes are at it, so that one does not do all."""
    (directory / str(os.getpid())).touch()
    end = time.monotonic() + 60
    while len(list(directory.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    return where(context, None)


def nothing():
    """No context."""


class Pair:
    """A context that must not leave its process."""

    def __init__(self, first, second):
        self.both = first, second

    def __reduce__(self):
        raise TypeError("a context is not sent")


def pair_of(context, _):
    return context.both


def refuse():
    raise FaceAlignError("no such weights")


def fail_at_five(_, number):
    if number == 5:
        raise LookupError("five")
    return number


def die_at_five(_, number):
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refuse_at_five(_, number):
    if number == 5:
        raise FaceAlignError("five")
    return number


def kill_once(_, item):
    """The number of an item; at the 50th the first process that comes is killed."""
    number, mark = item
    if number == 50 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


class Photo:
    def __init__(self, name):
        self.name = name

    def __str__(self):
        return f"photos/{self.name}"


def poison(_, photo):
    if photo.name == "50.jpg":
        os.kill(os.getpid(), signal.SIGKILL)
    return photo.name

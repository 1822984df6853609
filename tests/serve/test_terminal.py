"""`facealign serve` in a terminal, where signals come to its workers and to Python's helpers too."""

import contextlib
import os
import pty
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import httpx2 as httpx
import pytest
from skimage.data import astronaut

from tests.serve.running import LONG, ROOT, Server, workers_of

SLOW = cv2.imencode(".jpg", cv2.resize(astronaut()[:, :, ::-1], None, fx=4, fy=4))[1].tobytes()
"""A photo that takes long, searched turned by quarters."""


class Terminal(Server):
    """A server in a terminal; what it prints goes on in `text`."""

    def __init__(self):
        self.keyboard, its_end = pty.openpty()
        command = [sys.executable, "-m", "facealign", "serve", "--port", "0", "--workers", "2"]
        # setsid gives it the terminal as its own, so that Ctrl-C comes to the whole group.
        process = subprocess.Popen(
            ["setsid", "--ctty", *command], cwd=ROOT, stdin=its_end, stdout=its_end, stderr=its_end
        )
        os.close(its_end)
        self.text = ""
        self._ready = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._ready.wait(LONG)
        assert self.text.startswith("http://"), self.text
        super().__init__(process, self.text.split()[0])

    def _read(self):
        with contextlib.suppress(OSError):  # it is closed by its last process
            while data := os.read(self.keyboard, 4096):
                self.text += data.decode().replace("\r\n", "\n")
                if "\n" in self.text:
                    self._ready.set()
        self._ready.set()

    def ended(self):
        """Its exit code, and all that it printed but its address."""
        code = self.process.wait(LONG)
        self._reader.join(LONG)
        os.close(self.keyboard)
        return code, self.text.partition("\n")[2]


@pytest.fixture
def terminal():
    started = Terminal()
    yield started
    with contextlib.suppress(ProcessLookupError):
        os.killpg(started.process.pid, signal.SIGKILL)
    started.process.wait()


def test_the_log_is_plain_text(terminal):
    started = workers_of(terminal.process)  # and a helper of Python's
    killed, _ = [one for one in started if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
    os.kill(killed, signal.SIGKILL)
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(terminal.post, SLOW, "?turns=never") for _ in range(2)]
        assert sorted(answer.result().status_code for answer in answers) == [200, 500]
    os.write(terminal.keyboard, b"\x03")
    logged = "ERROR:    a photo ended a worker process: the process ended: SIGKILL\n"
    assert terminal.ended() == (130, f"{logged}^Cinterrupted\n")


@pytest.mark.parametrize("ending", ["Ctrl-C", "SIGTERM"])
def test_requests_under_way_are_answered_when_a_signal_comes_to_the_whole_group(terminal, ending):
    with ThreadPoolExecutor(2) as clients:
        answers = [clients.submit(terminal.post, SLOW, "?turns=always") for _ in range(2)]
        while terminal.requests() < 2:
            pass
        if ending == "Ctrl-C":
            os.write(terminal.keyboard, b"\x03")
        else:
            os.killpg(terminal.process.pid, signal.SIGTERM)
        for answer in (one.result() for one in answers):
            assert answer.status_code == 200, answer.text
            assert len(answer.json()["faces"]) == 1
    said = {"Ctrl-C": (130, "^Cinterrupted\n"), "SIGTERM": (143, "ended by a signal\n")}
    assert terminal.ended() == said[ending]


def test_a_second_ctrl_c_ends_it_at_once_and_says_so_to_its_clients(terminal):
    with ThreadPoolExecutor(3) as clients:
        answers = [
            clients.submit(terminal.post, SLOW, "?turns=always") for _ in range(3)
        ]  # one of them waits
        while terminal.requests() < 3:
            pass
        os.write(terminal.keyboard, b"\x03")
        with contextlib.suppress(httpx.ConnectError):  # as it takes no new ones
            while True:
                httpx.get(f"{terminal.url}/health", timeout=LONG)
        os.write(terminal.keyboard, b"\x03")
        for answer in (one.result() for one in answers):
            assert (answer.status_code, answer.json()["code"]) == (503, "stopped")
    assert terminal.ended() == (130, "^C^Cinterrupted\n")

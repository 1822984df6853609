"""`facealign serve` as a process of its own, and photos to send it."""

import contextlib
import http.client
import io
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import cv2
import httpx2 as httpx
import numpy as np
from PIL import Image as PillowImage
from skimage.data import astronaut

ROOT = Path(__file__).parents[2]
LONG = 120.0


def astronaut_bytes(suffix=".png"):
    return cv2.imencode(suffix, astronaut()[:, :, ::-1])[1].tobytes()


def turned_by_exif():
    """The astronaut in a JPEG that lies on its side, and says so in its EXIF data."""
    image = PillowImage.fromarray(astronaut()[100:400, :]).transpose(PillowImage.Transpose.ROTATE_90)
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


class Server:
    """A server that runs; url: its address; process: its process."""

    def __init__(self, process, url):
        self.process, self.url = process, url

    def post(self, data, query="", **options):
        return httpx.post(f"{self.url}/align{query}", content=data, timeout=LONG, **options)

    def requests(self):
        """Number of requests under way."""
        return httpx.get(f"{self.url}/health", timeout=LONG).json()["requests"]

    @contextlib.contextmanager
    def half_sent(self, data, address="127.0.0.1"):
        """A request of which half is sent, and counted by the server: a connection, and the other half.

        address: the client's, on the loopback network.
        """
        place = self.url.removeprefix("http://")
        connection = http.client.HTTPConnection(place, timeout=LONG, source_address=(address, 0))
        before = self.requests()
        connection.putrequest("POST", "/align")
        connection.putheader("Content-Type", "image/png")
        connection.putheader("Content-Length", str(len(data)))
        connection.endheaders(data[: len(data) // 2])
        try:
            while self.requests() == before:
                time.sleep(0.01)
            yield connection, data[len(data) // 2 :]
        finally:
            connection.close()


def answer_to(connection):
    """Status and JSON object of the answer on a connection."""
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def workers_of(process):
    """Identifiers of the processes that one has started."""
    lists = [file.read_text().split() for file in Path(f"/proc/{process.pid}/task").glob("*/children")]
    return [int(child) for children in lists for child in children]


def _forbid_files(process):
    """A byte that it or a worker of it writes to a file fails from now on."""
    assert workers_of(process)
    for number in (process.pid, *workers_of(process)):
        resource.prlimit(number, resource.RLIMIT_FSIZE, (0, 0))


@contextlib.contextmanager
def running(*options):
    """`facealign serve` with these options on a free port; it can write no file once it runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "facealign", "serve", "--port", "0", *map(str, options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        line = process.stdout.readline()
        assert line.startswith("http://127.0.0.1:"), line + process.stderr.read()
        _forbid_files(process)
        yield Server(process, line.split()[0])
    finally:
        process.kill()
        process.communicate()


def gradient(height, width):
    """An image that compresses badly."""
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

"""The page, built once, in a browser whose camera sees the astronaut."""

import contextlib
import fcntl
import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from skimage.data import astronaut

from facealign.inference.model_zoo import default_cascade, default_weights
from facealign.web.build import build
from facealign.web.npm import packages
from tests.chromium import camera_that_sees, chromium

ROOT = Path(__file__).parents[2]


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder, and lists what was asked for."""

    def log_message(self, format, *arguments):
        self.server.requests.append(self.path)


@contextlib.contextmanager
def served(folder):
    """A server of a folder's files: its address, and the growing list of the paths asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    server.requests = []
    server.handle_error = lambda *_: None  # a page that is closed while it loads
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/", server.requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="session")
def node_modules():
    """The packages of npm, in build/, where they stay; installed by one process of the tests."""
    place = ROOT / "build" / "npm"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "tests.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return packages(place, development=True)


@pytest.fixture(scope="session")
def page_folder(node_modules, tmp_path_factory):
    folder = tmp_path_factory.mktemp("web") / "page"
    build(folder, default_weights("onnx"), default_cascade("onnx"), node_modules)
    return folder


@pytest.fixture(scope="session")
def address(page_folder):
    with served(page_folder) as (url, _):
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    camera = camera_that_sees(astronaut()[:480, :, ::-1], tmp_path_factory.mktemp("camera"))
    with chromium(*camera) as started:
        yield started

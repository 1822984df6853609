"""A scheduler with two workers, and an S3 server with a bucket, as processes of this machine."""

import contextlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.data import astronaut, cat

from facealign.datasets.pts import write_pts
from tests.upright_face import upright_face

ROOT = Path(__file__).parents[2]
DASK = Path(sys.executable).with_name("dask")
STORE = {
    "AWS_ACCESS_KEY_ID": "any",
    "AWS_SECRET_ACCESS_KEY": "any",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class Cluster:
    """A scheduler and the workers that were started for it."""

    def __init__(self, folder, environment):
        self.folder, self._environment = folder, environment
        self._processes = []
        file = folder / "scheduler.json"
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", file
        )
        end = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < end
            time.sleep(0.05)
        self.address = json.loads(file.read_text())["address"]

    def _start(self, kind, *arguments, environment=None):
        log = (self.folder / f"{kind}_{len(self._processes)}.log").open("w")
        process = subprocess.Popen(
            [DASK, kind, *map(str, arguments)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment, **(environment or {})},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def add_workers(self, number=1, threads=1, environment=None):
        """Start worker processes, watched over by nannies, and wait until they are there."""
        before = len(self.workers())
        options = ("--nworkers", number, "--nthreads", threads, "--no-dashboard")
        process = self._start(
            "worker", self.address, *options, "--local-directory", self.folder, environment=environment
        )
        end = time.monotonic() + 60
        while len(self.workers()) < before + number:
            assert time.monotonic() < end
            time.sleep(0.05)
        return process

    def workers(self):
        """Process identifiers of the workers, by address."""
        from distributed import Client

        with Client(self.address, set_as_default=False) as client:
            return client.run(os.getpid)

    def close(self):
        """End all at once, with what they started."""
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def store():
    """The environment variables of an S3 server, for this process too."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {**STORE, "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield environment
    server.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory, store):
    """A scheduler with two workers that reach the S3 server."""
    started = Cluster(tmp_path_factory.mktemp("cluster"), store)
    try:
        started.add_workers(2)
        yield started
    finally:
        started.close()


@pytest.fixture
def own_cluster(tmp_path, store):
    """A scheduler without workers, for a test that harms it."""
    started = Cluster(tmp_path, store)
    yield started
    started.close()


PHOTO = np.ascontiguousarray(astronaut()[:300, 70:370, ::-1])
CAT = np.ascontiguousarray(cat()[:, :, ::-1])
FACE = upright_face((153, 128), 82)
"""About where her face is in it."""
BUCKET = "s3://faces"


def make_photos(root):
    """Annotated photos in three folders, of a cat in ibug; a broken one, and something else."""
    for number in range(5):
        factor = 0.5 + 0.05 * number
        folder = root / ("300w/afw" if number < 2 else "300w/ibug" if number < 3 else "mine")
        folder.mkdir(parents=True, exist_ok=True)
        picture = cv2.resize(
            CAT if folder.name == "ibug" else PHOTO, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA
        )
        cv2.imwrite(str(folder / f"{1000 + number}_1.png"), picture)
        write_pts(folder / f"{1000 + number}_1.pts", (FACE + 0.5) * factor - 0.5)
    for number in (1, 2):
        shutil.copy(root / "mine" / "1003_1.png", root / "mine" / f"pair_{number}.png")
        shutil.copy(root / "mine" / "1003_1.pts", root / "mine" / f"pair_{number}.pts")
    (root / "mine" / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")
    write_pts(root / "mine" / "broken.pts", FACE)
    (root / "mine" / "notes.txt").write_text("nothing")
    return root


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of annotated photos."""
    return make_photos(tmp_path_factory.mktemp("photos") / "data")


@pytest.fixture(scope="session")
def bucket(store, photos):
    """The address of the same in the store."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=BUCKET.removeprefix("s3://"))
    for path in sorted(photos.rglob("*.*")):
        key = f"data/{path.relative_to(photos).as_posix()}"
        client.put_object(Bucket=BUCKET.removeprefix("s3://"), Key=key, Body=path.read_bytes())
    return f"{BUCKET}/data"


@pytest.fixture
def facealign(monkeypatch, capfd):
    """A function that runs a verb in this process: (what was printed, what was printed as errors)."""

    def run(verb, *arguments):
        monkeypatch.setattr("sys.argv", [f"facealign {verb}", *map(str, arguments)])
        capfd.readouterr()
        importlib.import_module("facealign.commands." + verb.replace("-", "_")).main()
        return capfd.readouterr()

    return run

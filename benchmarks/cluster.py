"""What a cluster costs besides the work itself: processor time of client, scheduler and workers.

    python -m benchmarks.cluster                  # of items that cost nothing: the limit
    python -m benchmarks.cluster --photos DIR     # also `facealign align` on photos, from DIR and from S3

Starts a scheduler and workers on this machine, and moto's S3 server in a process of its own. Times are those
of the processor, so that other programs hardly disturb them, after some photos to warm up.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from facealign.commands import align
from facealign.concurrency.cluster import SHARD_ITEMS, Scheduler
from facealign.concurrency.pools import ordered_map
from facealign.inference.face_aligner import Face
from facealign.io.markdown import table
from facealign.results.found_images import find_images
from facealign.results.growing_results import GrowingResults, entry_text
from facealign.results.record import image_record

ROOT = Path(__file__).parents[1]
BUCKET = "photos"
STORE = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_DEFAULT_REGION": "us-east-1"}
WARM_UP = 8
"""Photos that are aligned before, so that imports are not counted."""
HEADER = ("", "Items", "Client, ms an item", "Scheduler, ms an item", "Workers, ms an item")


def ready_made(face: Face, number: int) -> str:
    """What a worker sends for a photo with one face, without looking for it."""
    return entry_text(image_record(f"s3://photos/folder/{number:08}.jpg", (640, 480), [face]))


def one_face() -> Face:
    """A face with numbers of usual lengths."""
    points = np.random.default_rng(0).uniform(0, 640, (68, 2))
    return Face(points[:2].ravel(), 0.987654321, points, None, 0.987654321)


@contextmanager
def started(*command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    quiet = subprocess.DEVNULL
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(list(map(str, command)), env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield process
        finally:
            process.terminate()


@contextmanager
def cluster(workers: int) -> Iterator[Any]:
    """A client of a scheduler with these workers."""
    from distributed import Client

    dask = Path(sys.executable).with_name("dask")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        file = Path(scratch) / "scheduler.json"
        stack.enter_context(
            started(dask, "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", file)
        )
        while not file.exists():
            time.sleep(0.1)
        address = json.loads(file.read_text())["address"]
        options = ("--nthreads", "1", "--no-dashboard", "--no-nanny", "--local-directory", scratch)
        for _ in range(workers):
            stack.enter_context(started(dask, "worker", address, *options))
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(workers)
            yield client


def spent(client: Any, work: Callable[[], object]) -> list[float]:
    """Seconds of the processor that `work` takes: this process's, the scheduler's, the workers'."""

    def now() -> list[float]:
        workers = client.run(time.process_time)
        return [time.process_time(), client.run_on_scheduler(time.process_time), sum(workers.values())]

    before = now()
    work()
    return [after - first for first, after in zip(before, now(), strict=True)]


def row(name: str, items: int, seconds: Sequence[float]) -> list[str]:
    return [name, str(items), *(f"{1000 * value / items:.3f}" for value in seconds)]


def map_ready_made(address: str, items: int, folder: Path) -> None:
    """As `facealign align` does it: results come in order, and are written line by line."""
    results = GrowingResults(folder / "landmarks.jsonl")
    from benchmarks import cluster as this  # by this name workers find its functions

    made = ordered_map(this.ready_made, range(items), Scheduler(address), this.one_face)
    for number, text in enumerate(made):
        results.add_text(f"{number:016}", text)
    results.close()


def align_photos(address: str, place: str, output: Path) -> None:
    sys.argv = ["align", place, "--output", str(output), "--no-pictures", "--quiet", "--engine", "onnx"]
    sys.argv += ["--scheduler", address]
    align.main()


@contextmanager
def store(folder: Path) -> Iterator[str]:
    """The address of the files of a folder in an S3 server."""
    import boto3

    program = (
        "import time\nfrom moto.server import ThreadedMotoServer\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False)\nserver.start()\n"
        "print(*server.get_host_and_port(), sep=':', flush=True)\ntime.sleep(1e6)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            lines = iter(process.stdout.readline, "")
            address = next(line.strip() for line in lines if line[0].isdigit())
            os.environ.update(STORE, AWS_ENDPOINT_URL_S3=f"http://{address}")
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            for file in folder.rglob("*.*"):
                client.upload_file(str(file.resolve()), BUCKET, str(file.relative_to(folder)))
            yield f"s3://{BUCKET}"
        finally:
            process.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--photos", type=Path, metavar="DIR")
    parser.add_argument("--number", type=int, default=500, metavar="N", help="of photos (default: 500)")
    parser.add_argument("--items", type=int, default=64000, metavar="N", help="default: 64000")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="default: 2")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        scratch = Path(name)
        places: list[tuple[str, str]] = []
        if arguments.photos is not None:
            files = find_images([arguments.photos]).files[: arguments.number]
            for folder, some in (("few", files[:WARM_UP]), ("all", files)):
                (scratch / "photos" / folder).mkdir(parents=True)
                for index, file in enumerate(some):
                    (scratch / "photos" / folder / f"{index:05}{file.suffix}").symlink_to(file.resolve())
            places = [("align, from a folder", str(scratch / "photos"))]
            places += [("align, from S3", stack.enter_context(store(scratch / "photos")))]
        client = stack.enter_context(cluster(arguments.workers))
        address = client.scheduler.address
        items = arguments.items
        seconds = spent(client, partial(map_ready_made, address, items, scratch))
        rows.append(row(f"ready-made, {SHARD_ITEMS} a shard", items, seconds))
        for text, place in places:
            align_photos(address, f"{place}/few", scratch / f"{text}, first")
            seconds = spent(client, partial(align_photos, address, f"{place}/all", scratch / text))
            rows.append(row(text, len(files), seconds))
    print(table(list(HEADER), rows))


if __name__ == "__main__":
    main()

"""Load on `facealign serve`: many clients at once, each with one request after the other, and its memory.

    python -m benchmarks.serving [--clients 200] [--seconds 30] [-- OPTION OF facealign serve ...]

Starts the server on a free port. Each client keeps its connection. An answer of 429 or 503 is no failure, and
is counted on its own; any other status, another answer than the first one, and a broken connection is one.
"""

import argparse
import http.client
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from skimage.data import astronaut

REFUSED = (429, 503)
SAMPLED = 0.5
"""Seconds between two looks at the memory."""


def arguments_of() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clients", type=int, default=200, metavar="N", help="at once (default: 200)")
    parser.add_argument("--seconds", type=float, default=30.0, metavar="N", help="default: 30")
    parser.add_argument("--side", type=int, default=512, metavar="N", help="of the photo (default: 512)")
    parser.add_argument("options", nargs="*", metavar="OPTION", help="of facealign serve, after --")
    return parser.parse_args()


@contextmanager
def server(options: list[str]) -> Iterator[tuple[int, str]]:
    """`facealign serve` with these options: the process, and host:port."""
    command = [sys.executable, "-m", "facealign", "serve", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split()
            if not address:
                sys.exit("the server did not start")
            yield process.pid, address[0].removeprefix("http://")
        finally:
            process.terminate()


def resident(process: int) -> list[int]:
    """Resident memory of a process and of its children, MiB each; the process first."""
    lists = [file.read_text().split() for file in Path(f"/proc/{process}/task").glob("*/children")]
    sizes = []
    for number in (process, *sorted(int(child) for children in lists for child in children)):
        status = Path(f"/proc/{number}/status").read_text()
        sizes.append(int(status.partition("VmRSS:")[2].split()[0]) // 1024)
    return sizes


class Load:
    """What the clients see: statuses, times of the answers of 200, failures."""

    def __init__(self, address: str, photo: bytes, until: float) -> None:
        self.address, self.photo, self.until = address, photo, until
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        self.failures: list[str] = []
        self.answers: set[bytes] = set()
        self._lock = threading.Lock()

    def client(self) -> None:
        """One request after the other on one connection."""
        connection = http.client.HTTPConnection(self.address, timeout=120)
        while time.perf_counter() < self.until:
            start = time.perf_counter()
            try:
                connection.request("POST", "/align", self.photo, {"Content-Type": "image/jpeg"})
                response = connection.getresponse()
                status, body = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
                connection.close()
                continue
            with self._lock:
                self.statuses[status] += 1
                if status == 200:
                    self.seconds.append(time.perf_counter() - start)
                    self.answers.add(body)
                elif status not in REFUSED:
                    self.failures.append(f"{status}: {body[:200]!r}")
            if status in REFUSED:
                time.sleep(1.0)  # as Retry-After says
        connection.close()


def main() -> None:
    arguments = arguments_of()
    photo = cv2.resize(astronaut()[:, :, ::-1], (arguments.side, arguments.side))
    data = cv2.imencode(".jpg", photo)[1].tobytes()
    with server(arguments.options) as (process, address):
        before = resident(process)
        load = Load(address, data, time.perf_counter() + arguments.seconds)
        clients = [threading.Thread(target=load.client) for _ in range(arguments.clients)]
        start = time.perf_counter()
        for client in clients:
            client.start()
        most = before
        while any(client.is_alive() for client in clients):
            time.sleep(SAMPLED)
            most = [max(pair) for pair in zip(most, resident(process), strict=True)]
        took = time.perf_counter() - start
        after = resident(process)
    failed = len(load.failures) + max(0, len(load.answers) - 1)
    times = np.percentile(load.seconds or [np.nan], (50, 95, 100))
    print(f"{arguments.clients} clients for {took:.0f} s, a photo of {len(data) // 1024} KiB each time")
    print(f"answers by status: {dict(sorted(load.statuses.items()))}; failed: {failed}")
    print(f"{load.statuses[200] / took:.1f} photos a second; time for one: ", end="")
    print("median {:.2f} s, 95 % {:.2f} s, longest {:.2f} s".format(*times))
    for name, sizes in (("before", before), ("most", most), ("after", after)):
        print(f"memory {name}: server {sizes[0]} MiB, workers {sizes[1:]} MiB")
    for failure in load.failures[:5]:
        print("failed:", failure, file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

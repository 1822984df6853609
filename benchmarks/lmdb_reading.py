"""How fast Caffe's Data layers read the paired LMDBs, and how long they let a solver wait.

A net of the Data layers of stage 2's train net alone, batch 64: what `forward` takes is the time to wait for
the next batch, as a solver waits that takes its batches no faster.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import TypedDict

from google.protobuf import text_format

from benchmarks.caffe_types import Net
from benchmarks.lmdb_photos import make_photos
from benchmarks.lmdb_writing import WORK, ours
from benchmarks.measure import ROOT, ROUNDS, Measurement, Peer, interleave, quartiles
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mobilenet_v2
from facealign.networks.data_layers import LmdbSource
from facealign.networks.recipes import recipe_named

FACES, COPIES = 300, 30
BATCH, ITERATIONS = 64, 30
"""What the solver takes, and how often a second."""
SECONDS = 2.0
"""Of a round of the wait."""


def run(rounds: int = ROUNDS) -> list[Measurement]:
    directory = str(WORK / "read")
    ours(str(make_photos(WORK / "photos", FACES)), COPIES, 2, directory)()
    peer = Peer("facealign", "benchmarks.lmdb_reading:reading", {"directory": directory}, units=BATCH)
    found = interleave("LMDB reading by Caffe", [peer], threads=1, rounds=rounds)
    return [*found, waits(directory, rounds)]


def reading(directory: str) -> Callable[[], object]:
    """A batch of pictures and landmarks with each call."""
    caffe = import_caffe()
    net = mobilenet_v2.train_val(recipe_named("mobilenet_v2/stage2"), LmdbSource(directory))
    kept = [layer for layer in net.layer if layer.type == "Data"]
    del net.layer[:]
    net.layer.extend(kept)
    for layer in net.layer:
        layer.data_param.batch_size = BATCH
    with tempfile.NamedTemporaryFile("w", suffix=".prototxt") as file:
        file.write(text_format.MessageToString(net))
        file.flush()
        made: Net = caffe.Net(file.name, caffe.TRAIN)
    return made.forward


class Waits(TypedDict):
    """Seconds waited, iteration by iteration of each round, and the share of a core that all of it takes."""

    waits: list[list[float]]
    share: float


def waits(directory: str, rounds: int) -> Measurement:
    """The wait per iteration, in the median of each round, with the longest and the processor time noted."""
    command = [sys.executable, "-m", "benchmarks.lmdb_reading", directory, str(rounds)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True)
    measured: Waits = json.loads(done.stdout)
    medians = tuple(quartiles(one)[1] for one in measured["waits"])
    together = sorted(wait for one in measured["waits"] for wait in one)
    note = (
        f"99 % of the waits up to {together[len(together) * 99 // 100] * 1e3:.2f} ms, "
        f"the longest {together[-1] * 1e3:.2f} ms; reading takes {measured['share']:.1%} of a core"
    )
    return Measurement(
        f"wait for {BATCH} samples, {ITERATIONS} times a second", "facealign", medians, note=note
    )


def measure_waits(directory: str, rounds: int) -> Waits:
    """Take batches as a solver would, and measure."""
    forward = reading(directory)
    forward()
    found: list[list[float]] = []
    used, began = _processor_time(), time.perf_counter()
    for _ in range(rounds):
        found.append([])
        start = time.perf_counter()
        for index in range(1, round(SECONDS * ITERATIONS) + 1):
            asked = time.perf_counter()
            forward()
            found[-1].append(time.perf_counter() - asked)
            time.sleep(max(0.0, start + index / ITERATIONS - time.perf_counter()))
    share = (_processor_time() - used) / (time.perf_counter() - began)
    return {"waits": found, "share": share}


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(measure_waits(sys.argv[1], int(sys.argv[2]))))

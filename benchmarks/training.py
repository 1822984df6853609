"""An iteration of training with its update, batch 64: stock Caffe, ours, and PyTorch for stage 2."""

from pathlib import Path

from benchmarks.caffe_nets import STOCK, write_nets
from benchmarks.measure import PEERS_PYTHON, ROOT, ROUNDS, Measurement, Peer, interleave
from facealign.errors import FaceAlignError

WORK = ROOT / "build" / "bench"
COMPILE_SECONDS = 300.0
LONGEST = 5
"""Rounds of VGG-Shadow at most: an iteration takes seconds."""


def prepare(directory: Path = WORK) -> str:
    """Write the nets, and the reference all are checked against. Raises FaceAlignError if Caffe cannot."""
    write_nets(directory)
    arguments = {"directory": str(directory)}
    (made,) = interleave(
        "reference",
        [Peer("stock Caffe", "benchmarks.caffe_nets:write_reference", arguments, environment=STOCK)],
        threads=1,
        rounds=0,
    )
    if made.note:
        raise FaceAlignError(f"stock Caffe: {made.note}")
    return str(directory)


def run(rounds: int = ROUNDS) -> list[Measurement]:
    directory = prepare()
    found = []
    for threads in (2, 1):
        caffe, torch = "benchmarks.caffe_nets:training", "benchmarks.torch_peer:training"
        with_torch = {"directory": directory, "threads": threads}
        one_blas = {"OPENBLAS_NUM_THREADS": "1"}  # with more, these small products are slower
        peers = [
            Peer("stock Caffe", caffe, {"directory": directory, "stock": True}, environment=STOCK),
            Peer("facealign", caffe, {"directory": directory, "stock": False}, environment=one_blas),
            Peer("PyTorch", torch, with_torch | {"compiled": False}, python=PEERS_PYTHON),
            Peer(
                "torch.compile",
                torch,
                with_torch | {"compiled": True},
                python=PEERS_PYTHON,
                start_seconds=COMPILE_SECONDS,
            ),
        ]
        found += interleave(f"training iteration, {plural(threads)}", peers, threads=threads, rounds=rounds)
        caffe = "benchmarks.caffe_nets:vgg_shadow_training"
        peers = [
            Peer("stock Caffe", caffe, {"directory": directory, "stock": True}, environment=STOCK),
            Peer("facealign", caffe, {"directory": directory, "stock": False}, environment=one_blas),
        ]
        task = f"VGG-Shadow's training iteration, {plural(threads)}"
        found += interleave(task, peers, threads=threads, rounds=min(rounds, LONGEST))
    return found


def plural(threads: int) -> str:
    return f"{threads} thread" + "s" * (threads != 1)

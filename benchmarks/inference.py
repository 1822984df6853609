"""A forward pass of 1 to 64 faces: stock Caffe, ours, ONNX in OpenCV, onnxruntime, PyTorch. Unit: a face."""

from benchmarks.caffe_nets import STOCK
from benchmarks.measure import PEERS_PYTHON, ROUNDS, Measurement, Peer, interleave
from benchmarks.training import plural, prepare

CURVE = (2, 4, 8, 16, 32)
"""Numbers of faces between 1 and 64, measured with 2 threads in short slices."""
CURVE_SLICE = 0.05


def task(faces: int, threads: int) -> str:
    return f"forward, {faces} face{'s' * (faces != 1)}, {plural(threads)}"


def run(rounds: int = ROUNDS) -> list[Measurement]:
    directory = prepare()
    found = []
    for faces, threads in [(1, 1), (1, 2), (64, 1), (64, 2)]:
        found += interleave(
            task(faces, threads), peers(directory, faces, threads), threads=threads, rounds=rounds
        )
    for faces in CURVE:
        found += interleave(
            task(faces, 2), peers(directory, faces, 2), threads=2, rounds=rounds, slice_seconds=CURVE_SLICE
        )
    return found


def peers(directory: str, faces: int, threads: int) -> list[Peer]:
    caffe = {"directory": directory, "faces": faces}
    others = caffe | {"threads": threads}
    return [
        Peer("stock Caffe", "benchmarks.caffe_nets:forward", caffe | {"stock": True}, faces, None, STOCK),
        Peer("facealign: Caffe", "benchmarks.caffe_nets:forward", caffe | {"stock": False}, faces),
        Peer("facealign: ONNX in OpenCV", "benchmarks.onnx_peers:opencv", others, faces),
        Peer("onnxruntime", "benchmarks.onnx_peers:onnxruntime", others, faces, PEERS_PYTHON),
        Peer("PyTorch", "benchmarks.torch_peer:forward", others, faces, PEERS_PYTHON),
    ]

"""Caffe from its wheel on a machine without Caffe's libraries. Run there by tools/check_wheel.py.

python on_a_bare_machine.py ROUNDS    with the files it needs beside it
"""

from __future__ import annotations

import ctypes
import itertools
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import caffe
import cv2
import h5py
import lmdb
import numpy as np
import onnx
from caffe.proto import caffe_pb2
from google.protobuf import text_format
from one_process import IN_ORDER

HERE = Path(__file__).resolve().parent
BIN = Path(sys.executable).parent
# What every Linux has: the C and C++ run-time libraries and zlib. numpy, cv2 and Caffe may use these alone.
EVERYWHERE = ("ld-linux", "libc.", "libm.", "libdl.", "libpthread.", "librt.", "libutil.", "libresolv.")
EVERYWHERE += ("libstdc++.", "libgcc_s.", "libz.")
ORDERS = list(itertools.permutations(["caffe", "cv2", "h5py", "onnx"]))


def only_libraries_of_its_own() -> str:
    """Nothing that Caffe loaded came from the system, beyond what every Linux has."""
    loaded = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
    ours = {path for path in loaded if "custom_caffe.libs" in path or "/caffe/" in path}
    assert len(ours) > 5, loaded
    system = {path for path in loaded if "site-packages" not in path and "lib-dynload" not in path}
    # Python's own modules use some libraries that Debian installs with it.
    code = (
        "import bz2, ctypes, decimal, hashlib, lzma, ssl, sqlite3, uuid, readline\n"
        "print(open('/proc/self/maps').read())"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    foreign = {path for path in system if not Path(path).name.startswith(EVERYWHERE) and path not in plain}
    assert not foreign, foreign
    return f"{len(ours)} libraries of Caffe's own, none of the system's"


def nothing_linked_in_is_seen() -> str:
    """The OpenCV and HDF5 inside libcaffe are not to be found from outside."""
    library = ctypes.CDLL(str(Path(caffe.__file__).parent / "libcaffe.so.1.0.0"))
    assert hasattr(library, "_ZTVN5caffe12NetParameterE"), "Caffe's own are to be found"
    inside = ["_ZN2cv8imdecodeERKNS_11_InputArrayEi", "H5Fopen", "H5LTmake_dataset_float", "png_read_info"]
    seen = [name for name in [*inside, "jpeg_read_header"] if hasattr(library, name)]
    assert not seen, seen
    return "no symbol of OpenCV, HDF5, libpng or libjpeg"


def network_against_onnx() -> str:
    """The released weights through Caffe and through OpenCV's ONNX importer: the same points."""
    net = caffe.Net(str(HERE / "deploy.prototxt"), str(HERE / "mobilenet_v2_stage2.caffemodel"), caffe.TEST)
    other = cv2.dnn.readNetFromONNX(str(HERE / "mobilenet_v2_stage2.onnx"))
    random = np.random.default_rng(1)
    largest = 0.0
    for _ in range(16):
        picture = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64))
        blob = ((picture.astype(np.float32) - 127.5) * 0.0078125).transpose(2, 0, 1)[None]
        net.blobs["data"].data[...] = blob
        ours = net.forward()["fc4"].copy()
        other.setInput(blob)
        largest = max(largest, float(np.abs(ours - other.forward()).max()) * 64)
    assert largest < 1e-3, largest
    return f"largest difference {largest:.1e} px on 16 inputs"


def command(*arguments: str) -> str:
    """Run the `caffe` program; returns what it said."""
    done = subprocess.run(
        [BIN / "caffe", *arguments],
        env={**os.environ, "GLOG_minloglevel": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def program() -> str:
    """Its version, and how long a pass takes."""
    version = command("--version").strip()
    assert "1.0.0" in version
    said = command("time", f"--model={HERE / 'deploy.prototxt'}", "--iterations=5")
    line = next(line for line in said.splitlines() if "Average Forward pass" in line)
    return f"{version}; {line.split('] ')[1]}"


def data(directory: Path) -> None:
    """Eight pictures and their 136 numbers, as a list of JPEGs and as two LMDBs."""
    random = np.random.default_rng(2)
    lines = []
    with lmdb.open("images", map_size=1 << 24) as images, lmdb.open("landmarks", map_size=1 << 24) as points:
        for i in range(8):
            picture = cv2.resize(random.integers(0, 256, (6, 6, 3), dtype=np.uint8), (64, 64))
            numbers = random.uniform(0.1, 0.9, 136).astype(np.float32)
            assert cv2.imwrite(f"{i}.jpg", picture)
            lines.append(" ".join([str(directory / f"{i}.jpg"), *map(str, numbers)]))
            shown = caffe.io.array_to_datum(picture.transpose(2, 0, 1))
            told = caffe_pb2.Datum(channels=136, height=1, width=1, float_data=numbers)
            for store, datum in ((images, shown), (points, told)):
                with store.begin(write=True) as transaction:
                    transaction.put(f"{i:04}".encode(), datum.SerializeToString())
    Path("list").write_text("\n".join(lines) + "\n")


def train(kind: str) -> str:
    """Two iterations of the released network, from the list or from the LMDBs."""
    net = text_format.Parse((HERE / "train_val.prototxt").read_text(), caffe_pb2.NetParameter())
    stored = [
        layer for layer in net.layer if layer.type == "Data" and layer.include[0].phase == caffe_pb2.TRAIN
    ]
    rest = [layer for layer in net.layer if layer.type != "Data"]
    if kind == "lmdb":
        for layer, source in zip(stored, ("images", "landmarks"), strict=True):
            layer.data_param.source, layer.data_param.batch_size = source, 4
        layers = [*stored, *rest]
    else:
        listed = caffe_pb2.LayerParameter(name="data", type="ImageFloatData", top=["data", "landmark"])
        listed.transform_param.CopyFrom(stored[0].transform_param)
        listed.transform_param.pad_ratio = 0.15
        listed.image_float_data_param.label_dim = 136
        source = listed.image_data_param
        source.source, source.batch_size, source.shuffle = "list", 4, True
        source.new_height = source.new_width = 64
        layers = [listed, *rest]
    made = caffe_pb2.NetParameter(name=kind, layer=layers)
    Path(f"{kind}.prototxt").write_text(text_format.MessageToString(made))
    Path("solver").write_text(
        f'net: "{kind}.prototxt" type: "Adam" base_lr: 0.0001 lr_policy: "fixed" max_iter: 2 display: 1'
        f' snapshot_prefix: "{kind}" solver_mode: CPU random_seed: 1'
    )
    said = command("train", "--solver=solver")
    losses = [float(line.rsplit(" ", 1)[1]) for line in said.splitlines() if ", loss = " in line]
    assert "Optimization Done" in said, said
    assert len(losses) >= 2, said
    assert all(math.isfinite(loss) for loss in losses), losses
    assert Path(f"{kind}_iter_2.caffemodel").stat().st_size > 1e6
    return f"losses {losses}"


def together(rounds: int) -> str:
    """The stress test in every order of import, and longer in two of them."""
    start = time.monotonic()
    for order in ORDERS:
        long = order[0] == "caffe" or order[-1] == "caffe"
        one_process(rounds if long and order in (ORDERS[0], ORDERS[-1]) else 2, order)
    return f"{len(ORDERS)} orders of import, {time.monotonic() - start:.0f} s"


def one_process(rounds: int, order: tuple[str, ...]) -> None:
    """One run of the stress test."""
    with tempfile.TemporaryDirectory() as scratch:
        done = subprocess.run(
            [sys.executable, "-c", IN_ORDER, ",".join(order), HERE / "one_process.py", str(rounds)],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, f"{order}: {done.stderr}"


def main() -> None:
    """Run it all; an assertion ends it."""
    versions = {
        "numpy": np.__version__,
        "cv2": cv2.__version__,
        "h5py": h5py.__version__,
        "onnx": onnx.__version__,
        "lmdb": lmdb.__version__,
    }
    print("beside " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    print(f"libraries: {only_libraries_of_its_own()}")
    print(f"linked in: {nothing_linked_in_is_seen()}")
    print(f"network: {network_against_onnx()}")
    print(f"program: {program()}")
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        data(Path(scratch))
        print(f"training from a list: {train('list')}")
        print(f"training from LMDB: {train('lmdb')}")
        os.chdir("/")
    print(f"all at once: {together(int(sys.argv[1]))}", flush=True)


if __name__ == "__main__":
    main()

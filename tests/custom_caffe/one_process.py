"""Caffe at work in one process with other libraries that bring an OpenCV, HDF5, protobuf or LMDB along.

python one_process.py ROUNDS    in a directory to write in

Caffe's own threads decode JPEGs and read LMDB, the main thread reads HDF5 through Caffe, and Python threads
do the same through cv2, lmdb, h5py and onnx. Every result is compared with what is known to be right.
Needs Caffe and these modules only, so that it can also be run where a wheel is tried out. The order of import
is the caller's: what it has imported before (`IN_ORDER`) stays as it is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import caffe
import cv2
import h5py
import lmdb
import numpy as np
import onnx
from caffe.proto import caffe_pb2

IN_ORDER = "import runpy, sys; [__import__(name) for name in sys.argv.pop(1).split(',')];"
IN_ORDER += "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
"""For python -c, with the modules' names, this file and the rounds as arguments."""

COUNT = 24
HEIGHT, WIDTH = 96, 112

NET = f"""
layer {{ name: "listed" type: "ImageFloatData" top: "listed" top: "number"
  image_float_data_param {{ label_dim: 1 }} image_data_param {{ source: "list" batch_size: {COUNT} }} }}
layer {{ name: "stored" type: "Data" top: "stored" top: "label"
  data_param {{ source: "stored.lmdb" backend: LMDB batch_size: {COUNT} }} }}
layer {{ name: "table" type: "HDF5Data" top: "table" hdf5_data_param {{ source: "tables" batch_size: 4 }} }}
layer {{ name: "product" type: "InnerProduct" bottom: "table" top: "product"
  inner_product_param {{ num_output: 8 weight_filler {{ type: "xavier" }} }} }}
"""


def pictures() -> list[Any]:
    """Smooth random pictures, as JPEG code."""
    random = np.random.default_rng(1)
    coarse = random.integers(0, 256, (COUNT, 8, 8, 3), dtype=np.uint8)
    return [cv2.imencode(".jpg", cv2.resize(picture, (WIDTH, HEIGHT)))[1] for picture in coarse]


def write_lmdb(path: str, codes: list[Any]) -> None:
    """An LMDB of encoded datums."""
    with lmdb.open(path, map_size=1 << 24) as store, store.begin(write=True) as transaction:
        for i, code in enumerate(codes):
            datum = caffe_pb2.Datum(encoded=True, label=i, data=code.tobytes())
            transaction.put(f"{i:04}".encode(), datum.SerializeToString())


def main() -> None:
    """Write the data, start the threads, forward the net, compare."""
    rounds = int(sys.argv[1])
    codes = pictures()
    known = [cv2.imdecode(code, cv2.IMREAD_COLOR) for code in codes]
    for i, code in enumerate(codes):
        Path(f"{i}.jpg").write_bytes(code.tobytes())
    Path("list").write_text("".join(f"{i}.jpg {i}\n" for i in range(COUNT)))
    write_lmdb("stored.lmdb", codes)
    write_lmdb("other.lmdb", codes)
    tables = np.random.default_rng(2).normal(size=(6, 4, 50)).astype(np.float32)
    for i, table in enumerate(tables):
        with h5py.File(f"{i}.h5", "w") as file:
            file.create_dataset("table", data=table, compression="gzip")
    Path("tables").write_text("".join(f"{i}.h5\n" for i in range(len(tables))))
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            [onnx.helper.make_node("Relu", ["a"], ["b"])],
            "g",
            [onnx.helper.make_tensor_value_info("a", 1, [1, 3])],
            [onnx.helper.make_tensor_value_info("b", 1, [1, 3])],
        )
    )

    def through_cv2(turn: int) -> None:
        i = turn % COUNT
        np.testing.assert_array_equal(cv2.imdecode(codes[i], cv2.IMREAD_COLOR), known[i])
        cv2.GaussianBlur(cv2.resize(known[i], (64, 64)), (3, 3), 0)

    def through_h5py(turn: int) -> None:
        i = turn % len(tables)
        with h5py.File(f"{i}.h5") as file:
            np.testing.assert_array_equal(file["table"][...], tables[i])

    store = lmdb.open("other.lmdb", readonly=True)

    def through_lmdb(turn: int) -> None:
        with store.begin() as transaction:
            datum = caffe_pb2.Datum.FromString(transaction.get(f"{turn % COUNT:04}".encode()))
        assert datum.data == codes[turn % COUNT].tobytes()

    def through_onnx(_: int) -> None:
        onnx.checker.check_model(onnx.load_from_string(model.SerializeToString()))

    # Many changes of thread, and no waiting for the main one.
    sys.setswitchinterval(0.0002)
    stop = threading.Event()
    failures: list[BaseException] = []
    turns: dict[str, int] = {}

    def loop(name: str, work: Callable[[int], None]) -> None:
        turn = 0
        try:
            while not stop.is_set():
                work(turn)
                turn += 1
                stop.wait(0.0005)  # the quick ones are not to keep a core busy
        except BaseException as error:  # told in the main thread
            failures.append(error)
        turns[name] = turn

    work = [through_cv2, through_cv2, through_h5py, through_lmdb, through_onnx]
    threads = [
        threading.Thread(target=loop, args=(f"{task.__name__}-{i}", task)) for i, task in enumerate(work)
    ]
    for thread in threads:
        thread.start()
    try:
        Path("net").write_text(NET)
        net = caffe.Net("net", caffe.TRAIN)
        weights, bias = (blob.data.copy() for blob in net.params["product"])
        expected = np.stack([picture.transpose(2, 0, 1) for picture in known]).astype(np.float32)
        for turn in range(rounds):
            net.forward()
            table = tables[turn % len(tables)]
            np.testing.assert_array_equal(net.blobs["table"].data, table)
            np.testing.assert_allclose(
                net.blobs["product"].data, table @ weights.T + bias, rtol=1e-4, atol=1e-5
            )
            np.testing.assert_array_equal(net.blobs["number"].data.ravel(), np.arange(COUNT))
            np.testing.assert_array_equal(net.blobs["label"].data, np.arange(COUNT))
            # Two releases of the JPEG library may round a value differently.
            np.testing.assert_allclose(net.blobs["listed"].data, expected, atol=2)
            np.testing.assert_array_equal(net.blobs["listed"].data, net.blobs["stored"].data)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert min(turns.values()) > 0, turns
    print(f"{rounds} rounds of Caffe; meanwhile {turns}")


if __name__ == "__main__":
    main()

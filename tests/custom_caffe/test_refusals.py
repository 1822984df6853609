"""What ended the process or never returned: empty blobs, parameters of 0, None for a net, pipes, folders."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import caffe
import numpy as np
import pytest

MakeNet = Callable[..., Any]
Run = Callable[..., Any]

REPOSITORY = Path(__file__).parents[2]
IMAGE = (
    'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }\n'
)
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
PRODUCT = (
    'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"'
    " inner_product_param { num_output: 2 } }\n"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of each test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def layer(kind: str, settings: str = "", bottoms: str = "data") -> str:
    """A layer 'x' of one top."""
    named = "".join(f' bottom: "{bottom}"' for bottom in bottoms.split())
    return f'layer {{ name: "x" type: "{kind}"{named} top: "x" {settings} }}\n'


def convolution(settings: str, kind: str = "Convolution") -> str:
    return layer(kind, f"convolution_param {{ num_output: 6 {settings} }}")


DIVIDES_BY_IMAGES = {
    "BatchNorm": layer("BatchNorm"),
    "Softmax": layer("Softmax"),
    "ArgMax": layer("ArgMax", "argmax_param { axis: 1 }"),
    "MVN": layer("MVN"),
    "Accuracy": PRODUCT + layer("Accuracy", bottoms="ip label"),
    "SoftmaxWithLoss": PRODUCT + layer("SoftmaxWithLoss", bottoms="ip label"),
    "HingeLoss": PRODUCT + layer("HingeLoss", bottoms="ip label"),
    "MultinomialLogisticLoss": PRODUCT + layer("MultinomialLogisticLoss", bottoms="ip label"),
    "EuclideanLoss": PRODUCT + layer("EuclideanLoss", bottoms="ip ip"),
    "BatchReindex": layer("BatchReindex", bottoms="data label"),
    "Filter": layer("Filter", bottoms="data label"),
    "Reshape": layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }"),
    "HDF5Output": 'layer { name: "x" type: "HDF5Output" bottom: "data" bottom: "data"'
    ' hdf5_output_param { file_name: "x.h5" } }',
}


@pytest.mark.parametrize("text", DIVIDES_BY_IMAGES.values(), ids=DIVIDES_BY_IMAGES)
def test_a_layer_that_divides_by_the_number_of_images_refuses_none(text: str, make_net: MakeNet) -> None:
    net = make_net(IMAGE + LABEL + text)
    net.blobs["data"].reshape(0, 3, 8, 8)
    net.blobs["label"].reshape(0)
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"bottom '\w+' is empty \(0\b.*layer 'x'"):
            net.forward()
    net.blobs["data"].reshape(3, 3, 8, 8)
    net.blobs["label"].reshape(3)
    net.blobs["label"].data[...] = 0
    net.forward()


@pytest.mark.parametrize("fuse", ["0", "1"])
def test_mobilenet_of_no_images(fuse: str, run_python: Run) -> None:
    path = REPOSITORY / "prototxt" / "mobilenet_v2" / "stage3" / "deploy.prototxt"
    done = run_python(
        f"""
import caffe
net = caffe.Net({str(path)!r}, caffe.TEST)
for shape in (0, 3, 64, 64), (1, 3, 0, 64):
    net.blobs['data'].reshape(*shape)
    for act in net.reshape, net.forward:
        try: act()
        except RuntimeError as error: print(error)
""",
        CAFFE_FUSE=fuse,
    )
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert len(lines) == 4
    assert all("bottom '" in line and "is empty (" in line for line in lines), lines


@pytest.mark.parametrize("phase", [caffe.TRAIN, caffe.TEST])
def test_a_chain_of_no_images_gives_none(phase: int, make_net: MakeNet) -> None:
    """As its layers do, which divide by nothing: in TEST they run as one."""
    chain = convolution("kernel_size: 3") + PRODUCT.replace('bottom: "data"', 'bottom: "x"')
    net = make_net(IMAGE + chain, phase)
    for images in (0, 2, 0):
        net.blobs["data"].reshape(images, 3, 8, 8)
        assert net.forward()["ip"].shape == (images, 2)


def test_a_net_that_begins_without_images(make_net: MakeNet) -> None:
    with pytest.raises(RuntimeError, match=r"bottom 'data' is empty \(0 3 8 8\).*layer 'x' \(BatchNorm\)"):
        make_net(IMAGE.replace("dim: 2", "dim: 0") + layer("BatchNorm"))


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "ConvolutionDepthwise", "Pooling"])
@pytest.mark.parametrize("shape", [(2, 3, 0, 8), (2, 3, 8, 0)])
def test_images_without_pixels(kind: str, shape: tuple[int, ...], make_net: MakeNet) -> None:
    if kind == "Pooling":
        text = layer(kind, "pooling_param { kernel_size: 1 }")
    else:
        text = convolution("kernel_size: 1", kind).replace("6", "3")
    net = make_net(IMAGE + text)
    net.blobs["data"].reshape(*shape)
    with pytest.raises(RuntimeError, match=r"bottom 'data' is empty \(2 3 \d \d\).*layer 'x'"):
        net.forward()


@pytest.mark.parametrize("kernel", [3, 9])
def test_a_filter_larger_than_the_image(kernel: int, make_net: MakeNet) -> None:
    net = make_net(IMAGE.replace("8", "9") + convolution(f"kernel_size: {kernel}"))
    net.blobs["data"].reshape(2, 3, kernel - 1, 9)
    with pytest.raises(RuntimeError, match=r"the filter is larger than the padded input.*layer 'x'"):
        net.forward()


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (convolution("kernel_size: 3 group: 0"), "group is 0, expected 1 or more"),
        (convolution("kernel_size: 3 group: 0", "Deconvolution"), "group is 0, expected 1 or more"),
        (convolution("kernel_size: 3 dilation: 0"), "dilation is 0, expected 1 or more"),
        (convolution("kernel_size: 3 dilation: 0", "Im2col"), "dilation is 0, expected 1 or more"),
        (
            convolution("kernel_size: 3 dilation: 0", "ConvolutionDepthwise").replace("6", "3"),
            "dilation must be positive",
        ),
        (convolution("kernel_size: 3 stride: 0"), "Stride dimensions must be nonzero"),
        (convolution("kernel_size: 3 stride_h: 0 stride_w: 1"), "Stride dimensions must be nonzero"),
        (
            convolution("kernel_size: 3 stride_h: 1 stride_w: 0", "Im2col"),
            "Stride dimensions must be nonzero",
        ),
        (layer("Pooling", "pooling_param { kernel_size: 2 stride: 0 }"), "stride is 0, expected 1 or more"),
        (layer("Pooling", "pooling_param { kernel_size: 2 stride_h: 1 stride_w: 0 }"), "stride is 0"),
    ],
    ids=range(10),
)
def test_parameters_of_zero(text: str, named: str, make_net: MakeNet) -> None:
    with pytest.raises(RuntimeError, match=named + r".*layer 'x' \("):
        make_net(IMAGE + text)


def test_a_count_of_solvers_of_zero() -> None:
    with pytest.raises(RuntimeError, match="solver_count is 0"):
        caffe.set_solver_count(0)


@pytest.fixture
def solver(folder: Path) -> Any:
    """A solver of a net of one layer, in the files solver and net."""
    text = IMAGE + PRODUCT + 'layer { name: "l" type: "Reduction" bottom: "ip" top: "l" loss_weight: 1 }\n'
    (folder / "net").write_text(text)
    (folder / "solver").write_text(
        'net: "net" base_lr: 0.1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "s"'
    )
    return caffe.get_solver("solver")


METHODS: dict[str, Callable[[Any], Any]] = {
    "share_with": lambda solver: solver.net.share_with(None),
    "share_weights": lambda solver: solver.share_weights(None),
    "load_hdf5": lambda _: caffe.Net.load_hdf5(None, "x"),
    "before_forward": lambda _: caffe.Net.before_forward(None, print),
    "after_forward": lambda _: caffe.Net.after_forward(None, print),
    "before_backward": lambda _: caffe.Net.before_backward(None, print),
    "after_backward": lambda _: caffe.Net.after_backward(None, print),
    "set_input_arrays": lambda _: caffe.Net._set_input_arrays(None, 0, 0),
    "save": lambda _: caffe.Net.save(None, "x"),
    "restore": lambda _: caffe.SGDSolver.restore(None, "x"),
    "solve": lambda _: caffe.SGDSolver.solve(None),
    "add_callback": lambda _: caffe.SGDSolver.add_callback(None, print, print),
    "blob_reshape": lambda solver: type(solver.net.blobs["ip"]).reshape(None, 1),
    "add_blob": lambda solver: type(solver.net.params["ip"]).add_blob(None, 1),
    "append": lambda solver: solver.net.params["ip"].append(None),
    "extend": lambda solver: solver.net.params["ip"].extend([None]),
    "set": lambda solver: solver.net.params["ip"].__setitem__(0, None),
    "set_slice": lambda solver: solver.net.params["ip"].__setitem__(slice(0, 1), [None]),
    "layers": lambda solver: solver.net.layers.__setitem__(0, None),
    "test_nets": lambda solver: solver.test_nets.append(None),
}


@pytest.mark.parametrize("act", METHODS.values(), ids=METHODS)
def test_none_is_no_net_or_blob_or_solver(act: Callable[[Any], Any], solver: Any) -> None:
    with pytest.raises(TypeError, match="None"):
        act(solver)
    solver.step(1)
    assert len(solver.net.params["ip"]) == 2


def test_lists_of_blobs_take_blobs_still(solver: Any) -> None:
    blobs = solver.net.params["ip"]
    blobs[0] = blobs[0]
    blobs.append(blobs[1])
    blobs.extend([blobs[0]])
    assert [tuple(blob.shape) for blob in blobs] == [(2, 192), (2,), (2,), (2, 192)]


@pytest.mark.parametrize(
    "values", [(None, np.zeros(2, np.float32)), ([1], np.zeros((2, 1, 1, 1), np.float32))]
)
def test_inputs_that_are_no_arrays(values: tuple[Any, Any], make_net: MakeNet) -> None:
    net = make_net(
        'layer { name: "m" type: "MemoryData" top: "d" top: "l" memory_data_param {'
        " batch_size: 2 channels: 1 height: 4 width: 4 } }"
    )
    with pytest.raises(RuntimeError, match="data and labels must be NumPy arrays"):
        net._set_input_arrays(*values)


@pytest.fixture(params=["pipe", "device", "folder"])
def not_a_file(request: pytest.FixtureRequest, folder: Path) -> Iterator[tuple[str, str]]:
    """Path and description. Whoever opens the pipe finds it empty, so as not to wait for ever."""
    if request.param == "device":
        yield "/dev/null", "/dev/null is a device or pipe, not a file"
    elif request.param == "folder":
        (folder / "sub").mkdir()
        yield "sub", "sub is a folder"
    else:
        pipe, ended = folder / "pipe", threading.Event()
        os.mkfifo(pipe)

        def close_at_once() -> None:
            while not ended.is_set():
                os.close(os.open(pipe, os.O_WRONLY))

        writer = threading.Thread(target=close_at_once, daemon=True)
        writer.start()
        yield "pipe", "pipe is a device or pipe, not a file"
        ended.set()
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # for which the writer waits
        writer.join()
        os.close(reader)


READERS: dict[str, Callable[[Any, str], Any]] = {
    "Net": lambda _, path: caffe.Net(path, caffe.TEST),
    "weights": lambda _, path: caffe.Net("net", caffe.TEST, weights=path),
    "weights, by place": lambda _, path: caffe.Net("net", path, caffe.TEST),
    "copy_from": lambda solver, path: solver.net.copy_from(path),
    "load_hdf5": lambda solver, path: solver.net.load_hdf5(path),
    "get_solver": lambda _, path: caffe.get_solver(path),
    "SGDSolver": lambda _, path: caffe.SGDSolver(path),
    "restore": lambda solver, path: solver.restore(path),
    "solve": lambda solver, path: solver.solve(path),
}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_what_is_no_file_is_not_opened(
    read: Callable[[Any, str], Any], not_a_file: tuple[str, str], solver: Any
) -> None:
    path, described = not_a_file
    with pytest.raises(RuntimeError, match=described):
        read(solver, path)


LAYERS = {
    "ImageData": 'image_data_param { source: "SOURCE" }',
    "ImageFloatData": 'image_data_param { source: "SOURCE" } image_float_data_param { label_dim: 1 }',
    "HDF5Data": 'hdf5_data_param { source: "SOURCE" batch_size: 1 }',
    "WindowData": 'window_data_param { source: "SOURCE" batch_size: 1 }',
}


def images(kind: str, source: str) -> str:
    """A data layer that reads a list."""
    return f'layer {{ name: "d" type: "{kind}" top: "d" top: "l" {LAYERS[kind]} }}'.replace("SOURCE", source)


@pytest.mark.parametrize("kind", LAYERS)
def test_lists_that_are_no_files(kind: str, not_a_file: tuple[str, str], make_net: MakeNet) -> None:
    path, described = not_a_file
    with pytest.raises(RuntimeError, match=described):
        make_net(images(kind, path))


def test_images_that_are_no_files(not_a_file: tuple[str, str], folder: Path, make_net: MakeNet) -> None:
    path, described = not_a_file
    (folder / "list").write_text(f"{path} 1\n")
    with pytest.raises(RuntimeError, match=f"Could not load {described}"):
        make_net(images("ImageData", "list")).forward()


def test_load_image_does_not_open_pipes_and_devices(not_a_file: tuple[str, str]) -> None:
    path, described = not_a_file
    with pytest.raises(OSError, match=described):
        caffe.io.load_image(path)


@pytest.mark.parametrize(
    "arguments", [("time", "--model=sub"), ("train", "--solver=sub"), ("test", "--model=sub")]
)
def test_the_command_names_a_folder(arguments: tuple[str, str], folder: Path, run_caffe: Run) -> None:
    (folder / "sub").mkdir()
    weights = ["--weights=sub"] if arguments[0] == "test" else []
    done = run_caffe(*arguments, *weights)
    assert done.returncode == 1
    assert "sub is a folder, not a file" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("phase", [7, -1])
def test_phases_that_are_none(phase: int, solver: Any) -> None:
    for arguments in (("net", phase), ("net", "net", phase)):
        with pytest.raises(RuntimeError, match=f"There is no phase {phase}; expected caffe.TRAIN"):
            caffe.Net(*arguments)


def test_an_onnx_file_is_called_one(solver: Any) -> None:
    path = REPOSITORY / "models" / "mobilenet_v2_stage3.onnx"
    for act in (
        lambda: caffe.Net("net", str(path), caffe.TEST),
        lambda: solver.restore(str(path)),
        lambda: caffe.Net(str(path), caffe.TEST),
    ):
        with pytest.raises(RuntimeError, match=r"stage3\.onnx is an ONNX file") as caught:
            act()
        assert "solverstate is" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"takes a \.caffemodel"):
        solver.net.copy_from(str(path))


def test_hdf5_prints_nothing(run_python: Run, solver: Any) -> None:
    done = run_python(
        """
import caffe
net = caffe.Net('net', caffe.TEST)
for act in (lambda: net.copy_from('absent'), lambda: net.load_hdf5('absent'), lambda: net.copy_from('.'),
            lambda: net.save_hdf5('absent/x.h5'), lambda: net.load_hdf5('net')):
    try: act()
    except RuntimeError as error: print(error)
""",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "File not found: absent",
        "absent is missing; expected an HDF5 file",
        ". is a folder, not a file",
        "Cannot write absent/x.h5",
        "net is a text file; expected an HDF5 file",
    ]

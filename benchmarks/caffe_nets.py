"""The stage 2 net as each Caffe gets it, and what it has to compute; run by Caffe in processes of their own.

"Stock" is upstream's code and nothing else where upstream has any: depthwise as Convolution with a group a
channel, its own engine in every layer, our fused execution off (STOCK). Noise and the loss, which upstream
lacks, are ours in both; they are a hundredth of the time.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.caffe_types import Net, Solver
from benchmarks.closeness import check_close, check_gradient
from facealign.arrays import AnyArray
from facealign.caffe_files import prototxt as p
from facealign.caffe_files.proto import caffe_pb2
from facealign.engines.caffe import CaffeEngine
from facealign.engines.pycaffe import import_caffe
from facealign.networks import mobilenet_v2, vgg_shadow
from facealign.networks.data_layers import MemorySource
from facealign.networks.recipes import Recipe, recipe_named
from facealign.networks.solver import solver as solver_of

VGG_SHADOW = "vgg_shadow"
WEIGHTS = Path("models/mobilenet_v2_stage2.caffemodel")
STOCK = {"CAFFE_FUSE": "0"}
"""Environment that turns our fused execution off."""
BATCH = 64


def stage2() -> Recipe:
    return recipe_named("mobilenet_v2/stage2")


def as_stock(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The same net in upstream's layers, each with upstream's engine."""
    stock = caffe_pb2.NetParameter()
    stock.CopyFrom(net)
    for layer in stock.layer:
        if layer.type == "ConvolutionDepthwise":
            layer.type = "Convolution"
            layer.convolution_param.group = layer.convolution_param.num_output
        if layer.type == "Convolution":
            layer.convolution_param.engine = caffe_pb2.CAFFE
        elif layer.type == "ReLU":
            layer.relu_param.engine = caffe_pb2.CAFFE
    return stock


def training_net(stock: bool, noise: bool) -> caffe_pb2.NetParameter:
    """Stage 2's train net, its batch coming from memory in place of the LMDBs."""
    net = mobilenet_v2.train_val(dataclasses.replace(stage2(), batch_size=BATCH), MemorySource())
    return _training_layers(net, stock, noise)


def vgg_shadow_net(stock: bool) -> caffe_pb2.NetParameter:
    """VGG-Shadow's likewise, with noise."""
    recipe = dataclasses.replace(recipe_named(VGG_SHADOW), batch_size=BATCH)
    return _training_layers(vgg_shadow.train_val(recipe, MemorySource()), stock, noise=True)


def _training_layers(net: caffe_pb2.NetParameter, stock: bool, noise: bool) -> caffe_pb2.NetParameter:
    layers = [
        layer
        for layer in net.layer
        if caffe_pb2.TEST not in [rule.phase for rule in layer.include] and (noise or layer.type != "Noise")
    ]
    net = caffe_pb2.NetParameter(name=net.name, layer=layers)
    return as_stock(net) if stock else net


def deploy_net(stock: bool, faces: int) -> caffe_pb2.NetParameter:
    net = mobilenet_v2.deploy()
    net.layer[0].input_param.shape[0].dim[0] = faces
    return as_stock(net) if stock else net


def write_nets(directory: Path) -> None:
    """Write what the functions below read: nets and solvers of both kinds, with and without noise."""
    directory.mkdir(parents=True, exist_ok=True)
    for stock in (False, True):
        for noise in (False, True):
            write_solver(directory, net_name(stock, noise), training_net(stock, noise), stage2())
        write_solver(directory, vgg_shadow_name(stock), vgg_shadow_net(stock), recipe_named(VGG_SHADOW))
        for faces in (1, 2, 4, 8, 16, 32, 64):
            path = directory / f"{deploy_name(stock, faces)}.prototxt"
            path.write_text(p.text(deploy_net(stock, faces), path.stem), encoding="utf-8")


def write_solver(directory: Path, name: str, net: caffe_pb2.NetParameter, recipe: Recipe) -> None:
    """Write NAME.prototxt and NAME.solver.prototxt, of a solver that neither tests nor saves."""
    path = directory / f"{name}.prototxt"
    path.write_text(p.text(net, name), encoding="utf-8")
    solver = solver_of(recipe, str(path.resolve()), seed=1)
    solver.display = solver.snapshot = solver.test_interval = 0
    del solver.test_iter[:]
    (directory / f"{name}.solver.prototxt").write_text(p.text(solver, name), encoding="utf-8")


def vgg_shadow_name(stock: bool) -> str:
    return f"{'stock' if stock else 'ours'}_{VGG_SHADOW}"


def net_name(stock: bool, noise: bool) -> str:
    return ("stock" if stock else "ours") + ("_noise" if noise else "")


def deploy_name(stock: bool, faces: int) -> str:
    return f"{'stock' if stock else 'ours'}_deploy_{faces}"


def write_reference(directory: str) -> Callable[[], object]:
    """Write reference.npz: the weights, a batch and what stock Caffe makes of it.

    Holds `weights/LAYER/I`, `data` (64, 3, 64, 64), `landmark` (64, 136), `output` of the deploy net,
    `training_output` and `loss` of the training net, and `gradient/LAYER/I`.
    """
    caffe = import_caffe()
    folder = Path(directory)
    rng = np.random.default_rng(4)
    deploy: Net = caffe.Net(str(folder / f"{deploy_name(True, BATCH)}.prototxt"), str(WEIGHTS), caffe.TEST)
    # Soft blots, as unlike noise as pictures are.
    blots = rng.uniform(-1, 1, (BATCH, 4, 4, 3)).astype(np.float32)
    size = mobilenet_v2.SIZE[::-1]
    pictures = np.stack([cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in blots])
    values: dict[str, AnyArray] = {"data": np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).clip(-1, 1)}
    deploy.blobs["data"].data[...] = values["data"]
    values["output"] = deploy.forward()[mobilenet_v2.OUTPUT].copy()
    values["landmark"] = (values["output"] + rng.normal(0, 0.02, (BATCH, 136))).astype(np.float32)
    for layer, blobs in deploy.params.items():
        for index, blob in enumerate(blobs):
            values[f"weights/{layer}/{index}"] = blob.data.copy()
    values |= _training_results(stage2_solver(folder, stock=True, noise=False), values)
    np.savez(folder / "reference.npz", allow_pickle=False, **values)
    np.savez(folder / f"{VGG_SHADOW}.npz", allow_pickle=False, **_vgg_shadow_results(folder, stock=True))
    return lambda: None


def training(directory: str, stock: bool) -> Callable[[], object]:
    """An iteration of the solver: a batch copied in, noise, forward, backward, update.

    Raises ValueError when the net computes something else than the reference.
    """
    folder = Path(directory)
    reference = dict(np.load(folder / "reference.npz"))
    check_results(_training_results(stage2_solver(folder, stock, noise=False), reference), reference)
    return iteration_of(stage2_solver(folder, stock, noise=True), reference)


def vgg_shadow_training(directory: str, stock: bool) -> Callable[[], object]:
    """An iteration of VGG-Shadow's solver, from random weights and with a random batch.

    Raises ValueError when the net computes something else than the reference.
    """
    folder = Path(directory)
    reference = dict(np.load(folder / f"{VGG_SHADOW}.npz"))
    check_results(_vgg_shadow_results(folder, stock), reference)
    return iteration_of(_vgg_shadow_solver(folder, stock), reference)


def iteration_of(solver: Solver, inputs: dict[str, AnyArray]) -> Callable[[], object]:
    blobs = [(solver.net.blobs[name].data, inputs[name]) for name in ("data", "landmark")]

    def iteration() -> None:
        for blob, values in blobs:
            blob[...] = values
        solver.step(1)

    return iteration


def forward(directory: str, stock: bool, faces: int) -> Callable[[], object]:
    """A forward pass. Raises ValueError when it gives something else than the reference."""
    folder = Path(directory)
    reference = dict(np.load(folder / "reference.npz"))
    data = reference["data"][:faces]
    deploy = folder / f"{deploy_name(stock, faces)}.prototxt"
    if stock:
        caffe = import_caffe()
        net: Net = caffe.Net(str(deploy), str(WEIGHTS), caffe.TEST)

        def call() -> AnyArray:
            net.blobs["data"].data[...] = data
            return net.forward()[mobilenet_v2.OUTPUT]
    else:
        engine = CaffeEngine(deploy, WEIGHTS)

        def call() -> AnyArray:
            return engine.forward({"data": data})[mobilenet_v2.OUTPUT]

    check_close(call(), reference["output"][:faces], "output")
    return call


def check_results(found: dict[str, AnyArray], reference: dict[str, AnyArray]) -> None:
    """Raise ValueError when a result, or a gradient, is further from the reference's than it may be."""
    for name in found:
        check = check_gradient if name.startswith("gradient/") else check_close
        check(found[name], reference[name], name)


def stage2_solver(folder: Path, stock: bool, noise: bool) -> Solver:
    solver: Solver = import_caffe().get_solver(str(folder / f"{net_name(stock, noise)}.solver.prototxt"))
    solver.net.copy_from(str(WEIGHTS))
    return solver


def _vgg_shadow_solver(folder: Path, stock: bool) -> Solver:
    path = folder / f"{vgg_shadow_name(stock)}.solver.prototxt"
    solver: Solver = import_caffe().get_solver(str(path))
    return solver


def _vgg_shadow_results(folder: Path, stock: bool) -> dict[str, AnyArray]:
    """`data`, `landmark`, `output` and gradients; seeds make weights, noise and dropout the same in each."""
    rng = np.random.default_rng(5)
    net = _vgg_shadow_solver(folder, stock).net
    results: dict[str, AnyArray] = {}
    for name in ("data", "landmark"):
        results[name] = rng.random(net.blobs[name].data.shape, np.float32)
        net.blobs[name].data[...] = results[name]
    net.clear_param_diffs()
    net.forward()
    net.backward()
    results["output"] = net.blobs[vgg_shadow.OUTPUT].data.copy()
    return results | {f"gradient/{layer}": blobs[0].diff.copy() for layer, blobs in net.params.items()}


def _training_results(solver: Solver, inputs: dict[str, AnyArray]) -> dict[str, AnyArray]:
    net = solver.net
    for name in ("data", "landmark"):
        net.blobs[name].data[...] = inputs[name]
    net.clear_param_diffs()
    net.forward()
    net.backward()
    results = {
        "training_output": net.blobs[mobilenet_v2.OUTPUT].data.copy(),
        "loss": net.blobs["landmarkloss"].data.copy(),
    }
    for layer, blobs in net.params.items():
        if not layer.startswith("BatchNorm"):  # whose blobs are statistics
            for index, blob in enumerate(blobs):
                results[f"gradient/{layer}/{index}"] = blob.diff.copy()
    return results
